"""Edits on the tree: what is found, what stays byte for byte, where imports go and what names they take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import libcst as cst
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memlint import edit, imports
from memlint.edit import Cure, Refusal, TextEdit
from memlint.facts.defects import UnboundedGrowth
from memlint.fixer import Edit, Fixer, Refuse, Safety
from memlint.names import Need
from memlint.source import Source
from memlint.tree import Tree, lines
from tests.support.marked import cure, finding, marked


def bound(source: str, runtime: str = "import", path: str = "case.py") -> Cure | Refusal:
    """Bound the history whose append is marked."""
    from memlint import registry

    text, span = marked(source)
    found = finding("bound-history", UnboundedGrowth("h", span, "append", "tensor"), span, path)
    return edit.cure(text, found, registry.fixers()["bound-history"], options={"limit": 9}, runtime=runtime)


def text_after(source: str, **where: str) -> str:
    result = bound(source, **where)
    assert isinstance(result, Cure), result
    return result.text


def applied(text: str, edits: tuple[TextEdit, ...]) -> str:
    """A text after its edits, as an editor would make them."""
    listed = lines(text)
    starts = [sum(map(len, listed[:number])) for number in range(len(listed) + 1)]
    for change in reversed(edits):
        first = starts[change.line - 1] + change.column - 1
        last = starts[change.end_line - 1] + change.end_column - 1
        text = text[:first] + change.replacement + text[last:]
    return text


# -- finding nodes -----------------------------------------------------------------------------------------------------

ODD_SHAPES = '''
@first
# between
@second(1)
class A(B, metaclass=C):
    """Doc."""
    x: int = (1)

    @staticmethod
    async def f(self, *a, k=(1, 2), **kw):
        async for i in ((a)):  # comment
            await g(i)
        # below
        async with a as b, c: pass
        return(a)
if a: b = c; d(e)
elif (b
      + c): x[1:2, ...] = yield_ = lambda q: q
else:
    while not a:
        f"{x!r:>{width}}" 'two' "strings"
        continue
try:
    print(q for q in z)
except* (A, B) as e: raise E from e
finally:
    del a, (b), [c]
match x:
    case [1, *rest] if rest: pass
x = [i for i in j if (i)], {**a, 'b': {c}}, (), -1 ** ~2, (y := 3)
'''


def test_every_node_is_found_where_the_source_says_it_stands() -> None:
    source = Source("odd.py", ODD_SHAPES.encode())
    tree = Tree(ODD_SHAPES)
    findable = (cst.BaseExpression, cst.BaseSmallStatement, cst.BaseStatement)
    seen = 0
    for node in tree.inside(source.tree):
        # Names and strings in the places of identifiers, and nodes without a token of their own, are not looked for.
        if isinstance(node, findable):
            place = source.place(node)
            if (place.line, place.column) == (place.end_line, place.end_column):
                continue
            span = (place.line, place.column, place.end_line, place.end_column)
            found = tree.at(span, type(node))
            assert source.tree.code_for_node(node) == tree.text_of(found)
            seen += 1
    assert seen > 100


@pytest.mark.parametrize("source", ["y = «((a))»\n", "y = («(a)»)\n", "y = ((«a»))\n"])
def test_a_node_is_found_with_any_of_its_parentheses(source: str) -> None:
    text, span = marked(source)
    assert Tree(text).text_of(Tree(text).value_at(span)) == "((a))"


def test_a_function_is_found_with_and_without_its_decorators() -> None:
    for source in ("«@a\n@b\ndef f(): pass»\n", "@a\n@b\n«def f(): pass»\n", "«@a\n@b\ndef f(): pass\n# below»\n"):
        text, span = marked(source)
        assert Tree(text).at(span, cst.FunctionDef).name.value == "f"


@pytest.mark.parametrize("source", ["a« + »b\n", "«a + b»\n"])
def test_a_node_that_is_not_there_is_refused(source: str) -> None:
    text, span = marked(source)
    with pytest.raises(Refuse, match="was not found where the rule saw it"):
        Tree(text).at(span, cst.Call)


def test_a_statement_is_only_found_whole() -> None:
    tree = Tree("a = 1\nif b: c = 2\nd; e\n")
    assert tree.text_of(tree.statement_at((1, 1, 1, 6))) == "a = 1\n"
    for span in ((1, 1, 1, 2), (1, 5, 1, 6)):
        with pytest.raises(Refuse, match="was not found where the rule saw it"):
            tree.statement_at(span)
    for span in ((2, 7, 2, 12), (3, 1, 3, 2), (3, 4, 3, 5), (3, 1, 3, 5)):
        with pytest.raises(Refuse, match="shares its line"):
            tree.statement_at(span)


def test_a_tree_knows_what_is_around_a_node() -> None:
    text, span = marked("class A:\n    def f(self):\n        for x in y:\n            z = [«w»]\n")
    tree = Tree(text)
    name = tree.value_at(span)
    function = tree.function(name)
    assert function is not None
    assert function.name.value == "f"
    assert tree.function(function) is None
    assert tree.text_of(tree.statement(name)).strip() == "z = [w]"
    assert isinstance(tree.parent(name), cst.Element)
    assert tree.top(name) == 0


# -- what an edit leaves alone -----------------------------------------------------------------------------------------

ODD_FILES = {
    "crlf": "import a\r\n\r\ndef f():\r\n    # x\r\n    «h.append(1)»  # y\r\n    return h\r\n",
    "mixed line ends": "import a\r\n\n\r\ndef f():\n    «h.append(1)»\r\n    return h\n",
    "line ends in strings": "import a\ns = '''\r\n\nx'''\n«h.append(1)»\n",
    "tabs": "import a\nif 1:\n\tif 2:\n\t  # odd\n\t\t«h.append(1)»\n",
    "form feed": "import a\n\x0c\nx = 1 \x0c\n\x0c\n«h.append(1)»\n\x0c\n",
    "no final newline": "import a\nx = 1\n«h.append(1)»",
    "trailing spaces": "import a   \n«h.append(1)»   \n   \n\t\nx\n\t",
    "comment at the end": "import a\n«h.append(1)»\n# end",
    "backslashes": "import a\nx = 1 + \\\n    2\n«h.append(1)»; y = \\\n  3\n",
    "line separators": "import a\ns = 'a\u2028b\x85c\x1d'  # \x0b\n«h.append('\u2028')»\n",
    "other indents": "import a\nif x:\n   if y:\n        «h.append(1)»\n   z\nif x:\n\tpass\n",
    "wide characters": "import a\nπ = 'ä🎉' ; «h.append(π)»  # é\n",
    "nested quotes": "import a\nx = f'{a!r:{b}}' 'c'\ny = b'\\d' rb\"\\d\"\n«h.append(x)»\n",
}


@pytest.mark.parametrize("source", ODD_FILES.values(), ids=list(ODD_FILES))
def test_everything_around_an_edit_stays(source: str) -> None:
    before, rest = source.split("«")
    _, after = rest.split("»")
    newline = "\r\n" if "import a\r\n" in source else "\n"
    head, tail = "import a" + before[8:].split(newline, 1)[0] + newline, before[8:].split(newline, 1)[1]
    item = rest.split("»")[0][len("h.append(") : -1]
    new = text_after(source)
    assert (
        new
        == f"{head}from memlint.runtime import append_bounded{newline}{tail}append_bounded(h, {item}, limit=9){after}"
    )


@pytest.mark.parametrize("source", ODD_FILES.values(), ids=list(ODD_FILES))
def test_the_edits_of_a_cure_make_its_text(source: str) -> None:
    result = bound(source)
    assert isinstance(result, Cure)
    assert applied(marked(source)[0], result.edits) == result.text
    assert len(result.edits) <= 2


@given(st.lists(st.sampled_from("ab\n"), max_size=30), st.lists(st.sampled_from("ab\r\n"), max_size=30))
def test_hunks_lead_from_one_text_to_the_other(old: list[str], new: list[str]) -> None:
    before, after = "".join(old), "".join(new)
    assert applied(before, edit.hunks(before, after)) == after
    assert edit.hunks(before, before) == ()


def test_edits_are_applied_together() -> None:
    tree = Tree("a\nb\nc\n")
    names = [node for node in tree.inside(tree.module) if isinstance(node, cst.Name)]
    edits = [Edit({name: cst.Name(name.value * 2)}, Safety.SAFE) for name in (names[0], names[2])]
    assert edit.apply(tree, edits) == "aa\nb\ncc\n"


def test_a_statement_can_become_several_or_none() -> None:
    tree = Tree("if x:\n    a\n    b\n")
    first, second = tree.statement_at((2, 5, 2, 6)), tree.statement_at((3, 5, 3, 6))
    several = cst.FlattenSentinel([tree.line("c"), tree.line("d")])
    assert edit.apply(tree, [Edit({first: several}, Safety.SAFE)]) == "if x:\n    c\n    d\n    b\n"
    none = Edit({first: cst.RemoveFromParent(), second: cst.RemoveFromParent()}, Safety.SAFE)
    assert edit.apply(tree, [none]) == "if x:\n    pass\n"


def test_edits_inside_each_other_are_refused() -> None:
    tree = Tree("f(a)\n")
    call, name = tree.value_at((1, 1, 1, 5)), tree.value_at((1, 3, 1, 4))
    with pytest.raises(Refuse, match="the edits overlap"):
        edit.apply(tree, [Edit({call: cst.Name("b"), name: cst.Name("c")}, Safety.SAFE)])


def one(text: str, new: cst.CSTNode) -> Cure | Refusal:
    """The cure by a fixer that puts `new` in the place of the first name `a`."""

    def fix(fact: Any, tree: Tree, options: Mapping[str, Any]) -> Edit:
        name = next(n for n in tree.inside(tree.module) if isinstance(n, cst.Name) and n.value == "a")
        return Edit({name: new}, Safety.SAFE)

    return edit.cure(text, finding("x", None, (1, 1, 1, 2)), Fixer("x", fix), options={})


def test_new_code_that_is_no_python_is_refused() -> None:
    assert one("def f():\n    return a\n", cst.Pass()) == Refusal("the new code would not parse")
    assert one("x = a\n", cst.Await(cst.Name("b"))) == Refusal("the new code would not compile")
    # Code that this Python did not take before is not held to more than LibCST's grammar.
    result = one("return a\n", cst.Name("b"))
    assert isinstance(result, Cure)
    assert result.text == "return b\n"


@pytest.mark.parametrize(
    "text", ["x = (\n", "\ufeffx = 1\n", "x = 1\r", "x\n\x0cy = 1\n", "x = 'a' b'b'\n", "x = a" + " + a" * 2000]
)
def test_a_file_that_would_not_come_back_is_refused(text: str) -> None:
    result = one(text, cst.Name("b"))
    assert isinstance(result, Refusal)
    assert result.reason in ("the file can't be parsed", "the file can't be written back unchanged")


# -- where imports go --------------------------------------------------------------------------------------------------

NEW = "from memlint.runtime import append_bounded\n"
CODE = "«h.append(1)»\n"


@pytest.mark.parametrize(
    ("header", "after"),
    [
        ("", NEW + "\n"),
        ("x = 1\n", NEW + "\nx = 1\n"),
        ("#!/usr/bin/env python\n# coding: utf-8\n", "#!/usr/bin/env python\n# coding: utf-8\n" + NEW + "\n"),
        ("\n\n# about x\nx = 1\n", "\n\n# about x\n" + NEW + "\nx = 1\n"),
        ('"""Doc."""\n', '"""Doc."""\n\n' + NEW + "\n"),
        ('#!/bin/x\n"""Doc."""\n\n\nx = 1\n', '#!/bin/x\n"""Doc."""\n\n' + NEW + "\n\nx = 1\n"),
        ("from __future__ import annotations\n", "from __future__ import annotations\n\n" + NEW + "\n"),
        (
            '"""Doc."""\nfrom __future__ import annotations\n\nx = 1\n',
            '"""Doc."""\nfrom __future__ import annotations\n\n' + NEW + "\nx = 1\n",
        ),
        ("import a  # why\n\n\n", "import a  # why\n" + NEW + "\n\n"),
        ("import a; import b\nx = 1\n", "import a; import b\n" + NEW + "x = 1\n"),
        ("import a\nx = 1\nfrom b import c\n", "import a\nx = 1\nfrom b import c\n" + NEW),
        (
            "import a\ntry:\n    import b\nexcept ImportError:\n    b = None\nif a:\n    import c\nimport d\nx = 1\n",
            "import a\ntry:\n    import b\nexcept ImportError:\n    b = None\nif a:\n    import c\nimport d\n"
            + NEW
            + "x = 1\n",
        ),
        ("try:\n    import b\nexcept E:\n    b = 0\n", NEW + "\ntry:\n    import b\nexcept E:\n    b = 0\n"),
        ("import a\ndef f(): pass\nimport b\n", "import a\n" + NEW + "def f(): pass\nimport b\n"),
        ("import a\nfrom b import *\n", "import a\nfrom b import *\n" + NEW),
        ("from .b import (\n    c,\n)\n", "from .b import (\n    c,\n)\n" + NEW),
        # Merged into an import of the same module.
        ("from memlint.runtime import to_cpu\n", "from memlint.runtime import append_bounded, to_cpu\n"),
        ("from memlint.runtime import zeta, to_cpu\n", "from memlint.runtime import zeta, to_cpu, append_bounded\n"),
        ("from memlint.runtime import aa as b  # c\n", "from memlint.runtime import aa as b, append_bounded  # c\n"),
        ("from memlint.runtime import (to_cpu)\n", "from memlint.runtime import (append_bounded, to_cpu)\n"),
        (
            "from memlint.runtime import (\n    to_cpu,\n)\n",
            "from memlint.runtime import (\n    append_bounded,\n    to_cpu,\n)\n",
        ),
        (
            "from memlint.runtime import (\n    aa,\n    to_cpu\n)\n",
            "from memlint.runtime import (\n    aa,\n    append_bounded,\n    to_cpu\n)\n",
        ),
        (
            "from memlint.runtime import aa, \\\n    to_cpu\n",
            "from memlint.runtime import aa, \\\n    append_bounded, \\\n    to_cpu\n",
        ),
        (
            "from memlint.runtime import (  # why\n    to_cpu,\n)\n",
            "from memlint.runtime import (  # why\n    to_cpu,\n)\n" + NEW,
        ),
        ("from memlint.runtime import *\n", "from memlint.runtime import *\n" + NEW),
        (
            "from memlint.runtime import to_cpu\nfrom b import *\n",
            "from memlint.runtime import to_cpu\nfrom b import *\n" + NEW,
        ),
        ("import memlint.runtime\n", "import memlint.runtime\n" + NEW),
        (
            "try:\n    from memlint.runtime import to_cpu\nexcept E: pass\n",
            NEW + "\ntry:\n    from memlint.runtime import to_cpu\nexcept E: pass\n",
        ),
        # Already there.
        (NEW, NEW),
    ],
)
def test_where_an_import_goes(header: str, after: str) -> None:
    assert text_after(header + CODE) == after + "append_bounded(h, 1, limit=9)\n"


def test_an_import_stays_above_the_code_that_needs_it() -> None:
    assert text_after("import a\n«h.append(1)»\nimport b\n") == (
        "import a\n" + NEW + "append_bounded(h, 1, limit=9)\nimport b\n"
    )
    assert text_after("if a:\n    «h.append(1)»\nimport b\n") == (
        NEW + "\nif a:\n    append_bounded(h, 1, limit=9)\nimport b\n"
    )


def test_a_docstring_alone_and_no_final_newline() -> None:
    tree = Tree('"""Doc."""')
    need = Need("torch", "", "torch")
    assert imports.add(tree.module, [need], before=1).code == '"""Doc."""\n\nimport torch'


def test_several_helpers_share_one_line() -> None:
    needs = [Need("memlint.runtime", name, local) for name, local in (("to_cpu", "to_cpu"), ("detach", "_detach"))]
    needs.append(Need("numpy", "", "np"))
    new = imports.add(Tree("import os\nx = 1\n").module, needs, before=1).code
    assert new == "import os\nimport numpy as np\nfrom memlint.runtime import detach as _detach, to_cpu\nx = 1\n"


# -- what names it takes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "call", "imported"),
    [
        ("def append_bounded(): pass\n«h.append(1)»\n", "_append_bounded", "append_bounded as _append_bounded"),
        ("from b import append_bounded\n«h.append(1)»\n", "_append_bounded", "append_bounded as _append_bounded"),
        ("from b import *\nappend_bounded(h)\n«h.append(1)»\n", "_append_bounded", "append_bounded as _append_bounded"),
        ("def f(append_bounded):\n    «h.append(1)»\n", "_append_bounded", "append_bounded as _append_bounded"),
        (
            "append_bounded = _append_bounded = 1\n«h.append(1)»\n",
            "_append_bounded_2",
            "append_bounded as _append_bounded_2",
        ),
        ("x.append_bounded(append_bounded=1)\n«h.append(1)»\n", "append_bounded", "append_bounded"),
        ("from memlint.runtime import append_bounded as ab\n«h.append(1)»\n", "ab", "append_bounded as ab"),
        (
            "from memlint.runtime import append_bounded\nappend_bounded = 1\n«h.append(1)»\n",
            "_append_bounded",
            "append_bounded, append_bounded as _append_bounded",
        ),
    ],
)
def test_a_name_that_is_taken_is_not_taken_over(source: str, call: str, imported: str) -> None:
    new = text_after(source)
    assert f"{call}(h, 1, limit=9)\n" in new
    assert f"from memlint.runtime import {imported}\n" in new
    assert new.count("import append_bounded") == source.count("import append_bounded") + ("from memlint" not in source)


@pytest.mark.parametrize(
    ("source", "known"),
    [
        ("«x»\n", False),
        ("x = 1\n«x»\n", True),
        ("a.x = b(x=1)\n«x»\n", False),
        ("import x.y\n«x»\n", True),
        ("import y.x as z\n«x»\n", False),
        ("from x import y\n«x»\n", False),
        ("def f(x): pass\n«x»\n", False),
        ("def f(x):\n    def g():\n        «x»\n", True),
        ("f = lambda x: «x»\n", True),
        ("class A:\n    x = 1\n    «x»\n", True),
        ("class A:\n    x = 1\n    def f(self):\n        «x»\n", False),
        ("[x for x in y]\n«x»\n", False),
        ("[«x» for a, (b, *x) in y]\n", True),
        ("[0 for a in b if (x := a)]\n«x»\n", True),
        ("def f():\n    global x\n    «x»\n", True),
        ("with a as (b, x): pass\n«x»\n", True),
        ("try: pass\nexcept E as x: «x»\n", True),
        ("for [a, x] in b: «x»\n", True),
        ("x[0] = 1\n«x»\n", False),
        ("match a:\n    case [1, *x]: «x»\n", True),
        ("match a:\n    case {'k': 1, **x}: «x»\n", True),
        ("match a:\n    case A(b=x): «x»\n", True),
        ("def x(): pass\n«x»\n", True),
        ("class x: pass\n«x»\n", True),
        ("type x = int\n«x»\n", True),
        ("def f[x](a): «x»\n", True),
    ],
)
def test_which_names_mean_something(source: str, known: bool) -> None:
    text, span = marked(source)
    tree = Tree(text)
    assert tree.unknown_name("len(x)", tree.value_at(span)) == ("" if known else "x")


def test_a_second_cure_uses_the_import_of_the_first() -> None:
    once = text_after("def append_bounded(): pass\n«h.append(1)»\nh.append(2)\n")
    twice = text_after(once.replace("h.append(2)", "«h.append(2)»"))
    assert twice == once.replace("h.append(2)", "_append_bounded(h, 2, limit=9)")


# -- vendored ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vendored", "path", "module"),
    [
        ("src/app/memlint_runtime.py", "src/app/train.py", "app.memlint_runtime"),
        ("src/app/util/mem.py", "scripts/run.py", "app.util.mem"),
        ("./src/app/../app/mem.py", "scripts/run.py", "app.mem"),
        ("scripts/mem.py", "scripts/run.py", "mem"),
        ("mem.py", "scripts/deep/run.py", "mem"),
    ],
)
def test_the_import_name_of_a_vendored_runtime(
    vendored: str, path: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("src/app", "src/app/util"):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    assert imports.runtime_module(f"vendor:{vendored}", path) == module
    assert imports.runtime_module(f"vendor:{tmp_path / vendored}", str(tmp_path / path)) == module
    new = text_after("import a\n«h.append(1)»\n", runtime=f"vendor:{vendored}", path=path)
    assert new == f"import a\nfrom {module} import append_bounded\nappend_bounded(h, 1, limit=9)\n"


@pytest.mark.parametrize(
    ("vendored", "path", "reason"),
    [
        ("tools/mem.py", "scripts/run.py", "it lies in no package, and not above this file"),
        ("mem.txt", "run.py", "it must end in .py"),
        ("my-mem.py", "run.py", "its names must be Python names"),
        ("class.py", "run.py", "its names must be Python names"),
    ],
)
def test_a_vendored_runtime_that_nobody_could_import(
    vendored: str, path: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = bound("«h.append(1)»\n", runtime=f"vendor:{vendored}", path=path)
    assert isinstance(result, Refusal)
    assert reason in result.reason


def test_helpers_of_either_runtime_are_reused() -> None:
    source = "from memlint.runtime import append_bounded\n«h.append(1)»\n"
    assert text_after(source, runtime="vendor:mem.py") == marked(source)[0].replace(
        "h.append(1)", "append_bounded(h, 1, limit=9)"
    )


def test_marks_of_the_helper_function_agree_with_the_tree() -> None:
    text, span = marked("x = 1\ny = «f(\n  2)»\n")
    assert (text, span) == ("x = 1\ny = f(\n  2)\n", (2, 5, 3, 5))
    assert isinstance(cure("bound-history", UnboundedGrowth("h", span, "add", ""), text, span), Refusal)
