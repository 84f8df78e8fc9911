"""Jupyter notebooks: the code cells of one as a single Python text, and back into the file without touching the rest.

The text holds the cells in their order, each below a line that marks where it begins. What only IPython understands
gives way to code of as many lines. The file is edited as text: only the sources of changed cells are written anew.
"""

from __future__ import annotations

import ast
import bisect
import codecs
import difflib
import io
import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from memlint import magics
from memlint.rule import Cell, Place

SUFFIX = ".ipynb"
MAX_BRACKETS = 500
"""In a cell that the running Python can't read; LibCST's parser ends the process at some 2,000 in each other."""

_BLANK = re.compile(r"[ \t\r\n]*")
_CHARACTER = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|.", re.DOTALL
)


class NotebookError(Exception):
    """A notebook, or one of its cells, that can't be used: one line for the user, with the place where it is known."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


class _Source(Struct):
    """A code cell's source. value: as JSON has it. start, end: where it stands in the file.

    text: the same as one string. code: what stands for it, None where it is left out.
    """

    number: int
    value: Any
    start: int
    end: int
    text: str
    code: str | None = None


class Notebook:
    """A notebook. text: its code as one module. broken: for each cell that does not parse its number and the reason.

    Raises NotebookError.
    """

    def __init__(self, data: bytes) -> None:
        self._bom = data.startswith(codecs.BOM_UTF8)
        try:
            self.file = data[3 * self._bom :].decode("utf-8")
        except UnicodeDecodeError as error:
            raise NotebookError(f"can't be decoded as utf-8: {error.reason}") from None
        self._sources = {source.number: source for source in _sources(self.file)}
        self.broken: list[tuple[int, NotebookError]] = []
        self._mark = "%%nb"
        while any(self._mark in source.text for source in self._sources.values()):
            self._mark += "_"
        self._stand_ins: list[tuple[int, magics.Line]] = []
        self._places: list[tuple[int, int, int]] = []  # for each line of the text: cell, line in it, shift of columns
        self._shown: list[str] = []
        self.text = "".join(self._joined())
        self._ends = [found.start() for found in re.finditer(r"\n", self.file)]

    def _joined(self) -> Iterator[str]:
        for source in self._sources.values():
            if not magics.is_python(source.text):
                continue
            tags = (f"# {self._mark} line {number}" for number in range(len(self._stand_ins) + 1, 10**9))
            stand_ins = magics.replaced(source.text, tags.__next__)
            code = source.text
            if stand_ins:
                pieces = _with_ends(code)
                for number, line in stand_ins.items():
                    pieces[number] = line.code + pieces[number][len(line.original) :]
                code = "".join(pieces)
            try:
                parses(code)
            except NotebookError as error:
                if code.lstrip("\r\n")[:1] not in (" ", "\t"):  # IPython takes indented cells
                    self.broken.append((source.number, error))
                continue
            source.code = code
            self._stand_ins += [(source.number, line) for line in stand_ins.values()]
            yield self._marker(source.number) + "\n"
            self._places.append((source.number, 0, 0))
            self._shown.append("")
            shown = magics.split(source.text)
            if code and not code.endswith(("\n", "\r")):
                code += "\n"
            elif shown[-1] == "":
                shown.pop()
            for number in range(len(shown)):
                shift = stand_ins[number].shift if number in stand_ins else 0
                self._places.append((source.number, number + 1, shift))
            self._shown += shown
            yield code

    def _marker(self, number: int) -> str:
        return f"pass  # {self._mark} cell {number}"

    # -- places --------------------------------------------------------------------------------------------------------

    def lines(self) -> list[str]:
        """The lines of the text as the user wrote them; empty ones where a cell begins."""
        return [*self._shown, ""]

    def at(self, line: int) -> tuple[int, int]:
        """The cell of a line of the text, and which line of that one it is. Where the next cell begins, one ends."""
        if line <= len(self._places) and (line == 1 or self._places[line - 1][1]):
            return self._places[line - 1][:2]
        cell, last, _ = self._places[line - 2]
        return cell, last + 1

    def range(self, line: int) -> tuple[int, int]:
        """The first and the last line of the text that belong to the same cell as this one."""
        numbers = [place[0] for place in self._places]
        cell = numbers[min(line, len(numbers)) - 1]
        return bisect.bisect_left(numbers, cell) + 2, bisect.bisect_right(numbers, cell)

    def cell(self, place: Place) -> Cell:
        """Where a place in the text stands in its cell and in the file."""
        number, line = self.at(place.line)
        end_number, end_line = self.at(place.end_line)
        if end_number != number:  # it ends where the next cell begins
            end_line = line + place.end_line - place.line
        return Cell(
            number,
            line,
            place.column + self._shift(place.line),
            end_line,
            place.end_column + self._shift(place.end_line),
            self.file_line(number, line),
            self.file_line(number, end_line),
        )

    def _shift(self, line: int) -> int:
        return self._places[line - 1][2] if line <= len(self._places) else 0

    def file_line(self, number: int, line: int) -> int:
        """The line of the file in which a line of a cell stands."""
        source = self._sources[number]
        offset = sum(len(piece) for piece in _with_ends(source.text)[: line - 1])
        start = source.start
        for piece, inner, _ in _strings(self.file, source):
            start = inner
            if offset < len(piece):
                break
            offset -= len(piece)
        return bisect.bisect_left(self._ends, start) + 1

    # -- writing -------------------------------------------------------------------------------------------------------

    def write(self, text: str) -> bytes:
        """The file with the cells as they are in a changed text. Raises NotebookError where that is not possible."""
        return (codecs.BOM_UTF8 if self._bom else b"") + self.written(text).encode("utf-8")

    def settled(self, text: str) -> str:
        """A changed text as it would be read from the changed file. Raises NotebookError."""
        return Notebook(self.write(text)).text

    def written(self, text: str) -> str:
        """The same as `write`, decoded and without a byte order mark."""
        new = self._parted(text)
        changed = {number: code for number, code in new.items() if code != self._sources[number].text}
        parts, done = [], 0
        for number, code in sorted(changed.items(), key=lambda item: self._sources[item[0]].start):
            source = self._sources[number]
            parts += [self.file[done : source.start], self._written(source, code)]
            done = source.end
        file = "".join(parts) + self.file[done:]
        self._prove(file, changed)
        return file

    def _parted(self, text: str) -> dict[int, str]:
        """The sources of the cells in a text, IPython's lines put back."""
        included = [source for source in self._sources.values() if source.code is not None]
        markers = {self._marker(source.number): source.number for source in included}
        head: list[str] = []
        cells: dict[int, list[str]] = {}
        codes: dict[int, list[str]] = {}
        tags = re.compile(rf"# {self._mark} line \d+$")
        found = 0
        number = 0
        for line in _with_ends(text):
            bare = line.rstrip("\r\n")
            if bare in markers:
                number = markers[bare]
                if number in cells or number != included[len(cells)].number:
                    raise NotebookError("the fix would move code between cells")
                cells[number], codes[number] = [], []
                continue
            if number:
                codes[number].append(line)
            if tags.search(bare):
                stands_for = self._stand_ins[found] if found < len(self._stand_ins) else None
                if stands_for is None or stands_for[0] != number or stands_for[1].code != bare:
                    raise NotebookError("the fix would change a line that only IPython understands")
                found += 1
                line = stands_for[1].original + line[len(bare) :]
            (cells[number] if number else head).append(line)
        if len(cells) < len(included) or found < len(self._stand_ins):
            raise NotebookError("the fix would take away a cell, or a line that only IPython understands")
        for number, code in codes.items():
            old, new = self._sources[number].code or "", "".join(code)
            if old.rstrip() != new.rstrip() and _shows(old) and not _shows(new):
                raise NotebookError("the fix would take away what the cell shows below it")
        if any(line.strip() for line in head):
            self._put_first(head, cells)
        return {number: self._tidy("".join(code), self._sources[number].text) for number, code in cells.items()}

    def _put_first(self, head: list[str], cells: dict[int, list[str]]) -> None:
        """Imports above all cells belong into the first one that has code, below the name of a cell magic."""
        for number, code in cells.items():
            if any(line.strip() for line in code):
                index = 1 if code[0].startswith("%%") else 0
                blank = [] if code[index:] and not code[index].strip() else ["\n"]
                cells[number][index:index] = ["".join(head).rstrip() + "\n", *blank]
                return

    def _tidy(self, new: str, old: str) -> str:
        """A cell without the empty lines at its ends that the old one did not have, and with as much of a last line
        end."""
        code = _with_ends(new)
        before = _with_ends(old)
        while code and not code[-1].strip() and not (before and not before[-1].strip()):
            code.pop()
        while code and not code[0].strip() and not (before and not before[0].strip()):
            del code[0]
        new = "".join(code)
        return new if old.endswith(("\n", "\r")) else re.sub(r"(\r\n|\r|\n)\Z", "", new)

    def _written(self, source: _Source, code: str) -> str:
        """A cell's new source as JSON: a string or a list of lines as before, unchanged lines letter by letter."""
        inner = [(start, end) for _, start, end in _strings(self.file, source)]
        letters = [letter for start, end in inner for letter in _CHARACTER.findall(self.file, start, end)]
        old, new = source.text.splitlines(keepends=True), code.splitlines(keepends=True)
        starts = [0]
        for line in old:
            starts.append(starts[-1] + len(line))
        pieces: list[str] = []
        for tag, first, last, start, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            if tag == "equal":
                pieces += ["".join(letters[starts[n] : starts[n + 1]]) for n in range(first, last)]
            else:
                pieces += [json.dumps(line, ensure_ascii=self.file.isascii())[1:-1] for line in new[start:end]]
        if isinstance(source.value, str):
            return '"' + "".join(pieces) + '"'
        if not inner:
            return json.dumps(code.splitlines(keepends=True), ensure_ascii=self.file.isascii())
        head, tail = self.file[source.start : inner[0][0] - 1], self.file[inner[-1][1] + 1 : source.end]
        between = self.file[inner[0][1] + 1 : inner[1][0] - 1] if len(inner) > 1 else "," + (head[1:] or " ")
        return head + between.join(f'"{piece}"' for piece in pieces) + tail

    def _prove(self, file: str, changed: dict[int, str]) -> None:
        """Raise NotebookError unless a file is this one but for the changed sources."""
        after = {source.number: source for source in _sources(file)}
        right = list(after) == list(self._sources)
        at = then = 0
        for number, source in sorted(self._sources.items(), key=lambda item: item[1].start) if right else ():
            new = after[number]
            right = right and self.file[at : source.start] == file[then : new.start]
            right = right and new.text == changed.get(number, source.text)
            if number not in changed:
                right = right and file[new.start : new.end] == self.file[source.start : source.end]
            at, then = source.end, new.end
        if not right or self.file[at:] != file[then:]:
            raise NotebookError("the notebook can't be written with nothing else changed")


