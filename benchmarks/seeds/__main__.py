"""Each fix that the seeds name, measured: `python -m benchmarks.seeds [ROW ...] [--write] [--list]`.

Without a row all are measured. --write puts them into docs/from-the-seeds.md; --list names the rows. A row is measured
on its fixture case, before and after the repair, with the instruments of the tests; where the case is too small, or
where the document's fix helps nothing, by a function of benchmarks/seeds/work.py. Rows that need MLX say so without it.
"""

from __future__ import annotations

import argparse
import logging

import torch

from benchmarks.seeds import page
from benchmarks.seeds.rows import ROWS


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write what was asked for."""
    ask = argparse.ArgumentParser(
        prog="python -m benchmarks.seeds", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ask.add_argument("row", nargs="*", choices=[*(row.name for row in ROWS), []], metavar="ROW")
    ask.add_argument("--write", action="store_true", help="write docs/from-the-seeds.md")
    ask.add_argument("--list", action="store_true", help="name the rows and measure nothing")
    arg = ask.parse_args(arguments)
    if arg.list:
        print("\n".join(row.name for row in ROWS))
        return
    torch.set_num_threads(1)
    logging.getLogger("memlint.runtime").addHandler(logging.NullHandler())  # the helpers' warnings are what is measured
    wanted = [row for row in ROWS if not arg.row or row.name in arg.row]
    told: dict[str, str] = {}
    for row in wanted:
        told[row.name] = page.effect(row)
        print(f"{row.name}: {told[row.name]}", flush=True)
        if arg.write:
            page.write(told)  # after each row: an interrupted run keeps what it has


if __name__ == "__main__":
    main()
