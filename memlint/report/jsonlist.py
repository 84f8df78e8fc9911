"""A JSON list with one object for each finding."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from memlint.report.fixes import Fixes
from memlint.rule import Finding


def render(findings: Sequence[Finding], fixes: Fixes) -> Iterator[str]:
    """The list, also where it is empty."""
    yield json.dumps([_object(finding, fixes) for finding in findings], indent=2) + "\n"


def _object(finding: Finding, fixes: Fixes) -> dict[str, Any]:
    cure, refusal = fixes.of(finding)
    return {
        "rule": finding.rule,
        "message": finding.message,
        **asdict(finding.place),
        "tier": finding.tier.value,
        "severity": finding.severity.value,
        "evidence": [
            {"path": step.place.path, "line": step.place.line, "column": step.place.column, "message": step.message}
            for step in finding.evidence
        ],
        "open_questions": list(finding.open_questions),
        "unknowns": [{"question": question, "would_prove": proof} for question, proof in finding.unknowns],
        "silent_if": list(finding.silent_if),
        "fix": {"safety": cure.safety.value, "edits": [asdict(edit) for edit in cure.edits]} if cure else None,
        "fix_refused": refusal,
    }
