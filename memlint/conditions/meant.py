"""Questions that nothing settles, or not for sure."""

from __future__ import annotations

from msgspec import Struct

from memlint.project import Project, unknown
from memlint.rule import Answer


class Open(Struct, frozen=True):
    """Something that no static fact settles. would_prove: what the user can write or do to settle it."""

    question: str
    would_prove: str = ""

    def settle(self, project: Project) -> Answer:
        """Always unknown."""
        return unknown(self.question, would_prove=self.would_prove)


WHICH = "whether this `{name}` is the one that is meant"


OWNER = "annotate the object with its class"
