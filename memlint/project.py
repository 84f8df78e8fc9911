"""What only the whole project knows: what runs once per step, who is always under no_grad, who clears."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from memlint.facts import frameworks
from memlint.facts import knowledge as k
from memlint.facts import values as v
from memlint.facts.attributes import Attributes
from memlint.facts.events import ON, Callee
from memlint.facts.summary import (
    Bound,
    Call,
    Drawn,
    FunctionId,
    FunctionSummary,
    Keeping,
    Made,
    Moved,
    Range,
    Summary,
)
from memlint.linking import MAKERS, Linked, closure, last_name
from memlint.rule import Answer, Reason, Verdict
from memlint.taught import Lessons, Taught, learn

CHAIN_CAP = 5
"""How many calls of a chain are shown."""

ALIAS_CAP = 50
"""How many names of one container are followed."""


class Project(Linked):
    """The linked summaries of all checked files."""

    def __init__(
        self,
        summaries: Iterable[Summary],
        taught: Mapping[str, Taught] | None = None,
        asked: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        """taught: what the user has listed in the configuration; asked: the rules selected by name. Both by path."""
        summaries = list(summaries)
        super().__init__(summaries)
        self.asked = asked or {}
        self.measures = any(function.probes for function in self.functions.values())
        self._bounds: dict[str, list[tuple[FunctionId, Bound]]] = defaultdict(list)
        self._made: dict[str, list[Made]] = defaultdict(list)
        self._moved: dict[str, list[Moved]] = defaultdict(list)
        self._drawn: dict[str, list[tuple[FunctionId, Drawn]]] = defaultdict(list)
        self._reading: dict[str, set[str]] = defaultdict(set)
        self._idle_imports = [(summary.module, path) for summary in summaries for path in summary.idle_imports]
        self.attributes = Attributes(summaries)
        self.configs = [(summary.module, saved) for summary in summaries for saved in summary.configs]
        self.layout: set[str] = set()
        for summary in summaries:
            self._add(summary)
        self._aliases: dict[str, frozenset[str]] = {}
        self._unseen: dict[str, list[str]] = {}
        self.switching = {
            name for f in self.functions.values() if f.switches_grad_off for name in (f.name, f.owner) if name
        }
        self._called = {call.name for f in self.functions.values() for call in f.calls if not call.receiver}
        self.lessons: Lessons = learn(summaries, taught or {}, self.family)
        self.switching |= self.lessons.helpers
        self._caller_of: dict[FunctionId, FunctionId] = {}
        self.per_step = self._per_step()
        self.in_some_loop = self._spread("loops", {})
        self.under_no_grad = self._under_no_grad()

    def _add(self, summary: Summary) -> None:
        for function in summary.functions:
            for bound in function.bounds:
                self._bounds[bound.holder.removesuffix("[]")].append((function.id, bound))
            for drawn in function.drawn:
                self._drawn[drawn.holder].append((function.id, drawn))
            for moved in function.moved:
                self._moved[moved.holder.removesuffix("[]")].append(moved)
        self.layout |= summary.layout
        for attribute in summary.attributes:
            self._reading[attribute].add(summary.module)
        for made in summary.made:
            self._made[made.holder].append(made)

    def unseen_bases(self, name: str) -> list[str]:
        """Bases of a class, at any height, that are not in the project and not torch's own."""
        if name not in self._unseen:
            above = (cls for ancestor in closure([name], self._bases) for cls in self.classes.get(ancestor, ()))
            bases = [base for cls in above for base in cls.bases if base.rpartition(".")[2] not in self.classes]
            known = ("torch.", "typing.", "abc.", "enum.")
            self._unseen[name] = [b for b in bases if b not in _PLAIN_BASES and not b.startswith(known)]
        return self._unseen[name]

    def _bases_of_hook(self, function: FunctionSummary) -> list[str]:
        """The unseen bases of a method's class, if it is called like any framework's hook."""
        return self.unseen_bases(function.owner) if function.name in frameworks.HOOKS and function.owner else []

    # -- fixpoints -----------------------------------------------------------------------------------------------

    def _per_step(self) -> dict[FunctionId, Reason]:
        """Functions that run once per step: in a step loop, as a forward or a hook, or called by such."""
        seeds = {}
        for taught in self.lessons.step:
            seeds[taught] = Reason(self.functions[taught].spot, f"`{taught[1]}` is listed under `step-functions`")
        for function in self.functions.values():
            if function.owner:
                if function.name == "forward" and self.is_module(function.owner):
                    seeds[function.id] = Reason(function.spot, "the forward of a module runs in every step")
                elif (bases := self._bases_of_hook(function)) and frameworks.runs_per_step(function.name, bases):
                    seeds[function.id] = Reason(function.spot, f"`{function.name}` is a hook that runs in every step")
            for hook in function.hooks:
                inner = (function.id[0], f"{function.id[1]}.<locals>.{hook}")
                for target in (*self._methods.get((function.owner, hook), ()), inner, (function.id[0], hook)):
                    if target in self.functions:
                        seeds[target] = Reason(self.functions[target].spot, f"`{hook}` is registered as a hook")
        return self._spread("repeats", seeds)

    def _spread(self, loop: str, found: dict[FunctionId, Reason]) -> dict[FunctionId, Reason]:
        """The least fixpoint of "called in such a loop, or by a function that is"."""
        for target, callers in self.callers.items():
            if last_name(target) in MAKERS:
                continue  # what a constructor fills is new each time
            function = self.functions[target]
            for caller in callers:
                steps = caller.call.loops and function.trains  # a loop over a function that trains
                steps |= caller.call.items and function.steps
                if not (getattr(caller.call, loop) or steps) or not caller.sure or caller.function[1] == target[1]:
                    continue
                if self.outlives(caller):
                    found.setdefault(target, Reason(caller.spot, f"`{target[1]}` is called in a loop here"))
                    break
        todo = list(found)
        while todo:
            source = todo.pop()
            for target, caller in self.callees.get(source, ()):
                if not caller.sure or target in found:
                    continue
                if not caller.call.made_here and last_name(target) not in MAKERS:  # else new in each run of the source
                    found[target] = Reason(caller.spot, f"`{source[1]}`, which repeats, calls `{target[1]}`")
                    self._caller_of.setdefault(target, source)
                    todo.append(target)
        return found

    def why(self, function: FunctionId, found: Mapping[FunctionId, Reason]) -> list[Reason]:
        """The chain of calls that repeats a function, from the loop down. found: per_step or in_some_loop."""
        chain = [found[function]]
        while function in self._caller_of and self._caller_of[function] in found and len(chain) < CHAIN_CAP:
            function = self._caller_of[function]
            chain.append(found[function])
        return chain[::-1]

    def _under_no_grad(self) -> set[FunctionId]:
        """The greatest set of functions all of whose callers have gradients off, or are in the set.

        Those that the user has listed are in it whoever calls them; a framework's hook, where nobody else does.
        """
        listed = self.lessons.grad_off
        inside = {f for f, callers in self.callers.items() if callers} | listed
        for summary in self.functions.values():
            if summary.name in frameworks.HOOKS:
                if frameworks.runs_without_grad(summary.name, self._bases_of_hook(summary)):
                    inside.add(summary.id)
        todo = list(inside - listed)
        while todo:
            function = todo.pop()
            if function not in inside:
                continue
            if any(self.grad_on(c.call) and c.function not in inside for c in self.callers.get(function, ())):
                inside.discard(function)
                todo += [target for target, _ in self.callees.get(function, ()) if target not in listed]
        return inside

    def grad_on(self, call: Call) -> bool:
        """Whether a call is made with gradients on: no region, decorator or helper context there switches them off."""
        return call.mode == ON and (not call.helpers or self.switching.isdisjoint(call.helpers))

    def is_called(self, function: FunctionId) -> bool:
        """Whether anything calls a function, be it by its name alone, or Python itself does."""
        name = self.functions[function].name
        special = name.startswith("__") and name.endswith("__")
        return bool(self.callers.get(function)) or name in self._called or special

    def is_listed_as_bounded(self, holder: str) -> bool:
        """Whether the user has listed a container under `bounded-containers`."""
        return bool(self.lessons.bounded) and not self.lessons.bounded.isdisjoint(self.aliases(holder))

    def rebuilds(self, holder: str) -> bool:
        """Whether a method of the container's class calls the constructor again."""
        owner = holder.removeprefix("class:").partition(".")[0] if holder.startswith("class:") else ""
        makers = [f for name in self.family(owner) for f in self._methods.get((name, "__init__"), ())] if owner else []
        return any(
            c.call.on_self and last_name(c.function) not in MAKERS for f in makers for c in self.callers.get(f, ())
        )

    def freezes(self, owner: str) -> bool:
        """Whether building a class, a base or a subclass switches `requires_grad` off for parameters."""
        for name in self.family(owner):
            for function in self._of_class.get(name, ()):
                if self.functions[function].freezes:
                    around = [function, *(caller.function for caller in self.callers.get(function, ()))]
                    if any(last_name(f) in MAKERS for f in around):
                        return True
        return False

    def named(self, name: str) -> list[FunctionId]:
        """All functions and methods of a name."""
        return list(self._by_name.get(name, ()))

    def methods(self, owner: str, name: str) -> list[FunctionId]:
        """The functions that a method of this name may mean, in a class of this name, its bases and subclasses."""
        return [found for cls in (owner, *self.family(owner)) for found in self._methods.get((cls, name), ())]

    def knows(self, name: str) -> bool:
        """Whether a function or class of this name is in the project."""
        return name in self._by_name or name in self.classes

    def trains(self, function: FunctionId) -> bool:
        """Whether a training operation may be reached from a function."""
        reached = closure([function], lambda f: (target for target, _ in self.callees.get(f, ())))
        return any(self.functions[f].trains for f in reached)

    def may_train(self, function: FunctionId) -> bool:
        """The same, also through what a function itself calls and of which no more than the name is known."""
        if self.trains(function):
            return True
        linked = {last_name(target) for target, _ in self.callees.get(function, ())}
        unknown = {call.name for call in self.functions[function].calls if not call.path} - linked - k.COMMON_NAMES
        if not unknown.isdisjoint(k.TRAINING_CALLS):
            return True
        return any(self.trains(target) for name in unknown for target in self.named(name))

    def idle_imports(self, function: FunctionId) -> set[str]:
        """The modules that import a function, by its module or a package around that, and never mention it again."""
        module, name = function
        split = [(user, path.rpartition(".")) for user, path in self._idle_imports]
        return {user for user, (head, _, last) in split if last == name and f"{module}.".startswith(f"{head}.")}

    # -- containers ----------------------------------------------------------------------------------------------

    def bounds(self, holder: str) -> list[tuple[FunctionId, Bound]]:
        """Whatever trims a container, in its own class, a base or a subclass, through a parameter or another name."""
        attribute = holder.removesuffix("[]").rpartition(".")[2] if holder.startswith("class:") else ""
        names = [*self.aliases(holder), *self.aliases(f"attr:{attribute}")]
        return [found for alias in names for found in self._bounds.get(alias, ())]

    def drawn(self, holder: str) -> list[tuple[FunctionId, Drawn]]:
        """What is done with the values of a container or a running sum, under any of its names."""
        attribute = holder.rpartition(".")[2] if holder.startswith("class:") else ""
        names = [*self.aliases(holder), *self.aliases(f"attr:{attribute}")]
        return [found for alias in names for found in self._drawn.get(alias, ())]

    def keeps(self, call: Callee, module: str, argument: int | str) -> tuple[FunctionId, Keeping] | None:
        """The surely meant callee that keeps this argument beyond the call."""
        targets, sure = self.meant(call, module)
        for target in targets if sure else ():
            parameter = self._parameter(target, call, argument)
            for keeping in self.functions[target].keeps:
                if keeping.parameter == parameter:
                    return target, keeping
        return None

    def made_by_base(self, holder: str) -> list[Made]:
        """Where a base class makes a container."""
        owner, _, attribute = holder.removesuffix("[]").removeprefix("class:").partition(".")
        return [
            made for name in closure([owner], self._bases) for made in self._made.get(f"class:{name}.{attribute}", ())
        ]

    def kinds_of(self, owner: str, attribute: str) -> set[str]:
        """What a class and its bases store under an attribute, as far as it is known."""
        above = (cls for name in closure([owner], self._bases) for cls in self.classes.get(name, ()))
        kinds = {kind for cls in above for name, kind in cls.kinds if name == attribute}
        return {found for kind in kinds if (found := self.kind_of(kind[3:]) if kind.startswith("of ") else kind)}

    def kind_of(self, path: str) -> str:
        """What an object of a class is: a module with parameters or not, "" for a class that nobody knows."""
        name, package = path.rpartition(".")[2], path.partition(".")[0]
        found = [cls for cls in self.classes.get(name, ()) if cls.module.partition(".")[0] == package]
        if len(found) != 1 or len(self.classes[name]) != 1:
            return ""  # another library's class of the same name, or one of several
        if self.is_module(name):
            return v.OBJECT if found[0].frozen else v.MODULE
        return "" if self.unseen_bases(name) else v.OBJECT

    def only_constructs(self, function: FunctionId) -> bool:
        """Whether a method is called by constructors of its class and by nothing else."""
        callers = self.callers.get(function, ())
        if not callers or last_name(function) in self._called:
            return False
        return all(caller.call.on_self and last_name(caller.function) in MAKERS for caller in callers)

    def moved(self, holder: str) -> list[Moved]:
        """Where a list of tensors is concatenated and taken to the CPU."""
        return [found for alias in self.aliases(holder) for found in self._moved.get(alias, ())]

    def aliases(self, holder: str) -> frozenset[str]:
        """The identities of a container: up and down its class, what callers pass, and what callees call it."""
        holder = holder.removesuffix("[]")
        if holder not in self._aliases:
            upwards = closure(self._in_family(holder), lambda name: self._passed_from.get(name, ()), ALIAS_CAP)
            everything = closure(upwards, lambda name: self._passed_as.get(name, ()), ALIAS_CAP)
            self._aliases[holder] = frozenset(everything)
        return self._aliases[holder]

    def _in_family(self, holder: str) -> list[str]:
        if not holder.startswith("class:"):
            return [holder]
        owner, _, attribute = holder.removeprefix("class:").partition(".")
        return [f"class:{name}.{attribute}" for name in self.family(owner)]

    def demands(self, call: Callee, module: str, argument: int | str) -> tuple[Range | None, bool]:
        """The range that a callee demands of an argument, and whether the callee is sure."""
        targets, sure = self.meant(call, module)
        for target in targets:
            parameter = self._parameter(target, call, argument)
            for demand in self.functions[target].ranges:
                if demand.parameter == parameter:
                    return demand, sure
        return None, False

    def reading(self, attribute: str) -> set[str]:
        """The modules that read an attribute of this name, of whatever object."""
        return self._reading.get(attribute, set())

    def ends(self, call: Callee, module: str, argument: int | str) -> frozenset[int] | None:
        """The entries that callees read of a list that they are given, None where that is not known."""
        targets, sure = self.meant(call, module)
        read: set[int] = set()
        for target in targets:
            found = dict(self.functions[target].ends).get(self._parameter(target, call, argument))
            if found is None:
                return None
            read |= found
        return frozenset(read) if targets and sure else None


_PLAIN_BASES = frozenset({"object", "ABC", "Generic", "Protocol", "NamedTuple", "TypedDict", "Enum", "dict", "list"})


def holds(*reasons: Reason, silent_if: str = "") -> Answer:
    """The condition holds, for these reasons. silent_if: what would have refuted it."""
    return Answer(Verdict.HOLDS, reasons, silent_if=silent_if)


def unknown(question: str, *reasons: Reason, would_prove: str = "", silent_if: str = "") -> Answer:
    """The condition is open. would_prove: what the user can write or do to settle it."""
    return Answer(Verdict.UNKNOWN, reasons, question, would_prove=would_prove, silent_if=silent_if)


REFUTED = Answer(Verdict.REFUTED)
