"""`memlint clean`."""

from __future__ import annotations

import argparse

from memlint.cli import inputs
from memlint.cli.screen import Screen
from memlint.config import ConfigError, display_path


def run(arguments: argparse.Namespace) -> int:
    """Remove the cache, and say so."""
    from memlint import transaction  # here, because the other commands should not wait for it

    screen = Screen(arguments.color)
    cache = inputs.cache(arguments)
    folder = display_path(str(cache.folder))
    if (cache.folder / transaction.FOLDER).exists():
        raise ConfigError(
            f"{folder}: holds what a `memlint fix --verify` that has not ended would put back: "
            f"see `memlint fix --restore`, or remove {folder}/{transaction.FOLDER}"
        )
    try:
        removed = cache.clean()
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror or error}") from None
    if not arguments.quiet:
        screen.remark(f"Removed {folder}.\n" if removed else f"There is no cache at {folder}.\n")
    return 0
