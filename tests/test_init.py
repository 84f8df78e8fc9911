"""`memlint init`: what it sees in a project, what it adds, and that every other byte of the user's files stays."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from memlint import config, disk, registry
from memlint.cli import additions, init, main, survey
from memlint.engine import FileError
from tests.support import ROOT
from tests.test_cli import LEAKY, Result

Run = Callable[..., Result]
Write = Callable[..., None]

HOOKS = ".pre-commit-config.yaml"
TRAINING = """\
import torch


def train(model, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write files, given as path and content in turn, below an empty repository that is the current folder."""
    for name, value in (("GIT_CONFIG_GLOBAL", os.devnull), ("GIT_CONFIG_NOSYSTEM", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)

    def write(*pairs: str | bytes) -> None:
        for path, content in zip(pairs[::2], pairs[1::2], strict=True):
            target = tmp_path / os.fsdecode(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


@pytest.fixture
def run(write: Write, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run memlint in this process."""

    def run(*argv: str) -> Result:
        status = main(argv)
        out, err = capfd.readouterr()
        return Result(status, out, err)

    return run


def read(path: str) -> bytes:
    return Path(path).read_bytes()


def layer(path: str = "pyproject.toml") -> config.Layer:
    found = config.read(path, str(Path(path).parent))
    assert found is not None
    return found


def value(key: str, path: str = "pyproject.toml") -> Any:
    return layer(path)[key,][0]


# -- what it shows and writes ------------------------------------------------------------------------------------------


def test_it_shows_a_patch_that_git_applies_and_writes_nothing(run: Run, write: Write) -> None:
    write("pyproject.toml", '[project]\nname = "x"', HOOKS, "repos:\n- repo: https://a\n  hooks: []", "a.py", LEAKY)
    old = {path: read(path) for path in ("pyproject.toml", HOOKS)}
    result = run("init")
    assert result.status == 0
    assert result.err == (
        f"Would write pyproject.toml, {HOOKS}. Apply the patch with `git apply`, or run this again with --write.\n"
    )
    assert {path: read(path) for path in old} == old
    subprocess.run(["git", "apply", "-"], input=result.out, text=True, check=True)
    applied = {path: read(path) for path in old}
    assert all(applied[path].startswith(old[path]) for path in old)
    subprocess.run(["git", "apply", "-R", "-"], input=result.out, text=True, check=True)
    assert {path: read(path) for path in old} == old
    assert run("init", "--write") == Result(0, "", f"Wrote pyproject.toml, {HOOKS}. Next: `memlint check`.\n")
    assert {path: read(path) for path in old} == applied
    assert run("check").status == 1


def test_files_that_are_not_there_are_made(run: Run, write: Write) -> None:
    write("a.py", LEAKY)
    patch = run("init").out
    assert patch.count("--- /dev/null\n") == 2
    subprocess.run(["git", "apply", "-"], input=patch, text=True, check=True)
    applied = (read("pyproject.toml"), read(HOOKS))
    subprocess.run(["git", "apply", "-R", "-"], input=patch, text=True, check=True)
    assert sorted(os.listdir()) == [".git", "a.py"]
    assert run("init", "--write", "-q") == Result(0, "", "")
    assert (read("pyproject.toml"), read(HOOKS)) == applied


def test_the_table_can_be_read_and_says_every_key_that_has_no_table_of_its_own(run: Run, write: Write) -> None:
    write("a.py", LEAKY)
    run("init", "--write")
    rest = {"select", "fixable", "per-file-ignores", "link", "baseline", "limits", "rules"}
    assert {key[0] for key in layer()} == set(config.KEYS) - rest
    before = run("config", "--isolated").out.splitlines()
    after = run("config").out.replace("# pyproject.toml", "# default").splitlines()
    assert set(before) <= set(after)


def test_outside_of_a_repository_there_is_no_hook(run: Run, write: Write) -> None:
    shutil.rmtree(".git")
    write("a.py", LEAKY)
    run("init", "--write")
    assert sorted(os.listdir()) == ["a.py", "pyproject.toml"]


def test_the_hook_can_be_left_out_or_taken_from_a_repository(run: Run, write: Write) -> None:
    write("a.py", LEAKY)
    assert HOOKS not in run("init", "--no-pre-commit").out
    assert "+- repo: https://example.org/m\n+  rev: v" in run("init", "--pre-commit-repo", "https://example.org/m").out
    error = "memlint: error: --pre-commit-repo can't be combined with --no-pre-commit\n"
    assert run("init", "--no-pre-commit", "--pre-commit-repo", "x") == Result(2, "", error)


def test_a_project_without_python_files_gets_a_warning(run: Run) -> None:
    result = run("init", "--write")
    assert result.status == 0
    assert result.err.startswith("memlint: warning: no Python files found in this project\nWrote pyproject.toml, ")
    assert b"It saw 0 Python files, none with torch or mlx." in read("pyproject.toml")


# -- what it sees ------------------------------------------------------------------------------------------------------


def test_what_the_project_is_made_of(run: Run, write: Write) -> None:
    write(
        "src/app/__init__.py", "", "src/app/model.py", "import torch\n", "src/app/old/m.py", "from torch import nn\n",
        "src/app/mac.py", "import mlx.core as mx\n", "train.py", "try:\n    import torch\nexcept ImportError: pass\n",
        "tools/run.py", "import lightning as L, os\n", "tests/test_a.py", "import torchish, my.torch\n",
        "third_party/net/n.py", "import torch\n", "sub/module/m.py", "import torch\n", "sub/module/.git", "gitdir: x",
        "pyproject.toml", '[project]\nrequires-python = ">=3.8,<4"\n',
    )  # fmt: skip
    run("init", "--write")
    text = read("pyproject.toml").decode()
    assert (
        "# Written by `memlint init`. Of 7 Python files it saw\n"
        "#   torch in 3 (src/app, .)\n#   mlx in 1 (src/app)\n#   lightning in 1 (tools)\n"
    ) in text
    assert value("exclude")[1] == ("sub/module/", "third_party/")
    assert 'such as "vendor:src/app/memory_helpers.py"' in text
    assert "this project says that it runs on 3.8 as well" in text


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ('[project]\nrequires-python = ">=3.9"', 9),
        ('[project]\nrequires-python = ">= 3.10"', None),
        ('[tool.poetry.dependencies]\npython = "^3.8"', 8),
        ('[tool.poetry.dependencies]\npython = "~3.12"', None),
        ('[tool.poetry.dependencies]\npython = {version = "3.8"}', None),
        ("[project]\nrequires-python = 3", None),
        ("project = 3\ntool = 4", None),
    ],
)
def test_the_oldest_python_of_a_project(write: Write, said: str, seen: int | None) -> None:
    write("pyproject.toml", said)
    assert survey.look(".").older_python == seen


