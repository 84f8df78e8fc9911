"""One line for each finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memlint.report import lines
from memlint.report.paint import Painter
from memlint.rule import Finding, Tier


def render(findings: Sequence[Finding], paint: Painter) -> Iterator[str]:
    """`path:line:column: rule-name message`, and a mark behind what is only suspected."""
    for finding in findings:
        yield headline(finding, paint) + "\n"


def headline(finding: Finding, paint: Painter) -> str:
    """The line for one finding."""
    place = finding.place
    where = f"{paint(lines.printable(place.path), 'message')}:{lines.position(place)}:"
    mark = paint(" [suspected]", "quiet") if finding.tier is Tier.SUSPECTED else ""
    return f"{where} {paint(finding.rule, finding.tier.value)} {lines.one_line(finding.message)}{mark}"
