"""What would break if the objects of a class had slots instead of a dict."""

from __future__ import annotations

from msgspec import Struct

from memlint.facts.records import LOOKS, SETS
from memlint.project import Project
from memlint.rule import Answer, Verdict


class FitsSlots(Struct, frozen=True):
    """Nothing in the project looks at the layout of its objects. fields: the attributes that they have."""

    owner: str
    fields: tuple[str, ...]

    def settle(self, project: Project) -> Answer:
        """Always holds, since the finding is none the less true; it says whether the fix is safe."""
        inherited = any(
            base.rpartition(".")[2] == self.owner
            for known in project.classes.values()
            for cls in known
            for base in cls.bases
        )
        set_here = {f"{SETS}{name}" for name in self.fields}
        sets = {found for found in project.layout if found.startswith(SETS)} - set_here
        read = {f"{self.owner}.{name}" for name in self.fields} & project.layout
        return Answer(Verdict.HOLDS, facts=(("proved", not (inherited or sets or read or LOOKS in project.layout)),))
