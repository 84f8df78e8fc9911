"""The benchmarks of the runtime: each row's two sides do the same work, and the command prints its table."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from benchmarks import shim


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
