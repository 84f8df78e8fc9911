"""`memlint init`: settings, the pre-commit entry and instrumentation for a project, first as a patch."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from memlint.cli import additions
from memlint.cli.progress import Progress
from memlint.cli.screen import Screen, complain
from memlint.cli.survey import Survey, look
from memlint.config import ConfigError, Overrides, Resolver, Selection, check_names, check_runtime, display_path
from memlint.report import summary

if TYPE_CHECKING:
    from memlint.engine import FileError
    from memlint.repair import RepairReport

HOOKS = ".pre-commit-config.yaml"

# Rules that ask for probes in code that is right as it is, and whose fixes put them in.
INSTRUMENTATION = ("log-memory-state", "monitor-leaks")

Changes = dict[str, "tuple[bytes | None, bytes]"]


def run(arguments: argparse.Namespace) -> int:
    """Show what would be written, or write it; return the exit status."""
    screen = Screen(arguments.color)
    if arguments.pre_commit_repo is not None and not arguments.pre_commit:
        raise ConfigError("--pre-commit-repo can't be combined with --no-pre-commit")
    runtime = check_runtime(arguments.runtime or "import", "--runtime")
    instrumentation = check_names(INSTRUMENTATION, "--instrument:") if arguments.instrument else ()
    survey = look(arguments.path)
    tool = survey.document.get("tool")
    if isinstance(tool, dict) and "memlint" in tool:
        raise ConfigError(f"{survey.path}: has a [tool.memlint] table already")
    changes: Changes = {survey.path: (survey.settings, additions.with_table(survey, _table(survey, runtime)))}
    if arguments.pre_commit:
        changes |= _hooks(survey, arguments.pre_commit_repo)

    from memlint import repair  # here, so that a slip is answered without it

    outcome = repair.RepairReport()
    errors: list[FileError] = []
    if instrumentation:
        outcome = _instrumented(survey, instrumentation, runtime, quiet=arguments.quiet)
        copies, errors = repair.copies(outcome)
        errors += outcome.errors
        if any(error.path in outcome.vendored for error in errors):
            outcome = repair.RepairReport()
        changes |= {**copies, **outcome.changed}
    folder = _common(survey, changes)
    if arguments.write:
        errors += _written(changes, outcome)
    else:
        screen.keep_remarks_apart()
        for path, (old, new) in changes.items():
            screen.show_patch(path, old, new, folder)
    for error in errors:
        screen.remark(summary.error_line(error, screen.paint_remarks))
    if not arguments.quiet:
        if not survey.files:
            complain("no Python files found in this project", "warning")
        unwritten = {error.path for error in errors}
        if unwritten & outcome.vendored:
            unwritten |= set(outcome.changed)
        paths = [path for path in changes if path not in unwritten]
        text = f"{'Wrote' if arguments.write else 'Would write'} {', '.join(paths)}." if paths else "Wrote nothing."
        if instrumentation and not outcome.changed and not errors:
            text += " Nothing to instrument was found."
        where = "" if folder == os.curdir else f" in {folder}"
        apply = f"Apply the patch with `git apply`{where}, or run this again with --write."
        screen.remark(f"{text} {'Next: `memlint check`.' if arguments.write else apply}\n")
    return int(bool(errors))


def _table(survey: Survey, runtime: str) -> str:
    if runtime != "import":
        # In the settings the path starts from their folder, on the command line from the current one.
        path = os.path.relpath(runtime.removeprefix("vendor:"), survey.root)
        runtime = "vendor:" + path.replace(os.sep, "/")
    return additions.table(survey, runtime)


def _hooks(survey: Survey, repository: str | None) -> Changes:
    """The change of the pre-commit file: none outside of git, and none where memlint is in it."""
    file = survey.top / HOOKS
    path = display_path(str(file))
    try:
        old = file.read_bytes() if file.exists() else None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if old is None and not survey.in_git:
        return {}
    if old is not None and additions.has_hook(old, path):
        return {}
    return {path: (old, additions.with_hook(old, path, additions.entry(repository)))}


def _instrumented(survey: Survey, rules: tuple[str, ...], runtime: str, *, quiet: bool) -> RepairReport:
    """What the fixes of the opt-in rules would change. They are asked for, so that unsafe ones are made."""
    from memlint import engine, repair

    overrides = Overrides(selection=Selection(select=rules), runtime=runtime)
    resolver = Resolver(overrides, isolated=True)
    files = [(file, resolver.settings(os.path.dirname(file))) for file in survey.files]
    with Progress(shown=not quiet) as progress:

        def check(*of: object, **more: object) -> engine.Report:
            return engine.check(*of, progress=progress, **more)  # type: ignore[arg-type]

        return repair.repair(files, rules=frozenset(rules), unsafe=True, check=check)


def _written(changes: Changes, outcome: RepairReport) -> list[FileError]:
    """Write each file whole or not at all; nothing of the code where the helpers can't be put first."""
    from memlint import disk, repair

    errors = []
    for path, (old, new) in changes.items():
        if path not in outcome.changed and path not in outcome.vendored:
            error = disk.create(path, new) if old is None else disk.replace(path, old, new)
            errors += [error] if error is not None else []
    return errors + repair.write(outcome)


def _common(survey: Survey, changes: Changes) -> str:
    """The folder that the patch is made for: the current one where all lies below it, else the repository's."""
    here = Path.cwd()
    inside = all(Path(os.path.realpath(path)).is_relative_to(here.resolve()) for path in changes)
    return os.curdir if inside else str(survey.top)
