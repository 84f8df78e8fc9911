"""The five fixers: what they write, what they refuse, and that rewritten code computes what it computed before."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from memlint.edit import Cure, Refusal
from memlint.facts.defects import ForwardWithGrad, KeptOnDevice, PerItemLoop, Span, UnboundedGrowth, UnclampedSum
from memlint.fixer import Safety
from memlint.rule import Tier
from tests.support.marked import cure, marked

HEADER = "import torch\n"


def body(text: str) -> str:
    """A fixed text without its imports."""
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith(("import ", "from "))]
    return "".join(lines).lstrip("\n")


def outcome(result: Cure | Refusal) -> str:
    """The fixed text without its imports, or the reason of a refusal."""
    return body(result.text) if isinstance(result, Cure) else f"refused: {result.reason}"


# -- bound-history -----------------------------------------------------------------------------------------------------


def bound(source: str, how: str = "append", limit: object = 7) -> Cure | Refusal:
    text, span = marked(HEADER + source)
    return cure("bound-history", UnboundedGrowth("h", span, how, "tensor"), text, span, limit=limit)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("«h.append(x)»\n", "append_bounded(h, x, limit=7)\n"),
        ("«self.stats['loss'].append(x)»  # kept\n", "append_bounded(self.stats['loss'], x, limit=7)  # kept\n"),
        ("a(); «h.append(x)»; b()\n", "a(); append_bounded(h, x, limit=7); b()\n"),
        ("if x: «h.append(x)»\n", "if x: append_bounded(h, x, limit=7)\n"),
        ("«h.append((a, b))»\n", "append_bounded(h, (a, b), limit=7)\n"),
        ("«h.append(q for q in x)»\n", "append_bounded(h, (q for q in x), limit=7)\n"),
        ("«h.append(x,)»\n", "append_bounded(h, x, limit=7,)\n"),
        ("«h . append (x)»\n", "append_bounded (h, x, limit=7)\n"),
        (
            "«h.append(  # one\n    x,  # two\n    # three\n)»\n",
            "append_bounded(  # one\n    h, x, limit=7,  # two\n    # three\n)\n",
        ),
        ('«h.append({\n    "a": 1,\n})»\n', 'append_bounded(h, {\n    "a": 1,\n}, limit=7)\n'),
        ("«h.append(\n    x  # two\n)»\n", "append_bounded(\n    h, x, limit=7  # two\n)\n"),
    ],
)
def test_a_bounded_history(before: str, after: str) -> None:
    assert outcome(bound(before)) == after


@pytest.mark.parametrize(
    ("before", "how", "limit", "reason"),
    [
        ("«h.extend(x)»\n", "extend", 7, "several entries at once"),
        ("«h += x»\n", "augment", 7, "several entries at once"),
        ("«h[k] = x»\n", "setitem", 7, "which key may go"),
        ("«h = torch.cat([h, x])»\n", "concat", 7, "copies the whole array"),
        ("«h.grow(x)»\n", "grow", 7, "only a list that grows by `append`"),
        ("y = «h.append(x)»\n", "append", 7, "part of a larger expression"),
        ("«h.append(*x)»\n", "append", 7, "one plain argument"),
        ("«h.append(item=x)»\n", "append", 7, "one plain argument"),
        ("«h.append(x)»\n", "append", 0, "whole number above 0, not 0"),
        ("«h.append(x)»\n", "append", True, "whole number above 0, not True"),
        ("h.«append(x)»\n", "append", 7, "not found where the rule saw it"),
    ],
)
def test_a_history_that_is_not_bounded(before: str, how: str, limit: object, reason: str) -> None:
    assert reason in outcome(bound(before, how, limit))


def test_bounding_is_never_safe() -> None:
    result = bound("«h.append(x)»\n")
    assert isinstance(result, Cure)
    assert result.safety is Safety.UNSAFE


# -- snapshots-to-cpu --------------------------------------------------------------------------------------------------


def snapshot(source: str, form: str = "stored", only_read_on_cpu: bool = True, tier: Tier = Tier.PROVED) -> Any:
    text, span = marked(HEADER + source)
    return cure("snapshots-to-cpu", KeptOnDevice(span, form, only_read_on_cpu), text, span, tier=tier)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("h.append(«x»)\n", "h.append(to_cpu(x))\n"),
        ("h.append(«x.detach()»)\n", "h.append(to_cpu(x))\n"),
        ("h.append(«x.detach().clone()»)\n", "h.append(to_cpu(x))\n"),
        ("h.append(«x.clone().detach()»)\n", "h.append(to_cpu(x))\n"),
        ("h.append(«x.detach().contiguous()»)\n", "h.append(to_cpu(x.detach().contiguous()))\n"),
        ("h.append(«x.detach()[0]»)\n", "h.append(to_cpu(x.detach()[0]))\n"),
        ("h.append(«x.clone(memory_format=f)»)\n", "h.append(to_cpu(x.clone(memory_format=f)))\n"),
        ("h.append(«(a + b).detach()»)\n", "h.append(to_cpu((a + b)))\n"),
        ("h[k] = «a, b»\n", "h[k] = to_cpu((a, b))\n"),
        ("h[k] = «(a, b)»\n", "h[k] = to_cpu((a, b))\n"),
        ("h[k] = «(a + b)»\n", "h[k] = to_cpu(a + b)\n"),
        ("h[k] = («a + b»)\n", "h[k] = to_cpu(a + b)\n"),
        ("h[k] = «((a + b))»\n", "h[k] = to_cpu((a + b))\n"),
        (
            "h[k] = «(  # one\n    a  # two\n    + b  # three\n)»\n",
            "h[k] = to_cpu(  # one\n    a  # two\n    + b  # three\n)\n",
        ),
        ("def f(x):\n    return«(x)»\n", "def f(x):\n    return(to_cpu(x))\n"),
        ("def f(x):\n    return«(x.detach())»\n", "def f(x):\n    return(to_cpu(x))\n"),
        ("y = 1 if«(x)»else 2\n", "y = 1 if(to_cpu(x))else 2\n"),
        ("def f():\n    x = «yield»\n", "def f():\n    x = to_cpu((yield))\n"),
        ("async def f(x):\n    h.append(«await x»)\n", "async def f(x):\n    h.append(to_cpu(await x))\n"),
        ("h.append(«y := x»)\n", "h.append(to_cpu(y := x))\n"),
        ("h.append(«lambda: x»)\n", "h.append(to_cpu(lambda: x))\n"),
    ],
)
def test_a_snapshot_on_the_cpu(before: str, after: str) -> None:
    assert outcome(snapshot(before)) == after


def test_a_state_dict_keeps_its_last_call() -> None:
    assert outcome(snapshot("h.append(«m.state_dict()»)\n", "state-dict")) == "h.append(to_cpu(m.state_dict()))\n"
    deep = snapshot("h.append(«copy.deepcopy(m.state_dict())»)\n", "state-dict")
    assert outcome(deep) == "h.append(to_cpu(copy.deepcopy(m.state_dict())))\n"


@pytest.mark.parametrize(
    ("before", "form", "reason"),
    [
        ("for k in c:\n    c[k] = «c[k].to(d)»\n", "cache-moved", "build a new dict for the device"),
        ("h.append(«x for x in y»)\n", "stored", "a generator is stored"),
        ("h.append(«copy.deepcopy(m)»)\n", "stored", "call `.cpu()` on the copy"),
    ],
)
def test_a_snapshot_that_stays(before: str, form: str, reason: str) -> None:
    assert reason in outcome(snapshot(before, form))


def test_a_snapshot_is_safe_only_where_all_readers_are_on_the_cpu_and_that_is_proved() -> None:
    source = "h.append(«x»)\n"
    assert snapshot(source).safety is Safety.SAFE
    assert snapshot(source, only_read_on_cpu=False).safety is Safety.UNSAFE
    assert snapshot(source, tier=Tier.SUSPECTED).safety is Safety.UNSAFE


# -- no-grad-inference -------------------------------------------------------------------------------------------------


def no_grad(source: str, *, decorate: bool, escapes: bool = False, header: str = HEADER) -> Cure | Refusal:
    text, span = marked(header + textwrap.dedent(source))
    function = span if decorate else None
    return cure("no-grad-inference", ForwardWithGrad(span, function, span, decorate, escapes), text, span)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("«def f(x):\n    return m(x)»\n", "@torch.no_grad()\ndef f(x):\n    return m(x)\n"),
        (
            "# about f\n«@staticmethod\n# why\ndef f(x): return m(x)»\n",
            "# about f\n@staticmethod\n@torch.no_grad()\n# why\ndef f(x): return m(x)\n",
        ),
        (
            "class A:\n    @property\n    «def f(self):\n        yield m(1)»\n",
            "class A:\n    @property\n    @torch.no_grad()\n    def f(self):\n        yield m(1)\n",
        ),
    ],
)
def test_a_decorated_function(before: str, after: str) -> None:
    assert outcome(no_grad(before, decorate=True)) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# why\n«y = m(x)»  # here\n", "# why\nwith torch.no_grad():\n    y = m(x)  # here\n"),
        (
            'if 1:\n\t«for x in data:\n\t\tm("""a\nb""",\n\t\t\tx)\n\t\t# end»\n\ty\n',
            'if 1:\n\twith torch.no_grad():\n\t\tfor x in data:\n\t\t\tm("""a\nb""",\n\t\t\t\tx)\n\t\t\t# end\n\ty\n',
        ),
        (
            "async def f(x):\n    «y = m(x)»\n    await y\n",
            "async def f(x):\n    with torch.no_grad():\n        y = m(x)\n    await y\n",
        ),
        (
            "def f(x):\n    «y = lambda: (yield)»\n",
            "def f(x):\n    with torch.no_grad():\n        y = lambda: (yield)\n",
        ),
    ],
)
def test_a_wrapped_statement(before: str, after: str) -> None:
    assert outcome(no_grad(before, decorate=False)) == after


def test_a_coroutine_function_gets_a_block_instead_of_a_decorator() -> None:
    text, function = marked("import torch\n«async def f(x):\n    y = m(x)\n    return 1»\n")
    block = marked("import torch\nasync def f(x):\n    «y = m(x)»\n    return 1\n")[1]
    result = cure("no-grad-inference", ForwardWithGrad(block, function, block, True, False), text, block)
    assert outcome(result) == "async def f(x):\n    with torch.no_grad():\n        y = m(x)\n    return 1\n"


@pytest.mark.parametrize(
    ("before", "decorate", "reason"),
    [
        ("@torch.jit.script\n«def f(x):\n    return m(x)»\n", True, "TorchScript"),
        ("def f(x):\n    «for x in d:\n        yield m(x)»\n", False, "yields or awaits"),
        ("async def f(x):\n    «y = await m(x)»\n", False, "yields or awaits"),
        ("async def f(x):\n    «async for y in d: m(y)»\n", False, "yields or awaits"),
        ("«y = m(x)»; z = 1\n", False, "shares its line"),
        ("if x: «y = m(x)»\n", False, "shares its line"),
        ("if a:\n    pass\n«elif b:\n    y = m(x)»\n", False, "can't be moved into a with-block"),
        ("«def f(x):\n    return m(x)»\n", False, "can't be moved into a with-block"),
        ("y = «m(x)»\n", False, "not found"),
    ],
)
def test_inference_that_is_left_alone(before: str, decorate: bool, reason: str) -> None:
    assert reason in outcome(no_grad(before, decorate=decorate))


def test_no_grad_is_unsafe_where_tensors_leave() -> None:
    source = "«def f(x):\n    return m(x)»\n"
    safe, unsafe = no_grad(source, decorate=True), no_grad(source, decorate=True, escapes=True)
    assert isinstance(safe, Cure)
    assert isinstance(unsafe, Cure)
    assert (safe.safety, unsafe.safety) == (Safety.SAFE, Safety.UNSAFE)


@pytest.mark.parametrize(
    ("header", "source", "after"),
    [
        ("import torch as th\n", "«y = m(x)»\n", "import torch as th\nwith th.no_grad():\n    y = m(x)\n"),
        ("import torch.nn\n", "«y = m(x)»\n", "import torch.nn\nwith torch.no_grad():\n    y = m(x)\n"),
        (
            "import os\nfrom torch import nn\nimport sys\n",
            "«y = m(x)»\n",
            "import os\nfrom torch import nn\nimport torch\nimport sys\nwith torch.no_grad():\n    y = m(x)\n",
        ),
        (
            "import torch.nn as nn\n",
            "«y = m(x)»\n",
            "import torch.nn as nn\nimport torch\nwith torch.no_grad():\n    y = m(x)\n",
        ),
        (
            "try:\n    import torch\nexcept ImportError:\n    torch = None\n",
            "«y = m(x)»\n",
            "try:\n    import torch\nexcept ImportError:\n    torch = None\nwith torch.no_grad():\n    y = m(x)\n",
        ),
        (
            "",
            "def f(x):\n    import torch\n    «y = m(x)»\n",
            "def f(x):\n    import torch\n    with torch.no_grad():\n        y = m(x)\n",
        ),
        (
            "from models import m\n",
            "def f(torch):\n    «m(torch)»\n",
            "from models import m\nimport torch as _torch\n"
            "def f(torch):\n    with _torch.no_grad():\n        m(torch)\n",
        ),
    ],
)
def test_the_name_of_torch(header: str, source: str, after: str) -> None:
    result = no_grad(source, decorate=False, header=header)
    assert isinstance(result, Cure), result
    assert result.text == after


@pytest.mark.parametrize(
    ("header", "source"),
    [
        ("import typing\nif typing.TYPE_CHECKING:\n    import torch\n", "«y = m(x)»\n"),
        ("def g():\n    import torch\n", "«y = m(x)»\n"),
        ("import torch\n", "def f(torch):\n    «y = m(torch)»\n"),
        ("", "def f(x):\n    «y = m(x)»\n    import torch\n"),
        ("", "«y = m(x)»\nimport torch\n"),
    ],
)
def test_torch_that_is_imported_for_another_place(header: str, source: str) -> None:
    result = no_grad(source, decorate=False, header=header)
    assert result == Refusal("torch is imported in this file, but not for the place that needs it")


# -- vectorize-rounding ------------------------------------------------------------------------------------------------

LOOP = """
# Snap to the grid.
«for i in range(len(points)):  # slow
    j = ((grid - points[i]) ** 2).sum(-1).argmin()  # noqa: E501
    # keep the node
    out[i] = grid[j]»
