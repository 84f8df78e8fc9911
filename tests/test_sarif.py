"""SARIF logs: valid by the official schema, complete, and with fingerprints that survive edits elsewhere."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from memlint import __version__, registry
from memlint.edit import Cure, hunks
from memlint.engine import FileError
from memlint.fixer import Safety
from memlint.report import sarif
from memlint.report.fixes import Fixes
from memlint.rule import Evidence, Finding, Place, Rule, Severity, Tier

SCHEMA = json.loads((Path(__file__).parent / "data" / "sarif-2.1.0.json").read_text(encoding="utf-8"))
PAGE = """Lists that grow.

What it finds
-------------
A list.

Use instead
-----------
Something else.

    x = 1
"""
TEXT = "a = []\nfor x in y:\n    a.append(x)\n    a.append(x)\n"


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = Rule("bound-history", PAGE, lambda facts: (), (), True, {})
    monkeypatch.setattr(registry, "rules", lambda: {"bound-history": rule})
    (tmp_path / ".git").mkdir()
    (tmp_path / "sub dir").mkdir()
    monkeypatch.chdir(tmp_path / "sub dir")


class Given(Fixes):
    def __init__(self, outcome: Cure | str | None) -> None:
        super().__init__({}, {})
        self._outcome = outcome

    def of(self, finding: Finding) -> tuple[Cure | None, str | None]:
        return (None, self._outcome) if isinstance(self._outcome, str) else (self._outcome, None)


def finding(
    line: int, *, path: str = "é.py", tier: Tier = Tier.PROVED, severity: Severity = Severity.WARNING
) -> Finding:
    place = Place(path, line, 5, line, 16)
    evidence = (Evidence(Place(path, 1, 1, 1, 7), "made here"), Evidence(place, "grows here"))
    return Finding("bound-history", "it grows", place, tier, severity, evidence, None, ("who clears it?",),
                   ("check the callers",), ("somebody clears it",))  # fmt: skip


def log(
    *findings: Finding,
    errors: tuple[FileError, ...] = (),
    text: str = TEXT,
    outcome: Cure | str | None = None,
) -> dict[str, Any]:
    """The one run of a log, after the schema has seen it."""
    [rendered] = sarif.render(findings, errors, {"é.py": text}, Given(outcome))
    document = json.loads(rendered)
    validator = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
    assert [error.message for error in validator.iter_errors(document)] == []
    [run] = document["runs"]
    assert isinstance(run, dict)
    return run


def marks(*findings: Finding, text: str = TEXT) -> list[str]:
    return [result["partialFingerprints"]["memlint/v1"] for result in log(*findings, text=text)["results"]]


def test_the_schema_can_tell_right_from_wrong() -> None:
    [rendered] = sarif.render([finding(3)], [], {"é.py": TEXT}, Given(None))
    document = json.loads(rendered)
    wrong = copy.deepcopy(document)
    wrong["runs"][0]["results"][0]["level"] = "proved"
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert validator.is_valid(document)
    assert not validator.is_valid(wrong)


def test_an_empty_run() -> None:
    run = log()
    assert run["results"] == []
    assert run["invocations"] == [{"executionSuccessful": True, "toolExecutionNotifications": []}]


def test_the_tool_and_its_rules() -> None:
    driver = log()["tool"]["driver"]
    assert (driver["name"], driver["semanticVersion"]) == ("memlint", __version__)
    history, unused = driver["rules"]
    assert history["id"] == "bound-history"
    assert history["shortDescription"] == {"text": "Lists that grow."}
    assert "## Use instead\n\nSomething else.\n\n```python\nx = 1\n```\n" in history["help"]["markdown"]
    assert unused["id"] == "unused-suppression"


def test_a_result_has_its_place_reasons_and_questions() -> None:
    [result] = log(finding(3))["results"]
    assert (result["ruleId"], result["ruleIndex"], result["level"]) == ("bound-history", 0, "warning")
    assert result["message"] == {"text": "it grows"}
    location = {
        "physicalLocation": {
            "artifactLocation": {"uri": "sub%20dir/%C3%A9.py", "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": 3, "startColumn": 5, "endLine": 3, "endColumn": 16},
        }
    }
    assert result["locations"] == [location]
    [flow] = result["codeFlows"]
    first, second = flow["threadFlows"][0]["locations"]
    assert first["location"]["message"] == {"text": "made here"}
    assert second["location"] == {**location, "message": {"text": "grows here"}}
    assert result["properties"] == {
        "tier": "proved",
        "openQuestions": ["who clears it?"],
        "unknowns": [{"question": "who clears it?", "wouldProve": "check the callers"}],
        "silentIf": ["somebody clears it"],
    }


def test_paths_start_from_the_root_of_the_repository(tmp_path: Path) -> None:
    run = log(finding(3, path=(tmp_path.parent / "out.py").as_posix()))
    assert run["originalUriBaseIds"] == {"%SRCROOT%": {"uri": tmp_path.as_uri() + "/"}}
    [result] = run["results"]
    artifact = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert artifact == {"uri": (tmp_path.parent / "out.py").as_uri()}


def test_outside_of_a_repository_paths_start_from_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / ".git").rmdir()
    [result] = log(finding(3))["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "%C3%A9.py"


@pytest.mark.parametrize(
    ("tier", "severity", "level"),
    [
        (Tier.PROVED, Severity.ERROR, "error"),
        (Tier.PROVED, Severity.NOTE, "note"),
        (Tier.SUSPECTED, Severity.ERROR, "note"),
    ],
)
def test_only_proved_findings_are_more_than_notes(tier: Tier, severity: Severity, level: str) -> None:
    [result] = log(finding(3, tier=tier, severity=severity))["results"]
    assert result["level"] == level


def test_a_fix_is_its_edits() -> None:
    changed = TEXT.replace("in y", "in list(y)")
    [result] = log(finding(3), outcome=Cure(Safety.UNSAFE, changed, hunks(TEXT, changed)))["results"]
    [fix] = result["fixes"]
    assert fix["description"] == {"text": "unsafe fix for bound-history"}
    [change] = fix["artifactChanges"]
    assert change["artifactLocation"]["uri"] == "sub%20dir/%C3%A9.py"
    assert change["replacements"] == [
        {
            "deletedRegion": {"startLine": 2, "startColumn": 1, "endLine": 3, "endColumn": 1},
            "insertedContent": {"text": "for x in list(y):\n"},
        }
    ]


def test_a_refused_fix_says_why() -> None:
    [result] = log(finding(3), outcome="it is returned")["results"]
    assert "fixes" not in result
    assert result["properties"]["fixRefused"] == "it is returned"


def test_files_that_could_not_be_checked_are_notifications() -> None:
    run = log(errors=(FileError("bad.py", 3, None, "does not parse"), FileError("gone.py", None, None, "not there")))
    [invocation] = run["invocations"]
    assert invocation["executionSuccessful"] is False
    bad, gone = invocation["toolExecutionNotifications"]
    assert (bad["level"], bad["message"]) == ("error", {"text": "does not parse"})
    assert bad["locations"][0]["physicalLocation"]["region"] == {"startLine": 3, "startColumn": 1}
    assert "region" not in gone["locations"][0]["physicalLocation"]


def test_fingerprints_stay_when_lines_move_or_are_indented_anew() -> None:
    moved = "import torch\n\n\n" + TEXT.replace("    a", "\ta")
    assert marks(finding(3), finding(4)) == marks(finding(6), finding(7), text=moved)


def test_fingerprints_tell_findings_apart() -> None:
    twins = marks(finding(3), finding(4))
    assert len(set(twins)) == 2
    assert marks(finding(3), text=TEXT.replace("append(x)", "append(y)", 1)) != twins[:1]
    assert marks(finding(3, path="other.py")) != twins[:1]
    assert marks(finding(999)) != twins[:1]
