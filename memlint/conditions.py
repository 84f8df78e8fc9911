"""The questions that rules may leave to the project."""

from __future__ import annotations

from dataclasses import dataclass

from memlint.facts import knowledge as k
from memlint.facts import values as v
from memlint.facts.summary import Call, FunctionId
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
        summary = project.functions.get(self.function)
        callers = [c for c in project.callers.get(self.function, ()) if c.sure]
        with_grad = [c for c in callers if project.grad_on(c.call) and c.function not in project.under_no_grad]
        open_callers = [c for c in with_grad if _open_ended(project, c.function)]
        if callers and len(with_grad) < len(callers) and len(open_callers) == len(with_grad):
            return REFUTED  # every caller that is known to the end switches gradients off
        if open_callers and len(open_callers) == len(with_grad):
            name = open_callers[0].function[1]
            return unknown(f"whether all that call `{name}` have gradients off",
                           Reason(open_callers[0].call.spot, f"`{self.function[1]}` is called here"))  # fmt: skip
        if with_grad:
            caller = with_grad[0]
            return holds(Reason(caller.call.spot, f"`{self.function[1]}` is called here with gradients on"))
        if summary is not None and summary.owner and summary.name == "forward":
            return unknown("whether all that run this module have gradients off")
        if summary is not None and summary.owner and project.unseen_bases(summary.owner):
            base = project.unseen_bases(summary.owner)[0]
            return unknown(f"whether `{base}`, which is not in the checked files, calls `{summary.name}` under no_grad")
        return holds()


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
        return (
            unknown(f"whether `{unseen[0]}`, which is not in the checked files, switches gradients off")
            if unseen
            else holds()
        )


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
        return unknown(f"whether `{self.parameter}` is a module; an annotation would say so")


@dataclass(frozen=True, slots=True)
class PerStep:
    """The function runs once per step."""

    function: FunctionId
    any_loop: bool = False

    def settle(self, project: Project) -> Answer:
        """By the call graph; a function that no loop is seen to repeat is taken not to."""
        found = project.per_step.get(self.function)
        if found is not None:
            return holds(found)
        found = project.in_some_loop.get(self.function)
        if found is not None and self.any_loop:
            return unknown("whether that loop runs for long", found)
        return REFUTED


@dataclass(frozen=True, slots=True)
class NothingTrims:
    """No live code bounds the container."""

    holder: str
    function: FunctionId

    def settle(self, project: Project) -> Answer:
        """A clear, pop, del, slice or new binding that somebody calls bounds it; one that nobody calls does not."""
        idle = []
        if project.rebuilds(self.holder):
            return REFUTED
        for function, bound in project.bounds(self.holder):
            summary = project.functions[function]
            if bound.how == "init":
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
            )
        return holds()


@dataclass(frozen=True, slots=True)
class MovedLater:
    """The gathered list is concatenated and only then taken to the CPU, here or in a callee."""

    holder: str

    def settle(self, project: Project) -> Answer:
        """Refuted where no such place is known."""
        moved = project.moved(self.holder)
        if not moved:
            return REFUTED
        return holds(*(Reason(m.spot, "all of it is moved to the CPU only here") for m in moved[:3]))


@dataclass(frozen=True, slots=True)
class Open:
    """Something that no static fact settles."""

    question: str

    def settle(self, project: Project) -> Answer:
        """Always unknown."""
        return unknown(self.question)


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
        question = f"whether this `{call.name}` is the one that is meant; an annotation of the object would say so"
        return Answer(Verdict.UNKNOWN, reasons, question, facts)


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
