"""`torch.load(path)` becomes `torch.load(path, map_location="cpu")`.

Always unsafe: what is loaded lies on the CPU afterwards. `load_state_dict` takes it from there to where the parameters
are. A whole module that is used where it lands would change its device, so it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import UnmappedLoad
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree


@fixer()
def fix(fact: UnmappedLoad, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Say where the tensors go."""
    call = tree.at(fact.call, cst.Call)
    if fact.stays:
        raise Refuse("the loaded module is used where it lands: load it to the CPU and move it with `.to(device)`")
    return Edit({call: _with_keyword(call, tree)}, Safety.UNSAFE)


def _with_keyword(call: cst.Call, tree: Tree) -> cst.Call:
    """The call with one more argument; a trailing comma and the lines of the others stay."""
    added = tree.call(None, "load", map_location=tree.expression('"cpu"')).args[0]
    *rest, last = call.args
    comma = last.comma
    if isinstance(comma, cst.Comma):
        between = rest[-1].comma if rest else cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
        return call.with_changes(args=[*rest, last.with_changes(comma=between), added.with_changes(comma=comma)])
    space = last.whitespace_after_arg
    last = last.with_changes(
        comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" ")), whitespace_after_arg=cst.SimpleWhitespace("")
    )
    return call.with_changes(args=[*rest, last, added.with_changes(whitespace_after_arg=space)])
