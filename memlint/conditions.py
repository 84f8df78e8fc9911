"""The questions that rules may leave to the project."""

from __future__ import annotations

from dataclasses import dataclass

from memlint.facts import knowledge as k
from memlint.facts import values as v
from memlint.facts.scopes import MODULE_BODY
from memlint.facts.summary import Call, FunctionId
from memlint.facts.words import name_of
from memlint.project import REFUTED, Project, closure, holds, unknown
from memlint.rule import Answer, Reason, Spot, Verdict


@dataclass(frozen=True, slots=True)
class SomeCallerWithGrad:
    """Not every caller of the function is under no_grad."""

    function: FunctionId

    def settle(self, project: Project) -> Answer:
        """Refuted where all known callers have gradients off."""
        if self.function in project.under_no_grad:
            return REFUTED
        own = self.function[1]
        silent = f"all that call `{own}` have gradients off, or it is listed under `no-grad-functions`"
        listed = f"check what calls it too, or list `{own}` under `no-grad-functions`"
        summary = project.functions.get(self.function)
        callers = [c for c in project.callers.get(self.function, ()) if c.sure]
        with_grad = [c for c in callers if project.grad_on(c.call) and c.function not in project.under_no_grad]
        open_callers = [c for c in with_grad if _open_ended(project, c.function)]
        if callers and len(with_grad) < len(callers) and len(open_callers) == len(with_grad):
            return REFUTED  # every caller that is known to the end switches gradients off
        if open_callers and len(open_callers) == len(with_grad):
            return unknown(
                f"whether all that call `{open_callers[0].function[1]}` have gradients off",
                Reason(open_callers[0].call.spot, f"`{own}` is called here"),
                would_prove=listed,
            )
        if with_grad:
            caller = with_grad[0]
            reason = Reason(caller.call.spot, f"`{own}` is called here with gradients on")
            return holds(reason, silent_if=silent)
        if summary is not None and summary.owner and summary.name == "forward":
            return unknown("whether all that run this module have gradients off", would_prove=listed)
        if summary is not None and summary.owner and project.unseen_bases(summary.owner):
            base = project.unseen_bases(summary.owner)[0]
            question = f"whether `{base}`, which is not in the checked files, calls `{summary.name}` under no_grad"
            proof = f"check the files of `{base}` too, or list `{own}` under `no-grad-functions`"
            return unknown(question, would_prove=proof)
        return holds(silent_if=silent)


def _open_ended(project: Project, function: FunctionId) -> bool:
    """A module's forward runs wherever the module is called: its callers are never all known."""

    def callers(current: FunctionId) -> list[FunctionId]:
        return [c.function for c in project.callers.get(current, ()) if project.grad_on(c.call) and c.sure]

    reached = (project.functions[f] for f in closure([function], callers))
    return any(summary.name == "forward" and summary.owner for summary in reached)


@dataclass(frozen=True, slots=True)
class NoTrainingReached:
    """Nothing that the function calls trains."""

    function: FunctionId
    callees: tuple[str, ...] = ()

    def settle(self, project: Project) -> Answer:
        """Refuted where a sure callee runs backward or an optimizer."""
        if project.trains(self.function):
            return REFUTED
        for name in self.callees:
            if name in k.TRAINING_CALLS:
                return REFUTED
        return holds()


@dataclass(frozen=True, slots=True)
class HelpersKeepGrad:
    """The context managers around the call do not switch gradients off."""

    names: tuple[str, ...]

    def settle(self, project: Project) -> Answer:
        """Looks the helpers up by name: functions, or classes by their methods."""
        if any(name in project.switching for name in self.names):
            return REFUTED
        unseen = [name for name in self.names if not project.knows(name)]
        if not unseen:
            return holds()
        question = f"whether `{unseen[0]}`, which is not in the checked files, switches gradients off"
        proof = f"check its file too, or list `{unseen[0]}` under `no-grad-functions`"
        return unknown(question, would_prove=proof)


@dataclass(frozen=True, slots=True)
class IsModule:
    """A parameter that the function calls is a module, by what callers pass."""

    function: FunctionId
    parameter: str

    def settle(self, project: Project) -> Answer:
        """Unknown unless a caller shows it."""
        for caller, argument in project.passed_to(self.function, self.parameter):
            if argument.kind == v.MODULE:
                return holds(Reason(caller.call.spot, f"`{self.parameter}` is a module here"))
            if argument.kind in (v.FUNCTION, v.STRING, v.NUMBER, v.LIST, v.DICT):
                return REFUTED
        proof = f"annotate `{self.parameter}: nn.Module`"
        return unknown(f"whether `{self.parameter}` is a module", would_prove=proof)


