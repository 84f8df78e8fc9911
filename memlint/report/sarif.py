"""SARIF 2.1.0, the exchange format of static analysis tools."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from memlint import __version__, record
from memlint.config import all_rules
from memlint.page import markdown
from memlint.report import lines
from memlint.report.fixes import Fixes
from memlint.rule import Finding, Place, Rule, Tier

if TYPE_CHECKING:
    from memlint.edit import Cure, TextEdit
    from memlint.engine import FileError

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
ROOT = "%SRCROOT%"


def render(
    findings: Sequence[Finding], errors: Sequence[FileError], texts: Mapping[str, str], fixes: Fixes
) -> Iterator[str]:
    """The log of one run."""
    root = _root()
    rules = all_rules()
    numbers = {name: number for number, name in enumerate(rules)}
    marks = _fingerprints(findings, texts, root)
    run = {
        "tool": {
            "driver": {
                "name": "memlint",
                "semanticVersion": __version__,
                "rules": [_rule(rule) for rule in rules.values()],
            }
        },
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {ROOT: {"uri": Path(root).as_uri().rstrip("/") + "/"}},
        "invocations": [
            {
                "executionSuccessful": not errors,
                "toolExecutionNotifications": [_notification(error, root) for error in errors],
            }
        ],
        "results": [
            _result(finding, mark, numbers[finding.rule], fixes, root)
            for finding, mark in zip(findings, marks, strict=True)
        ],
    }
    yield json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _root() -> str:
    """The root of the repository, which services show results against; outside of one the current folder."""
    return record.nearest(os.curdir, (".git",)) or os.getcwd()


def _rule(rule: Rule) -> dict[str, Any]:
    page = markdown(rule)
    return {
        "id": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.summary},
        "help": {"text": page, "markdown": page},
        "defaultConfiguration": {"enabled": rule.default},
    }


def _result(finding: Finding, fingerprint: str, rule_index: int, fixes: Fixes, root: str) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": rule_index,
        # What is not proved must not fail a pull request.
        "level": finding.severity.value if finding.tier is Tier.PROVED else "note",
        "message": {"text": finding.message if finding.place.cell is None else _in_cell(finding)},
        "locations": [_location(finding.place, root)],
        "partialFingerprints": {"memlint/v1": fingerprint},
        "properties": {
            "tier": finding.tier.value,
            "openQuestions": list(finding.open_questions),
            "unknowns": [{"question": question, "wouldProve": proof} for question, proof in finding.unknowns],
            "silentIf": list(finding.silent_if),
        },
    }
    if finding.evidence:
        steps = [
            {"location": {**_location(step.place, root), "message": {"text": step.message}}}
            for step in finding.evidence
        ]
        result["codeFlows"] = [{"threadFlows": [{"locations": steps}]}]
    cure, refusal = fixes.of(finding)
    if cure is not None:
        result["fixes"] = [_fix(finding, cure, fixes.in_file(finding, cure), root)]
    if refusal is not None:
        result["properties"]["fixRefused"] = refusal
    return result


def _fix(finding: Finding, cure: Cure, edits: Sequence[TextEdit], root: str) -> dict[str, Any]:
    replacements = [
        {
            "deletedRegion": {
                "startLine": edit.line,
                "startColumn": edit.column,
                "endLine": edit.end_line,
                "endColumn": edit.end_column,
            },
            "insertedContent": {"text": edit.replacement},
        }
        for edit in edits
    ]
    return {
        "description": {"text": f"{cure.safety.value} fix for {finding.rule}"},
        "artifactChanges": [{"artifactLocation": _artifact(finding.place.path, root), "replacements": replacements}],
    }


def _notification(error: FileError, root: str) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": _artifact(error.path, root)}
    if error.cell is not None:
        place["region"] = {"startLine": error.cell.file_line}
    elif error.line is not None:
        place["region"] = {"startLine": error.line, "startColumn": error.column or 1}
    return {
        "level": "error",
        "message": {"text": error.message},
        "locations": [{"physicalLocation": place}],
    }


def _location(place: Place, root: str) -> dict[str, Any]:
    region = {
        "startLine": place.line,
        "startColumn": place.column,
        "endLine": place.end_line,
        "endColumn": place.end_column,
    }
    if place.cell is not None:  # a line of the file, as a service shows it; where in it the code begins says nothing
        region = {"startLine": place.cell.file_line, "endLine": place.cell.file_end_line}
    return {"physicalLocation": {"artifactLocation": _artifact(place.path, root), "region": region}}


def _in_cell(finding: Finding) -> str:
    return f"{finding.message} ({lines.position(finding.place)})"


def _artifact(path: str, root: str) -> dict[str, str]:
    relative = lines.below(path, root)
    if relative is None:
        return {"uri": Path(os.path.abspath(path)).as_uri()}
    return {"uri": quote(os.fsencode(relative)), "uriBaseId": ROOT}


def _fingerprints(findings: Sequence[Finding], texts: Mapping[str, str], root: str) -> list[str]:
    """A mark for each finding that stays when lines above it come and go.

    Made from the rule, the path, the words on the line, and a count where all three occur several times.
    """
    sources = {path: lines.split(text) for path, text in texts.items()}
    seen: Counter[tuple[str, str, str]] = Counter()
    marks = []
    for finding in findings:
        place = finding.place
        source = sources.get(place.path, [])
        words = " ".join(source[place.line - 1].split()) if place.line <= len(source) else ""
        key = (finding.rule, lines.below(place.path, root) or place.path, words)
        seen[key] += 1
        marks.append(hashlib.sha256("\0".join((*key, str(seen[key]))).encode("utf-8", "replace")).hexdigest()[:32])
    return marks
