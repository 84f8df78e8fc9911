"""What IPython understands and Python does not: in a notebook's cells it gives way to code of as many lines."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable

from msgspec import Struct

# Cell magics that run the rest of their cell as Python, among the names of the notebook. `%%timeit` does not: what it
# assigns is lost. Those that hold another language, a file or a program of its own are left out with their cell.
PYTHON = frozenset({"capture", "debug", "ipytest", "memit", "prun", "time", "wandb"})

_END = re.compile(r"\r\n|\r|\n")
_CELL_MAGIC = re.compile(r"\s*%%(\w*)")
# At the start of a statement none of these is Python.
_FORMS = (
    re.compile(r"[ \t]*[%!?,;/]"),
    re.compile(r"[^#'\"]*\?[ \t]*$"),
    re.compile(r"[ \t]*(?:pip|conda|mamba|uv|cd|ls|mkdir|matplotlib) +(?!(?:and|if|in|is|not|or)\b)[A-Za-z~]"),
)
_ASSIGNED = re.compile(r"([ \t]*[A-Za-z_][\w.,\[\]'\"* \t]*=)[ \t]*(?:!|%[A-Za-z_])")
_TIMED = re.compile(r"([ \t]*)%time[ \t]+(?=[^\s\-#])([^#]*[^#\s\\])[ \t]*")
_PERHAPS = re.compile(rf"^(?:{'|'.join(form.pattern for form in _FORMS)})|=[ \t]*[%!]", re.MULTILINE)

_TOKEN = re.compile(
    r"""(?P<comment>\#.*) | (?P<triple>\"{3}|'{3}) | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*'
        | (?P<open>[\[({]) | (?P<close>[\])}]) | (?P<quote>["'])""",
    re.VERBOSE,
)


class Line(Struct, frozen=True):
    """A line of a cell that is no Python. code: what stands in for it. shift: by how much the code stood further right
    in the original."""

    original: str
    code: str
    shift: int = 0


def split(text: str) -> list[str]:
    """The lines of a text without their ends."""
    return _END.split(text)


def is_python(text: str) -> bool:
    """Whether a cell runs as Python among the other cells."""
    magic = _CELL_MAGIC.match(text)
    return magic is None or magic[1] in PYTHON


def replaced(text: str, tag: Callable[[], str]) -> dict[int, Line]:
    """The lines of a cell that are no Python, by their number from 0. tag: gives a new comment for each."""
    if not _PERHAPS.search(text):
        return {}
    found: dict[int, Line] = {}
    state = _State()
    command: str | None = None  # the blanks before a command that goes on in the next line
    lines = split(text)
    if lines[-1] == "":
        lines.pop()  # behind the last line end there is nothing that a command could go on in
    for number, line in enumerate(lines):
        indent = line[: len(line) - len(line.lstrip())] if command is None else command
        if command is not None or (state.fresh and any(form.match(line) for form in _FORMS)):
            found[number] = _timed(line, tag) or Line(line, f"{indent}pass  {tag()}")
        elif state.fresh and (assigned := _ASSIGNED.match(line)):
            # Its value is known to nobody: a call of what the file does not define.
            found[number] = Line(line, f"{assigned[1]} get_ipython()  {tag()}")
        else:
            state.read(line)
            continue
        command = indent if line.endswith("\\") else None
    return found


def _timed(line: str, tag: Callable[[], str]) -> Line | None:
    """`%time f(x)`: the statement behind it counts."""
    match = _TIMED.fullmatch(line)
    if match is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(match[2]).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if len(body) != 1 or isinstance(body[0], (ast.FunctionDef, ast.ClassDef, ast.If, ast.For, ast.While, ast.With)):
        return None
    return Line(line, f"{match[1]}{match[2]}  {tag()}", match.start(2) - match.end(1))


class _State:
    """Whether the next line begins a statement: it does outside of brackets and strings."""

    def __init__(self) -> None:
        self._quote = ""  # of the string that the line before left open
        self._depth = 0
        self._continued = False

    @property
    def fresh(self) -> bool:
        return not (self._quote or self._depth or self._continued)

    def read(self, line: str) -> None:
        at = 0
        self._continued = False
        while True:
            if self._quote:
                end = re.compile(rf"(?:\\.|[^\\])*?{self._quote}").match(line, at)
                if end is None:
                    if len(self._quote) == 1 and not line.endswith("\\"):
                        self._quote = ""  # a string that is not closed: no Python, the parser will say so
                    return
                at, self._quote = end.end(), ""
            token = _TOKEN.search(line, at)
            if token is None or token["comment"]:
                self._continued = token is None and line.endswith("\\")
                return
            at = token.end()
            self._quote = token["triple"] or token["quote"] or ""
            self._depth = max(self._depth + bool(token["open"]) - bool(token["close"]), 0)
