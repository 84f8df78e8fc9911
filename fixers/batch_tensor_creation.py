"""A tensor that is filled entry by entry is filled as a list, and copied to the device once.

`mask[i] = True` becomes `mask_list[i] = True`, with `mask_list = mask.tolist()` before the loop and one `copy_` behind
it. `torch.stack([torch.tensor([x, y], device=d) for x, y in rows])` becomes `torch.tensor([[x, y] for x, y in rows],
device=d)`. Unsafe: where the loop raises, the tensor is as it was before, and no rows at all give an empty tensor
instead of an error. Elsewhere, who keeps what is made decides what the batch has to look like: refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import MadePerItem
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree

_BY_HAND = {
    "numbers": "collect the numbers, make one tensor of them all behind the loop, and hand out its rows",
    "empty": "make one tensor for all items before the loop and hand out its rows, or clones of rows that live longer",
}


@fixer()
def fix(fact: MadePerItem, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Make one tensor."""
    if fact.form == "filled":
        return _filled(fact, tree)
    if fact.gathered is None:
        raise Refuse(_BY_HAND[fact.form])
    return _gathered(fact, tree, tree.at(fact.gathered, cst.Call), tree.at(fact.node, cst.Call))


def _filled(fact: MadePerItem, tree: Tree) -> Edit:
    loop = tree.statement_at(fact.loop)
    torch = tree.name_for("torch", loop)
    lists: dict[str, str] = {}
    inside: dict[cst.CSTNode, cst.CSTNode] = {}
    copies: dict[str, cst.SimpleStatementLine] = {}
    for span, tensor, indices in fact.targets:
        if tensor not in lists:
            lists[tensor] = tree.free_name(f"{tensor}_list", loop)
            shape = f".reshape({tensor}.shape)" if len(indices) > 1 else ""
            copies[tensor] = tree.line(f"{tensor}.copy_({torch}.tensor({lists[tensor]}, dtype={tensor}.dtype){shape})")
        new = lists[tensor] + "".join(f"[{index}]" for index in indices)
        inside[tree.at(span, cst.Subscript)] = tree.expression(new)
    made = [tree.line(f"{name} = {tensor}.tolist()") for tensor, name in lists.items()]
    made[0] = made[0].with_changes(leading_lines=getattr(loop, "leading_lines", ()))
    changed = loop.visit(_Swap(inside)).with_changes(leading_lines=())  # type: ignore[union-attr]
    return Edit({loop: cst.FlattenSentinel([*made, changed, *copies.values()])}, Safety.UNSAFE, modules=("torch",))


def _gathered(fact: MadePerItem, tree: Tree, gathering: cst.Call, call: cst.Call) -> Edit:
    comprehension = gathering.args[0].value
    if not isinstance(comprehension, cst.ListComp) or comprehension.elt is not call or tree.comments(gathering):
        raise Refuse(_BY_HAND["numbers"])
    numbers, *rest = call.args
    if numbers.keyword is not None or numbers.star:
        raise Refuse(_BY_HAND["numbers"])
    rows = comprehension.with_changes(elt=numbers.value)
    new: cst.BaseExpression = call.with_changes(args=[numbers.with_changes(value=rows), *rest])
    if tree.text_of(gathering.func).endswith("cat"):
        new = cst.Call(cst.Attribute(new, cst.Name("flatten")))
    return Edit({gathering: new}, Safety.UNSAFE)


class _Swap(cst.CSTTransformer):
    def __init__(self, changes: Mapping[cst.CSTNode, cst.CSTNode]) -> None:
        super().__init__()
        self.changes = changes

    def on_visit(self, node: cst.CSTNode) -> bool:
        return node not in self.changes

    def on_leave(self, original_node: cst.CSTNode, updated_node: Any) -> Any:
        return self.changes.get(original_node, updated_node)
