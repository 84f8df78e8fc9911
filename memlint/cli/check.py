"""`memlint check`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from memlint.cli import inputs
from memlint.cli.narrow import Narrowing
from memlint.cli.progress import Progress
from memlint.cli.screen import Screen
from memlint.config import ConfigError
from memlint.report import concise, full, github, jsonlist, sarif, summary
from memlint.report.fixes import Fixes

if TYPE_CHECKING:
    from memlint.engine import FileError, Report
    from memlint.report.paint import Painter


def run(arguments: argparse.Namespace) -> int:
    """Check the files, show what was found, and return the exit status."""
    screen = Screen(arguments.color, arguments.output_file)
    layout = arguments.output_format or ("full" if screen.is_terminal else "concise")
    if layout not in ("concise", "full"):
        screen.keep_remarks_apart()
    if arguments.statistics and layout in ("sarif", "github"):
        raise ConfigError(f"--statistics can't be shown as {layout}")
    resolver = inputs.resolver(arguments)
    if arguments.stdin_filename is not None or arguments.paths == ["-"]:
        given = inputs.standard_input(arguments, resolver)
    else:
        given = inputs.files(arguments, resolver)
    files, unusable, known = given.files, given.unusable, given.around.known
    narrowing = Narrowing(files, arguments, known)

    from memlint import engine  # here, so that a slip on the command line is answered without it

    cache, jobs = inputs.cache_in_use(arguments, given), inputs.jobs(arguments)
    shown = Progress(shown=not arguments.quiet, known=len(known))
    with inputs.cluster(arguments) as cluster, shown as progress:
        together, overlay = given.around.together, given.overlay
        report = engine.check(
            files, together=together, overlay=overlay, progress=progress, cache=cache, jobs=jobs, cluster=cluster
        )
    narrowing.apply(report)
    errors = [*unusable, *report.errors]
    settings = dict(files)
    fixes = Fixes(report.texts, settings, report.notebooks)
    layout = f"{layout} statistics" if arguments.statistics else layout
    screen.show(_rendered(layout, report, errors, fixes, screen.paint))
    for error in errors:
        screen.remark(summary.error_line(error, screen.paint_remarks))
    if not arguments.quiet:
        inputs.warn_of_cache(cache)
        inputs.warn_of_limits(given)
        inputs.warn_of_names(report.unknown_names, arguments.paths, given)
        narrowing.warn()
        if narrowing.written:
            screen.remark(narrowing.written)
        elif files or unusable:
            left_out = narrowing.left_out
            screen.remark(
                summary.last_line(report.findings, report.checked, len(errors), screen.paint_remarks, left_out)
            )
        else:
            inputs.warn_of_nothing()
        if layout == "full":
            screen.remark(summary.fix_hint(fixes.count))
    if unusable and not files:
        return 2
    failed = bool(errors) or inputs.failing(report.findings, settings)
    return int(failed and not arguments.exit_zero)


def _rendered(layout: str, report: Report, errors: Sequence[FileError], fixes: Fixes, paint: Painter) -> Iterator[str]:
    findings = report.findings
    if layout == "json":
        return jsonlist.render(findings, fixes)
    if layout == "sarif":
        return sarif.render(findings, errors, report.texts, fixes)
    if layout == "github":
        return github.render(findings, errors)
    if layout == "full":
        return full.render(findings, report.texts, fixes, paint)
    if layout == "json statistics":
        return summary.statistics_json(findings)
    if layout == "concise":
        return concise.render(findings, paint)
    return summary.statistics(findings, paint)
