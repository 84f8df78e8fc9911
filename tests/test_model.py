"""The model's own promises: what names mean, what the project links, that trees go when a file is done."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from memlint.engine import _packages, propose
from memlint.facts import FileFacts
from memlint.facts.summary import summarize
from memlint.facts.tensor_names import TENSOR_NAMES
from memlint.project import Project
from memlint.registry import rules
from memlint.source import Source


def facts(code: str, path: str = "a.py") -> FileFacts:
    return FileFacts(Source(path, code.encode()))


def project(**files: str) -> Project:
    return Project(summarize(facts(code, f"{name}.py")) for name, code in files.items())


@pytest.mark.needs_torch
def test_the_methods_of_a_tensor_are_those_of_the_installed_torch() -> None:
    import torch

    public = {name for name in dir(torch.Tensor) if not name.startswith("_")}
    methods = {name for name in public if callable(getattr(torch.Tensor, name, None))}
    assert methods - TENSOR_NAMES == set()
    assert TENSOR_NAMES - methods == set()


@pytest.mark.parametrize(
    ("code", "name", "path"),
    [
        ("import torch as th\n", "th.no_grad", "torch.no_grad"),
        ("from torch import no_grad as quiet\n", "quiet", "torch.no_grad"),
        ("from torch.nn import functional as F\n", "F.relu", "torch.nn.functional.relu"),
        ("import torch.nn.functional\n", "torch.nn.functional.relu", "torch.nn.functional.relu"),
        ("import torch\nquiet = torch.no_grad\n", "quiet", "torch.no_grad"),
        ("def f():\n    import torch as t\n", "t.cat", "torch.cat"),
        ("class Net: pass\n", "Net", "a.Net"),
        ("", "unknown.thing", ""),
    ],
)
def test_what_a_name_means(code: str, name: str, path: str) -> None:
    assert facts(code).names.path(name) == path


def test_relative_imports_are_read_from_the_package() -> None:
    source = Source("pkg/sub/a.py", b"from . import x\nfrom ..other import y\nfrom .deep.er import z\n")
    names = FileFacts(source, frozenset({"pkg", "pkg/sub"})).names
    assert (names.module, names.path("x"), names.path("y"), names.path("z")) == (
        "pkg.sub.a",
        "pkg.sub.x",
        "pkg.other.y",
        "pkg.sub.deep.er.z",
    )


LOOPS = """
import torch
from torch.utils.data import DataLoader

def train(model, data, optimizer, epochs):
    loader = DataLoader(data)
    for epoch in range(epochs):
        for batch in loader:
            loss = model(batch).mean()
            loss.backward()
    for name in ("a", "b"):
        print(name)
    for i in range(3):
        print(i)
    for key, value in model.state_dict().items():
        print(key)
    while True:
        print("for ever")
