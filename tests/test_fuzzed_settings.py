"""Whatever stands in the settings, they are used, or refused in one line with exit status 2."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memlint.cli import main
from memlint.config import KEYS

GOOD = """\
[tool.memlint]
select = ["all"]
extend-select = ["bound-history"]
ignore = ["vectorize-rounding"]
fixable = ["all"]
unfixable = ["cap-spawn"]
exclude = ["third_party/"]
strict = false
baseline = ""
runtime = "import"
step-functions = ["Trainer.tick"]
no-grad-functions = ["eval.score_*"]
bounded-containers = ["Trainer.log"]

[tool.memlint.per-file-ignores]
"scripts/*.py" = ["no-grad-inference"]

[tool.memlint.limits]
max_active_flows = "<= 50000"

[tool.memlint.rules.bound-history]
limit = 1000
"""

words = st.text(max_size=8) | st.sampled_from(
    [
        "all",
        "bound-history",
        "*",
        "!",
        "[z-a]",
        "**/",
        "a\\",
        "\0",
        "vendor:",
        "import",
        "<= 5",
        "< " + "9" * 5000,
        "A.b",
    ]
)
plain = st.booleans() | st.integers() | st.floats() | words
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=5
)
tables = st.dictionaries(st.sampled_from(KEYS) | words, values, max_size=4)


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value).replace("\x7f", "\\u007f")


def checked(folder: Path, data: bytes) -> tuple[int, str]:
    """The exit status of a check of an empty file with these settings, and what is said about it."""
    file, module = folder / "memlint.toml", folder / "a.py"
    file.write_bytes(data)
    module.touch()
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        status = main(["check", str(module), "--quiet", "--config", str(file)])
    return status, said.getvalue()


def is_told_well(folder: Path, data: bytes) -> None:
    status, said = checked(folder, data)
    assert status in (0, 2)
    assert len(said.splitlines()) == (status == 2), said
    assert not said or said.startswith("memlint: error: ")


def test_good_settings_are_used(tmp_path: Path) -> None:
    assert checked(tmp_path, GOOD.encode()) == (0, "")


@pytest.mark.parametrize("value", ["[" * 50_000, "9" * 5_000])
def test_init_reads_the_same_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.memlint]\nx = {value}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for command in ("init", "check"):
        assert main([command]) == 2
        said = capsys.readouterr().err
        assert said.startswith("memlint: error: pyproject.toml: not valid TOML: ")
        assert said.count("\n") == 1


@given(tables)
def test_tables_of_any_kind(tmp_path_factory: pytest.TempPathFactory, table: dict[str, Any]) -> None:
    text = f"[tool]\nmemlint = {toml(table)}\n"
    is_told_well(tmp_path_factory.mktemp("settings"), text.encode("utf-8", "backslashreplace"))


@settings(max_examples=200)
@given(st.sampled_from(KEYS), values)
def test_values_of_any_kind(tmp_path_factory: pytest.TempPathFactory, key: str, value: Any) -> None:
    text = f"[tool.memlint]\n{key} = {toml(value)}\n"
    is_told_well(tmp_path_factory.mktemp("settings"), text.encode("utf-8", "backslashreplace"))


@settings(max_examples=200)
@given(st.data())
def test_bytes_of_any_kind(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    good = GOOD.encode()
    at = data.draw(st.integers(0, len(good)))
    other = data.draw(
        st.binary(max_size=6) | st.sampled_from([b"[" * 5000, b"{", b'"""', b"9" * 5000, b"\\ud800", b"\r"])
    )
    is_told_well(tmp_path_factory.mktemp("settings"), good[:at] + other + good[at + len(other) :])
