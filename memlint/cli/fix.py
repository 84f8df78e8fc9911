"""`memlint fix`."""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memlint.cli import guards, inputs
from memlint.cli.narrow import Narrowing
from memlint.cli.progress import Progress
from memlint.cli.screen import Screen
from memlint.config import ALL, check_names
from memlint.report import concise, summary
from memlint.report.fixes import Fixes
from memlint.report.paint import Painter
from memlint.rule import Finding

if TYPE_CHECKING:
    from memlint.cache import Cache
    from memlint.cli.verify import Tried
    from memlint.engine import Report
    from memlint.repair import RepairReport

_WITHHELD = {
    "safe": "its fix was not applied",
    "unsafe": "its fix is unsafe: review it and apply it with --unsafe-fixes",
    "suggested": "its fix is only a suggestion: look at it with `memlint check` and apply it by hand",
}


def run(arguments: argparse.Namespace) -> int:
    """Repair the files, or show how; say what was repaired and what was left; return the exit status."""
    screen = Screen(arguments.color)
    guards.refuse_combinations(arguments)
    if arguments.restore:
        from memlint.cli import verify

        return verify.restore(screen, quiet=arguments.quiet)
    resolver = inputs.resolver(arguments)
    named = frozenset(check_names(arguments.rule, "--rule:"))
    rules = named if named and ALL not in named else None
    given = inputs.files(arguments, resolver)
    files, unusable = given.files, given.unusable
    settings = dict(files)
    narrowing = Narrowing(files)

    from memlint import engine, repair, roots  # here, so that a slip on the command line is answered without them

    if not arguments.diff:
        guards.refuse_left_over()
    seen: list[Report] = []
    cache, jobs = inputs.cache_in_use(arguments, given), inputs.jobs(arguments)
    bar = functools.partial(guards.bar, roots.Roots(arguments.paths or [os.curdir]), tried=arguments.verify is not None)
    plan = functools.partial(repair.repair, files, rules=rules, unsafe=arguments.unsafe_fixes, bar=bar)
    shown = Progress(shown=not arguments.quiet, known=len(given.around.known))
    with inputs.cluster(arguments) as cluster, shown as progress:
        quietly = functools.partial(
            engine.check, together=given.around.together, cache=cache, jobs=jobs, cluster=cluster
        )

        def check(*of: Any, **more: Any) -> Report:
            seen.append(quietly(*of, progress=progress, **more))
            return seen[-1]

        outcome = plan(check=check)
        copies, written = repair.copies(outcome)
        if not arguments.diff and not arguments.allow_dirty:
            guards.refuse_uncommitted(outcome, copies)
        tried = None
        if arguments.verify is not None and outcome.changed and not written:
            tried = _tried(arguments, outcome, functools.partial(plan, check=quietly))
            outcome = tried.report
        elif not arguments.diff:
            written = repair.write(outcome, _scratch(outcome, cache))
        # Asked again rather than added up: one repair may settle, move or uncover what another one is about.
        overlay = {path: new for path, (_, new) in outcome.changed.items()} if arguments.diff else None
        rest = check(files, overlay=overlay) if outcome.changed else seen[0]
    narrowing.apply(rest)
    _take_back(outcome, {error.path for error in written})
    errors = [*unusable, *outcome.errors, *written]
    left = [finding for finding in rest.findings if rules is None or finding.rule in rules]
    if arguments.diff:
        screen.keep_remarks_apart()
        for path, (old, new) in {**(copies if outcome.changed else {}), **outcome.changed}.items():
            screen.show_patch(path, old, new)
    else:
        if not arguments.quiet:
            screen.show(f"fixed  {concise.headline(finding, screen.paint)}\n" for finding in outcome.fixed)
        if tried is not None:
            screen.show(_reverted(tried, screen.paint, quiet=arguments.quiet))
        unwritten = {error.path for error in written}
        screen.show(_left(left, outcome, Fixes(rest.texts, settings, rest.notebooks), unwritten, screen.paint))
    for error in errors:
        screen.remark(summary.error_line(error, screen.paint_remarks))
    if not arguments.quiet:
        inputs.warn_of_cache(cache)
        inputs.warn_of_limits(given)
        inputs.warn_of_names(rest.unknown_names, arguments.paths, given)
        if files or unusable:
            screen.remark(_last_line(outcome, left, len(errors), rest.checked, tried, dry=arguments.diff))
        else:
            inputs.warn_of_nothing()
    if unusable and not files:
        return 2
    failed = bool(outcome.changed) if arguments.diff else inputs.failing(left, settings)
    return int(failed or bool(errors))


