"""What memlint costs beside other tools: `python -m benchmarks.speed [--write] [--only timm,one-file]`.

The other tools are installed at pinned versions, each in an environment of its own, and pinned source archives are
fetched, into a folder that later runs use again (`--folder`). Each tool is run as its users run it, with its default
rules, on the same files. CPU time is user and system, of all processes together, with the start of the program; of
several runs the smallest counts. `--write` writes docs/speed.md. Needs a system with `os.wait4`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from benchmarks.measure import Cost, least, own_peak
from benchmarks.speed.setup import MEMLINT, PARSE, PEERS, ROOT, fetched, installed, one_file
from memlint import __version__

CHECK = [*MEMLINT, "check", "--isolated", "--quiet"]
COLD, WARM = "memlint, cold, one process", "memlint, warm"
BARE = "bare `libcst.parse_module`"


class Bench:
    """The measurements of one run. lines: the page. targets: what was aimed at, the limit, the outcome, whether met."""

    def __init__(self, folder: Path, repeat: int, transformers: Path | None) -> None:
        self.folder, self.repeat, self.transformers = folder, repeat, transformers
        self.lines: list[str] = []
        self.targets: list[tuple[str, str, str, bool]] = []

    def table(self, title: str, corpus: Path, target: str) -> dict[str, Cost]:
        """Measure every tool on a path below a folder, and put a table on the page."""
        with tempfile.TemporaryDirectory() as cache:
            commands = {BARE: [*PARSE, target], COLD: [*CHECK, "--no-cache", "-j1", target]}
            warm = [*CHECK, "-j1", "--cache-dir", cache, target]
            costs = {name: least(command, corpus, self.repeat) for name, command in commands.items()}
            least(warm, corpus, 1)
            costs[WARM] = least(warm, corpus, self.repeat)
        for peer in PEERS:
            costs[peer.name] = least([*installed(peer, self.folder), target], corpus, self.repeat)
        self.lines += [f"## {title}", "", "| | CPU s | of memlint cold | of memlint warm | elapsed s | MB |"]
        self.lines += ["|---|---|---|---|---|---|"]
        for name, cost in costs.items():
            cold, warmed = cost.cpu / costs[COLD].cpu, cost.cpu / costs[WARM].cpu
            row = f"{cost.cpu:.2f} | {cold:.2f} x | {warmed:.1f} x | {cost.elapsed:.2f} | {cost.peak:.0f}"
            self.lines.append(f"| {name} | {row} |")
        self.lines.append("")
        return costs

    def aim(self, what: str, value: float, limit: float, unit: str = " x", *, least: bool = False) -> None:
        """Note a target: a value that may be at most, or must be at least, the limit."""
        met = value >= limit if least else value <= limit
        bound = "at least" if least else "at most"
        self.targets.append((what, f"{bound} {limit:g}{unit}", f"{value:.3g}{unit}", met))

    # -- the parts -----------------------------------------------------------------------------------------------------

    def timm(self) -> None:
        """All of timm."""
        corpus = fetched("timm", self.folder)
        costs = self.table(f"{corpus.parent.name}: {counted(corpus)}", corpus, ".")
        cold = costs[COLD]
        self.aim("cold check of timm against the bare parse, CPU", cold.cpu / costs[BARE].cpu, 1.35)
        self.aim("the same against torchfix", cold.cpu / costs["torchfix"].cpu, 0.10)
        self.aim("the same against torch-preflight", cold.cpu / costs["torch-preflight"].cpu, 0.05)

    def stable_baselines3(self) -> None:
        """All of stable-baselines3."""
        corpus = fetched("stable-baselines3", self.folder)
        self.table(f"{corpus.parent.name}: {counted(corpus)}", corpus, ".")

    def one_file(self) -> None:
        """One file of usual length."""
        file = one_file(fetched("timm", self.folder))
        with tempfile.TemporaryDirectory() as scratch:
            shutil.copy(file, scratch)
            costs = self.table(f"One file, `{file.name}` of timm: {counted(file)}", Path(scratch), file.name)
        self.aim("one file of 500 lines, CPU", costs[COLD].cpu, 0.30, " s")
        self.aim("the same against fixit", costs[COLD].cpu / costs["fixit"].cpu, 0.35)

    def start(self) -> None:
        """The start of the program."""
        bare = least([sys.executable, "-c", "pass"], self.folder, 20)
        shown = least([*MEMLINT, "--version"], self.folder, 20)
        self.lines += ["## Start", "", f"`memlint --version` takes {shown.cpu:.3f} s of CPU time, `python -c pass` "]
        self.lines[-1] += f"{bare.cpu:.3f} s."
        self.lines.append("")
        self.aim("`memlint --version`, CPU", shown.cpu, 0.03, " s")

    def workers(self) -> None:
        """One process and two on timm."""
        corpus = fetched("timm", self.folder)
        one, two = (least([*CHECK, "--no-cache", jobs, "."], corpus, self.repeat) for jobs in ("-j1", "-j2"))
        self.lines += ["## Processes", "", "| | CPU s | elapsed s | MB of the largest process |", "|---|---|---|---|"]
        for name, cost in (("one", one), ("two", two)):
            self.lines.append(f"| {name} | {cost.cpu:.2f} | {cost.elapsed:.2f} | {cost.peak:.0f} |")
        self.lines.append("")
        self.aim("two processes against one, elapsed", one.elapsed / two.elapsed, 1.7, least=True)
        self.aim("memory of the one process", one.peak, 130, " MB")
        self.aim("memory of the largest of two", two.peak, 130, " MB")

    def warm(self) -> None:
        """The warm run over transformers, if there is a copy of it."""
        if self.transformers is None:
            self.lines += ["The warm run over transformers was not measured: no `--transformers`.", ""]
            return
        with tempfile.TemporaryDirectory() as cache:
            command = [*CHECK, "--cache-dir", cache, "."]
            filled, warm = least(command, self.transformers, 1), least(command, self.transformers, self.repeat)
        self.lines += [f"## Warm: {self.transformers.resolve().name}: {counted(self.transformers)}", ""]
        self.lines += [f"Filling the cache takes {filled.cpu:.1f} s of CPU time, a run that finds all in it "]
        self.lines[-1] += f"{warm.cpu:.2f} s."
        self.lines.append("")
        self.aim("warm run over transformers, CPU", warm.cpu, 0.15, " s")


PARTS: dict[str, Callable[[Bench], None]] = {
    "timm": Bench.timm,
    "stable-baselines3": Bench.stable_baselines3,
    "one-file": Bench.one_file,
    "start": Bench.start,
    "workers": Bench.workers,
    "warm": Bench.warm,
}


def counted(path: Path) -> str:
    """How many files and lines are at or below a path."""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    lines = sum(file.read_bytes().count(b"\n") for file in files)
    return f"{f'{len(files):,} files, ' if path.is_dir() else ''}{lines:,} lines"


def machine() -> str:
    """The processor and how many cores of it."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = found[0] if found else name
    return f"{os.cpu_count()} cores of {name}, {platform.system()}"


