"""Applying edits: nodes are replaced by identity, imports added, and the result proved to be Python still.

Nothing here works on text. LibCST writes back every token that no edit touched as it was.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import libcst as cst
from msgspec import Struct
from msgspec.structs import replace

from memlint import imports
from memlint.fixer import Edit, Fixer, Refuse, Safety
from memlint.notebook import Notebook, NotebookError
from memlint.rule import Finding, Tier
from memlint.tree import Swap, Tree, compiles, lines, parse

__all__ = ["Cure", "Refusal", "TextEdit", "Tree", "apply", "cure", "hunks", "propose"]


class TextEdit(Struct, frozen=True):
    """A stretch of the old text and what replaces it. Lines and columns count from 1; the end is not included."""

    line: int
    column: int
    end_line: int
    end_column: int
    replacement: str


class Cure(Struct, frozen=True):
    """What one fix would make of a file: the whole new text, and the same as replacements of whole lines."""

    safety: Safety
    text: str
    edits: tuple[TextEdit, ...]


class Refusal(Struct, frozen=True):
    """Why there is no cure here."""

    reason: str


def cure(
    text: str, finding: Finding, fixer: Fixer, *, options: Mapping[str, Any], runtime: str = "import"
) -> Cure | Refusal:
    """What one fix would make of this text, the imports that it needs included, or why there is none.

    runtime: where helpers come from, `import` or `vendor:PATH`.
    """
    try:
        tree = parse(text, imports.runtime_module(runtime, finding.place.path))
        edit = propose(tree, finding, fixer, options)
        new = apply(tree, [edit])
    except Refuse as reason:
        return Refusal(str(reason))
    return Cure(edit.safety, new, hunks(text, new))


def in_notebook(book: Notebook, cure: Cure) -> Cure | Refusal:
    """A fix of a notebook's text as its cells take it."""
    try:
        new = book.settled(cure.text)
    except NotebookError as error:
        return Refusal(error.message)
    return Cure(cure.safety, new, hunks(book.text, new))


def propose(tree: Tree, finding: Finding, fixer: Fixer, options: Mapping[str, Any]) -> Edit:
    """The fixer's edit; never safe for a finding that is only suspected. Raises Refuse."""
    edit = fixer.fix(finding.fact, tree, options)
    if finding.tier is Tier.SUSPECTED and edit.safety is Safety.SAFE:
        return replace(edit, safety=Safety.UNSAFE)
    return edit


def apply(tree: Tree, edits: Sequence[Edit]) -> str:
    """The file's text after edits that do not overlap, with the imports that they need. Raises Refuse."""
    changes = {node: new for edit in edits for node, new in edit.changes.items()}
    needs = {tree.names.helper(name, node) for edit in edits for name in edit.helpers for node in edit.changes}
    needs |= {tree.names.plain(name, node) for edit in edits for name in edit.modules for node in edit.changes}
    tops = {tree.top(node) for node in changes}
    swap = Swap(changes)
    try:
        # Only the statements of the module that change are walked: LibCST builds what it walks anew.
        body: list[Any] = []
        for number, statement in enumerate(tree.module.body):
            new = statement.visit(swap) if number in tops else statement
            body += new if isinstance(new, cst.FlattenSentinel) else [] if new is cst.RemoveFromParent() else [new]
        if swap.left:
            raise Refuse("the edits overlap")
        text = imports.add(tree.module.with_changes(body=body), needs, before=min(tops)).code
        cst.parse_module(text)
    except (cst.CSTValidationError, cst.ParserSyntaxError, RecursionError):
        raise Refuse("the new code would not parse") from None
    if tree.compiles and not compiles(text):
        raise Refuse("the new code would not compile")
    return text


def hunks(old: str, new: str) -> tuple[TextEdit, ...]:
    """The changes from one text to another, as replacements of whole lines."""
    before, after = lines(old), lines(new)
    edits = []
    for tag, first, last, start, end in difflib.SequenceMatcher(None, before, after).get_opcodes():
        if tag != "equal":
            edits.append(TextEdit(*_begin(before, first), *_begin(before, last), "".join(after[start:end])))
    return tuple(edits)


def _begin(listed: list[str], index: int) -> tuple[int, int]:
    """Where a line begins; behind the last one, the end of the text."""
    if index == len(listed) and listed and not listed[-1].endswith(("\n", "\r")):
        return index, len(listed[-1]) + 1
    return index + 1, 1
