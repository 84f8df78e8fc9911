"""The stored value becomes `to_cpu(value)`: a detached copy in main memory, without graph and device memory.

A `.detach()` or `.clone()` at the end of the value goes, because `to_cpu` does both. Safe where every reader moves the
value to the CPU anyway. Elsewhere unsafe: a reader may expect it on the device, or with its graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst
from libcst.helpers import get_full_name_for_node

from memlint.facts.defects import KeptOnDevice
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree


@fixer(helpers=("to_cpu",))
def fix(fact: KeptOnDevice, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Store a copy on the CPU."""
    if fact.form == "cache-moved":
        raise Refuse("the cached dict is moved entry by entry: build a new dict for the device instead")
    value = tree.value_at(fact.value)
    if isinstance(value, cst.GeneratorExp):
        raise Refuse("a generator is stored, its values are only made when it is read")
    if _is_deepcopy(value) and fact.form != "state-dict":
        raise Refuse("to_cpu does not move a copied module: call `.cpu()` on the copy")
    name = tree.helper("to_cpu", value)
    copied = _copied(value) if fact.form != "state-dict" else value
    new = tree.wrap(value, name) if copied is value else tree.call(value, name, copied)
    return Edit({value: new}, Safety.SAFE if fact.only_read_on_cpu else Safety.UNSAFE, helpers=("to_cpu",))


def _is_deepcopy(value: cst.BaseExpression) -> bool:
    name = get_full_name_for_node(value.func) if isinstance(value, cst.Call) else None
    return name is not None and name.split(".")[-1] == "deepcopy"


def _copied(value: cst.BaseExpression) -> cst.BaseExpression:
    """`x` of `x.detach().clone()`."""
    while isinstance(value, cst.Call) and isinstance(value.func, cst.Attribute) and not value.args:
        if value.func.attr.value not in ("detach", "clone"):
            break
        value = value.func.value
    return value
