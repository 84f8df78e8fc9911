"""How often a function runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from memlint.conditions.meant import OWNER, WHICH
from memlint.facts.events import OFF
from memlint.facts.scopes import MODULE_BODY
from memlint.facts.summary import FunctionId
from memlint.project import REFUTED, Project, holds, unknown
from memlint.rule import Answer, Reason


@dataclass(frozen=True, slots=True)
class PerStep:
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
class CalledEachStep:
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


@dataclass(frozen=True, slots=True)
class RunsInEveryStep:
    """The function runs in every step: no test on the way to it lets it be skipped, and gradients may be on."""

    function: FunctionId

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
            if summary.name == "forward" and summary.owner and project.is_module(summary.owner):
                reason = Reason(summary.spot, "the forward of a module runs in every step")
            for caller in project.callers.get(function, ()):
                if caller.call.guarded or caller.call.mode == OFF or not (caller.sure or names[summary.name] == 1):
                    continue
                training = summary.steps or project.functions[caller.function].trains
                if training and (caller.call.repeats or caller.call.items and summary.steps):
                    reason = Reason(caller.call.spot, f"`{function[1]}` is called in every step of a loop here")
                if caller.function not in seen:
                    seen.add(caller.function)
                    todo.append((caller.function, guess or ("" if caller.sure else summary.name)))
            if reason is not None and not guess:
                return holds(reason)
            if reason is not None:
                guessed = unknown(WHICH.format(name=guess), reason, would_prove=OWNER)
        return guessed


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
