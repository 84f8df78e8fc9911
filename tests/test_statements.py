"""Statements, read from the text alone: the same as Python's own tokens and tree say, for all files of this project."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator

import pytest

from memlint.statements import Statement, Statements
from tests.support import ROOT

FOLDERS = ("memlint", "rules", "fixers", "tests/support", "examples", "tools")


def lines(text: str) -> Iterator[tuple[int, int]]:
    """The lines of each statement, as the tokens tell; decorators belong to what they decorate."""
    first, decorator = 0, False
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NEWLINE:
            if not decorator:
                yield first, token.start[0]
                first = 0
            decorator = False
        elif token.type not in (tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
            decorator = decorator or token.string == "@" and token.line[: token.start[1]].strip() == ""
            first = first or token.start[0]


def functions(node: ast.AST, around: tuple[str, ...] = ()) -> Iterator[tuple[int, str]]:
    """The line of each statement, with the functions and classes around it."""
    for child in ast.iter_child_nodes(node):
        inner = around
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inner = (*around, child.name)
        if isinstance(child, ast.stmt):
            yield child.lineno, ".".join(inner)
        yield from functions(child, inner)


@pytest.mark.parametrize("folder", FOLDERS)
def test_statements_are_those_of_python(folder: str) -> None:
    for file in sorted((ROOT / folder).rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        statements = Statements(text)
        for first, last in lines(text):
            found = statements.at(first)
            assert (found.first, found.last) == (first, last), f"{file}:{first}"
        for line, function in functions(ast.parse(text)):
            assert statements.at(line).function == function, f"{file}:{line}"


HARD = '''\
class A:
\t@property  # (
\tdef f(self):
            return """(
def g():  # "
    """ + '\\'[' + (
            1)

\t# a comment
\tasync def g(self): return 1; x = 2
y = 1 \\
    + 2
'''


@pytest.mark.parametrize(
    ("line", "statement", "code"),
    [
        (1, Statement(1, 1, "A"), "class A:"),
        (2, Statement(2, 3, "A.f"), "@property def f(self):"),
        (5, Statement(4, 7, "A.f"), 'return"""(\ndef g():  # "\n    """+\'\\\'[\'+(1)'),
        (9, Statement(9, 9, "A.f"), "# a comment"),
        (10, Statement(10, 10, "A.g"), "async def g(self):return 1;x=2"),
        (12, Statement(11, 12, ""), "y=1+2"),
        (40, Statement(40, 40, ""), ""),
    ],
)
def test_strings_comments_and_brackets(line: int, statement: Statement, code: str) -> None:
    for end in ("\n", "\r\n", "\r"):
        statements = Statements(HARD.replace("\n", end))
        assert statements.at(line) == statement
        assert statements.code(statement) == code


def test_a_text_that_ends_in_the_middle() -> None:
    statements = Statements("x = 1\nf(\n    2,\n")
    assert statements.at(1) == Statement(1, 1, "")
    assert statements.at(3) == Statement(2, 4, "")
    assert Statements("").at(1) == Statement(1, 1, "")
    assert Statements("@cache\n").at(1) == Statement(1, 2, "")
