"""A cached property becomes a `cached_property`; a cached method that does not use its object a static method.

Unsafe: the value of a property then lies on the object, where copies, pickles and assignments reach it, and goes with
it. A static method keeps its cache, which no longer holds the object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import PinningCache
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree


@fixer()
def fix(fact: PinningCache, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Cache on the object, or without it."""
    if fact.decorator < 0:
        raise Refuse(
            "which entries may go is yours to say: delete the oldest ones, or key by what the result depends on"
        )
    function = tree.at(fact.function, cst.FunctionDef)
    if not fact.method:
        raise Refuse("a tensor is no key: pass what the result depends on, or keep it beside the tensor")
    name, cache = function.name.value, function.decorators[fact.decorator]
    if fact.decorator == 1 and tree.text_of(function.decorators[0].decorator) == "property":
        if f"@{name}.setter" in tree.text or f"@{name}.deleter" in tree.text:
            raise Refuse("the property has a setter or a deleter, which a `cached_property` can't have")
        if any("__slots__" in tree.text_of(line) for line in _class_of(function, tree).body.body):
            raise Refuse("the class has `__slots__`, where a `cached_property` finds no place for its value")
        cached = cst.Decorator(tree.expression(f"{tree.name_for('functools', function)}.cached_property"))
        cached = cached.with_changes(leading_lines=function.decorators[0].leading_lines)
        return Edit({function: _with(function, cached)}, Safety.UNSAFE, modules=("functools",))
    if fact.uses_self or len(function.decorators) != 1:
        raise Refuse("keep the result on the object, or compute it each time: whether it may be kept is yours to say")
    params = function.params
    if not params.params or params.posonly_params or params.params[0].default or f".{name}(self" in tree.text:
        raise Refuse("the method doesn't use its object, but is called in a way that a static method can't be")
    static = cst.Decorator(cst.Name("staticmethod"), leading_lines=cache.leading_lines)
    plain = _with(function, static, cache.with_changes(leading_lines=()))
    return Edit({function: plain.with_changes(params=params.with_changes(params=params.params[1:]))}, Safety.UNSAFE)


def _class_of(function: cst.FunctionDef, tree: Tree) -> cst.ClassDef:
    return next(outer for outer in tree.around(function) if isinstance(outer, cst.ClassDef))


def _with(function: cst.FunctionDef, *first: cst.Decorator) -> cst.FunctionDef:
    """The function with these in the place of its first decorators, up to the cache."""
    kept = function.decorators[2:] if len(first) == 1 else ()
    return function.with_changes(decorators=[*first, *kept])
