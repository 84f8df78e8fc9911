"""A copy of the checkout's files, to build and to install from without leaving anything behind in the checkout."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support import ROOT

# What the project consists of. Not asked of git: the tests also run from a source distribution, which has none.
SHIPPED = [
    ".ci",
    ".pre-commit-hooks.yaml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "benchmarks",
    "docs",
    "examples",
    "fixers",
    "memlint",
    "pyproject.toml",
    "rules",
    "tests",
    "tools",
]


def copy_to(target: Path) -> Path:
    """Copy the project's files into a new folder."""
    target.mkdir(parents=True)
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copy2(ROOT / name, target / name)
    return target
