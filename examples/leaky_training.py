"""A training run that works, and holds more memory with every step.

It is written to be checked: `memlint check examples/` names the lines, `memlint fix --unsafe-fixes examples/` repairs
them, and the program prints the same numbers afterwards. It runs in a second or two on a CPU:

    python examples/leaky_training.py --steps 60
"""

from __future__ import annotations

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Autoencoder(nn.Module):
    """Squeezes 16 numbers through 4."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))
        self.decoder = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 16))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(inputs))


class Trainer:
    """Trains, validates, and looks at what the encoder makes of the data."""

    def __init__(self, model: Autoencoder, device: torch.device) -> None:
        self.model = model.to(device)
        self.device = device
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-2)
        self.loss_fn = nn.MSELoss()
        self.history: list[dict[str, torch.Tensor]] = []

    def train(self, loader: DataLoader, steps: int) -> float:
        """Train for a number of steps; the loss of the last one."""
        last, step = 0.0, 0
        while step < steps:
            for (batch,) in loader:
                last = self.train_step(batch.to(self.device))
                step += 1
                if step == steps:
                    break
        return last

    def train_step(self, batch: torch.Tensor) -> float:
        """One step of the optimizer."""
        loss = self.loss_fn(self.model(batch), batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        # One record for each step of a run that may have millions, each with what is left of its graph.
        self.history.append({"loss": loss})
        return loss.item()

    def validate(self, loader: DataLoader) -> float:
        """The mean loss over a loader."""
        self.model.eval()
        total = 0.0
        for (batch,) in loader:
            batch = batch.to(self.device)
            # Builds the graph for a backward pass that never comes.
            loss = self.loss_fn(self.model(batch), batch)
            total += loss.item()
        self.model.train()
        return total / len(loader)

    @torch.no_grad()
    def codes(self, loader: DataLoader) -> torch.Tensor:
        """What the encoder makes of every row, on the CPU."""
        snapshots = []
        for (batch,) in loader:
            # All of them wait on the accelerator for the move after the loop.
            snapshots.append(self.model.encoder(batch.to(self.device)))
        return torch.cat(snapshots).cpu()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)

    torch.manual_seed(0)
    data = TensorDataset(torch.randn(256, 4) @ torch.randn(4, 16))
    trainer = Trainer(Autoencoder(), torch.device(options.device))
    loss = trainer.train(DataLoader(data, batch_size=32, shuffle=True), options.steps)
    loader = DataLoader(data, batch_size=64)
    codes = trainer.codes(loader)
    print(f"training loss {loss:.4f}, {len(trainer.history)} steps on record")
    print(f"validation loss {trainer.validate(loader):.4f}")
    print(f"{codes.shape[0]} codes, spread {codes.std():.4f}")


if __name__ == "__main__":
    main()
