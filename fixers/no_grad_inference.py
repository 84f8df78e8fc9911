"""The function gets `@torch.no_grad()`, or the statement that runs the model moves into `with torch.no_grad():`.

The decorator stands next to the `def`, below others, so that `@property` or `@staticmethod` wrap it. It serves
generators too, where a with-block would leave the caller without gradients between two items. Safe where only plain
numbers leave the function, else unsafe: whoever trains on its result would find no graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import ForwardWithGrad
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree


@fixer()
def fix(fact: ForwardWithGrad, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Run the forward pass without gradients."""
    if fact.shared:
        raise Refuse("the statement also runs what is trained: give this forward pass a statement of its own")
    function = tree.at(fact.function, cst.FunctionDef) if fact.function and fact.decorate else None
    # A decorator on a coroutine function ends when the coroutine is made, before any of its code runs.
    old: cst.BaseStatement
    new: cst.BaseStatement
    if function is not None and function.asynchronous is None:
        old, new = function, _decorated(function, tree)
    else:
        old = tree.statement_at(fact.block)
        new = _wrapped(old, tree)
    return Edit({old: new}, Safety.UNSAFE if fact.escapes else Safety.SAFE, modules=("torch",))


def _no_grad(at: cst.CSTNode, tree: Tree) -> cst.BaseExpression:
    return tree.expression(f"{tree.name_for('torch', at)}.no_grad()")


def _decorated(function: cst.FunctionDef, tree: Tree) -> cst.FunctionDef:
    if any("jit." in tree.text_of(decorator) for decorator in function.decorators):
        raise Refuse("a function that TorchScript compiles can't carry this decorator")
    return function.with_changes(decorators=[*function.decorators, cst.Decorator(_no_grad(function, tree))])


def _wrapped(block: cst.BaseStatement, tree: Tree) -> cst.With:
    if isinstance(block, (cst.FunctionDef, cst.ClassDef)) or not isinstance(
        tree.parent(block), (cst.IndentedBlock, cst.Module)
    ):
        raise Refuse("the statement that runs the model can't be moved into a with-block")
    if tree.suspends(block):
        raise Refuse("the block yields or awaits: others would run without gradients in between")
    item = cst.WithItem(_no_grad(block, tree))
    inside = block.with_changes(leading_lines=())
    return cst.With([item], cst.IndentedBlock([inside]), leading_lines=getattr(block, "leading_lines", ()))
