"""One file: bytes in, text and tree out, and the place of any node on demand."""

from __future__ import annotations

import ast
import codecs
import io
import re
import tokenize
import warnings
from typing import TYPE_CHECKING, Any

from memlint import notebook
from memlint.rule import Place

if TYPE_CHECKING:
    import libcst as cst

    from memlint.positions import Code

MAX_BYTES = 20_000_000
MAX_DEPTH = 500
"""Brackets in brackets: LibCST's native parser ends the whole process at some 2,000 of them."""


class Unreadable(Exception):
    """A file that can't be decoded or parsed: one line for the user, with the place where it is known."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


def decode(data: bytes) -> tuple[str, str, bool]:
    """The text of a Python file, its encoding, and whether it starts with a byte order mark (not part of the text)."""
    if len(data) > MAX_BYTES:
        raise Unreadable(f"larger than {MAX_BYTES // 1_000_000} MB, not checked")
    if b"\0" in data:
        raise Unreadable("holds NUL bytes, not a Python source file")
    bom = data.startswith(codecs.BOM_UTF8)
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
    except SyntaxError as error:
        if re.search(rb"coding[:=]", b"".join(data.splitlines(keepends=True)[:2])):
            raise Unreadable(str(error.msg or error), 1, 1) from None
        encoding = "utf-8"  # no declaration, and not what Python then expects: the decoder says where
    try:
        text = (data[3:] if bom else data).decode("utf-8" if bom else encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Unreadable(f"can't be decoded as {error.encoding}: {error.reason}", line, 1) from None
    return text, "utf-8" if bom else encoding, bom


def read(path: str, data: bytes) -> tuple[str, str, bool]:
    """The Python text in a file, its encoding, and whether it starts with a byte order mark."""
    if not path.endswith(notebook.SUFFIX):
        return decode(data)
    return opened(data).text, "utf-8", False


def opened(data: bytes) -> notebook.Notebook:
    """The notebook in a file."""
    if len(data) > MAX_BYTES:
        raise Unreadable(f"larger than {MAX_BYTES // 1_000_000} MB, not checked")
    try:
        return notebook.Notebook(data)
    except notebook.NotebookError as error:
        raise Unreadable(error.message, error.line, error.column) from None


class Source:
    """A parsed file. `tree` is the LibCST module; `place` finds where a node of it stands."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self.text, self.encoding, self.bom = read(path, data)
        if _depth(self.text) > MAX_DEPTH:
            raise Unreadable("is nested too deeply to be parsed")
        import libcst as cst  # here, because a run that finds all in the cache should not wait for it

        try:
            self.tree = cst.parse_module(self.text)
        except cst.ParserSyntaxError as error:
            raise _syntax_error(error) from None
        except cst.CSTValidationError as error:  # its tokenizer knows a newer Unicode than the running Python
            raise Unreadable(f"does not parse: {error}") from None
        except RecursionError:
            raise Unreadable("is nested too deeply to be parsed") from None
        self._whole: Code | None = None
        self._parts: dict[int, Code] = {}

    def place(self, node: Any, function: Any = None, at: tuple[int, int] = (0, 0)) -> Place:
        """Where a node stands, its own parentheses included, the comments and blank lines around it not.

        function: one around it, with the line and column of its `def`: then only the code of that one is generated.
        """
        code = self._whole
        if code is None and function is not None:
            code = self._parts.get(id(function)) or self._parts.setdefault(id(function), self._part(function, at))
        if code is None:
            from memlint.positions import Code, generated

            code = self._whole = Code(generated(self.tree, self.tree))
        first, last = code.spans[id(node)]
        last = min(last, len(code.tokens))  # the generator takes back the newline after the last line
        while first < last and _is_blank(code.tokens[first]):
            first += 1
        while last > first and _is_blank(code.tokens[last - 1]):
            last -= 1
        line, column = code.starts[first]
        end_line, end_column = code.starts[last]
        return Place(self.path, line, column, end_line, end_column)

    def _part(self, function: Any, at: tuple[int, int]) -> Code:
        from memlint.positions import Code, generated

        state = generated(self.tree, function, " " * (at[1] - 1))
        code = Code(state)
        shift = at[0] - code.starts[state.head][0]
        code.starts = [(line + shift, column) for line, column in code.starts]
        return code

    def defs(self) -> list[tuple[str, int, int]]:
        """Name, line and column of each `def`, in source order; none where this Python can't read the file."""
        if "\f" in self.text:
            return []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(self.text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return []
        found = []
        blocks: list[Any] = [tree]
        while blocks:
            block = blocks.pop()
            if isinstance(block, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found.append((block.lineno, block.col_offset + 1, block.name))
            for name in ("body", "orelse", "handlers", "finalbody", "cases"):
                blocks.extend(part for part in getattr(block, name, ()) if not isinstance(part, _WITHOUT_DEFS))
        return [(name, line, column) for line, column, name in sorted(found)]


_WITHOUT_DEFS = (ast.Expr, ast.Assign, ast.Return, ast.AugAssign, ast.AnnAssign, ast.Import, ast.ImportFrom)


def _is_blank(token: str) -> bool:
    return not token or token.isspace() or token.startswith("#")


def _depth(text: str) -> int:
    """How deeply brackets are nested, those in strings and comments included: an upper bound is all that is needed."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[\](){}]", text):
        if bracket in "([{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth = max(depth - 1, 0)
    return deepest


def _syntax_error(error: cst.ParserSyntaxError) -> Unreadable:
    """LibCST's message lists every token that would have fitted; the place inside it says more."""
    found = re.search(r"error at (\d+):(\d+)", error.message)
    if found is not None:
        # LibCST names two places that may differ: the column in the message is the better one where the lines agree.
        column = int(found[2]) if int(found[1]) == error.raw_line else error.raw_column
        return Unreadable("does not parse: invalid syntax", error.raw_line, column + 1)
    reason = " ".join(error.message.replace("tokenizer error:", "").split()) or "invalid syntax"
    return Unreadable(f"does not parse: {reason}", error.raw_line, error.raw_column + 1)
