"""The kept value is detached: `losses.append(loss)` becomes `losses.append(loss.detach())`.

A value that may be a dict, a tuple or now and then a number goes through the helper `detach`, which walks it. Safe
where the backward pass has run: nobody could train on the value any more. Else unsafe. Not `.item()`: that would wait
for the accelerator in each step, and later code may call a tensor's methods. A detached value that nobody took is bound
to the name that it was detached from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import DetachedForNobody, KeptGraph, Unevaluated
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree

_PRIMARIES = (cst.Name, cst.Attribute, cst.Subscript, cst.Call)


@fixer(helpers=("detach",))
def fix(fact: KeptGraph | DetachedForNobody | Unevaluated, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Detach a value where it is stored, added or handed over; evaluate what MLX has not computed."""
    if isinstance(fact, Unevaluated):
        last = _behind_a_pause(tree.statement_at(fact.after), tree)
        line = tree.line(f"{fact.module}.eval({', '.join(fact.values)})")
        return Edit({last: cst.FlattenSentinel([last, line])}, Safety.UNSAFE)
    value = tree.value_at(fact.value)
    if isinstance(fact, DetachedForNobody):
        if fact.trained:
            raise Refuse(f"a backward pass starts from `{fact.source}` further down")
        target = tree.expression(fact.source)
        assert isinstance(target, (cst.Name, cst.Attribute))
        return Edit({tree.parent(value): cst.Assign([cst.AssignTarget(target)], value)}, Safety.UNSAFE)
    if isinstance(value, cst.GeneratorExp):
        raise Refuse("a generator is stored, its values are only made when it is read")
    safety = Safety.SAFE if fact.ran else Safety.UNSAFE
    if fact.structure:
        return Edit({value: tree.wrap(value, tree.helper("detach", value))}, safety, helpers=("detach",))
    bare = value.with_changes(lpar=(), rpar=()) if isinstance(value, _PRIMARIES) else value
    if not isinstance(bare, _PRIMARIES) and not value.lpar:
        bare = value.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    return Edit({value: cst.Call(cst.Attribute(bare, cst.Name("detach")))}, safety)


def _behind_a_pause(line: cst.BaseStatement, tree: Tree) -> cst.BaseStatement:
    """The statement, or the `time.sleep(...)` right below it: nothing is to be waited for by sleeping."""
    beside = list(getattr(tree.parent(line), "body", ()))
    for below in beside[beside.index(line) + 1 :][:1] if line in beside else ():
        small = getattr(below, "body", [None])[0]
        call = small.value if isinstance(small, cst.Expr) else None
        if isinstance(call, cst.Call) and tree.text_of(call.func) in ("time.sleep", "sleep"):
            return below  # type: ignore[no-any-return]
    return line
