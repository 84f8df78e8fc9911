"""How accurate memlint is, measured.

  programs   our own correct programs (benchmarks/accuracy/programs). One construct that protects memory is taken out at
             a time; each mutant is run and weighed against its original, which tells the defects from the harmless and
             the broken. Recall: defects with a new, fitting finding. False alarms: findings in an original, new ones in
             a harmless mutant, new ones that don't fit. Needs torch; some minutes on two processors.
  packages   the same mutants of public packages, downloaded now with pip and not run: how often memlint speaks to
             packages as they are, for each 1,000 lines, and to what part of the mutants, of which many are harmless.
  cases      real defects, labelled: FILE with one case a line of JSON, and git directories at MIRRORS/OWNER+NAME/repo.
             The file before the fix must be reported at the place, the file after it must be silent there.

Every rule that there is takes part, whether it is on by default or not. The tables go to stdout; --write puts them into
docs/accuracy.md, --json into a file with all that they are made of, --list names what to read: false alarms and misses.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.accuracy import cases, download, mutation, report
from benchmarks.accuracy.mutation import DEFECT, HARMLESS, Outcome


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write what was asked for."""
    arg = parser().parse_args(arguments)
    data: Any
    if arg.what == "programs":
        data = mutation.programs(processes=arg.processes)
        section, text, listed = "programs", report.programs(data), to_read(data)
    elif arg.what == "packages":
        sources = download.fetch(arg.package or download.PACKAGES)
        data = mutation.packages(sources, arg.sample, arg.processes)
        section, text, listed = "packages", report.packages(data, arg.sample), to_read(data)
    else:
        data = cases.score(cases.load(arg.file), arg.mirrors, arg.scope == "package", arg.processes)
        section, text = f"cases-{arg.scope}", report.cases(data, arg.scope == "package")
        listed = (f"{case.id} {case.klass}: {_verdict(case)}" for case in data if not (case.found() and case.silent()))
    print(text)
    if arg.list:
        print("\n".join(["", *listed]))
    if arg.write:
        page = report.PAGE.read_text(encoding="utf-8")
        report.PAGE.write_text(report.written(page, section, text), encoding="utf-8")
    if arg.json:
        arg.json.write_text(json.dumps(report.plain(data), indent=1) + "\n", encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--processes", type=int, help="how many at a time (default: as many as there are processors)")
    shared.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured to FILE")
    shared.add_argument("--write", action="store_true", help="write the tables into docs/accuracy.md")
    shared.add_argument("--list", action="store_true", help="name every false alarm and every miss")
    ask = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = ask.add_subparsers(dest="what", required=True)
    what.add_parser("programs", parents=[shared], help="mutants of our own programs")
    packages = what.add_parser("packages", parents=[shared], help="public packages and mutants of them")
    packages.add_argument("package", nargs="*", help=f"name==version (default: {' '.join(download.PACKAGES)})")
    packages.add_argument("--sample", type=int, default=50, help="mutants of each package (default: 50)")
    labelled = what.add_parser("cases", parents=[shared], help="labelled real defects")
    labelled.add_argument("file", type=Path, help="the cases, one a line of JSON")
    labelled.add_argument("--mirrors", type=Path, required=True, help="folder of git directories, OWNER+NAME/repo")
    labelled.add_argument("--scope", choices=["file", "package"], default="file", help="what is checked with the file")
    return ask


def to_read(outcome: Outcome) -> Iterable[str]:
    """False alarms and misses, one a line."""
    for said in outcome.alarms:
        yield f"said to an original: {said.path} {said}: {said.message}"
    for mutant in outcome.judged:
        where = f"{mutant.program}:{mutant.line} without {mutant.operator}"
        spoken = ", ".join(str(said) for said in (*mutant.fitting, *mutant.other))
        if mutant.verdict == HARMLESS and spoken:
            yield f"said to a harmless mutant: {where}: {spoken}"
        elif mutant.other:
            yield f"said beside the point: {where}: {', '.join(str(said) for said in mutant.other)}"
        if mutant.verdict == DEFECT and not mutant.fitting:
            yield f"missed: {where}: {mutant.why}"


def _verdict(case: cases.Scored) -> str:
    if case.absent:
        return case.absent
    said = ", ".join(str(finding) for finding in case.after)
    return f"not silent after the fix: {said}" if case.found() else "missed"


if __name__ == "__main__":
    main()
