"""A colony that works, and whose members and memories multiply.

Cells feed, divide and die; the field that they live in is relaxed at each step. It is written to be checked, like
leaky_training.py, and runs in a second on a CPU:

    python examples/leaky_colony.py --steps 8
"""

from __future__ import annotations

import argparse

import torch


class Cell:
    """One cell, with what it remembers."""

    def __init__(self, energy: float, memory: torch.Tensor) -> None:
        self.energy = energy
        self.memory = memory


class Colony:
    """The cells and their field."""

    def __init__(self, size: int) -> None:
        self.steps = 0
        self.field = torch.linspace(0.0, 1.0, size)
        self.cells = [Cell(1.0, torch.zeros(8))]

    def run(self, steps: int) -> None:
        """Take a number of steps."""
        while self.steps < steps:
            self.step()
            self.steps += 1

    def step(self) -> None:
        """Feed every cell; the rich ones divide, the starved ones are gone."""
        self.field = relaxed(self.field, 50)
        food = self.field.mean().item()
        for cell in list(self.cells):
            cell.energy += food
            if cell.energy > 1.5:
                cell.energy /= 2
                # Twice as many after each good step, with nothing to stop them.
                self.cells.append(Cell(cell.energy, cell.memory + 1.0))
        self.cells = [cell for cell in self.cells if cell.energy > 0.1]


def relaxed(field: torch.Tensor, passes: int) -> torch.Tensor:
    """The field after a number of passes of diffusion."""
    fields = [field]
    for _ in range(passes):
        now = fields[-1]
        # All of them are kept, and only the last one is asked for.
        fields.append(torch.lerp(now, torch.roll(now, 1), 0.5))
    return fields[-1]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--size", type=int, default=1000)
    options = parser.parse_args(arguments)

    colony = Colony(options.size)
    colony.run(options.steps)
    print(f"{len(colony.cells)} cells after {colony.steps} steps")
    print(f"field between {colony.field.min():.4f} and {colony.field.max():.4f}")


if __name__ == "__main__":
    main()
