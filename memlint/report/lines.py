"""Source lines, as they are shown."""

from __future__ import annotations

import os
import re
import unicodedata

from memlint.rule import Place

_END = re.compile(r"\r\n|\r|\n")
_TAB = "    "


def split(text: str) -> list[str]:
    """The lines of a text without their ends. Python's lines end at \\n, \\r\\n and \\r only, not at a form feed."""
    return _END.split(text)


def printable(text: str) -> str:
    """A text on one line that can't upset a terminal: tabs are four blanks, other control characters a mark."""
    if text.isprintable():
        return text
    text = text.replace("\t", _TAB)
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def one_line(message: str) -> str:
    """A message without line breaks or control characters."""
    return printable(" ".join(message.split()))


def width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in printable(text)
    )


def location(place: Place) -> str:
    """`path:line:column`, and in a notebook `path:cell 3:line:column`."""
    return f"{printable(place.path)}:{position(place)}"


def position(place: Place) -> str:
    """The same without the path."""
    cell = place.cell
    return f"{place.line}:{place.column}" if cell is None else f"cell {cell.number}:{cell.line}:{cell.column}"


def below(path: str, root: str) -> str | None:
    """A path relative to a folder, with forward slashes; None where it does not lie below it."""
    absolute, prefix = os.path.abspath(path), os.path.join(os.path.abspath(root), "")
    return absolute[len(prefix) :].replace(os.sep, "/") if absolute.startswith(prefix) else None
