"""The page of a rule, read from the docstring of its file: sections under underlined headings, code indented."""

from __future__ import annotations

import inspect
import itertools
import textwrap

from memlint.rule import Rule

HEADINGS = (
    "What it finds",
    "Why it costs",
    "When it stays silent",
    "Fix safety",
    "Example",
    "Use instead",
    "From",
)
"""Every page has these, in this order."""


def sections(doc: str) -> dict[str, str]:
    """The sections of a page by their headings, in the page's order. A heading is a line underlined with dashes."""
    lines = inspect.cleandoc(doc).splitlines()
    starts = [
        number
        for number, (line, under) in enumerate(itertools.pairwise(lines))
        if line and set(under) == {"-"} and len(under) == len(line)
    ]
    spans = itertools.pairwise([*starts, len(lines)])
    return {lines[start]: "\n".join(lines[start + 2 : end]).strip("\n") for start, end in spans}


def code(section: str) -> str:
    """The code of a section: its indented lines, together, without the indent."""
    return textwrap.dedent("\n".join(text for is_code, text in _blocks(section) if is_code)) + "\n"


def markdown(rule: Rule) -> str:
    """The page as Markdown."""
    parts = [f"# {rule.name}", rule.summary]
    for heading, section in sections(rule.doc).items():
        parts.append(f"## {heading}")
        parts += [_fenced(textwrap.dedent(text)) if is_code else text for is_code, text in _blocks(section)]
    return "\n\n".join(parts) + "\n"


def _fenced(text: str) -> str:
    return f"```{'toml' if text.startswith('[tool.') else 'python'}\n{text}\n```"


def _blocks(section: str) -> list[tuple[bool, str]]:
    """A section's text cut where code begins or ends; blank lines inside of code belong to it."""
    blocks: list[tuple[bool, list[str]]] = []
    after_blank = True
    for line in section.splitlines():
        if not line:
            if blocks:
                blocks[-1][1].append(line)
            after_blank = True
            continue
        indented = line.startswith("    ")
        was_code = bool(blocks) and blocks[-1][0]
        # Only a blank line opens a block of code: an indented line below a list item goes on with the item.
        is_code = indented and (was_code or after_blank)
        if not blocks or is_code != was_code:
            blocks.append((is_code, []))
        blocks[-1][1].append(line)
        after_blank = False
    return [(is_code, "\n".join(lines).strip("\n")) for is_code, lines in blocks]