@dataclass(frozen=True, slots=True)
class PerStep:
    """The function runs once per step."""

    function: FunctionId
    any_loop: bool = False
    uncalled: bool = False

    def settle(self, project: Project) -> Answer:
        """By the call graph; a function that no loop is seen to repeat is taken not to.

        uncalled: unless nothing is seen to call it at all.
        """
        proof = f"list `{self.function[1]}` under `step-functions`"
        if self.function in project.per_step:
            return holds(*project.why(self.function, project.per_step))
        if self.function in project.in_some_loop and self.any_loop:
            reasons = project.why(self.function, project.in_some_loop)
            return unknown("whether that loop runs for long", *reasons, would_prove=proof)
        if self.uncalled and not project.callers.get(self.function):
            return unknown(f"whether `{self.function[1]}` is called in each step", would_prove=proof)
        return REFUTED


@dataclass(frozen=True, slots=True)
class NothingTrims:
    """No live code bounds the container."""

    holder: str
    function: FunctionId

    def settle(self, project: Project) -> Answer:
        """A clear, pop, del, slice or new binding that somebody calls bounds it; one that nobody calls does not."""
        idle = []
        name = name_of(self.holder)
        if project.rebuilds(self.holder) or project.is_listed_as_bounded(self.holder):
            return REFUTED
        for function, bound in project.bounds(self.holder):
            summary = project.functions[function]
            if bound.how == "init" or bound.how == "rebind" and project.only_constructs(function):
                continue
            live = function == self.function or project.is_called(function) or not summary.owner
            if live or project.unseen_bases(summary.owner):
                return REFUTED
            idle.append((summary, bound))
        if idle:
            summary, bound = idle[0]
            return unknown(
                f"whether anything calls `{summary.name}`, which would trim it",
                Reason(bound.spot, "trimmed here, but no checked file calls this"),
                would_prove=f"check what calls `{summary.name}` too, or list `{name}` under `bounded-containers`",
            )
        return holds(silent_if=f"something that runs clears `{name}`, or it is listed under `bounded-containers`")


@dataclass(frozen=True, slots=True)
class MadeSomewhere:
    """A base class, in another file, makes the container."""

    holder: str

    def settle(self, project: Project) -> Answer:
        """Refuted where none does, or where it makes one with a size of its own."""
        made = project.made_by_base(self.holder)
        if not made or any(one.bounded for one in made):
            return REFUTED
        return holds(Reason(made[0].spot, f"`{name_of(made[0].holder)}` is made once here, as a {made[0].kind}"))


@dataclass(frozen=True, slots=True)
class IsModuleAttribute:
    """What a base class in another file keeps under an attribute is a module. strict: refuted where that is unknown."""

    owner: str
    attribute: str
    question: str
    would_prove: str
    strict: bool = False

    def settle(self, project: Project) -> Answer:
        """Unknown where no class says what it is."""
        kinds = project.kinds_of(self.owner, self.attribute)
        if kinds == {v.MODULE}:
            return holds()
        if kinds and v.MODULE not in kinds or self.strict:
            return REFUTED
        return unknown(self.question, would_prove=self.would_prove)


@dataclass(frozen=True, slots=True)
class IsModuleClass:
    """A class in another file is a module's. strict: refuted where that is unknown."""

    path: str
    question: str
    would_prove: str
    strict: bool = False

    def settle(self, project: Project) -> Answer:
        """Unknown where the class is not in the project."""
        kind = project.kind_of(self.path)
        if kind or self.strict:
            return holds() if kind == v.MODULE else REFUTED
        return unknown(self.question, would_prove=self.would_prove)


@dataclass(frozen=True, slots=True)
class MovedLater:
    """The gathered list is concatenated and only then taken to the CPU, here or in a callee."""

    holder: str

    def settle(self, project: Project) -> Answer:
        """Refuted where no such place is known."""
        moved = project.moved(self.holder)
        if not moved:
            return REFUTED
        reasons = (Reason(m.spot, "all of it is moved to the CPU only here") for m in moved[:3])
        return holds(*reasons, silent_if="each entry is moved to the CPU when it is added")


