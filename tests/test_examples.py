"""The example programs run, show every rule that has a cure, and print the same after they are repaired."""

from __future__ import annotations

from pathlib import Path

import pytest

from memlint import engine, registry, repair
from memlint.config import Settings
from tests.support import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
every_example = pytest.mark.parametrize("example", [pytest.param(path, id=path.stem) for path in EXAMPLES])


def settings(files: list[Path]) -> list[tuple[str, Settings]]:
    return [(str(file), Settings()) for file in files]


def test_the_examples_show_every_rule_that_is_on_and_has_a_cure() -> None:
    report = engine.check(settings(EXAMPLES))
    assert report.errors == []
    on = {name for name, rule in registry.rules().items() if rule.default}
    shown = {finding.rule for finding in report.findings}
    assert on & registry.fixers().keys() <= shown <= on


@pytest.mark.needs_torch
@every_example
def test_an_example_prints_the_same_after_its_repair(
    example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.support import running

    copy = tmp_path / example.name
    copy.write_bytes(example.read_bytes())
    report = repair.repair(settings([copy]), rules=None, unsafe=True, check=engine.check)
    assert report.errors == []
    assert report.fixed
    assert repair.write(report) == []
    left = {finding.rule for finding in engine.check(settings([copy])).findings}
    assert left.isdisjoint(registry.fixers()), "only rules without a fixer may find something still"

    running.load(example).main([])
    before = capsys.readouterr().out
    running.load(copy).main([])
    assert before.count("\n") >= 2
    assert capsys.readouterr().out == before
