"""Facts made by hand: the span that a rule would report is marked in the source with « and »."""

from __future__ import annotations

from typing import Any

from memlint import edit, registry
from memlint.facts.defects import Span
from memlint.rule import Finding, Place, Severity, Tier
from memlint.tree import lines


def marked(source: str) -> tuple[str, Span]:
    """The source without its marks, and the span between them."""
    before, inside, after = source.replace("»", "«").split("«")
    text = before + inside + after
    return text, (*position(text, len(before)), *position(text, len(before) + len(inside)))


def position(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset, from 1."""
    above = lines(text[:offset] + "|")
    return len(above), len(above[-1])


def finding(rule: str, fact: Any, span: Span, path: str = "case.py", tier: Tier = Tier.PROVED) -> Finding:
    """A finding as the engine would make it."""
    return Finding(rule, "message", Place(path, *span), tier, Severity.WARNING, (), fact)


def cure(
    rule: str, fact: Any, text: str, span: Span, *, tier: Tier = Tier.PROVED, runtime: str = "import", **options: Any
) -> edit.Cure | edit.Refusal:
    """What the rule's fixer makes of a text."""
    found = finding(rule, fact, span, tier=tier)
    return edit.cure(text, found, registry.fixers()[rule], options=options, runtime=runtime)
