"""`position + displacement` becomes `clamp_step(position, displacement, low=..., high=...)`.

`position += displacement` becomes an assignment: the sum is a new tensor, and other names of the old one keep the old
values. So a parameter of the function is refused, because its caller would no longer see the move. Always unsafe:
values that left the range now stop at its border.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import UnclampedSum
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree


@fixer(helpers=("clamp_step",))
def fix(fact: UnclampedSum, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Keep the sum inside the range that the code expects."""
    old = tree.at(fact.total, cst.AugAssign) if fact.augmented else tree.at(fact.total, cst.BinaryOperation)
    if not isinstance(old.operator, (cst.Add, cst.AddAssign)):
        raise Refuse("only a sum can be clamped")
    if not (fact.low or fact.high):
        raise Refuse("the bounds of the range are not written here: pass them to `clamp_step`")
    if fact.excluded:
        raise Refuse(f"the range ends before its bound `{fact.excluded}`")
    low, high = fact.low or 'float("-inf")', fact.high or 'float("inf")'
    for bound in (low, high):
        if unknown := tree.unknown_name(bound, old):
            raise Refuse(f"the bound `{bound}` needs `{unknown}`, which is not known here")
    bounds = {"low": tree.expression(low), "high": tree.expression(high)}
    name = tree.helper("clamp_step", old)
    if isinstance(old, cst.BinaryOperation):
        new: cst.CSTNode = tree.call(old, name, *_sides(fact, tree, old, old.left, old.right), **bounds)
    else:
        _check_target(old.target, tree)
        call = tree.call(None, name, *_sides(fact, tree, old, old.target, old.value), **bounds)
        new = cst.Assign([cst.AssignTarget(old.target)], call, semicolon=old.semicolon)
    return Edit({old: new}, Safety.UNSAFE, helpers=("clamp_step",))


def _sides(
    fact: UnclampedSum, tree: Tree, old: cst.CSTNode, left: cst.BaseExpression, right: cst.BaseExpression
) -> tuple[cst.BaseExpression, cst.BaseExpression]:
    """Position and displacement: the two sides as they stand, or, of a longer sum, as the fact has sorted its terms."""
    as_they_stand = (tree.text_of(left), tree.text_of(right)) == (fact.position, fact.displacement)
    kept = tree.comments(left) + tree.comments(right) if as_they_stand else []
    if len(kept) < len(tree.comments(old)):
        raise Refuse("the sum would lose its comments")
    return (left, right) if as_they_stand else (tree.expression(fact.position), tree.expression(fact.displacement))


def _check_target(target: cst.CSTNode, tree: Tree) -> None:
    if any(isinstance(node, cst.Call) for node in tree.inside(target)):
        raise Refuse("the call in the target would run twice")
    function = tree.function(target)
    if isinstance(target, cst.Name) and function is not None:
        parameters = [node.name.value for node in tree.inside(function.params) if isinstance(node, cst.Param)]
        if target.value in parameters:
            raise Refuse(f"the caller's `{target.value}` is moved in place, and the caller would no longer see it")
