"""Which lines changed since a git revision: in commits, in the working tree, in files that git does not know yet."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping

from msgspec import Struct

from memlint import git
from memlint.config import ConfigError, display_path
from memlint.rule import Finding, Place
from memlint.statements import Statements

_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_LETTERS = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r"}
_PLAIN_SUFFIX = re.compile(r"\.\w+", re.ASCII)
_OBJECT = re.compile("[0-9a-f]{40,}")
_LONE_RETURN = re.compile(r"\r(?!\n)")

Lines = list[tuple[int, int]]
"""Stretches of changed lines, first and last of each."""


class Changes(Struct):
    """The changed lines of files by display path, None for all of them. A file that is not in it has not changed."""

    lines: dict[str, Lines | None]

    def touch(self, finding: Finding, texts: Mapping[str, str]) -> bool:
        """Whether a change lies in the finding's statement, or on a line that its evidence names."""
        place = finding.place
        text = texts.get(place.path, "")
        if place.path in self.lines:
            statement = Statements(text).at(place.line)
            # In a notebook, lines of the file are known of the place alone.
            shift = _line_of(place) - place.line
            if self._hit(place.path, statement.first + shift, max(statement.last, place.end_line) + shift):
                return True
            if _LONE_RETURN.search(text):  # where git counts other lines than Python does
                return True
        return any(self._hit(step.place.path, *[_line_of(step.place)] * 2) for step in finding.evidence)

    def _hit(self, path: str, first: int, last: int) -> bool:
        lines = self.lines.get(path, [])
        return lines is None or any(begin <= last and first <= end for begin, end in lines)


def _line_of(place: Place) -> int:
    """A place's line in its file."""
    return place.line if place.cell is None else place.cell.file_line


def since(revision: str, paths: Iterable[str]) -> Changes:
    """What changed in these files since a revision left the line that leads to HEAD. Raises ConfigError.

    paths: display paths. Each is looked up in its own repository; what a submodule was, its superproject knows.
    """
    repositories = _Repositories(revision)
    found: dict[str, Lines | None] = {}
    for root, files in repositories.files(paths).items():
        base = repositories.base(root)
        if base is None:
            found.update(dict.fromkeys(files.values()))
            continue
        patterns = ["--", *_patterns(files)]
        known = set(_git(root, "ls-files", "-z", "--cached", *patterns).split(b"\0"))
        changed = parse(_git(root, *_DIFF, base, *patterns))
        for inner, path in files.items():
            name = os.fsencode(inner)
            if name not in known:
                found[path] = None
            elif name in changed:
                found[path] = changed[name]
    return Changes(found)


# Said in full, because the user's settings may say otherwise.
_DIFF = (
    *("diff", "--unified=0", "--no-color", "--no-ext-diff", "--no-textconv", "--text", "--find-renames"),
    *("--ignore-submodules=all", "--src-prefix=a/", "--dst-prefix=b/"),
)


def parse(patch: bytes) -> dict[bytes, Lines]:
    """The lines that a patch adds or changes, by the file's new name. Deleted files have none, and are not in it."""
    found: dict[bytes, Lines] = {}
    lines: Lines = []
    old = new = number = 0  # lines that the hunk still has, and which one of the new file is next
    for line in patch.split(b"\n"):
        if old > 0 or new > 0:
            # By its counts, because what was added may itself look like the head of a patch.
            if line.startswith(b"+"):
                if lines and lines[-1][1] == number - 1:
                    lines[-1] = (lines[-1][0], number)
                else:
                    lines.append((number, number))
            old -= line.startswith((b"-", b" "))
            new -= line.startswith((b"+", b" "))
            number += line.startswith((b"+", b" "))
        elif line.startswith(b"+++ "):
            name = _name(line[4:])
            lines = []
            if name is not None:
                found[name] = lines
        elif hunk := _HUNK.match(line):
            old, new = (1 if count is None else int(count) for count in hunk.group(1, 3))
            number = int(hunk[2])
    return found


def _name(shown: bytes) -> bytes | None:
    """The name behind `+++ `, which git quotes where it is unusual; None for a deleted file."""
    if shown == b"/dev/null":
        return None
    if shown.startswith(b'"'):
        shown = _ESCAPE.sub(_unescaped, shown[1 : shown.rindex(b'"')])
    elif shown.endswith(b"\t"):  # set behind names with blanks
        shown = shown[:-1]
    return shown.removeprefix(b"b/")


