"""`release(owner, "key")` goes before the statement that builds the new one, `del name` after the last use of the dict.

Both are unsafe: when the build fails, the slot is empty instead of holding the old object, and whoever else holds that
object still keeps it alive. `del` is refused where a jump or a branch could leave the name unbound for later code.
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
    if isinstance(old, cst.BaseCompoundStatement):
        raise Refuse(f"the last use of `{fact.key}` is inside a block's head")
    return Edit({old: cst.FlattenSentinel([old, tree.line(f"del {fact.key}")])}, Safety.UNSAFE)
