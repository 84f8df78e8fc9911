"""One body of code, checked, repaired, repaired again and checked again, and every claim about that looked into."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.accuracy.report import commit
from benchmarks.corpora import runs, verify
from benchmarks.corpora.runs import Failed, Ran, Said
from memlint.proposals import DEFECT

FIX = (
    "fix",
    "--unsafe-fixes",
    "--allow-dirty",
)  # the copies may lie in somebody's checkout, where nothing is committed
LIBCST = "is valid; LibCST alone can't parse it"
"""Why a file is not checked though Python takes it."""
DEEPEST = 200
"""Nodes of a syntax tree below each other, above which memlint may refuse a file. Code by hand stays far below."""
DEEP = "is valid, with {} nodes below each other"


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A file that was not checked. python: what Python says to it."""

    path: str
    line: int
    message: str
    python: str


@dataclass(slots=True)
class Result:
    """What came of one body of code. cpu: seconds by run. found, fixed, left: how many, by rule. wrong: complaints."""

    title: str
    origin: str
    files: int
    lines: int
    size: int
    found: dict[str, int]
    fixed: dict[str, int]
    left: dict[str, int]
    changed: int
    cpu: dict[str, float]
    peak: int
    unchecked: list[Unchecked]
    wrong: list[str]
    commit: str

    def to_json(self) -> str:
        """For a file."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Result:
        """From a file."""
        plain = json.loads(text)
        return cls(**{**plain, "unchecked": [Unchecked(**one) for one in plain["unchecked"]]})


def trial(title: str, origin: str, folder: Path, before: Mapping[str, bytes], jobs: int) -> Result:
    """Run memlint over a folder and look at what it did. before: what was laid out there."""
    start = verify.snapshot(folder)
    with tempfile.TemporaryDirectory() as cache:
        check = runs.memlint(["check"], folder, Path(cache), jobs)
        untouched = verify.snapshot(folder)
        fix = runs.memlint(FIX, folder, Path(cache), jobs)
        end = verify.snapshot(folder)
        again = runs.memlint(FIX, folder, Path(cache), jobs)
        rest = runs.memlint(["check"], folder, Path(cache), jobs)
        last = verify.snapshot(folder)
    ran = {"check": check, "fix": fix, "second fix": again, "second check": rest}
    after = {path: (folder / path).read_bytes() for path in before if start[path].digest != end[path].digest}
    wrong = [f"{name}: {line}" for name, run in ran.items() for line in run.strange]
    wrong += [f"check: {line}" for line in verify.trees(start, untouched, ())]
    wrong += [f"fix: {line}" for line in verify.trees(start, end, {said.path for said in fix.fixed})]
    wrong += [f"second fix: {line}" for line in verify.trees(end, last, ())]
    wrong += _counts(len(before), check, fix, again, rest)
    for path, new in after.items():
        lines = [said.line for said in fix.fixed if said.path == path]
        wrong += [f"{path}: {line}" for line in verify.changed(path, before[path], new, lines)]
    wrong += names({path: before[path] for path in after}, after)
    unchecked = [_unchecked(error, before) for error in sorted({*check.failed, *fix.failed})]
    wrong += [f"{error.path}:{error.line}: no reason why it is not checked" for error in unchecked if not error.python]
    wrong += [f"{error.path}: {error.message}" for error in unchecked if error.message.startswith(DEFECT)]
    return Result(
        title,
        origin,
        len(before),
        sum(data.count(b"\n") for data in before.values()),
        sum(map(len, before.values())),
        _by_rule(check.found),
        _by_rule(fix.fixed),
        _by_rule(fix.left),
        len(after),
        {name: run.cpu for name, run in ran.items()},
        max(run.peak for run in ran.values()),
        unchecked,
        wrong,
        commit(),
    )


def _by_rule(said: Sequence[Said]) -> dict[str, int]:
    return dict(Counter(one.rule for one in said))


def _counts(files: int, check: Ran, fix: Ran, again: Ran, rest: Ran) -> Iterator[str]:
    """What the runs say about each other's findings and files."""
    for name, run in {"check": check, "fix": fix, "second fix": again, "second check": rest}.items():
        out = {error.path for error in run.failed if not error.message.startswith(("this cell", "not repaired"))}
        if run.checked + len(out) > files:
            yield f"{name}: speaks of more files than there are"
    if check.failed != rest.failed:
        yield "second check: other files could not be checked than before"
    for said in again.fixed:
        yield f"second fix: fixed {said.path}:{said.line} {said.rule}"
    if fix.left != again.left:
        yield "second fix: left something else than the first"
    if fix.left != rest.found:
        yield "second check: found something else than the fix said that it left"
    known = Counter((said.path, said.rule) for said in (*fix.fixed, *fix.left))
    known.subtract((said.path, said.rule) for said in check.found)
    for (path, rule), count in known.items():
        if count < 0:
            yield f"fix: {path}: says less of {rule} than check"


def _unchecked(error: Failed, before: Mapping[str, bytes]) -> Unchecked:
    """A file with the reason why it was not checked, which does not come from memlint."""
    data = before[error.path]
    reason = verify.compiles(error.path, data) or ""
    if not reason and error.path.endswith(".ipynb"):
        reason = _notebook(data, error)
    elif not reason:
        deepest = verify.depth(data)
        reason = DEEP.format(deepest) if deepest > DEEPEST else LIBCST if verify.unknown_to_libcst(data) else ""
    return Unchecked(error.path, error.line, error.message, reason)


def _notebook(data: bytes, error: Failed) -> str:
    """What is wrong with a notebook, or with the source of one of its cells."""
    document = json.loads(data)
    if not isinstance(document, dict) or document.get("nbformat", 0) < 4:
        return "a notebook of an older format"
    if not isinstance(document.get("cells"), list):
        return "no notebook"
    if not error.cell:
        return ""
    source = "".join(document["cells"][error.cell - 1]["source"])
    return verify.compiles("cell.py", source.encode()) or ""


def names(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[str]:
    """Names that became undefined, imports and variables that became unused: what Pyflakes' rules in ruff say."""
    said = []
    for files in (before, after):
        with tempfile.TemporaryDirectory() as folder:
            for path, data in files.items():
                target = Path(folder, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--exit-zero", "--quiet"]
            options = ["--select", "F", "--output-format", "json", "--config", "exclude=[]", "."]
            done = subprocess.run([*command, *options], cwd=folder, capture_output=True, check=True)
            root = str(Path(folder).resolve())
            found = json.loads(done.stdout)
        said.append(Counter((one["filename"][len(root) + 1 :], f"{one['code']} {one['message']}") for one in found))
    return [f"{path}: ruff: {message}" for path, message in said[1] - said[0]]
