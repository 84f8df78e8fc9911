"""A file on its way from what was read to what will be written."""

from __future__ import annotations

import difflib

from msgspec import Struct

from memlint.fixer import Refuse
from memlint.notebook import SUFFIX, Notebook, NotebookError
from memlint.source import decode, opened
from memlint.tree import lines


class Draft(Struct):
    """What was read, the text as far as it is repaired, and the text as it was at first."""

    old: bytes
    text: str
    encoding: str
    bom: bool
    notebook: Notebook | None = None
    first: str = ""

    def __post_init__(self) -> None:
        self.first = self.text

    def origins(self) -> list[int]:
        """For each line of the text, from which line of the text that was read it comes; 0 is the first."""
        before, after = lines(self.first), lines(self.text)
        if before == after:
            return list(range(len(after) + 1))
        found: list[int] = []
        for _, first, last, start, end in difflib.SequenceMatcher(None, before, after).get_opcodes():
            found += [min(first + number, max(last - 1, first)) for number in range(end - start)]
        return [*found, len(before)]

    def settled(self, text: str) -> str:
        """A new text as it would be read from the file."""
        try:
            return text if self.notebook is None else self.notebook.settled(text)
        except NotebookError as error:
            raise Refuse(error.message) from None

    def encode(self, text: str) -> bytes:
        if self.notebook is not None:
            try:
                return self.notebook.write(text)
            except NotebookError as error:
                raise Refuse(error.message) from None
        try:
            return (b"\xef\xbb\xbf" if self.bom else b"") + text.encode(self.encoding)
        except UnicodeError:
            raise Refuse(f"the new code can't be written in {self.encoding}") from None


def drafted(path: str, data: bytes) -> Draft:
    """The draft of a file as it was read. Raises Unreadable."""
    if path.endswith(SUFFIX):
        book = opened(data)
        return Draft(data, book.text, "utf-8", False, book)
    return Draft(data, *decode(data))