def _scratch(outcome: RepairReport, cache: Cache | None) -> Path | None:
    return cache.scratch() if cache is not None and outcome.changed else None


def _tried(arguments: argparse.Namespace, outcome: RepairReport, plan: Any) -> Tried:
    """Put on the disk what the user's command passes under."""
    from memlint.cli import verify

    old = {path: content for path, (content, _) in outcome.changed.items()}

    def make(units: Any) -> RepairReport:
        made: RepairReport = plan(only=units, contents=old)
        old.update((path, content) for path, (content, _) in made.changed.items())
        return made

    return verify.tried(outcome, make, arguments.verify, arguments.verify_timeout, quiet=arguments.quiet)


def _take_back(outcome: RepairReport, unwritten: set[str]) -> None:
    """Drop from the outcome what could not be written; without the runtime nothing is."""
    if unwritten & outcome.vendored:
        unwritten = unwritten | set(outcome.changed)
        outcome.vendored = set()
    outcome.changed = {path: change for path, change in outcome.changed.items() if path not in unwritten}
    outcome.fixed = [finding for finding in outcome.fixed if finding.place.path not in unwritten]


def _reverted(tried: Tried, paint: Painter, *, quiet: bool) -> Iterator[str]:
    for unit, finding in tried.report.aside:
        failure = tried.reverted[unit]
        yield f"reverted  {concise.headline(finding, paint)}\n"
        yield f"       with its fix the command fails: {failure.reason}\n"
        for line in () if quiet else failure.tail:
            yield f"       | {line}\n"


def _left(
    left: Sequence[Finding], outcome: RepairReport, fixes: Fixes, unwritten: set[str], paint: Painter
) -> Iterator[str]:
    refused = {(finding.rule, finding.place): reason for finding, reason in outcome.refused}
    reverted = {(finding.rule, finding.place) for _, finding in outcome.aside}
    for finding in left:
        if (finding.rule, finding.place) in reverted:
            continue
        yield f"left   {concise.headline(finding, paint)}\n"
        reason = refused.get((finding.rule, finding.place))
        if reason is None:
            cure, reason = fixes.of(finding)
            if cure is not None:
                reason = (
                    "its fix could not be written" if finding.place.path in unwritten else _WITHHELD[cure.safety.value]
                )
        yield f"       {reason or 'this rule has no fix'}\n"


def _last_line(
    outcome: RepairReport, left: Sequence[Finding], failed: int, checked: int, tried: Tried | None, *, dry: bool
) -> str:
    files = summary.plural(checked, "file")
    if outcome.fixed:
        fixed = summary.plural(len(outcome.fixed), "problem")
        text = f"{'Would fix' if dry else 'Fixed'} {fixed} in {len(outcome.changed)} of {files}"
    else:
        text = f"Nothing to fix in {files}"
    if outcome.aside:
        text += f", reverted {len(outcome.aside)}"
    if left:
        text += f", {'would leave' if dry else 'left'} {len(left)} ({summary.by_tier(left)})"
    if outcome.vendored:
        verb = "would be copied" if dry else "was copied"
        text += f"; the runtime {verb} to {', '.join(sorted(outcome.vendored))}"
    if tried is not None:
        text += f"; the command ran {summary.plural(tried.runs, 'time')}"
    if failed:
        text += f"; {summary.plural(failed, 'file')} could not be checked or repaired"
    return text + ".\n"
