"""Real defects, labelled: the file before the fix must be reported at that place, the same place after it must not.

A case is one line of JSON: repo, parent_commit, fix_commit, path, before_lines, after_lines, function, class, and where
graded `static` (clear, stretch; specific: only the project's own people could know, not scored) and `rule`, the rules
that should speak. Each repository lies as DIR/OWNER+NAME/repo, a git directory.
"""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accuracy import check
from benchmarks.accuracy.check import Said
from memlint.engine import FileResult

RULES: dict[str, frozenset[str]] = {
    "graph-retained": frozenset({"detach-kept-tensors", "bound-history", "snapshots-to-cpu", "drop-retain-graph"}),
    "gpu-snapshot": frozenset({"snapshots-to-cpu", "bound-history", "detach-kept-tensors"}),
    "missing-no-grad": frozenset({"no-grad-inference"}),
    "unbounded-history": frozenset({"bound-history"}),
    "unbounded-cache": frozenset({"bound-cache", "bound-history"}),
    "recurrent-state-not-detached": frozenset({"detach-recurrent-state", "detach-kept-tensors"}),
    "unreleased-before-reload": frozenset({"release-before-reload"}),
    "hook-or-handle-leak": frozenset({"remove-hooks"}),
    "reference-cycle": frozenset({"break-cycles"}),
    "hot-loop-cache-clear": frozenset({"rate-limit-cleanup"}),
    "per-item-loop": frozenset({"vectorize-rounding", "hoist-item-sync", "batch-tensor-creation"}),
    "unclamped-coordinate": frozenset({"clamp-coordinates"}),
    "checkpoint-load": frozenset({"map-checkpoint", "validate-checkpoint"}),
}
"""The rules that fit a class of defects. A case may name others. A class that isn't here: any rule."""

LOOKALIKE = "lookalike"
WHOLE_FUNCTION = frozenset({"missing-no-grad", "unreleased-before-reload", "reference-cycle", LOOKALIKE})
"""Classes whose finding may stand anywhere in the function: the others' near the lines that the fix changed."""

NEAR = 3


@dataclass(frozen=True, slots=True)
class Scored:
    """A case and what was said at its place on both sides. absent: why it could not be scored."""

    id: str
    klass: str
    grade: str
    rules: tuple[str, ...]
    before: tuple[Said, ...] = ()
    after: tuple[Said, ...] = ()
    absent: str = ""

    def found(self, proved_only: bool = False) -> bool:
        """Whether the defect was reported."""
        return bool(self._spoke(proved_only))

    def silent(self, proved_only: bool = False) -> bool:
        """Whether nothing that spoke before speaks after; where nothing did, nothing fitting may."""
        spoke = self._spoke(proved_only)
        left = [said for said in self.after if said.proved or not proved_only]
        return not [said for said in left if not spoke or said.rule in spoke]

    def _spoke(self, proved_only: bool) -> set[str]:
        return {said.rule for said in self.before if said.proved or not proved_only}


def load(file: Path) -> list[dict[str, Any]]:
    """The cases of a file that can be scored."""
    cases = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [case for case in cases if case.get("static", "clear") != "specific"]


def score(
    cases: Sequence[Mapping[str, Any]], mirrors: Path, package: bool, processes: int | None = None
) -> list[Scored]:
    """Score cases. package: the file's whole top-level folder is checked with it, else the file alone."""
    by_repository: dict[str, list[Mapping[str, Any]]] = {}
    for case in cases:
        by_repository.setdefault(case["repo"], []).append(case)
    # One process for each repository: its commits have most files in common, which are then read once.
    groups = sorted(by_repository.values(), key=len, reverse=True)
    parts = check.spread(_score, [(mirrors, group, package) for group in groups], processes)
    return sorted((scored for part in parts for scored in part), key=lambda scored: (scored.klass, scored.id))