def parses(code: str) -> None:
    """Raise NotebookError for a cell that is no Python by itself."""
    try:
        if "\0" in code:
            raise ValueError
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(code)
        return
    except SyntaxError as error:
        # Perhaps it is newer than the running Python.
        wrong = NotebookError("does not parse: invalid syntax", error.lineno, max(error.offset or 1, 1))
    except (ValueError, RecursionError, MemoryError):
        raise NotebookError("does not parse: it holds characters that are no text, or is nested too deeply") from None
    if sum(code.count(bracket) for bracket in "([{") > MAX_BRACKETS:
        raise wrong
    import libcst as cst  # here, because few runs see such a cell

    try:
        cst.parse_module(code)
    except (cst.ParserSyntaxError, cst.CSTValidationError, RecursionError):
        raise wrong from None


def _shows(code: str) -> bool:
    """Whether a cell ends in an expression, whose value the notebook then shows."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    last = body[-1].value if body and isinstance(body[-1], ast.Expr) else None
    called = last.func.id if isinstance(last, ast.Call) and isinstance(last.func, ast.Name) else ""
    return last is not None and called not in ("display", "print")


# -- the file ----------------------------------------------------------------------------------------------------------


def _sources(file: str) -> list[_Source]:
    """The sources of the code cells in Python; none where the notebook is in another language."""
    begin = _blank(file, 0)
    try:
        document, end = _decode(file, begin)
        if (rest := _blank(file, end)) != len(file):
            raise json.JSONDecodeError("Extra data", file, rest)
    except json.JSONDecodeError as error:
        raise NotebookError(f"is not valid JSON: {error.msg}", error.lineno, error.colno) from None
    except RecursionError:
        raise NotebookError("is nested too deeply to be read") from None
    if not isinstance(document, dict):
        raise NotebookError("is not a notebook: it has no list of cells")
    version = document.get("nbformat")
    if isinstance(version, int) and version < 4:
        raise NotebookError(f"is a notebook of format {version}; `jupyter nbconvert --to notebook` makes it one of 4")
    if not isinstance(document.get("cells"), list):
        raise NotebookError("is not a notebook: it has no list of cells")
    if not _is_python(document.get("metadata")):
        return []
    cells = {key: start for key, _, start, _ in _members(file, begin)}["cells"]
    found = []
    for number, (cell, start, _) in enumerate(_elements(file, cells), 1):
        if isinstance(cell, dict) and cell.get("cell_type") == "code" and _is_python_cell(cell.get("metadata")):
            span = {key: (first, last) for key, _, first, last in _members(file, start)}.get("source")
            value = cell.get("source")
            pieces = [value] if isinstance(value, str) else value
            if span is None or not (isinstance(pieces, list) and all(isinstance(piece, str) for piece in pieces)):
                raise NotebookError(f"is not a notebook: the source of cell {number} is no text")
            found.append(_Source(number, value, *span, "".join(pieces)))
    return found


def _is_python(metadata: Any) -> bool:
    """Whether a notebook's kernel speaks Python, as far as it says."""
    if not isinstance(metadata, dict):
        return True
    info, kernel = metadata.get("language_info"), metadata.get("kernelspec")
    language = info.get("name") if isinstance(info, dict) else None
    if language is None and isinstance(kernel, dict):
        language = kernel.get("language")
        if language is None and str(kernel.get("name")).startswith(("ir", "julia")):
            language = kernel["name"]
    return not isinstance(language, str) or language.lower() in ("python", "ipython", "python3")


