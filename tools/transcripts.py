"""The transcripts in the pages of `docs/`: files are shown, commands run on them, and what they print is so.

A block with a title is a file; a block of the language `console` holds commands, each behind `$`, and what they print:

    ```python title="train.py"
    ```console

A page is one transcript: its files are written, and staged, as they come; its commands run in one folder, under git.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

_BLOCK = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def blocks(page: str) -> Iterator[re.Match[str]]:
    """The fenced blocks of a page: language, title if it is a file, text."""
    return _BLOCK.finditer(page)


def without_blocks(page: str) -> str:
    """The page without its fenced blocks."""
    return _BLOCK.sub("", page)


def with_transcripts() -> list[Path]:
    """The pages that hold commands."""
    return [page for page in sorted(DOCS.glob("*.md")) if "```console\n" in page.read_text(encoding="utf-8")]


def refreshed(page: str) -> str:
    """The page with what its commands print now."""
    parts, done = [], 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "project")
        folder.mkdir()
        environment = _environment(Path(scratch))
        _run("git init --quiet", folder, environment)
        for block in blocks(page):
            language, title, text = block.groups()
            if title is not None:
                path = folder / title
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                _run("git add .", folder, environment)  # `memlint fix` writes over nothing that git does not hold
            elif language == "console":
                commands = [line for line in text.splitlines() if line.startswith("$ ")]
                shown = [f"{command}\n{_run(command[2:], folder, environment)}" for command in commands]
                parts += [page[done : block.start(3)], "\n".join(part.rstrip("\n") + "\n" for part in shown)]
                done = block.end(3)
    return "".join(parts) + page[done:]


def _environment(scratch: Path) -> dict[str, str]:
    """As in a shell of somebody who has installed memlint, and nothing else."""
    programs = scratch / "bin"
    programs.mkdir()
    for name, start in (("memlint", f'"{sys.executable}" -m memlint'), ("python", f'"{sys.executable}"')):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {start} "$@"\n', encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {
        "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": "utf-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": str(scratch),
    }


def _run(command: str, folder: Path, environment: dict[str, str]) -> str:
    shell = shutil.which("sh")
    assert shell is not None, "the commands of the pages need a shell"
    done = subprocess.run(
        [shell, "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    return done.stdout


if __name__ == "__main__":
    for changed in with_transcripts():
        changed.write_text(refreshed(changed.read_text(encoding="utf-8")), encoding="utf-8")
