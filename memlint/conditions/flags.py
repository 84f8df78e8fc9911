"""What is a Python bool, where only other files say so."""

from __future__ import annotations

from msgspec import Struct

from memlint.facts import values as v
from memlint.facts.summary import FunctionId
from memlint.project import REFUTED, Project, holds, unknown
from memlint.rule import Answer, Reason


class IsFlag(Struct, frozen=True):
    """An attribute is a Python bool. owner: the class of the object, "" where it is not known. own: it is `self`'s."""

    attribute: str
    owner: str
    own: bool

    def settle(self, project: Project) -> Answer:
        """Refuted where nothing declares it, or where anything else is stored under the name."""
        classes = project.attributes.flag_in(self.attribute)
        if not classes:
            return REFUTED
        if self.owner:
            if not classes.isdisjoint(project.family(self.owner)):
                return holds()
            if self.own or project.knows(self.owner):
                return REFUTED
        elif classes == {""}:
            return holds()  # an option of the command line, and nothing else in the project
        return unknown(
            f"whether the object is one whose `{self.attribute}` is declared as a `bool`",
            would_prove="annotate the object with its class",
        )


class PassedFlags(Struct, frozen=True):
    """Callers pass Python bools for a parameter whose default is one."""

    function: FunctionId
    parameter: str

    def settle(self, project: Project) -> Answer:
        """Unknown where nobody passes anything; refuted unless all that is passed are numbers, as bools are."""
        passed = project.passed_to(self.function, self.parameter)
        if any(argument.kind != v.NUMBER for _, argument in passed):
            return REFUTED
        if passed:
            return holds(Reason(passed[0][0].call.spot, f"a flag is passed for `{self.parameter}` here"))
        return unknown(
            f"whether callers pass Python bools for `{self.parameter}`",
            would_prove=f"annotate `{self.parameter}: bool`",
        )
