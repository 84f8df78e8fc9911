"""Comments that silence findings: `# memlint: ignore[rule-name] reason` and `# memlint: skip-file`, and unused ones.

A comment speaks for the whole statement on whose lines it stands; one on a line of its own speaks for the statement
directly below it.
"""

from __future__ import annotations

import bisect
import difflib
import io
import re
import tokenize
from collections.abc import Iterator, Sequence

from msgspec import Struct, field

from memlint.rule import Finding, Place, Rule, Severity, Tier

NAME = "unused-suppression"

RULE = Rule(
    name=NAME,
    doc="""A suppression comment hides nothing: delete it, or the one name in it.

What it finds
-------------
A suppression that no longer hides a finding, names a rule that does not exist, or is misspelt. Only rules that are
enabled are judged.

Why it costs
------------
A stale suppression hides the next real defect on its line.

When it stays silent
--------------------
The suppressed rule is not enabled in this run, or the comment hides a finding.

Fix safety
----------
There is no fix.
""",
    find=lambda facts: (),
    needs=(),
    default=True,
    options={},
)

_MARK = "memlint:"
_DIRECTIVE = re.compile(
    r"#\s*memlint:\s*(?P<word>[A-Za-z][\w-]*)(?:\s*(?P<open>\[)(?:(?P<names>[^\]#]*)(?P<close>\]))?)?"
)
_WORDS = ("ignore", "skip-file")

# For texts that the running Python can't tokenize: comments, with strings in the other branches so that what they
# hold is stepped over.
_LEXER = re.compile(
    r"""(?P<comment>\#[^\n]*) | \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}
        | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""",
    re.VERBOSE | re.DOTALL,
)


class _Directive(Struct):
    """One directive, for the lines first to last. `names`: (rule name, column) pairs, or None for all rules."""

    word: str
    names: tuple[tuple[str, int], ...] | None
    line: int
    column: int
    end_column: int
    first: int
    last: int
    broken: bool
    used: set[str] = field(default_factory=set)

    def hides(self, finding: Finding) -> bool:
        place = finding.place
        if not (self.first <= place.line <= self.last or self.first <= place.end_line <= self.last):
            return False
        return self.names is None or any(name == finding.rule for name, _ in self.names)


def skips_file(text: str) -> bool:
    """Whether a `# memlint: skip-file` comment drops this file."""
    return _MARK in text and any(directive.word == "skip-file" for directive in _directives(text))


def apply(
    findings: Sequence[Finding],
    text: str,
    path: str,
    enabled: frozenset[str],
    known: frozenset[str] | None = None,
) -> list[Finding]:
    """The findings of one file that no comment hides, and a finding for each suppression that hides nothing.

    enabled: the rules that ran on this file; only their suppressions are judged.
    known: every rule that exists; given, a name outside it is reported as unknown.
    """
    if _MARK not in text:
        return list(findings)
    directives = _directives(text)
    if any(directive.word == "skip-file" for directive in directives):
        return []
    ignores = [directive for directive in directives if directive.word == "ignore" and not directive.broken]
    kept = []
    for finding in findings:
        hiding = [directive for directive in ignores if directive.hides(finding)]
        for directive in hiding:
            directive.used.add(finding.rule)
        if not hiding:
            kept.append(finding)
    if NAME in enabled:
        stale = [problem for directive in directives for problem in _judge(directive, path, enabled, known)]
        kept += [finding for finding in stale if not any(_excuses(directive, finding) for directive in ignores)]
    return kept


def _excuses(directive: _Directive, finding: Finding) -> bool:
    # Only by name: a bare `ignore` must not excuse itself.
    return directive.names is not None and directive.hides(finding)


def _judge(
    directive: _Directive, path: str, enabled: frozenset[str], known: frozenset[str] | None
) -> Iterator[Finding]:
    def problem(message: str, column: int, length: int) -> Finding:
        place = Place(path, directive.line, column, directive.line, column + length)
        return Finding(NAME, message, place, Tier.SUSPECTED, Severity.NOTE, (), None)

    whole = (directive.column, directive.end_column - directive.column)
    if directive.word not in _WORDS:
        yield problem(f'unknown directive "{directive.word}"{_nearest(directive.word, _WORDS)}', *whole)
    elif directive.broken:
        yield problem("malformed suppression, write `# memlint: ignore[rule-name] reason`", *whole)
    elif directive.names is None:
        if directive.word == "ignore" and not directive.used:
            yield problem("this suppression hides nothing", *whole)
    else:
        for name, column in directive.names:
            if known is not None and name not in known:
                yield problem(f'unknown rule "{name}" in a suppression{_nearest(name, known)}', column, len(name))
            elif name in enabled and name not in directive.used and name != NAME:
                yield problem(f"this suppression of {name} hides nothing", column, len(name))


def _nearest(word: str, choices: Sequence[str] | frozenset[str]) -> str:
    close = difflib.get_close_matches(word, sorted(choices), n=1)
    return f', did you mean "{close[0]}"?' if close else ""


def _directives(text: str) -> list[_Directive]:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        comments, statements = _tokenized(text)
    except (tokenize.TokenError, SyntaxError):
        comments, statements = _scanned(text)
    alone = {line for line, _, _ in comments if _statement(line, statements) is None}
    return [
        _directive(match, line, column, alone, statements)
        for line, column, comment in comments
        for match in _DIRECTIVE.finditer(comment)
        # Any other word is prose, unless it is a slip of the pen.
        if difflib.get_close_matches(match["word"], _WORDS, n=1)
    ]


def _directive(
    match: re.Match[str], line: int, column: int, alone: set[int], statements: list[tuple[int, int]]
) -> _Directive:
    names = None
    if match["close"]:
        offset = column + match.start("names")
        names = tuple((name[0], offset + name.start()) for name in re.finditer(r"[^\s,]+", match["names"]))
    broken = bool(match["open"]) and not names
    if names and any(name == "all" for name, _ in names):
        names = None
    below = line
    while below in alone:
        below += 1
    first, last = _statement(below, statements) or (line, line)
    return _Directive(match["word"], names, line, column + match.start(), column + match.end(), first, last, broken)


def _statement(line: int, statements: list[tuple[int, int]]) -> tuple[int, int] | None:
    """The lines of the statement that stands on this line."""
    index = bisect.bisect_right(statements, line, key=lambda span: span[0]) - 1
    return statements[index] if index >= 0 and line <= statements[index][1] else None


def _tokenized(text: str) -> tuple[list[tuple[int, int, str]], list[tuple[int, int]]]:
    """Comments as (line, column, text), and the lines of each statement (of a block: its decorators and header)."""
    comments = []
    statements = []
    start = 0
    fresh, decorator = True, False
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments.append((token.start[0], token.start[1] + 1, token.string))
        elif token.type == tokenize.NEWLINE:
            if not decorator:
                statements.append((start, token.start[0]))
                start = 0
            fresh = True
        elif token.type not in (tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
            if fresh:
                decorator = token.string == "@"
                fresh = False
            start = start or token.start[0]
    return comments, statements


def _scanned(text: str) -> tuple[list[tuple[int, int, str]], list[tuple[int, int]]]:
    """The same without a tokenizer: each line that holds code counts as a statement."""
    lines = text.split("\n")
    comments = []
    for match in _LEXER.finditer(text):
        if match["comment"]:
            line = text.count("\n", 0, match.start())
            comments.append((line + 1, match.start() - text.rfind("\n", 0, match.start()), match["comment"]))
    statements = [
        (number, number) for number, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")
    ]
    return comments, statements
