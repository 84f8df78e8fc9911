"""What is said besides the findings: files that could not be checked, counts, and the last line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from memlint.report import lines
from memlint.report.paint import Painter
from memlint.rule import Finding, Tier

if TYPE_CHECKING:
    from memlint.engine import FileError
    from memlint.fixer import Safety


def error_line(error: FileError, paint: Painter) -> str:
    """The line for a file or path that could not be checked."""
    cell = None if error.cell is None else f"cell {error.cell.number}"
    where = ":".join(str(part) for part in (error.path, cell, error.line, error.column) if part is not None)
    return f"{paint('memlint: error:', 'error')} {lines.printable(where)}: {lines.one_line(error.message)}\n"


def last_line(
    findings: Sequence[Finding], checked: int, failed: int, paint: Painter, left_out: Sequence[str] = ()
) -> str:
    """How many problems there are, of which kind, and in how many files; and what was found and is not shown."""
    parts = []
    if findings:
        files = len({finding.place.path for finding in findings})
        found = f"Found {plural(len(findings), 'problem')} ({by_tier(findings)})"
        parts.append(f"{found} in {files} of {plural(checked, 'file')}")
    elif checked:
        parts.append(f"No problems found in {plural(checked, 'file')}")
    parts += left_out
    if failed:
        parts.append(f"{plural(failed, 'file')} could not be checked")
    good = not findings and not failed
    return paint("; ".join(parts) + ".", "good" if good else "message") + "\n"


def fix_hint(fixes: Mapping[Safety, int]) -> str:
    """What `memlint fix` would do about the findings that were shown; nothing where it would do nothing."""
    counts = {safety.value: count for safety, count in fixes.items()}
    safe, unsafe = counts.get("safe", 0), counts.get("unsafe", 0)
    if safe and unsafe:
        return f"`memlint fix` repairs {safe}, and {unsafe} more with `--unsafe-fixes`.\n"
    if safe or unsafe:
        return f"`memlint fix{'' if safe else ' --unsafe-fixes'}` repairs {safe or unsafe}.\n"
    return ""


def statistics(findings: Sequence[Finding], paint: Painter) -> Iterator[str]:
    """A line for each rule that found something, the most frequent first."""
    rows = _counts(findings)
    wide = max((len(str(row["count"])) for row in rows), default=0)
    for row in rows:
        count, name = paint(f"{row['count']:>{wide}}", "message"), paint(str(row["rule"]), "proved")
        yield f"{count}\t{name}\t{row['proved']} proved, {row['suspected']} suspected\n"


def statistics_json(findings: Sequence[Finding]) -> Iterator[str]:
    """The same as a JSON list."""
    yield json.dumps(_counts(findings), indent=2) + "\n"


def by_tier(findings: Sequence[Finding]) -> str:
    """`2 proved, 1 suspected`."""
    tiers = [finding.tier for finding in findings]
    return ", ".join(f"{tiers.count(tier)} {tier.value}" for tier in Tier if tier in tiers)


def plural(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _counts(findings: Sequence[Finding]) -> list[dict[str, object]]:
    table = {}
    for rule in {finding.rule for finding in findings}:
        mine = [finding.tier for finding in findings if finding.rule == rule]
        counts = {tier.value: mine.count(tier) for tier in Tier}
        table[rule] = {"rule": rule, "count": len(mine), **counts}
    return sorted(table.values(), key=lambda row: (-int(str(row["count"])), str(row["rule"])))
