"""One file: bytes in, text and tree out, and the place of any node on demand."""

from __future__ import annotations

import ast
import codecs
import io
import re
import tokenize
import warnings
from typing import TYPE_CHECKING, Any

from memlint import nesting, notebook
from memlint.rule import Place

if TYPE_CHECKING:
    import libcst as cst

    from memlint.positions import Code

MAX_BYTES = 20_000_000
_COOKIE = re.compile(rb"coding[:=]")


class Unreadable(Exception):
    """A file that can't be decoded or parsed: one line for the user, with the place where it is known."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


def decode(data: bytes) -> tuple[str, str, bool]:
    """The text of a Python file, its encoding, and whether it starts with a byte order mark (not part of the text)."""
    if len(data) > MAX_BYTES:
        raise Unreadable(f"larger than {MAX_BYTES // 1_000_000} MB, not checked")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Unreadable("is UTF-16, which Python can't read: save it as UTF-8")
    if b"\0" in data:
        raise Unreadable("holds NUL bytes, not a Python source file")
    bom = data.startswith(codecs.BOM_UTF8)
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
    except SyntaxError as error:
        head = data.splitlines()[:2]
        cookie = next((number for number, line in enumerate(head, 1) if _COOKIE.search(line)), None)
        if cookie is not None:
            reason = "its byte order mark says UTF-8, this line another encoding" if bom else str(error.msg)
            raise Unreadable(reason, cookie, 1) from None
        encoding = "utf-8"  # no declaration, and not what Python then expects: the decoder says where
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some codecs judge what they decode
            text = (data[3:] if bom else data).decode("utf-8" if bom else encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Unreadable(f"can't be decoded as {error.encoding}: {error.reason}", line, 1) from None
    except (LookupError, ValueError):  # a codec from bytes to bytes, or one that is not meant for whole texts
        raise Unreadable(f"can't be decoded as {encoding}") from None
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
        if nesting.too_deep(self.text):
            raise Unreadable("is nested too deeply to be parsed")
        import libcst as cst  # here, because a run that finds all in the cache should not wait for it

        try:
            self.tree = cst.parse_module(self.text)
        except cst.ParserSyntaxError as error:
            raise _compiler_says(self.text) or _syntax_error(error) from None
        except cst.CSTValidationError as error:  # its tokenizer knows a newer Unicode than the running Python
            raise _compiler_says(self.text) or Unreadable(f"does not parse: {error}") from None
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


def _compiler_says(text: str) -> Unreadable | None:
    """What the running Python has against a text, in words and with a place better than LibCST's; None for nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except SyntaxError as error:
        return Unreadable(f"does not parse: {error.msg}", error.lineno or 1, max(error.offset or 1, 1))
    except (ValueError, RecursionError, MemoryError):
        pass
    return None


def _syntax_error(error: cst.ParserSyntaxError) -> Unreadable:
    """LibCST's message lists every token that would have fitted; the place inside it says more."""
    found = re.search(r"error at (\d+):(\d+)", error.message)
    if found is not None:
        return Unreadable("does not parse: invalid syntax", int(found[1]), max(int(found[2]), 1))
    reason = " ".join(error.message.replace("tokenizer error:", "").split()) or "invalid syntax"
    return Unreadable(f"does not parse: {reason}")
