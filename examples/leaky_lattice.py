"""A simulation that works, until a point leaves the lattice, and that grows and crawls until then.

Points drift through a cube whose corners are at -1 and 1, pushed by a small network; at each step they are counted at
the lattice node that is nearest. It is written to be checked, like leaky_training.py, and runs in seconds on a CPU:

    python examples/leaky_lattice.py --steps 20
"""

from __future__ import annotations

import argparse
import logging

import torch
from torch import nn

logger = logging.getLogger(__name__)


class Lattice:
    """The nodes of a regular lattice in the cube."""

    def __init__(self, nodes_per_axis: int, device: torch.device) -> None:
        axis = torch.linspace(-1.0, 1.0, nodes_per_axis, device=device)
        self.grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)

    def round(self, positions: torch.Tensor) -> torch.Tensor:
        """The nearest node of each position."""
        rounded = torch.zeros_like(positions)
        # One search of the whole lattice after the other, where the device could do them all together.
        for i in range(positions.shape[0]):
            distances = torch.norm(self.grid - positions[i].unsqueeze(0), dim=1)
            rounded[i] = self.grid[torch.argmin(distances)]
        return rounded


class Flow(nn.Module):
    """Where a point is pushed to from where it is: a few hundredths along each axis."""

    def __init__(self) -> None:
        super().__init__()
        self.field = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 3), nn.Tanh())

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        displacement = 0.02 * self.field(positions)
        # The text is built, and the number read back from the device, although the level is off.
        logger.debug(f"largest displacement {displacement.abs().max():.4f}")
        return displacement


class Simulation:
    """Points, the flow that moves them, and what was measured on the way."""

    def __init__(self, points: int, lattice: Lattice, flow: Flow, device: torch.device, frozen: bool = False) -> None:
        self.lattice = lattice
        self.frozen = frozen  # to measure without moving: `~` never says so, it is true of True and False
        self.flow = flow.to(device)
        self.positions = torch.rand(points, 3, device=device) - 0.5
        self.labels = ["tracer" if number % 10 == 0 else "bulk" for number in range(points)]
        self.stats: dict[str, list[float]] = {"spread": [], "occupied": []}

    def run(self, steps: int) -> None:
        """Take a number of steps."""
        for _ in range(steps):
            self.step()

    @torch.no_grad()
    def step(self) -> None:
        """Move every point, then measure."""
        displacement = self.flow(self.positions)
        moved = self.positions + displacement
        # Holds as long as no point comes near a face of the cube; then the run is over.
        assert moved.min() >= -1.0 and moved.max() <= 1.0, "a point left the cube"
        if ~self.frozen:
            self.positions = moved

        nodes = self.lattice.round(self.positions)
        # Two lists that grow with every step of the simulation.
        self.stats["spread"].append(self.positions.std().item())
        self.stats["occupied"].append(float(len(torch.unique(nodes, dim=0))))

    def tracers_above(self) -> int:
        """How many tracers are in the upper half of the cube."""
        device = self.positions.device
        chosen = torch.zeros(len(self.labels), dtype=torch.bool, device=device)
        # One small write to the device for each tracer, where a list could be filled and copied.
        for i, label in enumerate(self.labels):
            if label == "tracer":
                chosen[i] = True
        heights = self.positions[chosen, 2]
        above = 0
        # Each tracer is asked for its height, and each answer is waited for.
        for i in range(heights.shape[0]):
            if heights[i].item() > 0.0:
                above += 1
        return above


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)

    torch.manual_seed(0)
    device = torch.device(options.device)
    simulation = Simulation(options.points, Lattice(9, device), Flow(), device)
    simulation.run(options.steps)
    print(f"{options.points} points, {len(simulation.stats['spread'])} steps")
    print(f"{simulation.tracers_above()} tracers in the upper half")
    print(f"spread {simulation.stats['spread'][-1]:.4f}, nodes occupied {simulation.stats['occupied'][-1]:.0f}")


if __name__ == "__main__":
    main()
