"""What annotations, class bodies, setup methods and base classes say of values."""

from __future__ import annotations

import pytest

from memlint.facts import FileFacts
from memlint.facts import values as v
from memlint.facts.summary import summarize
from memlint.facts.values import Value
from memlint.project import Project
from memlint.source import Source

IMPORTS = """\
import torch
import torch as th
import numpy as np
import numpy.typing as npt
import typing as t
from collections import deque
from collections.abc import Callable, Iterable
from typing import Annotated, Any, ClassVar, Dict, List, Optional, Tuple, Union
from torch import Tensor, nn
from torch.utils.data import DataLoader
from jaxtyping import Bool, Float, Float32, Int, UInt8
from torchtyping import TensorType
from elsewhere import Thing
class Net(nn.Module): pass
class Config: pass
"""


def facts(code: str, path: str = "a.py") -> FileFacts:
    return FileFacts(Source(path, code.encode()))


def of(annotation: str) -> Value:
    scope = next(s for s in facts(f"{IMPORTS}def f(x: {annotation}): pass\n").scopes if s.name == "f")
    return scope.env["x"]


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        ("torch.Tensor", v.TENSOR),
        ("th.FloatTensor", v.TENSOR),
        ("Tensor", v.TENSOR),
        ("'Tensor'", v.TENSOR),
        ("'torch.Tensor | None'", v.TENSOR),
        ('"Optional[torch.Tensor]"', v.TENSOR),
        ("Optional[Tensor]", v.TENSOR),
        ("t.Optional[Tensor]", v.TENSOR),
        ("Tensor | None", v.TENSOR),
        ("None | Tensor", v.TENSOR),
        ("Union[Tensor, None]", v.TENSOR),
        ("Union[Tensor, np.ndarray]", v.UNKNOWN),
        ("Tensor | float", v.UNKNOWN),
        ("Annotated[Tensor, 'b c']", v.TENSOR),
        ("nn.Parameter", v.TENSOR),
        ("TensorType['batch', 3]", v.TENSOR),
        ('Float[Tensor, "b c"]', v.TENSOR),
        ('Optional[Float32[torch.Tensor, "b"]]', v.TENSOR),
        ('Float[np.ndarray, "b c"]', v.ARRAY),
        ("npt.NDArray[np.float32]", v.ARRAY),
        ("nn.Module", v.MODULE),
        ("nn.ModuleList", v.MODULE),
        ("Net", v.MODULE),
        ("'Net'", v.MODULE),
        ("Config", v.OBJECT),
        ("torch.optim.Adam", v.OPTIMIZER),
        ("torch.optim.lr_scheduler.StepLR", v.UNKNOWN),
        ("DataLoader[int]", v.LOADER),
        ("list", v.LIST),
        ("List[int]", v.LIST),
        ("deque[int]", v.DEQUE),
        ("Iterable[Tensor]", v.UNKNOWN),
        ("Callable[[Tensor], Tensor]", v.FUNCTION),
        ("Any", v.UNKNOWN),
        ("Thing", v.UNKNOWN),
        ("'not ( python'", v.UNKNOWN),
        ("3 + 4", v.UNKNOWN),
    ],
)
def test_kinds(annotation: str, kind: str) -> None:
    assert of(annotation).kind == kind


@pytest.mark.parametrize(
    "annotation",
    [
        "list[Tensor]",
        "List['Tensor']",
        "Dict[str, Tensor]",
        "dict[str, Optional[Tensor]]",
        "tuple[Tensor, ...]",
        "Iterable[Tensor]",
        "t.Sequence[Float[Tensor, 'b']]",
    ],
)
def test_what_a_container_holds(annotation: str) -> None:
    value = of(annotation)
    assert value.item is not None
    assert value.item.kind == v.TENSOR


def test_tuples_by_position() -> None:
    parts = of("Tuple[Tensor, int, nn.Module]").parts
    assert parts is not None
    assert [part.kind for part in parts] == [v.TENSOR, v.NUMBER, v.MODULE]


@pytest.mark.parametrize(
    ("annotation", "integral", "zero_d"),
    [
        ('Int[Tensor, "b"]', True, False),
        ('UInt8[Tensor, "b"]', True, False),
        ('Bool[Tensor, ""]', True, True),
        ('Float[Tensor, ""]', False, True),
        ("torch.LongTensor", True, False),
    ],
)
def test_whole_numbers_and_single_ones(annotation: str, integral: bool, zero_d: bool) -> None:
    value = of(annotation)
    assert (value.integral, value.zero_d) == (integral, zero_d)


def test_an_annotation_of_star_arguments_is_about_each_of_them() -> None:
    (scope,) = facts("import torch\ndef f(*xs: torch.Tensor, **named: torch.Tensor): pass\n").scopes
    assert (scope.env["xs"].kind, scope.env["named"].kind) == (v.UNKNOWN, v.UNKNOWN)


def test_usage_outweighs_an_annotation_as_a_callable() -> None:
    code = "from typing import Callable\ndef f(net: Callable, g: Callable):\n    net.parameters()\n    g(1)\n"
    (scope,) = facts(code).scopes
    assert (scope.env["net"].kind, scope.env["g"].kind) == (v.MODULE, v.FUNCTION)


