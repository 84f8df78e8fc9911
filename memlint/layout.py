"""Where the nodes of a LibCST tree stand, and what is around each, from generating the code once.

LibCST's own providers for this cost several times as much, and fixes are worked out for each finding that is shown.
"""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst
from libcst._nodes.internal import CodegenState

from memlint.facts.defects import Span


class Layout:
    """The tokens of a module's code. parents: the node around each node, in source order. code: all of it."""

    def __init__(self, module: cst.Module) -> None:
        state = _Recorder(module.default_indent, module.default_newline)
        module._codegen(state)
        self.parents = state.parents
        self._ranges = state.ranges
        self._tokens = state.tokens
        self.code = "".join(state.tokens)
        self._starts = list(_starts(state.tokens))

    def span(self, node: cst.CSTNode) -> Span:
        """Where a node stands, its own parentheses and decorators included, comments and blank lines around it not."""
        return self._span(*self._ranges[node])

    def spans(self, node: cst.CSTNode) -> set[Span]:
        """Every stretch that may be called this node: with all, some or none of its own parentheses, with and without
        its decorators, with and without the semicolon behind it."""
        first, last = self._ranges[node]
        found = {self._span(first, last)}
        if isinstance(node, cst.BaseExpression):
            for left, right in zip(node.lpar, reversed(node.rpar), strict=True):
                found.add(self._span(self._ranges[left][1], self._ranges[right][0]))
        elif isinstance(semicolon := getattr(node, "semicolon", None), cst.Semicolon):
            found.add(self._span(first, self._ranges[semicolon][0]))
        elif decorators := getattr(node, "decorators", ()):
            found.add(self._span(self._ranges[decorators[-1]][1], last))
        return found

    def characters_around(self, node: cst.CSTNode) -> str:
        """The character before a node and the one behind it."""
        first, last = self._ranges[node]
        before = next((token for token in reversed(self._tokens[:first]) if token), "")
        after = next((token for token in self._tokens[last:] if token), "")
        return before[-1:] + after[:1]

    def _span(self, first: int, last: int) -> Span:
        last = min(last, len(self._tokens))  # the generator takes back the newline that a file does not end with
        while first < last and _is_blank(self._tokens[first]):
            first += 1
        while last > first and _is_blank(self._tokens[last - 1]):
            last -= 1
        return (*self._starts[first], *self._starts[last])


def _is_blank(token: str) -> bool:
    return not token or token.isspace() or token.startswith("#")


def _starts(tokens: list[str]) -> Iterator[tuple[int, int]]:
    """Line and column of each token, and of the end."""
    line = column = 1
    for token in tokens:
        yield line, column
        if newlines := token.count("\n") or token.count("\r"):
            line += newlines
            column = len(token) - max(token.rfind("\n"), token.rfind("\r"))
        else:
            column += len(token)
    yield line, column


class _Recorder(CodegenState):
    """Notes for each node the node around it, and the first and one past the last token of its code."""

    def __init__(self, default_indent: str, default_newline: str) -> None:
        super().__init__(default_indent=default_indent, default_newline=default_newline)
        self.parents: dict[cst.CSTNode, cst.CSTNode] = {}
        self.ranges: dict[cst.CSTNode, tuple[int, int]] = {}
        self._open: list[tuple[cst.CSTNode, int]] = []

    def before_codegen(self, node: cst.CSTNode) -> None:
        if self._open:
            self.parents[node] = self._open[-1][0]
        self._open.append((node, len(self.tokens)))

    def after_codegen(self, node: cst.CSTNode) -> None:
        self.ranges[node] = (self._open.pop()[1], len(self.tokens))
