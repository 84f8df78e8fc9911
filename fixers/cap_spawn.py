"""A `SpawnBudget` beside the population says how many more it may get: `if self.cells_budget.allow(len(self.cells)):`.

The budget is made where the container is made, and warns before it is used up. Unsafe: members above the option
`limit` are not added any more. A cap that counts the wrong thing is left to the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import UncappedSpawn
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree

_BY_HAND = {
    "stale": "test the length of the live container, and of what this loop has added to it",
    "new-only": "subtract those that are alive already from the cap",
    "abrupt": "call `Watermark(cap).update(count)` of memlint.runtime where the population grows",
    "started": "use a pool, or a semaphore that what is started releases when it is done",
}


@fixer(helpers=("SpawnBudget",))
def fix(fact: UncappedSpawn, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Ask a budget before the population grows."""
    if fact.form != "unlimited" or fact.growth is None or fact.made is None:
        raise Refuse(_BY_HAND.get(fact.form, "where the container is made is not known"))
    limit = options["limit"]
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        raise Refuse(f"the option `limit` of cap-spawn must be a whole number, not {limit!r}")
    budget = f"{fact.container}_budget"
    if budget in tree.text:
        raise Refuse(f"the name `{budget}` is taken")
    made = tree.statement_at(fact.made)
    if not isinstance(made, cst.SimpleStatementLine):
        raise Refuse("the container is made inside a larger statement")
    new = tree.line(f"{budget} = {tree.helper('SpawnBudget', made)}({limit})")
    changes: dict[cst.CSTNode, Any] = {made: cst.FlattenSentinel([made, new])}
    changes.update(_growth(fact, tree, budget, fact.growth))
    return Edit(changes, Safety.UNSAFE, helpers=("SpawnBudget",))


def _growth(
    fact: UncappedSpawn, tree: Tree, budget: str, span: tuple[int, int, int, int]
) -> dict[cst.CSTNode, cst.CSTNode]:
    """The statement that adds, behind the budget; or the list that is added, cut to what the budget allows."""
    if fact.how == "append":
        call = tree.at(span, cst.Call)
        line = tree.statement(call)
        if not isinstance(tree.parent(call), cst.Expr) or not isinstance(line, cst.SimpleStatementLine):
            raise Refuse("the append is part of a larger expression")
        if len(line.body) > 1:
            raise Refuse("the append shares its line with others")
        source = f"if {budget}.allow(len({fact.container})):\n    pass"
        guard = cst.ensure_type(cst.parse_statement(source, tree.module.config_for_parsing), cst.If)
        body = cst.IndentedBlock([line.with_changes(leading_lines=())])
        return {line: guard.with_changes(body=body, leading_lines=line.leading_lines)}
    if fact.how == "extend":
        call = tree.at(span, cst.Call)
        added = call.args[0].value if len(call.args) == 1 else None
    elif fact.how == "augment":
        added = tree.at(span, cst.AugAssign).value
    else:
        raise Refuse("which entry may be left out is yours to say: ask a `SpawnBudget` before it is made")
    if not isinstance(added, cst.Name):
        raise Refuse("what is added has no name: its length can't be asked for")
    allowed = f"{budget}.allow(len({fact.container}), len({added.value}))"
    return {added: tree.expression(f"{added.value}[: {allowed}]")}
