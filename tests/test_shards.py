"""Shards: put together they give what one check of everything finds, and nothing else is taken for one."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memlint import cli, shards
from memlint.config import ConfigError
from tests.test_cache import LOOP, TRAINER

Run = tuple[int, str]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("trainer.py").write_text(TRAINER, encoding="utf-8")
    Path("loop.py").write_text(LOOP, encoding="utf-8")
    Path("broken.py").write_text("def", encoding="utf-8")
    Path("empty.py").write_text("", encoding="utf-8")
    for number in range(4):
        Path(f"part{number}.py").write_text(TRAINER.replace("trainer", "other") * number, encoding="utf-8")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = cli.main(list(argv))
    out, err = capsys.readouterr()
    return status, out, err


def gathered(count: int, *more: str) -> list[str]:
    names = [f"{number}.shard" for number in range(1, count + 1)]
    for number, name in enumerate(names, 1):
        assert cli.main(["check", "-q", "-j1", "--shard", f"{number}/{count}", "--output-file", name, *more]) == 0
    return names


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 12), left_out=st.sets(st.sampled_from(["loop.py", "part1.py", "broken.py", "empty.py"])))
def test_all_shards_together_find_what_one_check_finds(
    project: Path, capsys: pytest.CaptureFixture[str], count: int, left_out: set[str]
) -> None:
    options = ["--select", "all", "--exclude", ",".join(["nothing.py", *sorted(left_out)])]
    whole = run(capsys, "check", "--no-cache", "-j1", *options)
    assert ("trainer.py" in whole[1]) == ("loop.py" not in left_out)
    assert run(capsys, "merge", "-j1", *gathered(count, *options)) == whole


def test_every_file_is_in_one_shard_and_is_asked_only_there(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = gathered(3, "--no-cache")
    assert not Path(".memlint_cache").exists()
    keys = [key for shard in shards.read(names) for key in shard.entries]
    assert len(keys) == len(set(keys)) == 7  # one file does not parse
    Path("broken.py").unlink()
    whole = run(capsys, "check", "--no-cache", "-j1")
    monkeypatch.setattr("memlint.workers.answer", None)  # whoever asks a file now fails
    assert run(capsys, "merge", *names) == whole


def test_a_file_that_has_changed_since_is_judged_as_it_is(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = gathered(2)
    Path("trainer.py").write_text("x = 1\n", encoding="utf-8")
    assert run(capsys, "merge", "-j1", *names) == run(capsys, "check", "--no-cache", "-j1")


def test_a_merge_takes_the_options_of_reports(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in gathered(2):
        Path(name).unlink()
    names = gathered(2)  # though nothing has changed, they are written anew
    assert run(capsys, "merge", "--output-format", "json", "--exit-zero", *names) == run(
        capsys, "check", "--output-format", "json", "--exit-zero"
    )


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["1.shard"], "shard 2 of 2 is missing"),
        (["1.shard", "2.shard", "copy.shard"], "copy.shard: shard 2 of 2, like 2.shard"),
        (["1.shard", "2.shard", "other.shard"], "other.shard: not of the same check as 1.shard"),
        (["1.shard", "old.shard"], "old.shard: written by another memlint, or another version of Python or a library"),
        (["1.shard", "none.shard"], "none.shard: can't be read: No such file or directory"),
        (["1.shard", "loop.py"], "loop.py: damaged, or no shard of memlint"),
        (["1.shard", "outside.shard"], "outside.shard: damaged, or no shard of memlint"),
    ],
)
def test_what_is_no_set_of_shards_is_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], names: list[str], said: str
) -> None:
    first, second = shards.read(gathered(2))
    shards.write("copy.shard", second)
    shards.write(
        "other.shard", msgspec.structs.replace(second, options=msgspec.structs.replace(first.options, isolated=True))
    )
    shards.write("old.shard", msgspec.structs.replace(second, versions="older"))
    shards.write("outside.shard", msgspec.structs.replace(second, entries={"../../x": b""}))
    assert run(capsys, "merge", *names) == (2, "", f"memlint: error: {said}\n")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_byte_anywhere_is_noticed(project: Path, data: st.DataObject) -> None:
    (name,) = gathered(1) if not Path("1.shard").exists() else ["1.shard"]
    whole = bytearray(Path(name).read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    Path("flipped.shard").write_bytes(whole)
    with pytest.raises(ConfigError, match=re.escape("flipped.shard: damaged, or no shard of memlint")):
        shards.read(["flipped.shard"])


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "1/2/3"])
def test_a_share_that_makes_no_sense(project: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    status, _, said = run(capsys, "check", "--shard", text)
    assert (status, said.endswith(f"argument --shard: invalid share, such as 2/8 value: '{text}'\n")) == (2, True)


def test_options_of_reports_are_for_the_merge(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, said = run(capsys, "check", "--shard", "1/2", "--output-format", "json")
    assert (status, said) == (
        2, "memlint: error: --output-format is for `memlint merge`: --shard only gathers what it needs\n"
    )  # fmt: skip
