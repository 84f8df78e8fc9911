"""The harness that measures accuracy: what it takes out of programs, how it weighs and counts, how it scores cases."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.accuracy import cases, check, download, measure, mutation, report
from benchmarks.accuracy.__main__ import main, to_read
from benchmarks.accuracy.check import Said
from benchmarks.accuracy.measure import Weight
from benchmarks.accuracy.mutate import FINDS, Mutant, mutants
from benchmarks.accuracy.mutation import BROKEN, DEFECT, HARMLESS, UNRUN, Judged, Outcome

LEAK = """\
import torch

model = torch.nn.Linear(4, 4)
loader = torch.utils.data.DataLoader(torch.ones(8, 4))
history = []
for x in loader:
    loss = model(x).sum()
    loss.backward()
    history.append({value})


def run():
    return [len(history)], history
"""


def changes(text: str, **options: bool) -> Iterator[tuple[str, str]]:
    """Each mutant of a text: what was taken out, and the lines that differ."""
    for mutant in mutants(text, **options):
        before, after = text.splitlines(), mutant.text.splitlines()
        assert len(before) == len(after)
        yield mutant.operator, " / ".join(b.strip() for a, b in zip(before, after, strict=True) if a != b)


@pytest.mark.parametrize(
    ("line", "operator", "left"),
    [
        ("kept.append((a + b).detach())", "detach", "kept.append((a + b))"),
        ("total += loss.item()", "item", "total += loss"),
        ("total += float(loss)", "item", "total += (loss)"),
        ("rows = x.tolist()", "item", "rows = x"),
        ("kept.append(x.cpu())", "cpu", "kept.append(x)"),
        ("kept.append(x.to('cpu', copy=True))", "cpu", "kept.append(x)"),
        ("kept.append(x.to(torch.device('cpu')))", "cpu", "kept.append(x)"),
        ("kept.append(x[0].clone())", "clone", "kept.append(x[0])"),
        ("self.kept.clear()", "clear", "pass"),
        ("meter.reset()", "clear", "pass"),
        ("def f(self):\n    self.kept = []", "clear", "pass"),
        ("kept.pop(0)", "trim", "pass"),
        ("del kept[:-9]", "trim", "pass"),
        ("self.kept = self.kept[-9:]", "trim", "pass"),
        ("kept = deque(maxlen=9)", "limit", "kept = deque()"),
        ("kept = deque([], maxlen=9)", "limit", "kept = deque([])"),
        ("kept = deque(maxlen=9, iterable=())", "limit", "kept = deque( iterable=())"),
        ("@lru_cache(maxsize=9)\ndef f(): ...", "limit", "@lru_cache(maxsize=None)"),
        ("if len(kept) < self.most: pass", "limit", "if True: pass"),
        ("del model", "release", "pass"),
        ("def f(self):\n    self.model = None", "release", "pass"),
        ("handle.remove()", "remove", "pass"),
        ("owner = weakref.ref(self)", "weakref", "owner = (lambda kept=self: kept)"),
        ("torch.load(path, map_location='cpu')", "map-location", "torch.load(path)"),
        ("loss.backward()", "free-graph", "loss.backward(retain_graph=True)"),
        ("@torch.no_grad()\ndef f(): ...", "no-grad", ""),
        ("@torch.inference_mode\ndef f(): ...", "no-grad", ""),
        ("with torch.no_grad(): pass", "no-grad", "if True: pass"),
        ("with lock, torch.no_grad(): pass", "no-grad", "with lock, __import__('contextlib').nullcontext(): pass"),
    ],
)
def test_one_construct_is_taken_out(line: str, operator: str, left: str) -> None:
    assert list(changes(line)) == [(operator, left)]


@pytest.mark.parametrize(
    "line",
    [
        "best = float('inf')",
        "kept.remove(x)",
        "optimizer.zero_grad()",
        "loss.backward(retain_graph=True)",
        "x = x.to('cuda')",
        "if len(rows) < 2: pass",
        "def __init__(self):\n    self.kept = []",
        "kept = []",
        "name = 'a.detach()'",
    ],
)
def test_what_protects_nothing_stays(line: str) -> None:
    assert list(changes(line)) == []


def test_a_chain_over_several_lines_keeps_its_lines() -> None:
    text = "y = (\n    x\n    .detach()\n    .cpu()\n)\nz = y.item()\n"
    assert [mutant.operator for mutant in mutants(text)] == ["detach", "cpu", "item"]
    assert [mutant.line for mutant in mutants(text)] == [3, 4, 6]
    assert {mutant.text.count("\n") for mutant in mutants(text)} == {6}


def test_where_nothing_is_run_a_number_counts_only_of_a_loss() -> None:
    text = "a = float(row[0])\nb = float(loss_g)\n"
    assert list(changes(text, losses_only=True)) == [("item", "b = (loss_g)")]


def test_a_mutant_knows_the_innermost_function() -> None:
    text = "def outer():\n    @wrapped\n    def inner():\n        return x.detach()\n    return 1\n"
    (mutant,) = mutants(text)
    assert mutant.function == (2, 4)


def test_text_that_is_not_ascii_is_cut_in_the_right_place() -> None:
    assert list(changes("größe = 'größe', x.detach()")) == [("detach", "größe = 'größe', x")]


@pytest.mark.parametrize("file", [pytest.param(file, id=file.stem) for file in sorted(mutation.PROGRAMS.glob("*.py"))])
def test_every_program_has_something_to_take_out(file: Path) -> None:
    assert list(changes(file.read_text(encoding="utf-8")))


def test_what_costs_more_is_said() -> None:
    light = Weight(nodes=1, entries=2, tensors=100, peak=100)
    assert light.excess(light) == ""
    assert Weight(nodes=1, entries=2, tensors=100 + measure.BYTES - 1, peak=100).excess(light) == ""
    assert Weight(nodes=3, entries=3, tensors=100, peak=100).excess(light) == (
        "2 more graph nodes held, 1 more entries held"
    )
    assert Weight(tensors=5000, accelerator=5000, peak=5000).excess(light) == (
        "4900 more tensor bytes held, 5000 more bytes held on the accelerator, 4900 more tensor bytes at one time"
    )
    assert Weight(saved=9000, handles=1).excess(Weight(saved=1000)) == (
        "8000 more tensor bytes saved for backward, 1 more files or threads open"
    )


def test_a_verdict_needs_a_run_that_ends_well() -> None:
    assert mutation.verdict("clear", Weight(error="NameError: x"), Weight()) == (BROKEN, "NameError: x")
    assert mutation.verdict("clear", Weight(), Weight()) == (HARMLESS, "")
    assert mutation.verdict("clear", Weight(entries=1), Weight()) == (DEFECT, "1 more entries held")
    assert mutation.verdict("map-location", Weight(), Weight()) == (DEFECT, "by definition")


@pytest.mark.needs_torch
def test_a_graph_that_is_kept_weighs_more_than_a_number() -> None:
    kept, number = measure.weigh(LEAK.format(value="loss")), measure.weigh(LEAK.format(value="loss.item()"))
    assert number.error == kept.error == ""
    assert number.nodes == 0
    assert kept.nodes > 8
    assert number.entries == kept.entries == 8


@pytest.mark.needs_torch
def test_what_stays_on_the_accelerator_is_seen() -> None:
    text = "import torch\ndef run():\n    x = torch.ones(9000, device='cuda')\n    return [], {}\n"
    stays, moved = measure.weigh(text.format("[x]")), measure.weigh(text.format("[x.cpu()]"))
    assert (stays.accelerator, stays.accelerator_peak) == (36000, 36000)
    assert (moved.accelerator, moved.accelerator_peak) == (0, 36000)


@pytest.mark.needs_torch
def test_what_autograd_saves_is_counted_where_asked_for() -> None:
    text = (
        "import torch\nm = torch.nn.Linear(9, 9)\ndef run():\n    y = m(torch.ones(5, 9)).detach()\n    return [], y\n"
    )
    assert measure.weigh(text).saved == 0
    assert measure.weigh(text, with_saved=True).saved >= 5 * 9 * 4
    off = text.replace("    y", "    torch.set_grad_enabled(False)\n    y").replace(
        "return", "torch.set_grad_enabled(True)\n    return"
    )
    assert measure.weigh(off, with_saved=True).saved == 0


@pytest.mark.needs_torch
def test_a_program_that_fails_or_does_not_end_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SECONDS", 1)
    assert measure.weigh("def run():\n    return [], missing\n").error.startswith("NameError")
    assert measure.weigh("def run():\n    while True:\n        pass\n").error.startswith("TimeoutError")


def said(line: int, rule: str, path: str = "p.py", proved: bool = True) -> Said:
    return Said(path, line, rule, proved)


def test_only_new_and_fitting_findings_at_the_place_are_found() -> None:
    local = Mutant("cpu", 20, "", (18, 25))
    before = [said(19, "snapshots-to-cpu")]
    after = [*before, said(25, "snapshots-to-cpu"), said(16, "snapshots-to-cpu"), said(20, "bound-history")]
    assert mutation.split(local, "p.py", before, after) == (
        [said(25, "snapshots-to-cpu")],
        [said(16, "snapshots-to-cpu"), said(20, "bound-history")],
    )
    near = Mutant("cpu", 20, "", (20, 20))
    assert mutation.split(near, "p.py", [], [said(17, "snapshots-to-cpu")])[0]
    elsewhere = [said(90, "bound-history", path="other.py")]
    assert mutation.split(Mutant("clear", 20, "", (18, 25)), "p.py", [], elsewhere) == (elsewhere, [])


def test_every_construct_calls_for_a_rule_and_has_a_name() -> None:
    assert list(report.CALLS_FOR) == list(report.WORDS) == list(FINDS)
    assert all(report.CALLS_FOR[operator] in FINDS[operator] for operator in FINDS)


OUTCOME = Outcome(
    {"a.py": 40, "b.py": 60},
    (said(3, "no-grad-inference", "b.py"),),
    (
        Judged("a.py", "clear", 7, DEFECT, "9 more entries held", (said(5, "bound-history"),)),
        Judged("a.py", "clear", 8, DEFECT, "9 more entries held"),
        Judged("a.py", "clear", 9, HARMLESS, "", (said(5, "bound-history", proved=False),)),
        Judged("b.py", "cpu", 4, DEFECT, "4096 more", (), (said(4, "bound-history"),)),
        Judged("b.py", "cpu", 5, BROKEN, "NameError"),
    ),
)


def test_the_tables_count_what_was_found_and_what_was_false() -> None:
    text = report.programs(OUTCOME)
    assert "2 programs, 100 lines" in text
    assert "| `.clear()`, `.reset()`, `x = []` | 3 | 0 | 1 | 2 | 1 | 1 | 50 % |" in text
    assert "| all | 5 | 1 | 1 | 3 | 1 | 1 | 33 % |" in text
    assert "| `bound-history` | 1 | 2 | 33 % | 2 | 50 % |" in text
    assert "| `snapshots-to-cpu` | 0 | 0 | - | 1 | 0 % |" in text
    assert "| `no-grad-inference` | 0 | 1 | 0 % | 0 | - |" in text


def test_what_to_read_is_named() -> None:
    assert list(to_read(OUTCOME)) == [
        "said to an original: b.py no-grad-inference:3:proved: ",
        "missed: a.py:8 without clear: 9 more entries held",
        "said to a harmless mutant: a.py:9 without clear: bound-history:5:suspected",
        "said beside the point: b.py:4 without cpu: bound-history:4:proved",
        "missed: b.py:4 without cpu: 4096 more",
    ]


def test_a_package_is_measured_without_running_it() -> None:
    files = {
        "pack/__init__.py": b"raise SystemExit\n",
        "pack/loop.py": b"def train(model, loader):\n    for x in loader:\n        model(x).sum().backward()\n",
    }
    outcome = mutation.packages({"pack==1": files}, sample=9, processes=1)
    assert outcome.lines == {"pack==1": 4}
    assert [(m.program, m.operator, m.verdict) for m in outcome.judged] == [
        ("pack==1: pack/loop.py", "free-graph", UNRUN)
    ]
    assert "| `pack==1` | 4 | 0 | 0 | 0.00 | 0 |" in report.packages(outcome, 9)


def test_a_wheel_gives_its_python_files_without_tests(tmp_path: Path) -> None:
    wheel = tmp_path / "pack-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as opened:
        opened.writestr("pack/a.py", "x = 1\n")
        opened.writestr("pack/old.py", "print 1\n")
        opened.writestr("pack/tests/b.py", "x = 1\n")
        opened.writestr("pack/data.txt", "x")
    assert list(download.python_files(wheel)) == [("pack/a.py", b"x = 1\n")]


def test_packages_are_folders_with_an_init_all_the_way_up() -> None:
    paths = ["a/__init__.py", "a/b/__init__.py", "a/b/c.py", "a/d/e.py", "f/g/__init__.py", "h.py"]
    assert check.packages(paths) == {"a", "a/b", "f/g"}


BEFORE = """\
import torch


