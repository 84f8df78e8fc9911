"""Which files and functions are tests, by their names."""

from __future__ import annotations

import pytest

from memlint.facts import FileFacts
from memlint.facts.trials import in_unit_test, is_unit_test
from memlint.source import Source


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("tests/test_model.py", True),
        ("pkg/test/model_test.py", True),
        ("app/tests/tests.py", True),
        ("tests/helpers.py", False),
        ("test_model.py", False),
    ],
)
def test_the_folder_and_the_name_make_a_file_of_tests(path: str, expected: bool) -> None:
    assert is_unit_test(path) is expected


@pytest.mark.parametrize(
    ("path", "expected"), [("tests.py", True), ("model_test.py", True), ("test_model.py", True), ("model.py", False)]
)
def test_outside_of_such_a_folder_the_function_says_it_too(path: str, expected: bool) -> None:
    facts = FileFacts(Source(path, b"def test_step():\n    pass\n\n\ndef main():\n    pass\n"), frozenset())
    found = {scope.name: in_unit_test(path, scope) for scope in facts.all_scopes()}
    facts.close()
    assert (found["test_step"], found["main"]) == (expected, False)
