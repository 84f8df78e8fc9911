"""Each finding with its source, the reasons in order, the advice, and the fix as a small diff."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from memlint.config import all_rules
from memlint.report import lines
from memlint.report.fixes import Fixes
from memlint.report.paint import Painter
from memlint.rule import Finding, Place, Tier

if TYPE_CHECKING:
    from memlint.edit import Cure

_AROUND = 2  # lines of context above and below a finding
_LONGEST = 12  # lines of a finding or of one side of a diff; the middle of longer ones is left out
_WIDEST = 160  # columns of a source line

_SAFETY = {
    "safe": "safe, `memlint fix` applies it",
    "unsafe": "unsafe, `memlint fix --unsafe-fixes` applies it",
    "suggested": "only suggested, look at it and apply it by hand",
}


def render(findings: Sequence[Finding], texts: Mapping[str, str], fixes: Fixes, paint: Painter) -> Iterator[str]:
    """One block for each finding, with a blank line behind it."""
    for finding in findings:
        yield _Block(finding, texts, fixes, paint).text() + "\n"


class _Block:
    def __init__(self, finding: Finding, texts: Mapping[str, str], fixes: Fixes, paint: Painter) -> None:
        self._finding, self._paint = finding, paint
        self._texts, self._notebooks = texts, fixes.notebooks
        self._book = fixes.notebooks.get(finding.place.path)
        self._source = self._lines_of(finding.place.path)
        self._cure, self._refusal = fixes.of(finding)
        self._rows: list[str] = []
        last = min(finding.place.end_line + _AROUND, len(self._source))
        if self._cure is not None:
            last = max(last, min(self._cure.edits[-1].end_line, len(self._source)))
        numbers = [last] if self._book is None else [self._book.at(n)[1] for n in range(1, last + 1)]
        self._gutter = len(str(max(numbers)))

    def text(self) -> str:
        finding, paint = self._finding, self._paint
        mark = paint(" [suspected]", "quiet") if finding.tier is Tier.SUSPECTED else ""
        message = paint(lines.one_line(finding.message), "message")
        self._rows.append(f"{paint(finding.rule, finding.tier.value)}: {message}{mark}")
        arrow = paint(" " * self._gutter + "-->", "frame")
        self._rows.append(f"{arrow} {paint(lines.location(finding.place), 'place')}")
        if finding.place.line <= len(self._source):
            self._bar()
            self._frame(finding.place)
        self._bar()
        self._reasons()
        if self._cure is not None:
            self._diff(self._cure)
        return "\n".join(self._rows) + "\n"

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _row(self, number: int | None, sign: str, rest: str) -> None:
        if number is not None and self._book is not None:
            number = self._book.at(number)[1]
        label = str(number) if number is not None else ""
        self._rows.append(f"{self._paint(f'{label:>{self._gutter}} {sign}', 'frame')} {rest}".rstrip())

    def _bar(self) -> None:
        self._row(None, "|", "")

    def _note(self, label: str, text: str) -> None:
        self._row(None, "=", f"{self._paint(label, 'label')} {lines.one_line(text)}")

    # -- the source ----------------------------------------------------------------------------------------------------

    def _frame(self, place: Place) -> None:
        source, tier = self._source, self._finding.tier.value
        end = place.end_line - (place.end_column == 1 and place.end_line > place.line)
        end = min(end, len(source))
        first, last = max(place.line - _AROUND, 1), min(end + _AROUND, len(source))
        if self._book is not None:
            begin, stop = self._book.range(place.line)
            first, last = max(first, begin), min(last, stop)
        while first < place.line and not source[first - 1].strip():
            first += 1
        while last > end and not source[last - 1].strip():
            last -= 1
        several = end > place.line
        for number in range(first, last + 1):
            inside = place.line <= number <= end
            if inside and _left_out(number - place.line, end - place.line + 1):
                if number == place.line + _LONGEST // 2:
                    self._row(None, "|", self._paint("| ...", tier))
                continue
            line = source[number - 1]
            if not several:
                self._row(number, "|", _cut(line))
                if inside:
                    self._row(None, "|", self._carets(line, place))
            else:
                side = "/ " if number == place.line else "| " if inside else "  "
                self._row(number, "|", self._paint(side, tier) + _cut(line))
                if number == end:
                    tail = max(lines.width(line.rstrip()), 1)
                    self._row(None, "|", self._paint("|" + "_" * min(tail, _WIDEST) + "^", tier))

    def _carets(self, line: str, place: Place) -> str:
        at = place.cell or place
        indent = lines.width(line[: at.column - 1])
        length = max(lines.width(line[at.column - 1 : at.end_column - 1]), 1)
        if indent >= _WIDEST:
            return ""
        return " " * indent + self._paint("^" * min(length, _WIDEST - indent), self._finding.tier.value)

    # -- the reasons ---------------------------------------------------------------------------------------------------

    def _reasons(self) -> None:
        finding, paint = self._finding, self._paint
        for number, step in enumerate(finding.evidence, 1):
            label = f"{number}."
            self._note(label, step.message)
            source = self._lines_of(step.place.path)
            code = _cut(source[step.place.line - 1].strip()) if step.place.line <= len(source) else ""
            where = paint(lines.location(step.place) + (":" if code else ""), "place")
            self._row(None, "|", f"{' ' * len(label)} {where} {code}")
        for question, proof in finding.unknowns:
            self._note("unknown:", question)
            if proof:
                self._note("to settle it:", proof)
        for hint in finding.silent_if:
            self._note("silent if:", hint)
        advice = _advice(finding.rule)
        if advice:
            self._note("help:", advice)
        if self._refusal is not None:
            self._note("no fix:", self._refusal)

    # -- the fix -------------------------------------------------------------------------------------------------------

    def _diff(self, cure: Cure) -> None:
        source, paint = self._source, self._paint
        self._note("fix:", _SAFETY[cure.safety.value])
        self._bar()
        shown = 0  # the last line of the source that was shown
        cell = 0 if self._book is None else self._book.at(self._finding.place.line)[0]
        for edit, following in zip(cure.edits, [*cure.edits[1:], None], strict=True):
            # Edits replace whole lines; only one that reaches the end of a text without a last line end stops inside.
            stop = edit.end_line - (edit.end_column == 1)
            if self._book is not None and (now := self._book.at(edit.line)[0]) != cell:
                cell, shown = now, edit.line - 1
                self._row(None, " ", paint(f"cell {cell}", "quiet"))
                if edit.line > self._book.range(edit.line - 1)[0]:
                    self._context(edit.line - 1)
            if shown and edit.line - 1 > shown + 1:
                self._row(None, " ", paint("...", "quiet"))
            if edit.line - 1 > shown:
                self._context(edit.line - 1)
            for number, line in _shortened(list(enumerate(source[edit.line - 1 : stop], edit.line))):
                self._row(number, paint("-", "removed"), paint(_cut(line), "removed"))
            added = lines.split(edit.replacement)
            if not added[-1]:
                added.pop()
            for _, line in _shortened(list(enumerate(added))):
                self._row(None, paint("+", "added"), paint(_cut(line), "added"))
            shown = stop
            if stop < len(source) and (following is None or following.line > stop + 1):
                self._context(stop + 1)
                shown = stop + 1
        self._bar()

    def _context(self, number: int) -> None:
        if self._source[number - 1].strip():
            self._row(number, "|", _cut(self._source[number - 1]))

    def _lines_of(self, path: str) -> list[str]:
        if path in self._notebooks:
            return self._notebooks[path].lines()
        text = self._texts.get(path)
        return [] if text is None else lines.split(text)


def _advice(rule: str) -> str:
    """What the rule says to do: the first line of its page names the defect, and behind a colon the cure."""
    return all_rules()[rule].summary.partition(": ")[2]


def _cut(line: str) -> str:
    shown = lines.printable(line)
    return shown if len(shown) <= _WIDEST else shown[: _WIDEST - 3] + "..."


def _left_out(index: int, count: int) -> bool:
    return count > _LONGEST and _LONGEST // 2 <= index < count - _LONGEST // 2


def _shortened(rows: list[tuple[int, str]]) -> Iterator[tuple[int | None, str]]:
    for index, row in enumerate(rows):
        if not _left_out(index, len(rows)):
            yield row
        elif index == _LONGEST // 2:
            yield None, "..."
