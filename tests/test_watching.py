"""When a training step that nobody measures is worth a word: `all` is no wish that each be measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from memlint import engine
from memlint.config import Selection, Settings

STEP = """
def train(model, optimizer, batches):
    for batch in batches:
        optimizer.zero_grad()
        model(batch).mean().backward()
        optimizer.step()
"""
PROBE = """
import torch

def peak():
    return torch.cuda.max_memory_allocated()
"""


def found(tmp_path: Path, settings: Settings, **files: str) -> list[str]:
    for name, code in files.items():
        (tmp_path / f"{name}.py").write_text(code)
    report = engine.check([(str(path), settings) for path in sorted(tmp_path.glob("*.py"))])
    return [f.rule for f in report.findings if f.rule == "log-memory-state"]


@pytest.mark.parametrize(
    "settings",
    [
        Settings(select=("log-memory-state",)),
        Settings(extend_select=("log-memory-state",)),
        Settings(command_line=Selection(select=("all", "log-memory-state"))),
    ],
    ids=["selected", "added", "on the command line"],
)
def test_who_names_the_rule_hears_of_each_training_step(tmp_path: Path, settings: Settings) -> None:
    assert found(tmp_path, settings, train=STEP) == ["log-memory-state"]


def test_all_rules_leave_a_project_alone_that_measures_nowhere(tmp_path: Path) -> None:
    assert found(tmp_path, Settings(select=("all",)), train=STEP) == []


def test_all_rules_tell_a_project_that_measures_elsewhere(tmp_path: Path) -> None:
    assert found(tmp_path, Settings(select=("all",)), train=STEP, probe=PROBE) == ["log-memory-state"]
