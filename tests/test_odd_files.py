"""Files as they should not be: each kind is a line, or is checked and repaired like any other; its neighbour always is.

A row of `ODD` says how a file is made, where the defect in it is found, and what is said where it can't be read or
repaired. Beside it lies a plain file with the same defect, which is found and repaired whatever the odd one is.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from memlint import discover, workers
from memlint.cli import main
from memlint.nesting import MAX_CHAIN, MAX_DEPTH
from memlint.source import MAX_BYTES

PLAIN = b"""\
import torch


class Simulation:
    def __init__(self) -> None:
        self.state = torch.zeros(8)
        self.trace = []

    def step(self) -> None:
        self.state = torch.tanh(self.state + 0.1)
        self.trace.append(self.state.clone())


def run(simulation: Simulation, queue) -> None:
    while True:
        queue.get()
        simulation.step()
"""
LINE = 11
OLD, NEW = b"self.trace.append(self.state.clone())", b"append_bounded(self.trace, self.state.clone(), limit=1000)"
IMPORT = b"from memlint.runtime import append_bounded"
RAW = "the file can't be written back unchanged"
DEEP = "is nested too deeply to be parsed"
NO_FILE = "no such file or directory"

Make = Callable[[Path], None]


@dataclass(frozen=True)
class Odd:
    """One kind of file.

    made: its bytes, or what makes it. line, column: of the finding in it, 0 for none. error: what is said of it instead
    of a finding, as a pattern, its place first where one is known. left: why the defect is found and not repaired.
    unwritten: why its repair is not written. shown: its name in the output, where that differs. meanwhile: happens
    between the search for files and the check. named: it is only come upon where it is named. restricted: what
    the system forbids, which it does not forbid the superuser.
    """

    made: bytes | Make
    line: int = 0
    column: int = 9
    error: str = ""
    left: str = ""
    name: str = "odd.py"
    shown: str = ""
    meanwhile: Make | None = None
    named: bool = False
    unwritten: str = ""
    restricted: bool = False

    @property
    def errors(self) -> list[str]:
        """The pattern of the line that tells why it can't be checked."""
        place = ":" if re.match(r"\d+:", self.error) else ": "
        return [f"memlint: error: {re.escape(self.shown or self.name)}{place}{self.error}"] if self.error else []

    @property
    def findings(self) -> list[str]:
        """Where the defect in it is found."""
        return [f"{self.shown or self.name}:{self.line}:{self.column}: bound-history"] if self.line else []

    def repaired(self, data: bytes) -> bytes:
        """Its bytes after the repair: the edited line and the import, and all else as it was."""
        if not self.line or self.left or self.unwritten:
            return data
        end = b"\r\n" if data.partition(b"\n")[0].endswith(b"\r") else b"\n"
        before, torch, after = data.replace(OLD, NEW).partition(b"import torch")
        first, mark, rest = after.partition(b"\n")
        return before + torch + first + mark + IMPORT + end + rest


def found(
    data: bytes, line: int = LINE, column: int = 9, *, left: str = "", name: str = "odd.py", shown: str = ""
) -> Odd:
    """A kind that is checked and repaired."""
    return Odd(data, line, column, left=left, name=name, shown=shown)


def told(made: bytes | Make, error: str, *, named: bool = False, meanwhile: Make | None = None) -> Odd:
    """A kind that can't be checked."""
    return Odd(made, error=error, named=named, meanwhile=meanwhile)


def silent(made: bytes | Make) -> Odd:
    """A kind with nothing to find in it."""
    return Odd(made)


def with_defect(text: str) -> bytes:
    """The plain file with more below it."""
    return PLAIN + text.encode()


def nest(path: Path) -> None:
    path.mkdir()
    (path / "inner.py").write_bytes(b"x = 1\n")


