"""One file's tree as fixers see it: finding the nodes of a fact, asking what names mean, and building new code."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Container, Iterator
from typing import TypeVar

import libcst as cst

from memlint.facts.defects import Span
from memlint.fixer import Refuse
from memlint.layout import Layout
from memlint.names import RUNTIME, Names

N = TypeVar("N", bound=cst.CSTNode)
_FINDABLE = (cst.BaseExpression, cst.BaseSmallStatement, cst.BaseStatement)
# As an argument among others these need parentheses of their own.
_NEEDS_PARENTHESES = (cst.Tuple, cst.Yield, cst.GeneratorExp)


class Tree:
    """A parsed file for one round of fixing.

    text: the decoded file, without a byte order mark. runtime: the module that helpers are imported from.
    Raises Refuse where the file can't be parsed or would not be written back as it was.
    """

    def __init__(self, text: str, runtime: str = RUNTIME) -> None:
        self.text = text
        self._runtime = runtime
        try:
            self.module = cst.parse_module(text)
            self._layout = Layout(self.module)
        except (cst.ParserSyntaxError, cst.CSTValidationError, RecursionError):
            raise Refuse("the file can't be parsed") from None
        if self._layout.code != text:  # LibCST forgets a form feed before a line's first word
            raise Refuse("the file can't be written back unchanged")

    # -- finding -------------------------------------------------------------------------------------------------------

    def at(self, span: Span, *types: type[N]) -> N:
        """The one node of these types at a span, with or without its own parentheses or decorators.

        A compound statement is known by where it starts: whether a comment below it still belongs to it is a matter of
        taste. Raises Refuse where no node or several nodes fit.
        """
        fits = self._index.get(span) or self._index.get(span[:2], [])
        found = [node for node in fits if isinstance(node, types)]
        if len(found) != 1:
            raise Refuse("the code to change was not found where the rule saw it")
        return found[0]

    def value_at(self, span: Span) -> cst.BaseExpression:
        """The one expression at a span."""
        return self.at(span, cst.BaseExpression)  # type: ignore[type-abstract]

    def statement_at(self, span: Span) -> cst.BaseStatement:
        """The one statement at a span. Raises Refuse where it shares its line with another."""
        fits = self._index.get(span) or self._index.get(span[:2], [])
        found = {self.statement(node) for node in fits if not isinstance(node, cst.BaseExpression)}
        if len(found) != 1:
            raise Refuse("the code to change was not found where the rule saw it")
        statement = found.pop()
        shared = isinstance(statement, cst.SimpleStatementLine) and len(statement.body) > 1
        if shared or any(isinstance(self.parent(node), cst.SimpleStatementSuite) for node in fits):
            raise Refuse("the statement shares its line with others")
        return statement

    @functools.cached_property
    def _index(self) -> dict[tuple[int, ...], list[cst.CSTNode]]:
        index: dict[tuple[int, ...], list[cst.CSTNode]] = {}
        for node in self._layout.parents:
            if isinstance(node, _FINDABLE):
                spans: set[tuple[int, ...]] = {*self._layout.spans(node)}
                if isinstance(node, cst.BaseCompoundStatement):
                    spans |= {span[:2] for span in spans}
                for span in spans:
                    index.setdefault(span, []).append(node)
        return index

    def line_of(self, node: cst.CSTNode) -> int:
        """The line where a node begins."""
        return self._layout.span(node)[0]

    def parent(self, node: cst.CSTNode) -> cst.CSTNode:
        """The node directly around a node."""
        return self._layout.parents[node]

    def around(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """The nodes around a node, from the inside out, without the module."""
        while (node := self._layout.parents[node]) is not self.module:
            yield node

    def inside(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """A node and all nodes in it, in source order."""
        yield node
        for child in node.children:
            yield from self.inside(child)

    def statement(self, node: cst.CSTNode) -> cst.BaseStatement:
        """The statement (a whole line, or a compound statement) that a node belongs to, or the node itself."""
        return next(outer for outer in (node, *self.around(node)) if isinstance(outer, cst.BaseStatement))

    def function(self, node: cst.CSTNode) -> cst.FunctionDef | None:
        """The function around a node, None in a module's or a class's body."""
        return next((outer for outer in self.around(node) if isinstance(outer, cst.FunctionDef)), None)

    @functools.cached_property
    def functions(self) -> list[tuple[int, int]]:
        """First and last line of each function that lies in no other, decorators included, in source order."""
        outermost = [n for n in self._layout.parents if isinstance(n, cst.FunctionDef) and self.function(n) is None]
        return [self._layout.span(node)[0:3:2] for node in outermost]

    def top(self, node: cst.CSTNode) -> int:
        """Which of the module's statements a node lies in, counted from 0."""
        outermost = [node, *self.around(node)][-1]
        return next(number for number, statement in enumerate(self.module.body) if statement is outermost)

    def suspends(self, block: cst.CSTNode) -> bool:
        """Whether a block itself, not a function in it, yields or awaits, and so lets other code run in between."""
        if isinstance(block, (cst.FunctionDef, cst.Lambda)):
            return False
        if isinstance(block, (cst.Yield, cst.Await, cst.Asynchronous)):
            return True
        return any(self.suspends(child) for child in block.children)

    def text_of(self, node: cst.CSTNode) -> str:
        """The source of a node, its parentheses included."""
        return self.module.code_for_node(node)

    def comments(self, node: cst.CSTNode) -> list[str]:
        """The comments inside a node."""
        return [inner.value for inner in self.inside(node) if isinstance(inner, cst.Comment)]

    # -- names ---------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def names(self) -> Names:
        """What names mean in this file."""
        return Names(self._layout, self._runtime)

    def helper(self, name: str, at: cst.CSTNode) -> str:
        """What a helper of the runtime is called here; the edit's `helpers` must list it."""
        return self.names.helper(name, at).local

    def name_for(self, module: str, at: cst.CSTNode) -> str:
        """What a module is called here: `th` under `import torch as th`; the edit's `modules` must list it."""
        return self.names.plain(module, at).local

    def unknown_name(self, source: str, at: cst.CSTNode) -> str:
        """The first name in some source that means nothing here, "" where all are known."""
        nodes = list(self.inside(self.expression(source)))
        labels = [node.attr for node in nodes if isinstance(node, cst.Attribute)]
        names = [node for node in nodes if isinstance(node, cst.Name) and node not in labels]
        return next((name.value for name in names if not self.names.is_bound(name.value, at)), "")

    def free_name(self, stem: str, at: cst.CSTNode, taken: Container[str] = ()) -> str:
        """A name for something new: the stem, or the stem with a number. Raises Refuse where all mean something."""
        for name in (stem, *(f"{stem}_{number}" for number in range(2, 10))):
            if name not in taken and not self.names.is_bound(name, at):
                return name
        raise Refuse(f"the name `{stem}` is taken")

    @functools.cached_property
    def compiles(self) -> bool:
        """Whether the running Python takes the file as it is."""
        return compiles(self.text)

    # -- new code ------------------------------------------------------------------------------------------------------

    def expression(self, source: str) -> cst.BaseExpression:
        """New code from source text, such as a fact holds. Raises Refuse where it is no expression."""
        try:
            return cst.parse_expression(source, config=self.module.config_for_parsing)
        except cst.ParserSyntaxError:
            raise Refuse(f"`{source}` can't be used in the new code") from None

    def line(self, source: str) -> cst.SimpleStatementLine:
        """A new line of code from source text. Raises Refuse where it is no simple statement."""
        try:
            statement = cst.parse_statement(source, config=self.module.config_for_parsing)
        except cst.ParserSyntaxError:
            statement = None
        if not isinstance(statement, cst.SimpleStatementLine):
            raise Refuse(f"`{source}` can't be used as new code")
        return statement

    def call(
        self, old: cst.BaseExpression | None, function: str, *args: cst.BaseExpression, **keywords: cst.BaseExpression
    ) -> cst.Call:
        """`function(args, key=value)`. old: the expression whose place it takes; its own parentheses go."""
        listed = [cst.Arg(_closed(arg)) for arg in args]
        listed += [cst.Arg(value, keyword=cst.Name(key), equal=_EQUAL) for key, value in keywords.items()]
        listed = [arg.with_changes(comma=_COMMA) for arg in listed[:-1]] + listed[-1:]
        call = cst.Call(cst.Name(function), listed)
        if old is not None and old.lpar and self._parts_words(old):
            return call.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        return call

    def wrap(self, value: cst.BaseExpression, function: str) -> cst.Call:
        """`function(value)` in the place of `value`, every comment and line break kept."""
        if not value.lpar or isinstance(value, _NEEDS_PARENTHESES):
            return self.call(None, function, value)
        if self._parts_words(value):
            bare = value.with_changes(lpar=(), rpar=())
            return cst.Call(cst.Name(function), [cst.Arg(bare)], lpar=value.lpar, rpar=value.rpar)
        # The call's own parentheses take the part of the outermost pair.
        inner = value.with_changes(lpar=value.lpar[1:], rpar=value.rpar[:-1])
        argument = cst.Arg(inner, whitespace_after_arg=value.rpar[-1].whitespace_before)
        return cst.Call(cst.Name(function), [argument], whitespace_before_args=value.lpar[0].whitespace_after)

    def extend_call(
        self, call: cst.Call, function: str, first: cst.BaseExpression, keyword: str, value: cst.BaseExpression
    ) -> cst.Call:
        """`call(argument)` becomes `function(first, argument, keyword=value)`, its lines and comments kept."""
        old = call.args[0]
        item = cst.Arg(_closed(old.value), comma=_COMMA)
        last = old.with_changes(value=value, keyword=cst.Name(keyword), equal=_EQUAL)
        return call.with_changes(func=cst.Name(function), args=[cst.Arg(first, comma=_COMMA), item, last])

    def _parts_words(self, node: cst.BaseExpression) -> bool:
        """Whether a node's parentheses stand directly at a word, as in `return(x)`."""
        return any(char.isalnum() or char == "_" for char in self._layout.characters_around(node))


_COMMA = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
_EQUAL = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))


def _closed(value: cst.BaseExpression) -> cst.BaseExpression:
    """A value that can stand among other arguments."""
    if value.lpar or not isinstance(value, _NEEDS_PARENTHESES):
        return value
    return value.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def lines(text: str) -> list[str]:
    """A text's lines with their ends. Python's lines end at \\n, \\r\\n and \\r only, not at a form feed."""
    return list(io.StringIO(text, newline=""))


def compiles(text: str) -> bool:
    """Whether the running Python takes this text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, "<memlint>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


@functools.lru_cache(maxsize=2)
def parse(text: str, runtime: str = RUNTIME) -> Tree:
    """A tree that is kept for the next findings of the same file."""
    return Tree(text, runtime)
