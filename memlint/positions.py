"""Where the nodes of a tree stand in its code."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import libcst as cst
from libcst._nodes.internal import CodegenState


def generated(module: cst.Module, node: cst.CSTNode, indent: str = "") -> Recorder:
    """The code of a node of a module, with where each node in it begins and ends."""
    # LibCST's own position provider copies the tree and visits every node twice; generating the code once and
    # noting at which token each node begins and ends costs a fifth of a parse.
    state = Recorder(default_indent=module.default_indent, default_newline=module.default_newline)
    if indent:
        state.increase_indent(indent)
    node._codegen(state)
    return state


class Code:
    """Generated code: its tokens, where each begins, and the first and one past the last token of each node."""

    def __init__(self, state: Recorder) -> None:
        self.spans, self.tokens = state.spans, state.tokens
        self.starts: list[tuple[int, int]] = []
        line = column = 1
        for token in state.tokens:
            self.starts.append((line, column))
            newlines = token.count("\n") or token.count("\r")
            if newlines:
                line += newlines
                column = len(token) - max(token.rfind("\n"), token.rfind("\r"))
            else:
                column += len(token)
        self.starts.append((line, column))


_NOTHING = nullcontext()


class Recorder(CodegenState):
    """Notes for each node the first and one past the last token of its code."""

    def __init__(self, default_indent: str, default_newline: str) -> None:
        super().__init__(default_indent=default_indent, default_newline=default_newline)
        self.spans: dict[int, tuple[int, int]] = {}
        self.head = -1  # the token that a function begins with, after its decorators
        self._open: list[int] = []

    def record_syntactic_position(self, node: cst.CSTNode, **ends: object) -> AbstractContextManager[None]:  # type: ignore[override]
        if self.head < 0 and isinstance(node, cst.FunctionDef):
            self.head = len(self.tokens)
        return _NOTHING  # not asked for: LibCST would make a generator for every node

    def before_codegen(self, node: cst.CSTNode) -> None:
        self._open.append(len(self.tokens))

    def after_codegen(self, node: cst.CSTNode) -> None:
        self.spans[id(node)] = (self._open.pop(), len(self.tokens))
