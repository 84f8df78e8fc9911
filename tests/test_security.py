"""A project that means harm: nothing of it is run, and nothing outside of the paths that were given is written."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from memlint.config import KEYS
from tests import test_cli, test_diff_base
from tests.support import ROOT
from tests.test_cli import LEAKY, Result, Run, Write
from tests.test_diff_base import Git
from tests.test_notebooks import text as notebook

run, write, git = test_cli.run, test_cli.write, test_diff_base.git

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the traps here are for POSIX")

FIX = ("fix", "--unsafe-fixes", "--select", "all")
OURS = ("libcst", "memlint", "msgspec", "pathspec", "yaml", "rich", "tomli", "torch", "mlx", "numpy", "memlint_rules")
HOOKS = ("conftest", "sitecustomize", "usercustomize", "setup", "noxfile", "evil")


@dataclass(frozen=True)
class Audited:
    """What a run did. events: kind, and what it was about."""

    status: int
    said: str
    events: list[tuple[str, list[str]]]

    def of(self, *kinds: str) -> list[list[str]]:
        return [about for kind, about in self.events if kind in kinds]


def audited(*argvs: Iterable[str], files: Iterable[dict[str, bytes]] = ()) -> list[Audited]:
    """Run memlint with each of these command lines, in one process. files: what is written before each."""
    runs: list[dict[str, Any]] = [{"argv": [*argv, *_one(argv)]} for argv in argvs]
    for row, given in zip(runs, files, strict=False):
        row["files"] = {name: base64.b64encode(data).decode() for name, data in given.items()}
    log = Path("..", "log.txt").absolute()
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)}
    environment.pop("MEMLINT_CACHE_DIR", None)
    # The current folder is put out of the way of `-c`, as it is for the `memlint` command.
    code = (
        f"import os, sys; sys.path[:1] = []; here = os.getcwd(); sys.argv = ['audited', {str(log)!r}]\n"
        "import runpy; runpy.run_module('tests.support.audited', run_name='__main__')"
    )
    os.makedirs("../empty", exist_ok=True)
    command = [sys.executable, "-c", f"import os; os.chdir({os.getcwd()!r}); {code}"]
    done = subprocess.run(
        command, input=json.dumps(runs), cwd="../empty", env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [Audited(row["status"], row["said"], [(kind, about) for kind, about in row["events"]]) for row in rows]


def _one(argv: Iterable[str]) -> list[str]:
    """One process: others have their own test."""
    return ["-j", "1"] if next(iter(argv)) in ("check", "fix") else []


def is_harmless(found: Audited, *, starts: Iterable[str] = ()) -> None:
    """Nothing of the current folder was run, nothing was started but what is named, nothing changed outside."""
    here = os.path.join(os.getcwd(), "")
    assert "Traceback" not in found.said, found.said
    for [file] in found.of("run"):
        assert not os.path.abspath(file).startswith(here) or file.startswith("<"), f"{file} was run"
        assert not file.startswith("<") or file in ("<string>", "<frozen zipimport>"), f"{file} was run"
    assert found.of("pickle.find_class", "ctypes.dlopen", "socket.connect") == []
    for words in found.of("start"):
        assert words[0].endswith("/git"), words
        assert set(starts) & set(words), words
    for paths in found.of("change"):
        for path in paths:
            inside = path.startswith(here) and f"{os.sep}.git{os.sep}" not in path
            assert inside or path == os.devnull, f"{path} was changed"


@pytest.fixture
def trap(tmp_path: Path) -> str:
    """A program that leaves a mark when it is run; the mark is looked for in the end."""
    return f"import os\n\nopen({str(tmp_path.parent / (tmp_path.name + '.mark'))!r}, 'a').write(__name__)\n\n\n"


@pytest.fixture
def untouched(tmp_path: Path) -> Path:
    """What a trap leaves when it is run."""
    return tmp_path.parent / f"{tmp_path.name}.mark"


def set_traps(write: Write, trap: str) -> None:
    for name in sorted({*sys.stdlib_module_names, *OURS, *HOOKS}):
        write(f"{name}.py", trap)
    for name in ("memlint", "memlint/rules", "memlint/fixers", "multiprocessing", "libcst", "rules", "fixers"):
        write(f"{name}/__init__.py", trap)
    write("a.pth", f"import os; {trap.splitlines()[2]}", ".pdbrc", "!" + trap.splitlines()[2])
    write("main.py", trap + LEAKY, "a.ipynb", notebook("%run evil.py", "!python evil.py", LEAKY))


# -- nothing is run ----------------------------------------------------------------------------------------------------


def test_check_and_fix_run_nothing_of_the_project(write: Write, trap: str, untouched: Path) -> None:
    set_traps(write, trap)
    shown = ("--output-format", "full")
    runs = audited(("check", *shown), ("check", *shown), FIX, FIX, ("check", "--strict", "--statistics"))
    for found in runs:
        is_harmless(found)
    assert "main.py" in runs[0].said
    assert runs[0].said == runs[1].said
    assert "append_bounded(" in Path("main.py").read_text(encoding="utf-8")
    assert any(path.endswith("main.py") for [*_, path] in runs[2].of("change"))
    # A check changes nothing but its cache.
    cache = os.path.join(os.getcwd(), ".memlint_cache", "")
    changed = [path for number in (0, 1, 4) for paths in runs[number].of("change") for path in paths]
    assert all(path == cache[:-1] or path.startswith(cache) for path in changed)
    assert not untouched.exists()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_run_nothing_of_the_project(write: Write, trap: str, untouched: Path, method: str) -> None:
    if method == "fork" and sys.platform != "linux":
        pytest.skip("not used here")
    set_traps(write, trap)
    code = (
        f"import sys; sys.path[0] = {str(ROOT)!r}\n"
        f"from memlint import workers; workers._METHOD, workers.WORTH = {method!r}, 1\n"
        "from memlint.cli import main; sys.exit(main())"
    )
    Path("../start.py").write_text(f"if __name__ == '__main__':\n    exec({code!r})\n", encoding="utf-8")
    command = [sys.executable, "../start.py", "check", "-j", "2", "main.py", "evil.py", "setup.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.endswith("Found 1 problem (1 proved) in 1 of 3 files.\n"), done.stderr
    assert not untouched.exists()


def test_python_m_memlint_leaves_the_current_folder_out(write: Write, trap: str, untouched: Path) -> None:
    for name in ("argparse", "libcst", "msgspec", "ast", "difflib", "yaml"):
        write(f"{name}.py", trap)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "memlint", "check", "--no-cache"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == "No problems found in 6 files.\n"
    assert not untouched.exists()


def test_settings_can_name_no_code(write: Write, trap: str, untouched: Path) -> None:
    set_traps(write, trap)
    names = ["evil", "evil:run", "evil.py", "./evil.py", "os.system", "!!python/name:os.system", "{__import__('evil')}"]
    texts = [
        f"{key} = {json.dumps(value)}" for key in KEYS for value in (*names, names, {name: name for name in names})
    ]
    texts += [f'{key} = ["evil"]' for key in ("plugins", "extend", "rules-path", "entry-points", "import", "load")]
    settings = [{"memlint.toml": f"[tool.memlint]\n{text}\n".replace(": ", " = ").encode()} for text in texts]
    argv = ("check", "main.py", "--config", "memlint.toml")
    for found, text in zip(audited(*[argv] * len(texts), files=settings), texts, strict=True):
        is_harmless(found)
        assert found.status in (0, 1, 2), text
    assert not untouched.exists()


PICKLE = b"cposix\nsystem\n(S'touch ../%b'\ntR."
YAML = b"!!python/object/apply:os.system ['touch ../%b']\n"


def test_files_of_memlints_own_are_data(write: Write, trap: str, untouched: Path, tmp_path: Path) -> None:
    write("main.py", LEAKY)
    audited(("check", "--write-baseline", "known.json"))
    entries = sorted(Path(".memlint_cache").glob("??/*"))
    assert entries
    mark = untouched.name.encode()
    good = Path("known.json").read_bytes()
    whole = entries[0].read_bytes()
    nasty = [PICKLE % mark, YAML % mark, trap.encode(), b"", b"\x80\x05.", b"[" * 100_000, b"{" + good]
    nasty += [good[:number] + (PICKLE % mark) + good[number:] for number in range(0, len(good), 40)]
    nasty += [whole[:number] + (PICKLE % mark) for number in range(0, len(whole), 20)]
    runs = []
    files: list[dict[str, bytes]] = []
    for data in nasty:
        files.append({entry.as_posix(): data for entry in entries})
        files.append({"known.json": data})
        files.append({".pre-commit-config.yaml": b"repos: " + data})
        runs += [("check",), ("check", "--baseline", "known.json"), ("init", "--write")]
    for found in audited(*runs, files=files):
        is_harmless(found)
        assert found.status in (0, 1, 2)
    assert not untouched.exists()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize(
    ("argv", "asked"),
    [
        (("check",), ()),
        (FIX, ("ls-files",)),
        (("check", "--diff-base", "HEAD"), ("rev-parse", "merge-base", "config", "ls-files", "diff")),
    ],
)
def test_a_repository_names_no_program(
    write: Write, git: Git, untouched: Path, argv: tuple[str, ...], asked: tuple[str, ...]
) -> None:
    write("main.py", LEAKY, "b.py", LEAKY, ".gitattributes", "*.py filter=a=b diff=odd merge=odd\n")
    git("add", ".")
    git("commit", "--quiet", "--message=x")
    write("b.py", LEAKY + "# mine\n")
    command = f"touch {untouched};"
    write("program", f"#!/bin/sh\n{command}\n", ".git/hooks/post-index-change", f"#!/bin/sh\n{command}\n")
    os.chmod("program", 0o755)
    os.chmod(".git/hooks/post-index-change", 0o755)
    for key, value in {
        "core.fsmonitor": command,
        "core.pager": command,
        "core.editor": command,
        "core.sshCommand": command,
        "core.askPass": command,
        "core.hooksPath": ".git/hooks",
        "diff.external": command,
        "diff.odd.command": command,
        "diff.odd.textconv": command,
        "filter.a=b.clean": command + "cat",
        "filter.a=b.smudge": command + "cat",
        "filter.a=b.process": command,
        "filter.a=b.required": "true",
        "alias.ls-files": f"!{command}",
        "gpg.program": command,
        "credential.helper": f"!{command}",
    }.items():
        git("config", key, value)
    untouched.unlink(missing_ok=True)
    names = ("main.py",) if argv is FIX else ()
    [found] = audited((*argv, *names))
    is_harmless(found, starts=asked)
    assert {word for words in found.of("start") for word in words} >= set(asked)
    assert found.status == (0 if argv is FIX or "--diff-base" in argv else 1), found.said
    assert not untouched.exists()
    if argv is FIX:
        [found] = audited((*argv, "b.py"))
        assert "neither committed nor staged" in found.said
        assert not untouched.exists()


def test_a_program_in_the_project_is_not_taken_for_git(
    run: Run, write: Write, git: Git, untouched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.py", LEAKY, "git", f"#!/bin/sh\ntouch {untouched}\n", "bin/git", f"#!/bin/sh\ntouch {untouched}\n")
    os.chmod("git", 0o755)
    os.chmod("bin/git", 0o755)
    monkeypatch.setenv("PATH", os.pathsep.join(["", ".", "bin", os.environ["PATH"]]))
    assert run(*FIX).status == 2
    assert not untouched.exists()


# -- nothing is written elsewhere --------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of somebody else's that a repair would change."""
    file = tmp_path_factory.mktemp("outside") / "victim.py"
    file.write_text(LEAKY, encoding="utf-8")
    return file


