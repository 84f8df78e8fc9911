"""A check of what was checked before, with nothing changed: said again from the cache."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from memlint import __version__, memo, record
from memlint.cache import Cache, default_folder, project_folder
from memlint.cli import streams

_ENVIRONMENT = ("FORCE_COLOR", "NO_COLOR", "TERM", "GITHUB_WORKSPACE", "HOME", "USERPROFILE")
_ELSEWHERE = ("jobs", "cache_dir", "no_cache")  # what changes nothing of the outcome


def run(arguments: argparse.Namespace, work: Callable[[argparse.Namespace], int]) -> int:
    """Do the work, unless it is known what it would come to."""
    if not _applies(arguments):
        return work(arguments)
    try:
        cache = Cache(arguments.cache_dir or _folder(arguments))
        key = memo.key(_asked(arguments))
    except OSError:  # nobody knows where this is
        return work(arguments)
    outcome = memo.recall(cache, key)
    if outcome is not None and _said(outcome[1], arguments.output_file):
        return outcome[0]
    with record.kept() as seen:
        status = work(arguments)
        if status in (0, 1) and not seen.doubt:
            memo.look_at_own_source()
            memo.keep(cache, key, seen, status)
    return status


def _applies(arguments: argparse.Namespace) -> bool:
    """Whether the outcome depends on nothing but the disk, and there is a cache."""
    if arguments.command != "check" or arguments.no_cache or arguments.write_baseline is not None or arguments.shard:
        return False
    if arguments.executor is not None:  # a cluster may have something to say of its own
        return False
    return arguments.diff_base is None and arguments.stdin_filename is None and "-" not in arguments.paths


def _folder(arguments: argparse.Namespace) -> Path:
    """Where the cache of such a run is, as far as the command line says it."""
    paths = [] if arguments.isolated else arguments.paths or [os.curdir]
    roots = {project_folder(path if os.path.isdir(path) else os.path.dirname(path)) for path in paths}
    return default_folder((roots.pop() if len(roots) == 1 else None) or os.curdir)


def _asked(arguments: argparse.Namespace) -> list[object]:
    """All but the disk that the outcome depends on."""
    options = sorted((name, value) for name, value in vars(arguments).items() if name not in _ELSEWHERE)
    environment = [os.environ.get(name) for name in _ENVIRONMENT]
    user = (os.geteuid(), os.getegid(), sorted(os.getgroups())) if hasattr(os, "geteuid") else None
    terminals = [stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr)]
    python = (sys.version, sys.path, sys.getfilesystemencoding(), __version__)
    return [options, os.getcwd(), environment, user, terminals, python]


def _said(said: list[tuple[str, str]], file: str | None) -> bool:
    """Write what was written then. False where that is not possible, before anything is written."""
    if file is not None:
        try:
            streams.write_file(file, [text for where, text in said if where == "file"])
        except OSError:
            return False
    streams.tolerate()
    for where, text in said:
        if where != "file":
            streams.write(sys.stdout if where == "out" else sys.stderr, [text])
    return True