"""


def batch(source: str = LOOP, **fact: Any) -> Any:
    text, span = marked(HEADER + source)
    values: dict[str, Any] = {"form": "nearest", "result": "out", "points": "points", "grid": "grid", **fact}
    return cure("vectorize-rounding", PerItemLoop(loop=span, **values), text, span)


@pytest.mark.parametrize(
    ("fact", "line"),
    [
        ({}, "out[:len(points)] = grid[nearest_rows(points, grid)]"),
        ({"count": "len(points)"}, "out[:len(points)] = grid[nearest_rows(points, grid)]"),
        ({"count": "points.shape[0]"}, "out[:points.shape[0]] = grid[nearest_rows(points, grid)]"),
        ({"count": "n"}, "out[:n] = grid[nearest_rows(points[:n], grid)]"),
        ({"stores": "index"}, "out[:len(points)] = nearest_rows(points, grid)"),
        ({"stores": "index", "count": "n - 1"}, "out[:n - 1] = nearest_rows(points[:n - 1], grid)"),
        ({"collects": True}, "out.extend(grid[nearest_rows(points, grid)])"),
        ({"points": "a + b", "count": "n", "grid": "g * s"}, "out[:n] = (g * s)[nearest_rows((a + b)[:n], g * s)]"),
        ({"form": "round", "grid": ""}, "out[:len(points)] = torch.round(points)"),
        ({"points": "f(x)", "collects": True}, "out.extend(grid[nearest_rows(f(x), grid)])"),
        ({"form": "trunc", "grid": "", "count": "n"}, "out[:n] = torch.trunc(points[:n])"),
        ({"form": "floor", "grid": "", "collects": True}, "out.extend(torch.floor(points))"),
        (
            {"form": "clamp", "grid": "", "arguments": "min=-1, max=1"},
            "out[:len(points)] = torch.clamp(points, min=-1, max=1)",
        ),
    ],
)
def test_a_batched_call(fact: dict[str, Any], line: str) -> None:
    assert outcome(batch(**fact)) == f"# Snap to the grid.\n# slow\n# keep the node\n{line}\n"


@pytest.mark.parametrize(
    ("source", "fact", "reason"),
    [
        (LOOP, {"unused_after": False}, "is read after it"),
        ("«for i in x:\n    out[i] = i\nelse:\n    f()»\n", {}, "an else branch"),
        ("async def f():\n    «async for i in x:\n        out[i] = i»\n", {}, "is asynchronous"),
        (LOOP, {"result": "f() +"}, "can't be used as new code"),
        (LOOP, {"points": "f(x)"}, "`f(x)` would be computed twice"),
        (
            "out = [0] * 9\n«for i, p in enumerate(points):\n    out[i] = argmin(p).item()»\n",
            {"stores": "index"},
            "whether `out` is a tensor or a list of numbers can't be told",
        ),
        (LOOP, {"points": "a +", "count": "n"}, "can't be used in the new code"),
        (LOOP, {"result": "f()"}, ""),
    ],
)
def test_a_loop_that_stays(source: str, fact: dict[str, Any], reason: str) -> None:
    result = batch(source, **fact)
    assert isinstance(result, Refusal) == bool(reason)
    assert reason in outcome(result)


def test_a_batched_call_is_safe_only_where_it_is_exact() -> None:
    assert batch().safety is Safety.SAFE
    assert batch(exact=False).safety is Safety.UNSAFE


# -- clamp-coordinates -------------------------------------------------------------------------------------------------


def clamp(
    source: str, position: str = "p", displacement: str = "d", low: str = "-1.0", high: str = "1.0", **fact: Any
) -> Cure | Refusal:
    text, span = marked(HEADER + source)
    return cure("clamp-coordinates", UnclampedSum(span, position, displacement, low, high, **fact), text, span)


@pytest.mark.parametrize(
    ("before", "fact", "after"),
    [
        ("q = «p + d»\n", {}, "q = clamp_step(p, d, low=-1.0, high=1.0)\n"),
        ("q = («p + d»)\n", {}, "q = clamp_step(p, d, low=-1.0, high=1.0)\n"),
        ("def f(p, d):\n    return«(p + d)»\n", {}, "def f(p, d):\n    return(clamp_step(p, d, low=-1.0, high=1.0))\n"),
        ("q = f(«d + p», 1)\n", {}, "q = f(clamp_step(p, d, low=-1.0, high=1.0), 1)\n"),
        (
            "q = «p + v * t + noise»\n",
            {"displacement": "v * t + noise"},
            "q = clamp_step(p, v * t + noise, low=-1.0, high=1.0)\n",
        ),
        (
            "q = «(\n    p  # where\n    + d\n)»\n",
            {},
            "refused: the sum would lose its comments",
        ),
        ("a(); «p += d»; b()\n", {"augmented": True}, "a(); p = clamp_step(p, d, low=-1.0, high=1.0); b()\n"),
        (
            "«s.p += a + b»\n",
            {"position": "s.p", "displacement": "a + b", "augmented": True},
            "s.p = clamp_step(s.p, a + b, low=-1.0, high=1.0)\n",
        ),
        ("«p[i] += d»\n", {"position": "p[i]", "augmented": True}, "p[i] = clamp_step(p[i], d, low=-1.0, high=1.0)\n"),
        (
            "def f(s, high):\n    q = «p + d»\n",
            {"low": "s.low", "high": "high - 1"},
            "def f(s, high):\n    q = clamp_step(p, d, low=s.low, high=high - 1)\n",
        ),
        (
            "q = «p + d»\n",
            {"high": "len(grid)"},
            "refused: the bound `len(grid)` needs `grid`, which is not known here",
        ),
        ("q = «p + d»\n", {"high": ""}, 'q = clamp_step(p, d, low=-1.0, high=float("inf"))\n'),
        ("q = «p + d»\n", {"low": ""}, 'q = clamp_step(p, d, low=float("-inf"), high=1.0)\n'),
        (
            "q = «p + d»\n",
            {"low": "", "high": ""},
            "refused: the bounds of the range are not written here: pass them to `clamp_step`",
        ),
        ("q = «p - d»\n", {}, "refused: only a sum can be clamped"),
        ("«p -= d»\n", {"augmented": True}, "refused: only a sum can be clamped"),
        ("«f().p += d»\n", {"augmented": True}, "refused: the call in the target would run twice"),
        (
            "def f(d):\n    p = g()\n    «p += d»\n",
            {"augmented": True},
            "def f(d):\n    p = g()\n    p = clamp_step(p, d, low=-1.0, high=1.0)\n",
        ),
        (
            "def f(p, d):\n    «p += d»\n",
            {"augmented": True},
            "refused: the caller's `p` is moved in place, and the caller would no longer see it",
        ),
    ],
)
def test_a_clamped_sum(before: str, fact: dict[str, Any], after: str) -> None:
    assert outcome(clamp(before, **fact)) == after


def test_clamping_is_never_safe() -> None:
    result = clamp("q = «p + d»\n")
    assert isinstance(result, Cure)
    assert result.safety is Safety.UNSAFE


# -- the new code runs -------------------------------------------------------------------------------------------------


def run(text: str, **names: Any) -> dict[str, Any]:
    """The names of a program after it ran."""
    exec(compile(text, "case.py", "exec"), names)
    return names


def pair(rule: str, source: str, make: Any, **names: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a program before and after its fix."""
    text, span = marked(source)
    result = cure(rule, make(span), text, span, limit=3)
    assert isinstance(result, Cure), result
    return run(text, **names), run(result.text, **names)


