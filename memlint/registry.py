"""Opens `rules/` and `fixers/`, and pairs them by file name. Nothing registers itself; the folder is the list."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

from memlint.fixer import Fixer
from memlint.rule import Rule


def name_of(stem: str) -> str:
    """The rule's name for a file stem: dashes for underscores."""
    return stem.replace("_", "-")


def stem_of(name: str) -> str:
    """The file stem for a rule's name."""
    return name.replace("-", "_")


def _marked(module: ModuleType) -> Callable[..., Any]:
    """The one function in a rule or fixer file that carries the decorator's mark."""
    found = [
        value
        for value in vars(module).values()
        if hasattr(value, "memlint") and getattr(value, "__module__", "") == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} must hold exactly one marked function, it holds {len(found)}")
    function: Callable[..., Any] = found[0]
    return function


def _modules(package: str) -> dict[str, ModuleType]:
    # iter_modules on this one folder only: walking memlint's own path never ends in a checkout, where it holds itself.
    parent = importlib.import_module(package)
    return {
        info.name: importlib.import_module(f"{package}.{info.name}") for info in pkgutil.iter_modules(parent.__path__)
    }


@functools.cache
def rules() -> dict[str, Rule]:
    """Every rule by its name, in alphabetical order."""
    table = {}
    for stem, module in sorted(_modules("memlint.rules").items()):
        find = _marked(module)
        table[name_of(stem)] = Rule(name=name_of(stem), doc=module.__doc__ or "", find=find, **find.memlint)  # type: ignore[attr-defined]
    return table


@functools.cache
def fixers() -> dict[str, Fixer]:
    """Every fixer by the name of the rule that it cures."""
    table = {}
    for stem, module in sorted(_modules("memlint.fixers").items()):
        fix = _marked(module)
        table[name_of(stem)] = Fixer(name=name_of(stem), fix=fix, **fix.memlint)  # type: ignore[attr-defined]
    return table