"""


@pytest.mark.parametrize(
    ("code", "uses"),
    [
        ("model.eval()\n", True),
        ("import flax.nnx as nn\nmodel.eval()\n", False),
        ("import jax.numpy as jnp\nimport torch\nmodel.eval()\n", True),
        ("import chainer\nfrom package.torch_backend import plot\nmodel.eval()\n", False),
        ("print(1)\n", False),
    ],
)
def test_whose_modules_a_file_is_about(code: str, uses: bool) -> None:
    assert facts(code).uses_torch == uses


def test_a_page_of_strings_in_a_row_is_no_nesting() -> None:
    assert not facts("import torch\ntext = (" + "'line'\n" * 700 + "f'{torch}')\n").functions


def test_loop_kinds() -> None:
    (train,) = [scope for scope in facts(LOOPS).scopes if scope.name == "train"]
    assert [loop.kind for loop in train.events.loops] == [
        "epoch", "step", "constant", "constant", "structure", "endless",
    ]  # fmt: skip


def test_who_is_always_under_no_grad() -> None:
    linked = project(
        a="import torch\nfrom b import inner, both\n"
        "@torch.no_grad()\ndef outer():\n    inner()\n    both()\n"
        "def plain():\n    both()\n",
        b="def inner():\n    deeper()\ndef deeper():\n    pass\ndef both():\n    pass\ndef nobody_calls():\n    pass\n",
    )
    assert {name for _, name in linked.under_no_grad} == {"inner", "deeper"}


def test_what_runs_once_per_step_is_found_through_calls_but_not_through_constructors() -> None:
    linked = project(
        a="from b import Sim\ndef main(sim: Sim):\n    while True:\n        sim.step()\n        Sim()\n",
        b="class Sim:\n    def __init__(self):\n        self.fill()\n    def fill(self): pass\n"
        "    def step(self):\n        self.record()\n    def record(self): pass\n    def other(self): pass\n",
    )
    assert {name for _, name in linked.per_step} == {"Sim.step", "Sim.record"}


def test_a_class_knows_its_bases_and_subclasses_but_not_its_siblings() -> None:
    linked = project(a="class A: pass\nclass B(A): pass\nclass C(A): pass\nclass D(B): pass\n")
    assert sorted(linked.family("B")) == ["A", "B", "D"]


def test_a_name_that_many_functions_have_is_not_resolved_by_name() -> None:
    many = "".join(f"class K{i}:\n    def handle(self): pass\n" for i in range(4))
    linked = project(a=many + "def f(x):\n    x.handle()\n")
    assert not any(linked.callers[function] for function in linked.functions if function[1].endswith("handle"))
    few = "".join(f"class K{i}:\n    def handle(self): pass\n" for i in range(2))
    linked = project(a=few + "def f(x):\n    x.handle()\n")
    found = [c for function in linked.functions if function[1].endswith("handle") for c in linked.callers[function]]
    assert [caller.sure for caller in found] == [False, False]


def test_what_is_passed_for_a_parameter() -> None:
    linked = project(
        a="import torch\nfrom torch import nn\n"
        "class K:\n    def m(self, net): pass\n    @classmethod\n    def c(cls, net): pass\n"
        "    @staticmethod\n    def s(net): pass\n    def caller(self):\n        net = nn.Linear(1, 1)\n"
        "        self.m(net)\n        self.c(net)\n        self.s(net=net)\n"
    )
    for name in ("m", "c", "s"):
        ((_, argument),) = linked.passed_to(("a", f"K.{name}"), "net")
        assert argument.kind == "module"


def test_nothing_is_left_when_a_file_is_done() -> None:
    """The collector is off while files are checked: a cycle per file would keep every tree."""
    source = Path(__file__).with_name("test_source.py").read_bytes()
    propose(Source("a.py", source), list(rules().values()), frozenset())
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(5):
            propose(Source("a.py", source), list(rules().values()), frozenset())
        # Literals that need Python's own evaluation leave a few small objects each; a tree has some ten thousand.
        assert len(gc.get_objects()) - before < 2_000
    finally:
        gc.enable()


def test_an_object_that_calls_itself_calls_its_own_method() -> None:
    linked = project(
        a="import torch\nclass Predictor:\n    def loop(self, model, batches):\n        with torch.no_grad():\n"
        "            for batch in batches:\n                self(model, batch)\n"
        "    def __call__(self, model, batch):\n        return model(batch)\n"
    )
    assert ("a", "Predictor.__call__") in linked.under_no_grad


def test_the_entries_of_a_dict_are_known_by_their_keys() -> None:
    code = """\
import torch
def step(x):
    stats = {"loss": torch.zeros(3), "name": "a"}
    stats["count"] = 1
    return stats
def use(x):
    stats = step(x)
    loss, name, count = stats["loss"], stats.get("name"), stats["count"]
    other = dict(a=1, b="c")["b"]
    stats[x] = 2
    unknown = stats["loss"]
"""
    env = facts(code).functions["use"].env
    assert [env[name].kind for name in ("loss", "name", "count", "other")] == ["tensor", "string", "number", "string"]
    assert env["unknown"].kind != "string"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_place_from_one_functions_code_is_the_one_from_the_whole_file(newline: str) -> None:
    text = (
        "class A:\n\t@decorated(\n\t\t1,\n\t)\n\n\t# why\n\tasync def a(self, x):\n\t\tif x: y = (\n\t\t\tx)\n"
        "\t\tdef inner():  # more\n\n\t\t\t\treturn (\n5), [ä, b]\n\t\treturn inner\n\n\n"
        "if True:\n  def b(): return c; print(d)\n# end\ndef last():\n  e = f\n  # below"
    )
    data = text.replace("\n", newline).encode()
    facts, whole = FileFacts(Source("x.py", data)), FileFacts(Source("x.py", data))
    assert [name for name, _, _ in facts.source.defs()] == ["a", "inner", "b", "last"]
    for scope, again in zip(facts.scopes, whole.scopes, strict=True):
        parts = zip([*scope.statements(), *scope.every()], [*again.statements(), *again.every()], strict=True)
        for part, same in parts:
            assert facts.place(part) == whole.source.place(same.ref)


def test_scripts_of_one_name_are_told_apart_by_their_folders() -> None:
    paths = ["a/x/gnn.py", "b/x/gnn.py", "b/x/log.py", "b/other.py"]
    packages = _packages(paths)
    modules = [FileFacts(Source(path, b""), packages).names.module for path in paths]
    assert modules == ["a.x.gnn", "b.x.gnn", "b.x.log", "b.other"]


def test_a_script_finds_what_lies_beside_it() -> None:
    paths = ["a/gnn.py", "a/log.py", "b/gnn.py", "b/log.py"]
    packages = _packages(paths)
    codes = ["import log\ndef f():\n    log.g()\n", "def g(): pass\n"] * 2
    read = [FileFacts(Source(path, code.encode()), packages) for path, code in zip(paths, codes, strict=True)]
    linked = Project(summarize(one) for one in read)
    assert [caller.function for caller in linked.callers["a.log", "g"]] == [("a.gnn", "f")]
    assert [caller.function for caller in linked.callers["b.log", "g"]] == [("b.gnn", "f")]
