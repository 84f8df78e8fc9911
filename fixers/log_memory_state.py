"""`log_memory_state("train_step")` at the entry of a training step and in a `finally`, or at the top of a loop's body.

Unsafe only in that a call is added; it writes one line at the level DEBUG and does nothing while that is off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import UnwatchedStep
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree


@fixer(helpers=("log_memory_state",))
def fix(fact: UnwatchedStep, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Measure where the step begins, and where it ends."""
    if fact.form == "unused":
        raise Refuse("call it where a training step begins and ends, or drop it with its imports")
    kinds = (cst.FunctionDef,) if fact.form == "step" else (cst.For, cst.While)
    outer = tree.at(fact.place, *kinds)
    block = outer.body
    if not isinstance(block, cst.IndentedBlock):
        raise Refuse("the body shares its line with its head")
    name = fact.name if fact.name.isidentifier() else "train"
    probe = tree.helper("log_memory_state", outer)
    if fact.form == "loop":
        new = block.with_changes(body=[tree.line(f'{probe}("{name}")'), *block.body])
        return Edit({block: new}, Safety.UNSAFE, helpers=("log_memory_state",))
    if tree.suspends(block):
        raise Refuse("other code runs between the steps of a function that yields or awaits")
    start = 1 if _is_docstring(block.body[0]) else 0
    rest = block.body[start:]
    if not rest or isinstance(rest[0], cst.Try) and len(rest) == 1:
        raise Refuse("the whole body is a `try` already: put the calls where it begins and into its `finally`")
    last = tree.line(f'{probe}("{name}: end")')
    guarded = cst.Try(
        block.with_changes(body=rest, header=cst.TrailingWhitespace()), finalbody=cst.Finally(cst.IndentedBlock([last]))
    )
    body = [*block.body[:start], tree.line(f'{probe}("{name}: begin")'), guarded]
    return Edit({block: block.with_changes(body=body, footer=())}, Safety.UNSAFE, helpers=("log_memory_state",))


def _is_docstring(statement: cst.BaseStatement) -> bool:
    first = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
    return isinstance(first, cst.Expr) and isinstance(first.value, (cst.SimpleString, cst.ConcatenatedString))
