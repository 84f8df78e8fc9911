"""`memlint fix --verify COMMAND` and `memlint fix --restore`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from msgspec import Struct

from memlint import transaction, verifying
from memlint.cli.screen import Screen, complain
from memlint.config import ConfigError, display_path
from memlint.disk import vendoring
from memlint.engine import FileError
from memlint.repair import RepairReport, Unit
from memlint.report import lines, summary
from memlint.verifying import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from memlint.transaction import Content

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_GRACE = 5.0  # seconds that a command has to end when it is told to
_TAIL = 5  # lines of its output that are shown
_WIDEST = 160  # characters of such a line
_NOT_FOUND = 127  # what a shell says of a command that is not there


class Tried(Struct):
    """What became of the fixes. report: the repair that is on the disk now. runs: how often the command ran."""

    report: RepairReport
    reverted: Mapping[Unit, Failure]
    runs: int


def refuse_left_over() -> None:
    """Raise ConfigError where an earlier run has not ended: what it left must not be mixed with anything new."""
    root = transaction.project()
    if not transaction.pending(root):
        return
    folder = display_path(str(transaction.place(root)))
    try:
        left = summary.plural(len(transaction.left_changed(root)), "file")
    except transaction.TransactionError as error:
        raise ConfigError(str(error)) from None
    raise ConfigError(
        f"an earlier `memlint fix --verify` still runs, or was killed and left {left} changed: "
        f"`memlint fix --restore` puts back what was there, removing {folder} keeps what is there now"
    )


def restore(screen: Screen, *, quiet: bool) -> int:
    """Put back what a killed run has changed; return the exit status."""
    root = transaction.project()
    paths: list[str] = []
    errors: list[FileError] = []
    if transaction.pending(root):
        try:
            with _undisturbed():
                paths, errors = transaction.restore(root)
        except transaction.TransactionError as error:
            raise ConfigError(str(error)) from None
    screen.show(f"restored  {path}\n" for path in paths)
    for failed in errors:
        screen.remark(summary.error_line(failed, screen.paint_remarks))
    if not quiet:
        screen.remark(f"Put back {summary.plural(len(paths), 'file')}.\n" if paths else "Nothing was put back.\n")
    return int(bool(errors))


def tried(full: RepairReport, make: verifying.Make, command: str, timeout: float | None, *, quiet: bool) -> Tried:
    """Put on the disk what the command passes under. Raises ConfigError, with all files as they were before."""
    trial = _Trial(command, timeout, quiet=quiet)
    try:
        trial.transaction.require([*full.changed, *full.vendored])
        with _stoppable():
            failure = trial.run(RepairReport())
            if failure is not None:
                raise ConfigError(f"--verify: without any fix the command fails: {failure.reason}; nothing was changed")
            return trial.search(full, make)
    except transaction.TransactionError as error:
        raise ConfigError(f"--verify: {error}") from None


class _Trial:
    """The command, and the files that it is run on."""

    def __init__(self, command: str, timeout: float | None, *, quiet: bool) -> None:
        self.command, self.timeout, self.quiet = command, timeout, quiet
        self.transaction = transaction.Transaction()
        self.copies: dict[str, tuple[Content, bytes]] = {}
        self.runs = 0

    def search(self, full: RepairReport, make: verifying.Make) -> Tried:
        self.transaction.begin()
        try:
            found = verifying.verify(full, make, self.attempt)
            self.transaction.put(self.changes(found.report))
        except BaseException as error:
            with _undisturbed():
                self.give_up(error)
            raise
        with _undisturbed():
            self.transaction.keep()
        return Tried(found.report, found.reverted, self.runs)

    def attempt(self, report: RepairReport) -> Failure | None:
        self.transaction.put(self.changes(report))
        failure = self.run(report)
        self.transaction.check()
        return failure

    def changes(self, report: RepairReport) -> dict[str, tuple[Content, bytes]]:
        """What a repair changes, copies of the runtime included: they are looked up once, before there are any."""
        found: dict[str, tuple[Content, bytes]] = dict(report.changed)
        for path in sorted(report.vendored):
            if path not in self.copies:
                copy = vendoring(path)
                if isinstance(copy, FileError):
                    raise transaction.TransactionError(f"{path}: {copy.message}")
                self.copies[path] = copy
            if self.copies[path][0] != self.copies[path][1]:
                found[path] = self.copies[path]
        return found

    def run(self, report: RepairReport) -> Failure | None:
        """Run the command as it is typed to a shell."""
        self.runs += 1
        failure = _run(self.command, self.timeout)
        if not self.quiet:
            fixed = summary.plural(len(report.fixed), "problem") if report.fixed else "nothing"
            outcome = "passed" if failure is None else f"failed ({failure.reason})"
            complain(f"run {self.runs}, {fixed} fixed: {outcome}", "verify")
        return failure

    def give_up(self, error: BaseException) -> None:
        """Put all files back, and say so."""
        left = self.transaction.undo()
        for failed in left:
            complain(f"{failed.path}: {failed.message}")
        if isinstance(error, KeyboardInterrupt):
            complain("the other files are as they were" if left else "all files are as they were", "verify")


def _run(command: str, timeout: float | None) -> Failure | None:
    with tempfile.TemporaryFile() as output:
        # In a group of its own, so that what it started ends with it.
        process = subprocess.Popen(
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=os.name == "posix",
        )
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            return Failure(f"not done after {timeout:g} s", _tail(output))
        except BaseException:
            _end(process)
            raise
        return None if status == 0 else Failure(_reason(status), _tail(output))


def _end(process: subprocess.Popen[bytes]) -> None:
    with _undisturbed():
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
        _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, number)
        else:
            process.terminate()


def _reason(status: int) -> str:
    if status < 0:
        try:
            return f"ended by {signal.Signals(-status).name}"
        except ValueError:
            return f"ended by signal {-status}"
    return f"exit status {status}" + (", as for a command that is not there" if status == _NOT_FOUND else "")


def _tail(output: IO[bytes]) -> tuple[str, ...]:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - 10_000))
    said = [line.rstrip() for line in output.read().decode("utf-8", "replace").splitlines()]
    return tuple(_short(lines.printable(line)) for line in said if line)[-_TAIL:]


def _short(line: str) -> str:
    return line if len(line) <= _WIDEST else f"{line[:_WIDEST]}..."


@contextlib.contextmanager
def _signals(handler: object) -> Iterator[None]:
    """Handle what would end this process in another way, where that can be done: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    try:
        for number, old in before.items():
            if old not in (signal.SIG_IGN, None):  # nohup asks for the first
                signal.signal(number, handler)  # type: ignore[arg-type]
        yield
    finally:
        for number, old in before.items():
            if old is not None:
                signal.signal(number, old)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _stoppable() -> contextlib.AbstractContextManager[None]:
    """Whatever ends this process, files are put back before."""
    return _signals(_interrupt)


def _undisturbed() -> contextlib.AbstractContextManager[None]:
    """Nothing but a kill ends this process."""
    return _signals(signal.SIG_IGN)
