"""The command line: what can be said on it, and what happens when something goes wrong."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence

from memlint import __version__

FORMATS = ("concise", "full", "json", "sarif", "github")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `memlint` and return its exit status: 0 clean, 1 findings or unchecked files, 2 usage or settings."""
    try:
        arguments = _parsed(sys.argv[1:] if argv is None else list(argv))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    try:
        from memlint.cli import again

        return again.run(arguments, _run)
    except KeyboardInterrupt:
        print("memlint: interrupted", file=sys.stderr)
        return 130
    except Exception:
        # Status 1 would read as "findings".
        traceback.print_exc()
        print("memlint: error: a defect of memlint itself, please report the lines above", file=sys.stderr)
        return 2


def _run(arguments: argparse.Namespace) -> int:
    # Imported only now: `memlint --version` should not wait for the rules, nor for LibCST below them.
    from memlint.cli import check, clean, fix, screen, show
    from memlint.config import ConfigError

    commands = {
        "check": _gather if getattr(arguments, "shard", None) else check.run,
        "fix": fix.run,
        "init": _init,
        "rule": show.rule,
        "config": show.config,
        "clean": clean.run,
        "merge": _merge,
    }
    try:
        return commands[arguments.command](arguments)
    except ConfigError as error:
        screen.complain(str(error))
        return 2


def _init(arguments: argparse.Namespace) -> int:
    from memlint.cli import init  # here, because the other commands should not wait for YAML

    return init.run(arguments)


def _gather(arguments: argparse.Namespace) -> int:
    from memlint.cli import shard  # here, because most runs know of no others

    return shard.write(arguments)


def _merge(arguments: argparse.Namespace) -> int:
    from memlint.cli import shard

    return shard.merge(arguments)


def _parsed(argv: list[str]) -> argparse.Namespace:
    parser, commands = parsers()
    if argv and argv[0] in commands:
        # Parsed by itself, because only so may options stand between paths.
        arguments = commands[argv[0]].parse_intermixed_args(argv[1:])
        arguments.command = argv[0]
        return arguments
    return parser.parse_args(argv)


def _names(text: str) -> list[str]:
    return [name for name in (part.strip() for part in text.split(",")) if name]


def parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(
        prog="memlint",
        description="Finds memory defects in PyTorch and MLX code, explains them, and repairs them.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"memlint {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    paths, settings, selection, output = _paths(), _settings(), _selection(), _output()
    reporting, speed, cache = _reporting(), _speed(), _cache()

    check = commands.add_parser(
        "check",
        help="find memory defects",
        description="Find memory defects in Python files and notebooks.",
        parents=[paths, selection, settings, reporting, speed, cache, output],
        allow_abbrev=False,
    )
    check.add_argument(
        "--shard",
        type=_share,
        metavar="I/N",
        help="gather what `memlint merge` needs of one of N shares of the files, into --output-file",
    )
    check.add_argument("--stdin-filename", metavar="NAME", help="check standard input under this name")

    merge = commands.add_parser(
        "merge",
        help="put the shards of a check together",
        description="Put together what `memlint check --shard` has written on several machines, and report.",
        parents=[reporting, output],
        allow_abbrev=False,
    )
    merge.add_argument("shards", nargs="+", metavar="SHARD", help="the files of all shards")
    merge.add_argument("-j", "--jobs", type=_count, metavar="N", help="as for check, for files that no shard knows")

    fix = commands.add_parser(
        "fix",
        help="repair what can be repaired safely",
        description="Repair memory defects. Only fixes that keep the code's behaviour are applied, unless asked.",
        parents=[paths, selection, settings, speed, cache, output],
        allow_abbrev=False,
    )
    fix.add_argument(
        "--rule", action="extend", type=_names, default=[], metavar="NAME", help="only these rules (repeatable)"
    )
    fix.add_argument("--unsafe-fixes", action="store_true", help="apply fixes that need your review, too")
    fix.add_argument("--diff", action="store_true", help="show the changes and write nothing")
    fix.add_argument(
        "--runtime", metavar="import|vendor:PATH", help="import helpers from memlint, or copy them to a file of yours"
    )
    fix.add_argument("--allow-dirty", action="store_true", help="write over what is neither committed nor staged, too")
    fix.add_argument("--verify", metavar="COMMAND", help="keep only the fixes under which this command of yours passes")
    fix.add_argument(
        "--verify-timeout", type=_seconds, metavar="SECONDS", help="take the command for failed when it runs longer"
    )
    fix.add_argument("--restore", action="store_true", help="put back what a --verify that was killed has left changed")

    init = commands.add_parser(
        "init",
        help="write settings and a pre-commit entry for a project",
        description="Look at a project and show, as a patch, the settings and the pre-commit entry that it would get.",
        parents=[output],
        allow_abbrev=False,
    )
    init.add_argument("path", nargs="?", default=".", metavar="PATH", help="where the project is (default: here)")
    init.add_argument("--write", action="store_true", help="write the files instead of showing a patch")
    init.add_argument("--instrument", action="store_true", help="put memory probes into the training code, too")
    init.add_argument("--no-pre-commit", dest="pre_commit", action="store_false", help="leave pre-commit out")
    init.add_argument("--pre-commit-repo", metavar="URL", help="take the hook from this repository")
    init.add_argument("--runtime", metavar="import|vendor:PATH", help="where repaired code gets its helpers from")

    rule = commands.add_parser(
        "rule", help="explain a rule, or list all", description="Explain a rule, or list all.", allow_abbrev=False
    )
    rule.add_argument("name", nargs="?", metavar="NAME", help="the rule to explain (default: list all)")
    config = commands.add_parser(
        "config",
        help="show the settings for a path and where each comes from",
        description="Show the settings for a path and where each comes from.",
        parents=[selection, settings],
        allow_abbrev=False,
    )
    config.add_argument("path", nargs="?", default=".", metavar="PATH", help="a file or folder (default: this one)")
    commands.add_parser(
        "clean",
        help="remove the cache",
        description="Remove the cache of the project that the current folder is in.",
        parents=[cache, output],
        allow_abbrev=False,
    )
    for command in (rule, config):
        command.add_argument("--output-format", choices=("text", "json"), default="text", help="how it is shown")
        _color(command)
    return parser, commands.choices


def _paths() -> argparse.ArgumentParser:
    group = argparse.ArgumentParser(add_help=False)
    group.add_argument("paths", nargs="*", metavar="PATH", help="files and folders (default: the current folder)")
    group.add_argument(
        "--exclude", action="extend", type=_names, default=[], metavar="PATTERNS", help="leave these out, too"
    )
    group.add_argument(
        "--force-exclude", action="store_true", help="leave out what settings exclude even where it is named here"
    )
    return group


def _selection() -> argparse.ArgumentParser:
    group = argparse.ArgumentParser(add_help=False)
    group.add_argument("--select", action="extend", type=_names, metavar="RULES", help="only these rules, or `all`")
    group.add_argument(
        "--extend-select", action="extend", type=_names, default=[], metavar="RULES", help="these rules, too"
    )
    group.add_argument("--ignore", action="extend", type=_names, default=[], metavar="RULES", help="not these rules")
    return group


def _settings() -> argparse.ArgumentParser:
    group = argparse.ArgumentParser(add_help=False)
    group.add_argument("--config", metavar="FILE", help="take the settings from this TOML file and no other")
    group.add_argument(
        "--isolated", action="store_true", help="ignore all settings in files, and all files that are not named"
    )
    return group


def _reporting() -> argparse.ArgumentParser:
    group = argparse.ArgumentParser(add_help=False)
    group.add_argument("--strict", action="store_true", default=None, help="fail on suspected findings too")
    group.add_argument(
        "--output-format", choices=FORMATS, help="how findings are shown (full on a terminal, else concise)"
    )
    group.add_argument("--output-file", metavar="FILE", help="write the findings to a file")
    group.add_argument("--statistics", action="store_true", help="show how often each rule found something")
    group.add_argument("--exit-zero", action="store_true", help="exit with 0 even where something was found")
    group.add_argument("--baseline", metavar="FILE", help="leave out the findings that this file lists as known")
    group.add_argument(
        "--no-baseline", dest="baseline", action="store_const", const="", help="report known findings, too"
    )
    group.add_argument("--write-baseline", metavar="FILE", help="list all that is found now in this file as known")
    group.add_argument("--diff-base", metavar="REV", help="report only on lines changed since this git revision")
    return group


def _speed() -> argparse.ArgumentParser:
    group = argparse.ArgumentParser(add_help=False)
    group.add_argument(
        "-j",
        "--jobs",
        type=_count,
        metavar="N",
        help="check in up to N processes at once (default: one per core)",
    )
    group.add_argument(
        "--executor",
        metavar="dask:ADDRESS",
        help="check on the workers of a Dask cluster: its scheduler's address, or the JSON file that it writes",
    )
    group.add_argument("--no-cache", action="store_true", help="neither read nor write the cache")
    return group


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number


_count.__name__ = "number of processes"  # as an error message calls it
_seconds.__name__ = "number of seconds"


def _share(text: str) -> tuple[int, int]:
    number, count = map(int, text.split("/"))
    if not 1 <= number <= count:
        raise ValueError
    return number, count


_share.__name__ = "share, such as 2/8"


def _cache() -> argparse.ArgumentParser:
    group = argparse.ArgumentParser(add_help=False)
    group.add_argument(
        "--cache-dir",
        metavar="DIR",
        default=os.environ.get("MEMLINT_CACHE_DIR") or None,
        help="where the cache is (default: $MEMLINT_CACHE_DIR, else .memlint_cache in the project)",
    )
    return group


def _output() -> argparse.ArgumentParser:
    group = argparse.ArgumentParser(add_help=False)
    group.add_argument("-q", "--quiet", action="store_true", help="print findings and errors only")
    _color(group)
    return group


def _color(parser: argparse.ArgumentParser) -> None:
    colors = ("auto", "always", "never")
    parser.add_argument("--color", choices=colors, default="auto", help="colours (auto: on a terminal)")
