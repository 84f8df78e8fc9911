"""Running memlint while Python reports what it does: what is run, imported, started, and changed on the disk.

    python -m tests.support.audited LOG < RUNS

RUNS is a JSON list of runs: `argv`, and `files`, by path with their bytes in base64, which are written before. For each
a line of JSON goes to LOG: the exit status, what was printed, and the events.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

from memlint import registry
from memlint.cli import main

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = {"os.rename": (0, 1), "os.link": (0, 1), "os.symlink": (1,), "os.mkfifo": (0,)} | {
    f"os.{name}": (0,) for name in ("remove", "mkdir", "rmdir", "chmod", "chown", "utime", "truncate", "setxattr")
}
STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.startfile", "pty.spawn"}


def told(event: str, arguments: tuple[Any, ...]) -> tuple[str, list[str]] | None:
    """An event as far as it counts: its kind, and the paths or names that it is about."""
    if event == "exec":
        return "run", [getattr(arguments[0], "co_filename", "?")]
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
        # A descriptor was told of when its file was opened.
        return None if isinstance(arguments[0], int) else ("change", [_path(arguments[0])])
    if event in CHANGES:
        return "change", [_path(arguments[number]) for number in CHANGES[event]]
    if event in STARTS:
        known = event in ("subprocess.Popen", "os.posix_spawn")  # the second is how the first may go about it
        return "start", [os.fsdecode(word) for word in arguments[1]] if known else [event]
    if event == "pickle.find_class" or event.startswith(("ctypes.dl", "socket.connect", "marshal.load")):
        return event, [str(argument) for argument in arguments if isinstance(argument, str)]
    return None


def _path(given: Any) -> str:
    return os.path.abspath(os.fsdecode(given))


def run(log: str) -> None:
    runs = json.load(sys.stdin)
    registry.rules(), registry.fixers()  # their own import is not what a run does
    events: list[tuple[str, list[str]]] = []
    listening = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal listening
        if listening:
            listening = False
            if (found := told(event, arguments)) is not None:
                events.append(found)
            listening = True

    sys.addaudithook(hook)
    with open(log, "w", encoding="utf-8") as stream:
        for row in runs:
            for name, data in row.get("files", {}).items():
                Path(name).parent.mkdir(parents=True, exist_ok=True)
                Path(name).write_bytes(base64.b64decode(data))
            events.clear()
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                listening = True
                status = main(row["argv"])
                listening = False
            stream.write(json.dumps({"status": status, "said": said.getvalue(), "events": events}) + "\n")


if __name__ == "__main__":
    run(sys.argv[1])