def test_links_lead_nowhere(run: Run, write: Write, outside: Path) -> None:
    write("src/a.py", "x = 1\n", "lib/b.py", LEAKY)
    os.symlink(outside, "src/link.py")
    os.symlink(outside.parent, "src/folder")
    os.symlink("../lib/b.py", "src/inner.py")
    said = "not repaired: it is a link to {}, which lies outside of the paths that were given\n"
    inner = f"memlint: error: src/inner.py: {said.format('lib/b.py')}"
    link = f"memlint: error: src/link.py: {said.format(outside.as_posix())}"
    for argv in ((*FIX, "src", "-q"), (*FIX, "src", "-q", "--verify", "true")):
        result = run(*argv)
        assert result.status == 1
        assert result.err == inner + link
    assert run(*FIX, "src/link.py", "-q").err == link
    assert outside.read_text(encoding="utf-8") == Path("lib/b.py").read_text(encoding="utf-8") == LEAKY
    # What is given itself, or lies below what is given, may be written, by whatever name.
    assert run(*FIX, "src/inner.py").status == 0
    assert Path("lib/b.py").read_text(encoding="utf-8") != LEAKY
    assert run(*FIX, "src", str(outside)).status == 0
    assert outside.read_text(encoding="utf-8") != LEAKY


def test_a_second_name_of_a_file_outside_is_cut_off(run: Run, write: Write, outside: Path) -> None:
    try:
        os.link(outside, "a.py")
    except OSError:
        pytest.skip("another file system")
    assert run(*FIX).status == 0
    assert Path("a.py").read_text(encoding="utf-8") != LEAKY
    assert outside.read_text(encoding="utf-8") == LEAKY


