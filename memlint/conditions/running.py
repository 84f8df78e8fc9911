"""How often a function runs."""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

from memlint.conditions.meant import OWNER, WHICH
from memlint.facts import frameworks, ticking
from memlint.facts.events import OFF
from memlint.facts.scopes import MODULE_BODY
from memlint.facts.summary import FunctionId
from memlint.facts.trials import is_trial
from memlint.linking import MAKERS
from memlint.project import REFUTED, Project, holds, unknown
from memlint.rule import Answer, Reason


class PerStep(Struct, frozen=True):
    """The function runs once per step."""

    function: FunctionId
    any_loop: bool = False
    uncalled: bool = False
    of_a_loop: bool = False

    def settle(self, project: Project) -> Answer:
        """By the call graph; a function that no loop is seen to repeat is taken not to.

        uncalled: unless nothing is seen to call it at all. of_a_loop: an object that lives as long as one loop is
        enough, such as the meter of an epoch.
        """
        proof = f"list `{self.function[1]}` under `step-functions`"
        if self.function in project.per_step:
            return holds(*project.why(self.function, project.per_step))
        again = [c for c in project.callers.get(self.function, ()) if c.sure and c.call.again] if self.of_a_loop else []
        if again:
            return holds(Reason(again[0].call.spot, f"`{self.function[1]}` is called in each pass of a loop here"))
        if self.function in project.in_some_loop and self.any_loop:
            reasons = project.why(self.function, project.in_some_loop)
            return unknown("whether that loop runs for long", *reasons, would_prove=proof)
        if self.uncalled and not project.callers.get(self.function):
            return unknown(f"whether `{self.function[1]}` is called in each step", would_prove=proof)
        return REFUTED


class TrainedInALoop(Struct, frozen=True):
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


class CalledEachStep(Struct, frozen=True):
    """A loop that trains calls the function in each pass, directly or by way of functions that have no loops."""

    function: FunctionId

    def settle(self, project: Project) -> Answer:
        """Refuted where no such loop is known: a function that runs once per epoch may clear what it likes."""
        todo, seen = [self.function], {self.function}
        while todo:
            function = todo.pop()
            for caller in project.callers.get(function, ()):
                trains = caller.call.repeats and project.functions[caller.function].trains
                if function == self.function:  # a training step itself, also where its loop can't be told to be one
                    trains |= (caller.call.repeats or caller.call.items) and project.functions[function].steps
                if not caller.sure or caller.call.guarded:
                    continue
                if trains:
                    return holds(Reason(caller.call.spot, "called in a training loop here"))
                quiet = not any(call.loops or call.repeats for call in project.functions[caller.function].calls)
                if quiet and caller.function not in seen:
                    seen.add(caller.function)
                    todo.append(caller.function)
        return REFUTED


class RunsInEveryStep(Struct, frozen=True):
    """The function runs in every step: no test on the way to it lets it be skipped, and gradients may be on.

    trained: that a module's forward runs is not enough, for it may be run once, by a demonstration.
    """

    function: FunctionId
    trained: bool = False

    def settle(self, project: Project) -> Answer:
        """By the call graph, up to a loop that repeats a step or a module's forward; refuted where none is found.

        Unknown where a call on the way is told by a name that only one function has.
        """
        names = Counter(f.name for f in project.functions.values())
        guessed: Answer = REFUTED
        todo, seen = [(self.function, "")], {self.function}
        while todo:
            function, guess = todo.pop(0)
            summary = project.functions[function]
            reason = None
            forward = summary.name == "forward" and bool(summary.owner) and project.is_module(summary.owner)
            if forward:
                reason = Reason(summary.spot, "the forward of a module runs in every step")
            if function in project.lessons.step:
                reason = Reason(summary.spot, f"`{function[1]}` is listed under `step-functions`")
                forward = False
            for caller in project.callers.get(function, ()):
                if caller.call.guarded or caller.call.mode == OFF or not (caller.sure or names[summary.name] == 1):
                    continue
                training = summary.steps or project.functions[caller.function].trains
                if training and (caller.call.repeats or caller.call.items and summary.steps):
                    reason = Reason(caller.call.spot, f"`{function[1]}` is called in every step of a loop here")
                    forward = False
                if caller.function not in seen:
                    seen.add(caller.function)
                    todo.append((caller.function, guess or ("" if caller.sure else summary.name)))
            if reason is not None and not guess:
                if not (forward and self.trained):
                    return holds(reason)
                proof = f"list `{function[1]}` under `step-functions`"
                guessed = unknown("whether the module is run again and again", reason, would_prove=proof)
            elif reason is not None:
                guessed = unknown(WHICH.format(name=guess), reason, would_prove=OWNER)
        return guessed


class CalledPerItem(Struct, frozen=True):
    """A loop calls the function in each pass, directly or by way of other functions."""

    function: FunctionId

    def settle(self, project: Project) -> Answer:
        """Unknown where there is such a loop, since nothing tells how long it is; refuted where none is known."""
        todo, seen = [self.function], {self.function}
        while todo:
            for caller in project.callers.get(todo.pop(), ()):
                if not caller.sure or caller.function in seen:
                    continue
                if caller.call.repeats or caller.call.loops or caller.call.items:
                    reason = Reason(caller.call.spot, "called in each pass of a loop here")
                    return unknown("how many passes that loop makes", reason)
                seen.add(caller.function)
                todo.append(caller.function)
        return REFUTED


class RunsAgain(Struct, frozen=True):
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


_ENVIRONMENTS = ("gym.", "gymnasium.", "pettingzoo.", "dm_env.", "mesa.")


class EachTick(Struct, frozen=True):
    """The function runs in every pass of a loop that steps something.

    now_and_then: also where a test decides, in some passes, or where it runs in steps of any other kind.
    """

    function: FunctionId
    now_and_then: bool = False

    def settle(self, project: Project) -> Answer:
        """Refuted where no such way is known: what runs now and then may take its time."""
        todo: list[tuple[FunctionId, tuple[Reason, ...]]] = [(self.function, ())]
        seen = {self.function}
        if project.functions[self.function].name in MAKERS:
            return REFUTED
        if self.now_and_then and self.function in project.per_step:
            return holds(*project.why(self.function, project.per_step))
        while todo:
            function, way = todo.pop()
            summary = project.functions[function]
            if function in project.lessons.step or self._is_hook(project, function):
                said = f"`{summary.name}` runs in every step"
                return holds(Reason(summary.spot, said), *way)
            for caller in project.callers.get(function, ()):
                if not caller.sure or caller.function in seen or is_trial(caller.call.spot.path):
                    continue
                if self.now_and_then and not project.outlives(caller):
                    continue
                how = caller.call.reached
                if self.now_and_then:
                    how = how.removesuffix(ticking.GUARDED)
                if how == ticking.TICK:
                    return holds(
                        Reason(caller.call.spot, f"`{summary.name}` is called in each pass of a loop here"), *way
                    )
                if how == ticking.ALWAYS and project.functions[caller.function].name not in MAKERS:
                    seen.add(caller.function)
                    todo.append((caller.function, (Reason(caller.call.spot, f"which calls `{summary.name}`"), *way)))
        return REFUTED

    def _is_hook(self, project: Project, function: FunctionId) -> bool:
        """A method that a framework calls in each step, or an environment's own `step`."""
        summary = project.functions[function]
        if not summary.owner:
            return False
        bases = project.unseen_bases(summary.owner)
        if summary.name == "step" and any(base.startswith(_ENVIRONMENTS) for base in bases):
            return True
        return frameworks.runs_per_step(summary.name, bases)
