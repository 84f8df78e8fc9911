"""Whether gradients are on, and who wants them."""

from __future__ import annotations

import re

from msgspec import Struct

from memlint.conditions.meant import OWNER, WHICH
from memlint.facts import knowledge as k
from memlint.facts import values as v
from memlint.facts.events import Callee
from memlint.facts.summary import FunctionId
from memlint.linking import closure
from memlint.project import REFUTED, Project, holds, unknown
from memlint.rule import Answer, Reason

_FOR_LOSS = re.compile(r"loss|penalty|before_backward|objective")


class SomeCallerWithGrad(Struct, frozen=True):
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


class NoTrainingReached(Struct, frozen=True):
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


class CalleeOnlyRuns(Struct, frozen=True):
    """The function that is called here, which hands back a module's output, does not train by itself."""

    caller: FunctionId
    name: str

    def settle(self, project: Project) -> Answer:
        """Refuted where a function of this name that the caller may mean reaches a training operation."""
        return REFUTED if any(map(project.trains, project.called_by(self.caller, self.name))) else holds()


class HelpersKeepGrad(Struct, frozen=True):
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


class NotFrozen(Struct, frozen=True):
    """The class does not freeze the parameters of what it runs."""

    owner: str

    def settle(self, project: Project) -> Answer:
        """Without parameters that need gradients a forward pass builds no graph."""
        return REFUTED if project.freezes(self.owner) else holds()


class CalleeKeepsGrad(Struct, frozen=True):
    """What is called does not itself switch gradients off."""

    name: str

    def settle(self, project: Project) -> Answer:
        """By the name alone: good enough to stay silent."""
        return REFUTED if self.name in project.switching else holds()


class ForwardKeepsGrad(Struct, frozen=True):
    """The forward of a class in another file does not itself switch gradients off."""

    path: str

    def settle(self, project: Project) -> Answer:
        """Refuted where it does."""
        found = (project.functions[f] for f in project.methods(self.path.rpartition(".")[2], "forward"))
        return REFUTED if any(function.switches_grad_off for function in found) else holds()


class NotForLoss(Struct, frozen=True):
    """What the function returns goes neither into a loss nor into what a module's forward gives back."""

    function: FunctionId

    def settle(self, project: Project) -> Answer:
        """By the names of the functions that call it, near and far."""
        around = closure([self.function], lambda f: (c.function for c in project.callers.get(f, ()) if c.sure))
        for caller in around:
            summary = project.functions[caller]
            in_module = summary.name == "forward" and summary.owner
            if caller != self.function and (in_module or _FOR_LOSS.search(summary.name)):
                return REFUTED
        return holds()


class NothingTrainsOn(Struct, frozen=True):
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


class SomeCallerPassesGraph(Struct, frozen=True):
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
                    else unknown(WHICH.format(name=caller.call.name), reason, would_prove=OWNER)
                )
            unsure |= argument.kind in (v.UNKNOWN, v.OUTPUT, v.TENSOR) and project.grad_on(caller.call)
        if passed and not unsure:
            return REFUTED
        return unknown(f"whether what callers pass for `{self.parameter}` carries a graph")


class CalleeKeeps(Struct, frozen=True):
    """What is called keeps this argument beyond the call."""

    callee: Callee
    module: str
    argument: int | str

    def settle(self, project: Project) -> Answer:
        """Refuted where no function that is surely meant does."""
        found = project.keeps(self.callee, self.module, self.argument)
        if found is None:
            return REFUTED
        target, keeping = found
        if NothingTrainsOn(keeping.holder).settle(project) is REFUTED:
            return REFUTED
        if any(drawn.how == "detached" for _, drawn in project.drawn(keeping.holder)):
            return REFUTED  # the place that keeps it is told, see `memlint.facts.kept`
        return holds(Reason(keeping.spot, f"`{target[1]}` keeps `{keeping.parameter}` here"))


class CalleeMayKeep(Struct, frozen=True):
    """What is called is not in the checked files."""

    callee: Callee
    module: str

    def settle(self, project: Project) -> Answer:
        """Refuted where it is: `CalleeKeeps` knows then."""
        if project.meant(self.callee, self.module)[0]:
            return REFUTED
        return unknown(f"whether `{self.callee.name}` keeps what it is given", would_prove="check its file too")


class CalleeTrains(Struct, frozen=True):
    """A function that is called here runs a training step."""

    caller: FunctionId
    name: str

    def settle(self, project: Project) -> Answer:
        """Refuted where its code is known and nothing in it trains, or where nothing says that it does."""
        targets = project.called_by(self.caller, self.name)
        for target in targets:
            if project.trains(target):
                return holds(Reason(project.functions[target].spot, f"`{self.name}` trains"))
        if not targets and self.name in k.TRAINING_CALLS:
            return unknown(f"what `{self.name}` does")
        return REFUTED
