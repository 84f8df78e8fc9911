"""Flows of energy through a lattice, in small: energy_flow as it was before its two plans for memory and speed.

A batch of energies starts in the middle plane of a box whose faces are at -1 and 1. A recurrent carrier moves each flow
a little at a time; where a flow ends decides what it is worth. It is written to be checked: `memlint check
--select all` names the lines, `memlint fix --select all --unsafe-fixes` repairs most of them, and the program computes
the same afterwards.

    python examples/systems/lattice_flows.py --steps 5 --batch 200
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

logger = logging.getLogger("lattice_flows")


@dataclass
class FlowConfig:
    """How large the lattice is, and how many flows may run through it."""

    width: int = 8
    height: int = 6
    depth: int = 8
    hidden: int = 16
    moves: int = 3
    noise: float = 0.01
    reflect_at_faces: bool = True
    # Spawning is on and nearly without limit, and the assertion below forbids to switch it off.
    max_active_flows: int = 200_000
    max_spawn_per_step: int = 100
    movement_based_spawn: bool = True

    def __post_init__(self) -> None:
        assert self.max_active_flows > 0
        assert self.max_spawn_per_step > 0


def to_nodes(positions: torch.Tensor, config: FlowConfig) -> torch.Tensor:
    """Positions between -1 and 1 in units of lattice nodes."""
    assert positions.min() >= -1.0 and positions.max() <= 1.0, "a flow left the box"
    size = torch.tensor([config.width, config.height, config.depth], device=positions.device)
    return (positions + 1.0) / 2.0 * (size - 1)


class Lattice:
    """The nodes of the box, and how flows get into it."""

    def __init__(self, config: FlowConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        axes = [torch.linspace(-1.0, 1.0, size) for size in (config.width, config.height, config.depth)]
        self.grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3).to(device)

    def round_to_nearest(self, positions: torch.Tensor) -> torch.Tensor:
        """The lattice node nearest to each position."""
        rounded = torch.zeros_like(positions)
        # The whole lattice is searched for one flow after the other.
        for i in range(positions.shape[0]):
            distances = torch.norm(self.grid - positions[i].unsqueeze(0), dim=1)
            nearest = torch.argmin(distances)
            rounded[i] = self.grid[nearest]
        return rounded

    def place(self, energies: torch.Tensor) -> torch.Tensor:
        """Start positions [batch, 3] in the middle plane, one cell after the other."""
        config, middle = self.config, self.config.depth // 2
        cells = [(i % config.width, i // config.width % config.height) for i in range(len(energies))]
        # One small tensor for each flow, each copied to the device by itself.
        starts = torch.stack([torch.tensor([x, y, middle], dtype=torch.float32, device=self.device) for x, y in cells])
        for i, (x, y) in enumerate(cells):
            # The text is made whether anybody logs it or not, and waits for the device.
            logger.debug(f"flow {i} starts at ({x}, {y}) with energy {energies[i].item():.4f}")
        size = torch.tensor([config.width, config.height, config.depth], device=self.device)
        return (starts + 0.5) / size * 2.0 - 1.0


class Carrier(nn.Module):
    """Moves flows: a displacement along each axis, and what it remembers."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.memory = nn.GRUCell(4, config.hidden)
        self.displacement = nn.Linear(config.hidden, 3)
        self.worth = nn.Linear(config.hidden, 1)
        # Made for a history of positions that nobody ever passes.
        self.position_memory = nn.Linear(15, config.hidden)

    def forward(
        self,
        position: torch.Tensor,
        energy: torch.Tensor,
        hidden: torch.Tensor,
        history: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.memory(torch.cat([position, energy], dim=-1), hidden)
        if history is not None:
            hidden = hidden + self.position_memory(history)
        displacement = 0.1 * self.displacement(hidden)
        moved = position + displacement
        # Fails at the first displacement that leads outside.
        logger.debug("deepest node %s", to_nodes(moved, self.config)[:, 2])
        moved = moved + torch.randn_like(moved) * self.config.noise
        moved = torch.clamp(moved, -1.0, 1.0)
        # Can't be true any more: the values were clamped above.
        outside = (moved < -1.0) | (moved > 1.0)
        if self.config.reflect_at_faces:
            moved = torch.where(outside, torch.sign(moved) * 2.0 - moved, moved)
        return moved, hidden


class Flow:
    """A flow that goes on after its batch, with what it carries."""

    def __init__(self, position: torch.Tensor, energy: float) -> None:
        self.position = position
        self.energy = energy


class FlowTrainer:
    """Trains a carrier, and keeps the flows that it lets live."""

    def __init__(self, config: FlowConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.lattice = Lattice(config, device)
        self.carrier = Carrier(config).to(device)
        self.optimizer = torch.optim.Adam(self.carrier.parameters(), lr=1e-3)
        self.flows = [Flow(torch.zeros(3, device=device), 1.0)]
        self.stats: dict[str, list] = {"loss": [], "reach": [], "energy": []}

    def train(self, loader: DataLoader) -> None:
        """One step for each batch of energies."""
        for (energies,) in loader:
            self.train_step(energies)

    def train_step(self, energies: torch.Tensor) -> float:
        """Send a batch through the lattice; learn to end where the energy says."""
        energy = energies.to(self.device).unsqueeze(1)
        positions, hidden = self.propagate(self.lattice.place(energies), energy)
        loss = (self.carrier.worth(hidden) - energy).pow(2).mean() + (positions[:, 2:] - energy).pow(2).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

        nodes = self.lattice.round_to_nearest(positions.detach())
        reach = self.reach(nodes, positions.detach())
        if self.config.movement_based_spawn:
            self.spawn(reach)
        # Lists that grow with every step of a run that takes days, one of them with the graph of each step.
        self.stats["loss"].append(loss)
        self.stats["reach"].append(reach)
        self.stats["energy"].append(self.energy())
        # Gives back in every step what the next step asks for again.
        torch.cuda.empty_cache()
        return loss.item()

    def propagate(self, positions: torch.Tensor, energy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Where flows are after some moves, and what the carrier remembers of each."""
        hidden = torch.zeros(len(positions), self.config.hidden, device=self.device)
        for _ in range(self.config.moves):
            positions, hidden = self.carrier(positions, energy, hidden)
        return positions, hidden

    def energy(self) -> float:
        """What all living flows carry."""
        return sum(flow.energy for flow in self.flows)

    def reach(self, nodes: torch.Tensor, positions: torch.Tensor) -> float:
        """How far the batch came along the box; counts the flows that stopped at its end."""
        ends = torch.zeros(len(nodes), dtype=torch.bool, device=self.device)
        # A mask, filled one element at a time.
        for i, depth in enumerate(nodes[:, 2].tolist()):
            if depth >= 0.9:
                ends[i] = True
        # `~` of a Python bool is -2 or -1: this is no mask any more, but picks rows 0 and 1.
        stopped = positions[ends & ~self.config.reflect_at_faces]
        logger.debug("%d flows stopped", len(stopped))
        # As many questions to the device as there are flows.
        total = 0.0
        for i in range(len(positions)):
            total += abs(positions[i, 2].item())
        return total / len(positions)

    def spawn(self, reach: float) -> None:
        """Let flows divide where the batch came far; those that have nothing left are gone."""
        for flow in list(self.flows):
            if flow.energy > 1e-3 and reach > 0.0:
                flow.energy /= 2
                # Twice as many after each step, and nothing counts them.
                self.flows.append(Flow(flow.position, flow.energy))
        self.flows = [flow for flow in self.flows if flow.energy > 1e-6]

    def save(self, path: Path) -> None:
        """Weights, and the configuration that they were trained with."""
        torch.save({"model": self.carrier.state_dict(), "config": asdict(self.config)}, path)

    def load(self, path: Path) -> None:
        """Take weights over, whatever lattice they were made for, onto the device beside the live ones."""
        checkpoint = torch.load(path)
        self.carrier.load_state_dict(checkpoint["model"])


def run(steps: int = 6, batch: int = 96, width: int = 8, device: str = "cpu"):
    """Train for some steps, save and load. Returns what was computed, and what the program still holds."""
    torch.manual_seed(0)
    config = FlowConfig(width=width, height=width, depth=width)
    trainer = FlowTrainer(config, torch.device(device))
    trainer.train(DataLoader(TensorDataset(torch.rand(steps * batch) - 0.5), batch_size=batch))
    with tempfile.TemporaryDirectory() as folder:
        trainer.save(Path(folder) / "flows.pt")
        trainer.load(Path(folder) / "flows.pt")
    losses = [loss.item() for loss in trainer.stats["loss"][-3:]]
    return {"losses": losses, "reach": trainer.stats["reach"][-3:]}, trainer


def fails() -> None:
    """A flow that is pushed out of the box ends the run."""
    torch.manual_seed(0)
    carrier = Carrier(FlowConfig())
    with torch.no_grad():
        carrier.displacement.bias.fill_(5.0)
        positions, _ = carrier(torch.full((4, 3), 0.9), torch.zeros(4, 1), torch.zeros(4, 16))
    assert positions.abs().max() <= 1.0


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    results, trainer = run(options.steps, options.batch, device=options.device)
    print(f"loss {results['losses'][-1]:.4f}, reach {results['reach'][-1]:.4f}")
    print(f"{len(trainer.stats['energy'])} steps; the flows carry {trainer.energy():.4f}")


if __name__ == "__main__":
    main()
