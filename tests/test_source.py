"""One file in: encodings, errors with their place, and where each node stands."""

from __future__ import annotations

import codecs

import libcst as cst
import pytest
from libcst.metadata import MetadataWrapper, WhitespaceInclusivePositionProvider

from memlint.nesting import MAX_DEPTH
from memlint.source import MAX_BYTES, Source, Unreadable

CODE = '''# a comment
import torch  # why


@torch.no_grad()  # decorated
def f(x, *rest, y=(1,
                   2)):
    """A page.

    Of two lines."""
    # before the loop
    for i in range(3):  # after the head
        x[i] = (x[i] + 1) ; y = 2

    return x  # out
# the end
'''


@pytest.mark.parametrize("code", [CODE, CODE.replace("\n", "\r\n"), CODE.rstrip("\n"), "\ufeff".strip("\ufeff") + CODE])
def test_a_place_is_where_the_code_stands(code: str) -> None:
    source = Source("a.py", code.encode())
    lines = code.splitlines(keepends=True)

    def cut(node: cst.CSTNode) -> str:
        place = source.place(node)
        rows = lines[place.line - 1 : place.end_line]
        rows[-1] = rows[-1][: place.end_column - 1]
        rows[0] = rows[0][place.column - 1 :]
        return "".join(rows).replace("\r\n", "\n")

    function = source.tree.body[1]
    assert isinstance(function, cst.FunctionDef)
    assert cut(function).startswith("@torch.no_grad()")
    assert cut(function).endswith("return x")
    loop = function.body.body[1]
    assert isinstance(loop, cst.For)
    assert cut(loop) == "for i in range(3):  # after the head\n        x[i] = (x[i] + 1) ; y = 2"
    assert cut(loop.iter) == "range(3)"
    first, second = loop.body.body[0].body  # type: ignore[union-attr]
    assert isinstance(first, cst.Assign)
    assert cut(first.value) == "(x[i] + 1)"
    assert cut(second).startswith("y = 2")


def test_places_agree_with_libcst() -> None:
    source = Source("a.py", CODE.encode())
    wrapper = MetadataWrapper(source.tree, unsafe_skip_copy=True)
    known = wrapper.resolve(WhitespaceInclusivePositionProvider)
    compared = 0
    for node, position in known.items():
        if isinstance(node, (cst.Name, cst.Call, cst.Integer, cst.Subscript, cst.Attribute)):
            place = source.place(node)
            assert (place.line, place.column - 1) == (position.start.line, position.start.column)
            assert (place.end_line, place.end_column - 1) == (position.end.line, position.end.column)
            compared += 1
    assert compared > 20


@pytest.mark.parametrize(
    ("data", "text", "encoding", "bom"),
    [
        ("x = 'é'\n".encode(), "x = 'é'\n", "utf-8", False),
        (codecs.BOM_UTF8 + b"x = 1\n", "x = 1\n", "utf-8", True),
        (
            "# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1"),
            "# -*- coding: latin-1 -*-\nx = 'é'\n",
            "iso-8859-1",
            False,
        ),
    ],
)
def test_encodings(data: bytes, text: str, encoding: str, bom: bool) -> None:
    source = Source("a.py", data)
    assert (source.text, source.encoding, source.bom) == (text, encoding, bom)


@pytest.mark.parametrize(
    ("data", "message", "line"),
    [
        (b"x = 1\ndef f(:\n", "does not parse", 2),
        (b"x = '\xe9'\n", "can't be decoded as utf-8", 1),
        (b"# coding: nonsense\n", "unknown encoding", 1),
        (b"x = 1\0\n", "NUL bytes", None),
        (b"x = " + b"(" * (MAX_DEPTH + 1) + b"1" + b")" * (MAX_DEPTH + 1) + b"\n", "nested too deeply", None),
        (b"#" * (MAX_BYTES + 1), "larger than", None),
        (b"print 'old'\n", "does not parse", 1),
    ],
)
def test_what_can_t_be_read_is_told_in_one_line(data: bytes, message: str, line: int | None) -> None:
    with pytest.raises(Unreadable) as caught:
        Source("a.py", data)
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.line == line


def test_a_deep_nest_within_the_limit_is_read() -> None:
    Source("a.py", b"x = " + b"(" * 60 + b"1" + b")" * 60 + b"\n")


@pytest.mark.skipif("\U00013460".isidentifier(), reason="this Python knows the character")
def test_a_name_that_only_a_newer_unicode_knows_is_told_in_one_line() -> None:
    with pytest.raises(Unreadable, match=r"does not parse: invalid non-printable character U\+13460"):
        Source("a.py", "\U00013460 = 1\n".encode())