@pytest.mark.parametrize(
    ("files", "helpers"),
    [
        (["src/app/__init__.py", "src/app/deep/__init__.py", "src/app/deep/a.py"], "src/app/memory_helpers.py"),
        (["scripts/a.py", "scripts/deep/b.py"], "scripts/memory_helpers.py"),
        (["a.py", "lib/b.py"], "memory_helpers.py"),
        (["pkg/__init__.py", "pkg/a.py", "bench/b.py"], "pkg/memory_helpers.py"),
        ([], None),
    ],
)
def test_where_a_copy_of_the_helpers_would_lie(write: Write, files: list[str], helpers: str | None) -> None:
    for file in files:
        write(file, "" if file.endswith("__init__.py") else "import torch\n")
    assert survey.look(".").helpers() == helpers


def test_the_nearest_settings_are_the_project_but_not_above_the_repository(run: Run, write: Write) -> None:
    write("inner/pyproject.toml", "", "inner/src/a.py", LEAKY, "b.py", LEAKY)
    os.chdir("inner/src")
    top = Path("../..").resolve()
    result = run("init")
    assert result.err.endswith(f"Apply the patch with `git apply` in {top}, or run this again with --write.\n")
    assert "--- a/inner/pyproject.toml\n" in result.out
    assert "Of 1 Python file it saw" in result.out
    subprocess.run(["git", "apply", "-"], input=result.out, text=True, check=True, cwd=top)
    assert value("strict", str(top / "inner" / "pyproject.toml")) is False
    assert (top / HOOKS).exists()
    assert run("init", str(top / "b.py"), "--write", "-q") == Result(0, "", "")
    assert (top / "pyproject.toml").exists()


