"""`empty_cache()` in a loop becomes `cleanup.step()`, on a `Cleanup` that is made before the loop.

In a method that a loop calls, the object is made in the constructor: `self.cache_cleanup.step()`.

Several calls in one pass become one, and a `gc.collect` among them is handed to the object as what to run on each due
step. Unsafe: the cache may stay larger for some steps than it did.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import CacheCleared, Span
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree

_ATTRIBUTE = "cache_cleanup"
# What comes first in a constructor: its docstring, and the constructor of the base class.
_OPENING = ('"', "'", 'r"', "super(")
_BY_HAND = {
    "in-a-step": "the loop is in another function: make a `Cleanup` there, keep it, and call its `step()` here",
    "allocated": "compare what is reserved and not in use: a `Cleanup` does that, and rests between two runs",
    "mlx": "how large the cache may be is yours to say: `mx.set_cache_limit(...)` before the loop",
}


@fixer(helpers=("Cleanup",))
def fix(fact: CacheCleared, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Count the steps, and clear when it is worth it."""
    held = fact.form == "in-a-step" and fact.owner is not None
    if not held and (fact.form in _BY_HAND or fact.loop is None):
        raise Refuse(_BY_HAND.get(fact.form, "there is no loop here to make a `Cleanup` before"))
    calls = [tree.at(span, cst.Call) for span in fact.calls]
    lines = [tree.statement(call) for call in calls]
    if any(not isinstance(tree.parent(call), cst.Expr) for call in calls):
        raise Refuse("the call is part of a larger statement")
    if any(len(getattr(line, "body", ())) != 1 for line in lines):
        raise Refuse("the statement shares its line with others")
    functions = [tree.text_of(call.func) for call in calls]
    collects = next((text for text in functions if text.endswith("collect") and "ipc" not in text), "")
    prune = f"prune={collects}" if collects else ""
    if fact.owner is not None:
        return _held(fact, tree, fact.owner, lines, prune)
    assert fact.loop is not None
    loop = tree.statement_at(fact.loop)
    name = next((name for name in ("cleanup", "cache_cleanup") if tree.unknown_name(name, lines[0])), None)
    if name is None:
        raise Refuse("the names `cleanup` and `cache_cleanup` are taken")
    made = tree.line(f"{name} = {tree.helper('Cleanup', loop)}({prune})")
    swapped = tree.replaced(loop, _stepped(f"{name}.step()", lines, tree))
    above = getattr(loop, "leading_lines", ())
    new = [made.with_changes(leading_lines=above), swapped.with_changes(leading_lines=())]
    return Edit({loop: cst.FlattenSentinel(new)}, Safety.UNSAFE, helpers=("Cleanup",))


def _held(fact: CacheCleared, tree: Tree, owner: Span, lines: list[cst.BaseStatement], prune: str) -> Edit:
    """The object lives on the one whose method it is: made in the constructor, behind that of the base class."""
    constructor = tree.at(owner, cst.FunctionDef)
    block = constructor.body
    if not isinstance(block, cst.IndentedBlock) or not constructor.params.params:
        raise Refuse("the constructor's body shares its line with its head")
    if _ATTRIBUTE in tree.text:
        raise Refuse(f"the name `{_ATTRIBUTE}` is taken")
    opening = [*itertools.takewhile(lambda line: tree.text_of(line).strip().startswith(_OPENING), block.body)]
    beside = opening[-1] if opening else block.body[0]
    own = constructor.params.params[0].name.value
    made = tree.line(f"{own}.{_ATTRIBUTE} = {tree.helper('Cleanup', beside)}({prune})")
    if prune and (unknown := tree.unknown_name(prune.removeprefix("prune="), beside)):
        raise Refuse(f"`{unknown}` is not known in the constructor")
    changes = _stepped(f"{fact.self_name}.{_ATTRIBUTE}.step()", lines, tree)
    changes[beside] = cst.FlattenSentinel([beside, made] if opening else [made, beside])
    return Edit(changes, Safety.UNSAFE, helpers=("Cleanup",))


def _stepped(source: str, lines: list[cst.BaseStatement], tree: Tree) -> dict[cst.CSTNode, Any]:
    """The first of several lines that clear, or the one that no test guards, becomes the step; the others go."""
    # What is left of an `if torch.cuda.is_available():` around a call that goes, goes too.
    main = next((line for line in lines if not _alone(line, tree)), lines[0])
    changes: dict[cst.CSTNode, Any] = {}
    for line in lines:
        if line is main:
            changes[line] = tree.line(source).with_changes(leading_lines=getattr(line, "leading_lines", ()))
        elif tree.comments(line):
            raise Refuse("one of the calls would lose its comments")
        elif _is_all_of_a_branch(line, tree) and not _alone(line, tree):
            raise Refuse("one of the calls is all of a branch beside others")
        else:
            changes[_alone(line, tree) or line] = cst.RemoveFromParent()
    if len(changes) != len(lines):
        raise Refuse("the calls stand in one branch of their own")
    return changes


def _is_all_of_a_branch(line: cst.CSTNode, tree: Tree) -> bool:
    block = tree.parent(line)
    if not isinstance(block, cst.IndentedBlock) or len(block.body) != 1:
        return False
    return isinstance(tree.parent(block), (cst.If, cst.Else))


def _alone(line: cst.CSTNode, tree: Tree) -> cst.If | None:
    """The `if` whose whole body a line is."""
    block = tree.parent(line)
    if not isinstance(block, cst.IndentedBlock) or len(block.body) != 1:
        return None
    around = tree.parent(block)
    return around if isinstance(around, cst.If) and around.orelse is None and not tree.comments(around) else None
