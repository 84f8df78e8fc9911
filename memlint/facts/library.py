"""Calls of what is known by its path: torch, numpy, containers, and Python's own builtins."""

from __future__ import annotations

from memlint.facts import frameworks
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import MAYBE, OFF, ON
from memlint.facts.recorder import Recorder
from memlint.facts.values import ANYTHING, Value

_HOST_CASTS = frozenset({"int", "float", "bool", "complex", "str", "repr", "format", "round"})
_NEUTRAL_BUILTINS = frozenset({
    "print", "len", "isinstance", "type", "id", "hasattr", "getattr", "range", "super", "next", "callable", "dir",
    "vars", "issubclass", "input", "open", "hash", "setattr", "delattr",
})  # fmt: skip
_COLLECTING = frozenset({"list", "tuple", "set", "sorted", "reversed", "dict", "zip", "map", "filter", "enumerate"})


class Library(Recorder):
    """Evaluates calls of libraries."""

    # -- by path -------------------------------------------------------------------------------------------------

    def _by_path(self, expr: n.Call, path: str, args: list[Value], keywords: list[tuple[str, Value]],
                 graph: frozenset[int]) -> Value | None:  # fmt: skip
        last = path.rpartition(".")[2]
        if last in k.HELPERS and args:
            self.use(graph, "consumed", expr, f"{last}()")
            self.draw(v.drawn_of(args[0]), "detached", expr)
            device = v.CPU if last == "to_cpu" else args[0].device
            return args[0].detached().but(device=device, holder="", item=None, parts=None)
        if path in k.GRAD_OFF:
            return Value(v.GRAD_MODE, const=OFF)
        if path in k.GRAD_ON:
            return Value(v.GRAD_MODE, const=ON)
        if path in k.GRAD_SET:
            flag = args[0].const if args else None
            mode = OFF if flag is False else ON if flag is True else MAYBE
            if isinstance(self.stmt, n.Do):
                self.mode = mode
            return Value(v.GRAD_MODE, const=mode)
        if path in k.CONTAINER_PATHS:
            return self._container(k.CONTAINER_PATHS[path], expr, args, keywords)
        if path in k.LOADER_PATHS:
            return Value(v.LOADER)
        if path.startswith(k.OPTIMIZER_PATHS) and not path.startswith(k.NOT_OPTIMIZER_PATHS):
            return Value(v.OPTIMIZER)
        if path == "torch.device":
            text = "".join(str(p.const) for p in args[:1] if p.const)
            return Value(v.DEVICE, device=v.CPU if text == "cpu" else v.ACCELERATOR)
        if path in ("copy.deepcopy", "copy.copy") and args:
            copied = "copied" if args[0].path == "state_dict" else args[0].const
            return args[0].but(source="", holder="", origins=v.NO_IDS, const=copied)
        if path in frameworks.ENGINES and expr.args:
            self._once(("hook", id(expr)), lambda: n.dotted(expr.args[0]), self.events.hooks)
        if path in frameworks.INITIALIZERS:
            whole = (v.MODULE, v.OPTIMIZER, v.LOADER, v.UNKNOWN)
            return Value(v.TUPLE, parts=tuple(Value(kind, device=v.ACCELERATOR) for kind in whole))
        cls = self.file.classes.get(last) if path.startswith(self.file.names.module) else None
        if cls is not None:
            kind = v.MODULE if cls.is_module(self.file.classes) else v.OBJECT
            if kind == v.MODULE and (cls.without_parameters(self.file.names) or cls.freezes()):
                return Value(kind, path=path, frozen=True)
            holder = f"made:{self.scope.qualname}:{len(self.loops)}"
            self._pass(expr, path, graph, args, drawn_by(args, keywords)) if kind == v.OBJECT else None
            return Value(kind, path=path, holder=holder, origins=graph if kind == v.OBJECT else v.NO_IDS)
        if self._makes_module(path, last):
            plain = path.startswith("torch.nn.") and last.startswith(k.WITHOUT_PARAMETERS) or last.endswith("Loss")
            plain |= path.startswith("torch_geometric.nn.") and last in k.PROPAGATING
            return Value(v.MODULE, frozen=plain, zero_d=last.endswith("Loss"))
        if path.startswith("torch."):
            return self._torch(expr, path, last, args, keywords, graph)
        if path.startswith(k.ARRAY_PACKAGES):
            self.use(graph, "consumed", expr, last)
            self.draw(drawn_by(args, keywords), "host", expr)
            self._gathered(args, expr)
            return Value(v.ARRAY, item=None)
        if last in k.GATHERING and args and args[0].item is not None:
            return self._torch(expr, path, last, args, keywords, graph)
        return None

    def _makes_module(self, path: str, last: str) -> bool:
        if last in k.MODULE_LOADERS and path.startswith(k.MODULE_LOADER_PACKAGES):
            owner = path.split(".")[-2]
            return not any(word in owner for word in k.NOT_MODULES)
        if path.startswith(k.NOT_MODULE_PATHS) or not path.startswith(k.MODULE_FACTORIES):
            return False
        return last[:1].isupper() or not path.startswith("torch.nn.")

    def _torch(self, expr: n.Call, path: str, last: str, args: list[Value], keywords: list[tuple[str, Value]],
               graph: frozenset[int]) -> Value:  # fmt: skip
        named = dict(keywords)
        device = self._device(named.get("device"))
        out = named.get("out")
        if out is not None:
            graph |= v.graph_of(out)
            if last in k.LIMITING and out.source in self.env:
                self.env[out.source] = out.but(sums=v.NO_IDS)
        if path.startswith("torch.utils.tensorboard."):
            return Value(path=path)
        if path.startswith(("torch.cuda.", "torch.backends.", "torch.distributed.", "torch.utils.")):
            for arg in args:
                self.read(arg.holder, "passed", expr)
            return ANYTHING
        if path.startswith("torch.distributions."):
            return Value(
                v.TENSOR, path=path, origins=graph, grad=_grad_of(args, keywords), drawn=drawn_by(args, keywords)
            )
        if last in k.CREATORS:
            grad = v.ATTACHED if named.get("requires_grad", ANYTHING).const is True else v.DETACHED
            if last in ("tensor", "as_tensor"):
                self.use(graph, "consumed", expr, f"{last}()")
            if path.removeprefix("torch.") in k.CREATORS_ON_CPU:
                device = v.CPU
            return Value(v.TENSOR, grad=grad, device=device, integral=last in k.WHOLE)
        if last == "save":
            self.use(graph, "consumed", expr, "save()")
        if last in ("save", "load", "manual_seed", "device", "is_tensor", "set_default_device"):
            return ANYTHING
        if last in k.DETACHING_FUNCTIONS:
            self.use(graph, "consumed", expr, f"{last}()")
            return Value(v.TENSOR, grad=v.DETACHED, integral=True)
        if last in k.LOSSES and args:
            self.use(args[0].origins, "typed", expr, f"{last}()")  # predictions: what gave them is a network
        for arg in args if last not in k.GATHERING | k.RESHAPING else ():
            self.read(arg.gathered, "computed", expr)
        first = args[0] if args else ANYTHING
        gathered = ""
        if last in k.GATHERING:
            gathered = first.holder
            first = self.items_of(first)
            self.read(first.holder, "gathered", expr)
        result = Value(
            v.TENSOR, grad=_grad_of([first, *args], keywords), device=first.device, origins=graph,
            drawn=first.drawn | drawn_by(args, keywords),
            zero_d=last in k.LOSSES or last in k.REDUCING and len(args) == 1 and not keywords, gathered=gathered,
            sums=first.sums if last in ("clone", "squeeze", "unsqueeze") else v.NO_IDS,
            integral=last in ("round", "floor", "trunc", "ceil") and first.integral,
        )  # fmt: skip
        if (
            last in ("max", "min", "sort", "topk", "median", "mode", "kthvalue", "cummax")
            and len(args) + len(keywords) > 1
        ):
            return Value(v.TUPLE, parts=(result, result.detached().but(integral=True)))
        if last in ("chunk", "split", "unbind", "meshgrid", "broadcast_tensors"):
            return Value(v.LIST, item=result)
        return result

    def _device(self, value: Value | None) -> str:
        if value is None:
            return ""
        if isinstance(value.const, str):
            return v.CPU if value.const.startswith("cpu") else v.ACCELERATOR
        return value.device

    def _container(self, kind: str, expr: n.Call, args: list[Value], keywords: list[tuple[str, Value]]) -> Value:
        if kind == "counter":
            return Value(v.OBJECT)
        item = self.items_of(args[0]) if args and kind != "dict" else args[0].item if args else None
        if kind == "dict" and expr.args and n.dotted(expr.args[0]) in k.CONTAINER_PATHS:
            inner = k.CONTAINER_PATHS[n.dotted(expr.args[0])]
            item = Value(inner)
        elif kind == "dict" and expr.args and isinstance(expr.args[0], n.Lambda):
            item = self.eval(expr.args[0].body)
        values = [value for name, value in keywords if name not in ("maxlen", "maxsize")]
        if kind == "dict":
            for (_, written), (_, value) in zip(expr.keywords, keywords, strict=True):
                self.entry(expr, written, value)
        if kind == "dict" and values and not args and all(name != "**" for name, _ in keywords):
            return v.keyed(dict(keywords))
        if kind == "dict" and values:
            item = v.widest(values)
        bound = (
            expr.argument(1, "maxlen") if kind == "deque" else expr.argument(0, "maxsize") if kind == "queue" else None
        )
        bounded = bound is not None and not (isinstance(bound, n.Const) and bound.value in (None, 0))
        return Value(kind, item=item, const="bounded" if bounded else None)

    def items_of(self, value: Value) -> Value:
        raise NotImplementedError

    def entry_of(self, container: Value, key: Value) -> Value:
        raise NotImplementedError

    # -- builtins ------------------------------------------------------------------------------------------------

    def _builtin(self, expr: n.Call, name: str, args: list[Value], keywords: list[tuple[str, Value]],
                 graph: frozenset[int]) -> Value | None:  # fmt: skip
        if name in k.CONTAINER_PATHS:
            for arg in args:
                self.read(arg.holder, "other", expr)
            return self._container(k.CONTAINER_PATHS[name], expr, args, keywords)
        if name in _HOST_CASTS:
            self.use(graph, "consumed", expr, f"{name}()")
            self.draw(drawn_by(args, keywords), "host", expr)
            if name in ("int", "float", "bool") and len(args) == 1 and args[0].kind in v.TENSOR_LIKE | {v.UNKNOWN}:
                self.host_read(name, expr, expr.args[0], args[0])
            return v.A_STRING if name in ("str", "repr", "format") else v.A_NUMBER
        if name in ("sum", "max", "min", "abs", "pow"):
            for arg in args:
                self.read(arg.holder, "other", expr)
            return self.items_of(args[0]) if len(args) == 1 and name != "abs" else v.widest(args)
        if name == "len" and args:
            self.read(args[0].holder, "length", expr)
            return v.A_NUMBER
        if name in _COLLECTING:
            for arg in args:
                self.read(arg.holder, "iterated", expr)
            if name == "zip" and len(expr.args) == 1 and isinstance(expr.args[0], n.Star):
                return Value(v.LIST, item=_column(args[0]))
            if name == "zip":
                return Value(v.LIST, item=Value(v.TUPLE, parts=tuple(self.items_of(a) for a in args)))
            if name == "enumerate" and args:
                kind = args[0].kind if args[0].kind == v.LOADER else v.LIST
                return Value(kind, item=Value(v.TUPLE, parts=(v.A_NUMBER, self.items_of(args[0]))))
            inner = args[-1] if args else ANYTHING
            return Value(v.LIST if name != "tuple" else v.TUPLE, item=self.items_of(inner))
        if name == "next" and args:
            return self.items_of(args[0])
        if name == "setattr":
            self.use(graph, "stored", expr, "setattr()")
        if name in _NEUTRAL_BUILTINS:
            return Value(v.NUMBER) if name == "len" else ANYTHING
        return None

    def _pass(
        self, expr: n.Call, text: str, graph: frozenset[int], args: list[Value], drawn: frozenset[str] = v.NO_NAMES
    ) -> None:
        last = text.rpartition(".")[2]
        if last not in k.LOGGERS:
            dropped = isinstance(self.stmt, n.Do) and self.stmt.value is expr
            how = "stored" if last in k.GROWING else "handed" if dropped else "passed"
            self.use(graph, how, expr, text)
            self.draw(drawn, "passed", expr, text)
        else:
            self.draw(drawn, "host", expr)
        for arg in args:
            self.read(arg.holder, "passed", expr)
            self.read(arg.gathered, "gathered", expr)

    def _gathered(self, args: list[Value], expr: n.Call) -> None:
        for arg in args:
            self.read(arg.gathered, "numpy", expr)
            self.read(arg.holder, "other", expr)


def _column(row: Value) -> Value:
    """What `zip(*rows)` gives: a tuple of what stands at one place in each row."""
    return Value(v.TUPLE, item=v.widest(list(row.parts or ())), holder=row.holder.removesuffix("[]"))


def _grad_of(args: list[Value], keywords: list[tuple[str, Value]]) -> str:
    """A function of torch gives a graph where one of its inputs, or what a list among them holds, carries one."""
    return v.ATTACHED if any(v.attached(value) for value in (*args, *(value for _, value in keywords))) else ""


def drawn_by(args: list[Value], keywords: list[tuple[str, Value]]) -> frozenset[str]:
    """What the arguments of a call were computed from."""
    names = v.NO_NAMES
    for value in (*args, *[value for _, value in keywords]):
        if drawn := v.drawn_of(value):
            names |= drawn
    return names


def graph_by(args: list[Value], keywords: list[tuple[str, Value]]) -> frozenset[int]:
    """The forward passes whose graph the arguments of a call carry."""
    ids = v.NO_IDS
    for value in (*args, *[value for _, value in keywords]):
        if graph := v.graph_of(value):
            ids |= graph
    return ids