@pytest.mark.needs_torch
@pytest.mark.parametrize(
    ("stores", "collects", "assignment"),
    [
        ("rows", False, "out[i] = grid[j]"),
        ("index", False, "index[i] = j"),
        ("rows", True, "rows.append(grid[j])"),
        ("index", True, "rows.append(j)"),
    ],
)
@pytest.mark.parametrize("count", ["", "n"])
def test_a_batched_search_gives_values_and_gradients_of_the_loop(
    stores: str, collects: bool, assignment: str, count: str
) -> None:
    bound = "n" if count else "len(points)"
    source = textwrap.dedent(
        f"""
        import torch
        torch.manual_seed(0)
        points = torch.rand(9, 2) + 1000
        grid = (torch.rand(7, 2) + 1000).requires_grad_()
        n = 5
        out, index, rows = torch.zeros(9, 2), torch.zeros(9, dtype=torch.int32), []
        «for i in range({bound}):
            j = torch.argmin(torch.norm(grid - points[i], dim=1))
            {assignment}»
        if out.requires_grad:
            (out * out).sum().backward()
        elif rows and rows[0].requires_grad:
            (torch.stack(rows) ** 2).sum().backward()
        """
    )
    result = "rows" if collects else "index" if stores == "index" else "out"

    def fact(span: Span) -> PerItemLoop:
        return PerItemLoop(span, "nearest", result, "points", "grid", count=count, stores=stores, collects=collects)

    before, after = pair("vectorize-rounding", source, fact)
    assert before["out"].tolist() == after["out"].tolist()
    assert before["index"].tolist() == after["index"].tolist()
    assert before["index"].dtype == after["index"].dtype
    assert [row.tolist() for row in before["rows"]] == [row.tolist() for row in after["rows"]]
    assert type(after["rows"]) is list
    if stores == "rows":
        assert before["grid"].grad.tolist() == after["grid"].grad.tolist()
        assert before["grid"].grad.abs().sum() > 0


