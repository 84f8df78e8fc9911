"""Messages go behind a test: of the level for debugging, else of `every(100)`, which is true once in a hundred times.

What is computed for the messages alone goes with them where it stands directly beside them. Unsafe: most of the
messages are no longer written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import FrequentMessage
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree

_NAMES = ("log_now", *(f"log_now_{number}" for number in range(2, 10)))


@fixer(helpers=("every",))
def fix(fact: FrequentMessage, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Write them when they are wanted, or once in a while."""
    lines = [tree.statement_at(span) for span in fact.lines]
    if fact.logger:
        if tree.unknown_name(fact.logger, lines[0]):
            raise Refuse(f"`{fact.logger}` is not known here")
        test = f"{fact.logger}.isEnabledFor({tree.name_for('logging', lines[0])}.DEBUG)"
        return Edit(_behind(lines, test, tree), Safety.UNSAFE, modules=("logging",))
    number = options["every"]
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise Refuse(f"the option `every` of log-sparsely must be a whole number above 0, not {number!r}")
    above = tree.statement_at(fact.loop) if fact.loop is not None else tree.module.body[tree.top(lines[0])]
    name = next((name for name in _NAMES if tree.unknown_name(name, lines[0])), None)
    if name is None:
        raise Refuse("all names for the object that counts are taken")
    made = tree.line(f"{name} = {tree.helper('every', above)}({number})")
    swapped = above.visit(_Swap(_behind(lines, f"{name}()", tree)))
    made = made.with_changes(leading_lines=getattr(above, "leading_lines", ()))
    left = [] if fact.loop is not None else [cst.EmptyLine(indent=False), cst.EmptyLine(indent=False)]
    new = [made, swapped.with_changes(leading_lines=left)]  # type: ignore[union-attr]
    return Edit({above: cst.FlattenSentinel(new)}, Safety.UNSAFE, helpers=("every",))


def _behind(lines: list[cst.BaseStatement], test: str, tree: Tree) -> dict[cst.CSTNode, Any]:
    """The statements behind a test."""
    first, *rest = lines
    body = [first.with_changes(leading_lines=()), *rest]
    choice = cst.If(tree.expression(test), cst.IndentedBlock(body), leading_lines=getattr(first, "leading_lines", ()))
    return {first: choice, **{line: cst.RemoveFromParent() for line in rest}}


class _Swap(cst.CSTTransformer):
    def __init__(self, changes: Mapping[cst.CSTNode, Any]) -> None:
        super().__init__()
        self.changes = changes

    def on_visit(self, node: cst.CSTNode) -> bool:
        return node not in self.changes

    def on_leave(self, original_node: cst.CSTNode, updated_node: Any) -> Any:
        return self.changes.get(original_node, updated_node)
