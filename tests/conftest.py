"""What every test can count on: the options and markers of this suite."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# No deadline: a slow machine is not a defect. In CI the same examples are tried on every run.
settings.register_profile("memlint", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("memlint")

# Fixtures are code to be checked; some of them are unit tests of an imagined project.
collect_ignore_glob = ["fixtures/*"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bless",
        action="store_true",
        help="rewrite findings.txt and after.py (or unfixed.txt) of the fixture cases from what memlint says now",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if importlib.util.find_spec("torch") is None:
        for item in items:
            if item.get_closest_marker("needs_torch"):
                item.add_marker(pytest.mark.skip(reason="torch is not installed"))


@pytest.fixture
def bless(request: pytest.FixtureRequest) -> bool:
    """Whether this run writes what it would otherwise compare with."""
    return bool(request.config.getoption("--bless"))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch computes on one thread: many small tensors are slower on several, and sums may round otherwise."""
    if importlib.util.find_spec("torch") is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