@pytest.mark.needs_torch
@pytest.mark.parametrize("stored", ["int(torch.argmin(d))", "torch.argmin(d).item()", "j"])
@pytest.mark.parametrize("collects", [False, True])
def test_plain_numbers_stay_plain_numbers(stored: str, collects: bool) -> None:
    write = f"out.append({stored})" if collects else f"out[i] = {stored}"
    source = textwrap.dedent(
        f"""
        import torch
        torch.manual_seed(0)
        points, grid = torch.rand(9, 2), torch.rand(7, 2)
        out = {[-1] if collects else "torch.zeros(12, dtype=torch.long)"}
        «for i, p in enumerate(points):
            d = torch.norm(grid - p, dim=1)
            j = torch.argmin(d).item()
            {write}»
        """
    )

    def fact(span: Span) -> PerItemLoop:
        return PerItemLoop(span, "nearest", "out", "points", "grid", stores="index", collects=collects)

    before, after = pair("vectorize-rounding", source, fact)
    assert list(before["out"]) == list(after["out"])
    assert [type(item) for item in before["out"]] == [type(item) for item in after["out"]]


@pytest.mark.needs_torch
@pytest.mark.parametrize(
    ("form", "arguments", "expression"),
    [
        ("round", "", "torch.round(points[i])"),
        ("trunc", "", "points[i].trunc()"),
        ("floor", "", "torch.floor(points[i])"),
        ("ceil", "", "torch.ceil(points[i])"),
        ("clamp", "min=-1, max=1", "points[i].clamp(-1, 1)"),
    ],
)
def test_batched_rounding_gives_the_values_of_the_loop(form: str, arguments: str, expression: str) -> None:
    source = textwrap.dedent(
        f"""
        import torch as th
        torch = th
        points = th.tensor([[-2.5, -0.5], [0.5, 1.5], [float("nan"), 9.0]])
        out = th.zeros(3, 2)
        «for i in range(len(points)):
            out[i] = {expression}»
        """
    )
    before, after = pair(
        "vectorize-rounding", source, lambda span: PerItemLoop(span, form, "out", "points", arguments=arguments)
    )
    assert str(before["out"].tolist()) == str(after["out"].tolist())


