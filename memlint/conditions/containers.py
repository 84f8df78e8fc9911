"""Who makes, trims and reads a container."""

from __future__ import annotations

from msgspec import Struct

from memlint.facts.events import Callee
from memlint.facts.summary import FunctionId
from memlint.facts.words import name_of
from memlint.project import REFUTED, Project, holds, unknown
from memlint.rule import Answer, Reason, Verdict


class NothingTrims(Struct, frozen=True):
    """No live code bounds the container."""

    holder: str
    function: FunctionId

    def settle(self, project: Project) -> Answer:
        """A clear, pop, del, slice or new binding that somebody calls bounds it; one that nobody calls does not."""
        idle = []
        name = name_of(self.holder)
        if project.rebuilds(self.holder) or project.is_listed_as_bounded(self.holder):
            return REFUTED
        for function, bound in project.bounds(self.holder):
            summary = project.functions[function]
            if bound.how == "init" or bound.how == "rebind" and project.only_constructs(function):
                continue
            live = function == self.function or project.is_called(function) or not summary.owner
            if live or project.unseen_bases(summary.owner):
                return REFUTED
            idle.append((summary, bound))
        if idle:
            summary, bound = idle[0]
            return unknown(
                f"whether anything calls `{summary.name}`, which would trim it",
                Reason(bound.spot, "trimmed here, but no checked file calls this"),
                would_prove=f"check what calls `{summary.name}` too, or list `{name}` under `bounded-containers`",
            )
        return holds(silent_if=f"something that runs clears `{name}`, or it is listed under `bounded-containers`")


class NobodyEmpties(Struct, frozen=True):
    """Nobody deletes what an attribute holds."""

    holder: str

    def settle(self, project: Project) -> Answer:
        """Refuted where something does, be it in another file and by the attribute's name alone."""
        return REFUTED if any(bound.how == "del" for _, bound in project.bounds(self.holder)) else holds()


class MadeSomewhere(Struct, frozen=True):
    """A base class, in another file, makes the container."""

    holder: str

    def settle(self, project: Project) -> Answer:
        """Refuted where none does, or where it makes one with a size of its own."""
        made = project.made_by_base(self.holder)
        if not made or any(one.bounded for one in made):
            return REFUTED
        return holds(Reason(made[0].spot, f"`{name_of(made[0].holder)}` is made once here, as a {made[0].kind}"))


class MovedLater(Struct, frozen=True):
    """The gathered list is concatenated and only then taken to the CPU, here or in a callee."""

    holder: str

    def settle(self, project: Project) -> Answer:
        """Refuted where no such place is known."""
        moved = project.moved(self.holder)
        if not moved:
            return REFUTED
        reasons = (Reason(m.spot, "all of it is moved to the CPU only here") for m in moved[:3])
        return holds(*reasons, silent_if="each entry is moved to the CPU when it is added")


class ReadHereOnly(Struct, frozen=True):
    """No other file reads an attribute of this name: nobody elsewhere limits what it holds."""

    attribute: str
    module: str

    def settle(self, project: Project) -> Answer:
        """Unknown where another file does."""
        others = sorted(project.reading(self.attribute) - {self.module})
        return unknown(f"whether `{others[0]}` limits `{self.attribute}`") if others else holds()


class OnlyEndsRead(Struct, frozen=True):
    """Nobody reads more of a list than a few fixed entries.

    indices: what this file reads. passed: the calls that get the list, and as which argument.
    attribute: the name that other files would read it by; module: where it is made.
    """

    indices: frozenset[int]
    passed: tuple[tuple[Callee, int | str], ...]
    attribute: str
    module: str

    def settle(self, project: Project) -> Answer:
        """Refuted where a callee or another file may read all of it; the entries are filled in for the fixer."""
        read = set(self.indices)
        for callee, argument in self.passed:
            found = project.ends(callee, self.module, argument)
            if found is None:
                return REFUTED
            read |= found
        if self.attribute and project.reading(self.attribute) - {self.module}:
            return REFUTED
        return Answer(Verdict.HOLDS, facts=(("indices", tuple(sorted(read))),))


class NothingBoundsCache(Struct, frozen=True):
    """No checked file limits or clears MLX's buffer cache."""

    names: tuple[str, ...] = ("set_cache_limit", "clear_cache", "set_memory_limit", "set_wired_limit")

    def settle(self, project: Project) -> Answer:
        """Refuted where somebody calls one of the functions."""
        called = any(call.name in self.names for f in project.functions.values() for call in f.calls)
        return REFUTED if called else holds()