def predict(model, loader):
    model.eval()
    return [model(x).argmax().item() for x in loader]
"""
AFTER = BEFORE.replace("def predict", "@torch.no_grad()\ndef predict")


@pytest.fixture
def mirrors(tmp_path: Path) -> Path:
    """A folder of git directories with one repository of two commits: a defect, and its repair."""
    work = tmp_path / "work"
    for number, text in enumerate([BEFORE, AFTER]):
        (work / "pack").mkdir(parents=True, exist_ok=True)
        (work / "pack" / "__init__.py").touch()
        (work / "pack" / "predict.py").write_text(text, encoding="utf-8")
        if not number:
            git(work, "init", "--quiet")
        git(work, "add", ".")
        git(work, "-c", "user.name=n", "-c", "user.email=n@example.org", "commit", "--quiet", "-m", str(number))
    target = tmp_path / "mirrors" / "own+pack"
    target.mkdir(parents=True)
    (work / ".git").rename(target / "repo")
    git(target / "repo", "config", "core.bare", "true")
    return tmp_path / "mirrors"


def git(folder: Path, *command: str) -> str:
    return subprocess.run(["git", "-C", folder, *command], check=True, capture_output=True, text=True).stdout.strip()


def case(mirrors: Path, **changed: Any) -> dict[str, Any]:
    """The case of the repository's repair."""
    after, before = git(mirrors / "own+pack" / "repo", "log", "--format=%H").split()
    row = {
        "id": "pack-01",
        "repo": "own/pack",
        "parent_commit": before,
        "fix_commit": after,
        "path": "pack/predict.py",
        "before_lines": [5, 5],
        "after_lines": [6, 6],
        "function": "predict",
        "class": "missing-no-grad",
        "static": "clear",
        "rule": ["no-grad-inference"],
    }
    return {**row, **changed}


