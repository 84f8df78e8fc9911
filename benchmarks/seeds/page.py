"""docs/from-the-seeds.md: the table of every fix of the five documents, and what it is worth."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
from collections.abc import Mapping

from benchmarks.repaired import ROOT
from benchmarks.seeds import work
from benchmarks.seeds.rows import MISTAKES, ROWS, Row
from benchmarks.seeds.work import Effect
from benchmarks.systems import amount
from tests.support import FIXTURES, running
from tests.support.case import Case
from tests.support.stand_ins import standing_in

PAGE = ROOT / "docs" / "from-the-seeds.md"
HEAD = """\
# From the seeds

memlint began with five documents in which the authors of four programs wrote down what their programs held on to, and
what they did about it. This page lists every fix that they name, in their order: the rule that finds the defect today,
the fixture that shows it, and what the repair is worth. Where their fix helps nothing, the row says what to do instead,
and the measurement shows it.

Each row is measured by `python -m benchmarks.seeds ROW`, and the whole page written by
`python -m benchmarks.seeds --write`. Bytes and operations are counted and are the same on every machine; times are
those of one machine, on one thread, and only their ratio says something. Tensors on an accelerator are counted on
torch's `meta` device. Policies and monitors are measured on a made-up course of memory, which
`benchmarks/seeds/work.py` describes. `python -m benchmarks.systems` measures the four programs of `examples/systems`,
which have these defects together.
"""
MISTAKEN = """\
## Mistakes that must not come back

What the documents' authors did wrong, and where it is held that memlint and its helpers do otherwise.
"""
UNMEASURED = "not measured: "


def case_of(row: Row) -> Case | None:
    """The fixture case of a row: the one that it names, or the first of its first rule that has a repair."""
    if row.case:
        return Case(FIXTURES / row.case)
    if not row.rules:
        return None
    folder = FIXTURES / row.rules[0].replace("-", "_")
    found = [Case(path.parent) for path in sorted(folder.glob("*/before.py")) if path.parent.name != "clean"]
    return next((case for case in found if case.has("after.py")), found[0] if found else None)


def effect(row: Row) -> str:
    """What the fix of a row is worth, in one line."""
    case = case_of(row)
    try:
        with contextlib.redirect_stdout(io.StringIO()), standing_in():
            if row.work:
                effects = getattr(work, row.work)()
            elif case is not None:
                effects = on_case(case)
            else:
                return "nothing to measure"
    except ModuleNotFoundError as error:
        return f"{UNMEASURED}needs {error.name}"
    return "; ".join(map(shown, effects)) or "found, and left to its author"


def on_case(case: Case) -> list[Effect]:
    """A fixture case before and after its repair, by the measure that the case asks for."""
    if not case.has("after.py"):
        return []
    files = [case.folder / name for name in ("before.py", "after.py")]
    if case.on_mlx:
        from tests.support import on_mlx

        runs = [on_mlx.run(file) for file in files]
        return [Effect("fixture", "bytes", *(getattr(run, runs[0].measure) for run in runs))]
    first, second = (running.run(file, accelerator="cpu") for file in files)
    measure = getattr(first.module, "MEASURE", "held")
    if measure == "operations":
        return [Effect("fixture", "operations", first.operations, second.operations)]
    if measure == "peak":
        return [Effect("fixture, at most", "bytes", first.peak, second.peak)]
    if measure == "failure":
        return [Effect("fixture", "failures", *map(failures, (first, second)))]
    if first.used_accelerator:
        first, second = (running.run(file, accelerator="meta") for file in files)
        return [Effect("fixture, on the accelerator", "bytes", first.held.accelerator, second.held.accelerator)]
    return [Effect("fixture", "bytes", first.held.total, second.held.total)]


def failures(run: running.Run) -> int:
    """1 where the program fails as its case says, else 0."""
    try:
        run.module.fails()
    except Exception:
        return 1
    return 0


def shown(found: Effect) -> str:
    """An effect in words: both sides, and how many times less."""
    sides = [_number(value, found.unit) for value in (found.before, found.after)]
    compared = found.after and found.unit in ("bytes", "seconds", "operations")
    times = f" ({_times(found.before / found.after)})" if compared else ""
    return f"{found.what}: {sides[0]} → {sides[1]}{times}"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}x" if ratio >= 100 else f"{ratio:.3g}x"


def _number(value: float, unit: str) -> str:
    if unit == "bytes":
        return amount(value)
    if unit == "seconds":
        factor, name = next(((f, n) for f, n in ((1, "s"), (1e3, "ms")) if value * f >= 1), (1e6, "µs"))
        return f"{value * factor:.3g} {name}"
    return f"{value:,.0f} {unit}" if unit and value == int(value) else f"{value:.4g} {unit}".strip()


def write(told: Mapping[str, str]) -> None:
    """Write the page. Rows that were not measured now keep what the page says of them."""
    before = effects(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    new = {name: said for name, said in told.items() if _replaces(said, before.get(name))}
    PAGE.write_text(text({**before, **new}), encoding="utf-8")


def _replaces(said: str, before: str | None) -> bool:
    """Whether what was measured now replaces what the page says: not where it could not be measured here."""
    return before is None or not said.startswith(UNMEASURED)


def text(told: Mapping[str, str]) -> str:
    """The whole page."""
    parts = [HEAD]
    for document, rows in itertools.groupby(ROWS, key=lambda row: row.document):
        parts.append(
            f"\n## {document}\n\n| Row | Section | Fix | Rule | Fixture | Effect |\n|---|---|---|---|---|---|\n"
        )
        for row in rows:
            case = case_of(row)
            rules = ", ".join(f"`{rule}`" for rule in row.rules) or "none"
            fixture = f"`{case.id}`" if case is not None else "none"
            said = told.get(row.name, f"{UNMEASURED}run it")
            note = f" {row.instead}" if row.instead else ""
            parts.append(f"| `{row.name}` | {row.section} | {row.fix}. | {rules} | {fixture} | {said}.{note} |\n")
    parts.append(f"\n{MISTAKEN}\n| Mistake | Held by |\n|---|---|\n")
    parts += [f"| {mistake} | `{place}` |\n" for mistake, place in MISTAKES]
    return "".join(parts)


def effects(written: str) -> dict[str, str]:
    """What a page says of each row, without the remark behind it."""
    found = {}
    for row in ROWS:
        line = re.search(rf"^\| `{re.escape(row.name)}` \|.*\| ([^|]*) \|$", written, re.MULTILINE)
        if line is not None:
            note = f" {row.instead}" if row.instead else ""
            found[row.name] = line[1].removesuffix(note).removesuffix(".")
    return found
