"""Programs made from the fixtures by accident: mutated bytes, and rewritings that keep a program a program."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from functools import cache
from random import Random

from memlint.tree import compiles
from tests.support import FIXTURES

ATOMS = [
    b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\x0c", b"\t", b"\\\n", b"\\", b'"""', b"'", b"f'{",
    b"}", b"#", b"(", b")", b"[", b":", b";", b"lambda: ", b"*", b"**", b":=", b"@", b"->", b"await ",
    b"yield ", b"async ", b"global ", b"del ", b"not ", b"1e999", b"-" * 40, b"9" * 5000, b"0x", b"1_0j",
    b"10**10**10", b"\xe2\x80\xa8", b"\xf0\x93\x91\xa0", b"\\N{DASH}", b"\\ud800", b"# coding: latin-1\n",
    b"# coding: utf-16\n", b"# memlint: ignore[", b"# memlint: skip-file\n", b"# memlint: ignore[all]",
    b"# type: ignore", b"import ", b"from . import *\n", b"class ", b"def ", b"return ", b"match x:\n",
    b"case _:\n", b"except* ", b"type X = ",
]  # fmt: skip
"""What is put in: the words and characters that mean something, to Python, to an encoding, or to memlint."""


@cache
def programs() -> list[bytes]:
    """The programs of all fixtures with a defect."""
    return [path.read_bytes() for path in sorted(FIXTURES.glob("*/*/before.py"))]


def mutant(random: Random) -> bytes:
    """A program with a few accidents."""
    data = random.choice(programs())
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        data = random.choice(ACCIDENTS)(data, random)
    return data


def _bytes(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice((0, 1, 1, 2, 5, 40)))
    new = random.choice((b"", data[at:end] * 2, random.randbytes(end - at), random.choice(ATOMS), data[at:end][::-1]))
    return data[:at] + new + data[end:]


def _pieces(data: bytes, random: Random) -> bytes:
    """Delete, double, swap or put in lines, or words."""
    pieces = re.findall(rb"[^\n]*\n|[^\n]+$" if random.random() < 0.5 else rb"\w+|\s+|.", data, re.DOTALL)
    if len(pieces) < 3:
        return data
    at, other = sorted(random.sample(range(len(pieces)), 2))
    match random.randrange(5):
        case 0:
            del pieces[at]
        case 1:
            pieces.insert(other, pieces[at])
        case 2:
            pieces[at], pieces[other] = pieces[other], pieces[at]
        case 3:
            pieces.insert(at, random.choice(ATOMS))
        case _:
            del pieces[at : min(other, at + 5)]
    return b"".join(pieces)


def _indentation(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\n")
    first = random.randrange(len(lines))
    for number in range(first, min(len(lines), first + random.choice((1, 1, 4, 20)))):
        line = lines[number]
        lines[number] = random.choice((b"    " + line, line[4:], b"\t" + line.lstrip(), b" " + line, line.lstrip()))
    return b"\n".join(lines)


def _spliced(data: bytes, random: Random) -> bytes:
    other = random.choice(programs())
    at, where = random.randrange(len(data) + 1), random.randrange(len(other) + 1)
    if random.random() < 0.7:  # at the beginnings of lines, so that more of it still means something
        at, where = data.rfind(b"\n", 0, at) + 1, other.rfind(b"\n", 0, where) + 1
    return data[:at] + other[where:]


def _cut(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] if random.random() < 0.8 else data[at:]


Accident = Callable[[bytes, Random], bytes]
ACCIDENTS: list[Accident] = [_bytes, _bytes, _pieces, _pieces, _indentation, _spliced, _cut]


# -- programs that stay programs ---------------------------------------------------------------------------------------


def rewritten(random: Random) -> bytes:
    """A program in other clothes: it still compiles."""
    text = random.choice(programs()).decode()
    for _ in range(random.choice((1, 1, 2, 3))):
        new = random.choice(CLOTHES)(text, random)
        if compiles(new):
            text = new
    ends = random.choice(("\n", "\n", "\n", "\r\n", "\r"))
    mark = random.choice((b"", b"", b"\xef\xbb\xbf"))
    return mark + text.replace("\n", ends).encode()


def _renamed(text: str, random: Random) -> str:
    """One name becomes another everywhere, perhaps one that is in use."""
    names = sorted({node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)})
    if not names:
        return text
    new = random.choice(["é", "_", "x", "torch_2", "self", "list", "append_bounded", "to_cpu", *names])
    return re.sub(rf"\b{random.choice(names)}\b", new, text)


