"""Writing to the streams, in a way that neither odd characters nor a reader who has seen enough end the run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import IO, AnyStr

from memlint import record


def tolerate() -> None:
    """Let a path or a source line that the terminal can't show not end the run."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def write(stream: IO[AnyStr], chunks: Iterable[AnyStr]) -> None:
    """Write, as far as anybody reads it."""
    try:
        for chunk in chunks:
            stream.write(chunk)
            if isinstance(chunk, str):
                record.say("out" if stream is sys.stdout else "err", chunk)
        stream.flush()
    except BrokenPipeError:
        record.doubt()  # not all was said
        # Whoever read this has seen enough. The interpreter would fail again when it flushes at exit.
        with open(os.devnull, "w", encoding="utf-8") as sink:
            os.dup2(sink.fileno(), stream.fileno())


def write_file(path: str, chunks: Iterable[str]) -> None:
    """Write a file, and the folders that it is to lie in. Raises OSError."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as stream:
        for chunk in chunks:
            stream.write(chunk)
            record.say("file", chunk)
