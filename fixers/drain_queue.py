"""`if not queue.empty():` becomes a loop over what waits, up to the option `limit`.

Only suggested: how many events a tick may take is a matter of how long it may last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import OneTaken
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree


@fixer()
def fix(fact: OneTaken, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Take what waits, a limited number in one pass."""
    limit = options["limit"]
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise Refuse(f"the option `limit` of drain-queue must be a whole number above 0, not {limit!r}")
    if fact.test is None:
        raise Refuse(f"put it into a loop of at most {limit} passes that ends when nothing waits")
    branch = tree.at(fact.test, cst.If)
    if tree.text_of(branch.test).strip() != f"not {fact.queue}.empty()" or isinstance(tree.parent(branch), cst.If):
        raise Refuse(f"loop while something waits in `{fact.queue}`, at most {limit} times in one pass")
    source = f"for _ in range(min({fact.queue}.qsize(), {limit})):\n    pass"
    loop = cst.ensure_type(cst.parse_statement(source, tree.module.config_for_parsing), cst.For)
    new = loop.with_changes(body=branch.body, leading_lines=branch.leading_lines)
    return Edit({branch: new}, Safety.SUGGESTED)
