"""The summary of a run, for docs/corpora.md."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version

from benchmarks.accuracy.report import ROOT, Row, table
from benchmarks.corpora.trial import Result

PAGE = ROOT / "docs" / "corpora.md"
_BEGIN, _END = "<!-- written by benchmarks.corpora -->", "<!-- end -->"


def summary(results: Sequence[Result]) -> str:
    """All tables."""
    files = sum(result.files for result in results)
    lines = sum(result.lines for result in results)
    fixed = sum(sum(result.fixed.values()) for result in results)
    changed = sum(result.changed for result in results)
    wrong = [f"{result.title}: {line}" for result in results for line in result.wrong]
    cpu = sum(sum(result.cpu.values()) for result in results)
    tools = ", ".join(f"{name} {version(name)}" for name in ("libcst", "ruff"))
    verdict = "Nothing was wrong." if not wrong else f"{len(wrong)} things were wrong; they are listed below."
    day = time.strftime("%Y-%m-%d", time.gmtime())
    commits = " and ".join(sorted({result.commit for result in results}))
    intro = (
        f"{day}, {commits}, CPython {platform.python_version()}, {tools}: "
        f"**{files:,} files, {lines:,} lines; {fixed:,} problems fixed in {changed:,} files. {verdict}** "
        f"All runs together took {cpu / 60:.0f} minutes of CPU time."
    )
    parts = [intro, _corpora(results), "### By rule", _rules(results), "### Files that were not checked"]
    parts.append(_unchecked(results))
    if wrong:
        parts += ["### What was wrong", "\n".join(f"- {line}" for line in wrong)]
    return "\n\n".join(parts)


def _corpora(results: Sequence[Result]) -> str:
    head = (
        "Code", "From", "Files", "Lines", "Not checked", "Found", "Fixed", "Left", "Files changed",
        "check", "fix", "second fix", "MB",
    )  # fmt: skip
    rows: list[Row] = []
    for result in results:
        counts = [sum(part.values()) for part in (result.found, result.fixed, result.left)]
        times = [f"{result.cpu[name]:.1f} s" for name in ("check", "fix", "second fix")]
        sizes = [f"{result.files:,}", f"{result.lines:,}", len({error.path for error in result.unchecked})]
        rows.append([result.title, result.origin, *sizes, *counts, result.changed, *times, f"{result.peak / 1e6:.0f}"])
    return table(head, rows)


def _rules(results: Sequence[Result]) -> str:
    counts = []
    for name in ("found", "fixed", "left"):
        count: Counter[str] = Counter()
        for result in results:
            count.update(getattr(result, name))
        counts.append(count)
    rules = sorted({*counts[0], *counts[1], *counts[2]})
    rows: list[Row] = [[f"`{rule}`", *(count[rule] for count in counts)] for rule in rules]
    return table(("Rule", "Found", "Fixed", "Left"), rows)


def _unchecked(results: Sequence[Result]) -> str:
    rows: list[Row] = []
    for result in results:
        for error in result.unchecked:
            where = f"`{error.path}`" + (f", line {error.line}" if error.line else "")
            rows.append([result.title, where, *(_cell(text) for text in (error.message, error.python))])
    return table(("Code", "File", "memlint says", "Python says"), rows).replace("---:", "---")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def write(text: str) -> None:
    """Put the summary into the page."""
    head, found, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    _, closed, tail = rest.partition(_END)
    if not found or not closed:
        raise ValueError(f"{PAGE} has no place for the summary")
    PAGE.write_text(f"{head}{_BEGIN}\n{text}\n{_END}{tail}", encoding="utf-8")