def _is_python_cell(metadata: Any) -> bool:
    editor = metadata.get("vscode") if isinstance(metadata, dict) else None
    return not isinstance(editor, dict) or editor.get("languageId", "python") == "python"


_decode = json.JSONDecoder().raw_decode


def _blank(file: str, at: int) -> int:
    match = _BLANK.match(file, at)
    return match.end() if match is not None else at


def _members(file: str, at: int) -> Iterator[tuple[str, Any, int, int]]:
    """Key, value, and where the value stands, of each member of an object that is known to be valid."""
    at = _blank(file, at + 1)
    while file[at] != "}":
        key, at = _decode(file, at)
        start = _blank(file, _blank(file, at) + 1)
        value, end = _decode(file, start)
        yield key, value, start, end
        at = _blank(file, end)
        at = _blank(file, at + 1) if file[at] == "," else at


def _elements(file: str, at: int) -> Iterator[tuple[Any, int, int]]:
    """Each element of a list that is known to be valid, and where it stands."""
    at = _blank(file, at + 1)
    while file[at] != "]":
        value, end = _decode(file, at)
        yield value, at, end
        at = _blank(file, end)
        at = _blank(file, at + 1) if file[at] == "," else at


def _strings(file: str, source: _Source) -> Iterator[tuple[str, int, int]]:
    """Each string of a source, and where it stands in the file, without its quotes."""
    if isinstance(source.value, str):
        yield source.value, source.start + 1, source.end - 1
        return
    for value, start, end in _elements(file, source.start):
        yield value, start + 1, end - 1


def _with_ends(text: str) -> list[str]:
    return list(io.StringIO(text, newline=""))
