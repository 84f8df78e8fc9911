"""`with open(path, "a") as f:` in a loop becomes a `BufferedWriter` around the loop; each pass gives it lines.

Unsafe: the lines come to the file later, and in UTF-8. Where it is not plain that each text is a whole line, or where
the loop is in another function, the change is left to the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import StepWrite
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree

_BY_HAND = {
    "rewritten": "how often the file must be up to date is yours to say: write it at an interval, and at the end",
    "flushed": "flush at an interval, and leave the rest to `close()`",
    "finally": "move it behind the loop, into a `finally` around the loop",
}
_ENDINGS = ('\\n"', "\\n'")


@fixer(helpers=("BufferedWriter",))
def fix(fact: StepWrite, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Open the file once, around the loop."""
    if fact.form in _BY_HAND:
        raise Refuse(_BY_HAND[fact.form])
    if fact.loop is None:
        raise Refuse("the loop is in another function: make a `BufferedWriter` there, and close it behind the loop")
    call = tree.at(fact.call, cst.Call)
    block = tree.statement(call)
    loop = tree.statement_at(fact.loop)
    if not isinstance(block, cst.With) or len(block.items) != 1 or block.items[0].item is not call:
        raise Refuse("the file is not opened by a `with` of its own")
    file = block.items[0].asname
    if file is None or not isinstance(file.name, cst.Name) or not isinstance(block.body, cst.IndentedBlock):
        raise Refuse("the file is not opened by a `with` of its own")
    if fact.path is None or not _is_plainly_opened(call, tree):
        raise Refuse("the file is opened in a way of its own")
    texts = [_written(line, file.name.value, tree) for line in block.body.body]
    name = next((name for name in ("writer", "log_writer") if tree.unknown_name(name, block)), None)
    if name is None:
        raise Refuse("the names `writer` and `log_writer` are taken")
    path = tree.value_at(fact.path)
    same = [node for node in tree.inside(loop) if isinstance(node, cst.BaseExpression) and node.deep_equals(path)]
    if len(same) > 1:
        raise Refuse("the loop does something else with the same file")
    lines = [line.with_changes(body=[cst.Expr(_write(name, text))]) for line, text in texts]
    lines[0] = lines[0].with_changes(leading_lines=(*block.leading_lines, *lines[0].leading_lines))
    swapped = loop.visit(_Swap(block, cst.FlattenSentinel(lines)))
    source = f"with {tree.helper('BufferedWriter', loop)}({tree.text_of(path)}) as {name}:\n    pass"
    around = cst.ensure_type(cst.parse_statement(source, tree.module.config_for_parsing), cst.With)
    body = cst.IndentedBlock([swapped.with_changes(leading_lines=())])  # type: ignore[union-attr]
    new = around.with_changes(body=body, leading_lines=getattr(loop, "leading_lines", ()))
    return Edit({loop: new}, Safety.UNSAFE, helpers=("BufferedWriter",))


def _is_plainly_opened(call: cst.Call, tree: Tree) -> bool:
    """With nothing but a path, a mode and UTF-8."""
    for position, arg in enumerate(call.args):
        name = arg.keyword.value if arg.keyword is not None else ("file", "mode", "")[min(position, 2)]
        text = tree.text_of(arg.value).strip("\"'").lower()
        if name not in ("file", "mode") and not (name == "encoding" and text in ("utf-8", "utf8")):
            return False
    return True


def _write(name: str, text: cst.BaseExpression) -> cst.Call:
    return cst.Call(cst.Attribute(cst.Name(name), cst.Name("write")), [cst.Arg(text)])


def _written(line: cst.BaseStatement, file: str, tree: Tree) -> tuple[cst.SimpleStatementLine, cst.BaseExpression]:
    """A line and the text that it writes, which must end with a newline: the writer would add one."""
    if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 and isinstance(line.body[0], cst.Expr):
        call = line.body[0].value
        if isinstance(call, cst.Call) and tree.text_of(call.func) == f"{file}.write" and len(call.args) == 1:
            if _ends_a_line(call.args[0].value, tree):
                return line, call.args[0].value
    raise Refuse("not each statement under the `with` plainly writes a whole line")


def _ends_a_line(text: cst.BaseExpression, tree: Tree) -> bool:
    """A literal that ends with a newline, also as the right side of a sum, or filled in."""
    if isinstance(text, cst.BinaryOperation) and isinstance(text.operator, cst.Add):
        return _ends_a_line(text.right, tree)
    if isinstance(text, cst.BinaryOperation) and isinstance(text.operator, cst.Modulo):
        return _ends_a_line(text.left, tree)
    if isinstance(text, cst.Call) and isinstance(text.func, cst.Attribute) and text.func.attr.value == "format":
        return _ends_a_line(text.func.value, tree)
    if isinstance(text, cst.ConcatenatedString):
        return _ends_a_line(text.right, tree)
    if not isinstance(text, (cst.SimpleString, cst.FormattedString)):
        return False
    prefix = (text.prefix if isinstance(text, cst.SimpleString) else text.start).lower()
    return not {"r", "b"} & {*prefix} and tree.text_of(text).endswith(_ENDINGS)


class _Swap(cst.CSTTransformer):
    def __init__(self, old: cst.CSTNode, new: Any) -> None:
        super().__init__()
        self.old, self.new = old, new

    def on_visit(self, node: cst.CSTNode) -> bool:
        return node is not self.old

    def on_leave(self, original_node: cst.CSTNode, updated_node: Any) -> Any:
        return self.new if original_node is self.old else updated_node