@dataclass(frozen=True, slots=True)
class Open:
    """Something that no static fact settles. would_prove: what the user can write or do to settle it."""

    question: str
    would_prove: str = ""

    def settle(self, project: Project) -> Answer:
        """Always unknown."""
        return unknown(self.question, would_prove=self.would_prove)


@dataclass(frozen=True, slots=True)
class ReadHereOnly:
    """No other file reads an attribute of this name: nobody elsewhere limits what it holds."""

    attribute: str
    module: str

    def settle(self, project: Project) -> Answer:
        """Unknown where another file does."""
        others = sorted(project.reading(self.attribute) - {self.module})
        return unknown(f"whether `{others[0]}` limits `{self.attribute}`") if others else holds()


_NOWHERE = Spot("", 0, "", 0)


def _call(name: str, path: str, receiver: str, on_self: bool) -> Call:
    """A call as far as it takes to find the function that it means."""
    last = name.rpartition(".")[2]
    return Call(last, path, receiver, on_self, "", (), False, False, False, False, False, _NOWHERE, (), ())


@dataclass(frozen=True, slots=True)
class OnlyEndsRead:
    """Nobody reads more of a list than a few fixed entries.

    indices: what this file reads. passed: (name, path, receiver, on self, argument) of calls that get the list.
    attribute: the name that other files would read it by; module: where it is made.
    """

    indices: frozenset[int]
    passed: tuple[tuple[str, str, str, bool, int | str], ...]
    attribute: str
    module: str

    def settle(self, project: Project) -> Answer:
        """Refuted where a callee or another file may read all of it; the entries are filled in for the fixer."""
        read = set(self.indices)
        for name, path, receiver, on_self, argument in self.passed:
            found = project.ends(_call(name, path, receiver, on_self), argument)
            if found is None:
                return REFUTED
            read |= found
        if self.attribute and project.reading(self.attribute) - {self.module}:
            return REFUTED
        return Answer(Verdict.HOLDS, facts=(("indices", tuple(sorted(read))),))


@dataclass(frozen=True, slots=True)
class DemandsRange:
    """The function that is called tests the range of this argument."""

    name: str
    path: str
    receiver: str
    on_self: bool
    argument: int | str

    def settle(self, project: Project) -> Answer:
        """Refuted where no function that is meant does; the bounds are filled in for the fixer."""
        call = _call(self.name, self.path, self.receiver, self.on_self)
        demand, sure = project.demands(call, self.argument)
        if demand is None:
            return REFUTED
        reasons = (Reason(demand.spot, f"`{demand.parameter}` must lie within these bounds"),)
        facts = (("low", demand.low), ("high", demand.high), ("excluded", demand.excluded))
        if sure:
            return Answer(Verdict.HOLDS, reasons, facts=facts)
        question = _WHICH.format(name=call.name)
        return Answer(Verdict.UNKNOWN, reasons, question, facts, would_prove=_OWNER)


@dataclass(frozen=True, slots=True)
class NotFrozen:
    """The class does not freeze the parameters of what it runs."""

    owner: str

    def settle(self, project: Project) -> Answer:
        """Without parameters that need gradients a forward pass builds no graph."""
        return REFUTED if project.freezes(self.owner) else holds()


@dataclass(frozen=True, slots=True)
class CalleeKeepsGrad:
    """What is called does not itself switch gradients off."""

    name: str

    def settle(self, project: Project) -> Answer:
        """By the name alone: good enough to stay silent."""
        return REFUTED if self.name in project.switching else holds()


@dataclass(frozen=True, slots=True)
class NothingTrainsOn:
    """No backward pass starts from what the container or running sum holds."""

    holder: str

    def settle(self, project: Project) -> Answer:
        """Refuted where one does, or where a caller that trains is handed what was computed from it."""
        for function, drawn in project.drawn(self.holder):
            if drawn.how == "trained":
                return REFUTED
            if drawn.how == "returned" and any(project.trains(c.function) for c in project.callers.get(function, ())):
                return REFUTED
        return holds()


