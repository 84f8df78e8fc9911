"""A loop over rows becomes one batched call.

Nearest neighbour: `out[:n] = grid[nearest_rows(points[:n], grid)]`, with the gradients that the loop gave. Rounding or
clamping: `out[:n] = torch.round(points[:n])`. A loop that appends to a list becomes `out.extend(...)`: the list stays a
list, of rows or of plain numbers. The loop's comments move above the new line. Safe where the rule proved equal values,
unsafe elsewhere. Refused where a name that the loop sets is read later. A search of all rows at once becomes one call
of `nearest_rows`, and the lines that only led to it go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import BroadcastSearch, PerItemLoop
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree

# Comments that speak to a tool about a line that goes.
_DIRECTIVES = ("noqa", "type:", "pylint:", "pragma:", "fmt:", "memlint:", "nosec")


@fixer(helpers=("nearest_rows",))
def fix(fact: PerItemLoop | BroadcastSearch, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Replace a loop, or a search of all rows at once, by the batched call."""
    if isinstance(fact, BroadcastSearch):
        return _in_pieces(fact, tree)
    if not fact.unused_after:
        raise Refuse("a name that the loop sets is read after it")
    safety = Safety.SAFE if fact.exact else Safety.UNSAFE
    loop = tree.at(fact.loop, cst.For)
    if loop.orelse is not None or loop.asynchronous is not None:
        raise Refuse("the loop has an else branch, or is asynchronous")
    if not (fact.count or fact.collects) and "(" in fact.points:
        raise Refuse(f"`{fact.points}` would be computed twice: give it a name first")
    if fact.form == "nearest":
        value, needs = _nearest(fact, tree, loop), {"helpers": ("nearest_rows",)}
        if fact.stores == "index" and _stores_numbers(loop, tree):
            if fact.collects:
                value += ".tolist()"
            elif not _is_tensor(fact.result, loop, tree):
                raise Refuse(f"whether `{fact.result}` is a tensor or a list of numbers can't be told")
    else:
        arguments = f", {fact.arguments}" if fact.arguments else ""
        function = f"{tree.name_for('torch', loop)}.{fact.form}"
        value, needs = f"{function}({_rows(fact, tree)}{arguments})", {"modules": ("torch",)}
    target = f"{fact.result}[:{fact.count or f'len({fact.points})'}]"
    new = f"{fact.result}.extend({value})" if fact.collects else f"{target} = {value}"
    return Edit({loop: _line(new, loop, tree)}, safety, **needs)


def _in_pieces(fact: BroadcastSearch, tree: Tree) -> Edit:
    call = tree.at(fact.call, cst.Call)
    statement = tree.statement(call)
    steps = [tree.statement_at(span) for span in fact.steps]
    if not isinstance(statement, cst.SimpleStatementLine) or statement in steps:
        raise Refuse("the search is part of a larger statement")
    block = tree.parent(statement)
    if any(tree.parent(step) is not block for step in steps):
        raise Refuse("the distances are computed elsewhere: in another branch or loop")
    name = tree.helper("nearest_rows", call)
    new = tree.expression(f"{name}({fact.points}, {fact.grid})")
    # The lines that go leave their comments to the one that stays.
    kept = [line for step in steps for line in getattr(step, "leading_lines", ())]
    changed = statement.with_deep_changes(call, func=new.func, args=new.args)  # type: ignore[attr-defined]
    changed = changed.with_changes(leading_lines=[*kept, *statement.leading_lines])
    removed: dict[cst.CSTNode, Any] = {step: cst.RemoveFromParent() for step in steps}
    return Edit({**removed, statement: changed}, Safety.UNSAFE, helpers=("nearest_rows",))


def _nearest(fact: PerItemLoop, tree: Tree, at: cst.CSTNode) -> str:
    index = f"{tree.helper('nearest_rows', at)}({_rows(fact, tree)}, {fact.grid})"
    return index if fact.stores == "index" else f"{_primary(fact.grid, tree)}[{index}]"


def _rows(fact: PerItemLoop, tree: Tree) -> str:
    points = _primary(fact.points, tree)
    whole = ("", f"len({fact.points})", f"{points}.shape[0]", f"{points}.size(0)")
    return fact.points if fact.count in whole else f"{points}[:{fact.count}]"


def _primary(source: str, tree: Tree) -> str:
    """A source that can be indexed as it stands, or in parentheses."""
    primaries = (cst.Name, cst.Attribute, cst.Subscript, cst.Call)
    return source if isinstance(tree.expression(source), primaries) else f"({source})"


def _stores_numbers(loop: cst.For, tree: Tree) -> bool:
    """Whether the loop's last statement stores `int(...)` or `....item()`."""
    nodes = list(tree.inside(loop.body))
    last = [node for node in nodes if isinstance(node, (cst.Assign, cst.Expr))][-1]
    set_to = {tree.text_of(node.targets[0].target): node.value for node in nodes if isinstance(node, cst.Assign)}
    value = last.value
    if isinstance(last, cst.Expr) and isinstance(value, cst.Call):
        value = value.args[0].value
    while isinstance(value, cst.Name) and value.value in set_to:
        value = set_to.pop(value.value)
    function = tree.text_of(value.func) if isinstance(value, cst.Call) else ""
    return function == "int" or function.endswith(".item")


def _is_tensor(name: str, loop: cst.For, tree: Tree) -> bool:
    """Whether a function of torch made what this name stands for."""
    made = [node for node in tree.inside(tree.function(loop) or tree.module) if isinstance(node, cst.Assign)]
    values = [node.value for node in made if tree.text_of(node.targets[0].target) == name]
    prefix = f"{tree.name_for('torch', loop)}."
    return bool(values) and all(isinstance(v, cst.Call) and tree.text_of(v.func).startswith(prefix) for v in values)


def _line(source: str, loop: cst.For, tree: Tree) -> cst.BaseStatement:
    comments = [text for text in tree.comments(loop.body) if not text.lstrip("# ").startswith(_DIRECTIVES)]
    kept = [cst.EmptyLine(comment=cst.Comment(text)) for text in comments]
    return tree.line(source).with_changes(leading_lines=[*loop.leading_lines, *kept])
