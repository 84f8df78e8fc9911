"""Whether a repair harmed a file. Nothing here asks memlint: it looks at the bytes before and after."""

from __future__ import annotations

import ast
import codecs
import difflib
import functools
import hashlib
import io
import itertools
import json
import os
import re
import stat
import tokenize
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import libcst

NEAR = 3
"""How many lines a change may be away from a finding that was reported as fixed."""

_IMPORT = re.compile(rb"\s*(from\s+\S+\s+import\b|import\s|[\w\s,]*\)?\s*$)")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a file of the tree is, apart from its name. written: when, in nanoseconds."""

    digest: str
    mode: int
    written: int


def snapshot(folder: Path) -> dict[str, Entry]:
    """Every file below a folder, whatever its name."""
    found = {}
    for at, _, names in os.walk(folder):
        for name in names:
            path = Path(at, name)
            status = path.stat()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = Entry(digest, stat.S_IMODE(status.st_mode), status.st_mtime_ns)
    return found


def trees(before: Mapping[str, Entry], after: Mapping[str, Entry], reported: Collection[str]) -> Iterator[str]:
    """What changed in a tree and should not have. reported: the files that memlint says it has fixed."""
    for path in sorted(before.keys() - after.keys()):
        yield f"{path}: is gone"
    for path in sorted(after.keys() - before.keys()):
        yield f"{path}: was left behind"
    for path in sorted(before.keys() & after.keys()):
        if before[path].mode != after[path].mode:
            yield f"{path}: has other permissions"
        if before[path].digest != after[path].digest and path not in reported:
            yield f"{path}: was changed, and no fix was reported"
        if before[path].digest == after[path].digest and before[path].written != after[path].written:
            yield f"{path}: was written, and nothing in it changed"


def compiles(path: str, data: bytes) -> str | None:
    """Why the running Python can't compile a file: None where it can, or where a notebook is what it should be."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if path.endswith(".ipynb"):
                json.loads(data)
            else:
                compile(data, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"{type(error).__name__}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def changed(path: str, old: bytes, new: bytes, fixed: Sequence[int]) -> list[str]:
    """What is wrong with a change of one file. fixed: the lines of the findings that were reported as fixed in it."""
    if path.endswith(".ipynb"):
        return _notebooks(json.loads(old), json.loads(new))
    if (error := compiles(path, new)) is not None and compiles(path, old) is None:
        return [f"does not compile any more: {error}"]
    try:
        libcst.parse_module(new)
    except libcst.ParserSyntaxError as error:
        return [f"does not parse any more: {error}"]
    before, after = _text(old), _text(new)
    around = [range_ for text in (before, after) for line in fixed for range_ in _around(text, line)]
    wrong = [*_bytes(old, new), *_hunks(old, new, around)]
    lost = Counter(_comments(before)) - Counter(_comments(after))
    wrong += [f"lost the comment {comment!r}" for comment in lost]
    if compiles(path, old) is None:
        wrong += _definitions(before, after, around)
    return wrong


def _around(text: str, line: int) -> Iterator[tuple[int, int]]:
    """Where a change for a finding in this line may be: near it, and in the function that it is in."""
    yield line - NEAR, line + NEAR
    for part in _parts(text):
        if part.is_function and part.first <= line <= part.last:
            yield part.first - 1, part.last + 1


def unknown_to_libcst(data: bytes) -> bool:
    """Whether LibCST can't parse a file, alone and without memlint."""
    try:
        libcst.parse_module(data)
    except libcst.ParserSyntaxError:
        return True
    return False


def depth(data: bytes) -> int:
    """How deeply the nodes of a valid file's syntax tree are nested."""
    deepest = 0
    todo: list[tuple[ast.AST, int]] = [(ast.parse(data), 0)]
    while todo:
        node, level = todo.pop()
        deepest = max(deepest, level)
        todo += [(child, level + 1) for child in ast.iter_child_nodes(node)]
    return deepest


# -- bytes -------------------------------------------------------------------------------------------------------------


def _bytes(old: bytes, new: bytes) -> Iterator[str]:
    if old.startswith(codecs.BOM_UTF8) != new.startswith(codecs.BOM_UTF8):
        yield "the byte order mark changed"
    if tokenize.detect_encoding(io.BytesIO(old).readline) != tokenize.detect_encoding(io.BytesIO(new).readline):
        yield "the encoding changed"
    ends = [set(re.findall(rb"\r\n|\r|\n", data)) for data in (old, new)]
    if not ends[1] <= ends[0]:
        yield "has a kind of line end that it did not have"
    tails = [data[len(data.rstrip()) :] for data in (old, new)]
    if tails[0] != tails[1]:
        yield "the end of the file changed"


def hunks(old: bytes, new: bytes) -> list[tuple[int, list[bytes], int, list[bytes]]]:
    """The changed stretches: the line where each begins in the old file and its lines, and the same in the new one."""
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))
    room = min(len(before), len(after)) - same
    back = zip(reversed(before[-room:] if room else []), reversed(after[-room:] if room else []), strict=True)
    tail = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], back))
    inner = before[same : len(before) - tail], after[same : len(after) - tail]
    found = []
    for tag, first, last, start, end in difflib.SequenceMatcher(None, *inner, autojunk=False).get_opcodes():
        if tag != "equal":
            found.append((same + first + 1, inner[0][first:last], same + start + 1, inner[1][start:end]))
    return found


