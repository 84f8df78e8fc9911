"""Which function a call means; questions that nothing settles."""

from __future__ import annotations

from dataclasses import dataclass

from memlint.facts.summary import Call
from memlint.project import Project, unknown
from memlint.rule import Answer, Spot


@dataclass(frozen=True, slots=True)
class Open:
    """Something that no static fact settles. would_prove: what the user can write or do to settle it."""

    question: str
    would_prove: str = ""

    def settle(self, project: Project) -> Answer:
        """Always unknown."""
        return unknown(self.question, would_prove=self.would_prove)


NOWHERE = Spot("", 0, "", 0)


def call_of(name: str, path: str, receiver: str, on_self: bool) -> Call:
    """A call as far as it takes to find the function that it means."""
    last = name.rpartition(".")[2]
    return Call(last, path, receiver, on_self, "", (), False, False, False, False, False, NOWHERE, (), ())


WHICH = "whether this `{name}` is the one that is meant"


OWNER = "annotate the object with its class"