@pytest.mark.parametrize("package", [False, True])
def test_a_case_is_found_before_and_silent_after(mirrors: Path, package: bool) -> None:
    (scored,) = cases.score([case(mirrors)], mirrors, package, processes=1)
    assert scored.absent == ""
    assert [finding.line for finding in scored.before] == [6]
    assert scored.after == ()
    assert (scored.found(), scored.silent()) == (True, True)


def test_a_repair_that_repairs_nothing_is_not_silent(mirrors: Path) -> None:
    row = case(mirrors)
    row["fix_commit"], row["after_lines"] = row["parent_commit"], [5, 5]
    (scored,) = cases.score([row], mirrors, False, processes=1)
    assert (scored.found(), scored.silent()) == (True, False)


def test_only_fitting_rules_and_the_place_count(mirrors: Path) -> None:
    rows = [case(mirrors, **{"class": "checkpoint-load", "rule": []}), case(mirrors, **{"class": "other"})]
    fitting = cases.score(rows, mirrors, False, processes=1)
    assert [scored.found() for scored in fitting] == [False, True]
    assert not cases.at_the_place("other", [20, 20], b"", [said(6, "no-grad-inference")])


def test_a_case_without_its_repository_is_not_counted(mirrors: Path) -> None:
    rows = [case(mirrors), case(mirrors, id="gone-01", repo="own/gone")]
    gone, here = cases.score(rows, mirrors, False, processes=1)
    assert gone.absent == "FileNotFoundError: no own+gone among the mirrors"
    text = report.cases([gone, here], package=False)
    assert "1 cases, 1 of a repository that isn't there; each file checked alone;" in text
    assert "| missing-no-grad | 1 | 1 (100 %) | 1 (100 %) |" in text
    assert "| `no-grad-inference` | 1 | 1 | 1 |" in text


