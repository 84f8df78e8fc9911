"""What the output formats show, for findings made by hand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from memlint import registry
from memlint.edit import Cure, hunks
from memlint.engine import FileError
from memlint.fixer import Safety
from memlint.report import concise, full, github, jsonlist, lines, paint, summary
from memlint.report.fixes import Fixes
from memlint.report.paint import plain
from memlint.rule import Evidence, Finding, Place, Rule, Severity, Tier

PAGE = "A list grows in each step: keep the newest entries."

TEXT = textwrap.dedent(
    """\
    import torch


    class Trainer:
        def __init__(self):
            self.losses = []

        def step(self, batch):

            loss = self.model(batch)
            self.losses.append(loss)

            return loss
    """
)


@pytest.fixture(autouse=True)
def _rules(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = Rule("bound-history", PAGE, lambda facts: (), (), True, {})
    monkeypatch.setattr(registry, "rules", lambda: {"bound-history": rule})


class Given(Fixes):
    """Fixes, or reasons why there are none, as the test gives them."""

    def __init__(self, outcome: Cure | str | None = None) -> None:
        super().__init__({}, {})
        self._outcome = outcome

    def of(self, finding: Finding) -> tuple[Cure | None, str | None]:
        if isinstance(self._outcome, str):
            return None, self._outcome
        return self._outcome, None


def place(line: int, column: int, end_line: int, end_column: int, path: str = "train.py") -> Place:
    return Place(path, line, column, end_line, end_column)


def finding(where: Place, *, tier: Tier = Tier.PROVED, message: str = "`self.losses` grows", **more: object) -> Finding:
    evidence = more.get("evidence", ())
    assert isinstance(evidence, tuple)
    texts = [more.get(name, ()) for name in ("open_questions", "would_prove", "silent_if")]
    assert all(isinstance(text, tuple) for text in texts)
    return Finding("bound-history", message, where, tier, Severity.WARNING, evidence, None, *texts)  # type: ignore[arg-type]


APPEND = place(10, 9, 10, 33)


def cure(old: str, new: str, safety: Safety = Safety.UNSAFE, text: str = TEXT) -> Cure:
    assert old in text
    changed = text.replace(old, new)
    return Cure(safety, changed, hunks(text, changed))


def shown(item: Finding, fixes: Fixes | None = None, texts: Mapping[str, str] | None = None) -> str:
    blocks = full.render([item], {"train.py": TEXT} if texts is None else texts, fixes or Given(), plain)
    return "".join(blocks)


# -- full --------------------------------------------------------------------------------------------------------------


def test_full_shows_source_reasons_advice_and_fix() -> None:
    item = finding(
        place(11, 9, 11, 33),
        evidence=(
            Evidence(place(6, 9, 6, 25), "the list is made once"),
            Evidence(place(3, 1, 3, 9, "loop.py"), "this loop runs once per batch"),
        ),
    )
    new = "append_bounded(self.losses, loss, limit=1000)"
    text = TEXT.replace("import torch\n", "import torch\nfrom memlint.runtime import append_bounded\n")
    text = text.replace("self.losses.append(loss)", new)
    assert shown(item, Given(Cure(Safety.UNSAFE, text, hunks(TEXT, text)))) == textwrap.dedent(
        """\
        bound-history: `self.losses` grows
          --> train.py:11:9
           |
        10 |         loss = self.model(batch)
        11 |         self.losses.append(loss)
           |         ^^^^^^^^^^^^^^^^^^^^^^^^
        12 |
        13 |         return loss
           |
           = 1. the list is made once
           |    train.py:6:9: self.losses = []
           = 2. this loop runs once per batch
           |    loop.py:3:1
           = help: keep the newest entries.
           = fix: unsafe, `memlint fix --unsafe-fixes` applies it
           |
         1 | import torch
           + from memlint.runtime import append_bounded
             ...
        10 |         loss = self.model(batch)
        11 -         self.losses.append(loss)
           +         append_bounded(self.losses, loss, limit=1000)
           |

        """
    )


def test_full_says_what_is_unknown_and_why_there_is_no_fix() -> None:
    item = finding(
        place(11, 9, 11, 33),
        tier=Tier.SUSPECTED,
        open_questions=("does anybody clear it?", "what is it?"),
        would_prove=("check its callers",),
        silent_if=("something clears it",),
    )
    text = shown(item, Given("the list is returned"))
    assert "   = unknown: what is it?\n   = silent if: something clears it\n" in text
    assert "   = unknown: does anybody clear it?\n   = to settle it: check its callers\n" in text
    assert text.startswith("bound-history: `self.losses` grows [suspected]\n")
    assert "   = unknown: does anybody clear it?\n" in text
    assert "   = no fix: the list is returned\n" in text


def test_full_brackets_several_lines() -> None:
    text = shown(finding(place(8, 5, 11, 33)))
    assert (
        textwrap.dedent(
            """\
           |
         6 |           self.losses = []
         7 |
         8 | /     def step(self, batch):
         9 | |
        10 | |         loss = self.model(batch)
        11 | |         self.losses.append(loss)
           | |________________________________^
        12 |
        13 |           return loss
           |
        """
        )
        in text
    )


def test_full_leaves_out_the_middle_of_long_blocks() -> None:
    body = "".join(f"    x{number}()\n" for number in range(2, 41))
    text = shown(finding(place(1, 1, 40, 10)), texts={"train.py": "for x in y:\n" + body})
    assert " 6 | |     x6()\n   | | ...\n35 | |     x35()\n" in text
    assert "x7()" not in text


def test_full_shortens_long_diffs_and_long_lines() -> None:
    text = "x = [" + "1, " * 200 + "]\n" + "y()\n" * 30
    changed = "x = 2\n"
    rows = shown(
        finding(place(1, 5, 1, 600)), Given(Cure(Safety.SAFE, changed, hunks(text, changed))), {"train.py": text}
    )
    assert max(len(row) for row in rows.splitlines()) < 170
    assert rows.count("- y()") == 11
    assert "   - ...\n" in rows
    assert "= fix: safe, `memlint fix` applies it\n" in rows


def test_full_joins_neighbouring_hunks() -> None:
    rows = shown(finding(place(11, 9, 11, 33)), Given(cure("self.losses", "self.kept")))
    assert rows.endswith(
        textwrap.dedent(
            """\
             5 |     def __init__(self):
             6 -         self.losses = []
               +         self.kept = []
                 ...
            10 |         loss = self.model(batch)
            11 -         self.losses.append(loss)
               +         self.kept.append(loss)
               |

            """
        )
    )


@pytest.mark.parametrize(
    ("line", "column", "end_column", "row", "carets"),
    [
        ("\tx.append(y)", 2, 13, "1 |     x.append(y)", "  |     ^^^^^^^^^^^"),
        ('s = "日本"; x(y)', 10, 14, '1 | s = "日本"; x(y)', "  |            ^^^^"),
        ("x(y)", 1, 1, "1 | x(y)", "  | ^"),
        ('x = "\x1b[31m"', 1, 2, '1 | x = "\N{REPLACEMENT CHARACTER}[31m"', "  | ^"),
    ],
)
def test_carets_stand_below_what_they_mean(line: str, column: int, end_column: int, row: str, carets: str) -> None:
    rows = shown(finding(place(1, column, 1, end_column)), texts={"train.py": line + "\n"}).splitlines()
    assert rows[3:5] == [row, carets]


def test_full_without_the_source() -> None:
    assert shown(finding(APPEND), texts={}).splitlines()[:3] == [
        "bound-history: `self.losses` grows",
        " --> train.py:10:9",
        "  |",
    ]


def test_lines_end_where_python_ends_them() -> None:
    assert lines.split("a\r\nb\rc\fd\x0be\u2028f\n") == ["a", "b", "c\fd\x0be\u2028f", ""]


def test_every_safety_has_its_words() -> None:
    for safety in Safety:
        assert "= fix: " in shown(finding(APPEND), Given(cure("[]", "{}", safety)))


# -- one line each -----------------------------------------------------------------------------------------------------


def test_concise_is_one_line() -> None:
    found = [finding(APPEND, message="two\nlines"), finding(place(11, 2, 11, 3), tier=Tier.SUSPECTED)]
    assert list(concise.render(found, plain)) == [
        "train.py:10:9: bound-history two lines\n",
        "train.py:11:2: bound-history `self.losses` grows [suspected]\n",
    ]


def test_github_annotations() -> None:
    found = [
        finding(place(10, 9, 10, 33, "a,b:c.py"), message="100% of\nit"),
        finding(place(1, 1, 3, 4), tier=Tier.SUSPECTED),
    ]
    errors = [FileError("bad.py", 3, 1, "does not parse"), FileError("gone.py", None, None, "no such file")]
    assert list(github.render(found, errors)) == [
        "::error file=a%2Cb%3Ac.py,line=10,col=9,endLine=10,endColumn=33,title=memlint (bound-history)"
        "::a,b:c.py:10:9: bound-history 100%25 of it\n",
        "::warning file=train.py,line=1,endLine=3,title=memlint (bound-history)"
        "::train.py:1:1: bound-history `self.losses` grows\n",
        "::error file=bad.py,line=3,title=memlint (file error)::bad.py: does not parse\n",
        "::error file=gone.py,line=1,title=memlint (file error)::gone.py: no such file\n",
    ]


def test_github_paths_start_from_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    [line] = github.render([finding(APPEND)], [])
    assert line.startswith("::error file=sub/train.py,")
    [line] = github.render([finding(place(1, 1, 1, 2, "../../train.py"))], [])
    assert line.startswith("::error file=../../train.py,")


# -- JSON --------------------------------------------------------------------------------------------------------------


def test_json_has_every_field() -> None:
    item = finding(APPEND, evidence=(Evidence(place(5, 9, 5, 25), "made here"),), open_questions=("who?",),
                   would_prove=("ask around",), silent_if=("somebody clears it",))  # fmt: skip
    [text] = jsonlist.render([item], Given(cure("[]", "{}")))
    assert json.loads(text) == [
        {
            "rule": "bound-history",
            "message": "`self.losses` grows",
            "path": "train.py",
            "cell": None,
            "line": 10,
            "column": 9,
            "end_line": 10,
            "end_column": 33,
            "tier": "proved",
            "severity": "warning",
            "evidence": [{"path": "train.py", "cell": None, "line": 5, "column": 9, "message": "made here"}],
            "open_questions": ["who?"],
            "unknowns": [{"question": "who?", "would_prove": "ask around"}],
            "silent_if": ["somebody clears it"],
            "fix": {
                "safety": "unsafe",
                "edits": [
                    {
                        "cell": None,
                        "line": 6,
                        "column": 1,
                        "end_line": 7,
                        "end_column": 1,
                        "replacement": "        self.losses = {}\n",
                    }
                ],
            },
            "fix_refused": None,
        }
    ]


def test_json_without_findings_or_fixes() -> None:
    assert list(jsonlist.render([], Given())) == ["[]\n"]
    [text] = jsonlist.render([finding(APPEND)], Given("it is read elsewhere"))
    assert (json.loads(text)[0]["fix"], json.loads(text)[0]["fix_refused"]) == (None, "it is read elsewhere")


# -- around the findings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tiers", "checked", "failed", "text"),
    [
        ([], 40, 0, "No problems found in 40 files.\n"),
        ([], 0, 1, "1 file could not be checked.\n"),
        ([Tier.PROVED], 1, 0, "Found 1 problem (1 proved) in 1 of 1 file.\n"),
        (
            [Tier.PROVED, Tier.SUSPECTED, Tier.PROVED],
            40,
            2,
            "Found 3 problems (2 proved, 1 suspected) in 1 of 40 files; 2 files could not be checked.\n",
        ),
    ],
)
def test_the_last_line(tiers: list[Tier], checked: int, failed: int, text: str) -> None:
    found = [finding(APPEND, tier=tier) for tier in tiers]
    assert summary.last_line(found, checked, failed, plain) == text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FileError("a.py", 3, 7, "does not parse"), "memlint: error: a.py:3:7: does not parse\n"),
        (FileError("a\n.py", None, None, "two\nlines"), "memlint: error: a\N{REPLACEMENT CHARACTER}.py: two lines\n"),
    ],
)
def test_file_errors_are_one_line(error: FileError, text: str) -> None:
    assert summary.error_line(error, plain) == text


@pytest.mark.parametrize(
    ("fixes", "text"),
    [
        ({}, ""),
        ({Safety.SUGGESTED: 3}, ""),
        ({Safety.SAFE: 2}, "`memlint fix` repairs 2.\n"),
        ({Safety.UNSAFE: 1}, "`memlint fix --unsafe-fixes` repairs 1.\n"),
        ({Safety.SAFE: 2, Safety.UNSAFE: 1}, "`memlint fix` repairs 2, and 1 more with `--unsafe-fixes`.\n"),
    ],
)
def test_what_fixing_would_do(fixes: dict[Safety, int], text: str) -> None:
    assert summary.fix_hint(Counter(fixes)) == text


def test_statistics() -> None:
    other = Finding("clamp-it", "message", APPEND, Tier.SUSPECTED, Severity.NOTE, (), None)
    found = [other, finding(APPEND), finding(APPEND, tier=Tier.SUSPECTED)]
    assert list(summary.statistics(found, plain)) == [
        "2\tbound-history\t1 proved, 1 suspected\n",
        "1\tclamp-it\t0 proved, 1 suspected\n",
    ]
    [text] = summary.statistics_json(found)
    assert json.loads(text) == [
        {"rule": "bound-history", "count": 2, "proved": 1, "suspected": 1},
        {"rule": "clamp-it", "count": 1, "proved": 0, "suspected": 1},
    ]


# -- colours -----------------------------------------------------------------------------------------------------------


def test_colours_change_no_words() -> None:
    item = finding(APPEND, evidence=(Evidence(APPEND, "here"),))
    painted = "".join(full.render([item], {"train.py": TEXT}, Given(cure("[]", "{}")), paint.colours()))
    bare = "".join(full.render([item], {"train.py": TEXT}, Given(cure("[]", "{}")), plain))
    assert "\x1b[1;91mbound-history\x1b[0m" in painted
    stripped = re.sub(r"\x1b\[[0-9;]*m", "", painted)
    assert [row.rstrip() for row in stripped.splitlines()] == bare.splitlines()


def test_every_style_that_is_asked_for_exists() -> None:
    painter = paint.colours()
    assert all(painter("x", style).endswith("x\x1b[0m") for style in paint.STYLES)


def test_plain_output_does_not_import_rich() -> None:
    code = (
        "import sys; from memlint.report import concise, full, github, jsonlist, sarif, summary;"
        "import memlint.cli.check, memlint.cli.fix, memlint.cli.show;"
        "assert 'rich' not in sys.modules and 'libcst.matchers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