@dataclass(frozen=True, slots=True)
class SomeCallerPassesGraph:
    """Some caller passes a value with a graph for this parameter."""

    function: FunctionId
    parameter: str

    def settle(self, project: Project) -> Answer:
        """Refuted where all known callers pass values that have none."""
        passed = project.passed_to(self.function, self.parameter)
        unsure = False
        for caller, argument in passed:
            if argument.attached and project.grad_on(caller.call) and caller.function not in project.under_no_grad:
                reason = Reason(caller.call.spot, f"`{self.parameter}` carries a graph here")
                return (
                    holds(reason)
                    if caller.sure
                    else unknown(_WHICH.format(name=caller.call.name), reason, would_prove=_OWNER)
                )
            unsure |= argument.kind in (v.UNKNOWN, v.OUTPUT, v.TENSOR) and project.grad_on(caller.call)
        if passed and not unsure:
            return REFUTED
        return unknown(f"whether what callers pass for `{self.parameter}` carries a graph")


_WHICH = "whether this `{name}` is the one that is meant"
_OWNER = "annotate the object with its class"


@dataclass(frozen=True, slots=True)
class CalleeKeeps:
    """What is called keeps this argument beyond the call."""

    name: str
    path: str
    receiver: str
    on_self: bool
    argument: int | str

    def settle(self, project: Project) -> Answer:
        """Refuted where no function that is surely meant does."""
        found = project.keeps(_call(self.name, self.path, self.receiver, self.on_self), self.argument)
        if found is None:
            return REFUTED
        target, keeping = found
        if NothingTrainsOn(keeping.holder).settle(project) is REFUTED:
            return REFUTED
        return holds(Reason(keeping.spot, f"`{target[1]}` keeps `{keeping.parameter}` here"))


@dataclass(frozen=True, slots=True)
class Heavy:
    """Objects of the class are large: it is a module, or they hold tensors.

    only_modules: tensors will not do. required: where nothing shows it, it is taken not to hold.
    """

    owner: str
    only_modules: bool = False
    required: bool = False

    def settle(self, project: Project) -> Answer:
        """Unknown where nothing shows what the objects hold."""
        if project.is_module(self.owner) or not self.only_modules and project.holds_tensors(self.owner):
            return holds()
        if self.required or self.only_modules:
            return REFUTED
        return unknown(f"whether objects of `{self.owner}` hold tensors, and how many are made")


@dataclass(frozen=True, slots=True)
class MadeAnew:
    """Objects of the class are not only made where a module is imported."""

    owner: str

    def settle(self, project: Project) -> Answer:
        """An object that lives as long as the program is kept alive by nothing else."""
        return REFUTED if project.only_at_import(self.owner) else holds()


@dataclass(frozen=True, slots=True)
class GivenTensor:
    """Some caller passes a tensor for one of these parameters."""

    function: FunctionId
    parameters: tuple[str, ...]

    def settle(self, project: Project) -> Answer:
        """Refuted where no caller shows it."""
        for parameter in self.parameters:
            for caller, argument in project.passed_to(self.function, parameter):
                if caller.sure and argument.kind == v.TENSOR:
                    return holds(Reason(caller.call.spot, f"`{parameter}` is a tensor here"))
        return REFUTED


@dataclass(frozen=True, slots=True)
class KeepsStateGraph:
    """What the state goes through does not detach it by itself. callee: see `memlint.facts.recurrence.callee_of`."""

    callee: str

    def settle(self, project: Project) -> Answer:
        """Refuted where the forward of the class, or anything that it calls, detaches."""
        if self.callee == "torch":
            return holds()
        if self.callee.endswith("()"):
            path = self.callee.removesuffix("()").split(".")
            ids = [(".".join(path[:end]), ".".join(path[end:])) for end in range(1, len(path))]
            forwards = [function for function in ids if function in project.functions]
        elif self.callee.startswith("."):
            forwards = project.named(self.callee[1:])
        else:
            name = self.callee.rpartition(".")[2]
            forwards = project.methods(name, "forward") if name else []
        if not forwards:
            return unknown("whether the module detaches the state by itself")

        def own(function: FunctionId) -> list[FunctionId]:
            return [target for target, caller in project.callees.get(function, ()) if caller.sure]

        if any(project.functions[function].detaches for function in closure(forwards, own)):
            return REFUTED
        if self.callee.startswith("."):
            return unknown("which object's method this is, and whether it detaches the state")
        return holds(Reason(project.functions[forwards[0]].spot, "this hands the state back with its graph"))


