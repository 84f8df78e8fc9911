"""What other files demand of a setting."""

from __future__ import annotations

from msgspec import Struct

from memlint.facts.demands import Plain, Test
from memlint.project import Project
from memlint.rule import Answer, Verdict


class PassesElsewhere(Struct, frozen=True):
    """Checks of a setting in other files, which the fixer must know of: a value that they forbid is not written."""

    path: str
    name: str
    value: Plain

    def settle(self, project: Project) -> Answer:
        """Holds in any case: the limit is broken whoever forbids what would keep it."""
        for path, (name, sign, bound) in project.attributes.checks:
            if path != self.path and name == self.name and not Test(sign, bound, "").holds(self.value):
                return Answer(Verdict.HOLDS, facts=(("elsewhere", path),))
        return Answer(Verdict.HOLDS)
