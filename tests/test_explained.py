"""A finding explains itself: what, where it lies, which graph, who holds it, which loop, who calls, what is unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from memlint import engine
from memlint.conditions import Open
from memlint.config import Settings
from memlint.project import Project
from memlint.rule import Finding, Place, Proposal, Tier


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def found(**files: str) -> list[Finding]:
    for name, text in files.items():
        Path(f"{name}.py").write_text(text, encoding="utf-8")
    report = engine.check([(f"{name}.py", Settings()) for name in files])
    assert not report.errors
    return report.findings


def chain(finding: Finding) -> list[tuple[str, int, str]]:
    return [(step.place.path, step.place.line, step.message) for step in finding.evidence]


TRAINER = """\
import torch
from torch import nn


class Trainer:
    def __init__(self):
        self.net = nn.Linear(3, 1).to("cuda")
        self.log = []

    def tick(self, batch):
        out = self.net(batch)
        self.keep({"loss": out})

    def advance(self, batch):
        loss = self.net(batch).mean()
        self.log.append({"loss": loss})
        loss.backward()
"""
SCRIPT = """\
from trainer import Trainer


def run(trainer: Trainer, queue):
    while True:
        work(trainer, queue.get())


def work(trainer: Trainer, batch):
    trainer.advance(batch)
"""


def test_the_whole_chain_of_a_history() -> None:
    (finding,) = (f for f in found(trainer=TRAINER, script=SCRIPT) if f.rule == "bound-history")
    assert finding.tier is Tier.PROVED
    assert chain(finding) == [
        ("trainer.py", 16, "each step adds a dict that holds a tensor on the accelerator with its graph"),
        ("trainer.py", 15, "`self.net` runs here with gradients on, which makes the graph"),
        ("trainer.py", 8, "`Trainer.log` is made once here, as a list"),
        ("script.py", 6, "`work` is called in a loop here"),
        ("script.py", 10, "`work`, which repeats, calls `Trainer.advance`"),
    ]
    assert finding.unknowns == []
    assert finding.silent_if == (
        "something that runs clears `Trainer.log`, or it is listed under `bounded-containers`",
    )


SUSPECTED = {
    "parameter": (
        "import torch\ndef score(net, x):\n    return net(x).detach().argmax(1)\n",
        [("whether `net` is a module", "annotate `net: nn.Module`")],
    ),
    "attribute": (
        "import torch\nclass K:\n    def __init__(self, net):\n        self.net = net\n"
        "    def score(self, x):\n        return self.net(x).detach().argmax(1)\n",
        [("whether `self.net` is a module", "annotate `self.net` where it is set, with the class of the module")],
    ),
    "helper": (
        "import torch\nfrom torch import nn\nfrom lib import quiet\ndef score(net: nn.Module, x):\n"
        "    with quiet():\n        return net(x).argmax(1).tolist()\n",
        [
            (
                "whether `quiet`, which is not in the checked files, switches gradients off",
                "check its file too, or list `quiet` under `no-grad-functions`",
            )
        ],
    ),
    "base": (
        "import torch\nfrom torch import nn\nfrom lib import Base\nclass K(Base):\n"
        "    def score(self, net: nn.Module, x):\n        return net(x).argmax(1).tolist()\n",
        [
            (
                "whether `lib.Base`, which is not in the checked files, calls `score` under no_grad",
                "check the files of `lib.Base` too, or list `K.score` under `no-grad-functions`",
            )
        ],
    ),
    "loop": (
        "import torch\nclass K:\n    def __init__(self):\n        self.log = []\n    def put(self, x):\n"
        "        self.log.append(torch.relu(x))\n"
        "def main(k: K, steps):\n    for i in range(steps):\n        k.put(i)\n",
        [("whether that loop runs for long", "list `K.put` under `step-functions`")],
    ),
    "reset": (
        "import torch\nclass K:\n    def __init__(self):\n        self.log = []\n    def put(self, x):\n"
        "        self.log.append(torch.relu(x))\n    def forget(self):\n        self.log.clear()\n"
        "def main(k: K, q):\n    while True:\n        k.put(q.get())\n",
        [
            (
                "whether anything calls `forget`, which would trim it",
                "check what calls `forget` too, or list `K.log` under `bounded-containers`",
            )
        ],
    ),
    "numbers": (
        "class K:\n    def __init__(self):\n        self.log = []\n    def put(self, x):\n"
        "        self.log.append(float(x))\ndef main(k: K, q):\n    while True:\n        k.put(q.get())\n",
        [
            (
                "whether the run is long enough for numbers to matter",
                "list `K.log` under `bounded-containers`, or keep the last ones only",
            )
        ],
    ),
}


@pytest.mark.parametrize("name", SUSPECTED)
def test_what_is_unknown_and_what_would_settle_it(name: str) -> None:
    code, unknowns = SUSPECTED[name]
    (finding,) = found(a=code)
    assert finding.tier is Tier.SUSPECTED
    assert finding.unknowns == unknowns


def test_how_much_each_step_adds() -> None:
    code = (
        "import torch\ndef windows(values):\n    parts = []\n    for value in values:\n"
        "        parts.append(torch.full((16, 8), 0.5, device='cuda') * 2.0)\n    return torch.cat(parts).cpu()\n"
    )
    (finding,) = found(a=code)
    assert chain(finding)[0][2] == "appended on the device where it was computed, about 512 bytes: [16, 8] float32"


def test_a_question_that_nothing_in_the_source_answers_is_for_a_measurement() -> None:
    proposal = Proposal("It grows.", Place("a.py", 1, 1, 1, 2), None, conditions=(Open("whether it matters"),))
    judged = engine.judge(proposal, Project([]))
    assert judged is not None
    assert judged[0].unknowns == [("whether it matters", "measure the memory of a run: nothing in the source says it")]