def _within(text: str, random: Random) -> str:
    """All in the body of something."""
    head = random.choice(
        ("if True:", "with open(a) as b:", "try:", "async def outer():", "class Outer:", "def outer(self, x=1):",
         "for _ in range(3):", "while True:", "match x:\n    case _:", "if (n := 10) > 5:", "@a.b(c)\nclass Outer(B):")
    )  # fmt: skip
    deep = "        " if head.startswith("match") else "    "
    body = "".join(deep + line if line.strip() else line for line in text.splitlines(keepends=True))
    return f"{head}\n{body}\n" + ("finally:\n    pass\n" if head == "try:" else "")


def _between(text: str, random: Random) -> str:
    """Something at the beginning or the end of a line that changes nothing."""
    lines = text.split("\n")
    for _ in range(random.choice((1, 3, 10))):
        at = random.randrange(len(lines))
        indent = re.match(r"\s*", lines[at])
        blank = indent[0] if indent else ""
        new = random.choice(
            ("\n" + lines[at], f"{blank}# é ' ( \x0c\n{lines[at]}", lines[at] + ";", lines[at] + "  # type: int",
             lines[at] + "   \\\n", f"{blank}pass; {lines[at].strip()}", f"{blank}@staticmethod\n{lines[at]}",
             f"{blank}if x: pass\n{lines[at]}", lines[at] + "\t", "\x0c\n" + lines[at], f"{blank}global g\n{lines[at]}",
             f"{blank}assert (w := 1)\n{lines[at]}", lines[at] + " # memlint: ignore", f"{blank}del zzz\n{lines[at]}")
        )  # fmt: skip
        changed = [*lines[:at], new, *lines[at + 1 :]]
        if compiles("\n".join(changed)):
            lines = changed
    return "\n".join(lines)


def _parenthesised(text: str, random: Random) -> str:
    """Brackets, line breaks and an assignment around an expression."""
    spots = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.expr)]
    lines = text.split("\n")
    for node in random.sample(spots, min(len(spots), 3)):
        if node.end_lineno == node.lineno and len(lines[node.lineno - 1]) == len(lines[node.lineno - 1].encode()):
            line = lines[node.lineno - 1]
            code = line[node.col_offset : node.end_col_offset]
            form = random.choice(
                ("({})", "(\n{}\n)", "({} # c\n)", "(w := {})", "((({})))", "({},)[0]", "(lambda: {})()")
            )
            changed = list(lines)
            changed[node.lineno - 1] = line[: node.col_offset] + form.format(code) + line[node.end_col_offset :]
            if "\n" not in form and compiles("\n".join(changed)):
                lines = changed
    return "\n".join(lines)


def _tabs(text: str, random: Random) -> str:
    return re.sub(r"^(?:    )+", lambda found: "\t" * (len(found[0]) // 4), text, flags=re.MULTILINE)


def _doubled(text: str, random: Random) -> str:
    return text + random.choice(("", "\n\n")) + random.choice(programs()).decode()


def _endless(text: str, random: Random) -> str:
    return text.rstrip("\n")


CLOTHES = [_renamed, _within, _between, _between, _parenthesised, _tabs, _doubled, _endless]


# -- notebooks ---------------------------------------------------------------------------------------------------------


def notebook(random: Random) -> bytes:
    """A notebook of a program's pieces, with accidents in its JSON or in its cells."""
    text = mutant(random).decode("utf-8", "replace") if random.random() < 0.3 else random.choice(programs()).decode()
    cells: list[dict[str, object]] = []
    for part in re.split(r"\n\n\n(?=\S)", text):
        source = random.choice(("", "", "", "%time ", "%%time\n", "!ls\n", "?x\n", "%%bash\n")) + part
        value = source if random.random() < 0.3 else source.splitlines(keepends=True)
        cells.append({"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": value})
    book = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    data = json.dumps(book, indent=random.choice((None, 1)), ensure_ascii=random.random() < 0.5).encode()
    for _ in range(random.choice((0, 0, 1, 2))):
        data = random.choice((_bytes, _pieces, _cut))(data, random)
    return data
