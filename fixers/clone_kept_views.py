"""The stored part becomes `part.clone()`, which owns its storage. Unsafe: it is a copy from then on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import KeptView
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree


@fixer()
def fix(fact: KeptView, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Store a copy of the part."""
    value = tree.value_at(fact.value)
    if not isinstance(value, (cst.Name, cst.Attribute, cst.Subscript, cst.Call)):
        raise Refuse("the stored value is part of a larger expression: clone the part where it is taken")
    return Edit({value: cst.Call(cst.Attribute(value, cst.Name("clone")))}, Safety.UNSAFE)
