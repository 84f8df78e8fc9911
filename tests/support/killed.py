"""Killing memlint before each thing that it does to the disk, one after the other, each time from the same start.

    python -m tests.support.killed FOLDER ARGUMENT...

runs `memlint ARGUMENT...` in a folder, again and again, and ends it by SIGKILL: before its first change of the disk,
before its second, until it comes to its end. What it has left is printed after each kill as a line of JSON: what is in
the Python files, what git sees, and what is in the files after `memlint fix --restore`. Then they are as at the start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from memlint.cli import main

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.utime", "os.truncate", "os.chown"}


def changes_the_disk(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an audited event is one that changes files."""
    if event == "open":
        flags = arguments[2]
        return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
    return event in CHANGES


def killed(argv: list[str], number: int) -> bool:
    """Run memlint in a process of its own and kill it before its change of this number; False if it makes fewer."""
    child = os.fork()
    if child == 0:
        count = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            if changes_the_disk(event, arguments):
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        main(argv)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def contents() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(Path().glob("*.py"))}


def seen_by_git() -> list[str]:
    command = ["git", "status", "--porcelain", "--untracked-files=all"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def put_back(files: dict[str, str]) -> None:
    for path in Path().glob("*.py"):
        if path.name not in files:
            path.unlink()
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")


def run(folder: str, argv: list[str]) -> None:
    os.chdir(folder)
    said = os.dup(1)
    sink = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what memlint prints
        os.dup2(sink, stream)
    start = contents()
    main(argv)  # what this puts into the cache no later run has to
    put_back(start)
    number = 1
    with open(said, "w", encoding="utf-8") as out:
        while killed(argv, number):
            after = {"files": contents(), "seen": seen_by_git()}
            main(["fix", "--restore"])
            out.write(json.dumps({**after, "restored": contents()}) + "\n")
            put_back(start)
            number += 1
    put_back(start)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2:])
