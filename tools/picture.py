"""Draw the README's picture from what memlint prints to a terminal: `python -m tools.picture`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "img" / "report.svg"
ARGUMENTS = ["check", "examples/leaky_training.py", "--select", "snapshots-to-cpu", "--output-format", "full"]
COLUMNS = 120


def report() -> Text:
    """The report with its colors, as a terminal of this width gets it."""
    command = [sys.executable, "-m", "memlint", *ARGUMENTS, "--isolated", "--color", "always"]
    environment = {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8")
    if done.returncode != 1:
        raise SystemExit(f"memlint ended with {done.returncode}: {done.stderr}")
    return Text.from_ansi(done.stdout + done.stderr)


def picture() -> str:
    """The report as SVG."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(Text(f"$ memlint {' '.join(ARGUMENTS)}\n", style="bold"), report(), sep="\n")
        svg = console.export_svg(title="memlint", unique_id="memlint")
    # Rich names fonts on the web, which a page that shows the picture may not load; the next best monospace does.
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    # Not every viewer takes the spaces at the beginning of a line for what they are.
    return svg.replace("<svg ", '<svg xml:space="preserve" ', 1)


if __name__ == "__main__":
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(picture(), encoding="utf-8")
