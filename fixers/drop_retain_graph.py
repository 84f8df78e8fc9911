"""`loss.backward(retain_graph=True)` becomes `loss.backward()`.

Values and gradients stay. Unsafe, because a second backward in code that memlint has not seen would fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import GraphKept
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree


@fixer()
def fix(fact: GraphKept, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Leave the keyword out."""
    call = tree.at(fact.call, cst.Call)
    args = [arg for arg in call.args if arg.keyword is None or arg.keyword.value != "retain_graph"]
    if len(args) != len(call.args) - 1:
        raise Refuse("the keyword is not written out in the call")
    if tree.comments(call):
        raise Refuse("the call would lose its comments")
    if args:
        args[-1] = args[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
    whitespace = cst.SimpleWhitespace("") if not args else call.whitespace_before_args
    return Edit({call: call.with_changes(args=args, whitespace_before_args=whitespace)}, Safety.UNSAFE)
