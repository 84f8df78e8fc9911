"""A progress bar, for people who wait."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from memlint.report.summary import plural

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress as Bar

_PATIENCE = 1.0  # seconds before the bar appears
_REFRESH = 0.1  # seconds between two pictures of it


class Progress:
    """Called with files done and files in all; draws on standard error, on a terminal, when the work takes long."""

    def __init__(self, *, shown: bool, known: int = 0) -> None:
        """known: how many of the files are read only because they lie around those that are checked."""
        self._about = f"checking, and reading the project around ({plural(known, 'file')})" if known else "checking"
        self._shown = shown and sys.stderr.isatty()
        self._next = time.monotonic() + _PATIENCE
        self._bar: Bar | None = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if not self._shown or now < self._next:
            return
        self._next = now + _REFRESH
        if self._bar is None:
            from rich.console import Console
            from rich.progress import Progress as Bar

            # No refreshing thread: the engine may fork.
            self._bar = Bar(console=Console(stderr=True), transient=True, auto_refresh=False)
            self._bar.add_task(self._about, total=total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done, total=total, refresh=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
