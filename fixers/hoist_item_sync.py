"""Reads of single numbers become reads of a list that one `tolist()` before the loop has made.

`x[i].item()` becomes `x_list[i]`, and `for t in x` goes over `x.flatten().tolist()`. Each entry that can be read as a
number holds exactly one, so flattening keeps their places, and `tolist()` gives the same Python numbers as `item()`.
Safe where memlint has proved that nothing in the loop can change the tensor; unsafe elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import ReadsPerItem
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree


@fixer()
def fix(fact: ReadsPerItem, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Read all numbers at once."""
    if fact.hinder:
        raise Refuse(fact.hinder)
    loop = tree.at(fact.loop, cst.For, cst.ListComp, cst.SetComp, cst.DictComp, cst.GeneratorExp)
    lists: dict[str, str] = {}
    inside: dict[cst.CSTNode, cst.CSTNode] = {}
    for span, selection, name in fact.reads:
        if selection and selection not in lists:
            lists[selection] = tree.free_name(_stem(selection), loop, lists.values())
        new = f"{lists[selection]}[{name}]" if selection else name
        inside[tree.value_at(span)] = tree.expression(new)
    for span in fact.iterables:
        tensor = tree.value_at(span)
        inside[tensor] = _as_list(tensor)
    safety = Safety.SAFE if fact.exact else Safety.UNSAFE
    if not lists:
        return Edit({old: new for old, new in inside.items() if old is not new}, safety)
    statement = tree.statement(loop)
    if not isinstance(tree.parent(statement), (cst.IndentedBlock, cst.Module)):
        raise Refuse("there is no place for a line before the loop")
    if isinstance(statement, cst.While):
        raise Refuse("the condition of a `while` is evaluated anew in each pass")
    above = getattr(statement, "leading_lines", ())
    made = [tree.line(f"{name} = x") for name in lists.values()]
    for number, selection in enumerate(lists):
        value = _as_list(tree.expression(selection))
        assign = made[number].body[0].with_changes(value=value)
        made[number] = made[number].with_changes(body=[assign])
    made[0] = made[0].with_changes(leading_lines=above)
    changed = statement.visit(_Swap(inside)).with_changes(leading_lines=())  # type: ignore[union-attr]
    return Edit({statement: cst.FlattenSentinel([*made, changed])}, safety)


def _as_list(tensor: cst.BaseExpression) -> cst.BaseExpression:
    """`x.flatten().tolist()`."""
    if not isinstance(tensor, (cst.Name, cst.Attribute, cst.Subscript, cst.Call)) and not tensor.lpar:
        tensor = tensor.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    flat = cst.Call(cst.Attribute(tensor, cst.Name("flatten")))
    return cst.Call(cst.Attribute(flat, cst.Name("tolist")))


def _stem(selection: str) -> str:
    """`x_list` for `x`, `self.x` and `x[:, 0]`."""
    words = [word for word in selection.partition("[")[0].split(".") if word.isidentifier()]
    return f"{words[-1].lstrip('_') or 'number'}_list" if words else "number_list"


class _Swap(cst.CSTTransformer):
    def __init__(self, changes: Mapping[cst.CSTNode, cst.CSTNode]) -> None:
        super().__init__()
        self.changes = changes

    def on_visit(self, node: cst.CSTNode) -> bool:
        return node not in self.changes

    def on_leave(self, original_node: cst.CSTNode, updated_node: Any) -> Any:
        return self.changes.get(original_node, updated_node)