def test_proved_findings_are_counted_apart() -> None:
    suspected, proved = said(1, "bound-history", proved=False), said(1, "bound-history")
    one = cases.Scored("x", "other", "clear", (), before=(suspected,), after=(proved,))
    assert (one.found(), one.found(proved_only=True)) == (True, False)
    assert (one.silent(), one.silent(proved_only=True)) == (False, False)
    other = cases.Scored("x", "other", "clear", (), before=(proved,), after=(said(1, "snapshots-to-cpu"),))
    assert other.silent()


def test_the_command_prints_and_writes(mirrors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = mirrors / "cases.jsonl", mirrors / "out.json"
    rows = [
        case(mirrors),
        case(mirrors, id="pack-02", static="specific"),
        case(mirrors, id="pack-03", before_lines=[1, 1]),
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    main(["cases", str(file), "--mirrors", str(mirrors), "--processes", "1", "--json", str(out), "--list"])
    printed = capsys.readouterr().out
    assert "| all | 2 | 1 (50 %) | 2 (100 %) |" in printed
    assert "pack-03 missing-no-grad: missed" in printed
    written = json.loads(out.read_text(encoding="utf-8"))
    assert [(row["id"], row["before"][0]["rule"] if row["before"] else None) for row in written] == [
        ("pack-01", "no-grad-inference"),
        ("pack-03", None),
    ]


def test_a_section_of_the_page_is_written_between_its_marks() -> None:
    page = report.PAGE.read_text(encoding="utf-8")
    for section in ("programs", "packages", "cases-file", "cases-package"):
        new = report.written(page, section, "| a |")
        assert f"<!-- {section}: written by benchmarks.accuracy -->\n| a |\n<!-- end of {section} -->" in new
        assert report.written(new, section, "| a |") == new
    with pytest.raises(ValueError, match="no place for other"):
        report.written(page, "other", "")
