"""The hooks, run by pre-commit itself on a git repository made for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.checkout import copy_to

pytestmark = [
    pytest.mark.needs_registry,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]

LEAKY = (ROOT / "examples" / "leaky_training.py").read_text(encoding="utf-8")
CLEAN = "import torch\n\nprint(torch.zeros(1))\n"


def call(*command: object, folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as in a shell of somebody who has set nothing up; all that it keeps goes to `home`."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PRE_COMMIT", "COV_"))
    }
    environment |= {
        "PRE_COMMIT_HOME": str(home),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "memlint@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def make_repository(folder: Path, home: Path) -> Path:
    """Put a folder as it is under version control."""
    for command in (["init", "--quiet"], ["add", "--all", "--force"], ["commit", "--quiet", "--message=all"]):
        done = call("git", *command, folder=folder, home=home)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pre-commit keeps the environment that it installs memlint in."""
    return tmp_path_factory.mktemp("pre-commit")


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    """memlint as a repository of hooks: what lies in the working tree, committed or not."""
    return make_repository(copy_to(tmp_path_factory.mktemp("hooks") / "memlint"), home)


@pytest.fixture
def user(tmp_path: Path, home: Path) -> Path:
    """A repository that uses the hooks."""
    (tmp_path / "train.py").write_text(LEAKY, encoding="utf-8")
    (tmp_path / "clean.py").write_text(CLEAN, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("self.history.append(loss)\n", encoding="utf-8")
    return make_repository(tmp_path, home)


def run_hook(hooks: Path, user: Path, home: Path, hook: str, *files: str) -> subprocess.CompletedProcess[str]:
    """Run a hook as the user's repository asks for it; pre-commit installs it once and keeps it."""
    revision = call("git", "rev-parse", "HEAD", folder=hooks, home=home).stdout.strip()
    config = f"repos:\n- repo: {hooks.as_posix()}\n  rev: {revision}\n  hooks:\n  - id: {hook}\n"
    (user / ".pre-commit-config.yaml").write_text(config, encoding="utf-8")
    command = [sys.executable, "-m", "pre_commit", "run", hook, "--verbose", "--files", *files]
    return call(*command, folder=user, home=home)


def test_the_manifest_is_valid(home: Path) -> None:
    manifest = ROOT / ".pre-commit-hooks.yaml"
    done = call(sys.executable, "-m", "pre_commit", "validate-manifest", manifest, folder=ROOT, home=home)
    assert done.returncode == 0, done.stdout + done.stderr


def test_try_repo_fails_on_a_leak(hooks: Path, user: Path, home: Path) -> None:
    files = ["train.py", "clean.py", "notes.txt"]
    command = [sys.executable, "-m", "pre_commit", "try-repo", hooks, "memlint", "--files", *files]
    done = call(*command, folder=user, home=home)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "- hook id: memlint\n- exit code: 1" in done.stdout
    assert "train.py:" in done.stdout
    assert "bound-history" in done.stdout
    assert "clean.py:" not in done.stdout
    assert "notes.txt:" not in done.stdout
    assert (user / "train.py").read_text(encoding="utf-8") == LEAKY


def test_the_hook_passes_on_clean_code(hooks: Path, user: Path, home: Path) -> None:
    done = run_hook(hooks, user, home, "memlint", "clean.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed" in done.stdout


def test_the_hook_has_nothing_to_say_to_other_files(hooks: Path, user: Path, home: Path) -> None:
    done = run_hook(hooks, user, home, "memlint", "notes.txt")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(no files to check)" in done.stdout


def test_the_fixing_hook_repairs_what_is_safe(hooks: Path, user: Path, home: Path) -> None:
    done = run_hook(hooks, user, home, "memlint-fix", "train.py")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "files were modified by this hook" in done.stdout
    assert (user / "train.py").read_text(encoding="utf-8") != LEAKY
