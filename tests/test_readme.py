"""What the README says is so."""

from __future__ import annotations

import html
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from memlint import config
from tests.support import ROOT
from tools import picture, readme_table

README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    """The text below a heading, up to the next one."""
    _, _, rest = README.partition(f"\n## {heading}\n")
    assert rest, f"no section {heading!r}"
    return rest.partition("\n## ")[0]


def blocks(language: str, text: str = README) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_rule_table_is_the_one_of_the_code() -> None:
    assert readme_table.with_table(README) == README, "run: python -m tools.readme_table"


def test_there_are_two_commands_to_set_up_each_of_one_line() -> None:
    commands = blocks("sh", section("Set up"))
    assert [command.count("\n") for command in commands] == [1, 1]


def test_the_first_command_reports_on_the_examples() -> None:
    command = blocks("sh", section("Set up"))[0].strip().rpartition(" && ")[2]
    program, *arguments = command.split()
    assert program == ".venv/bin/memlint"
    done = subprocess.run(
        [sys.executable, "-m", "memlint", *arguments], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert "examples/leaky_training.py:" in done.stdout
    assert "examples/leaky_lattice.py:" in done.stdout


def test_ci_runs_the_second_command() -> None:
    make, *rest = blocks("sh", section("Set up"))[1].strip().split(" && ")
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace(" --quiet --disable-pip-version-check", "")
    lines = script.splitlines()
    assert lines.index(make.replace("python3", '"$python"')) < lines.index(rest[0]) < lines.index(rest[1])
    assert lines[-1] == rest[-1]


def test_every_key_of_the_configuration_is_shown_and_right(tmp_path: Path) -> None:
    (example,) = blocks("toml")
    file = tmp_path / "pyproject.toml"
    file.write_text(example, encoding="utf-8")
    layer = config.read(str(file), str(tmp_path))
    assert layer is not None
    assert {key[0] for key in layer} == set(config.KEYS)


@pytest.mark.parametrize("line", [line for block in blocks("sh", section("Use")) for line in block.splitlines()])
def test_a_command_is_understood(line: str, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "empty.py").touch()
    program, *arguments = shlex.split(line, comments=True)
    assert program == "memlint"
    done = subprocess.run(
        [sys.executable, "-m", "memlint", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr


EXPLAINED = """\
import torch


class Trainer:
    def __init__(self):
        self.log = []

    def put(self, x):
        self.log.append(torch.relu(x))


def train(trainer: Trainer, batches):
    for i in range(len(batches)):
        trainer.put(batches[i])
"""


def test_a_finding_is_explained_as_shown(tmp_path: Path) -> None:
    (tmp_path / "trainer.py").write_text(EXPLAINED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "memlint", "check", "--output-format", "full"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    (shown,) = blocks("", section("How it decides"))
    assert shown in re.sub("(?m)^ +", "", done.stdout)


def test_the_pre_commit_snippet_is_valid(tmp_path: Path) -> None:
    (snippet,) = blocks("yaml", section("pre-commit"))
    file = tmp_path / ".pre-commit-config.yaml"
    file.write_text(snippet, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config", str(file)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert re.findall(r"id: (\S+)", snippet) == re.findall(
        r"^- id: (\S+)", (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"), re.MULTILINE
    )


def test_the_picture_shows_what_memlint_says() -> None:
    shown = re.findall(r"<text[^>]*>([^<]*)</text>", picture.PICTURE.read_text(encoding="utf-8"))
    words = html.unescape("".join(shown)).split()
    assert "".join(picture.report().plain.split()) in "".join(words), "run: python -m tools.picture"


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)]+)\)", README))
def test_a_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).is_file()
