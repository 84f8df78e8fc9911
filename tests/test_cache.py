"""The cache: a warm run says what a cold one says, whatever happens to the files of the project or of the cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memlint import cache as caching
from memlint import codec, engine, proposals, registry, workers
from memlint.cache import Cache, default_folder
from memlint.config import Selection, Settings, check_limit
from memlint.engine import Report, propose
from memlint.proposals import FileResult
from memlint.rule import Place, Proposal
from memlint.source import Source
from tests.support import FIXTURES, ROOT
from tests.support.case import LIMITS

EVERYTHING = Settings(select=("all",), limits=tuple(check_limit(name, text, "here") for name, text in LIMITS.items()))

TRAINER = """\
import torch


class Trainer:
    def __init__(self):
        self.log = []

    def put(self, x):
        self.log.append(torch.relu(x))
"""
LOOP = """\
from trainer import Trainer


def train(trainer: Trainer, batches):
    for i in range(len(batches)):
        trainer.put(batches[i])
"""


def check(cache: Cache | None, overlay: dict[str, bytes] | None = None, **settings: Any) -> Report:
    """Check all files of the current folder."""
    paths = sorted(path.as_posix() for path in Path().rglob("*.py"))
    return engine.check([(path, Settings(**settings)) for path in paths], cache=cache, overlay=overlay)


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("??/*") if path.is_file())


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("trainer.py").write_text(TRAINER, encoding="utf-8")
    Path("loop.py").write_text(LOOP, encoding="utf-8")
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are really asked."""
    paths: list[str] = []
    answer = proposals.answer

    def noted(path: str, *rest: Any) -> Any:
        paths.append(path)
        return answer(path, *rest)

    monkeypatch.setattr(workers, "answer", noted)
    return paths


