"""Changes of files as a patch that `git apply` makes and `git apply -R` takes back.

In bytes: a file need not be UTF-8, and git compares every byte, line ends included.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator

from memlint.report import lines
from memlint.report.paint import Painter

_STYLES = {"-": "removed", "+": "added", "@": "place"}


def patch(path: str, old: bytes | None, new: bytes, folder: str = os.curdir) -> Iterator[bytes]:
    """The patch of one file, line by line. old: None where the file is new. folder: where it is to be applied."""
    name = os.fsencode(lines.below(os.path.realpath(path), os.path.realpath(folder)) or path)
    ours, theirs = _quoted(b"a/" + name), _quoted(b"b/" + name)
    # Without git's own first line: with it, git would take the paths from the top of the repository.
    # As git does it: a name with a blank ends in a tab, so that nobody takes what follows for a date.
    end = b"\t\n" if b" " in name else b"\n"
    yield b"--- /dev/null\n" if old is None else b"--- " + ours + end
    yield b"+++ " + theirs + end
    # One byte is one character in Latin-1, and git's lines end at \n alone.
    before, after = (data.decode("latin-1").split("\n") for data in (old or b"", new))
    for number, line in enumerate(difflib.unified_diff(_ended(before), _ended(after), lineterm="\n")):
        if number >= 2:
            yield line.encode("latin-1")
            if not line.endswith("\n"):
                yield b"\n\\ No newline at end of file\n"


def painted(chunks: Iterator[bytes], encoding: str, paint: Painter) -> Iterator[str]:
    """The same for people: in colours, and without what could upset a terminal."""
    in_hunk = False
    for chunk in chunks:
        text = chunk.decode(encoding, "backslashreplace")
        in_hunk = in_hunk or text.startswith("@@")
        style = _STYLES.get(text[0]) if in_hunk else "message"
        bare = lines.printable(text.rstrip("\r\n"))
        yield (paint(bare, style) if style else bare) + "\n" * text.endswith("\n")


def _ended(pieces: list[str]) -> list[str]:
    """Lines with their ends, from what a split left."""
    return [piece + "\n" for piece in pieces[:-1]] + [piece for piece in pieces[-1:] if piece]


def _quoted(name: bytes) -> bytes:
    """A path as git writes it: in quotes where a character would be taken for something else."""
    if not any(byte < 32 or byte in b'"\\\x7f' for byte in name):
        return name
    escaped = (
        b"\\" + bytes([byte]) if byte in b'"\\' else b"\\%03o" % byte if byte < 32 or byte == 127 else bytes([byte])
        for byte in name
    )
    return b'"' + b"".join(escaped) + b'"'