def page(bench: Bench) -> str:
    """All that was measured."""
    tools = ", ".join(need.replace("==", " ") for peer in PEERS for need in peer.needs)
    rows = [
        f"| {what} | {limit} | {value} | {'yes' if met else '**no**'} |" for what, limit, value, met in bench.targets
    ]
    head = [
        "# Speed",
        "",
        "What memlint costs beside other tools, on the same files. Each tool is run as its users run it, with its",
        "default rules, and they look for different things. CPU time is user and system, of all processes together,",
        "with the start of the program; of several runs the smallest counts. MB is what the largest process holds;",
        f"below {own_peak():.0f} it can't be told from the process that measures. Written by",
        "`python -m benchmarks.speed --write`.",
        "",
        f"{datetime.date.today().isoformat()}, {machine()}, load {os.getloadavg()[0]:.1f}.",
        f"Python {platform.python_version()}, memlint {__version__}, libcst {version('libcst')}, {tools}.",
        "",
        "## Targets",
        "",
        "| | target | measured | met |",
        "|---|---|---|---|",
        *rows,
        "",
    ]
    return "\n".join([*head, *bench.lines]).rstrip() + "\n"


def main() -> None:
    """Measure and print, or write the page."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--only", default=",".join(PARTS), help=f"which parts: {', '.join(PARTS)}")
    ask.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "memlint-speed")
    ask.add_argument("--repeat", type=int, default=3)
    ask.add_argument("--transformers", type=Path, help="a copy of transformers for the warm run")
    ask.add_argument("--write", action="store_true", help="write docs/speed.md")
    arg = ask.parse_args()
    chosen = arg.only.split(",")
    if unknown := sorted(set(chosen) - set(PARTS)):
        ask.error(f"no such part: {', '.join(unknown)}")
    arg.folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(arg.folder.resolve(), arg.repeat, arg.transformers)
    for name in PARTS:
        if name in chosen:
            print(f"{name} ...", file=sys.stderr, flush=True)
            PARTS[name](bench)
    text = page(bench)
    if arg.write:
        (ROOT / "docs" / "speed.md").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
