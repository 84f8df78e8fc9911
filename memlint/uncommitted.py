"""Which files git could not bring back as they are now, so that nothing is written over the only copy of some work.

What is committed or staged counts as safe. git is only asked what it holds: files are compared here, so that no filter
of the repository is run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence

from memlint import git

_AT_ONCE = 200  # names that fit a command line on every system


def find(contents: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """The files that would be lost, in order, and why. Outside of repositories, and without git, there are none.

    contents: what stands in each file now, by path.
    """
    roots = git.Roots()
    by_root: dict[str, dict[str, str]] = {}
    for path in sorted(contents):
        real = os.path.realpath(path)
        root = roots.of(os.path.dirname(real))
        if root is not None and _is_repository(root):
            by_root.setdefault(root, {})[os.path.relpath(real, root).replace(os.sep, "/")] = path
    found: list[tuple[str, str]] = []
    for root, files in by_root.items():
        try:
            found += _in_repository(root, {inner: contents[path] for inner, path in files.items()}, files)
        except git.NoGit:
            return []
        except git.GitError as error:
            found += [(path, str(error)) for path in files.values()]
    return sorted(found)


def _is_repository(root: str) -> bool:
    """Whether a `.git` is more than a name: in a worktree and in a submodule it is a file."""
    marker = os.path.join(root, ".git")
    return os.path.isfile(marker) or os.path.exists(os.path.join(marker, "HEAD"))


def _in_repository(root: str, contents: Mapping[str, bytes], shown: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    names = list(contents)
    held: dict[str, set[str]] = {}
    for record in _listed(root, names, "--stage"):
        state, _, name = record.partition("\t")
        _, digest, stage = state.split()
        held.setdefault(name, set()).add(digest if stage == "0" else "")
    unknown = [name for name in names if name not in held]
    for name in _listed(root, unknown, "--others", "--exclude-standard"):
        if name in contents:
            yield shown[name], "is not under version control"
    for name, digests in held.items():
        if name in contents and not digests & _digests(contents[name], next(iter(digests))):
            yield shown[name], "has changes that are neither committed nor staged"


def _listed(root: str, names: Sequence[str], *options: str) -> Iterator[str]:
    for start in range(0, len(names), _AT_ONCE):
        patterns = [f":(literal){name}" for name in names[start : start + _AT_ONCE]]
        done = git.run(root, "ls-files", "-z", *options, "--", *patterns)
        if done.returncode:
            said = " ".join(done.stderr.decode("utf-8", "replace").split()).removeprefix("fatal: ")
            raise git.GitError(f"can't be looked up: git: {said or f'exit status {done.returncode}'}")
        yield from (os.fsdecode(record) for record in done.stdout.split(b"\0") if record)


def _digests(data: bytes, like: str) -> set[str]:
    """What git may call this content: as it is, and with the line ends that it stores. like: a name of its kind."""
    kind = "sha256" if len(like) == 64 else "sha1"
    found = set()
    for content in (data, data.replace(b"\r\n", b"\n")):
        digest = hashlib.new(kind, b"blob %d\0" % len(content), usedforsecurity=False)
        digest.update(content)
        found.add(digest.hexdigest())
    return found
