"""What a check costs against the lines that it reads.

Usage: python -m benchmarks.scale_curve PATH... [--lines N,N,...] [--jobs N] [--folder DIR]

For each number of lines a tree of that size is put together in a folder of its own: the `*.py` files below the first
PATH, then those below the second, and so on, whole files in the order of their paths, until there are enough. So a
larger tree holds the smaller ones, and nothing twice. Each tree is checked in a process of its own, first without a
cache entry (cold), then once more (warm: nothing is asked, all is linked). CPU is user and system time of the process
and its workers, start of Python included; memory is the peak of the largest process. The rows appear as they are
done, the largest last. What they say of a thousand lines is for the plans in docs/scale.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import measure
from benchmarks.measure import Cost
from memlint.discover import EXCLUDED

ROOT = Path(__file__).resolve().parents[1]
CHECK = [sys.executable, "-m", "memlint", "check", "--isolated", "--exit-zero", "--quiet", "--cache-dir"]
ANEW = (("--color", "never"), ("--output-format", "concise"))
"""Options that say what is so anyway: what was said with others is not said again, so that all is linked."""
HEAD = "| lines | files | MB | functions | run | CPU s | elapsed s | peak MB | findings | cache MB | ms per 1k lines |"


@dataclass(slots=True)
class Tree:
    """What has been copied so far."""

    folder: Path
    lines: int = 0
    files: int = 0
    bytes: int = 0
    functions: int = 0

    def grow(self, source: Iterator[tuple[Path, Path]], lines: int) -> None:
        """Copy files until there are as many lines, or no files are left."""
        while self.lines < lines and (pair := next(source, None)) is not None:
            file, inner = pair
            data = file.read_bytes()
            copy = self.folder / inner
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            self.lines += data.count(b"\n")
            self.files += 1
            self.bytes += len(data)
            self.functions += len(re.findall(rb"^\s*(?:async )?def ", data, re.MULTILINE))


def sources(paths: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """All files, and where in the tree each goes."""
    for number, path in enumerate(paths):
        for file in sorted(path.rglob("*.py")):
            inner = file.relative_to(path)
            if file.is_file() and not EXCLUDED & {*inner.parts}:
                yield file, Path(f"{number:02}_{path.name}") / inner


def measured(folder: Path, cache: Path, jobs: int, *options: str) -> tuple[Cost, bytes]:
    """Check a folder in a process of its own: what it took, and what it found."""
    command = [*CHECK, str(cache), "-j", str(jobs), *options, "."]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as found:
        status, cost = measure.run(command, folder, found, subprocess.DEVNULL, environment)
        if status:
            sys.exit(f"the check of {folder} ended with status {status}")
        found.seek(0)
        return cost, found.read()


def size(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def row(tree: Tree, run: str, cost: Cost, found: bytes, cache: int) -> str:
    """A line of the table."""
    cells = [f"{tree.lines:,}", f"{tree.files:,}", f"{tree.bytes / 1e6:.1f}", f"{tree.functions:,}", run]
    cells += [f"{cost.cpu:.1f}", f"{cost.elapsed:.1f}", f"{cost.peak:,.0f}"]
    cells.append(f"{len(found.splitlines()):,}")
    cells += [f"{cache / 1e6:.1f}", f"{cost.cpu / tree.lines * 1e6:.0f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and print a table in Markdown."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    ask.add_argument("--lines", default="10000,100000,1000000,2500000")
    ask.add_argument("--jobs", type=int, default=1)
    ask.add_argument("--folder", help="where the trees are put together (default: a temporary folder)")
    arg = ask.parse_args()
    files = sources(arg.paths)
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}, -j{arg.jobs}\n")
    print(HEAD + "\n|" + "---|" * HEAD.count(" |"), flush=True)
    with tempfile.TemporaryDirectory(dir=arg.folder) as scratch:
        tree = Tree(Path(scratch, "tree"))
        for lines in sorted(map(int, arg.lines.split(","))):
            tree.grow(files, lines)
            if tree.lines < lines:
                sys.exit(f"all files together hold {tree.lines:,} lines only")
            cache = Path(scratch, f"cache{lines}")
            cold, found = measured(tree.folder, cache, arg.jobs)
            print(row(tree, "cold", cold, found, size(cache)), flush=True)
            again = [measured(tree.folder, cache, arg.jobs, *options) for options in ANEW]
            if any(other != found for _, other in again):
                sys.exit("the warm run differs from the cold one in what it found")
            warm = min((cost for cost, _ in again), key=lambda cost: cost.cpu)
            print(row(tree, "warm", warm, found, size(cache)), flush=True)
            shutil.rmtree(cache)


if __name__ == "__main__":
    main()
