"""A cellular automaton that learns, with snapshots and an engine that can be reloaded: Atheria in small.

The automaton's field changes in steps by a small network with a memory (a ConvLSTM in miniature). Each episode lets it
run freely for a while and then trains the last steps. It is written to be checked: `memlint check --select all` names
the lines, `memlint fix --select all --unsafe-fixes` repairs them, and the program computes the same afterwards.

    python examples/systems/automaton.py --episodes 4 --steps 40
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
from pathlib import Path

import torch
from torch import nn

# What the server serves. A reload puts a new engine under "engine".
state: dict = {"engine": None, "log": []}


class Cells(nn.Module):
    """One step of the field: what each cell sees of its neighbours, and what it remembers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(2 * channels, 4 * channels, 3, padding=1)

    def forward(
        self, field: torch.Tensor, memory: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        h, c = memory
        i, f, o, g = self.gates(torch.cat([field, h], dim=1)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return torch.lerp(field, h, 0.5), (h, c)


class Engine:
    """A network and the device that it runs on."""

    def __init__(self, channels: int, device: torch.device) -> None:
        self.channels = channels
        self.device = device
        self.cells = Cells(channels).to(device)

    def start(self, size: int) -> torch.Tensor:
        """A field with one seed in its middle."""
        field = torch.zeros(1, self.channels, size, size, device=self.device)
        field[:, :, size // 2, size // 2] = 1.0
        return field

    def memory(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Nothing remembered yet."""
        shape = (1, self.channels, size, size)
        return torch.zeros(shape, device=self.device), torch.zeros(shape, device=self.device)


class Trainer:
    """Trains an engine's cells so that the field fills a given share of the plane."""

    def __init__(self, engine: Engine, size: int, steps: int) -> None:
        self.engine = engine
        self.size = size
        self.steps = steps
        self.optimizer = torch.optim.Adam(engine.cells.parameters(), lr=1e-3)
        self.losses: list[torch.Tensor] = []

    @torch.no_grad()
    def settle(self) -> torch.Tensor:
        """The field after it ran freely for a number of steps."""
        field, memory = self.engine.start(self.size), self.engine.memory(self.size)
        psi_history = []
        for _ in range(self.steps):
            field, memory = self.engine.cells(field, memory)
            # A state of each step, and only the last one is read.
            psi_history.append(field)
        return psi_history[-1]

    def train(self, episodes: int) -> None:
        """Train for some episodes."""
        for _ in range(episodes):
            self.train_episode(self.settle())
            self.optimizer.step()
            # A full collection in each episode: meant to free what the lists hold, which it can't.
            gc.collect()
            torch.cuda.empty_cache()

    def train_episode(self, field: torch.Tensor) -> None:
        """Gather the gradients of some steps from a field on."""
        memory = self.engine.memory(self.size)
        self.optimizer.zero_grad()
        for _ in range(4):
            # What the cells remember goes on from step to step, with the graph of all of them.
            seen, memory = self.engine.cells(field, memory)
            loss = (seen.mean() - 0.3).pow(2) + seen.pow(2).mean()
            loss.backward(retain_graph=True)
            # Each loss holds what is left of its graph.
            self.losses.append(loss)

    def activity(self, fields: list[torch.Tensor]) -> float:
        """How much of the plane is alive, over a number of fields. Nothing is trained here."""
        self.engine.cells.eval()
        total = 0.0
        for field in fields:
            field, _ = self.engine.cells(field.to(self.engine.device), self.engine.memory(self.size))
            # A graph for a backward pass that never comes.
            total += field.abs().mean().item()
        self.engine.cells.train()
        return total / len(fields)


class Simulation:
    """Lets an engine run, and keeps what the viewer asks for."""

    def __init__(self, engine: Engine, size: int) -> None:
        self.engine = engine
        self.frame = 0
        self.field = engine.start(size)
        self.memory = engine.memory(size)
        self.corners: list[torch.Tensor] = []

    def run(self, frames: int) -> None:
        """Compute a number of frames."""
        while self.frame < frames:
            self.step()

    @torch.no_grad()
    def step(self) -> None:
        """One frame."""
        self.frame += 1
        self.field, self.memory = self.engine.cells(self.field, self.memory)
        shown = torch.tanh(4.0 * self.field)
        # A corner of each picture, which keeps the whole picture.
        self.corners.append(shown[0, :, :2, :2])
        # A line for each frame, for a viewer that shows the last few.
        state["log"].append(f"frame {self.frame}: {self.field.shape[-1]} cells wide")

    @torch.no_grad()
    def film(self, frames: int) -> torch.Tensor:
        """The fields of the next frames, on the CPU."""
        field, memory = self.field, self.memory
        snapshots = []
        for _ in range(frames):
            field, memory = self.engine.cells(field, memory)
            shown = torch.tanh(4.0 * field)
            # All of them wait on the accelerator for the move after the loop.
            snapshots.append(shown)
        return torch.cat(snapshots).cpu()


async def load_engine(path: Path, channels: int, device: torch.device) -> None:
    """Serve another version of the network: what a viewer's request ends in."""
    # The file goes to the device as well, and the old engine stays until the new one is complete.
    checkpoint = torch.load(path)
    engine = Engine(channels, device)
    engine.cells.load_state_dict(checkpoint["cells"])
    state["engine"] = engine


def unload() -> None:
    """Make room, or so it looks: the entry still holds what the name held."""
    engine = state["engine"]
    engine.cells.eval()
    del engine
    gc.collect()


def run(episodes: int = 4, steps: int = 24, size: int = 16, channels: int = 4, frames: int = 12, device: str = "cuda"):
    """Reload, simulate, train. Returns what was computed, and what the program still holds."""
    torch.manual_seed(0)
    place = torch.device(device)
    engine = Engine(channels, place)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "engine.pt"
        torch.save({"cells": {name: weight.cpu() for name, weight in engine.cells.state_dict().items()}}, path)
        for _ in range(2):
            asyncio.run(load_engine(path, channels, place))
    simulation = Simulation(state["engine"], size)
    simulation.run(frames)
    trainer = Trainer(engine, size, steps)
    activity = trainer.activity([engine.start(size) for _ in range(3)])
    trainer.train(episodes)
    results = {
        "film": simulation.film(frames).mean().item(),
        "log": state["log"][-1],
        "activity": activity,
        "first loss": trainer.losses[0].item(),
    }
    unload()
    return results, (trainer, simulation, state)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    results, _ = run(options.episodes, options.steps, device=options.device)
    print(f"first loss {results['first loss']:.4f}, activity {results['activity']:.4f}")
    print(f"mean of the film {results['film']:.4f}; {results['log']}")


if __name__ == "__main__":
    main()
