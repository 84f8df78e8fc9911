"""Suppression comments: which findings they hide, which of them are unused, and where comments are not comments."""

from __future__ import annotations

import tokenize

import pytest

from memlint import suppress
from memlint.rule import Finding, Place, Severity, Tier

ENABLED = frozenset({"rule-a", "rule-b", suppress.NAME})
KNOWN = ENABLED | {"rule-off"}


def finding(line: int, rule: str = "rule-a", end_line: int | None = None) -> Finding:
    place = Place("f.py", line, 1, end_line or line, 5)
    return Finding(rule, "message", place, Tier.PROVED, Severity.WARNING, (), None)


def left(text: str, *findings: Finding, enabled: frozenset[str] = ENABLED) -> list[tuple[str, int, int, str]]:
    """What remains of the findings, and what is said about the comments."""
    kept = suppress.apply(findings, text, "f.py", enabled, KNOWN)
    return [(item.rule, item.place.line, item.place.column, item.message) for item in kept]


KEPT = ("rule-a", 1, 1, "message")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("x.append(y)  # memlint: ignore[rule-a]\n", (1, 1)),
        ("x.append(y)  # memlint: ignore[rule-a] the list has ten entries\n", (1, 1)),
        ("x.append(y)  # memlint: ignore[rule-b, rule-a] both\n", (1, 1)),
        ("x.append(y)  # memlint: ignore\n", (1, 1)),
        ("x.append(y)  # memlint: ignore[all]\n", (1, 1)),
        ("x.append(y)  #memlint:ignore[rule-a]\n", (1, 1)),
        ("x.append(y)  # noqa: B023  # memlint: ignore[rule-a]\n", (1, 1)),
        ("x.append(\n    y\n)  # memlint: ignore[rule-a]\n", (1, 3)),
        ("x.append(  # memlint: ignore[rule-a]\n    y\n)\n", (1, 3)),
        ("x.append(\n    # memlint: ignore[rule-a]\n    y\n)\n", (3, 3)),
        ("# memlint: ignore[rule-a]\nx.append(y)\n", (2, 2)),
        ("# memlint: ignore[rule-a]\n# more about it\nx.append(y)\n", (3, 3)),
        ("for x in y:  # memlint: ignore[rule-a]\n    pass\n    pass\n", (1, 3)),
        ("for x in y:\n    pass\n    pass  # memlint: ignore[rule-a]\n", (1, 3)),
        ("# memlint: ignore[rule-a]\n@decorator\n@another(1)\ndef f():\n    pass\n", (4, 5)),
        ("if x:\n    # memlint: ignore[rule-a]\n    y()\n", (3, 3)),
        ("x.append(y)  # memlint: ignore[rule-a]\r\n", (1, 1)),
        ("a = 1\rx.append(y)  # memlint: ignore[rule-a]\r", (2, 2)),
        ("a = 1\fb\nx.append(y)  # memlint: ignore[rule-a]\n", (2, 2)),
    ],
)
def test_hides_the_finding(text: str, place: tuple[int, int]) -> None:
    kept = left(text, finding(place[0], end_line=place[1]))
    assert [item for item in kept if item[0] == "rule-a"] == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x.append(y)  # memlint: ignore[rule-b]\n", 1),
        ("x.append(y)\nz()  # memlint: ignore[rule-a]\n", 1),
        ("x.append(y)\n# memlint: ignore[rule-a]\nz()\n", 1),
        ("# memlint: ignore[rule-a]\n\nx.append(y)\n", 3),
        ("# memlint: ignore[rule-a]\nz()\nx.append(y)\n", 3),
        ('x.append("# memlint: ignore[rule-a]")\n', 1),
        ('"""\n# memlint: skip-file\n"""\nx.append(y)\n', 4),
        ('x.append("""\n# memlint: ignore[rule-a]\n""")\n', 1),
        ("x.append(y)  # memlint: ignored for now\n", 1),
        ("x.append(y)  # memlint: ignore[rule-a\n", 1),
        ("x.append(y)  # memlint: ignore[]\n", 1),
        ("x.append(y)  # memlint: this says nothing\n", 1),
        ("x.append(y)  # memlint: Ignore[rule-a]\n", 1),
    ],
)
def test_does_not_hide_the_finding(text: str, line: int) -> None:
    assert ("rule-a", line, 1, "message") in left(text, finding(line))