def _score(mirrors: Path, cases: Sequence[Mapping[str, Any]], package: bool) -> list[Scored]:
    mirror = Mirror(mirrors / cases[0]["repo"].replace("/", "+") / "repo")
    scored = []
    for case in cases:
        klass, path = case["class"], case["path"]
        fitting = RULES.get(klass, frozenset()) | set(case.get("rule", ()))
        about = (case["id"], klass, case.get("static", "clear"), tuple(case.get("rule", ())))
        try:
            sides = [
                at_the_place(klass, case[lines], mirror.text(case[at], path), mirror.check(case[at], path, package))
                for at, lines in (("parent_commit", "before_lines"), ("fix_commit", "after_lines"))
            ]
        except (subprocess.CalledProcessError, FileNotFoundError, SyntaxError) as error:
            scored.append(Scored(*about, absent=f"{type(error).__name__}: {error}"[:200]))
            continue
        any_rule = klass not in RULES
        fits = [tuple(said for said in side if any_rule or said.rule in fitting) for side in sides]
        scored.append(Scored(*about, before=fits[0], after=fits[1]))
    return scored


def at_the_place(klass: str, lines: Sequence[int], text: bytes, said: Iterable[Said]) -> list[Said]:
    """The findings that stand where a case says."""
    first, last = lines[0] - NEAR, lines[1] + NEAR
    if klass in WHOLE_FUNCTION:
        first, last = function_around(text, lines[0]) or (first, last)
    return [finding for finding in said if first <= finding.line <= last]


def function_around(text: bytes, line: int) -> tuple[int, int] | None:
    """First and last line of the innermost function around a line, decorators and the line above them included."""
    spans = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first, last = min([node.lineno, *(d.lineno for d in node.decorator_list)]), node.end_lineno or node.lineno
            if first - 1 <= line <= last:
                spans.append((first, last))
    return min(spans, key=lambda span: span[1] - span[0], default=None)


class Mirror:
    """A repository's git directory. A file that is the same in several commits is read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[tuple[str, str, str, bool], FileResult | None] = {}

    def text(self, commit: str, path: str) -> bytes:
        """A file at a commit."""
        return self._git("show", f"{commit}:{path}")

    def check(self, commit: str, path: str, package: bool) -> list[Said]:
        """The findings in one file, checked alone or with its top-level folder."""
        names = self._tree(commit, path.split("/")[0]) if package and "/" in path else {}
        if path not in names:
            names = {path: hashlib.sha256(self.text(commit, path)).hexdigest()}
        folders = check.packages(names) if len(names) > 1 else frozenset()
        layout = hashlib.sha256(repr(sorted(folders)).encode()).hexdigest()
        wanted = {name: (name, blob, layout, name == path) for name, blob in names.items()}
        missing = [name for name, key in wanted.items() if key not in self._read]
        for name, data in self._blobs(commit, missing):
            self._read[wanted[name]] = check.read(name, data, folders, rules=name == path)
        results = [result for key in wanted.values() if (result := self._read[key]) is not None]
        return check.settle(results, frozenset({path}))

    def _tree(self, commit: str, folder: str) -> dict[str, str]:
        """The Python files below a folder, with the hashes of their contents."""
        listed = self._git("ls-tree", "-r", "-z", commit, "--", f"{folder}/").decode("utf-8", "surrogateescape")
        entries = (entry.partition("\t") for entry in listed.split("\0") if entry)
        return {name: head.split()[2] for head, _, name in entries if name.endswith(".py") and " blob " in f" {head} "}

    def _blobs(self, commit: str, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        asked = "".join(f"{commit}:{name}\n" for name in names)
        answer = self._git("cat-file", "--batch", input=asked.encode("utf-8", "surrogateescape")) if names else b""
        at = 0
        for name in names:
            end = answer.index(b"\n", at)
            head = answer[at:end].split()
            size = int(head[2]) if len(head) == 3 and head[1] == b"blob" else -1
            yield name, answer[end + 1 : end + 1 + size] if size >= 0 else b""
            at = end + 1 + size + 1 if size >= 0 else end + 1

    def _git(self, *command: str, input: bytes | None = None) -> bytes:
        if not self.folder.is_dir():
            raise FileNotFoundError(f"no {self.folder.parent.name} among the mirrors")
        return subprocess.run(
            ["git", "-C", str(self.folder), *command], check=True, capture_output=True, input=input
        ).stdout
