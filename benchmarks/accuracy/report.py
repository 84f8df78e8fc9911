"""What was measured, as Markdown tables for the docs and as plain data for JSON."""

from __future__ import annotations

import dataclasses
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy.cases import LOOKALIKE, Scored
from benchmarks.accuracy.check import Said
from benchmarks.accuracy.mutate import FINDS
from benchmarks.accuracy.mutation import BROKEN, DEFECT, HARMLESS, UNRUN, Judged, Outcome, of_kind
from memlint import registry

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "accuracy.md"

CALLS_FOR = {
    "detach": "detach-kept-tensors",
    "item": "detach-kept-tensors",
    "cpu": "snapshots-to-cpu",
    "clone": "clone-kept-views",
    "no-grad": "no-grad-inference",
    "clear": "bound-history",
    "trim": "bound-history",
    "limit": "bound-history",
    "release": "release-before-reload",
    "remove": "remove-hooks",
    "weakref": "break-cycles",
    "map-location": "map-checkpoint",
    "free-graph": "drop-retain-graph",
}
"""The rule that a missing construct calls for first: a defect that no rule finds is missed by this one."""

WORDS = {
    "detach": "`.detach()`",
    "item": "`.item()`, `.tolist()`, `float(...)`",
    "cpu": '`.cpu()`, `.to("cpu")`',
    "clone": "`.clone()`",
    "no-grad": "`no_grad`, `inference_mode`",
    "clear": "`.clear()`, `.reset()`, `x = []`",
    "trim": "`.pop(0)`, `x = x[-n:]`, `del x[...]`",
    "limit": "`maxlen=`, `maxsize=`, `if len(x) < n`",
    "release": "`del x`, `x = None`, `.release()`",
    "remove": "`handle.remove()`, `.close()`",
    "weakref": "`weakref.ref`",
    "map-location": "`map_location=`",
    "free-graph": "`backward()` that frees its graph",
}


Row = list[object]


