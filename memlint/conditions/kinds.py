"""What a value is, where only other files say so."""

from __future__ import annotations

from msgspec import Struct

from memlint.facts import values as v
from memlint.facts.summary import FunctionId
from memlint.project import REFUTED, Project, holds, unknown
from memlint.rule import Answer, Reason


class IsModule(Struct, frozen=True):
    """A parameter that the function calls is a module, by what callers pass."""

    function: FunctionId
    parameter: str

    def settle(self, project: Project) -> Answer:
        """Unknown unless a caller shows it."""
        for caller, argument in project.passed_to(self.function, self.parameter):
            if argument.kind == v.MODULE:
                if argument.frozen:
                    return REFUTED
                return holds(Reason(caller.call.spot, f"`{self.parameter}` is a module here"))
            if argument.kind in (v.FUNCTION, v.STRING, v.NUMBER, v.LIST, v.DICT):
                return REFUTED
        proof = f"annotate `{self.parameter}: nn.Module`"
        return unknown(f"whether `{self.parameter}` is a module", would_prove=proof)


class IsModuleAttribute(Struct, frozen=True):
    """What a base class in another file keeps under an attribute is a module. strict: refuted where that is unknown."""

    owner: str
    attribute: str
    question: str
    would_prove: str
    strict: bool = False

    def settle(self, project: Project) -> Answer:
        """Unknown where no class says what it is."""
        kinds = project.kinds_of(self.owner, self.attribute)
        if v.MODULE not in kinds and project.methods(self.owner, self.attribute):
            return REFUTED  # a method of a base class
        if kinds == {v.MODULE}:
            return holds()
        if kinds and v.MODULE not in kinds or self.strict:
            return REFUTED
        return unknown(self.question, would_prove=self.would_prove)


class IsModuleClass(Struct, frozen=True):
    """A class in another file is a module's. strict: refuted where that is unknown."""

    path: str
    question: str
    would_prove: str
    strict: bool = False

    def settle(self, project: Project) -> Answer:
        """Unknown where the class is not in the project."""
        kind = project.kind_of(self.path)
        if kind or self.strict:
            return holds() if kind == v.MODULE else REFUTED
        return unknown(self.question, would_prove=self.would_prove)


class Heavy(Struct, frozen=True):
    """Objects of the class are large: it is a module, or they hold tensors.

    only_modules: tensors will not do. required: where nothing shows it, it is taken not to hold.
    """

    owner: str
    only_modules: bool = False
    required: bool = False

    def settle(self, project: Project) -> Answer:
        """Unknown where nothing shows what the objects hold."""
        if project.is_module(self.owner) or not self.only_modules and project.holds_tensors(self.owner):
            return holds()
        if self.required or self.only_modules:
            return REFUTED
        return unknown(f"whether objects of `{self.owner}` hold tensors, and how many are made")


class MadeAnew(Struct, frozen=True):
    """Objects of the class are not only made where a module is imported."""

    owner: str

    def settle(self, project: Project) -> Answer:
        """An object that lives as long as the program is kept alive by nothing else."""
        return REFUTED if project.only_at_import(self.owner) else holds()


class GivenTensor(Struct, frozen=True):
    """Some caller passes a tensor for one of these parameters."""

    function: FunctionId
    parameters: tuple[str, ...]

    def settle(self, project: Project) -> Answer:
        """Refuted where no caller shows it."""
        for parameter in self.parameters:
            for caller, argument in project.passed_to(self.function, parameter):
                if caller.sure and argument.kind == v.TENSOR:
                    return holds(Reason(caller.call.spot, f"`{parameter}` is a tensor here"))
        return REFUTED
