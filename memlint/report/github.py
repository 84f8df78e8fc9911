"""Workflow commands that GitHub shows as annotations beside the code."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from memlint.report import lines
from memlint.rule import Finding, Tier

if TYPE_CHECKING:
    from memlint.engine import FileError


def render(findings: Sequence[Finding], errors: Sequence[FileError]) -> Iterator[str]:
    """A line for each finding, an error where it is proved and a warning where not, and for each unchecked file."""
    for finding in findings:
        place = finding.place
        level = "error" if finding.tier is Tier.PROVED else "warning"
        properties = {
            "file": _file(place.path),
            "line": place.line,
            "col": place.column,
            "endLine": place.end_line,
            "endColumn": place.end_column,
            "title": f"memlint ({finding.rule})",
        }
        if place.cell is not None:
            properties |= {"line": place.cell.file_line, "endLine": place.cell.file_end_line}
        if place.end_line != place.line or place.cell is not None:
            del properties["col"], properties["endColumn"]  # GitHub takes columns only within one line
        text = f"{lines.location(place)}: {finding.rule} {lines.one_line(finding.message)}"
        yield _command(level, properties, text)
    for error in errors:
        line = error.line or 1 if error.cell is None else error.cell.file_line
        properties = {"file": _file(error.path), "line": line, "title": "memlint (file error)"}
        where = error.path if error.cell is None else f"{error.path}:cell {error.cell.number}"
        yield _command("error", properties, f"{where}: {error.message}")


def _file(path: str) -> str:
    """The path from the root of the checkout, which need not be the current folder."""
    root = os.environ.get("GITHUB_WORKSPACE")
    return (lines.below(path, root) if root else None) or path


def _command(level: str, properties: dict[str, object], message: str) -> str:
    pairs = ",".join(f"{key}={_escaped(str(value), ':,')}" for key, value in properties.items())
    return f"::{level} {pairs}::{_escaped(message)}\n"


def _escaped(text: str, also: str = "") -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    for char in also:
        text = text.replace(char, f"%{ord(char):02X}")
    return text
