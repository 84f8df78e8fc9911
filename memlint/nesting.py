"""How deeply expressions are nested, told from their text, before a parser dies of it."""

from __future__ import annotations

import re

MAX_DEPTH = 500
"""Brackets in brackets: LibCST's native parser ends the whole process at some 2,000 of them."""

MAX_CHAIN = 1000
"""Links of a chain such as `a + b + c`, which makes a tree as deep: LibCST takes minutes for 3,000 of them, and at some
10,000 it ends the process."""

_BRACKET = re.compile(r"[\[\](){}]")
_BROKEN = re.compile(r"\n[ \t]*(?:[-+*/|&@.]|and |or |if )|[-+*/|&@.\\]\n|\b(?:and|or|else)\n")
_LINK = re.compile(
    r"""\#[^\r\n]* | \\\r?\n | \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}
        | "(?:\\.|[^"\\\r\n])*" | '(?:\\.|[^'\\\r\n])*'
        | (?P<open>[\[({]) | (?P<close>[\])}]) | (?P<next>[,;\r\n])
        | (?P<link>\b(?:lambda|not|and|or|if|in|is|await)\b | [-+~@%&|^] | \*\*? | //? | [<>=!]=?
            | \.(?=\s*[^\W\d]))""",
    re.VERBOSE | re.DOTALL,
)
_ELSE_IF = re.compile(r"^([ \t]*)(elif|if)\b", re.MULTILINE)


def too_deep(text: str) -> bool:
    """Whether a file is nested too deeply to be parsed. Upper bounds are all that is needed."""
    if _depth(text) > MAX_DEPTH:
        return True
    # Few files hold a line that is long enough, or break so many lines within expressions, that it pays to look closer.
    lines = text.split("\n")
    suspect = any(_longest_chain(line) > MAX_CHAIN for line in lines if len(line) > MAX_CHAIN)
    if suspect or len(lines) > MAX_CHAIN and len(_BROKEN.findall(text)) > MAX_CHAIN:
        if _longest_chain(text) > MAX_CHAIN:
            return True
    return _longest_else_if(text) > MAX_CHAIN


def _depth(text: str) -> int:
    """How deeply brackets are nested, those in strings and comments included."""
    depth = deepest = 0
    for bracket in _BRACKET.findall(text):
        if bracket in "([{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth = max(depth - 1, 0)
    return deepest


def _longest_chain(code: str) -> int:
    """The most links that hang on each other at one place, the brackets around it counted."""
    chains = [0]  # in each open bracket the links since the last comma
    here = longest = 0
    for found in _LINK.finditer(code):
        if found["open"]:
            chains.append(0)
        elif found["next"]:
            if found["next"] in ",;" or len(chains) == 1:
                here -= chains[-1]
                chains[-1] = 0
        elif found["close"] or found["link"]:
            if found["close"] and len(chains) > 1:
                here -= chains.pop()
            chains[-1] += 1
            here += 1
            longest = max(longest, here + len(chains))
    return longest


def _longest_else_if(text: str) -> int:
    """The most `elif` of one `if`, as far as they are many: each lies within the one before."""
    if text.count("elif") <= MAX_CHAIN:
        return 0
    chains: dict[str, int] = {}
    longest = 0
    for found in _ELSE_IF.finditer(text):
        chains[found[1]] = chains.get(found[1], 0) + 1 if found[2] == "elif" else 0
        longest = max(longest, chains[found[1]])
    return longest
