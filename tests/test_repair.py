"""Repairing whole files: what is tried together, what is taken back, and how the result reaches the disk."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libcst as cst
import pytest

from memlint import disk, edit, registry, repair
from memlint.engine import FileError, Report
from memlint.facts.defects import ForwardWithGrad, KeptOnDevice, UnboundedGrowth
from memlint.fixer import Edit, Fixer, Refuse, Safety
from memlint.repair import RepairReport
from memlint.rule import Finding, Tier
from memlint.source import Unreadable, decode
from memlint.tree import Tree
from tests.support.marked import finding, position


@dataclass
class Project:
    """A folder, and a stand-in for the engine whose findings can be read off the text.

    A history is every `NAME.append(...)`, a snapshot every `gpu(...)` that is not passed to `to_cpu`, a forward every
    `model(...)` without no_grad in the two lines above. A comment on the line changes that: `maybe` makes a finding
    suspected, `stubborn` keeps a bounded history a finding, `trap` makes a bounded history a snapshot finding, and
    `breaks` makes the file unreadable once a history in it is bounded. `extra` adds findings.
    """

    folder: Path
    runtime: str = "import"
    calls: int = 0
    extra: Callable[[str, str], list[Finding]] = lambda path, text: []
    after_read: Callable[[], None] = lambda: None
    off: Mapping[str, str] = field(default_factory=dict)

    def options(self, rule: str) -> Mapping[str, Any]:
        return {"limit": 5}

    def keeps_from_fixing(self, rule: str) -> str | None:
        return self.off.get(rule)

    def put(self, **files: str | bytes) -> Project:
        for name, text in files.items():
            data = text if isinstance(text, bytes) else text.encode()
            (self.folder / f"{name}.py").write_bytes(data)
        return self

    def check(self, files: Sequence[tuple[str, Any]], *, overlay: Mapping[str, bytes] | None = None) -> Report:
        self.calls += 1
        report = Report()
        for path, _ in files:
            try:
                text = decode((overlay or {}).get(path) or Path(path).read_bytes())[0]
                if "# breaks" in text and "append_bounded" in text:
                    raise Unreadable("does not parse: broken")
            except Unreadable as error:
                report.errors.append(FileError(path, error.line, error.column, error.message))
                continue
            report.findings += look(path, text) + self.extra(path, text)
            report.texts[path] = text
        self.after_read()
        return report

    def repair(
        self, *, rules: frozenset[str] | None = None, unsafe: bool = True, suggested: bool = False
    ) -> RepairReport:
        paths = sorted(path.name for path in self.folder.glob("*.py"))
        files: Any = [(path, self) for path in paths]
        return repair.repair(files, rules=rules, unsafe=unsafe, check=self.check, suggested=suggested)

    def read(self, name: str) -> str:
        return (self.folder / f"{name}.py").read_bytes().decode()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


def look(path: str, text: str) -> list[Finding]:
    """What the stand-in finds."""
    found = []
    listed = text.split("\n")
    inner = r"(?:[^()]|\((?:[^()]|\([^()]*\))*\))*"
    patterns = (rf"\w+\.append\({inner}\)", rf"append_bounded\({inner}\)", r"gpu\(\w*\)", r"model\(\w*\)")
    for match in (match for pattern in patterns for match in re.finditer(pattern, text)):
        span = (*position(text, match.start()), *position(text, match.end()))
        line = listed[span[0] - 1]
        fact: Any
        if match[0].startswith("gpu"):
            rule, fact = "snapshots-to-cpu", KeptOnDevice(span, "stored", True)
            if "to_cpu(" + match[0] in line:
                continue
        elif match[0].startswith("model"):
            rule, fact = "no-grad-inference", ForwardWithGrad(span, None, _statement(line, span[0]), False, False)
            if any("no_grad" in above for above in listed[max(0, span[0] - 3) : span[0]]):
                continue
        elif match[0].startswith("append_bounded") and "trap" in line:
            rule, fact = "snapshots-to-cpu", KeptOnDevice(span, "cache-moved", True)
        elif match[0].startswith("append_bounded") and "stubborn" not in line:
            continue
        else:
            rule, fact = "bound-history", UnboundedGrowth("h", span, "append", "tensor")
        tier = Tier.SUSPECTED if "maybe" in line else Tier.PROVED
        found.append(finding(rule, fact, span, path, tier))
    return sorted(found, key=lambda f: f.place)


def _statement(line: str, number: int) -> tuple[int, int, int, int]:
    code = line.split("  #")[0].rstrip()
    return (number, len(code) - len(code.lstrip()) + 1, number, len(code) + 1)


def fixed(report: RepairReport) -> list[str]:
    return [f"{f.place.path}:{f.place.line} {f.rule}" for f in report.fixed]


def refused(report: RepairReport) -> list[str]:
    return [f"{f.place.path}:{f.place.line} {f.rule}: {reason}" for f, reason in report.refused]


def new(report: RepairReport, name: str = "a") -> str:
    return report.changed[f"{name}.py"][1].decode()


# -- what is fixed -----------------------------------------------------------------------------------------------------


def test_many_findings_in_many_files_take_one_round(project: Project) -> None:
    text = "import x\n\n\ndef f():\n    h.append(1)\n    h.append(2)\n\n\ndef g():\n    y = gpu(a)\n"
    project.put(a=text, b=text, c="z = 1\n")
    report = project.repair()
    assert new(report) == new(report, "b")
    assert new(report) == (
        "import x\nfrom memlint.runtime import append_bounded, to_cpu\n\n\n"
        "def f():\n    append_bounded(h, 1, limit=5)\n    append_bounded(h, 2, limit=5)\n\n\n"
        "def g():\n    y = to_cpu(gpu(a))\n"
    )
    assert set(report.changed) == {"a.py", "b.py"}
    assert len(report.fixed) == 6
    assert (report.refused, report.withheld, report.errors) == ([], [], [])
    assert project.calls == 2


def test_a_fix_that_is_switched_off_is_not_tried(project: Project) -> None:
    project.put(a="def f():\n    h.append(1)\n    y = gpu(a)\n")
    project.off = {"bound-history": "its fix is switched off"}
    report = project.repair()
    assert "    h.append(1)\n    y = to_cpu(gpu(a))\n" in new(report)
    assert refused(report) == ["a.py:4 bound-history: its fix is switched off"]


def test_nothing_is_written_before_write(project: Project) -> None:
    project.put(a="h.append(1)\n")
    report = project.repair()
    assert project.read("a") == "h.append(1)\n"
    assert repair.write(report) == []
    assert project.read("a") == new(report)
    assert os.listdir(project.folder) == ["a.py"]


ODD_FILES = {
    "crlf": b"import a\r\nh.append(1)\r\nx = 1\r\n",
    "mixed": b"import a\r\nh.append(1)\nx = 1\r\n",
    "byte order mark": b"\xef\xbb\xbfimport a\nh.append(1)\n",
    "latin-1": b"# -*- coding: latin-1 -*-\nimport a\nx = '\xe4\xf6'\nh.append('\xfc')  # \xdf\n",
    "utf-8 and cookie": b"\xef\xbb\xbf# coding: utf-8\nimport a\nx = '\xc3\xa4'\nh.append(1)\n",
    "no final newline": b"import a\nh.append(1)",
    "tabs and form feeds": b"import a\n\x0c\nif x:\n\th.append(1)\n\x0c\ny\n",
    "an empty first line": b"\n\nimport a\nh.append(1)\n",
    "a shebang": b"#!/usr/bin/env python\nimport a\nh.append(1)\n",
}


@pytest.mark.parametrize("data", ODD_FILES.values(), ids=list(ODD_FILES))
def test_bytes_outside_the_edit_stay(project: Project, data: bytes) -> None:
    report = project.put(a=data).repair()
    argument = re.search(rb"h\.append\((.*?)\)", data)
    assert argument is not None
    newline = b"\r\n" if b"import a\r\n" in data else b"\n"
    expected = data.replace(argument[0], b"append_bounded(h, " + argument[1] + b", limit=5)")
    expected = expected.replace(b"import a", b"import a" + newline + b"from memlint.runtime import append_bounded")
    assert report.changed == {"a.py": (data, expected)}
    assert repair.write(report) == []
    assert (project.folder / "a.py").read_bytes() == expected


@pytest.mark.parametrize("data", ODD_FILES.values(), ids=list(ODD_FILES))
def test_a_second_repair_changes_nothing(project: Project, data: bytes) -> None:
    project.put(a=data, b="h.append(1)  # stubborn\ny = [gpu(a), h.append(gpu(b))]\n")
    assert repair.write(project.repair()) == []
    again = project.repair()
    assert (again.changed, again.fixed, again.errors) == ({}, [], [])


def test_a_fix_inside_another_waits_for_the_next_round(project: Project) -> None:
    report = project.put(a="import x\nh.append(gpu(a))\n").repair()
    assert new(report) == (
        "import x\nfrom memlint.runtime import append_bounded, to_cpu\nappend_bounded(h, to_cpu(gpu(a)), limit=5)\n"
    )
    assert fixed(report) == ["a.py:2 snapshots-to-cpu", "a.py:3 bound-history"]
    assert project.calls == 3


def test_rounds_are_bounded(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "MAX_ROUNDS", 1)
    report = project.put(a="import x\nh.append(gpu(a))\n").repair()
    assert fixed(report) == ["a.py:2 snapshots-to-cpu"]
    assert refused(report) == ["a.py:3 bound-history: not reached in 1 rounds"]


def test_a_finding_that_goes_with_another_counts_as_fixed(project: Project) -> None:
    def extra(path: str, text: str) -> list[Finding]:
        clipped = "append_bounded" not in text
        fact = UnboundedGrowth("k", (2, 1, 2, 12), "extend", "tensor")
        return [finding("bound-history", fact, (2, 1, 2, 12), path)] * clipped

    project.extra = extra
    report = project.put(a="h.append(1)\nk.extend(l)\n").repair()
    assert fixed(report) == ["a.py:1 bound-history", "a.py:2 bound-history"]
    assert report.refused == []


# -- what is not fixed -------------------------------------------------------------------------------------------------


def test_unsafe_and_suspected_fixes_are_withheld_unless_asked_for(project: Project) -> None:
    project.put(a="h.append(1)\nx = gpu(a)\ny = gpu(b)  # maybe\n")
    report = project.repair(unsafe=False)
    assert fixed(report) == ["a.py:2 snapshots-to-cpu"]
    # Where they stand in the new text, below its import.
    assert [(f.rule, f.place.line) for f in report.withheld] == [("bound-history", 3), ("snapshots-to-cpu", 5)]
    assert len(project.repair(unsafe=True).fixed) == 3


def test_a_suggestion_is_never_written(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def suggest(fact: KeptOnDevice, tree: Tree, options: Mapping[str, Any]) -> Edit:
        return Edit({tree.value_at(fact.value): cst.Name("better")}, Safety.SUGGESTED)

    monkeypatch.setattr(registry, "fixers", lambda: {"snapshots-to-cpu": Fixer("snapshots-to-cpu", suggest)})
    report = project.put(a="x = gpu(a)\n").repair()
    assert report.changed == {}
    assert [f.rule for f in report.withheld] == ["snapshots-to-cpu"]
    report = project.repair(suggested=True)
    assert [new for _, new in report.changed.values()] == [b"x = better\n"]


def test_only_the_rules_that_are_asked_for(project: Project) -> None:
    report = project.put(a="h.append(1)\nx = gpu(a)\n").repair(rules=frozenset({"bound-history"}))
    assert fixed(report) == ["a.py:1 bound-history"]
    assert (report.refused, report.withheld) == ([], [])


def test_a_fixer_that_refuses_gives_its_reason(project: Project) -> None:
    report = project.put(a="y = h.append(1)\n").repair()
    assert refused(report) == ["a.py:1 bound-history: the append is part of a larger expression"]
    assert report.changed == {}


def test_a_fix_that_does_not_help_is_taken_back(project: Project) -> None:
    report = project.put(a="import x\nh.append(1)  # stubborn\n").repair()
    assert refused(report) == ["a.py:2 bound-history: memlint would still find it after the fix"]
    assert report.changed == {}
    assert report.fixed == []


def test_a_fix_that_brings_a_new_finding_is_taken_back(project: Project) -> None:
    report = project.put(a="import x\nh.append(1)  # trap\n").repair()
    assert refused(report) == ["a.py:2 bound-history: the fix would bring a new finding of snapshots-to-cpu"]
    assert report.changed == {}


def test_a_fix_after_which_the_file_is_broken_is_taken_back(project: Project) -> None:
    report = project.put(a="import x\nh.append(1)  # breaks\n", b="h.append(2)\n").repair()
    assert refused(report) == ["a.py:2 bound-history: does not parse: broken"]
    assert fixed(report) == ["b.py:1 bound-history"]


def test_one_bad_fix_does_not_keep_the_others_from_their_file(project: Project) -> None:
    text = (
        "import x\n\n\ndef f():\n    h.append(1)\n    h.append(2)  # stubborn\n    h.append(3)\n\n\n"
        "def g():\n    h.append(4)\n    h.append(5)  # trap\n\n\nclass A:\n    def m(self):\n        h.append(6)\n"
    )
    report = project.put(a=text).repair()
    assert refused(report) == [
        "a.py:7 bound-history: memlint would still find it after the fix",
        "a.py:13 bound-history: the fix would bring a new finding of snapshots-to-cpu",
    ]
    assert sorted(re.findall(r"append_bounded\(h, (\d)", new(report))) == ["1", "3", "4", "6"]
    assert re.findall(r"\.append\((\d)", new(report)) == ["2", "5"]
    assert len(report.fixed) == 4


def test_a_fix_around_one_that_is_set_aside_waits_for_it(project: Project) -> None:
    text = "import x\n\n\ndef f():\n    h.append(gpu(a))\n    k.append(2)  # trap\n"
    report = project.put(a=text).repair()
    assert fixed(report) == ["a.py:5 snapshots-to-cpu", "a.py:6 bound-history"]
    assert refused(report) == ["a.py:7 bound-history: the fix would bring a new finding of snapshots-to-cpu"]
    assert "append_bounded(h, to_cpu(gpu(a)), limit=5)" in new(report)


def test_a_new_finding_in_another_function_is_no_reason(project: Project) -> None:
    def extra(path: str, text: str) -> list[Finding]:
        number = text[: text.find("def g")].count("\n") + 2
        fact = KeptOnDevice((number, 5, number, 9), "cache-moved", True)
        return [finding("snapshots-to-cpu", fact, (number, 5, number, 9), path)] * ("append_bounded" in text)

    project.extra = extra
    report = project.put(a="import x\ndef f():\n    h.append(1)\ndef g():\n    pass\n").repair()
    assert fixed(report) == ["a.py:3 bound-history"]


def test_a_suppression_that_a_fix_makes_superfluous_is_no_reason(project: Project) -> None:
    def extra(path: str, text: str) -> list[Finding]:
        return [finding("unused-suppression", None, (3, 1, 3, 2), path)] * ("append_bounded" in text)

    project.extra = extra
    report = project.put(a="import x\nh.append(1)  # memlint: ignore[x]\n").repair()
    assert fixed(report) == ["a.py:2 bound-history"]
    assert report.refused == []


def test_fixes_that_fail_only_together_are_made_one_after_the_other(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = edit.apply

    def fragile(tree: Tree, edits: Sequence[Edit]) -> str:
        if len(edits) > 1:
            raise Refuse("not together")
        return real(tree, edits)

    monkeypatch.setattr(edit, "apply", fragile)
    report = project.put(a="h.append(1)\nh.append(2)\nh.append(3)\n").repair()
    assert len(report.fixed) == 3
    assert new(report).count("append_bounded(h") == 3


def test_a_fix_that_fails_alone_does_not_keep_the_others(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def fix(fact: UnboundedGrowth, tree: Tree, options: Mapping[str, Any]) -> Edit:
        call = tree.at(fact.growth, cst.Call)
        bad = tree.text_of(call) == "h.append(2)"
        return Edit({call: cst.Pass() if bad else tree.call(None, "cut", *[a.value for a in call.args])}, Safety.SAFE)

    monkeypatch.setattr(registry, "fixers", lambda: {"bound-history": Fixer("bound-history", fix)})
    report = project.put(a="h.append(1)\nh.append(2) + 1\nh.append(3)\n").repair()
    assert new(report) == "cut(1)\nh.append(2) + 1\ncut(3)\n"
    assert refused(report) == ["a.py:2 bound-history: the new code would not parse"]


def test_a_statement_wrapped_in_a_file_is_checked_again(project: Project) -> None:
    report = project.put(a="import torch\ndef f(x):\n    y = model(x)\n    return 1\n").repair(unsafe=False)
    assert new(report) == "import torch\ndef f(x):\n    with torch.no_grad():\n        y = model(x)\n    return 1\n"


# -- files that can't be repaired --------------------------------------------------------------------------------------


def put_again(project: Project) -> None:
    project.put(a="h.append(2)\n")


def test_a_file_that_changes_while_it_is_checked_is_left_alone(project: Project) -> None:
    project.put(a="h.append(1)\n", b="h.append(1)\n")
    project.after_read = lambda: put_again(project)
    report = project.repair()
    assert set(report.changed) == {"b.py"}
    assert [error.path for error in report.errors] == ["a.py"]
    assert "changed while it was checked" in report.errors[0].message


def test_a_file_that_goes_while_it_is_checked_is_one_error(project: Project) -> None:
    project.put(a="h.append(1)\n")

    def remove() -> None:
        (project.folder / "a.py").unlink(missing_ok=True)

    project.after_read = remove
    report = project.repair()
    assert report.changed == {}
    assert [error.message for error in report.errors] == ["not repaired: No such file or directory"]


def test_errors_of_the_check_are_passed_on(project: Project) -> None:
    report = project.put(a=b"x = '\xff'\n", b="h.append(1)\n").repair()
    assert set(report.changed) == {"b.py"}
    assert [error.path for error in report.errors] == ["a.py"]


def test_code_that_the_encoding_can_not_hold_is_refused(project: Project) -> None:
    project.runtime = "vendor:mémoire.py"
    report = project.put(a="# coding: ascii\nh.append(1)\n").repair()
    assert refused(report) == ["a.py:2 bound-history: the new code can't be written in ascii"]
    assert report.changed == {}


def test_a_file_that_would_not_come_back_whole_is_refused(project: Project) -> None:
    report = project.put(a="x = 1\n\x0ch.append(1)\n").repair()
    assert refused(report) == ["a.py:2 bound-history: the file can't be written back unchanged"]
    assert report.changed == {}


def test_a_fix_that_takes_a_function_away_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def fix(fact: UnboundedGrowth, tree: Tree, options: Mapping[str, Any]) -> Edit:
        return Edit({tree.statement_at((1, 1, 2, 9)): cst.RemoveFromParent()}, Safety.SAFE)

    monkeypatch.setattr(registry, "fixers", lambda: {"bound-history": Fixer("bound-history", fix)})
    report = project.put(a="def f():\n    pass\nh.append(1)\n").repair()
    assert refused(report) == ["a.py:3 bound-history: the fix would take a function away"]


# -- the disk ----------------------------------------------------------------------------------------------------------


def test_a_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real" / "a.py", tmp_path / "a.py"
    real.parent.mkdir()
    real.write_bytes(b"old")
    real.chmod(0o751)
    link.symlink_to(real)
    assert disk.replace(str(link), b"old", b"new") is None
    assert real.read_bytes() == b"new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o751
    assert link.is_symlink()
    assert os.listdir(real.parent) == ["a.py"]


def test_a_file_keeps_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_bytes(b"old")
    real, given = os.stat, []

    def someone_elses(path: Any, **options: Any) -> os.stat_result:
        found = list(real(path, **options))
        found[stat.ST_UID] += 1 if str(path).endswith("a.py") else 0
        return os.stat_result(found)

    monkeypatch.setattr(os, "stat", someone_elses)
    monkeypatch.setattr(os, "chown", lambda path, owner, group: given.append(owner))
    assert disk.replace(str(tmp_path / "a.py"), b"old", b"new") is None
    assert given == [os.getuid() + 1]


def test_two_names_of_one_file_are_written_once(project: Project) -> None:
    project.put(a="h.append(1)\n")
    (project.folder / "b.py").symlink_to(project.folder / "a.py")
    report = project.repair()
    assert set(report.changed) == {"a.py", "b.py"}
    assert repair.write(report) == []
    assert project.read("b") == new(report, "a")


def test_a_file_that_was_changed_meanwhile_is_not_written(project: Project) -> None:
    project.put(a="h.append(1)\n", b="h.append(1)\n")
    report = project.repair()
    project.put(a="mine\n")
    errors = repair.write(report)
    assert [(error.path, error.message) for error in errors] == [("a.py", "not written: it was changed meanwhile")]
    assert project.read("a") == "mine\n"
    assert project.read("b") == new(report, "b")


def test_a_file_that_is_gone_is_one_error(tmp_path: Path) -> None:
    error = disk.replace(str(tmp_path / "a.py"), b"old", b"new")
    assert error is not None
    assert error.message == "not written: No such file or directory"


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    (tmp_path / "a.py").write_bytes(b"old")

    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    error = disk.replace(str(tmp_path / "a.py"), b"old", b"new")
    assert error is not None
    assert error.message == "not written: No space left on device"
    assert (tmp_path / "a.py").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.py"]


def test_a_read_only_file_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_bytes(b"old")
    (tmp_path / "a.py").chmod(0o444)
    # The superuser may write anything, so the answer is made up for him.
    monkeypatch.setattr(os, "access", lambda path, mode: bool(os.stat(path).st_mode & 0o200))
    error = disk.replace(str(tmp_path / "a.py"), b"old", b"new")
    assert error is not None
    assert error.message == "not written: it is read-only"
    assert (tmp_path / "a.py").read_bytes() == b"old"


def test_a_read_only_folder_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_bytes(b"old")

    def fail(**options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkstemp", fail)
    error = disk.replace(str(tmp_path / "a.py"), b"old", b"new")
    assert error is not None
    assert error.message == "not written: Permission denied"


# -- the vendored runtime ----------------------------------------------------------------------------------------------

RUNTIME = (Path(disk.__file__).parent / "runtime.py").read_bytes()


def test_the_runtime_is_copied_beside_the_code_that_imports_it(project: Project) -> None:
    project.runtime = "vendor:mem.py"
    report = project.put(a="h.append(1)\n").repair()
    assert report.vendored == {"mem.py"}
    assert repair.write(report) == []
    assert (project.folder / "mem.py").read_bytes() == RUNTIME
    assert "from mem import append_bounded\n" in project.read("a")
    names: dict[str, Any] = {}
    exec((project.folder / "mem.py").read_text(), names)
    assert callable(names["append_bounded"])


def test_the_runtime_is_not_copied_where_nothing_needs_it(project: Project) -> None:
    project.runtime = "vendor:mem.py"
    report = project.put(a="import torch\ny = model(x)\n").repair()
    assert len(report.changed) == 1
    assert report.vendored == set()


def test_another_file_is_not_overwritten_and_then_nothing_is_written(project: Project) -> None:
    project.runtime = "vendor:mem.py"
    project.put(a="h.append(1)\n", mem='"""Mine."""\n')
    report = project.repair()
    errors = repair.write(report)
    assert [(e.path, e.message) for e in errors] == [
        ("mem.py", "the runtime can't be copied here: the file is not a copy of it")
    ]
    assert project.read("mem") == '"""Mine."""\n'
    assert project.read("a") == "h.append(1)\n"


def test_an_older_copy_is_renewed_and_the_same_copy_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "mem.py"
    target.write_text(disk.RUNTIME_MARK + ', as it was once.\n"""\n')
    target.chmod(0o640)
    assert disk.vendor(str(target)) is None
    assert target.read_bytes() == RUNTIME
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    before = target.stat().st_ino
    assert disk.vendor(str(target)) is None
    assert target.stat().st_ino == before


def test_the_runtime_carries_the_mark_that_its_copies_are_known_by() -> None:
    assert RUNTIME.decode().startswith(disk.RUNTIME_MARK)


def test_a_folder_that_does_not_exist_is_one_error(tmp_path: Path) -> None:
    error = disk.vendor(str(tmp_path / "no" / "mem.py"))
    assert error is not None
    assert error.message == "the runtime can't be copied here: No such file or directory"
