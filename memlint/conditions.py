"""The questions that rules may leave to the project."""

from __future__ import annotations

from dataclasses import dataclass

from memlint.facts import knowledge as k
from memlint.facts import values as v
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

    def settle(self, project: Project) -> Answer:
        """By the call graph; a function that no loop is seen to repeat is taken not to."""
        if self.function in project.per_step:
            return holds(*project.why(self.function, project.per_step))
        if self.function in project.in_some_loop and self.any_loop:
            proof = f"list `{self.function[1]}` under `step-functions`"
            reasons = project.why(self.function, project.in_some_loop)
            return unknown("whether that loop runs for long", *reasons, would_prove=proof)
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


_NOWHERE = Spot("", 0, "", 0)


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
        call = Call(
            self.name.rpartition(".")[2],
            self.path,
            self.receiver,
            self.on_self,
            "",
            (),
            False,
            False,
            False,
            False,
            _NOWHERE,
            (),
            (),
        )
        demand, sure = project.demands(call, self.argument)
        if demand is None:
            return REFUTED
        reasons = (Reason(demand.spot, f"`{demand.parameter}` must lie within these bounds"),)
        facts = (("low", demand.low), ("high", demand.high), ("excluded", demand.excluded))
        if sure:
            return Answer(Verdict.HOLDS, reasons, facts=facts)
        question = f"whether this `{call.name}` is the one that is meant"
        return Answer(Verdict.UNKNOWN, reasons, question, facts, would_prove="annotate the object with its class")


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
