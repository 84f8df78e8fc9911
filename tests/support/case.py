"""Fixture cases: what lies in a case's folder, what memlint says to it, what its fix makes of it.

The layout is written down in CONTRIBUTING.md. Nothing here imports torch.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from memlint import engine, registry, repair
from memlint.config import Settings, check_limit
from memlint.rule import Finding
from tests.support import FIXTURES


@dataclass(frozen=True)
class Case:
    """One folder `tests/fixtures/<stem>/<name>/`."""

    folder: Path

    @property
    def rule(self) -> str:
        """The rule that the case is about."""
        return registry.name_of(self.folder.parent.name)

    @property
    def id(self) -> str:
        """How pytest names the case."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    def has(self, file: str) -> bool:
        """Whether the case holds this file."""
        return (self.folder / file).exists()

    @property
    def on_mlx(self) -> bool:
        """Whether its program runs on MLX, not on torch."""
        return uses_mlx(self.folder / "before.py")

    def text(self, file: str) -> str:
        """The text of one of its files, line ends as they are."""
        return (self.folder / file).read_bytes().decode()


@dataclass(frozen=True)
class Repaired:
    """What the fix of a case came to: the new file, and why each finding that is left was left."""

    text: str
    left: list[str]


def cases() -> list[Case]:
    """Every case of every rule."""
    return [Case(path.parent) for path in sorted(FIXTURES.glob("*/*/before.py")) if path.parent.name != "clean"]


def uses_mlx(file: Path) -> bool:
    """Whether a program imports MLX wherever it is run."""
    return re.search(r"^(import|from) mlx\b", file.read_text(encoding="utf-8"), re.MULTILINE) is not None


def clean_files() -> list[Path]:
    """Every look-alike that must stay silent."""
    return sorted(FIXTURES.glob("*/clean/*.py"))


LIMITS = {
    "max_active_flows": "<= 50000",
    "max_spawn_per_step": "== 0",
    "movement_based_spawn": "== false",
    "batch_size": ">= 8, <= 64",
    "dropout": "< 0.5",
    "Buffer.capacity": "<= 1000",
}
"""What `[tool.memlint.limits]` says in the cases of hold-config-limits; no other rule looks at it."""


def only(rule: str) -> Settings:
    """Settings of their own, with this rule and nothing else."""
    return Settings(select=(rule,), limits=tuple(check_limit(name, text, "LIMITS") for name, text in LIMITS.items()))


def concise(finding: Finding) -> str:
    """One line of findings.txt. Findings of the case's other modules carry their path, those of before.py don't."""
    place = finding.place
    path = "" if place.path == "before.py" else f"{place.path}:"
    return f"{path}{place.line}:{place.column}: {finding.tier.value} {finding.rule} {finding.message}\n"


def findings(rule: str, text: str, folder: Path | None = None) -> list[Finding]:
    """What the rule says to a text, which stands as before.py beside the `project/` of a case's folder."""
    with _project(text, folder) as files:
        report = engine.check([(path, only(rule)) for path in files])
    assert not report.errors, report.errors
    return report.findings


def fix(rule: str, text: str, folder: Path | None = None) -> Repaired:
    """The repair of a text by this rule's fixer, unsafe fixes allowed."""
    with _project(text, folder) as files:
        report = repair.repair(
            [(path, only(rule)) for path in files], rules=frozenset({rule}), unsafe=True, check=engine.check
        )
    assert not report.errors, report.errors
    assert set(report.changed) <= {"before.py"}, f"a case's fix may only change before.py, not {set(report.changed)}"
    _, new = report.changed.get("before.py", (b"", text.encode()))
    left = [reason for _, reason in report.refused] + ["only suggested, never written" for _ in report.withheld]
    return Repaired(new.decode(), left)


@contextmanager
def _project(text: str, folder: Path | None) -> Iterator[list[str]]:
    """The files of a case, in a folder of their own: the checkout's files would answer questions about the project."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "before.py").write_bytes(text.encode())
        if folder is not None and (folder / "project").is_dir():
            shutil.copytree(folder / "project", Path(scratch, "project"))
        os.chdir(scratch)
        try:
            yield ["before.py", *sorted(path.as_posix() for path in Path("project").rglob("*.py"))]
        finally:
            os.chdir(here)