@pytest.mark.parametrize("path", ["../helpers.py", "{outside}/helpers.py", "link/helpers.py", "link.py", "a\\u0000.py"])
def test_settings_put_the_runtime_nowhere_else(run: Run, write: Write, outside: Path, path: str) -> None:
    outside.write_text('"""Helpers that code repaired by memlint calls', encoding="utf-8")
    os.symlink(outside.parent, "link")
    os.symlink(outside, "link.py")
    value = path.format(outside=outside.parent.as_posix())
    write("a.py", LEAKY, "pyproject.toml", f'[tool.memlint]\nruntime = "vendor:{value}"\n')
    result = run(*FIX)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith('memlint: error: pyproject.toml: [tool.memlint] "runtime" leads out of the project: ')
    assert os.listdir(outside.parent) == ["victim.py"]
    assert len(outside.read_text(encoding="utf-8")) < 100
    assert not Path("../helpers.py").exists()


def test_the_runtime_may_lie_anywhere_in_the_repository(run: Run, write: Write) -> None:
    write("pkg/a.py", LEAKY, "pkg/pyproject.toml", '[tool.memlint]\nruntime = "vendor:../helpers.py"\n')
    assert run(*FIX, "pkg").status == 0
    assert Path("helpers.py").is_file()


def test_folders_of_memlints_own_lead_nowhere(run: Run, write: Write, outside: Path) -> None:
    write("a.py", LEAKY, "b.py", LEAKY)
    assert run("check").status == 1
    os.symlink(outside.parent, ".memlint_cache/--")
    os.symlink(outside.parent, ".memlint_cache/undo")
    assert run(*FIX, "a.py").status == 0
    result = run(*FIX, "b.py", "--verify", "true", "-q")
    assert result == Result(
        2, "", "memlint: error: --verify: no copies of the files can be kept in .memlint_cache/undo: File exists\n"
    )
    shutil.rmtree(".memlint_cache")
    os.symlink(outside.parent, ".memlint_cache")
    assert run(*FIX, "b.py", "--verify", "true").status == 2
    assert run(*FIX, "b.py").status == 0
    assert os.listdir(outside.parent) == ["victim.py"]


def test_the_time_of_a_foreign_file_is_left_alone(run: Run, write: Write, outside: Path) -> None:
    write("a.py", LEAKY)
    assert run("check").status == 1
    os.utime(outside, (1, 1))
    for entry in Path(".memlint_cache").glob("??/*"):
        entry.unlink()
        entry.symlink_to(outside)
    assert run("check").status == 1
    assert os.stat(outside).st_mtime == 1
