"""The statements of a text: on which lines each stands, in which function, and its code in one form however it is set.

Read with one regular expression and the indentation, so that every version of Python reads the same out of a text,
and so that a text which is broken elsewhere can be read as well.
"""

from __future__ import annotations

import bisect
import re

from msgspec import Struct

_LEXER = re.compile(
    r"""(?P<comment>\#[^\n]*) | (?P<string>\"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}
        | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*')""",
    re.VERBOSE | re.DOTALL,
)
_HEADER = re.compile(r"(?:async\s+)?def\s+(?P<function>\w+)|class\s+(?P<class>\w+)")
_BLANKS = re.compile(r"(?<!\w)\s+|\s+(?!\w)")
_WIDE = re.compile(r"\s+")
_LAST_COMMA = re.compile(r",(?=[)\]}])")
_STRING = re.compile("\0")
_MARGIN = " \t\f"


class Statement(Struct, frozen=True):
    """The lines first to last, of a block its decorators and header, and the function or class that it stands in.

    What opens a function or class stands in that one. `function` is "" for a module's own statements.
    """

    first: int
    last: int
    function: str


class Statements:
    """The statements of one text."""

    def __init__(self, text: str) -> None:
        self._lines = _one_end(text).split("\n")
        self._found = _statements("\n".join(self._lines))
        self._firsts = [statement.first for statement in self._found]

    def at(self, line: int) -> Statement:
        """The statement on a line; where none is, such as on one of comments, the line by itself."""
        index = bisect.bisect_right(self._firsts, line) - 1
        if index < 0:
            return Statement(line, line, "")
        found = self._found[index]
        return found if line <= found.last else Statement(line, line, found.function)

    def code(self, statement: Statement) -> str:
        """The code on one line, without what a formatter may change: blanks, line breaks, last commas; or comments.

        Comments stay where there is nothing else.
        """
        text = "\n".join(self._lines[statement.first - 1 : statement.last])
        return _plain(text) or " ".join(text.split())


def _one_end(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _plain(text: str) -> str:
    strings: list[str] = []

    def aside(match: re.Match[str]) -> str:
        if match["comment"]:
            return ""
        strings.append(match["string"])
        return "\0"

    code = _LEXER.sub(aside, text).replace("\\\n", " ")
    code = _LAST_COMMA.sub("", _BLANKS.sub("", _WIDE.sub(" ", code).strip()))
    left = iter(strings)
    return _STRING.sub(lambda _: next(left), code)


def _statements(text: str) -> list[Statement]:
    """The lines are joined where brackets are open, a backslash ends one, or a string goes on."""
    masked = _LEXER.sub(lambda match: "" if match["comment"] else '""' + "\\\n" * match["string"].count("\n"), text)
    found: list[Statement] = []
    inside: list[tuple[int, str]] = []  # the blocks of functions and classes around, by the column of their header
    depth, decorated, first, start = 0, 0, 0, ""
    for number, line in enumerate(masked.split("\n"), 1):
        if not first:
            if not line.strip(_MARGIN):
                continue
            first, start = number, line
        depth += sum(map(line.count, "([{")) - sum(map(line.count, ")]}"))
        if depth > 0 or line.endswith("\\"):
            continue
        begin, first, depth = first, 0, 0
        code = start.lstrip(_MARGIN)
        column = len(start[: len(start) - len(code)].rpartition("\f")[2].expandtabs(8))
        while inside and inside[-1][0] >= column:
            inside.pop()
        if code.startswith("@"):
            decorated = decorated or begin
            continue
        if header := _HEADER.match(code):
            inside.append((column, header["function"] or header["class"]))
        found.append(Statement(decorated or begin, number, ".".join(name for _, name in inside)))
        decorated = 0
    if first or decorated:  # the end of a broken text
        found.append(Statement(decorated or first, masked.count("\n") + 1, ".".join(name for _, name in inside)))
    return found
