"""docs/from-the-seeds.md: every row of the list is there, with a rule and a fixture that exist. Nothing is measured."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("torch")

from benchmarks.seeds import page, work
from benchmarks.seeds.rows import MISTAKES, ROWS, Row
from memlint import registry
from tests.support import ROOT

every_row = pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])


@every_row
def test_its_rules_and_its_fixture_exist(row: Row) -> None:
    assert set(row.rules) <= registry.rules().keys()
    case = page.case_of(row)
    assert (case is None) == (not row.rules)
    if case is not None:
        assert case.has("before.py")
        assert case.rule in row.rules
    assert not row.work or callable(getattr(work, row.work))
    assert row.rules or row.instead, "a row says what finds it, or what to do instead"


def test_rows_have_names_of_their_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_the_page_is_the_one_of_the_list() -> None:
    written = page.PAGE.read_text(encoding="utf-8")
    told = page.effects(written)
    assert told.keys() == {row.name for row in ROWS}
    assert page.text(told) == written, "run: python -m benchmarks.seeds --write"
    assert not [name for name, said in told.items() if said.startswith(page.UNMEASURED)]


@pytest.mark.parametrize(("mistake", "place"), MISTAKES)
def test_a_mistake_is_held_by_what_the_page_says(mistake: str, place: str) -> None:
    file, _, test = place.partition(": ")
    text = (ROOT / file).read_text(encoding="utf-8")
    assert not test or re.search(rf"def {test}\b", text)