FIELDS = """\
import collections
import dataclasses
from dataclasses import dataclass, field
from typing import NamedTuple, Optional
import torch
from torch import nn

@dataclass
class State:
    hidden: torch.Tensor
    last: Optional[torch.Tensor] = None
    log: list = field(default_factory=list)
    recent: collections.deque = dataclasses.field(default_factory=lambda: collections.deque(maxlen=3))
    net: nn.Module = None
    size: int = 3

class Batch(NamedTuple):
    inputs: torch.Tensor
    labels: list[str]

class Net(nn.Module):
    scale: torch.Tensor
    head: "nn.Linear"
    def forward(self, x):
        return self.head(x) * self.scale

def use(state: State, batch: Batch):
    a, b, c, d, e = state.hidden, state.last, state.log, state.net(batch.inputs), batch.labels
"""


def test_fields_are_types_of_attributes() -> None:
    file = facts(FIELDS)
    kinds = {name: {a: value.kind for a, value in cls.attributes.items()} for name, cls in file.classes.items()}
    assert kinds == {
        "State": {
            "hidden": v.TENSOR, "last": v.TENSOR, "log": v.LIST, "recent": v.DEQUE, "net": v.MODULE, "size": v.NUMBER,
        },
        "Batch": {"inputs": v.TENSOR, "labels": v.LIST},
        "Net": {"scale": v.TENSOR, "head": v.MODULE},
    }  # fmt: skip
    assert [(init.holder, init.bounded) for init in file.top.events.inits] == [
        ("class:State.log", False), ("class:State.recent", True),
    ]  # fmt: skip
    use = next(scope for scope in file.scopes if scope.name == "use")
    assert [use.env[name].kind for name in "abcde"] == [v.TENSOR, v.TENSOR, v.LIST, v.OUTPUT, v.LIST]
    assert [forward.certain for forward in use.events.forwards] == [True]


SETUP = """\
import torch
from torch import nn

class Trainer:
    def train(self, batch):
        seen = self.net(batch), self.head(batch), self.log, self.table

    def _make_net(self):
        return nn.Linear(3, 3)

    def _init_state(self):
        self.log = []
        self.head = self.net

    def __init__(self):
        self.net = self._make_net().to("cuda")
        self._init_state()

    def setup(self, stage):
        self.table: dict[str, torch.Tensor] = load()

class Fast(Trainer):
    def train(self, batch):
        seen = self.net(batch), self.log
"""


def test_setup_methods_are_read_before_the_others() -> None:
    file = facts(SETUP)
    for scope in file.scopes:
        if scope.name == "train":
            (base, *_) = [scope.owner]
            assert base is not None
            parts = scope.env["seen"].parts or ()
            expected = [v.OUTPUT, v.OUTPUT, v.LIST, v.DICT] if base.name == "Trainer" else [v.OUTPUT, v.LIST]
            assert [part.kind for part in parts] == expected
            assert parts[0].device == v.ACCELERATOR


def test_what_a_function_says_it_gives_back() -> None:
    code = (
        "import torch\nfrom typing import Iterator\n"
        "def first(x):\n    y = late(x)\n    z = known(x)\n    for item in many(x):\n        pass\n"
        "def late(x) -> torch.Tensor:\n    return x.apply()\n"
        "def known(x) -> object:\n    return torch.relu(x)\n"
        "def many(x) -> Iterator[torch.Tensor]:\n    yield x\n"
    )
    env = next(scope for scope in facts(code).scopes if scope.name == "first").env
    assert (env["y"].kind, env["item"].kind) == (v.TENSOR, v.TENSOR)


def project(**files: str) -> Project:
    return Project(summarize(facts(code, f"{name}.py")) for name, code in files.items())


def test_what_a_base_class_in_another_file_keeps() -> None:
    linked = project(
        base="from torch import nn\nfrom nets import Net, Plain\nclass Base:\n    def __init__(self):\n"
        "        self.log = []\n        self.head = nn.Linear(1, 1)\n        self.net = Net()\n"
        "        self.plain = Plain()\n        self.what = x\n",
        nets="from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        self.w = nn.Linear(1, 1)\n"
        "class Plain: pass\nclass Norm(nn.Module):\n    def forward(self, x): return x\n",
        user="from base import Base\nclass User(Base): pass\n",
    )
    kinds = {name: linked.kinds_of("User", name) for name in ("log", "head", "net", "plain", "what")}
    assert kinds == {"log": {v.LIST}, "head": {v.MODULE}, "net": {v.MODULE}, "plain": {v.OBJECT}, "what": set()}
    found = {path: linked.kind_of(path) for path in ("nets.Norm", "torchaudio.Net", "nowhere.Thing")}
    assert found == {"nets.Norm": v.OBJECT, "torchaudio.Net": "", "nowhere.Thing": ""}
    assert [made.holder for made in linked.made_by_base("class:User.log")] == ["class:Base.log"]


def test_a_method_that_only_constructors_call() -> None:
    linked = project(
        a="class A:\n    def __init__(self):\n        self._fill()\n        self.reset()\n    def _fill(self): pass\n"
        "    def reset(self): pass\n    def run(self):\n        self.reset()\n"
    )
    assert linked.only_constructs(("a", "A._fill"))
    assert not linked.only_constructs(("a", "A.reset"))
    assert not linked.only_constructs(("a", "A.run"))