def _unescaped(match: re.Match[bytes]) -> bytes:
    code = match[1]
    return bytes([int(code, 8) & 255]) if len(code) == 3 else _LETTERS.get(code, code)


def _patterns(files: Iterable[str]) -> list[str]:
    """Patterns for git that match these files: by suffix, because there may be more files than fit a command."""
    found = set()
    for file in files:
        suffix = os.path.splitext(file)[1]
        found.add(f":(glob)**/*{suffix}" if _PLAIN_SUFFIX.fullmatch(suffix) else f":(literal){file}")
    return sorted(found)


class _Repositories:
    """The repositories of some files, and the commit that each is compared with."""

    def __init__(self, revision: str) -> None:
        self._revision = revision
        self._roots = git.Roots()
        self._bases: dict[str, str | None] = {}
        self._here = self._roots.of(os.path.realpath(os.curdir))

    def files(self, paths: Iterable[str]) -> dict[str, dict[str, str]]:
        """By root: the files below it, each from there and as it is displayed."""
        found: dict[str, dict[str, str]] = {}
        for path in paths:
            # A link is what it leads to, if that is in a repository.
            real = os.path.realpath(path)
            root = self._roots.of(os.path.dirname(real))
            if root is None:
                real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
                root = self._roots.of(os.path.dirname(real))
            if root is None:
                raise ConfigError(f"--diff-base: {display_path(path)} is not in a git repository")
            found.setdefault(root, {})[os.path.relpath(real, root).replace(os.sep, "/")] = path
        return found

    def base(self, root: str) -> str | None:
        """The commit to compare with; None for a submodule that the revision does not have."""
        if root not in self._bases:
            above = "" if root == self._here else _line(root, "rev-parse", "--show-superproject-working-tree")
            self._bases[root] = self._submodule(root, os.path.realpath(above)) if above else self._merge_base(root)
        return self._bases[root]

    def _merge_base(self, root: str) -> str:
        commit = _commit(root, self._revision)
        if commit is None:
            shallow = _line(root, "rev-parse", "--is-shallow-repository") == "true"
            more = ", and this clone is shallow: fetch the revision first" if shallow else ""
            raise ConfigError(f'--diff-base: {_shown(root)}unknown revision "{self._revision}"{more}')
        # What the other branch did since then is not this one's change.
        done = _run(root, "merge-base", commit, "HEAD")
        return os.fsdecode(done.stdout).strip() or commit

    def _submodule(self, root: str, above: str) -> str | None:
        outer = self.base(above)
        if outer is None:
            return None
        inner = os.path.relpath(root, above).replace(os.sep, "/")
        fields = _line(above, "ls-tree", outer, "--", f":(literal){inner}").split()
        if fields[1:2] != ["commit"]:
            return None
        commit = _commit(root, fields[2])
        if commit is None:
            raise ConfigError(f"--diff-base: {_shown(root)}commit {fields[2]} of this submodule is not here")
        return commit


def _commit(root: str, revision: str) -> str | None:
    if not revision or revision.startswith("-"):
        return None
    done = _run(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if done.returncode not in (0, 1):
        raise _failure(root, done)
    name = os.fsdecode(done.stdout).strip()
    return name if _OBJECT.fullmatch(name) else None  # of a range, git says two


def _line(root: str, *arguments: str) -> str:
    return os.fsdecode(_git(root, *arguments)).rstrip("\n")


def _git(root: str, *arguments: str) -> bytes:
    done = _run(root, *arguments)
    if done.returncode:
        raise _failure(root, done)
    return done.stdout


def _shown(root: str) -> str:
    """A repository, where it is not the one that the current folder is in."""
    inside = os.path.join(os.path.realpath(os.curdir), "").startswith(os.path.join(root, ""))
    return "" if inside else f"{display_path(root)}: "


def _failure(root: str, done: subprocess.CompletedProcess[bytes]) -> ConfigError:
    said = " ".join(done.stderr.decode("utf-8", "replace").split()).removeprefix("fatal: ")
    return ConfigError(f"--diff-base: {_shown(root)}git: {said or f'exit status {done.returncode}'}")


def _run(root: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return git.run(root, *arguments, filters=arguments[0] == "diff")
    except git.NoGit as error:
        raise ConfigError(f"--diff-base {error}") from None
    except git.GitError as error:
        raise ConfigError(f"--diff-base: {error}") from None
