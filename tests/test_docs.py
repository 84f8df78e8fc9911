"""The pages of the rules: same headings everywhere, and examples that run and do what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from memlint import page, registry
from memlint.rule import Rule
from tests.support.case import concise, findings, fix

every_rule = pytest.mark.parametrize("rule", [pytest.param(rule, id=name) for name, rule in registry.rules().items()])
HEADED = """A summary.

    First
    -----
    Words, and a list:
    - an item
        that goes on

    Then:

        for x in y:

            print(x)

    After.

    Second
    ------
        1 + 1
    -- no heading
    """


def test_sections_are_read_by_their_underlined_headings() -> None:
    assert list(page.sections(HEADED)) == ["First", "Second"]
    assert page.sections(HEADED)["Second"] == "    1 + 1\n-- no heading"
    assert page.sections("No sections at all.") == {}


def test_code_is_what_is_indented_below_a_blank_line() -> None:
    first, second = page.sections(HEADED).values()
    assert page.code(first) == "for x in y:\n\n    print(x)\n"
    assert page.code(second) == "1 + 1\n"
    assert page.code("No code.") == "\n"


def test_settings_are_fenced_as_such() -> None:
    doc = "A summary.\n\nFirst\n-----\nLike this:\n\n    [tool.memlint]\n    strict = true\n"
    rule = Rule(name="a-rule", doc=doc, find=lambda facts: (), needs=(), default=True, options={})
    assert "\n```toml\n[tool.memlint]\nstrict = true\n```\n" in page.markdown(rule)


def test_markdown_fences_the_code() -> None:
    rule = Rule(name="a-rule", doc=HEADED, find=lambda facts: (), needs=(), default=True, options={})
    assert page.markdown(rule) == (
        "# a-rule\n\nA summary.\n\n## First\n\nWords, and a list:\n- an item\n    that goes on\n\nThen:\n\n"
        "```python\nfor x in y:\n\n    print(x)\n```\n\nAfter.\n\n## Second\n\n```python\n1 + 1\n```\n\n-- no heading\n"
    )


@every_rule
def test_a_page_has_the_headings_in_order(rule: Rule) -> None:
    sections = page.sections(rule.doc)
    assert tuple(sections) == page.HEADINGS
    assert all(sections.values()), "an empty section"
    defect, _, cure = rule.summary.partition(": ")
    assert defect
    assert cure.endswith("."), "reports show what follows the colon as their help"


@every_rule
def test_the_example_is_found_and_the_better_code_is_not(rule: Rule) -> None:
    sections = page.sections(rule.doc)
    assert [finding.rule for finding in findings(rule.name, page.code(sections["Example"]))] == [rule.name]
    assert [concise(finding) for finding in findings(rule.name, page.code(sections["Use instead"]))] == []


@pytest.mark.parametrize("name", registry.fixers())
def test_the_example_can_be_fixed(name: str) -> None:
    example = page.code(page.sections(registry.rules()[name].doc)["Example"])
    repaired = fix(name, example)
    assert repaired.text != example, repaired.left


@pytest.mark.needs_torch
@every_rule
@pytest.mark.parametrize("heading", ["Example", "Use instead"])
def test_the_code_of_a_page_runs(rule: Rule, heading: str, tmp_path: Path) -> None:
    from tests.support import running
    from tests.support.device import Accelerator

    program = tmp_path / "example.py"
    program.write_text(page.code(page.sections(rule.doc)[heading]), encoding="utf-8")
    with Accelerator("cpu"):
        running.load(program)
