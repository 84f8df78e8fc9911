"""A service that answers, resumes, reloads and unloads, each time with one model more in memory than it needs.

It is written to be checked, like leaky_training.py, and runs in seconds on a CPU:

    python examples/leaky_service.py --reloads 2
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from pathlib import Path

import torch
from torch import nn


class Scorer(nn.Module):
    """A number for each row."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.layers(rows)


class Service:
    """Holds one model, or should."""

    def __init__(self, width: int, device: torch.device) -> None:
        self.width = width
        self.device = device
        self.model = Scorer(width).to(device)

    def reload(self, path: Path) -> None:
        """Take the weights of another version."""
        # The old model stays until the new one is complete.
        self.model = Scorer(self.width).to(self.device)
        # On a GPU the file's tensors go there as well, a third copy.
        self.model.load_state_dict(torch.load(path)["model"])

    @torch.no_grad()
    def answer(self, rows: torch.Tensor) -> float:
        """The mean score."""
        return self.model(rows.to(self.device)).mean().item()

    def unload(self) -> None:
        """Make room, or so it looks: the attribute still holds what the name held."""
        model = self.model
        model.eval()
        del model
        gc.collect()
        # Nothing becomes free by waiting.
        time.sleep(0.01)
        torch.cuda.empty_cache()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reloads", type=int, default=2)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)

    torch.manual_seed(0)
    service = Service(options.width, torch.device(options.device))
    rows = torch.ones(8, options.width)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "version.pt"
        for number in range(options.reloads):
            torch.save({"model": Scorer(options.width).state_dict()}, path)
            service.reload(path)
            print(f"version {number}: {service.answer(rows):.4f}")
    service.unload()


if __name__ == "__main__":
    main()