@dataclass(frozen=True, slots=True)
class NothingResets:
    """No other code gives the attribute a new value."""

    attribute: str
    function: FunctionId

    def settle(self, project: Project) -> Answer:
        """Refuted where somebody calls what renews it, or it belongs to a base that is not in the checked files."""
        idle = []
        for function, bound in project.bounds(self.attribute):
            if bound.how == "init" or function == self.function or function[1].endswith(".__init__"):
                continue
            summary = project.functions[function]
            if project.is_called(function) or not summary.owner:
                return REFUTED
            idle.append((summary, bound))
        if idle:
            summary, bound = idle[0]
            return unknown(f"whether anything calls `{summary.name}`, which renews it",
                           Reason(bound.spot, "renewed here, but no checked file calls this"))  # fmt: skip
        return holds()


@dataclass(frozen=True, slots=True)
class TrainedInALoop:
    """The function is called again and again by code that trains."""

    function: FunctionId

    def settle(self, project: Project) -> Answer:
        """Holds where such a loop is known; refuted where no caller with gradients on repeats it."""
        callers = [c for c in project.callers.get(self.function, ()) if c.sure and project.grad_on(c.call)]
        for caller in callers:
            if caller.call.repeats and project.functions[caller.function].trains:
                return holds(Reason(caller.call.spot, f"`{self.function[1]}` is called in a training loop here"))
        if self.function in project.per_step:
            return unknown("whether gradients are on, and how many steps follow each other without a reset")
        return REFUTED


@dataclass(frozen=True, slots=True)
class CutsGraphs:
    """What the function yields comes without the graph that it was given."""

    function: FunctionId

    def settle(self, project: Project) -> Answer:
        """Refuted unless it, or what it calls, detaches something; what exactly that is stays open."""

        def own(function: FunctionId) -> list[FunctionId]:
            return [target for target, caller in project.callees.get(function, ()) if caller.sure]

        if any(project.functions[f].detaches for f in closure([self.function], own) if f in project.functions):
            return unknown(f"whether `{self.function[1]}` detaches all that it yields")
        return REFUTED


@dataclass(frozen=True, slots=True)
class CalleeTrains:
    """A function that is called here runs a training step."""

    caller: FunctionId
    name: str

    def settle(self, project: Project) -> Answer:
        """Refuted where its code is known and nothing in it trains, or where nothing says that it does."""
        targets = [t for t, _ in project.callees.get(self.caller, ()) if t[1].rpartition(".")[2] == self.name]
        for target in targets:
            if project.trains(target):
                return holds(Reason(project.functions[target].spot, f"`{self.name}` trains"))
        if not targets and self.name in k.TRAINING_CALLS:
            return unknown(f"what `{self.name}` does")
        return REFUTED


@dataclass(frozen=True, slots=True)
class CalledEachStep:
    """A loop that trains calls the function in each pass, directly or by way of functions that have no loops."""

    function: FunctionId

    def settle(self, project: Project) -> Answer:
        """Refuted where no such loop is known: a function that runs once per epoch may clear what it likes."""
        todo, seen = [self.function], {self.function}
        while todo:
            for caller in project.callers.get(todo.pop(), ()):
                trains = project.functions[caller.function].trains
                if caller.sure and caller.call.repeats and trains:
                    return holds(Reason(caller.call.spot, "called in a training loop here"))
                quiet = not any(call.loops or call.repeats for call in project.functions[caller.function].calls)
                if caller.sure and quiet and caller.function not in seen:
                    seen.add(caller.function)
                    todo.append(caller.function)
        return REFUTED


@dataclass(frozen=True, slots=True)
class NothingBoundsCache:
    """No checked file limits or clears MLX's buffer cache."""

    names: tuple[str, ...] = ("set_cache_limit", "clear_cache", "set_memory_limit", "set_wired_limit")

    def settle(self, project: Project) -> Answer:
        """Refuted where somebody calls one of the functions."""
        called = any(call.name in self.names for f in project.functions.values() for call in f.calls)
        return REFUTED if called else holds()


@dataclass(frozen=True, slots=True)
class RunsAgain:
    """The function runs more than once."""

    function: FunctionId

    def settle(self, project: Project) -> Answer:
        """By the call graph; refuted where scripts call it, each at its top and outside of loops."""
        found = project.per_step.get(self.function) or project.in_some_loop.get(self.function)
        if found is not None:
            return holds(found)
        callers = project.callers.get(self.function, ())
        if callers and all(c.function[1] == MODULE_BODY and c.sure for c in callers):
            return REFUTED
        return unknown("whether the function runs more than once")
