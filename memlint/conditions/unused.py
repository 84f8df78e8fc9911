"""Whether anything in the project uses a piece of state."""

from __future__ import annotations

from msgspec import Struct

from memlint.facts import values as v
from memlint.facts.summary import FunctionId
from memlint.project import REFUTED, Project, holds, unknown
from memlint.rule import Answer, Reason

_KNOWN = ("pytorch_lightning.", "lightning.")


class NobodyReads(Struct, frozen=True):
    """No file reads an attribute: not of `self` in the class, its bases or subclasses, and not of any other object.

    path: of the class of what is stored, where it is in another file: it is to be a module with parameters.
    """

    owner: str
    attribute: str
    path: str = ""

    def settle(self, project: Project) -> Answer:
        """Refuted by any read, and by a base class that nobody has seen, which may read it."""
        if self.path:
            name = self.path.rpartition(".")[2]
            found = project.classes.get(name, [])
            holds_modules = any(kind == v.MODULE for cls in found for _, kind in cls.kinds)
            if len(found) != 1 or found[0].frozen or not holds_modules or not project.is_module(name):
                return REFUTED
        unseen = [base for base in project.unseen_bases(self.owner) if not base.startswith(_KNOWN)]
        return REFUTED if unseen or _is_read(project, self.owner, self.attribute) else holds()


class NobodyElseReads(Struct, frozen=True):
    """No other file reads an attribute, as far as one can tell from its name. known: the class's own file does."""

    owner: str
    attribute: str
    known: bool

    def settle(self, project: Project) -> Answer:
        """Refuted by a base or subclass elsewhere that reads it, and by a base class that nobody has seen."""
        if _is_read(project, self.owner, self.attribute, but_by=self.owner if self.known else ""):
            return REFUTED
        return REFUTED if project.unseen_bases(self.owner) else holds()


class NobodyPasses(Struct, frozen=True):
    """No call in the project passes a parameter. private: nobody outside of the project can."""

    function: FunctionId
    parameter: str
    private: bool

    def settle(self, project: Project) -> Answer:
        """Unknown where the function may be called from outside; refuted by a call that passes the parameter."""
        callers = project.callers.get(self.function, [])
        if self.parameter in project.attributes.keywords or project.passed_to(self.function, self.parameter):
            return REFUTED
        if any(name == "**" for caller in callers for name, _ in caller.call.keywords):
            return REFUTED
        sure = [caller for caller in callers if caller.sure]
        if self.private:
            return holds(Reason(sure[0].call.spot, "called without it here")) if sure else REFUTED
        return unknown(
            f"whether code outside of the checked files passes `{self.parameter}`",
            *(Reason(caller.call.spot, "called without it here") for caller in sure[:1]),
            would_prove="check all files of the program together, and drop what none of them uses",
        )


class NobodyReadsKey(Struct, frozen=True):
    """No file reads a field of a data class, although most of the others are read one by one."""

    owner: str
    attribute: str
    beside: tuple[str, ...]

    def settle(self, project: Project) -> Answer:
        """Unknown at best: an object can be taken apart without naming its fields."""
        if _is_read(project, self.owner, self.attribute):
            return REFUTED
        if any(self.attribute in function.params for function in project.functions.values()):
            return REFUTED  # the fields may be handed over together, as keyword arguments
        read = [name for name in self.beside if name in project.attributes.read]
        if len(read) < 3 or 2 * len(read) < len(self.beside) or project.unseen_bases(self.owner):
            return REFUTED
        return unknown(
            f"whether anything goes over all fields of a `{self.owner}` and needs this one",
            would_prove="search the program's data files and scripts for the name, and drop the field",
        )


def _is_read(project: Project, owner: str, attribute: str, but_by: str = "") -> bool:
    """Whether a file reads an attribute: of any object, or of `self` in its class, but one, a base or a subclass."""
    readers = project.attributes.readers(attribute) - {but_by}
    return attribute in project.attributes.read or not readers.isdisjoint(project.family(owner))
