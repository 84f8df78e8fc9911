"""The example systems: every defect of their documents is found, repaired as far as there is a repair, and runs on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.repaired import ROOT, SYSTEMS, copied, repaired
from memlint import engine, registry
from memlint.config import Overrides, Resolver, Selection
from memlint.repair import RepairReport

# The rules that find something in each, before and not any more after the repair; and what is left to the author.
FIXED = {
    "lattice_flows": {
        "batch-tensor-creation", "bound-history", "cap-spawn", "clamp-coordinates", "hold-config-limits",
        "hoist-item-sync", "log-memory-state", "log-sparsely", "map-checkpoint", "negate-flags-with-not",
        "rate-limit-cleanup", "vectorize-rounding",
    },
    "automaton": {
        "bound-history", "clone-kept-views", "detach-kept-tensors", "detach-recurrent-state", "keep-only-last",
        "map-checkpoint", "no-grad-inference", "rate-limit-cleanup", "release-before-reload", "snapshots-to-cpu",
    },
    "agent": {"drain-queue", "slot-records"},
    "mlx_trainer": {"detach-kept-tensors", "monitor-leaks", "rate-limit-cleanup", "synchronize-not-sleep"},
}  # fmt: skip
FOUND = {
    "lattice_flows": {"test-before-clamp", "use-or-drop-state", "validate-checkpoint"},
    "automaton": {"release-the-owner"},
    "agent": {"batch-decay", "bound-history", "buffer-step-io", "cache-serialization"},
    "mlx_trainer": {"independent-thresholds"},
}  # fmt: skip
every_system = pytest.mark.parametrize("name", FIXED)
every_torch_system = pytest.mark.parametrize("name", ["lattice_flows", "automaton"])


def found(file: Path) -> set[str]:
    """The rules that say something to a copy, with its configuration."""
    settings = Resolver(Overrides(Selection(select=("all",)))).settings(str(file.parent))
    return {finding.rule for finding in engine.check([(str(file), settings)]).findings}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path, RepairReport]]:
    """Each system as it is, as it is repaired, and what the repair said."""
    made = {}
    for name in FIXED:
        folder = tmp_path_factory.mktemp(name)
        before, after = copied(name, folder / "before"), copied(name, folder / "after")
        made[name] = before, after, repaired(after)
    return made


Pairs = dict[str, tuple[Path, Path, RepairReport]]


def test_there_is_a_system_for_each_expectation() -> None:
    assert {file.stem for file in SYSTEMS.glob("*.py")} == FIXED.keys() == FOUND.keys()


@every_system
def test_its_defects_are_found_and_repaired(name: str, pairs: Pairs) -> None:
    before, after, report = pairs[name]
    assert report.errors == []
    assert FIXED[name] | FOUND[name] <= found(before)
    assert FIXED[name] & found(after) == set()
    assert {finding.rule for finding in report.fixed} >= FIXED[name]
    assert FIXED[name] <= registry.fixers().keys()


@pytest.mark.needs_torch
# Weights are not copied to a device that has no data.
@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter:UserWarning")
@pytest.mark.parametrize(("name", "device"), [("lattice_flows", "cpu"), ("automaton", "cuda")])
def test_the_repair_keeps_the_results_and_holds_less(
    name: str, device: str, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support import running

    before, after, _ = pairs[name]
    monkeypatch.syspath_prepend(str(after.parent))  # the copied helpers
    sides = [running.run(file, accelerator="cpu", device=device) for file in (before, after)]
    assert running.difference(sides[0].results, sides[1].results, 1e-6) == ""
    if sides[0].used_accelerator:
        held = [running.run(file, accelerator="meta", device=device).held.accelerator for file in (before, after)]
    else:
        held = [side.held.total for side in sides]
    assert held[1] < held[0]


@pytest.mark.needs_torch
def test_a_flow_stays_in_the_box_after_the_repair(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support import running

    before, after, _ = pairs["lattice_flows"]
    with pytest.raises(AssertionError, match="a flow left the box"):
        running.load(before).fails()
    monkeypatch.syspath_prepend(str(after.parent))
    running.load(after).fails()


@pytest.mark.needs_torch
@every_torch_system
def test_a_repaired_system_runs_where_memlint_cannot_be_imported(name: str, pairs: Pairs) -> None:
    _, after, _ = pairs[name]
    assert without_memlint(after) == ""


def test_the_agent_runs_where_memlint_cannot_be_imported(pairs: Pairs) -> None:
    _, after, _ = pairs["agent"]
    assert without_memlint(after) == ""


def test_the_mlx_trainer_keeps_its_results_and_runs_where_memlint_cannot_be_imported(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlx.core")
    from tests.support import on_mlx

    before, after, _ = pairs["mlx_trainer"]
    monkeypatch.syspath_prepend(str(after.parent))
    assert on_mlx.run(after).results == on_mlx.run(before).results
    assert without_memlint(after) == ""


def test_the_agent_lives_the_same_life_after_the_repair(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after, _ = pairs["agent"]
    monkeypatch.syspath_prepend(str(after.parent))
    lives: list[Any] = []
    for file in (before, after):
        program: dict[str, Any] = {"__name__": "agent", "__file__": str(file)}
        monkeypatch.setitem(sys.modules, "agent", type(sys)("agent"))  # dataclasses look their module up
        exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), program)
        lives.append(program["run"]()[0])
    assert lives[0] == lives[1]


ALONE = """
import runpy, sys
sys.modules["memlint"] = None
folder, name = sys.argv[1:]
sys.path[0] = folder
sys.argv = [name]
runpy.run_path(f"{folder}/{name}", run_name="__main__")
"""


def without_memlint(file: Path) -> str:
    """What goes wrong when a program runs where memlint is not there to be imported."""
    command = [sys.executable, "-c", ALONE, str(file.parent), file.name]
    done = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, encoding="utf-8")
    assert done.stdout.count("\n") == 2 or done.returncode
    return done.stderr if done.returncode else ""


def test_the_programs_are_not_the_repaired_ones() -> None:
    assert not (ROOT / "examples" / "systems" / "memory_helpers.py").exists()
