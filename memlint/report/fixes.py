"""The fixes of findings, for the formats that show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from memlint import registry
from memlint.config import Settings
from memlint.rule import Finding

if TYPE_CHECKING:
    from memlint.edit import Cure, TextEdit
    from memlint.fixer import Safety
    from memlint.notebook import Notebook


class Fixes:
    """Works out fixes one by one, for they hold whole texts, and counts them by their safety."""

    def __init__(
        self,
        texts: Mapping[str, str],
        settings: Mapping[str, Settings],
        notebooks: Mapping[str, Notebook] | None = None,
    ) -> None:
        self._texts, self._settings = texts, settings
        self.notebooks = notebooks or {}
        self.count: Counter[Safety] = Counter()

    def of(self, finding: Finding) -> tuple[Cure | None, str | None]:
        """The fix, or why there is none; neither where the rule has no fixer."""
        from memlint import edit  # here, because the formats that show no fixes should not pay for it

        fixer = registry.fixers().get(finding.rule)
        path = finding.place.path
        if fixer is None or path not in self._texts:
            return None, None
        settings = self._settings[path]
        if (reason := settings.keeps_from_fixing(finding.rule)) is not None:
            return None, reason
        options = settings.options(finding.rule)
        outcome = edit.cure(self._texts[path], finding, fixer, options=options, runtime=settings.runtime)
        if path in self.notebooks and isinstance(outcome, edit.Cure):
            outcome = edit.in_notebook(self.notebooks[path], outcome)
        if isinstance(outcome, edit.Refusal):
            return None, outcome.reason
        self.count[outcome.safety] += 1
        return outcome, None

    def in_file(self, finding: Finding, cure: Cure) -> Sequence[TextEdit]:
        """The edits of a fix to the file: in a notebook others than those to its code."""
        from memlint import edit

        book = self.notebooks.get(finding.place.path)
        return cure.edits if book is None else edit.hunks(book.file, book.written(cure.text))
