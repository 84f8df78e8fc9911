"""What is run to try or to measure something. Four questions, because the rules that ask want different things.

`is_unit_test` and `in_unit_test`: what lives in a unit test lives for moments, so rules about what is kept pass over
it. A script `test_model.py` beside `train.py` evaluates a model for hours and is no unit test: the folder decides.
`is_trial`: speed is not the point here, or clearing and waiting keep one measurement from disturbing the next. Any
name of a test or a benchmark will do, of the file or of a folder.
`named_as_test`: what is left behind goes with the process. pytest's name is enough, in any folder.
"""

from __future__ import annotations

from memlint.facts.scopes import Scope

_FOLDERS = frozenset({"tests", "test"})


def is_unit_test(path: str) -> bool:
    """Whether a file holds unit tests, by its name and its folder."""
    *folders, name = path.split("/")
    return _is_of_tests(name) and not _FOLDERS.isdisjoint(folders)


def in_unit_test(path: str, scope: Scope) -> bool:
    """Whether a function is part of a unit test: by its file, or by half of that and its own name or its class's."""
    if is_unit_test(path):
        return True
    *folders, name = path.split("/")
    return (_is_of_tests(name) or not _FOLDERS.isdisjoint(folders)) and any(
        s.name.startswith("test") or (s.owner and s.owner.name.startswith("Test")) for s in scope.around()
    )


def _is_of_tests(name: str) -> bool:
    return name.startswith("test_") or name.endswith("_test.py") or name == "tests.py"


def is_trial(path: str) -> bool:
    """Whether a file holds tests or benchmarks, by its name or that of any folder around it."""
    parts = path.lower().replace("-", "_").split("/")
    return any(part.startswith(("test", "bench")) or part.endswith(("_test.py", "_bench.py")) for part in parts)


def named_as_test(path: str, scope: Scope) -> bool:
    """Whether a file or a function has the name by which pytest finds tests."""
    return path.rpartition("/")[2].startswith("test_") or scope.name.startswith("test_")
