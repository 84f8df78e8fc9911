"""What the project saves, and who looks at it."""

from __future__ import annotations

from msgspec import Struct

from memlint.facts.summary import FunctionId
from memlint.linking import closure
from memlint.project import REFUTED, Project, unknown
from memlint.rule import Answer, Reason


class SavedWithConfig(Struct, frozen=True):
    """Some module of the project saves these weights together with a configuration, and no caller looks at it.

    weights: keys of the entries that are loaded, or that the loading class speaks of.
    """

    function: FunctionId
    weights: tuple[str, ...]

    def settle(self, project: Project) -> Answer:
        """Never more than likely: which files a function loads, only its user knows."""
        here = project.functions[self.function].spot.path
        near = [saved for module, saved in project.configs
                if _one_package(module, self.function[0]) or _beside(saved.spot.path, here)]  # fmt: skip
        fits = [saved for saved in near if set(self.weights) & set(saved.weights)]
        above = closure([self.function], lambda f: (caller.function for caller in project.callers.get(f, ())), 100)
        read = {key for function in above for key in project.functions[function].reads_config}
        if not fits or any(saved.key in read for saved in near):
            return REFUTED
        saved = fits[0]
        question = f"whether the file is one that was saved with its configuration, under `{saved.key}`"
        return unknown(question, Reason(saved.spot, f"saved here together with `{saved.key}`"))


def _one_package(one: str, other: str) -> bool:
    return "." in one and one.partition(".")[0] == other.partition(".")[0]


def _beside(one: str, other: str) -> bool:
    """Two scripts in one folder, or a script and what lies below it."""
    folders = [path.rpartition("/")[0] for path in (one, other)]
    return any(not short or f"{long}/".startswith(f"{short}/") for short, long in (folders, folders[::-1]))