def test_a_vendored_runtime_starts_from_the_folder_of_the_settings(run: Run, write: Write) -> None:
    write("lib/pyproject.toml", "", "lib/a.py", LEAKY)
    assert 'runtime = "vendor:mem.py"' in run("init", "lib", "--runtime", "vendor:lib/mem.py").out
    error = 'memlint: error: --runtime must be "import" or "vendor:PATH", not "copy"\n'
    assert run("init", "--runtime", "copy") == Result(2, "", error)


# -- pyproject.toml ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "old",
    [
        b"",
        b"# only a comment",
        b"[tool.ruff]\r\nline-length = 100\r\n",
        b"[[tool.mypy.overrides]]\nmodule = ['a']\n\n\n",
        "[project]\nname = 'é'  # ü\n\t\n".encode(),
        b"tool = {ruff = {line-length = 100}}\n",
    ],
)
def test_a_table_goes_below_all_that_is_there(run: Run, write: Write, old: bytes) -> None:
    write("pyproject.toml", old)
    result = run("init", "--write", "-q")
    if old.startswith(b"tool ="):
        error = "memlint: error: pyproject.toml: a table can't be added at its end; add [tool.memlint] by hand\n"
        assert (result, read("pyproject.toml")) == (Result(2, "", error), old)
        assert not Path(HOOKS).exists()
        return
    assert result.status == 0
    new = read("pyproject.toml")
    assert new.startswith(old)
    assert b"\n[tool.memlint]" in b"\n" + new
    assert new.count(b"\r\n") in (0, new.count(b"\n"))
    assert value("strict") is False


@pytest.mark.parametrize(
    ("old", "message"),
    [
        (b"[tool.memlint]\nstrict = true\n", "has a [tool.memlint] table already"),
        (b"[tool.memlint.rules.bound-history]\nlimit = 5\n", "has a [tool.memlint] table already"),
        (b"tool = {memlint = {}}\n", "has a [tool.memlint] table already"),
        (b"[project\n", "not valid TOML: "),
        (b"# \xff\n", "not UTF-8: invalid start byte at byte 2"),
    ],
)
def test_settings_that_it_leaves_alone(run: Run, write: Write, old: bytes, message: str) -> None:
    write("pyproject.toml", old)
    result = run("init", "--write")
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith(f"memlint: error: pyproject.toml: {message}")
    assert read("pyproject.toml") == old
    assert not Path(HOOKS).exists()


def test_other_commands_do_not_wait_for_yaml() -> None:
    code = "import sys; from memlint.cli import main; main(['check', '-q', '.']); assert 'yaml' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_a_folder_that_is_not_there(run: Run) -> None:
    assert run("init", "nope") == Result(2, "", "memlint: error: nope: no such file or directory\n")


def test_a_file_that_cannot_be_written(run: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, *data: bytes) -> FileError:
        return FileError(path, None, None, "not written: it is read-only")

    write("pyproject.toml", "")
    monkeypatch.setattr(disk, "replace", refuse)
    result = run("init", "--write")
    assert (result.status, read("pyproject.toml")) == (1, b"")
    assert "memlint: error: pyproject.toml: not written: it is read-only\nmemlint: warning: " in result.err
    assert result.err.endswith(f"Wrote {HOOKS}. Next: `memlint check`.\n")


# -- .pre-commit-config.yaml -------------------------------------------------------------------------------------------

LAYOUTS = [
    "repos:\n- repo: https://a\n  rev: v1\n  hooks:\n  - id: x\n",
    "repos:\n  - repo: https://a\n    rev: v1\n    hooks:\n      - id: x",
    "repos:\n-   repo: a\n    rev: v1\n    hooks:\n    -   id: x  # why\n        args: [a,\n          b]\n\n# end\n",
    "# head\nrepos:\n- repo: https://a\n  hooks: [{id: x}]\n  rev: v1\n\nfail_fast: true\n",
    "ci: {}\r\nrepos:\r\n- repo: a\r\n  hooks:\r\n  - id: x\r\n    exclude: |\r\n      a\r\n      b\r\n",
    "---\nrepos:\n- {repo: https://a, rev: v1, hooks: [{id: x}]}\n...\n",
    "repos:\n- repo: a\n  hooks:\n  - id: 'é'\n  rev: &rev v1\n- repo: b\n  hooks:\n  - id: y\n  rev: *rev\n",
    "\ufeffrepos:\n- repo: a\n  hooks:\n  - id: x\n    files: >-\n      a\n      b\n\n  # below\nfail_fast: true\n",
]


