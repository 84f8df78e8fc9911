"""The difference of two samples becomes `leak_monitor.step(sample)`, on a `LeakMonitor` that is made before the loop.

The first sample goes where nothing else reads it and no comment stands at it. A large allocation gets a `MemoryGuard`
that is asked before it, where the options say how much memory may be used. Both are unsafe: the monitor gives another
number, and that is the point.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import BlindMonitor
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree

_FROM_MB = {"mb": "", "bytes": " * 1e6", "kb": " * 1e3", "gb": " / 1e3"}


@fixer(helpers=("LeakMonitor", "MemoryGuard"))
def fix(fact: BlindMonitor, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Measure once per step, or ask before allocating."""
    if fact.loop is None:
        raise Refuse("make a `LeakMonitor` where it outlives the step, and call its `step()` once per step")
    loop = tree.statement_at(fact.loop)
    if fact.form == "unguarded":
        return _guarded(fact, tree, loop, float(options["limit_gb"]))
    if not fact.unit:
        raise Refuse("the unit of the samples is not plain: `LeakMonitor.step` takes bytes and gives MB per step")
    name = _free("leak_monitor", loop, tree)
    sample = f"{fact.after} * {fact.scale}" if fact.scale != 1 else fact.after
    old = tree.value_at(fact.value)
    call = tree.expression(f"{name}.step({sample}){_FROM_MB[fact.unit]}")
    changes: dict[cst.CSTNode, Any] = {old: call}
    if isinstance(tree.parent(old), (cst.BinaryOperation, cst.UnaryOperation, cst.Comparison)) or old.lpar:
        changes[old] = call.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    first = tree.statement_at(fact.first) if fact.first is not None else None
    if first is not None and loop in tree.around(first) and not tree.comments(first):
        changes[first] = cst.RemoveFromParent()
    made = f"{name} = {tree.helper('LeakMonitor', loop)}()"
    return _before(loop, made, changes, tree, "LeakMonitor")


def _guarded(fact: BlindMonitor, tree: Tree, loop: cst.BaseStatement, limit: float) -> Edit:
    if limit <= 0:
        raise Refuse("how much memory may be used is yours to say: `limit_gb` of this rule")
    name = _free("memory_guard", loop, tree)
    line = tree.statement(tree.value_at(fact.value))
    ask = tree.line(f"{name}.ok({fact.needed})")
    made = f"{name} = {tree.helper('MemoryGuard', loop)}({limit:g})"
    above = getattr(line, "leading_lines", ())
    both = [ask.with_changes(leading_lines=above), line.with_changes(leading_lines=())]
    return _before(loop, made, {line: cst.FlattenSentinel(both)}, tree, "MemoryGuard")


def _free(name: str, loop: cst.BaseStatement, tree: Tree) -> str:
    if not tree.unknown_name(name, loop):
        raise Refuse(f"the name `{name}` is taken")
    return name


def _before(loop: cst.BaseStatement, made: str, changes: Mapping[cst.CSTNode, Any], tree: Tree, helper: str) -> Edit:
    swapped = loop.visit(_Swap(changes))
    above = getattr(loop, "leading_lines", ())
    new = [tree.line(made).with_changes(leading_lines=above), swapped.with_changes(leading_lines=())]  # type: ignore[union-attr]
    return Edit({loop: cst.FlattenSentinel(new)}, Safety.UNSAFE, helpers=(helper,))


class _Swap(cst.CSTTransformer):
    def __init__(self, changes: Mapping[cst.CSTNode, Any]) -> None:
        super().__init__()
        self.changes = changes

    def on_visit(self, node: cst.CSTNode) -> bool:
        return node not in self.changes

    def on_leave(self, original_node: cst.CSTNode, updated_node: Any) -> Any:
        return self.changes.get(original_node, updated_node)
