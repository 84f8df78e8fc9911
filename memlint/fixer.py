"""What a fixer says: one site's edit on the tree, how safe it is, or why it refuses."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

if TYPE_CHECKING:
    import libcst as cst

    from memlint.edit import Tree


class Safety(str, enum.Enum):
    """safe: values, types and gradients stay. unsafe: needs `--unsafe-fixes`. suggested: shown, never written."""

    SAFE = "safe"
    UNSAFE = "unsafe"
    SUGGESTED = "suggested"


class Refuse(Exception):
    """Raised by a fixer that would have to guess; the text is the reason the user reads."""


class Edit(Struct, frozen=True):
    """One site's change.

    changes: old node of the tree -> new node, or several (a FlattenSentinel), or cst.RemoveFromParent().
    helpers: names of `memlint.runtime` that the new code calls; the import is added once.
    modules: plain modules that the new code needs (`torch`).
    """

    changes: Mapping[cst.CSTNode, cst.CSTNode | cst.FlattenSentinel[Any] | cst.RemovalSentinel]
    safety: Safety
    helpers: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


Fix = Callable[[Any, "Tree", Mapping[str, Any]], Edit]


class Fixer(Struct, frozen=True):
    """A fixer: the name of the rule that it cures, its function, the helpers that it may call."""

    name: str
    fix: Fix
    helpers: tuple[str, ...] = field(default=())


def fixer(*, helpers: tuple[str, ...] = ()) -> Callable[[Fix], Fix]:
    """Mark the one function of a fixer file: (fact, tree, the rule's options) -> Edit, or raise Refuse.

    helpers: the names of `memlint.runtime` that it may make the user's code call.
    """

    def mark(fix: Fix) -> Fix:
        fix.memlint = {"helpers": helpers}  # type: ignore[attr-defined]
        return fix

    return mark
