"""`hidden = detach(hidden)` goes in front of the step (or behind the states that are detached already).

`detach` keeps tuples, lists and dicts as they are and lets None through, so it also serves before the first step.
Unsafe, because gradients stop there: that is what makes memory stay the same from step to step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import StateCarried
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree


@fixer(helpers=("detach",))
def fix(fact: StateCarried, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Detach the states where a step begins."""
    statement = tree.statement_at(fact.statement)
    if isinstance(statement, (cst.FunctionDef, cst.ClassDef)):
        raise Refuse("the loop begins with a definition: detach the state below it")
    name = tree.helper("detach", statement)
    new: list[cst.BaseStatement] = [tree.line(f"{state} = {name}({state})") for state in fact.states]
    # Comments above the statement stay where they are: above the step.
    above = getattr(statement, "leading_lines", ())
    if fact.after:
        lines = [statement, *new]
    else:
        lines = [new[0].with_changes(leading_lines=above), *new[1:], statement.with_changes(leading_lines=())]
    return Edit({statement: cst.FlattenSentinel(lines)}, Safety.UNSAFE, helpers=("detach",))
