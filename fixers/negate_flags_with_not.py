"""`~flag` becomes `(not flag)`, without the parentheses where nothing around it binds tighter.

The rule has proved that the flag is a Python bool, of which `~` gives -1 or -2. Safe in a condition and in a mask,
where that is never what was meant; elsewhere unsafe, since somebody may want the number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import InvertedFlag
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree

_TIGHTER = (cst.BinaryOperation, cst.Comparison, cst.ComparisonTarget, cst.UnaryOperation, cst.StarredElement)


@fixer()
def fix(fact: InvertedFlag, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Negate the truth, not the bits."""
    old = tree.at(fact.expression, cst.UnaryOperation)
    if not isinstance(old.operator, cst.BitInvert):
        raise Refuse("only `~` can become `not`")
    new = old.with_changes(operator=cst.Not(whitespace_after=cst.SimpleWhitespace(" ")))
    around = tree.parent(old)
    bare = isinstance(around, cst.UnaryOperation) and isinstance(around.operator, cst.Not)
    if isinstance(around, _TIGHTER) and not bare and not old.lpar:
        new = new.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    return Edit({old: new}, Safety.SAFE if fact.as_truth else Safety.UNSAFE)
