"""`memlint check --shard` and `memlint merge`: a check whose files are spread over several machines."""

from __future__ import annotations

import argparse
import tempfile

import msgspec

from memlint.cache import Cache, versions
from memlint.cli import check, inputs
from memlint.cli.progress import Progress
from memlint.cli.screen import Screen
from memlint.config import ConfigError
from memlint.report import summary

_LATER = {
    "strict": "--strict",
    "output_format": "--output-format",
    "statistics": "--statistics",
    "exit_zero": "--exit-zero",
    "baseline": "--baseline",
    "write_baseline": "--write-baseline",
    "diff_base": "--diff-base",
}


def write(arguments: argparse.Namespace) -> int:
    """Ask the files of one share, and write down what they say. What that means is for `memlint merge` to find."""
    number, count = arguments.shard
    for name, option in _LATER.items():
        if getattr(arguments, name) not in (None, False):
            raise ConfigError(f"{option} is for `memlint merge`: --shard only gathers what it needs")
    if arguments.stdin_filename is not None or arguments.paths == ["-"]:
        raise ConfigError("--shard can't be combined with standard input")
    given = inputs.files(arguments, inputs.resolver(arguments))
    for error in given.unusable:
        Screen(arguments.color).remark(summary.error_line(error, Screen(arguments.color).paint_remarks))
    if given.unusable and not given.files:
        return 2

    from memlint import shards  # here, so that a slip on the command line is answered without the rules

    path = arguments.output_file or f"memlint-{number}-of-{count}.shard"
    with tempfile.TemporaryDirectory() as scratch:
        cache = Cache(scratch) if arguments.no_cache else inputs.cache_in_use(arguments, given)
        assert cache is not None
        shown = Progress(shown=not arguments.quiet)
        with inputs.cluster(arguments) as cluster, shown as progress:
            entries, mine, total = shards.share(
                given.around.together, number, count, cache, inputs.jobs(arguments), cluster, progress
            )
    options = shards.Options(**{name: getattr(arguments, name) for name in shards.Options.__struct_fields__})
    shards.write(path, shards.Shard(versions(), number, count, options, entries))
    if not arguments.quiet:
        Screen(arguments.color).remark(f"Wrote {path}: {mine} of {summary.plural(total, 'file')}.\n")
    return 0


def merge(arguments: argparse.Namespace) -> int:
    """Check with what the shards know."""
    from memlint import shards

    found = shards.read(arguments.shards)
    for name, value in msgspec.structs.asdict(found[0].options).items():
        setattr(arguments, name, value)
    with tempfile.TemporaryDirectory() as scratch:
        shards.fill(scratch, found)
        arguments.cache_dir, arguments.no_cache = scratch, False
        arguments.shard = arguments.stdin_filename = arguments.executor = None
        return check.run(arguments)