@pytest.mark.needs_torch
def test_a_decorated_generator_leaves_its_callers_grad_mode_alone() -> None:
    source = textwrap.dedent(
        """
        import torch
        w = torch.ones(1, requires_grad=True)
        «def f(n):
            for k in range(n):
                yield w * k»
        between = []
        items = []
        for item in f(2):
            between.append(torch.is_grad_enabled())
            items.append(item)
        """
    )
    before, after = pair("no-grad-inference", source, lambda span: ForwardWithGrad(span, span, span, True, True))
    assert before["between"] == after["between"] == [True, True]
    assert [x.tolist() for x in before["items"]] == [x.tolist() for x in after["items"]]
    assert [x.requires_grad for x in before["items"] + after["items"]] == [True, True, False, False]


@pytest.mark.needs_torch
def test_decorated_methods_still_work_as_methods() -> None:
    source = textwrap.dedent(
        """
        import torch
        w = torch.ones(1, requires_grad=True)
        class A:
            @property
            «def p(self):
                return (w * 2).tolist()»
            @classmethod
            def c(cls):
                return cls.__name__
        result = (A().p, A.c())
        """
    )
    before, after = pair("no-grad-inference", source, lambda span: ForwardWithGrad(span, span, span, True, False))
    assert before["result"] == after["result"] == ([2.0], "A")


