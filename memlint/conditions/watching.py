"""Whether anybody looks at the memory."""

from __future__ import annotations

from msgspec import Struct

from memlint.facts.summary import FunctionId
from memlint.linking import closure
from memlint.project import REFUTED, Project, holds
from memlint.rule import Answer, Reason


class NobodyMeasures(Struct, frozen=True):
    """Neither the function, nor what it calls, nor what calls it measures memory, and somebody wants it measured.

    rule: who asks. Most programs never measure their memory, and `all` is no wish that each should: wanted is it where
    the user has selected the rule by its name, or where the project does measure, only not here.
    """

    function: FunctionId
    rule: str

    def settle(self, project: Project) -> Answer:
        """By the call graph; three calls upwards and all that is known downwards."""
        path = project.functions[self.function].spot.path
        if not project.measures and self.rule not in project.asked.get(path, ()):
            return REFUTED
        around = level = [self.function]
        for _ in range(3):
            level = [caller.function for function in level for caller in project.callers.get(function, ())]
            around = [*around, *level]
        reached = closure(around, lambda f: (target for target, _ in project.callees.get(f, ())), 300)
        if any(project.functions[function].probes for function in reached):
            return REFUTED
        return holds(silent_if="something in the step measures memory")


class ImportedNeverCalled(Struct, frozen=True):
    """Other modules import the function, and nothing calls it."""

    function: FunctionId

    def settle(self, project: Project) -> Answer:
        """Refuted where nobody imports it either: it may be there for users of the package."""
        users = project.idle_imports(self.function)
        if not users or project.is_called(self.function):
            return REFUTED
        named = ", ".join(sorted(users)[:3])
        return holds(Reason(project.functions[self.function].spot, f"imported by {named}, and called nowhere"))
