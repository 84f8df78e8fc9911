"""Calls of methods, by what is known of their receiver: modules, containers, tensors."""

from __future__ import annotations

from typing import Any

from memlint.facts import frameworks
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.events import MAYBE, OFF, ON
from memlint.facts.library import Library, drawn_by
from memlint.facts.values import ANYTHING, Value


class Methods(Library):
    """Evaluates calls of methods."""

    # -- by method -----------------------------------------------------------------------------------------------

    def _by_method(self, expr: n.Call, method: str, receiver: Value, callee: Value, args: list[Value],
                   keywords: list[tuple[str, Value]], graph: frozenset[int]) -> Value | None:  # fmt: skip
        text = n.dotted(expr.func)
        owner = text.rpartition(".")[0]
        if method in k.HOOKING and expr.args:
            self._once(("hook", id(expr)), lambda: n.dotted(expr.args[0]), self.events.hooks)
        handler = expr.argument(1, "handler") if method == "add_event_handler" else None
        if handler is not None:
            self.note_handler(expr, n.dotted(handler))
        if method in frameworks.PREPARING | frameworks.COLLECTING and args:
            wrapped = self._wrapped(method, receiver, args)
            if wrapped is not None:
                return wrapped
        if method in ("enter_context", "__enter__") and (*args, receiver)[0].kind == v.GRAD_MODE:
            self.mode = (*args, receiver)[0].const or MAYBE
        if receiver.kind == v.MODULE or method in ("eval", "train") and receiver.kind in (v.UNKNOWN, v.OBJECT):
            known = self._module_method(expr, method, owner, receiver, args, graph)
            if known is not None:
                return known
        if method in k.SHRINKING - k.QUEUE_SHRINKING and receiver.kind == v.UNKNOWN and isinstance(expr.func, n.Attr):
            self.shrink(receiver.holder or self._imported(expr.func.value), method, expr)
        if self._grows(expr, method, receiver, args):
            return ANYTHING
        if receiver.kind in v.CONTAINERS:
            return self._container_method(expr, method, receiver, args)
        if receiver.kind in v.TENSOR_LIKE or receiver.origins:
            return self._tensor_method(expr, method, receiver, args, keywords, graph)
        if method in ("to", "cuda") and receiver.kind in (v.UNKNOWN, v.OBJECT):
            return receiver.but(device=self._target_device(method, expr, args, keywords), sums=receiver.sums)
        if receiver.gathered and method in ("cpu", "numpy", "tolist"):
            return self._tensor_method(expr, method, receiver, args, keywords, graph)
        if method in k.TENSOR_METHODS and receiver.kind == v.UNKNOWN:
            return self._tensor_method(expr, method, receiver.but(kind=v.TENSOR), args, keywords, graph)
        if receiver.kind == v.ARRAY:
            return Value(v.ARRAY)
        if receiver.kind in (v.STRING, v.NUMBER):
            return v.A_STRING if receiver.kind == v.STRING else v.A_NUMBER
        if method in k.LOGGERS or method in k.METADATA:
            return ANYTHING
        if method in k.ACROSS_PROCESSES and args:
            return args[0].but(holder="")
        if method in k.DETACHING and receiver.sums:
            return Value(v.TENSOR, sums=receiver.sums)
        return None

    def _wrapped(self, method: str, receiver: Value, args: list[Value]) -> Value | None:
        """`model, optimizer = accelerator.prepare(model, optimizer)`: the same things, on the accelerator."""
        whole = sum(arg.kind in (v.MODULE, v.OPTIMIZER, v.LOADER) for arg in args)
        if not receiver.path.startswith(frameworks.WRAPPERS) and not (method == "prepare" and whole > 1):
            return None
        if method in frameworks.COLLECTING:
            return args[0].but(holder="")
        moved = [
            arg.but(device=v.ACCELERATOR, item=Value(device=v.ACCELERATOR) if arg.kind == v.LOADER else arg.item)
            for arg in args
        ]
        return moved[0] if len(moved) == 1 else Value(v.TUPLE, parts=tuple(moved))

    def _imported(self, container: n.Expr) -> str:
        """The identity of another module's container: `LOG.clear()` or `config.LOG["loss"].clear()`."""
        while isinstance(container, n.Item):
            container = container.value
        module, _, name = self.file.names.path(n.dotted(container)).rpartition(".")
        return f"module:{module}:{name}" if module else ""

    def _module_method(self, expr: n.Call, method: str, owner: str, receiver: Value, args: list[Value],
                       graph: frozenset[int]) -> Value | None:  # fmt: skip
        if method == "eval" and not expr.args:
            if receiver.kind != v.OBJECT or self.file.classes.get(receiver.path.rpartition(".")[2]) is None:
                self._once(("eval", id(expr)), lambda: (owner, expr), self.events.evals)
            return receiver
        if method == "train" and not [a for a in args if a.const is False]:
            return receiver
        if receiver.kind != v.MODULE:
            return None
        if method == "requires_grad_" and args and args[0].const is False:
            self._once(("frozen", id(expr)), lambda: expr, self.events.frozen)
            if owner in self.env and "." not in owner:
                self.env[owner] = self.env[owner].but(frozen=True)
            return receiver.but(frozen=True)
        if method in k.MODULE_SELF_METHODS:
            device = self._target_device(method, expr, args, [])
            return receiver.but(device=device or receiver.device)
        if method == "state_dict":
            return Value(v.DICT, item=Value(v.TENSOR, grad=v.DETACHED), path="state_dict", device=receiver.device)
        special = method.startswith("__") and method != "__call__"
        if special or method in k.MODULE_PLAIN_METHODS or receiver.frozen or not (expr.args or expr.keywords):
            return ANYTHING
        if not owner:
            return ANYTHING  # what a call gave back: too little is known of it
        certain = self._own_method(receiver, method)
        if not certain and owner == self.scope.self_name and self._only_prepares(receiver, method):
            return None  # a function like any other
        if not certain and method != "forward" and all(is_plain(a) for a in args) and not expr.keywords:
            return ANYTHING  # `model.init_hidden(8)`: no input, no forward pass
        if method == "forward":
            result = self._forward(expr, owner, True, f"`{owner}` is a module", graph, receiver)
            for origin in result.origins - graph:
                self.events.forwards[origin].of = receiver.path
            return result
        why = f"`{owner}` is a module and `{method}()` is not one of torch's own methods"
        question = "" if certain else f"whether `{owner}.{method}` runs the network"
        return self._forward(expr, owner, certain, why, graph, receiver, question=question)

    def _own_method(self, receiver: Value, method: str) -> bool:
        cls = self.file.classes.get(receiver.path.rpartition(".")[2])
        if cls is None:
            return False
        if method in cls.methods:
            return v.attached(cls.methods[method].returns)
        return cls.attributes.get(method, ANYTHING).kind == v.MODULE

    def _only_prepares(self, receiver: Value, method: str) -> bool:
        """A method of this file's own that calls nothing which could be a module: it renames the keys of weights."""
        cls = self.file.classes.get(receiver.path.rpartition(".")[2])
        scope = cls.methods.get(method) if cls is not None else None
        if scope is None or scope is self.scope:
            return False
        self.file.interpret(scope)
        return not scope.events.forwards and not any(site.on_self for site in scope.events.calls)

    def _target_device(self, method: str, expr: n.Call, args: list[Value], keywords: list[tuple[str, Value]]) -> str:
        if method == "cuda":
            return v.ACCELERATOR
        if method == "cpu":
            return v.CPU
        target = dict(keywords).get("device") or (args[0] if args else ANYTHING)
        if isinstance(target.const, str):
            return v.CPU if target.const.startswith("cpu") else v.ACCELERATOR
        if target.path.startswith("torch.") or target.kind in (v.NUMBER, v.TENSOR):
            return target.device  # a dtype, or another tensor's place
        return target.device or v.ACCELERATOR  # moving to a device that varies is done for the sake of accelerators

    def _grows(self, expr: n.Call, method: str, receiver: Value, args: list[Value]) -> bool:
        how = k.GROWING.get(method)
        if how is None or not isinstance(expr.func, n.Attr) or not receiver.holder:
            return False
        if receiver.kind not in v.CONTAINERS | {v.UNKNOWN}:
            return False
        if len(expr.args) != (2 if method == "insert" else 1) or expr.keywords and method != "put":
            return False  # a method of the user's own that has the same name
        if method in ("add", "put") and receiver.kind not in (v.SET, v.QUEUE):
            return False
        if receiver.const == "bounded":
            return True  # a deque with maxlen
        value = args[-1] if args else ANYTHING
        if how == "extend":
            value = self.items_of(value)
        container = expr.func.value
        self.grow(receiver.holder, how, expr, container, expr.args[-1] if expr.args else None, value)
        self.keep(container, receiver, value, expr)
        return True

    def keep(self, container: n.Expr, receiver: Value, value: Value, node: Any) -> None:
        """A value goes into a container: a local one carries it on, any other keeps it beyond this function."""
        name = n.root(container)
        base = container
        while isinstance(base, n.Item):
            base = base.value
        is_local = name in self.scope.local_names and name not in self.scope.params and name in self.env
        if is_local and isinstance(base, n.Name):
            grown = self.env[name]
            grown = grown.but(const=None) if grown.const == "literal" else grown
            self.env[name] = _with_inside(grown, container, value)
            return
        self.use(v.graph_of(value), "stored", node, n.dotted(container) or name)
        if name == self.scope.self_name and self.scope.owner is not None:
            attr = n.dotted(container).split(".")[1:2] or [_attr_of(container)]
            old = self.scope.owner.attributes.get(attr[0])
            if old is not None:
                stored = v.without_ids(value)
                self.scope.owner.attributes[attr[0]] = _with_inside(old, container, stored)

    def _container_method(self, expr: n.Call, method: str, receiver: Value, args: list[Value]) -> Value:
        if method in k.SHRINKING and (receiver.kind == v.QUEUE or method not in k.QUEUE_SHRINKING):
            self.shrink(receiver.holder, method, expr)
            return self.items_of(receiver)
        if method in ("items", "values", "keys"):
            self.read(receiver.holder, "iterated", expr)
            if method == "keys":
                return Value(v.LIST, item=v.A_STRING)
            inside = self.items_of(receiver)
            parts = Value(v.TUPLE, parts=(ANYTHING, inside))
            return Value(v.LIST, item=parts if method == "items" else inside)
        if method in ("get", "setdefault"):
            entry = self.entry_of(receiver, args[0]) if args else self.items_of(receiver)
            return v.join(entry, args[1] if len(args) > 1 else ANYTHING)
        if method == "copy":
            return receiver.but(holder="")
        if method == "update" and args:
            self.keep(expr.func.value if isinstance(expr.func, n.Attr) else expr, receiver, args[0], expr)
        return ANYTHING

    def _tensor_method(self, expr: n.Call, method: str, receiver: Value, args: list[Value],
                       keywords: list[tuple[str, Value]], graph: frozenset[int]) -> Value:  # fmt: skip
        origins = receiver.origins | graph
        if method == "backward":
            self.use(origins, "trained", expr, "backward()")
            return ANYTHING
        if method == "sample" and receiver.path.startswith("torch.distributions."):
            self.use(origins, "consumed", expr, ".sample()")
            self.draw(receiver.drawn, "host", expr)
            return Value(v.TENSOR, grad=v.DETACHED, integral=receiver.path.endswith(("Categorical", "Bernoulli")))
        if method in k.METADATA:
            return v.A_NUMBER if args or method in ("numel", "dim", "nelement") else ANYTHING
        if receiver.holder.endswith("[]") and method in ("cpu", "to") and receiver.device != v.CPU:
            if self._target_device(method, expr, args, keywords) == v.CPU:
                self.read(receiver.holder.removesuffix("[]"), "moved", expr)
        if receiver.gathered and method in ("cpu", "to") and receiver.device != v.CPU:
            if self._target_device(method, expr, args, keywords) == v.CPU:
                self.read(receiver.gathered, "moved", expr)
                receiver = receiver.but(gathered="")
        elif receiver.gathered and method == "numpy" and receiver.device != v.CPU:
            self.read(receiver.gathered, "numpy", expr)  # works on the CPU only: that is where the values already are
        if receiver.gathered and method not in k.RESHAPING:
            self.read(receiver.gathered, "computed", expr)
            receiver = receiver.but(gathered="")
        attached = receiver.grad == v.ATTACHED or any(v.attached(a) for a in args)
        tensor = receiver.but(
            kind=v.TENSOR, source="", parts=None, origins=origins, item=None, holder="",
            drawn=receiver.drawn | drawn_by(args, keywords), grad=v.ATTACHED if attached else receiver.grad,
            view=receiver.view if method in k.VIEWS | {"detach"} else "",
        )  # fmt: skip
        if method in k.DETACHING:
            self.use(origins, "consumed", expr, f".{method}()")
            self.draw(receiver.drawn, "detached" if method in k.ENDS_A_GRAPH else "host", expr)
            if method == "item":
                if isinstance(expr.func, n.Attr) and not expr.args:
                    self.host_read(method, expr, expr.func.value, receiver)
                return v.A_NUMBER
            if method in k.TO_HOST:
                return Value(v.ARRAY)
            integral = method in ("long", "int", "short", "argmax", "argmin", "argsort", "bool", "nonzero")
            return tensor.detached().but(integral=integral, sums=receiver.sums if method == "detach" else v.NO_IDS)
        if method in ("to", "cuda", "cpu", "xpu", "mps"):
            device = self._target_device(method, expr, args, keywords)
            integral = bool(args) and args[0].path in ("torch.long", "torch.int", "torch.int64", "torch.int32")
            return tensor.but(device=device or receiver.device, integral=integral or receiver.integral)
        if method in k.LIMITING and not method.endswith("_"):
            return tensor.but(sums=v.NO_IDS)
        if method in ("requires_grad_", "retain_grad"):
            return tensor.but(grad=v.ATTACHED)
        if method in ("max", "min", "sort", "topk", "median", "mode", "kthvalue") and args:
            return Value(v.TUPLE, parts=(tensor, tensor.detached().but(integral=True, limits=None)))
        if method in ("narrow", "select") and isinstance(expr.func, n.Attr):
            return tensor.but(view=self.file.text(expr.func.value))
        if method in ("chunk", "split", "unbind"):
            return Value(v.LIST, item=tensor)
        if method.endswith("_") and isinstance(expr.func, n.Attr):
            self._changed_in_place(n.dotted(expr.func.value), tensor, limited=method in k.LIMITING)
        if method in k.LIMITING:
            return tensor.but(sums=v.NO_IDS)
        still_sum = method in ("clone", "view", "reshape", "squeeze", "unsqueeze", "contiguous", "float", "double")
        return tensor.but(
            zero_d=method in k.REDUCING and not args and not keywords,
            sums=receiver.sums if still_sum else v.NO_IDS,
            const=None,
        )

    def _changed_in_place(self, name: str, tensor: Value, limited: bool) -> None:
        """`x.add_(y)` gives x the graph of y; `x.clamp_(...)` takes its open sums away."""
        if name in self.env:
            old = self.env[name]
            self.env[name] = tensor.but(
                sums=v.NO_IDS if limited else old.sums | tensor.sums, origins=old.origins | tensor.origins
            )

    def _forward(self, expr: n.Call, receiver: str, certain: bool, why: str, graph: frozenset[int], callee: Value,
                 *, parameter: str = "", question: str = "") -> Value:  # fmt: skip
        if certain:
            self.note_forward(expr)
        if self.mode != ON:
            return Value(v.OUTPUT, device=callee.device, grad=v.DETACHED if self.mode == OFF else "")
        event = self.forward(expr, receiver, certain, why, parameter=parameter, question=question)
        event.inputs |= graph
        origins = graph | {event.id}
        # A backward pass that runs through the whole of it shows in a loop's second reading that it has a graph.
        ran = any(use.how == "trained" for use in event.uses)
        return Value(v.OUTPUT if certain else v.UNKNOWN, device=callee.device,
                     grad=v.ATTACHED if certain or ran else "", origins=origins)  # fmt: skip


def is_plain(value: Value) -> bool:
    """A number, a text, or a list of such."""
    if value.kind in (v.LIST, v.TUPLE):
        return all(is_plain(part) for part in (*(value.parts or ()), *([value.item] if value.item else [])))
    return value.kind in (v.NUMBER, v.STRING, v.NONE)


def _attr_of(container: n.Expr) -> str:
    while isinstance(container, (n.Item, n.Call)):
        container = container.value if isinstance(container, n.Item) else container.func
    return n.dotted(container).split(".")[1] if "." in n.dotted(container) else ""


def _with_inside(value: Value, container: n.Expr, added: Value) -> Value:
    """`value` after `added` went into it, or into the container that it holds under a key."""
    if isinstance(container, n.Item) and value.item is not None and value.item.kind in v.CONTAINERS:
        return value.but(item=_with_inside(value.item, container.value, added))
    if value.kind in v.TENSOR_LIKE:
        return v.join(value, added).but(kind=value.kind, holder=value.holder)
    if v.entries_of(value) is not None:
        value = value.but(parts=None, const=None)
    return value.but(item=v.joined(value.item, added.but(source="", holder=added.holder)))
