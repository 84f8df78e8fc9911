"""Where output goes: findings to standard output or a file, remarks beside them without disturbing a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import IO

from memlint.cli.streams import tolerate, write, write_file
from memlint.config import ConfigError
from memlint.report import lines
from memlint.report.paint import Painter, colours, plain


class Screen:
    """The streams of one run and their colours."""

    def __init__(self, color: str = "auto", output_file: str | None = None) -> None:
        tolerate()
        self._color, self._file = color, output_file
        self.is_terminal = output_file is None and sys.stdout.isatty()
        self.paint = _painter(color, None if output_file else sys.stdout)
        self._remarks = sys.stdout if self.is_terminal else sys.stderr
        self.paint_remarks = _painter(color, self._remarks)

    def keep_remarks_apart(self) -> None:
        """From here on nothing but the result goes to standard output, on a terminal as on a pipe."""
        self._remarks = sys.stderr
        self.paint_remarks = _painter(self._color, sys.stderr)

    def show_patch(self, path: str, old: bytes | None, new: bytes, folder: str = os.curdir) -> None:
        """Write the change of one file: fit for a terminal, elsewhere byte for byte, so that git can apply it."""
        from memlint.report.patch import painted, patch
        from memlint.source import Unreadable, decode

        change = patch(path, old, new, folder)
        if self.paint is plain and not self.is_terminal:
            sys.stdout.flush()
            write(sys.stdout.buffer, change)
        else:
            try:
                encoding = decode(new)[1]
            except Unreadable:  # what it means to Python need not be what it means to itself
                encoding = "utf-8"
            self.show(painted(change, encoding, self.paint))

    def show(self, chunks: Iterable[str]) -> None:
        """Write the result."""
        if self._file is None:
            write(sys.stdout, chunks)
            return
        try:
            write_file(self._file, chunks)
        except OSError as error:
            raise ConfigError(f"{self._file}: can't be written: {error.strerror}") from None

    def remark(self, text: str) -> None:
        """Write something that is not part of the result: after it on a terminal, else to standard error."""
        write(self._remarks, [text])


def complain(message: str, kind: str = "error") -> None:
    """One line on standard error."""
    write(sys.stderr, [f"memlint: {kind}: {lines.printable(message)}\n"])


def _painter(color: str, stream: IO[str] | None) -> Painter:
    if color == "auto":
        if os.environ.get("FORCE_COLOR"):
            color = "always"
        elif os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or stream is None or not stream.isatty():
            color = "never"
    return plain if color == "never" else colours()