# -- bytes and back ----------------------------------------------------------------------------------------------------


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, and of equal types throughout: 1 is not 1.0 nor True."""
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, tuple):
        return all(map(same, one, other))
    if isinstance(one, msgspec.Struct):
        return all(same(getattr(one, name), getattr(other, name)) for name in one.__struct_fields__)
    return True


@pytest.mark.parametrize("folder", [pytest.param(path, id=path.name) for path in sorted(FIXTURES.iterdir())])
def test_what_rules_say_survives_the_format(folder: Path) -> None:
    rules = list(registry.rules().values())
    said = 0
    for file in sorted(folder.rglob("*.py")):
        result = propose(Source(file.name, file.read_bytes()), rules, frozenset(), EVERYTHING.limits)
        said += len(result.proposals)
        assert same(codec.decode(codec.encode(result)), result)
    assert said


def test_every_condition_and_fact_can_be_read_back() -> None:
    for cls in codec.classes().values():
        codec._decoder(cls)  # raises where a field's type means nothing to the format


def test_a_skipped_file_is_a_result_too() -> None:
    assert codec.decode(codec.encode(None)) is None


class Foreign:
    """Neither a fact nor a condition."""


@pytest.mark.parametrize("fact", [Foreign(), object, "text", b"bytes"])
def test_what_the_format_does_not_know_is_refused(fact: object) -> None:
    result = propose(Source("trainer.py", TRAINER.encode()), list(registry.rules().values()), frozenset())
    place = Place("trainer.py", 1, 1, 1, 2)
    broken = FileResult(result.summary, (Proposal("", place, fact),))
    with pytest.raises(codec.Unfit):
        codec.encode(broken)


@settings(max_examples=300)
@given(st.data())
def test_damaged_bytes_are_refused_or_still_of_the_right_types(data: st.DataObject) -> None:
    good = codec.encode(propose(Source("t.py", TRAINER.encode()), list(registry.rules().values()), frozenset()))
    at = data.draw(st.integers(0, len(good) - 1))
    broken = good[:at] + data.draw(st.binary(max_size=4)) + good[at + data.draw(st.integers(0, 4)) :]
    try:
        result = codec.decode(broken)
    except codec.Unfit:
        return
    assert result is None or type(result) is FileResult


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_quietly(data: bytes) -> None:
    for read in (codec.decode, codec.decode_places):
        try:
            read(data)
        except codec.Unfit:
            continue


# -- warm and cold -----------------------------------------------------------------------------------------------------


def test_a_warm_run_asks_no_file_and_finds_the_same(project: Path, asked: list[str]) -> None:
    cold = check(Cache("cache"))
    assert len(asked) == 2
    assert [finding.place.path for finding in cold.findings] == ["trainer.py"]
    assert [evidence.place.path for evidence in cold.findings[0].evidence][-1] == "loop.py"
    assert check(Cache("cache")) == cold
    assert len(asked) == 2


def test_a_warm_run_parses_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cold = check(Cache("cache"))

    def parse(*_: object) -> None:
        raise AssertionError("a file is parsed")

    monkeypatch.setattr("libcst.parse_module", parse)
    assert check(Cache("cache")) == cold


def test_only_a_changed_file_is_asked_again(project: Path, asked: list[str]) -> None:
    check(Cache("cache"))
    asked.clear()
    Path("loop.py").write_text(LOOP.replace("for i in range(len(batches)):", "if i := 0:"), encoding="utf-8")
    assert check(Cache("cache")) == check(None)
    assert asked == ["loop.py", "loop.py", "trainer.py"]


def test_rules_and_limits_have_entries_of_their_own(project: Path, asked: list[str]) -> None:
    check(Cache("cache"))
    for changed in (
        {"select": ("all",)},
        {"command_line": Selection(ignore=("bound-history",))},
        {"limits": EVERYTHING.limits},
        {"per_file_ignores": ((str(project), "*.py", ("all",)),)},
    ):
        asked.clear()
        check(Cache("cache"), **changed)
        assert asked == ["loop.py", "trainer.py"]
        check(Cache("cache"), **changed)
        assert asked == ["loop.py", "trainer.py"]


def test_a_module_that_becomes_part_of_a_package_is_asked_again(project: Path, asked: list[str]) -> None:
    Path("pkg").mkdir()
    Path("pkg/part.py").write_text(TRAINER, encoding="utf-8")
    check(Cache("cache"))
    asked.clear()
    Path("pkg/__init__.py").touch()
    check(Cache("cache"))
    assert asked == ["pkg/__init__.py", "pkg/part.py"]


def test_another_version_of_memlint_reads_nothing(
    project: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check(Cache("cache"))
    monkeypatch.setattr(caching, "versions", lambda: "another")
    check(Cache("cache"))
    assert len(asked) == 4


def test_the_version_is_also_that_of_the_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "facts" / "deep").mkdir(parents=True)
    monkeypatch.setattr(caching, "__file__", str(tmp_path / "cache.py"))
    seen = set()
    for name in ("rules/a_rule.py", "facts/deep/a_fact.py"):
        for text in ("a = 1\n", "a = 2\n"):
            (tmp_path / name).write_text(text, encoding="utf-8")
            seen.add(caching.versions.__wrapped__())
    assert len(seen) == 4


def test_skipped_and_unreadable_files_stay_so(project: Path) -> None:
    Path("skipped.py").write_text("# memlint: skip-file\n" + TRAINER, encoding="utf-8")
    Path("broken.py").write_text("def", encoding="utf-8")
    Path("nul.py").write_bytes(b"\0")
    cold = check(Cache("cache"))
    assert cold.checked == 3
    assert {error.path for error in cold.errors} == {"broken.py", "nul.py"}
    assert check(Cache("cache")) == cold


def test_suppressions_are_judged_on_a_warm_run(project: Path) -> None:
    Path("trainer.py").write_text(TRAINER.replace("relu(x))", "relu(x))  # memlint: ignore"), encoding="utf-8")
    Path("idle.py").write_text("x = 1  # memlint: ignore\n", encoding="utf-8")
    cold = check(Cache("cache"))
    assert [finding.place.path for finding in cold.findings] == ["idle.py"]
    assert check(Cache("cache")) == cold


def test_what_is_not_on_the_disk_is_not_stored(project: Path) -> None:
    overlay = dict.fromkeys(("trainer.py", "loop.py"), b"x = 1\n")
    assert check(Cache("cache"), overlay).findings == []
    assert not Path("cache").exists()
    check(Cache("cache"))
    count = len(entries(Path("cache")))
    assert check(Cache("cache"), overlay).findings == []
    assert len(entries(Path("cache"))) == count


# What an edit does to a line: nothing that a person would not do to a program.
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["trainer.py", "loop.py", "extra.py"]),
        st.sampled_from(["drop", "twice", "swap", "mend"]),
        st.integers(0, 11),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EDITS, min_size=1, max_size=4))
def test_after_any_edits_a_warm_run_finds_what_a_cold_one_finds(project: Path, runs: list[Any]) -> None:
    texts = {"trainer.py": TRAINER, "loop.py": LOOP, "extra.py": "from loop import train\n\ntrain(None, [])\n"}
    for name, text in texts.items():
        Path(name).write_text(text, encoding="utf-8")
    for edits in runs:
        for name, what, at in edits:
            lines = Path(name).read_text(encoding="utf-8").splitlines(keepends=True)
            at = min(at, len(lines) - 1)
            if what == "mend" or not lines:
                lines = [texts[name]]
            elif what == "swap":
                lines[at - 1], lines[at] = lines[at], lines[at - 1]
            else:
                lines[at : at + 1] = [] if what == "drop" else [lines[at]] * 2
            Path(name).write_text("".join(lines), encoding="utf-8")
        assert check(Cache("cache"), select=("all",)) == check(None, select=("all",))


# -- what may happen to the folder -------------------------------------------------------------------------------------


def test_git_and_backups_pass_the_folder_by(project: Path) -> None:
    check(Cache("cache"))
    assert Path("cache/.gitignore").read_text(encoding="utf-8").endswith("\n*\n")
    assert (
        Path("cache/CACHEDIR.TAG").read_text(encoding="utf-8").startswith("Signature: 8a477f597d28d172789f06886806bc55")
    )


def test_a_flipped_byte_anywhere_is_noticed(project: Path, asked: list[str]) -> None:
    cold = check(Cache("cache"))
    for entry in entries(Path("cache")):
        whole = entry.read_bytes()
        for at in range(0, len(whole), max(1, len(whole) // 25)):
            entry.write_bytes(whole[:at] + bytes([whole[at] ^ 0x11]) + whole[at + 1 :])
            key = entry.parent.name + entry.name
            assert Cache("cache").get(key) is None
        assert check(Cache("cache")) == cold
        assert entry.read_bytes() == whole, "written anew"


def test_an_entry_under_another_name_is_noticed(project: Path) -> None:
    check(Cache("cache"))
    one, other, *_ = entries(Path("cache"))
    other.write_bytes(one.read_bytes())
    assert Cache("cache").get(other.parent.name + other.name) is None


@pytest.mark.parametrize("content", [b"", b"x", b"memlint cache 1\n", b"\x80\x04\x95", bytes(5000)])
def test_foreign_files_do_no_harm(project: Path, content: bytes) -> None:
    cold = check(Cache("cache"))
    for entry in entries(Path("cache")):
        entry.write_bytes(content)
    assert check(Cache("cache")) == cold
    for entry in entries(Path("cache")):
        entry.unlink()
        entry.mkdir()
    Path("cache/ab").mkdir(exist_ok=True)
    Path("cache/ab/notes.txt").write_bytes(content)
    Path("cache/README").write_bytes(content)
    assert check(Cache("cache")) == cold


def test_a_well_sealed_entry_of_nonsense_is_asked_again(project: Path, asked: list[str]) -> None:
    cold = check(Cache("cache"))
    for entry in entries(Path("cache")):
        Cache("cache").put(entry.parent.name + entry.name, b"\x93\x01\x02\x03")
    asked.clear()
    assert check(Cache("cache")) == cold
    assert asked == ["loop.py", "trainer.py"]


def test_an_entry_that_speaks_of_another_file_is_asked_again(project: Path, asked: list[str]) -> None:
    cold = check(Cache("cache"))
    cache, found = Cache("cache"), {}
    for entry in entries(Path("cache")):
        key = entry.parent.name + entry.name
        found[key] = cache.get(key) or b""
    for key, content in zip(found, [*list(found.values())[1:], next(iter(found.values()))], strict=True):
        cache.put(key, content)
    asked.clear()
    assert check(Cache("cache")) == cold
    assert asked == ["loop.py", "trainer.py"]


def test_without_a_place_for_the_cache_all_is_checked_with_a_warning(project: Path) -> None:
    Path("cache").write_text("in the way", encoding="utf-8")
    cache = Cache("cache")
    assert check(cache) == check(None)
    assert cache.problem is not None
    done = memlint("check", "--cache-dir", "cache", "--exit-zero")
    assert done.returncode == 0
    assert done.stderr.splitlines()[0].startswith("memlint: warning: nothing is cached: cache: ")
    assert memlint("check", "--cache-dir", "cache", "--quiet", "--exit-zero").stderr == ""


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
def test_nothing_is_written_through_a_link(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    Path("cache").symlink_to(outside)
    assert check(Cache("cache")) == check(None)
    assert list(outside.iterdir()) == []
    Path("cache").unlink()
    check(Cache("cache"))
    for shard in Path("cache").glob("??"):
        for entry in shard.iterdir():
            entry.unlink()
        shard.rmdir()
        shard.symlink_to(outside)
    assert check(Cache("cache")) == check(None)
    assert list(outside.iterdir()) == []


def test_the_folder_stays_below_its_limit(project: Path) -> None:
    cache = Cache("cache", limit=4000)
    cache.prepare()
    for number in range(20):
        cache.put(f"{number:040x}", os.urandom(500))
        os.utime(cache._path(f"{number:040x}"), (number, number))
    assert cache.get(f"{3:040x}") is not None  # used now, so it stays
    cache.trim()
    assert sum(entry.stat().st_size for entry in entries(Path("cache"))) <= 4000
    kept = {number for number in range(20) if cache.get(f"{number:040x}") is not None}
    assert kept == {3, *range(20 - len(kept) + 1, 20)}


def test_what_killed_runs_leave_behind_counts_as_well(project: Path) -> None:
    cache = Cache("cache", limit=4000)
    cache.prepare()
    cache.put("0" * 40, b"")
    left = Path("cache/00/x.tmp")
    left.write_bytes(bytes(5000))
    os.utime(left, (1, 1))
    cache.trim()
    assert not left.exists()
    assert cache.get("0" * 40) == b""


# -- the commands ------------------------------------------------------------------------------------------------------


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("MEMLINT_CACHE_DIR", None)
    return subprocess.Popen(
        [sys.executable, "-m", "memlint", *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip


def memlint(*arguments: str) -> subprocess.CompletedProcess[str]:
    process = start(*arguments)
    out, err = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def test_two_runs_at_once_share_a_folder(project: Path) -> None:
    for number in range(12):
        Path(f"more{number}.py").write_text(TRAINER.replace("Trainer", f"Trainer{number}"), encoding="utf-8")
    expected = memlint("check", "--no-cache", "--output-format", "json").stdout
    assert len(json.loads(expected)) == 1
    both = [start("check", "--output-format", "json") for _ in range(2)]
    assert [process.communicate()[0] for process in both] == [expected] * 2
    assert [process.returncode for process in both] == [0, 0]
    assert memlint("check", "--output-format", "json").stdout == expected
    assert not list(Path(".memlint_cache").glob("*/*.tmp"))


def test_the_cache_lies_beside_the_settings_of_the_project(project: Path) -> None:
    assert default_folder(".") == project / ".memlint_cache"
    (project / "src" / "deep").mkdir(parents=True)
    (project / "pyproject.toml").touch()
    assert default_folder("src/deep") == project / ".memlint_cache"
    (project / "src" / ".git").touch()
    assert default_folder("src/deep") == project / "src" / ".memlint_cache"


def test_clean_removes_the_cache_and_nothing_else(project: Path) -> None:
    assert memlint("clean").stderr == "There is no cache at .memlint_cache.\n"
    memlint("check")
    assert entries(Path(".memlint_cache"))
    done = memlint("clean")
    assert (done.returncode, done.stderr) == (0, "Removed .memlint_cache.\n")
    assert sorted(os.listdir()) == ["loop.py", "trainer.py"]
    done = memlint("clean", "--cache-dir", ".")
    assert (done.returncode, done.stderr) == (2, "memlint: error: .: not a cache of memlint\n")
    assert sorted(os.listdir()) == ["loop.py", "trainer.py"]


def test_no_cache_leaves_no_trace(project: Path) -> None:
    memlint("check", "--no-cache")
    assert sorted(os.listdir()) == ["loop.py", "trainer.py"]


def test_fix_uses_the_cache_and_gets_it_right(project: Path) -> None:
    expected = memlint("fix", "--unsafe-fixes", "--diff", "--no-cache").stdout
    assert expected
    for _ in range(2):
        assert memlint("fix", "--unsafe-fixes", "--diff").stdout == expected
    assert memlint("fix", "--unsafe-fixes").returncode == 0
    assert memlint("check").stdout == memlint("check", "--no-cache").stdout == ""


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_a_number_of_processes_that_makes_no_sense(project: Path, number: str) -> None:
    done = memlint("check", f"--jobs={number}")
    assert done.returncode == 2
    assert f"invalid number of processes value: '{number}'" in done.stderr
