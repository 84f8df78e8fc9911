"""A trainer on MLX with a leak monitor and a reload: the Empirical Distrust trainer in small, in Python.

It trains a small network on made-up data, watches its memory, and reloads itself from a checkpoint when it holds too
much. It needs MLX, which also runs on a CPU: pip install "mlx[cpu]". It is written to be checked: `memlint check
--select all` names the lines, `memlint fix --select all --unsafe-fixes` and the suggested diffs repair them, and the
program computes the same afterwards.

    python examples/systems/mlx_trainer.py --steps 40
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim


class Network(nn.Module):
    """Two layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, 1)

    def __call__(self, rows: mx.array) -> mx.array:
        return self.second(nn.relu(self.first(rows)))


def distrust_loss(model: Network, rows: mx.array, targets: mx.array, alpha: float = 2.7) -> mx.array:
    """A squared error that weighs rows by how little they agree with the rest."""
    errors = (model(rows).squeeze(-1) - targets).square()
    weights = mx.stop_gradient(1.0 + alpha * mx.softmax(errors))
    return (weights * errors).mean()


class LeakMonitor:
    """How much the memory grows."""

    def __init__(self) -> None:
        # One sample for each step of the training: the monitor leaks itself.
        self.samples: list[float] = []

    def sample(self, leak_mb: float) -> bool:
        """Take a sample; whether it is too much."""
        self.samples.append(leak_mb)
        return leak_mb > 1.0


class Trainer:
    """Trains, watches, reloads."""

    def __init__(self, width: int, folder: Path, checkpoints: bool, interval: int, limit_gb: float) -> None:
        self.folder = folder
        self.checkpoints = checkpoints
        self.interval = interval
        self.limit_gb = limit_gb
        self.model = Network(width)
        self.optimizer = optim.Adam(learning_rate=1e-3)
        self.monitor = LeakMonitor()
        self.reloads = 0

    def train(self, batches: list[tuple[mx.array, mx.array]]) -> float:
        """One step for each batch; the mean loss."""
        gradients_of = nn.value_and_grad(self.model, distrust_loss)
        total = mx.array(0.0)
        for step, (rows, targets) in enumerate(batches, start=1):
            loss, gradients = gradients_of(self.model, rows, targets)
            # Never evaluated: holds what every step's loss is to be computed from.
            total += loss
            self.optimizer.update(self.model, gradients)
            mx.eval(self.model.parameters(), self.optimizer.state)
            # Hopes that the memory is free by then.
            time.sleep(0.01)
            # What was freed has to be asked for again by the next gradient.
            mx.clear_cache()
            # Two probes with nothing between them: the difference is always 0.
            before = mx.get_active_memory()
            now = mx.get_active_memory()
            if self.monitor.sample((now - before) / 1e6):
                self.reload(step)
            if self.due(step):
                self.reload(step)
        return total.item() / len(batches)

    def due(self, step: int) -> bool:
        """Whether it is time to reload."""
        by_interval = self.interval > 0 and step % self.interval == 0
        # Looked at only where the interval decides already.
        by_memory = mx.get_active_memory() / 1e9 > self.limit_gb if self.interval == 0 or by_interval else False
        return by_interval or by_memory

    def save(self, path: Path) -> None:
        """Save a checkpoint, where there are to be any."""
        if not self.checkpoints:
            return
        self.model.save_weights(str(path))

    def reload(self, step: int) -> None:
        """Save, and start again from what was saved, with fresh memory."""
        path = self.folder / f"checkpoint-{step}.npz"
        # Without checkpoints nothing is saved, and there is no such file.
        self.save(path)
        self.model.load_weights(str(path))
        self.reloads += 1


def run(steps: int = 24, width: int = 32, batch: int = 64):
    """Train. Returns what was computed, and what the program still holds."""
    mx.random.seed(0)
    batches = [(mx.random.normal((batch, width)), mx.random.normal((batch,))) for _ in range(steps)]
    mx.eval(batches)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(width, Path(folder), True, interval=10, limit_gb=0.0)
        loss = trainer.train(batches)
    return {"loss": round(loss, 4), "reloads": trainer.reloads}, trainer


def fails() -> None:
    """A reload where checkpoints are switched off."""
    with tempfile.TemporaryDirectory() as folder:
        Trainer(8, Path(folder), False, interval=1, limit_gb=0.0).reload(1)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=24)
    options = parser.parse_args(arguments)
    results, trainer = run(options.steps)
    print(f"loss {results['loss']:.4f} over {options.steps} steps")
    print(f"{results['reloads']} reloads, {len(trainer.monitor.samples)} samples")


if __name__ == "__main__":
    main()
