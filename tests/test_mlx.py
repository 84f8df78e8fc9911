"""Code for MLX: what memlint says to it, and that the rules for torch's graphs and devices say nothing."""

from __future__ import annotations

import pytest

from tests.support.case import findings

TRAINER = """
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim


class Trainer:
    def __init__(self, model: nn.Module):
        self.model = model
        self.optimizer = optim.Adam(learning_rate=1e-3)
        self.history = []
        self.rows = []

    def evaluate(self, loss_fn, batches):
        self.model.eval()
        total = mx.array(0.0)
        for batch in batches:
            losses, size = loss_fn(self.model, *batch)
            total += losses * size
            mx.eval(total)
        return total.item()

    def predict(self, x):
        self.model.eval()
        out = self.model(x)
        return out.argmax(axis=-1).tolist()

    def snapshot(self, x):
        hidden = self.model.encode(x)
        mx.eval(hidden)
        self.rows.append(hidden[0].squeeze())

    def fit(self, loss_fn, batches):
        step = nn.value_and_grad(self.model, loss_fn)
        while True:
            for batch in batches:
                loss, grads = step(self.model, batch)
                self.optimizer.update(self.model, grads)
                mx.eval(self.model.parameters(), self.optimizer.state, loss)
                self.history.append(loss)
                mx.set_cache_limit(0)
"""
TORCH_ONLY = [
    "no-grad-inference",
    "snapshots-to-cpu",
    "clone-kept-views",
    "detach-recurrent-state",
    "detach-kept-tensors",
]


@pytest.mark.parametrize("rule", TORCH_ONLY)
def test_a_rule_for_torch_is_silent(rule: str) -> None:
    assert findings(rule, TRAINER) == []


def test_a_history_of_arrays_is_a_history() -> None:
    said = findings("bound-history", TRAINER)
    assert any("self.history" in finding.message for finding in said)


@pytest.mark.parametrize(
    ("evaluated", "count"),
    [
        ("pass", 1),
        ("mx.eval(total)", 0),
        ("mx.eval(model.parameters())", 1),
        ("print(total)", 0),
        ("mx.eval(total.shape[0])", 1),
        ("mean = total / 2; mx.async_eval(mean)", 0),
        ("watch(total)", 0),
    ],
)
def test_what_evaluates_a_sum(evaluated: str, count: int) -> None:
    lines = [
        "import mlx.core as mx",
        "def validate(model, loss_fn, batches, watch):",
        "    total = mx.array(0.0)",
        "    for batch in batches():",
        "        total += loss_fn(model, batch)",
        f"        {evaluated}",
        "    return total.item()",
    ]
    assert len(findings("detach-kept-tensors", "\n".join(lines) + "\n")) == count


@pytest.mark.parametrize("wrapped", ["mx.grad(f)", "mx.compile(f)", "nn.value_and_grad(model, f)"])
def test_a_function_that_mlx_traces_is_left_alone(wrapped: str) -> None:
    body = "    for _ in range(500):\n        x = x + mx.sin(x)\n    mx.eval(x)\n    return x\n"
    text = f"import mlx.core as mx\nimport mlx.nn as nn\ndef f(x: mx.array):\n{body}"
    assert len(findings("detach-kept-tensors", text)) == 1
    assert findings("detach-kept-tensors", f"{text}def g(model):\n    return {wrapped}\n") == []
