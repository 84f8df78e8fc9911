"""A value outside of its declared limits becomes the nearest one within; a check that forbids that is relaxed with it.

Safe: the user has declared what is right. Value and check change together or not at all: half of it would be a program
that stops at its own assert.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import BrokenLimit
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree


@fixer()
def fix(fact: BrokenLimit, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Write what the limits allow, everywhere at once."""
    if fact.together:
        raise Refuse("the check is relaxed together with the values that break the limits")
    if fact.literal is not None and not fact.value:
        raise Refuse("the limits do not say which value is the right one")
    if fact.elsewhere:
        raise Refuse(f"a check in {fact.elsewhere} forbids `{fact.value}`: relax that first")
    changes: dict[cst.CSTNode, Any] = {}
    for span, source in fact.relaxed:
        old = tree.at(span, cst.Comparison)
        if not source:
            raise Refuse(f"the check `{tree.text_of(old)}` forbids `{fact.value}`, and no other sign would let it pass")
        if tree.comments(old):
            raise Refuse("the check would lose its comments")
        changes[old] = tree.expression(source).with_changes(lpar=old.lpar, rpar=old.rpar)
    if fact.literal is not None:
        changes[tree.value_at(fact.literal)] = tree.expression(fact.value)
    if not changes:
        raise Refuse("which of the two is right, the limit or the check, is for you to say")
    return Edit(changes, Safety.SAFE)
