"""From the command line to files with their settings."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, field

from memlint import discover, record
from memlint.around import Around, Together, around
from memlint.cli.screen import complain
from memlint.config import (
    ConfigError,
    Overrides,
    Resolver,
    Selection,
    Settings,
    check_names,
    check_pattern,
    check_runtime,
    display_path,
)
from memlint.rule import Finding, Tier

if TYPE_CHECKING:
    from memlint.cache import Cache
    from memlint.engine import FileError

Files = list[tuple[str, Settings]]


def resolver(arguments: argparse.Namespace) -> Resolver:
    """The settings, as far as the command line decides."""
    selected = arguments.select
    only = check_names(getattr(arguments, "rule", []), "--rule:")
    if only and selected is None:
        selected = only  # naming a rule switches it on
    selection = Selection(
        select=None if selected is None else check_names(selected, "--select:"),
        extend_select=check_names(arguments.extend_select, "--extend-select:"),
        ignore=check_names(arguments.ignore, "--ignore:"),
    )
    exclude = tuple(getattr(arguments, "exclude", []))
    for pattern in exclude:
        check_pattern(pattern, "--exclude")
    runtime = getattr(arguments, "runtime", None)
    overrides = Overrides(
        selection=selection,
        exclude=exclude,
        strict=getattr(arguments, "strict", None),
        baseline=getattr(arguments, "baseline", None),
        runtime=None if runtime is None else check_runtime(runtime, "--runtime"),
    )
    return Resolver(overrides, isolated=arguments.isolated, file=arguments.config)


class Given(Struct):
    """The files to report on, what they are to be judged with, the paths that can't be used, and standard input."""

    files: Files
    around: Around
    unusable: list[FileError] = field(default_factory=list)
    overlay: dict[str, bytes] = field(default_factory=dict)


def files(arguments: argparse.Namespace, settings: Resolver) -> Given:
    """The files below the paths on the command line."""
    from memlint.engine import FileError

    if "-" in arguments.paths:
        raise ConfigError("standard input (-) can't be combined with other paths")
    paths = arguments.paths or ["."]
    found = discover.find(paths, settings, force_exclude=arguments.force_exclude)
    unusable = [FileError(path, None, None, message) for path, message in found.problems]
    return Given(found.files, around(paths, found, settings), unusable)


def standard_input(arguments: argparse.Namespace, settings: Resolver) -> Given:
    """Standard input as one file, by the name that it goes by."""
    if arguments.paths not in ([], ["-"]):
        raise ConfigError("--stdin-filename can't be combined with paths, other than - for standard input")
    path = display_path(os.path.normpath(arguments.stdin_filename or "-"))
    if arguments.force_exclude and discover.is_excluded(path, settings):
        return Given([], Around())
    file = (path, settings.settings(os.path.dirname(path)))
    if arguments.stdin_filename is None:
        whole = Around([Together([file], {path})])  # without a name it is nobody's neighbour
    else:
        whole = around([path], discover.Found([file], taken={record.real(path): path}), settings)
    return Given([file], whole, overlay={path: sys.stdin.buffer.read()})


def cache(arguments: argparse.Namespace, project: str = "") -> Cache:
    """The cache, wherever the command line says that it is. project: the folder of the only project that is checked."""
    from memlint.cache import Cache, default_folder

    return Cache(arguments.cache_dir or default_folder(project or os.curdir))


def cache_in_use(arguments: argparse.Namespace, given: Given) -> Cache | None:
    """The cache, unless it is switched off."""
    roots = given.around.roots
    return None if arguments.no_cache else cache(arguments, roots.pop() if len(roots) == 1 else "")


def jobs(arguments: argparse.Namespace) -> int:
    """How many processes may check files at once."""
    from memlint import workers

    return workers.available() if arguments.jobs is None else int(arguments.jobs)


def warn_of_cache(cache: Cache | None) -> None:
    """Say that nothing could be cached."""
    if cache is not None and cache.problem is not None:
        record.doubt()
        folder = display_path(str(cache.folder))
        complain(f"nothing is cached: {folder}: {cache.problem.strerror or cache.problem}", "warning")


def warn_of_nothing() -> None:
    """Say that there was nothing to do."""
    complain("no Python files found under the given paths", "warning")


def warn_of_names(unknown: Sequence[str], paths: Sequence[str], given: Given) -> None:
    """Say which names in the configuration mean nothing; not where only single files are known, which say little."""
    if "" not in given.around.roots or all(record.is_folder(path) for path in paths):
        for message in unknown:
            complain(message, "warning")


def warn_of_limits(given: Given) -> None:
    """Say what is not known, though it may be expected to be."""
    for note in given.around.notes:
        complain(note, "note")


def failing(findings: Sequence[Finding], settings: Mapping[str, Settings]) -> bool:
    """Whether any finding makes the run fail: a proved one, or where its file's settings are strict any."""
    return any(finding.tier is Tier.PROVED or settings[finding.place.path].strict for finding in findings)
