"""memlint run as a user runs it: by its command line, in a process of its own, on files on the disk."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import measure
from memlint.discover import EXCLUDED

ALL_FOLDERS = ",".join(f"!{name}" for name in sorted(EXCLUDED))
"""What makes memlint look into folders that it leaves out on its own, such as `build`."""

_SAID = re.compile(
    r"(?:(?P<fate>fixed|left) +)?(?P<path>.+?):(?:cell (?P<cell>\d+):)?(?P<line>\d+):(?P<column>\d+): "
    r"(?P<rule>[a-z][a-z-]+) (?P<message>.*)"
)
_ERROR = re.compile(
    r"memlint: error: (?P<path>.+?\.(?:py|pyi|ipynb))(?::cell (?P<cell>\d+))?"
    r"(?::(?P<line>\d+))?(?::(?P<column>\d+))?: (?P<message>.*)"
)
_COUNT = re.compile(r"(?:in|of) (\d+) files?\b")


@dataclass(frozen=True, order=True, slots=True)
class Said:
    """A finding as a line of the output names it."""

    path: str
    cell: int
    line: int
    column: int
    rule: str
    message: str


@dataclass(frozen=True, order=True, slots=True)
class Failed:
    """A file that memlint says it can't check or repair, or a cell of one; 0 where no cell or line is named."""

    path: str
    cell: int
    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Ran:
    """One run. cpu: seconds of it and of its workers. peak: most bytes of one process of it.

    fixed, left, found: by the word in front of the line; `check` puts none. reasons: lines below those that were left.
    """

    status: int
    cpu: float
    peak: int
    fixed: tuple[Said, ...]
    left: tuple[Said, ...]
    found: tuple[Said, ...]
    failed: tuple[Failed, ...]
    checked: int
    strange: tuple[str, ...]


def memlint(arguments: Sequence[str], folder: Path, cache: Path, jobs: int) -> Ran:
    """Run `memlint` in a folder, on all that is there."""
    options = ["--select", "all", "--isolated", f"-j{jobs}", "--cache-dir", str(cache), "--exclude", ALL_FOLDERS]
    command = [sys.executable, "-m", "memlint", *arguments, *options, "--color", "never", "."]
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        status, cost = measure.run(command, folder, out, err, environment)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "backslashreplace"))
    return _read(status, cost.cpu, round(cost.peak * 1e6), *texts)


def _read(status: int, cpu: float, peak: int, out: str, err: str) -> Ran:
    """What the output says. strange: lines that belong to no finding, no file and no summary, and so to a crash."""
    said: dict[str, list[Said]] = {"fixed": [], "left": [], "": []}
    failed, strange = [], []
    checked = 0
    for line in out.splitlines():
        match = _SAID.fullmatch(line)
        if match is not None:
            cell, at, column = (int(match[name] or 0) for name in ("cell", "line", "column"))
            said[match["fate"] or ""].append(Said(match["path"], cell, at, column, match["rule"], match["message"]))
        elif not line.startswith("       "):
            strange.append(line)
    for line in err.splitlines():
        error = _ERROR.fullmatch(line)
        count = _COUNT.search(line)
        if error is not None:
            cell, at = int(error["cell"] or 0), int(error["line"] or 0)
            failed.append(Failed(error["path"], cell, at, error["message"]))
        elif count is not None and line.startswith(("Fixed ", "Nothing to fix ", "Found ", "No problems ")):
            checked = int(count[1])
        else:
            strange.append(line)
    if status not in (0, 1):
        strange.append(f"exit status {status}")
    fixed, left, found = (tuple(sorted(said[fate])) for fate in ("fixed", "left", ""))
    return Ran(status, cpu, peak, fixed, left, found, tuple(sorted(failed)), checked, tuple(strange))
