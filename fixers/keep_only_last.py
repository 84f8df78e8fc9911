"""`states.append(state)` becomes `states[:] = [state]`: the list keeps the last entry, in place.

Where `[0]` is read as well the first entry stays; where `[-1]` and `[-2]` are read, `append_bounded` keeps two. Unsafe:
code that nobody showed to memlint may look at the entries that go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import OnlyEndsKept
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree


@fixer(helpers=("append_bounded",))
def fix(fact: OnlyEndsKept, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Drop what nobody reads as soon as the next entry comes."""
    call = tree.at(fact.growth, cst.Call)
    statement = tree.parent(call)
    if not isinstance(statement, cst.Expr) or not isinstance(call.func, cst.Attribute):
        raise Refuse("the append is part of a larger expression")
    if len(call.args) != 1 or call.args[0].star or call.args[0].keyword:
        raise Refuse("the append does not have one plain argument")
    read = set(fact.indices) or {-1}
    if any(isinstance(node, (cst.Await, cst.Yield)) for node in tree.inside(call)):
        raise Refuse("the list may be read while the appended value is awaited")
    if all(index < 0 for index in read):
        if min(read) < -1:
            helper = tree.helper("append_bounded", call)
            new = tree.extend_call(call, helper, call.func.value, "limit", cst.Integer(str(-min(read))))
            return Edit({call: new}, Safety.UNSAFE, helpers=("append_bounded",))
        kept = "[:]"
    elif read == {0, -1}:
        kept = "[1:]"
    else:
        raise Refuse("the first entry and several of the last are read: keep them under names of their own")
    if tree.comments(call):
        raise Refuse("the append would lose its comments")
    value = tree.text_of(call.args[0].value)
    line = tree.line(f"{tree.text_of(call.func.value)}{kept} = [{value}]")
    new_statement = line.body[0].with_changes(semicolon=statement.semicolon)
    return Edit({statement: new_statement}, Safety.UNSAFE)
