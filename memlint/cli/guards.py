"""What keeps `memlint fix` from writing: what the command line says, and work that would be lost."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from memlint.config import ConfigError

if TYPE_CHECKING:
    from memlint.repair import RepairReport
    from memlint.roots import Roots

    Copies = Mapping[str, tuple[bytes | None, bytes]]


def refuse_combinations(arguments: argparse.Namespace) -> None:
    """Raise ConfigError where options mean nothing together."""
    if arguments.verify is not None and not arguments.verify.strip():
        raise ConfigError("--verify needs a command")
    if arguments.verify_timeout is not None and arguments.verify is None:
        raise ConfigError("--verify-timeout needs --verify")
    for first, second in (("diff", "verify"), ("diff", "restore"), ("verify", "restore")):
        if getattr(arguments, first) and getattr(arguments, second):
            raise ConfigError(f"--{second} can't be combined with --{first}")
    if arguments.restore and arguments.paths:
        raise ConfigError("--restore takes no paths: it puts back all that was left changed")


def refuse_left_over() -> None:
    """Raise ConfigError where an earlier run has left something to put back."""
    from memlint import transaction

    if transaction.pending(transaction.project()):
        from memlint.cli import verify

        verify.refuse_left_over()


def bar(roots: Roots, path: str, *, tried: bool) -> str | None:
    """Why a file must be left alone. tried: whether it will be written again and again."""
    if (outside := roots.bar(path)) is not None:
        return outside
    return "it is read-only" if tried and not os.access(path, os.W_OK) else None


def refuse_uncommitted(outcome: RepairReport, copies: Copies) -> None:
    """Raise ConfigError where a file would be written over that git could not bring back."""
    from memlint import uncommitted

    old = {path: content for path, (content, _) in {**copies, **outcome.changed}.items() if content is not None}
    found = uncommitted.find(old)
    if found:
        path, reason = found[0]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ConfigError(f"{path} {reason}{more}: commit or stage first, or use --allow-dirty; nothing was changed")
