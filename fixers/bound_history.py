"""`history.append(item)` becomes `append_bounded(history, item, limit=N)`.

The list stays a list and the same object: it is trimmed in place, so slices, `+`, saving and aliases go on working. N
is the rule's option `limit`. Unsafe, because the oldest entries are gone: code that reads the whole history sees less.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import UnboundedGrowth
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree

_BY_HAND = {
    "extend": "it grows by several entries at once: append them one by one with `append_bounded`",
    "augment": "it grows by several entries at once: append them one by one with `append_bounded`",
    "appendleft": "it grows at its left end: give the deque a `maxlen`",
    "setitem": "it grows by keys, and which key may go is yours to say: delete the oldest ones",
    "add": "a set has no oldest entry to drop: remove what is no longer needed",
    "put": "a queue is bounded where it is made, by its `maxsize`",
    "concat": "each step copies the whole array: collect the parts in a bounded list, join them when they are read",
}


@fixer(helpers=("append_bounded",))
def fix(fact: UnboundedGrowth, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Bound a list that grows by a plain `append`."""
    if fact.how != "append":
        raise Refuse(_BY_HAND.get(fact.how, "only a list that grows by `append` can be bounded automatically"))
    if fact.spawns:
        raise Refuse("the oldest members may be alive: cap-spawn limits how many join instead")
    call = tree.at(fact.growth, cst.Call)
    if not isinstance(tree.parent(call), cst.Expr) or not isinstance(call.func, cst.Attribute):
        raise Refuse("the append is part of a larger expression")
    if len(call.args) != 1 or call.args[0].star or call.args[0].keyword:
        raise Refuse("the append does not have one plain argument")
    limit = options["limit"]
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise Refuse(f"the option `limit` of bound-history must be a whole number above 0, not {limit!r}")
    helper = tree.helper("append_bounded", call)
    new = tree.extend_call(call, helper, call.func.value, "limit", cst.Integer(str(limit)))
    return Edit({call: new}, Safety.UNSAFE, helpers=("append_bounded",))