@pytest.mark.parametrize("repository", [None, "https://example.org/memlint"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_hook_goes_behind_the_last_one(layout: str, repository: str | None) -> None:
    added = additions.entry(repository)
    new = additions.with_hook(layout.encode(), HOOKS, added).decode()
    place = new.index("memlint")
    while not layout.startswith(new[:place]):
        place -= 1
    assert new.endswith(layout[place:])
    before, after = yaml.safe_load(layout), yaml.safe_load(new)
    assert after == {**before, "repos": [*before["repos"], added]}
    assert additions.has_hook(new.encode(), HOOKS)
    assert not additions.has_hook(layout.encode(), HOOKS)


@st.composite
def pre_commit_files(draw: st.DrawFn) -> str:
    """A pre-commit file in some layout, with comments and empty lines anywhere."""
    outer, inner = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    dash = "-".ljust(draw(st.integers(2, 4)))
    below = " " * (outer + len(dash))
    noise = st.sampled_from(["", "\n", "# c\n", "      # c\n", "\n# - repo: b\n\n"])
    rows = [draw(noise), "repos:  # c\n"]
    for _ in range(draw(st.integers(1, 3))):
        rows += [f"{' ' * outer}{dash}repo: https://a\n", draw(noise), f"{below}hooks:\n"]
        for _ in range(draw(st.integers(1, 2))):
            rows.append(f"{below}{' ' * inner}{dash}id: x{draw(st.sampled_from(['', '  # c']))}\n")
            deep = below + " " * (inner + len(dash))
            rows.append(draw(st.sampled_from(["", f"{deep}args: [a,\n{deep} b]\n", f"{deep}files: |\n{deep}  a\n\n"])))
            rows.append(draw(noise))
        rows.append(draw(st.sampled_from(["", f"{below}rev: v1\n"])))
    rows += [draw(noise), draw(st.sampled_from(["", "fail_fast: true\n"]))]
    text = "".join(rows)
    text = text.removesuffix("\n") if draw(st.booleans()) else text
    return text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


@given(pre_commit_files())
def test_a_hook_goes_into_any_layout(text: str) -> None:
    added = additions.entry(None)
    new = additions.with_hook(text.encode(), HOOKS, added).decode()
    before = yaml.safe_load(text)
    assert yaml.safe_load(new) == {**before, "repos": [*before["repos"], added]}
    assert len(new) > len(text)
    assert any(new.startswith(text[:n]) and new.endswith(text[n:]) for n in range(len(text) + 1))


def test_pre_commit_accepts_what_was_written(tmp_path: Path) -> None:
    files = []
    for number, layout in enumerate([None, *LAYOUTS[:3]]):
        for repository in (None, "https://example.org/memlint"):
            files.append(tmp_path / f"{number}{repository is None}.yaml")
            old = None if layout is None else layout.encode()
            files[-1].write_bytes(additions.with_hook(old, HOOKS, additions.entry(repository)))
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config", *map(str, files)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("old", "message"),
    [
        ("repos: []\n", "an entry can't be added safely; use --no-pre-commit and add it by hand"),
        (
            "repos: [{repo: https://a, hooks: []}]\n",
            "an entry can't be added safely; use --no-pre-commit and add it by hand",
        ),
        ("fail_fast: true\n", "an entry can't be added safely; use --no-pre-commit and add it by hand"),
        (
            "a: &a {repo: b, hooks: []}\nrepos:\n- *a\n",
            "an entry can't be added safely; use --no-pre-commit and add it by hand",
        ),
        ("- a\n", 'has no list of "repos"'),
        ("", 'has no list of "repos"'),
        ("a: [\n", "not valid YAML: "),
        (b"# \xff\n", "not UTF-8: invalid start byte at byte 2"),
    ],
)
def test_hooks_that_it_leaves_alone(run: Run, write: Write, old: str | bytes, message: str) -> None:
    write(HOOKS, old, "a.py", LEAKY)
    before = read(HOOKS)
    result = run("init", "--write")
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith(f"memlint: error: {HOOKS}: {message}")
    assert (read(HOOKS), Path("pyproject.toml").exists()) == (before, False)
    assert run("init", "--write", "--no-pre-commit").status == 0


def test_a_hook_that_is_there_is_not_added_again(run: Run, write: Write) -> None:
    write(HOOKS, "repos:\n- repo: local\n  hooks:\n  - id: memlint-fix\n", "a.py", LEAKY)
    before = read(HOOKS)
    assert run("init", "--write").err == "Wrote pyproject.toml. Next: `memlint check`.\n"
    assert read(HOOKS) == before


def test_pre_commit_runs_the_hook(run: Run, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.py", LEAKY)
    run("init", "--write")
    program = tmp_path / "bin" / "memlint"
    write(
        "bin/memlint",
        f"#!{sys.executable}\nimport sys\n\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from memlint.cli import main\n\nsys.exit(main())\n",
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PRE_COMMIT_HOME", str(tmp_path / "home"))
    subprocess.run(["git", "add", "a.py", "pyproject.toml", HOOKS], check=True)
    done = subprocess.run([sys.executable, "-m", "pre_commit", "run"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "- hook id: memlint\n- exit code: 1" in done.stdout
    assert "a.py:11:9: bound-history " in done.stdout


# -- instrumentation ---------------------------------------------------------------------------------------------------


PROBED = """\
import torch


def train(model, optimizer, batches):
    leaks = []
    for batch in batches:
        optimizer.zero_grad()
        model(batch).mean().backward()
        optimizer.step()
        before = torch.cuda.memory_allocated()
        after = torch.cuda.memory_allocated()
        leaks.append((after - before) / 1e6)
    return leaks[-10:]
"""


def test_instrumentation_is_asked_for_and_shown_first(run: Run, write: Write) -> None:
    write("src/a.py", TRAINING, "src/b.py", PROBED, "third_party/a.py", TRAINING, "c.py", LEAKY)
    old = {path: read(path) for path in ("src/a.py", "src/b.py", "third_party/a.py", "c.py")}
    assert "memlint.runtime" not in run("init").out
    result = run("init", "--instrument")
    assert "+from memlint.runtime import log_memory_state\n" in result.out
    assert "+    leak_monitor = LeakMonitor()\n" in result.out
    assert result.err.startswith(f"Would write pyproject.toml, {HOOKS}, src/a.py, src/b.py. ")
    assert {path: read(path) for path in old} == old
    subprocess.run(["git", "apply", "-"], input=result.out, text=True, check=True)
    applied = {path: read(path) for path in ("pyproject.toml", HOOKS, *old)}
    subprocess.run(["git", "apply", "-R", "-"], input=result.out, text=True, check=True)
    assert {path: read(path) for path in old} == old
    assert run("init", "--instrument", "--write", "-q") == Result(0, "", "")
    assert {path: read(path) for path in applied} == applied
    assert {path for path in old if applied[path] != old[path]} == {"src/a.py", "src/b.py"}


def test_instrumentation_is_done_by_rules_that_are_off_by_default() -> None:
    rules = registry.rules()
    assert [(rules[name].default, name in registry.fixers()) for name in init.INSTRUMENTATION] == [(False, True)] * 2


def test_nothing_to_instrument_is_said(run: Run, write: Write) -> None:
    write("a.py", "import torch\n")
    assert "Nothing to instrument was found." in run("init", "--instrument").err


def test_instrumentation_with_helpers_of_the_projects_own(
    run: Run, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init, "INSTRUMENTATION", ("bound-history",))
    write("a.py", LEAKY, "mine.py", "x = 1\n")
    result = run("init", "--instrument", "--runtime", "vendor:mine.py", "--write")
    assert (result.status, read("a.py"), read("mine.py")) == (1, LEAKY.encode(), b"x = 1\n")
    assert result.err.count("the file is not a copy of it") == 1
    os.unlink("pyproject.toml")
    result = run("init", "--instrument", "--runtime", "vendor:helpers.py")
    assert "--- /dev/null\n+++ b/helpers.py\n" in result.out
    assert run("init", "--instrument", "--runtime", "vendor:helpers.py", "--write", "-q") == Result(0, "", "")
    assert b"from helpers import append_bounded\n" in read("a.py")
    assert read("helpers.py") == (ROOT / "memlint" / "runtime.py").read_bytes()
