"""Running git on somebody's repository: it writes nothing there, and no program that the repository names is run.

A repository that came in an archive brings its own settings along. Those that name programs are switched off; what the
user has set for all repositories stays.
"""

from __future__ import annotations

import os
import shutil
import subprocess


class GitError(Exception):
    """git can't be run: one line for the user."""


class NoGit(GitError):
    """There is no git."""


class Roots:
    """Finds the repository that a folder is in, and remembers it."""

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}

    def of(self, folder: str) -> str | None:
        """The root of the repository around an absolute folder, None outside of any."""
        if folder not in self._known:
            parent = os.path.dirname(folder)
            if os.path.exists(os.path.join(folder, ".git")):
                self._known[folder] = folder
            else:
                self._known[folder] = None if parent == folder else self.of(parent)
        return self._known[folder]


_PASSED_ON = ("GIT_CONFIG", "GIT_EXEC_PATH", "GIT_CEILING_DIRECTORIES")
_OFF = {"clean": "", "smudge": "", "process": "", "required": "false"}


def run(root: str, *arguments: str, filters: bool = False) -> subprocess.CompletedProcess[bytes]:
    """Run git in a repository. filters: whether it may read files of the working tree, and so might filter them."""
    # A hook of git sets variables that point to one repository and its index; others change what a diff looks like.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name.startswith(_PASSED_ON)
    }
    # Nothing is written, and a program that the repository names to watch its files is not run.
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    if filters:
        _add_settings(environment, _filters(root, environment))
    return _run(root, arguments, environment)


def _run(root: str, arguments: tuple[str, ...], environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    command = [_program(), "-C", root, "-c", "core.fsmonitor=false", *arguments]
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False)
    except OSError as error:
        raise GitError(f"git can't be run: {error.strerror}") from None


def _program() -> str:
    """git on the path. Some systems would look in the current folder first, which may be the project's."""
    for folder in os.get_exec_path():
        if os.path.isabs(folder) and (found := shutil.which(os.path.join(folder, "git"))) is not None:
            return found
    raise NoGit("needs git, and there is none on the path")


def _filters(root: str, environment: dict[str, str]) -> list[tuple[str, str]]:
    """What switches off the filters that the repository itself defines."""
    listed = ("config", "--show-scope", "--null", "--name-only", "--get-regexp", rf"^filter\..*\.({'|'.join(_OFF)})$")
    words = _run(root, listed, environment).stdout.split(b"\0")
    own = {name for scope, name in zip(words[::2], words[1::2], strict=False) if scope in (b"local", b"worktree")}
    parts = {os.fsdecode(name).rpartition(".")[0] for name in own}
    return [(f"{part}.{key}", value) for part in sorted(parts) for key, value in _OFF.items()]


def _add_settings(environment: dict[str, str], settings: list[tuple[str, str]]) -> None:
    """Set them for one command, by variables, because a filter's name may hold any character."""
    count = int(environment.get("GIT_CONFIG_COUNT") or 0)
    for number, (key, value) in enumerate(settings, count):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    environment["GIT_CONFIG_COUNT"] = str(count + len(settings))
