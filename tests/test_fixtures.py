"""Every fixture case is checked, repaired, and run before and after its repair. The layout is in CONTRIBUTING.md."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pytest

from memlint import registry
from tests.support.case import Case, cases, clean_files, concise, findings, fix, uses_mlx

every_case = pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in cases()])
every_clean_file = pytest.mark.parametrize(
    "file", [pytest.param(file, id=f"{file.parent.parent.name}/{file.stem}") for file in clean_files()]
)


@every_case
def test_the_findings_are_the_ones_written_down(case: Case, bless: bool) -> None:
    said = "".join(concise(finding) for finding in findings(case.rule, case.text("before.py"), case.folder))
    if bless:
        (case.folder / "findings.txt").write_bytes(said.encode())
    assert said == case.text("findings.txt")


@every_case
def test_the_fix_gives_after_py_and_then_rests(case: Case, bless: bool) -> None:
    before = case.text("before.py")
    repaired = fix(case.rule, before, case.folder)
    if bless:
        write(case, "after.py", repaired.text if repaired.text != before else "")
        write(case, "unfixed.txt", "".join(f"{reason}\n" for reason in repaired.left))
    assert repaired.text == (case.text("after.py") if case.has("after.py") else before)
    assert repaired.left == (case.text("unfixed.txt").splitlines() if case.has("unfixed.txt") else [])

    left = findings(case.rule, repaired.text, case.folder)
    if case.rule in registry.fixers():
        assert len(left) == len(repaired.left), [concise(finding) for finding in left]
        assert fix(case.rule, repaired.text, case.folder).text == repaired.text, "a second fix changed something"


def write(case: Case, file: str, text: str) -> None:
    """Write a file of the case; no text, no file."""
    if text:
        (case.folder / file).write_bytes(text.encode())
    else:
        (case.folder / file).unlink(missing_ok=True)


def only(wanted: Callable[[Case], bool]) -> pytest.MarkDecorator:
    """A test of the cases for which something holds."""
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in cases() if wanted(case)])


# These programs keep their defects: a pool that nobody ends says so when it is collected.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.needs_torch
@only(lambda case: not case.has("after.py") and not case.on_mlx)
def test_a_case_without_repair_is_a_program_that_runs(case: Case) -> None:
    from tests.support import running
    from tests.support.stand_ins import standing_in

    with standing_in():
        running.run(case.folder / "before.py", accelerator="cpu")  # raises where there is no `run`, or no pair from it
    gc.collect()


@pytest.mark.needs_torch
@only(lambda case: case.has("after.py") and not case.on_mlx)
def test_the_fix_keeps_the_results_and_costs_less(case: Case) -> None:
    from tests.support import running

    before = running.run(case.folder / "before.py", accelerator="cpu")
    after = running.run(case.folder / "after.py", accelerator="cpu")
    tolerance = getattr(before.module, "TOLERANCE", 0.0)
    assert running.difference(before.results, after.results, tolerance) == ""

    measure = getattr(before.module, "MEASURE", "held")
    if measure == "held" and before.used_accelerator:
        # Not the host's share: what was moved off the device lies there now.
        before = running.run(case.folder / "before.py", accelerator="meta")
        after = running.run(case.folder / "after.py", accelerator="meta")
        assert after.held.accelerator < before.held.accelerator
    elif measure == "held":
        assert after.held.total < before.held.total
    elif measure == "peak":
        assert after.peak < before.peak
    elif measure == "operations":
        assert after.operations < before.operations
    else:
        assert measure == "failure", f"{case.id}: MEASURE is held, peak, operations or failure, not {measure!r}"
        with pytest.raises(Exception):  # noqa: B017, PT011 - which error it is belongs to the case
            before.module.fails()
        after.module.fails()


@only(lambda case: case.on_mlx)
def test_the_fix_of_an_mlx_program_keeps_the_results_and_costs_less(case: Case) -> None:
    pytest.importorskip("mlx.core")
    from tests.support import on_mlx

    before = on_mlx.run(case.folder / "before.py")
    after = on_mlx.run(case.folder / ("after.py" if case.has("after.py") else "before.py"))
    assert after.results == before.results
    if case.has("after.py") and before.measure == "failure":
        with pytest.raises(Exception):  # noqa: B017, PT011 - as above
            before.program["fails"]()
        after.program["fails"]()
    elif case.has("after.py"):
        assert after.held < before.held if before.measure == "held" else after.peak < before.peak


@every_clean_file
def test_a_look_alike_stays_silent(file: Path) -> None:
    said = findings(registry.name_of(file.parent.parent.name), file.read_bytes().decode())
    assert [concise(finding) for finding in said] == []


@pytest.mark.needs_torch
@every_clean_file
def test_a_look_alike_runs(file: Path) -> None:
    if uses_mlx(file):
        pytest.importorskip("mlx.core")
    from tests.support import running
    from tests.support.device import Accelerator

    with Accelerator("cpu"):
        module = running.load(file)
        if hasattr(module, "run"):
            module.run()