@pytest.mark.needs_torch
def test_a_snapshot_has_the_values_and_shares_nothing() -> None:
    source = textwrap.dedent(
        """
        import torch
        x = torch.arange(4.0, requires_grad=True)
        h = []
        h.append(«(x * 2).detach().clone()»)
        """
    )
    before, after = pair("snapshots-to-cpu", source, lambda span: KeptOnDevice(span, "stored", True))
    assert before["h"][0].tolist() == after["h"][0].tolist()
    assert not after["h"][0].requires_grad


@pytest.mark.needs_torch
def test_a_bounded_list_is_the_same_list() -> None:
    source = "h = []\nalias = h\nfor x in range(5):\n    «h.append(x)»\n"
    before, after = pair("bound-history", source, lambda span: UnboundedGrowth("h", span, "append", "number"))
    assert before["h"] == [0, 1, 2, 3, 4]
    assert after["h"] == [2, 3, 4]
    assert after["alias"] is after["h"]


@pytest.mark.needs_torch
@pytest.mark.parametrize(
    ("low", "high", "moved"),
    [("-1", "1", [0.25, 1.0, -1.0]), ("", "1", [0.25, 1.0, -2.5]), ("-2.0", "", [0.25, 2.5, -2.0])],
)
def test_a_clamped_move_stays_inside_and_moves_as_before_within(low: str, high: str, moved: list[float]) -> None:
    source = textwrap.dedent(
        """
        import torch
        p = torch.tensor([0.0, 0.5, -0.5])
        d = torch.tensor([0.25, 2.0, -2.0])
        «p += d»
        """
    )
    before, after = pair("clamp-coordinates", source, lambda span: UnclampedSum(span, "p", "d", low, high, True))
    assert before["p"].tolist() == [0.25, 2.5, -2.5]
    assert after["p"].tolist() == moved
