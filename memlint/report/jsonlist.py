"""A JSON list with one object for each finding."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict, replace

from memlint.report.fixes import Fixes
from memlint.rule import Finding, Place

if TYPE_CHECKING:
    from memlint.edit import Cure


def render(findings: Sequence[Finding], fixes: Fixes) -> Iterator[str]:
    """The list, also where it is empty."""
    yield json.dumps([_object(finding, fixes) for finding in findings], indent=2) + "\n"


def _object(finding: Finding, fixes: Fixes) -> dict[str, Any]:
    cure, refusal = fixes.of(finding)
    return {
        "rule": finding.rule,
        "message": finding.message,
        "path": finding.place.path,
        **_where(finding.place),
        "tier": finding.tier.value,
        "severity": finding.severity.value,
        "evidence": [
            {
                "path": step.place.path,
                **{key: value for key, value in _where(step.place).items() if not key.startswith("end")},
                "message": step.message,
            }
            for step in finding.evidence
        ],
        "open_questions": list(finding.open_questions),
        "unknowns": [{"question": question, "would_prove": proof} for question, proof in finding.unknowns],
        "silent_if": list(finding.silent_if),
        "fix": {"safety": cure.safety.value, "edits": _edits(finding, cure, fixes)} if cure else None,
        "fix_refused": refusal,
    }


def _where(place: Place) -> dict[str, Any]:
    """A place; one in a notebook by its cell and from the beginning of that one."""
    at, number = (place, None) if place.cell is None else (place.cell, place.cell.number)
    return {
        "cell": number,
        "line": at.line,
        "column": at.column,
        "end_line": at.end_line,
        "end_column": at.end_column,
    }


def _edits(finding: Finding, cure: Cure, fixes: Fixes) -> list[dict[str, Any]]:
    book = fixes.notebooks.get(finding.place.path)
    if book is None:
        return [{"cell": None, **asdict(edit)} for edit in cure.edits]
    places = [Place("", edit.line, edit.column, edit.end_line, edit.end_column) for edit in cure.edits]
    return [
        {**_where(replace(place, cell=book.cell(place))), "replacement": edit.replacement}
        for place, edit in zip(places, cure.edits, strict=True)
    ]
