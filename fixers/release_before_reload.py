"""`release(owner, "key")` goes before the statement that builds the new one, `del name` after the last use of the dict.

An optimizer that is not used any more drops the gradients, and goes itself, before the model is loaded. All are unsafe:
when the build fails, the slot is empty instead of holding the old object, and what somebody else holds stays alive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import UnreleasedObject
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree


@fixer(helpers=("release",))
def fix(fact: UnreleasedObject, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Let go of the old before the new is built."""
    old = tree.statement_at(fact.statement)
    if not isinstance(tree.parent(old), (cst.IndentedBlock, cst.Module)):
        raise Refuse("there is no room for a statement beside it")
    if fact.form == "slot":
        name = tree.helper("release", old)
        first = tree.line(f"{name}({fact.owner}, {fact.key})")
        leading = getattr(old, "leading_lines", ())
        new = [first.with_changes(leading_lines=leading), old.with_changes(leading_lines=())]
        return Edit({old: cst.FlattenSentinel(new)}, Safety.UNSAFE, helpers=("release",))
    if fact.form == "idle":
        lines = [tree.line(f"{fact.key}.zero_grad()"), tree.line(f"del {fact.key}")]
        lines[0] = lines[0].with_changes(leading_lines=getattr(old, "leading_lines", ()))
        return Edit({old: cst.FlattenSentinel([*lines, old.with_changes(leading_lines=())])}, Safety.UNSAFE)
    return Edit({old: cst.FlattenSentinel([old, tree.line(f"del {fact.key}")])}, Safety.UNSAFE)