def _hunks(old: bytes, new: bytes, around: Sequence[tuple[int, int]]) -> Iterator[str]:
    """Changes that no fix explains, and lines that end in blanks though none of theirs did."""
    for first, gone, start, come in hunks(old, new):
        if not (_near(min(first, start), max(first + len(gone), start + len(come)), around) or _only_imports(come)):
            yield f"line {first} was changed, and no fix was reported there"
        for line in come:
            if line.rstrip() != line.rstrip(b"\r\n") and not any(line.strip() in other for other in gone):
                yield f"line {first}: new code ends in blanks"


def _near(first: int, last: int, around: Sequence[tuple[int, int]]) -> bool:
    return any(first <= end and begin <= last for begin, end in around)


def _only_imports(come: Sequence[bytes]) -> bool:
    """Whether new lines are nothing but an import and empty ones, or names in the brackets of one."""
    return all(_IMPORT.match(line) for line in come) and any(line.strip() for line in come)


# -- what Python sees --------------------------------------------------------------------------------------------------


def _text(data: bytes) -> str:
    encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
    return data.decode(encoding)


def _comments(text: str) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for token in tokenize.generate_tokens(io.StringIO(text).readline):
                if token.type == tokenize.COMMENT:
                    yield token.string
        except (tokenize.TokenError, SyntaxError, IndentationError):
            return


@dataclass(frozen=True, slots=True)
class _Part:
    """A statement of the module or of a class in it. text: its syntax tree, without places."""

    text: str
    first: int
    last: int
    is_import: bool
    is_function: bool


@functools.lru_cache(maxsize=2)
def _parts(text: str) -> list[_Part]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = []
    for outer in module.body:
        inner: list[ast.stmt] = [outer]
        if isinstance(outer, ast.ClassDef):
            members, outer.body = outer.body, []
            inner = [outer, *members]
        for node in inner:
            lines = [node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))]
            is_import = isinstance(node, (ast.Import, ast.ImportFrom))
            is_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            found.append(_Part(ast.dump(node), min(lines), node.end_lineno or node.lineno, is_import, is_function))
    return found


def _definitions(before: str, after: str, around: Sequence[tuple[int, int]]) -> Iterator[str]:
    """Functions, members of classes and other statements that mean something else, and no fix was reported in them."""
    old, new = _parts(before), _parts(after)
    match = difflib.SequenceMatcher(None, [part.text for part in old], [part.text for part in new], autojunk=False)
    for tag, first, last, start, end in match.get_opcodes():
        touched = [*old[first:last], *new[start:end]]
        if tag == "equal" or all(part.is_import for part in touched):
            continue
        for part in old[first:last] or new[start:end]:
            shift = len(after.splitlines()) - len(before.splitlines())
            near = min(part.first, part.first + shift), max(part.last, part.last + shift)
            if not part.is_import and not _near(*near, around):
                yield f"line {part.first}: a definition means something else, and no fix was reported in it"


# -- notebooks ---------------------------------------------------------------------------------------------------------


def _notebooks(old: dict[str, object], new: dict[str, object]) -> list[str]:
    """What differs between two notebooks but for the sources of code cells, and cells that do not compile any more."""
    sources: list[list[str]] = []
    for document in (old, new):
        mine = []
        cells = document["cells"]
        assert isinstance(cells, list)
        for cell in cells:
            if cell["cell_type"] == "code":
                mine.append("".join(cell.pop("source")))
        sources.append(mine)
    wrong = [] if old == new else ["more than the source of a code cell changed"]
    if len(sources[0]) == len(sources[1]):
        for number, (before, after) in enumerate(zip(*sources, strict=True), 1):
            if compiles("cell.py", before.encode()) is None and (error := compiles("cell.py", after.encode())):
                wrong.append(f"code cell {number} does not compile any more: {error}")
    return wrong
