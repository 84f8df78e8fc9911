"""An agent that ticks, remembers, archives and takes snapshots: Life in small, with the standard library only.

Events come in faster than one a tick; what they leave behind fades, is archived, and is looked up again by later
events. It is written to be checked: `memlint check --select all` names the lines, `memlint fix --select all
--unsafe-fixes` and the suggested diffs repair them, and the agent is the same afterwards.

    python examples/systems/agent.py --ticks 200 --records 1000
"""

from __future__ import annotations

import argparse
import json
import queue
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Entry:
    """One thing remembered. Thousands of them are alive at a time."""

    number: int
    kind: str
    weight: float
    tick: int


@dataclass
class Event:
    """Something that happened to the agent."""

    kind: str
    strength: float
    about: int


class Archive:
    """What is too faint to be remembered and may be asked for all the same."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(self, entry: Entry) -> None:
        """Put an entry away."""
        self.entries.append(entry)

    def find(self, number: int) -> Entry | None:
        """The entry of a number."""
        # Looks at every entry that was ever archived.
        for entry in self.entries:
            if entry.number == number:
                return entry
        return None


class Memory:
    """What the agent remembers now."""

    def __init__(self, archive: Archive, size: int) -> None:
        self.archive = archive
        self.size = size
        self.entries: list[Entry] = []

    def remember(self, entry: Entry) -> None:
        """Take an entry in; where there is no room, the oldest one goes to the archive."""
        self.entries.append(entry)
        if len(self.entries) > self.size:
            self.archive.add(self.entries.pop(0))

    def decay(self, factor: float) -> None:
        """Let everything fade a little."""
        # Each entry by itself, in every tick.
        for entry in self.entries:
            entry.weight *= factor

    def strongest(self) -> float:
        """The weight of what is remembered best."""
        return max((entry.weight for entry in self.entries), default=0.0)


class Agent:
    """Lives in ticks: events in, memory changed, a line in the journal, a snapshot."""

    def __init__(self, folder: Path, size: int, traits: dict[str, float]) -> None:
        self.folder = folder
        self.traits = traits
        self.events: queue.Queue[Event] = queue.Queue()
        self.archive = Archive()
        self.memory = Memory(self.archive, size)
        self.energy = 1.0
        self.ticks = 0
        self.recalled = 0
        self.numbers = 0
        # One record for each tick of a life.
        self.moods: list[dict[str, float]] = []

    def live(self, ticks: int, world: random.Random) -> None:
        """Run for a number of ticks; the world makes things happen meanwhile."""
        while self.ticks < ticks:
            for _ in range(3):
                self.events.put(Event("seen", world.random(), world.randrange(self.numbers + 1)))
            self.tick()

    def tick(self) -> None:
        """One tick."""
        self.ticks += 1
        # Three events come in each tick and one is taken: the queue grows.
        if not self.events.empty():
            self.take(self.events.get())
        self.memory.decay(0.99)
        self.moods.append({"energy": self.energy, "strongest": self.memory.strongest()})
        # Never changes, and is written out anew in each tick.
        traits = json.dumps(self.traits, sort_keys=True)
        self.note(f"tick {self.ticks} {traits}")
        self.snapshot()

    def take(self, event: Event) -> None:
        """What an event does."""
        self.numbers += 1
        if event.strength > 0.5 and self.archive.find(event.about) is not None:
            self.recalled += 1
        self.energy = 0.9 * self.energy + 0.1 * event.strength
        self.memory.remember(Entry(self.numbers, event.kind, event.strength, self.ticks))

    def note(self, line: str) -> None:
        """A line in the journal."""
        # Opened, written and closed in each tick.
        with open(self.folder / "journal.txt", "a", encoding="utf-8") as journal:
            journal.write(line + "\n")

    def snapshot(self) -> None:
        """What the agent is, on the disk."""
        entries = [[entry.number, entry.kind, entry.weight, entry.tick] for entry in self.memory.entries]
        # The whole memory, in each tick, while the agent waits.
        with open(self.folder / "snapshot.json", "w", encoding="utf-8") as file:
            json.dump({"tick": self.ticks, "energy": self.energy, "memory": entries}, file)


def run(ticks: int = 40, records: int = 60):
    """Live for some ticks with a memory that is full. Returns what became of the agent, and the agent."""
    world = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        agent = Agent(Path(folder), records, {f"trait {number}": world.random() for number in range(50)})
        for number in range(2 * records):
            agent.numbers = number
            agent.memory.remember(Entry(number, "born", 1.0, 0))
        agent.live(ticks, world)
        lines = len((agent.folder / "journal.txt").read_text(encoding="utf-8").splitlines())
        last = json.loads((agent.folder / "snapshot.json").read_text(encoding="utf-8"))
    results = {"lines": lines, "tick": last["tick"], "records": len(agent.memory.entries)}
    return results, agent


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ticks", type=int, default=40)
    parser.add_argument("--records", type=int, default=60)
    options = parser.parse_args(arguments)
    results, agent = run(options.ticks, options.records)
    print(f"{results['tick']} ticks, {results['lines']} lines in the journal, {results['records']} entries remembered")
    print(f"energy {agent.energy:.4f}, {len(agent.archive.entries)} entries archived")


if __name__ == "__main__":
    main()
