"""`@dataclass` becomes `@dataclass(slots=True)`, where nothing in the class needs a `__dict__`.

Safe where the whole project was looked through for what slots would break, and it is known that it runs on Python 3.10
or later: the option `python` says so, or syntax that older ones don't have. Unsafe otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import RecordClass
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree

_KEYWORDS = frozenset({"slots", "kw_only"})  # of `dataclass`, since 3.10


@fixer()
def fix(fact: RecordClass, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Give the class slots."""
    if fact.form == "plain":
        names = ", ".join(f'"{name}"' for name in fact.fields)
        raise Refuse(f"make it a dataclass, or put `__slots__ = ({names},)` into its body")
    if fact.obstacles:
        raise Refuse(fact.obstacles[0])
    if fact.decorator is None:
        raise Refuse("the decorator was not found")
    if re.fullmatch(r"(3\.\d+)?", str(options["python"])) is None:
        raise Refuse(f'the option `python` of slot-records must be a version such as "3.10", not {options["python"]!r}')
    old = tree.value_at(fact.decorator)
    new: cst.BaseExpression = tree.expression(f"{tree.text_of(old)}(slots=True)")
    if isinstance(old, cst.Call):
        slots = cst.ensure_type(tree.expression("f(slots=True)"), cst.Call).args
        comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
        before = [arg if isinstance(arg.comma, cst.Comma) else arg.with_changes(comma=comma) for arg in old.args]
        new = old.with_changes(args=[*before, *slots])
    safe = fact.proved and _is_new_enough(str(options["python"]), tree)
    return Edit({old: new}, Safety.SAFE if safe else Safety.UNSAFE)


def _is_new_enough(version: str, tree: Tree) -> bool:
    """Whether the code is known to run on Python 3.10 or later only."""
    if version:
        return int(version.partition(".")[2]) >= 10
    for node in tree.inside(tree.module):
        if isinstance(node, cst.Match):
            return True
        if isinstance(node, cst.Call) and tree.text_of(node.func).rpartition(".")[2] == "dataclass":
            if any(arg.keyword is not None and arg.keyword.value in _KEYWORDS for arg in node.args):
                return True
    return False
