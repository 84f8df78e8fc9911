"""What a user lists by name in the configuration changes what is found, and a name that means nothing is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from memlint import engine
from memlint.cli import main
from memlint.config import Settings
from memlint.taught import Taught

TRAINER = """\
import torch


class Trainer:
    def __init__(self, model):
        self.model = model.cuda()
        self.trace = []
        self.stats = {"loss": []}

    def tick(self, batch):
        loss = torch.relu(batch)
        self.trace.append(loss)
        self.stats["loss"].append(loss)
"""
SUBCLASS = """\
from trainer import Trainer


class Fast(Trainer):
    def tick(self, batch):
        self.trace.append(batch.detach())
"""
SCRIPT = """\
import torch

LOG = []


def step(x):
    LOG.append(torch.relu(x))


def main(queue):
    while True:
        step(queue.get())
"""
SCORES = """\
import torch
from torch import nn
from library import quiet


class Judge:
    def score(self, model: nn.Module, batch):
        return model(batch).argmax(1).tolist()


@quiet
def decorated(model: nn.Module, batch):
    return model(batch).argmax(1).tolist()


def with_block(model: nn.Module, batch):
    with quiet():
        return model(batch).argmax(1).tolist()


def outer(model: nn.Module, batch):
    return inner(model, batch)


def inner(model: nn.Module, batch):
    return model(batch).argmax(1).tolist()
"""


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Check files with names listed: the lines that findings stand in, as `file:line`, or the unknown names."""
    monkeypatch.chdir(tmp_path)

    def check(files: dict[str, str], taught: Taught | None = None, *, unknown: bool = False) -> list[str]:
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text, encoding="utf-8")
        report = engine.check([(path, Settings(taught=taught or Taught())) for path in files])
        assert not report.errors
        if unknown:
            return report.unknown_names
        return [f"{f.place.path}:{f.place.line}" for f in report.findings]

    return check


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("Trainer.tick", ["pkg/trainer.py:12", "pkg/trainer.py:13"]),
        ("trainer.Trainer.tick", ["pkg/trainer.py:12", "pkg/trainer.py:13"]),
        ("pkg.trainer.Trainer.tick", ["pkg/trainer.py:12", "pkg/trainer.py:13"]),
        ("Trainer.t*", ["pkg/trainer.py:12", "pkg/trainer.py:13"]),
        ("pkg.*", ["pkg/trainer.py:12", "pkg/trainer.py:13"]),
        ("tick", []),
        ("rainer.tick", []),
        ("other.Trainer.tick", []),
        ("t*", []),
    ],
)
def test_a_step_function_repeats(found: Callable[..., list[str]], name: str, lines: list[str]) -> None:
    files = {"pkg/trainer.py": TRAINER}
    assert found(files) == []
    assert found(files, Taught(step_functions=(name,))) == lines


def test_a_step_function_may_be_overridden_or_inherited(found: Callable[..., list[str]]) -> None:
    files = {"trainer.py": TRAINER, "fast.py": SUBCLASS}
    for name in ("Trainer.tick", "Fast.tick"):
        assert "trainer.py:12" in found(files, Taught(step_functions=(name,)))


@pytest.mark.parametrize(
    ("names", "lines"),
    [
        (("Trainer.trace",), ["trainer.py:13"]),
        (("Trainer.stats",), ["trainer.py:12"]),
        (("trainer.Trainer.*",), []),
        (("trace",), ["trainer.py:12", "trainer.py:13"]),
    ],
)
def test_a_bounded_attribute_is_silent(
    found: Callable[..., list[str]], names: tuple[str, ...], lines: list[str]
) -> None:
    taught = Taught(step_functions=("Trainer.tick",), bounded_containers=names)
    assert found({"trainer.py": TRAINER}, taught) == lines


def test_a_bounded_attribute_may_be_named_by_the_subclass(found: Callable[..., list[str]]) -> None:
    taught = Taught(("Trainer.tick",), (), ("Fast.trace", "Fast.stats"))
    assert found({"trainer.py": TRAINER, "fast.py": SUBCLASS}, taught) == []


def test_a_bounded_global_is_silent(found: Callable[..., list[str]]) -> None:
    assert found({"run.py": SCRIPT}) == ["run.py:7"]
    assert found({"run.py": SCRIPT}, Taught(bounded_containers=("LOG",))) == []
    assert found({"run.py": SCRIPT}, Taught(bounded_containers=("run.LOG",))) == []
    assert found({"run.py": SCRIPT}, Taught(bounded_containers=("other.LOG",))) == ["run.py:7"]


@pytest.mark.parametrize(
    ("names", "lines"),
    [
        ((), [8, 13, 18, 26]),
        (("Judge.score",), [13, 18, 26]),
        (("library.quiet",), [8, 26]),
        (("outer",), [8, 13, 18]),
        (("scores.*",), []),
    ],
)
def test_functions_with_gradients_off(
    found: Callable[..., list[str]], names: tuple[str, ...], lines: list[int]
) -> None:
    taught = Taught(no_grad_functions=names)
    assert found({"scores.py": SCORES}, taught) == [f"scores.py:{line}" for line in lines]


def test_names_that_mean_nothing(found: Callable[..., list[str]]) -> None:
    files = {"trainer.py": TRAINER, "scores.py": SCORES}
    taught = Taught(("Trainer.tock",), ("library.quiet", "Judge.scores", "zzz"), ("Trainer.traces", "Trainer.stats"))
    assert found(files, taught, unknown=True) == [
        '"step-functions": no function "Trainer.tock" in the checked files, did you mean "Trainer.tick"?',
        '"no-grad-functions": no function "Judge.scores" in the checked files, did you mean "Judge.score"?',
        '"no-grad-functions": no function "zzz" in the checked files',
        '"bounded-containers": no container "Trainer.traces" in the checked files, did you mean "Trainer.trace"?',
    ]


def test_names_of_a_nested_configuration_are_about_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "script.py").write_text(TRAINER.replace("Trainer", f"Trainer{folder}"), encoding="utf-8")
    (tmp_path / "b" / "pyproject.toml").write_text(
        '[tool.memlint]\nstep-functions = ["Trainer*", "Traner.tick"]\n', encoding="utf-8"
    )
    assert main(["check"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    warning = 'memlint: warning: b/pyproject.toml: "step-functions": no function "Trainer*" in the checked files, '
    assert said.err.startswith(warning)

    (tmp_path / "b" / "pyproject.toml").write_text(
        '[tool.memlint]\nstep-functions = ["Trainerb.*", "Traner.tick"]\n', encoding="utf-8"
    )
    main(["check"])
    said = capsys.readouterr()
    assert {line.split(":")[0] for line in said.out.splitlines()} == {"b/script.py"}
    assert 'no function "Traner.tick" in the checked files, did you mean "Trainerb.tick"?' in said.err
    main(["check", "b/script.py"])
    assert "Traner.tick" in capsys.readouterr().err, "the project around it is known"
    with (tmp_path / "b" / "pyproject.toml").open("a", encoding="utf-8") as settings:
        settings.write('link = "paths"\n')
    main(["check", "b/script.py"])
    assert "Traner.tick" not in capsys.readouterr().err, "of single files a list of names says little"
    main(["fix", "--diff"])
    assert 'no function "Traner.tick"' in capsys.readouterr().err


def test_config_shows_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.memlint]\nstep-functions = ["T.tick"]\n', encoding="utf-8")
    main(["config"])
    lines = capsys.readouterr().out.splitlines()
    assert 'step-functions = ["T.tick"]  # pyproject.toml' in lines
    assert "no-grad-functions = []  # default" in lines