@pytest.mark.parametrize(
    "text",
    [
        "# memlint: skip-file\nx.append(y)\n",
        "x.append(y)\n\n\n# memlint: skip-file generated\n",
        '"""Docs."""  # memlint: skip-file\nx.append(y)\n',
    ],
)
def test_skip_file_drops_everything(text: str) -> None:
    assert suppress.skips_file(text)
    assert left(text, finding(1), finding(2, "rule-b")) == []


def test_skip_file_in_a_string_is_a_string() -> None:
    assert not suppress.skips_file('text = "# memlint: skip-file"\n')
    assert not suppress.skips_file("# see skip-file in the manual\n")


def test_text_without_directives_is_not_tokenized(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenize, "generate_tokens", None)
    findings = [finding(1), finding(2)]
    assert suppress.apply(findings, "x = 1\ny = 2\n", "f.py", ENABLED) == findings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1  # memlint: ignore[rule-a]\n", [(1, 26, "this suppression of rule-a hides nothing")]),
        ("x = 1  # memlint: ignore\n", [(1, 8, "this suppression hides nothing")]),
        (
            "x = 1  # memlint: ignore[rule-x]\n",
            [(1, 26, 'unknown rule "rule-x" in a suppression, did you mean "rule-b"?')],
        ),
        ("x = 1  # memlint: ignore[zzz]\n", [(1, 26, 'unknown rule "zzz" in a suppression')]),
        ("x = 1  # memlint: ignore[rule-off]\n", []),
        ("x = 1  # memlint: ignor[rule-a]\n", [(1, 8, 'unknown directive "ignor", did you mean "ignore"?')]),
        ("x = 1  # memlint: skipfile\n", [(1, 8, 'unknown directive "skipfile", did you mean "skip-file"?')]),
        (
            "x = 1  # memlint: ignore[rule-a\n",
            [(1, 8, "malformed suppression, write `# memlint: ignore[rule-name] reason`")],
        ),
        ("x = 1  # memlint: ignore[rule-a]  # memlint: ignore[unused-suppression]\n", []),
        ("# memlint: ignore[rule-a]\n", [(1, 19, "this suppression of rule-a hides nothing")]),
    ],
)
def test_unused_suppressions_are_reported(text: str, expected: list[tuple[int, int, str]]) -> None:
    assert [item[1:] for item in left(text)] == expected


def test_a_comment_that_hides_something_is_used() -> None:
    assert left("x.append(y)  # memlint: ignore[rule-a]\n", finding(1)) == []


def test_names_in_one_comment_are_judged_one_by_one() -> None:
    [(rule, line, column, message)] = left("x.append(y)  # memlint: ignore[rule-a, rule-b]\n", finding(1))
    assert (rule, line, column) == (suppress.NAME, 1, 40)
    assert message == "this suppression of rule-b hides nothing"


def test_nothing_is_said_about_comments_where_that_rule_is_off() -> None:
    text = "x = 1  # memlint: ignore[rule-a]\n"
    assert left(text, enabled=frozenset({"rule-a"})) == []
    assert left(text, enabled=frozenset({"rule-b", suppress.NAME})) == []


def test_unknown_rules_need_the_list_of_all_rules() -> None:
    text = "x = 1  # memlint: ignore[rule-x]\n"
    assert suppress.apply([], text, "f.py", ENABLED) == []


def test_unused_suppressions_are_suspected_notes() -> None:
    [problem] = suppress.apply([], "x = 1  # memlint: ignore[rule-a]\n", "f.py", ENABLED, KNOWN)
    assert (problem.tier, problem.severity) == (Tier.SUSPECTED, Severity.NOTE)
    assert problem.place == Place("f.py", 1, 26, 1, 32)


BROKEN = 'text = "# memlint: ignore[rule-a]"\nx.append(y)  # memlint: ignore[rule-a]\n# memlint: ignore[rule-b]\nz(\n'


def test_comments_are_found_where_tokenizing_fails() -> None:
    with pytest.raises(tokenize.TokenError):
        list(tokenize.generate_tokens(iter(BROKEN.splitlines(keepends=True)).__next__))
    assert left(BROKEN, finding(1), finding(2), finding(4, "rule-b")) == [KEPT]
