"""What the project saves, and who looks at it."""

from __future__ import annotations

from dataclasses import dataclass

from memlint.facts.summary import FunctionId
from memlint.linking import closure
from memlint.project import REFUTED, Project, unknown
from memlint.rule import Answer, Reason


@dataclass(frozen=True, slots=True)
class SavedWithConfig:
    """Some module of the project saves these weights together with a configuration, and no caller looks at it.

    weights: keys of the entries that are loaded, or that the loading class speaks of.
    """

    function: FunctionId
    weights: tuple[str, ...]

    def settle(self, project: Project) -> Answer:
        """Never more than likely: which files a function loads, only its user knows."""
        near = [saved for module, saved in project.configs if _together(module, self.function[0])]
        fits = [saved for saved in near if set(self.weights) & set(saved.weights)]
        above = closure([self.function], lambda f: (caller.function for caller in project.callers.get(f, ())), 100)
        read = {key for function in above for key in project.functions[function].reads_config}
        if not fits or any(saved.key in read for saved in near):
            return REFUTED
        saved = fits[0]
        question = f"whether the file is one that was saved with its configuration, under `{saved.key}`"
        return unknown(question, Reason(saved.spot, f"saved here together with `{saved.key}`"))


def _together(one: str, other: str) -> bool:
    """Two modules of one package, or a script and what it imports."""
    return "." not in one or "." not in other or one.partition(".")[0] == other.partition(".")[0]
