"""What of the findings is reported: not what a baseline knows, and only what a change touches, where that is asked."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from memlint.cli.screen import complain
from memlint.config import ConfigError, Settings, display_path
from memlint.report.summary import plural

if TYPE_CHECKING:
    from memlint.baseline import Baseline
    from memlint.changes import Changes
    from memlint.engine import Report


class Narrowing:
    """Made before the check, so that a file or a revision of no use is told at once; applied to what it found.

    left_out: what was found and is not reported, in words. written: the same of a baseline that was written.
    """

    def __init__(
        self,
        files: Sequence[tuple[str, Settings]],
        arguments: argparse.Namespace | None = None,
        known: Sequence[str] = (),
    ) -> None:
        """arguments: those of `check`; without them only the settings say what is left out.

        known: the files that are not reported on, whose changes may be what a finding comes from.
        """
        self.left_out: list[str] = []
        self.written = ""
        self._settings = dict(files)
        self._baselines: dict[str, Baseline] = {}
        self._target: Baseline | None = None
        self._changes: Changes | None = None
        self._stale: list[str] = []
        if arguments is not None and arguments.write_baseline is not None:
            self._target = _target(arguments)
        else:
            self._baselines = _known(settings.baseline for settings in self._settings.values())
        if arguments is not None and arguments.diff_base is not None:
            if arguments.stdin_filename is not None or arguments.paths == ["-"]:
                raise ConfigError("--diff-base can't be combined with standard input: git knows files only")
            from memlint import changes  # here, like the baselines, because most runs need neither

            self._changes = changes.since(arguments.diff_base, [*self._settings, *known])

    def apply(self, report: Report) -> None:
        """Take out of a report what is not to be reported: all that is found, where it is written down as known."""
        if self._target is not None:
            self._write(self._target, report)
        known = 0
        for path, baseline in self._baselines.items():
            mine = [finding for finding in report.findings if self._settings[finding.place.path].baseline == path]
            outcome = baseline.sort(mine, report.texts, self._checked(report, path))
            hidden = set(map(id, outcome.known))
            report.findings = [finding for finding in report.findings if id(finding) not in hidden]
            known += len(hidden)
            if outcome.stale:
                self._stale.append(_stale(path, len(outcome.stale)))
        if known:
            self.left_out.append(f"{known} known from {', '.join(self._baselines)} left out")
        if self._changes is not None:
            changed = [finding for finding in report.findings if self._changes.touch(finding, report.texts)]
            if len(changed) < len(report.findings):
                self.left_out.append(f"{len(report.findings) - len(changed)} on unchanged lines left out")
            report.findings = changed

    def warn(self) -> None:
        """Say which baselines hold what is no longer needed."""
        for message in self._stale:
            complain(message, "warning")

    def _checked(self, report: Report, baseline: str | None = None) -> dict[str, Settings]:
        """The files that could be checked: all, or those with this baseline."""
        failed = {error.path for error in report.errors}
        return {
            path: settings
            for path, settings in self._settings.items()
            if path not in failed and baseline in (None, settings.baseline)
        }

    def _write(self, old: Baseline, report: Report) -> None:
        from memlint import baseline

        if not self._settings:
            return
        new = old.renewed(report.findings, report.texts, self._checked(report))
        baseline.write(new)
        report.findings = []
        before, after = set(old.entries), set(new.entries)
        self.written = (
            f"Wrote {display_path(new.path)}: {plural(len(after), 'known problem')} "
            f"({len(after - before)} new, {len(before - after)} dropped).\n"
        )


def _known(paths: Iterable[str]) -> dict[str, Baseline]:
    found = {}
    for path in sorted(set(paths) - {""}):
        from memlint import baseline

        found[path] = baseline.read(path)
    return found


def _target(arguments: argparse.Namespace) -> Baseline:
    """The baseline that is to be written, with what stands in it now."""
    from memlint import baseline

    path = arguments.write_baseline
    if arguments.baseline:
        raise ConfigError("--write-baseline can't be combined with --baseline: what is known is listed again")
    if arguments.diff_base is not None:
        raise ConfigError("--write-baseline can't be combined with --diff-base: all that is found is listed")
    if not path:
        raise ConfigError("--write-baseline needs the name of a file")
    if not os.path.lexists(path):
        return baseline.Baseline(path)
    try:
        return baseline.read(path)
    except ConfigError as error:
        raise ConfigError(f"{error}; it is not overwritten") from None


def _stale(path: str, count: int) -> str:
    entries, them = ("1 entry is", "it") if count == 1 else (f"{count} entries are", "them")
    return f"{path}: {entries} no longer needed; `memlint check --write-baseline {path}` drops {them}"
