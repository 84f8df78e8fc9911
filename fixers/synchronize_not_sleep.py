"""`time.sleep(0.5)` becomes `synchronize()`; behind a clearing it goes, and the device is waited for before that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import SleptForDevice
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree


@fixer(helpers=("synchronize",))
def fix(fact: SleptForDevice, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Wait for the device, not for the clock."""
    sleep = tree.at(fact.call, cst.Call)
    wait = tree.call(sleep, tree.helper("synchronize", sleep))
    if fact.clear is None:
        return Edit({sleep: wait}, Safety.UNSAFE, helpers=("synchronize",))
    slept, clearing = tree.statement(sleep), tree.statement(tree.at(fact.clear, cst.Call))
    if any(not isinstance(line, cst.SimpleStatementLine) or len(line.body) != 1 for line in (slept, clearing)):
        raise Refuse("the statement shares its line with others")
    if tree.comments(slept):
        raise Refuse("the sleep's comments would be lost")
    block = tree.parent(slept)
    if len(getattr(block, "body", ())) == 1:
        raise Refuse("nothing else stands in the block of the sleep")
    line = tree.line(f"{tree.helper('synchronize', sleep)}()")
    above = line.with_changes(leading_lines=getattr(clearing, "leading_lines", ()))
    new = cst.FlattenSentinel([above, clearing.with_changes(leading_lines=())])
    return Edit({clearing: new, slept: cst.RemoveFromParent()}, Safety.UNSAFE, helpers=("synchronize",))