def table(head: Sequence[str], rows: Iterable[Row]) -> str:
    """A Markdown table; all but the first column to the right."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)])


def share(part: int, whole: int) -> str:
    """A percentage; a hyphen where there is nothing to take it of."""
    return f"{100 * part / whole:.0f} %" if whole else "-"


def programs(outcome: Outcome) -> str:
    """The tables on our own programs: by what was taken out, and by rule."""
    judged = outcome.judged
    rows = [
        _operator_row(WORDS[operator], [mutant for mutant in judged if mutant.operator == operator])
        for operator in FINDS
    ]
    rows.append(_operator_row("all", judged))
    head = ("Taken out", "Mutants", "Broken", "Harmless", "Defects", "Found", "of them proved", "Recall")
    size = f"{len(outcome.lines)} programs, {sum(outcome.lines.values()):,} lines; measured at {commit()}."
    return "\n\n".join([size, table(head, rows), _by_rule(outcome)])


def _operator_row(name: str, judged: Sequence[Judged]) -> Row:
    defects = of_kind(judged, DEFECT)
    found = [mutant for mutant in defects if mutant.fitting]
    proved = sum(1 for mutant in found if any(said.proved for said in mutant.fitting))
    kinds = [len(judged), len(of_kind(judged, BROKEN)), len(of_kind(judged, HARMLESS)), len(defects)]
    return [name, *kinds, len(found), proved, share(len(found), len(defects))]


def _by_rule(outcome: Outcome) -> str:
    true, false, missed, called = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    false.update(said.rule for said in outcome.alarms)
    for mutant in outcome.judged:
        if mutant.verdict == DEFECT:
            true.update({said.rule for said in mutant.fitting})
            false.update({said.rule for said in mutant.other})
            called[CALLS_FOR[mutant.operator]] += 1
            missed[CALLS_FOR[mutant.operator]] += not mutant.fitting
        elif mutant.verdict == HARMLESS:
            false.update({said.rule for said in (*mutant.fitting, *mutant.other)})
    rows: list[Row] = []
    for rule in registry.rules():
        if true[rule] or false[rule] or called[rule]:
            precision = share(true[rule], true[rule] + false[rule])
            recall = share(called[rule] - missed[rule], called[rule])
            rows.append([f"`{rule}`", true[rule], false[rule], precision, called[rule], recall])
    head = ("Rule", "Rightly", "False alarms", "Precision", "Defects that call for it", "Recall")
    return table(head, rows)


def packages(outcome: Outcome, sample: int) -> str:
    """The tables on public packages."""
    default = {name for name, rule in registry.rules().items() if rule.default}
    rows = []
    for name, lines in outcome.lines.items():
        said = [alarm for alarm in outcome.alarms if alarm.path.startswith(f"{name}: ")]
        rows.append(_density(f"`{name}`", lines, said, default))
    rows.append(_density("all", sum(outcome.lines.values()), outcome.alarms, default))
    head = ("Package", "Lines", "Proved", "Suspected", "Per 1,000 lines", "of the opt-in rules")
    mutants: list[Row] = []
    for operator in FINDS:
        mine = [mutant for mutant in of_kind(outcome.judged, UNRUN) if mutant.operator == operator]
        found = sum(1 for mutant in mine if mutant.fitting)
        mutants.append([WORDS[operator], len(mine), found, share(found, len(mine))])
    found = sum(1 for mutant in outcome.judged if mutant.fitting)
    mutants.append(["all", len(outcome.judged), found, share(found, len(outcome.judged))])
    intro = f"Measured at {commit()}; up to {sample} mutants of each package, drawn at random with a fixed seed."
    return "\n\n".join([intro, table(head, rows), table(("Taken out", "Mutants", "Spoken to", "Share"), mutants)])


def _density(name: str, lines: int, said: Sequence[Said], default: set[str]) -> Row:
    on = [alarm for alarm in said if alarm.rule in default]
    proved = sum(alarm.proved for alarm in on)
    rate = f"{1000 * len(on) / max(1, lines):.2f}"
    return [name, f"{lines:,}", proved, len(on) - proved, rate, len(said) - len(on)]


def cases(scored: Sequence[Scored], package: bool) -> str:
    """The tables on labelled cases, by class and by rule."""
    here = [case for case in scored if not case.absent]
    classes = sorted({case.klass for case in here}, key=lambda klass: (-sum(c.klass == klass for c in here), klass))
    groups = [(klass, [case for case in here if case.klass == klass]) for klass in classes]
    groups += [(grade, [c for c in here if c.grade == grade]) for grade in ("clear", "stretch")] + [("all", here)]
    scope = "with its top-level folder" if package else "alone"
    size = f"{len(here)} cases, {len(scored) - len(here)} of a repository that isn't there; each file checked {scope}; "
    head = ("Class", "Cases", "Found before", "Silent after", "of proved findings: found", "silent")
    by_rule: dict[str, list[Scored]] = {}
    for case in here:
        for rule in case.rules if case.klass != LOOKALIKE else ():
            by_rule.setdefault(rule, []).append(case)
    rules: list[Row] = [
        [f"`{rule}`", len(mine), sum(c.found() for c in mine), sum(any(s.rule == rule for s in c.before) for c in mine)]
        for rule, mine in sorted(by_rule.items())
    ]
    return "\n\n".join(
        [
            f"{size}measured at {commit()}.",
            table(head, [_case_row(name, mine) for name, mine in groups if mine]),
            table(("Rule that should speak", "Cases", "Found by any rule", "by this one"), rules),
        ]
    )


def _case_row(name: str, cases: Sequence[Scored]) -> Row:
    row: Row = [name, len(cases)]
    for proved in (False, True):
        for count in (sum(case.found(proved) for case in cases), sum(case.silent(proved) for case in cases)):
            row.append(f"{count} ({share(count, len(cases))})")
    return row


def written(page: str, section: str, text: str) -> str:
    """A page with a section's text between its two marks."""
    begin, end = f"<!-- {section}: written by benchmarks.accuracy -->", f"<!-- end of {section} -->"
    head, found, rest = page.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page has no place for {section}")
    return f"{head}{begin}\n{text}\n{end}{tail}"


def commit() -> str:
    """The commit that is checked out, and whether what is measured, or measures, differs from it."""
    head = _git("rev-parse", "--short=10", "HEAD")
    if not head:
        return "no commit"
    changed = _git("status", "--porcelain", "--", "memlint", "rules", "fixers", "benchmarks", "tests/support")
    return f"commit {head}{' with changes' if changed else ''}"


def _git(*command: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *command], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def plain(value: Any) -> Any:
    """Dataclasses as dictionaries, all the way down."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return dict(value) if hasattr(value, "items") else value
