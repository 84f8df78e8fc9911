"""Training frameworks: which methods they call in every step, which with gradients off, what their wrappers give."""

from __future__ import annotations

import pytest

from memlint.facts import FileFacts
from memlint.facts import values as v
from memlint.facts.summary import summarize
from memlint.project import Project
from memlint.source import Source


def project(code: str) -> Project:
    return Project([summarize(FileFacts(Source("a.py", code.encode())))])


HOOK = """\
from {package} import {base}

class Mine({base}):
    def {hook}(self, *args):
        self.help()

    def help(self):
        pass
"""


@pytest.mark.parametrize(
    ("package", "base", "hook", "per_step", "grad_off"),
    [
        ("pytorch_lightning", "LightningModule", "training_step", True, False),
        ("lightning.pytorch", "Callback", "on_validation_end", False, True),
        ("lightning.pytorch", "Callback", "on_train_batch_end", True, False),
        ("lightning.pytorch", "Callback", "on_predict_batch_end", True, True),
        ("lightning.pytorch", "Callback", "on_step_end", False, False),
        ("transformers", "TrainerCallback", "on_step_end", True, False),
        ("transformers", "TrainerCallback", "on_epoch_end", False, False),
        ("transformers", "Trainer", "compute_loss", True, False),
        ("transformers", "Trainer", "prediction_step", True, False),
        ("trl", "SFTTrainer", "training_step", True, False),
        ("stable_baselines3.common.callbacks", "BaseCallback", "_on_step", True, False),
        ("stable_baselines3.common.callbacks", "BaseCallback", "_on_rollout_end", False, False),
        ("stable_baselines3.common.policies", "BasePolicy", "_predict", True, True),
        ("skorch.callbacks", "Callback", "on_batch_end", True, False),
        ("fastai.callback.core", "Callback", "after_batch", True, False),
        ("fastai.callback.core", "Callback", "after_validate", False, True),
        ("mmengine.hooks", "Hook", "after_train_iter", True, False),
        ("mmcv.runner", "Hook", "after_val_iter", True, True),
        ("composer", "Callback", "batch_end", True, False),
        ("composer", "Callback", "eval_end", False, True),
        ("catalyst.dl", "Runner", "handle_batch", True, False),
        ("poutyne", "Callback", "on_train_batch_end", True, False),
        ("torchmetrics", "Metric", "update", True, False),
        ("somewhere", "Base", "on_train_batch_end", True, False),
        ("somewhere", "Base", "validation_step", True, True),
        ("somewhere", "Base", "compute_loss", False, False),
        ("somewhere", "Base", "update", False, False),
        ("torch.nn", "Module", "training_step", False, False),
    ],
)
def test_hooks(package: str, base: str, hook: str, per_step: bool, grad_off: bool) -> None:
    linked = project(HOOK.format(package=package, base=base, hook=hook))
    for name in (f"Mine.{hook}", "Mine.help"):
        assert (("a", name) in linked.per_step) == per_step
        assert (("a", name) in linked.under_no_grad) == grad_off


def test_a_method_of_a_class_of_the_project_alone_is_no_hook() -> None:
    linked = project(
        "class Base: pass\nclass Mine(Base):\n    def validation_step(self): pass\n    def _on_step(self): pass\n"
    )
    assert (linked.per_step, linked.under_no_grad) == ({}, set())


def test_a_hook_that_training_calls_as_well_is_not_always_without_gradients() -> None:
    linked = project(
        "from lightning import LightningModule\nclass Mine(LightningModule):\n"
        "    def training_step(self, batch):\n        return self.validation_step(batch)\n"
        "    def validation_step(self, batch):\n        return self.shared(batch)\n"
        "    def test_step(self, batch):\n        return self.shared(batch)\n"
        "    def shared(self, batch): pass\n"
    )
    assert linked.under_no_grad == {("a", "Mine.test_step")}


ENGINE = """\
from ignite.engine import Engine, Events

def update(engine, batch): pass

def by_iteration(engine): pass
def at_intervals(engine): pass
def by_epoch(engine): pass
def either(engine): pass

class Log:
    def attach(self, engine):
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.note)
        engine.add_event_handler(event_name=Events.ITERATION_COMPLETED, handler=self.other)
    def note(self, engine): pass
    def other(self, engine): pass

def main(log):
    trainer = Engine(update)
    trainer.add_event_handler(Events.ITERATION_STARTED, by_iteration)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=100), at_intervals)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, by_epoch)
    trainer.add_event_handler(Events.EPOCH_STARTED | Events.ITERATION_COMPLETED, either)

    @trainer.on(Events.ITERATION_COMPLETED)
    def inner(engine):
        helped()

    @trainer.on(Events.EPOCH_COMPLETED)
    def rare(engine): pass

    @button.on(Events.CLICKED)
    def other(engine): pass

def helped(): pass
"""


def test_handlers_of_an_engine() -> None:
    linked = project(ENGINE)
    assert {name for _, name in linked.per_step} == {
        "update", "by_iteration", "either", "Log.note", "Log.other", "main.<locals>.inner", "helped",
    }  # fmt: skip


WRAPPED = """\
import torch
from torch import nn
from torch.utils.data import DataLoader
from accelerate import Accelerator
import deepspeed

def main(data, other):
    accelerator = Accelerator()
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(data)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    alone = accelerator.prepare(nn.Linear(1, 1))
    parts = other.prepare(loader, model)
    engine, opt, _, _ = deepspeed.initialize(model=model)
    for batch in loader:
        loss = model(batch).mean()
        accelerator.backward(loss)
        losses = accelerator.gather(loss)
"""


def test_what_a_wrapper_gives_back() -> None:
    (main,) = FileFacts(Source("a.py", WRAPPED.encode())).scopes
    env = main.env
    assert [(env[name].kind, env[name].device) for name in ("model", "optimizer", "alone", "engine", "opt")] == [
        (v.MODULE, v.ACCELERATOR), (v.OPTIMIZER, v.ACCELERATOR), (v.MODULE, v.ACCELERATOR), (v.MODULE, v.ACCELERATOR),
        (v.OPTIMIZER, v.ACCELERATOR),
    ]  # fmt: skip
    assert env["loader"].kind == v.LOADER
    assert env["batch"].device == v.ACCELERATOR
    assert [part.kind for part in env["parts"].parts or ()] == [v.LOADER, v.MODULE]
    assert (env["accelerator"].kind, env["loss"].grad, env["losses"].grad) == (v.UNKNOWN, v.ATTACHED, v.ATTACHED)
    assert [forward.receiver for forward in main.events.forwards] == ["model"]
    assert [use.how for use in main.events.forwards[0].uses] == ["trained"]
    assert len(main.events.training) == 1
