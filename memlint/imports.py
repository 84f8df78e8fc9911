"""The imports that new code needs: where helpers come from, and where an import goes in the user's file."""

from __future__ import annotations

import itertools
import keyword
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import libcst as cst

from memlint import record
from memlint.fixer import Refuse
from memlint.names import RUNTIME, Need, source

_VENDOR = "vendor:"


# -- where the helpers come from ---------------------------------------------------------------------------------------


def vendored_path(runtime: str) -> str | None:
    """The PATH of `vendor:PATH`, None for `import`."""
    return runtime.removeprefix(_VENDOR) if runtime.startswith(_VENDOR) else None


def runtime_module(runtime: str, path: str) -> str:
    """The module that the file at `path` imports helpers from.

    A vendored file inside a package is imported by its dotted name from the top of that package. One outside of any
    package is imported by its bare name, which works for files in its own folder and below it. Raises Refuse elsewhere.
    """
    vendored = vendored_path(runtime)
    if vendored is None:
        return RUNTIME
    file = Path(os.path.abspath(vendored))
    parts = [file.stem]
    folder = file.parent
    while record.is_file(str(folder / "__init__.py")):
        parts.append(folder.name)
        folder = folder.parent
    if file.suffix != ".py" or not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        raise Refuse(f"{vendored} can't be imported: it must end in .py and its names must be Python names")
    if len(parts) == 1 and not Path(os.path.abspath(path)).is_relative_to(folder):
        raise Refuse(f"{path} can't import {vendored}: it lies in no package, and not above this file")
    return ".".join(reversed(parts))


# -- adding imports ----------------------------------------------------------------------------------------------------


def add(module: cst.Module, needs: Iterable[Need], before: int) -> cst.Module:
    """The module with the imports that are not there yet, above its statement number `before`.

    Helpers join an import of the same module; else a new line goes below the last import of the header. `import torch`
    goes below the first import of something in torch, so that what the file sets up before loading torch stays before.
    """
    missing = sorted(need for need in needs if not need.bound)
    body = list(module.body)
    for need in missing:
        if not need.name:
            index = _below_first(body[:before], need.module) or _below_header(body[:before])
            _insert(body, index, cst.Import([_alias(need.module, need.local)]))
            before += 1
    for origin, group in itertools.groupby((need for need in missing if need.name), key=lambda need: need.module):
        aliases = [_alias(need.name, need.local) for need in group]
        if not _merge(body, before, origin, aliases):
            listed = [alias.with_changes(comma=_COMMA) for alias in aliases[:-1]] + aliases[-1:]
            _insert(body, _below_header(body[:before]), cst.ImportFrom(_dotted(origin), listed))
            before += 1
    return module.with_changes(body=body)


_COMMA = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
_Body = list[Any]


def _alias(name: str, local: str) -> cst.ImportAlias:
    asname = None if name == local else cst.AsName(cst.Name(local))
    return cst.ImportAlias(_dotted(name), asname=asname)


def _dotted(name: str) -> Any:
    head, _, tail = name.rpartition(".")
    return cst.Attribute(_dotted(head), cst.Name(tail)) if head else cst.Name(tail)


def _imports_in(statement: Any) -> list[cst.Import | cst.ImportFrom]:
    smalls = statement.body if isinstance(statement, cst.SimpleStatementLine) else ()
    return [small for small in smalls if isinstance(small, (cst.Import, cst.ImportFrom))]


def _is_docstring(statement: Any) -> bool:
    first = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
    return isinstance(first, cst.Expr) and isinstance(first.value, (cst.SimpleString, cst.ConcatenatedString))


def _below_header(body: _Body) -> int:
    """Where a new import goes: below the docstring and the last top-level import of the leading simple code."""
    index = 1 if body and _is_docstring(body[0]) else 0
    for number, statement in enumerate(body):
        if _imports_in(statement):
            index = number + 1
        elif not isinstance(statement, (cst.SimpleStatementLine, cst.If, cst.Try, cst.TryStar)):
            break
    return index


def _below_first(body: _Body, module: str) -> int:
    """Below the first import of something inside a module, 0 where there is none."""
    for number, statement in enumerate(body):
        for node in _imports_in(statement):
            names = [alias.evaluated_name for alias in node.names] if isinstance(node, cst.Import) else [source(node)]
            if any(name.split(".")[0] == module for name in names):
                return number + 1
    return 0


def _insert(body: _Body, index: int, node: cst.BaseSmallStatement) -> None:
    """Put a new line in, with empty lines around it where no other import stands above it."""
    blank = cst.EmptyLine(indent=False)
    leading = []
    if not index or not any(source(above) != "__future__" for above in _imports_in(body[index - 1])):
        leading = [blank] if index else []
        if index < len(body) and all(line.comment for line in body[index].leading_lines):
            body[index] = body[index].with_changes(leading_lines=[blank, *body[index].leading_lines])
    body.insert(index, cst.SimpleStatementLine([node], leading_lines=leading))


def _merge(body: _Body, before: int, origin: str, new: Sequence[cst.ImportAlias]) -> bool:
    """Add names to the last from-import of a module, unless a star import below it or a comment inside forbids it."""
    for number in reversed(range(before)):
        for node in _imports_in(body[number]):
            if isinstance(node.names, cst.ImportStar):
                return False
            if isinstance(node, cst.Import) or source(node) != origin:
                continue
            if not (node.lpar and "#" in cst.Module([]).code_for_node(node)):
                line = body[number]
                smalls = [_with_names(s, new) if s is node else s for s in line.body]
                body[number] = line.with_changes(body=smalls)
                return True
    return False


def _with_names(node: cst.ImportFrom, new: Sequence[cst.ImportAlias]) -> cst.ImportFrom:
    """The import with more names, in alphabetical order where it was, laid out as it was."""
    old = list(node.names)  # type: ignore[arg-type]
    names = [alias.evaluated_name for alias in old]
    last_comma = old[-1].comma
    if len(old) > 1:
        between = old[0].comma
    else:
        space = node.lpar.whitespace_after if node.lpar else cst.SimpleWhitespace("")
        between = cst.Comma(whitespace_after=space) if isinstance(space, cst.ParenthesizedWhitespace) else _COMMA
    every = [*old, *new]
    if names == sorted(names, key=str.lower):
        every.sort(key=lambda alias: alias.evaluated_name.lower())
    every = [alias.with_changes(comma=between) for alias in every[:-1]] + [every[-1].with_changes(comma=last_comma)]
    return node.with_changes(names=every)