def listen(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may not be long
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.chdir(here)


def loop(path: Path) -> None:
    path.symlink_to("other.py")
    (path.parent / "other.py").symlink_to(path.name)


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def locked(path: Path) -> None:
    path.write_bytes(PLAIN)
    path.chmod(0)


def read_only(path: Path) -> None:
    path.write_bytes(PLAIN)
    path.chmod(0o444)


def in_read_only_folder(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(PLAIN)
    path.parent.chmod(0o555)


mixed = b"".join(line + (b"\r\n" if number % 2 else b"\n") for number, line in enumerate(PLAIN.splitlines()))
separators = "\u2028 \u2029 \x0b \x1c \x1d \x1e \x85 \x0c"

ODD = {
    "byte order mark": found(codecs.BOM_UTF8 + PLAIN),
    "byte order mark and cookie": found(codecs.BOM_UTF8 + b"# coding: utf-8\n" + PLAIN, LINE + 1),
    "latin-1 with a cookie": found("# -*- coding: latin-1 -*-\n# \xe9\n".encode("latin-1") + PLAIN, LINE + 2),
    "shift-jis with a cookie": found("# coding: shift_jis\n# 表\n".encode("shift_jis") + PLAIN, LINE + 2),
    "an unknown cookie": told(b"# coding: nonsense\n" + PLAIN, "1:1: unknown encoding: nonsense"),
    "an unknown cookie in the second line": told(b"#!python\n# coding: x-y\n" + PLAIN, "2:1: unknown encoding: x-y"),
    "a cookie that lies": told(
        b"# coding: ascii\n# \xc3\xa9\n" + PLAIN, "2:1: can't be decoded as ascii: ordinal not in range.*"
    ),
    "a cookie against the byte order mark": told(
        codecs.BOM_UTF8 + b"# coding: latin-1\n" + PLAIN,
        "1:1: its byte order mark says UTF-8, this line another encoding",
    ),
    "a cookie of UTF-16": told(b"# coding: utf-16\n" + PLAIN, r"18:1: can't be decoded as utf-?16.*"),
    "a codec for bytes": told(b"# coding: base64\n" + PLAIN, "can't be decoded as base64"),
    "a codec that is no use": told(b"# coding: undefined\n" + PLAIN, "can't be decoded as undefined"),
    "a codec for host names": told(
        b"# coding: punycode\n" + PLAIN,
        # From 3.13 on Python says where.
        r"15:1: can't be decoded as punycode: .*" if sys.version_info >= (3, 13) else "can't be decoded as punycode",
    ),
    "UTF-16": told(PLAIN.decode().encode("utf-16"), "is UTF-16, which Python can't read: save it as UTF-8"),
    "UTF-16 without a mark": told(PLAIN.decode().encode("utf-16-le"), "holds NUL bytes, not a Python source file"),
    "no UTF-8": told(PLAIN + b"x = '\xff'\n", r"18:1: can't be decoded as utf-8: invalid start byte"),
    "a lone surrogate": told(PLAIN + b"x = '\xed\xa0\x80'\n", r"18:1: can't be decoded as utf-8: .*"),
    "a surrogate as an escape": found(with_defect("x = '\\ud800'\n")),
    "CRLF": found(PLAIN.replace(b"\n", b"\r\n")),
    "mixed line ends": found(mixed),
    "line ends of old Macs": found(PLAIN.replace(b"\n", b"\r"), left=RAW),
    "no final newline": found(PLAIN.rstrip()),
    "form feeds between": found(PLAIN.replace(b"\n\n\n", b"\n\x0c\n\n")),
    "form feeds within": found(PLAIN.replace(b"tanh(", b"tanh(\x0c ")),
    "form feeds before a word": found(PLAIN.replace(b"class", b"\x0cclass"), left=RAW),
    "form feeds in the indentation": told(  # which Python allows
        PLAIN.replace(b"        queue", b"\x0c        queue"), "does not parse: no matching outer block for dedent"
    ),
    "tabs": found(PLAIN.replace(b"    ", b"\t"), column=3),
    "tabs against blanks": told(
        PLAIN.replace(b"        self.state = torch.z", b"\tself.state = torch.z"),
        "6:1: does not parse: inconsistent use of tabs and spaces in indentation",
    ),
    "separators of Unicode": found(PLAIN.replace(b"torch\n", f"torch  # {separators}\n".encode(), 1)),
    "separators in a string": found(f'"""{separators}"""\n'.encode() + PLAIN, LINE + 1),
    "bidirectional marks and escapes": found(
        PLAIN.replace(OLD, OLD + "  # \u202e \u2066 \u200b \x1b[31m \x1b]0;x\x07".encode())
    ),
    "control characters": told(with_defect("x = \x01\n"), r"18:5: does not parse: .*"),
    "NUL": told(PLAIN + b"# \0\n", "holds NUL bytes, not a Python source file"),
    "empty": silent(b""),
    "only a byte order mark": silent(codecs.BOM_UTF8),
    "only comments": silent(b"# nothing\n# at all"),
    "only blanks": silent(b"  \n\t\n\x0c"),
    "a backslash at the end": told(with_defect("x = 1\\"), r"18:\d+: does not parse: unexpected .*"),
    "a number of thousands of digits": found(with_defect(f"x = {'9' * 5_000}\n")),
    "a stub": found(PLAIN, name="odd.pyi"),
    "more than 20 MB": told(PLAIN + b"#" * MAX_BYTES, "larger than 20 MB, not checked"),
    "Python 2": told(with_defect("print 'x'\n"), r"18:1: does not parse: Missing parentheses in call to 'print'.*"),
    "octal numbers of Python 2": told(with_defect("x = 0777\n"), r"18:\d+: does not parse: leading zeros.*"),
    "brackets": told(with_defect("x = " + "(" * (MAX_DEPTH + 1) + "1" + ")" * (MAX_DEPTH + 1)), DEEP),
    "thousands of lambdas": told(with_defect("x = " + "lambda: " * 12_000 + "1\n"), DEEP),
    "thousands of operands": told(with_defect("x = (0\n" + "+ 1\n" * (MAX_CHAIN + 1) + ")\n"), DEEP),
    "thousands of elif": told(with_defect("if x:\n    pass\n" + "elif x:\n    pass\n" * 12_000), DEEP),
    "thousands of blocks": told(
        with_defect("".join(" " * depth + "if x:\n" for depth in range(300)) + " " * 300 + "x\n"),
        r"118:\d+: does not parse: too many levels of indentation",
    ),
    "deeper than the analysis": told(with_defect("x = 1" + " + 1" * 500), r"is nested too deeply to be analysed"),
    "a blank in its name": found(PLAIN, name="o d d.py"),
    "a newline in its name": found(PLAIN, name="o\nd.py", shown="o\ufffdd.py"),
    "an escape in its name": found(PLAIN, name="o\x1b[31m.py", shown="o\ufffd[31m.py"),
    "a bidirectional mark in its name": found(PLAIN, name="o\u202ed.py", shown="o\ufffdd.py"),
    "a dash before its name": found(PLAIN, name="-odd.py"),
    "an option as its name": found(PLAIN, name="--version.py"),
    "a folder of the name": silent(nest),
    "a link to a folder": silent(lambda path: path.symlink_to(".")),
    "a link to nothing": silent(lambda path: path.symlink_to("nothing.py")),
    "a link to itself": silent(loop),
    "a device": silent(lambda path: path.symlink_to(os.devnull)),
    "a named device": told(lambda path: path.symlink_to(os.devnull), "is not a regular file", named=True),
    "a named link to nothing": told(lambda path: path.symlink_to("nothing.py"), NO_FILE, named=True),
    "a named link to itself": told(loop, NO_FILE, named=True),
    "vanishes": told(PLAIN, "can't be read: No such file or directory", meanwhile=Path.unlink),
    "becomes a folder": told(PLAIN, "can't be read: Is a directory", meanwhile=become_a_folder),
}
if sys.platform != "win32":
    ODD |= {
        "a pipe": silent(os.mkfifo),
        "a named pipe": told(os.mkfifo, "is not a regular file", named=True),
        "a socket": silent(listen),
        "bytes in its name": found(PLAIN, name=os.fsdecode(b"o\xffd.py"), shown="o\ufffdd.py"),
        "unreadable": Odd(locked, error="can't be read: Permission denied", restricted=True),
        "read-only": Odd(read_only, LINE, unwritten="not written: it is read-only", restricted=True),
        "in a read-only folder": Odd(
            in_read_only_folder, LINE, unwritten="not written: Permission denied", name="sub/odd.py", restricted=True
        ),
    }


# -- each kind beside a plain file -------------------------------------------------------------------------------------


@contextlib.contextmanager
def somebody(folder: Path) -> Iterator[None]:
    """The superuser may do all that a system forbids: let him be nobody for a while."""
    if not hasattr(os, "setresuid") or os.geteuid() != 0:
        yield
        return
    for place in [folder, *folder.rglob("*")]:
        os.chown(place, 65534, 65534)
    os.setresuid(65534, 65534, 0)  # type: ignore[attr-defined,unused-ignore]
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)  # type: ignore[attr-defined,unused-ignore]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder that anybody may enter."""
    with tempfile.TemporaryDirectory() as scratch:
        os.mkdir(os.path.join(scratch, ".git"))
        monkeypatch.chdir(scratch)
        yield Path(scratch)


def put(folder: Path, odd: Odd) -> Path:
    """Make a file of this kind."""
    path = folder / odd.name
    if isinstance(odd.made, bytes):
        path.write_bytes(odd.made)
    else:
        odd.made(path)
    return path


def happening(odd: Odd, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what happens to the file happen when the files have been found."""
    find = discover.find

    def late(*arguments: object, **more: object) -> discover.Found:
        result = find(*arguments, **more)  # type: ignore[arg-type]
        if odd.meanwhile is not None and path.is_file():
            odd.meanwhile(path)
        return result

    monkeypatch.setattr(discover, "find", late)


def heads(out: str) -> list[str]:
    """The beginnings of the lines that tell of findings."""
    return sorted(re.sub(r"( bound-history) .*", r"\1", line) for line in out.splitlines())


def check_errors(err: str, patterns: list[str]) -> None:
    """Each pattern has its line, and no other line is there but the last, the summary."""
    lines = sorted(err.splitlines()[:-1])
    assert len(lines) == len(patterns), err
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)
    assert all(line.isprintable() for line in err.splitlines())


@pytest.mark.parametrize("kind", ODD)
def test_one_odd_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    odd = ODD[kind]
    plain, path = folder / "plain.py", put(folder, odd)
    plain.write_bytes(PLAIN)
    old = path.read_bytes() if path.is_file() and not odd.restricted else PLAIN
    happening(odd, path, monkeypatch)
    paths = [".", odd.name] if odd.named else ["."]
    beside = [f"plain.py:{LINE}:9: bound-history"]

    def run(command: str, *options: str) -> tuple[int, list[str], str]:
        status = main([command, "-j1", "--isolated", *options, "--", *paths])
        out, err = capsys.readouterr()
        assert out.isprintable() or all(line.isprintable() for line in out.splitlines())
        return status, heads(out), err

    with somebody(folder) if odd.restricted else contextlib.nullcontext():
        for _ in range(1 if odd.meanwhile else 2):  # the second time from the cache
            status, findings, err = run("check")
            assert (status, findings) == (1, sorted(odd.findings + beside))
            check_errors(err, odd.errors)
        if odd.meanwhile:
            return
        status, lines, err = run("fix", "--unsafe-fixes")
        kept = odd.findings if odd.left or odd.unwritten else []
        assert lines == sorted(
            [f"fixed  {finding}" for finding in odd.findings + beside if finding not in kept]
            + [f"left   {finding}" for finding in kept]
            + ([f"       {odd.left or 'its fix could not be written'}"] if kept else [])
        )
        assert status == bool(odd.errors or kept)
        unwritten = [f"memlint: error: {odd.name}: {odd.unwritten}"] if odd.unwritten else []
        check_errors(err, odd.errors + unwritten)
    assert plain.read_bytes() == Odd(PLAIN, LINE).repaired(PLAIN)
    if isinstance(odd.made, bytes) or odd.restricted:
        os.chmod(path, 0o644)
        assert path.read_bytes() == odd.repaired(old)
    if odd.restricted:
        return
    again = {file: file.read_bytes() for file in (plain, path) if file.is_file() and not file.is_symlink()}
    run("fix", "--unsafe-fixes")
    assert {file: file.read_bytes() for file in again} == again
    assert {file.name for file in folder.rglob("*.tmp")} == set()


def test_two_processes_say_and_do_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {}
    for number, kind in enumerate(ODD):
        odd, below = ODD[kind], folder / str(number)
        if not (odd.meanwhile or odd.restricted or odd.named):
            below.mkdir()
            paths[put(below, odd)] = odd

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main([*arguments, "--no-cache", "--isolated", "."])
        return status, *capsys.readouterr()

    one = run("check", "-j1")
    monkeypatch.setattr(workers, "WORTH", 1)
    assert run("check", "-j2") == one
    status, out, _ = run("fix", "-j2", "--unsafe-fixes")
    assert (status, out.count("fixed ")) == (1, sum(bool(odd.line and not odd.left) for odd in paths.values()))
    for path, odd in paths.items():
        if isinstance(odd.made, bytes):
            assert path.read_bytes() == odd.repaired(odd.made)


def test_alone_it_decides_the_exit_status(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    statuses = {}
    for number, kind in enumerate(ODD):
        odd, below = ODD[kind], folder / str(number)
        if odd.meanwhile or odd.restricted:
            continue
        below.mkdir()
        put(below, odd)
        named = str(below / odd.name) if odd.named else str(below)
        statuses[kind] = main(["check", "-j1", "--no-cache", "--isolated", named])
    capsys.readouterr()
    expected = {kind: 2 if ODD[kind].named else int(bool(ODD[kind].error or ODD[kind].line)) for kind in statuses}
    assert statuses == expected


def test_a_patch_can_not_upset_a_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.py").write_bytes(PLAIN.replace(OLD, OLD + "  # \x1b[31m \u202e\r\n".encode()))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name, value in {"NO_COLOR": "1", "FORCE_COLOR": ""}.items():
        monkeypatch.setenv(name, value)
    main(["fix", "--diff", "--isolated", "--no-cache", "--unsafe-fixes", "a.py"])
    out = capsys.readouterr().out
    assert "\n+        append_bounded(self.trace, self.state.clone(), limit=1000)  # \ufffd[31m \ufffd\n" in out


def test_the_lines_of_decorators_are_the_compilers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "from functools import lru_cache\n{}\nclass A:\n    @lru_cache(None)\n    def f(self, x):\n        return x\n"
    )
    said = []
    for name, text in {
        "a.py": "import torch",
        "b.py": "import torch  # \x0b\x0b\x0b\x0b \u2028 \x1c noqa: B019\x0b\x0b",
    }.items():
        (folder / name).write_text(code.format(text), encoding="utf-8")
        main(["check", "--isolated", "--no-cache", "--select", "bound-cache", name])
        said.append(capsys.readouterr().out.partition(":")[2])
    assert said[0] == said[1] != ""
