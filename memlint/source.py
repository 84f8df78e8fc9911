"""One file: bytes in, text and tree out, and the place of any node on demand."""

from __future__ import annotations

import codecs
import io
import re
import tokenize
from typing import Any

import libcst as cst
from libcst._nodes.internal import CodegenState

from memlint.rule import Place

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


class Source:
    """A parsed file. `tree` is the LibCST module; `place` finds where a node of it stands."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self.text, self.encoding, self.bom = decode(data)
        if _depth(self.text) > MAX_DEPTH:
            raise Unreadable("is nested too deeply to be parsed")
        try:
            self.tree = cst.parse_module(self.text)
        except cst.ParserSyntaxError as error:
            raise _syntax_error(error) from None
        except RecursionError:
            raise Unreadable("is nested too deeply to be parsed") from None
        self._spans: dict[int, tuple[int, int]] | None = None
        self._starts: list[tuple[int, int]] = []
        self._tokens: list[str] = []

    def place(self, node: Any) -> Place:
        """Where a node stands, its own parentheses included, the comments and blank lines around it not."""
        if self._spans is None:
            self._locate()
        assert self._spans is not None
        first, last = self._spans[id(node)]
        last = min(last, len(self._tokens))  # the generator takes back the newline after the last line
        while first < last and _is_blank(self._tokens[first]):
            first += 1
        while last > first and _is_blank(self._tokens[last - 1]):
            last -= 1
        line, column = self._starts[first]
        end_line, end_column = self._starts[last]
        return Place(self.path, line, column, end_line, end_column)

    def _locate(self) -> None:
        # LibCST's own position provider copies the tree and visits every node twice; generating the code once and
        # noting at which token each node begins and ends costs a fifth of a parse.
        state = _Recorder(default_indent=self.tree.default_indent, default_newline=self.tree.default_newline)
        self.tree._codegen(state)
        self._spans = state.spans
        starts = []
        line = column = 1
        for token in state.tokens:
            starts.append((line, column))
            newlines = token.count("\n") or token.count("\r")
            if newlines:
                line += newlines
                column = len(token) - max(token.rfind("\n"), token.rfind("\r"))
            else:
                column += len(token)
        starts.append((line, column))
        self._starts = starts
        self._tokens = state.tokens


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


class _Recorder(CodegenState):
    """Notes for each node the first and one past the last token of its code."""

    def __init__(self, default_indent: str, default_newline: str) -> None:
        super().__init__(default_indent=default_indent, default_newline=default_newline)
        self.spans: dict[int, tuple[int, int]] = {}
        self._open: list[int] = []

    def before_codegen(self, node: cst.CSTNode) -> None:
        self._open.append(len(self.tokens))

    def after_codegen(self, node: cst.CSTNode) -> None:
        self.spans[id(node)] = (self._open.pop(), len(self.tokens))
