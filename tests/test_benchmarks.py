"""The benchmarks of the runtime: each row's two sides do the same work, and the command prints its table."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

import pytest

import benchmarks.speed.__main__ as speed
from benchmarks import measure, shim
from benchmarks.speed.setup import Peer


@pytest.mark.needs_torch
def test_both_sides_of_the_geometry_rows_agree() -> None:
    import torch

    before = torch.get_num_threads()
    try:
        rows = {row.helper: row for row in shim.torch_rows()}
    finally:
        torch.set_num_threads(before)
    compared = [row for name, row in rows.items() if name.startswith(("nearest_rows", "round_to_lattice"))]
    assert len(compared) == 3
    for row in compared:
        helper, other = row.run_helper(), row.run_other()
        assert isinstance(helper, torch.Tensor)
        assert isinstance(other, torch.Tensor)
        assert helper.equal(other)


def test_it_prints_a_ratio_for_each_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shim, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(shim, "torch_rows", lambda: ())
    shim.main(["--repeat", "1"])
    head, rule, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["helper", "against", "takes"]
    assert set(rule) == {"-", " "}
    with contextlib.ExitStack() as files:
        assert len(lines) == len(list(shim.plain_rows(str(tmp_path), files)))
    assert all(re.search(r"  (1/[\d,]+|\d+\.\d\d x)$", line) for line in lines)


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="no costs of single processes here")
def test_the_table_beside_other_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_text("x = 1\n", encoding="utf-8")
    monkeypatch.setattr(speed, "PEERS", [Peer("other", (), (sys.executable, "-c", "raise SystemExit(1)"))])
    monkeypatch.setattr(speed, "installed", lambda peer, folder: list(peer.command))
    bench = speed.Bench(tmp_path, 1, None)
    costs = bench.table("One", tmp_path, "a.py")
    assert all(cost.cpu > 0 and cost.peak > 0 for cost in costs.values())
    bench.aim("met", 1.0, 1.5)
    bench.aim("missed", 1.0, 1.5, least=True)
    text = speed.page(bench)
    assert [line.split(" | ")[-1] for line in text.splitlines() if re.match(r"\| (met|missed) ", line)] == [
        "yes |",
        "**no** |",
    ]
    assert "| other |" in text
    with pytest.raises(SystemExit, match="exited with 3"):
        measure.once([sys.executable, "-c", "raise SystemExit(3)"], tmp_path)
