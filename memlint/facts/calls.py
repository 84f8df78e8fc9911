"""Calls: what they give back and what they do, by the callee's path, the receiver's kind, or this file's own code."""

from __future__ import annotations

from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import shapes
from memlint.facts import values as v
from memlint.facts.clamping import Clamping
from memlint.facts.events import ON, STRUCTURE, CallSite
from memlint.facts.library import drawn_by, graph_by
from memlint.facts.methods import Methods, is_plain
from memlint.facts.scopes import Scope
from memlint.facts.shapes import Size
from memlint.facts.tensor_names import TENSOR_NAMES
from memlint.facts.values import ANYTHING, Value


class Calls(Methods, Clamping):
    """Evaluates calls."""

    def call(self, expr: n.Call) -> Value:
        """The value of a call, with its size where that is known."""
        value, size = self._called(expr)
        if self.clamps:
            value = self.limited(expr, value)
        return value if value.size == size else value.but(size=size)

    def _called(self, expr: n.Call) -> tuple[Value, Size | None]:
        func = expr.func
        receiver = self.eval(func.value) if isinstance(func, n.Attr) else ANYTHING
        callee = self.attribute(func, receiver) if isinstance(func, n.Attr) else self.eval(func)
        args = [self.eval(a) for a in expr.args]
        keywords = [(name, self.eval(a)) for name, a in expr.keywords]
        method = func.attr if isinstance(func, n.Attr) else ""
        text = n.dotted(func)
        on_self = bool(method and self.scope.self_name) and text == f"{self.scope.self_name}.{method}"
        path = callee.path if callee.kind in (v.PACKAGE, v.CLASS) else ""
        size = self._size(expr, method, path, receiver, args, keywords)
        builtin = isinstance(func, n.Name) and not path and func.id not in self.env and not self._is_local(func.id)
        is_module = callee.kind == v.MODULE
        if is_module and callee.path and not path:
            site = self.site(expr, "forward", "", callee.path, False, args, keywords, is_module)
        else:
            owner = self._class_of(receiver, on_self)
            if isinstance(func, n.Name) and func.id == self.scope.self_name and self.scope.owner is not None:
                method, owner, on_self = "__call__", self.scope.owner.name, True
            layer = is_module or method in TENSOR_NAMES or self._is_layer(expr, method, on_self)
            inner = self._inner(func.id) if isinstance(func, n.Name) and not path else ""
            site = self.site(expr, method or text, path or inner, owner, on_self, args, keywords, layer)
        self._note_owner(site, receiver if method else callee)
        self._note_training(expr, method, path, receiver, args)
        drawn = drawn_by(args, keywords)
        graph = graph_by(args, keywords)
        if path:
            if path.endswith(f".{k.BOUNDED_APPEND}") and self._grows_within_limit(expr, args):
                return ANYTHING, None
            known = self._by_path(expr, path, args, keywords, graph)
            if known is not None:
                return known, size
        if builtin and isinstance(func, n.Name):
            known = self._builtin(expr, func.id, args, keywords, graph)
            if known is not None:
                return known, None
        if callee.kind == v.MODULE:
            fed = v.attached(Value(parts=tuple(args)))
            return self._run(expr, text, callee, graph, fed).but(drawn=drawn), None
        if method:
            known = self._by_method(expr, method, receiver, callee, args, keywords, graph)
            if known is not None:
                return known, size
        value = self._unknown(expr, text, receiver, callee, path, on_self, args, keywords, graph, drawn)
        carries = value.kind not in (v.NUMBER, v.STRING, v.ARRAY, v.NONE) and value.grad != v.DETACHED
        more = drawn | receiver.drawn if carries else v.NO_NAMES
        return (value if more <= value.drawn else value.but(drawn=value.drawn | more)), value.size

    def _size(self, expr: n.Call, method: str, path: str, receiver: Value, args: list[Value],
              keywords: list[tuple[str, Value]]) -> Size | None:  # fmt: skip
        """The size of a tensor that a call makes or gives back."""
        if receiver.size is not None and not path:
            return shapes.after_method(method, expr, receiver.size, args, keywords, self.number)
        last = path.rpartition(".")[2]
        passes_on = last in k.HELPERS or path in ("copy.deepcopy", "copy.copy")
        if not path.startswith("torch.") and not passes_on:
            return None
        if last in k.CREATORS:
            return shapes.created(last, expr, args, keywords, self.number)
        if args and args[0].size is not None:
            if passes_on:
                return args[0].size
            return shapes.after_method(last, expr, args[0].size, args[1:], keywords, self.number)
        return None

    def number(self, expr: n.Expr) -> int | None:
        """The whole number that an expression is, where it is one: a literal, a constant, a product of such."""
        if isinstance(expr, n.Binary):
            left, right = self.number(expr.left), self.number(expr.right)
            if left is None or right is None:
                return None
            return left * right if expr.op == "Multiply" else left + right if expr.op == "Add" else None
        if not isinstance(expr, (n.Const, n.Name, n.Attr)):
            return None
        const = self.eval(expr).const
        return const if type(const) is int else None

    def _run(self, expr: n.Call, text: str, callee: Value, graph: frozenset[int], fed: bool) -> Value:
        if callee.frozen:  # without parameters that need gradients there is only its input's graph
            self.use(graph, "passed", expr, text)
            grad = v.ATTACHED if fed else ""
            return Value(v.TENSOR, origins=graph, device=callee.device, zero_d=callee.zero_d, grad=grad)
        return self._forward(expr, text, True, f"`{text or 'this'}` is a module", graph, callee)

    # -- everything else -----------------------------------------------------------------------------------------

    def _unknown(self, expr: n.Call, text: str, receiver: Value, callee: Value, path: str, on_self: bool,
                 args: list[Value], keywords: list[tuple[str, Value]], graph: frozenset[int], drawn: frozenset[str]
                 ) -> Value:  # fmt: skip
        own = self._own_function(expr, text, on_self, receiver)
        if own is not None and not self.scope.is_module_body and (own.parent is None or own.parent.is_module_body):
            self.file.interpret(own)  # not for a script's own calls: what all methods keep is to be known first
        if own is not None and own.events.frozen and any(a.kind == v.MODULE for a in args):
            self._once(("frozen", id(expr)), lambda: expr, self.events.frozen)  # a helper that freezes what it is given
        if own is not None and _without_graph(own.returns):
            self.use(graph, "consumed", expr, f"{text}()")
            # A tensor without its graph says that there was one; a number says nothing of what it was computed from.
            self.draw(drawn, "detached" if _holds_tensor(own.returns) else "host", expr)
            return own.returns.but(holder="", source="")
        self._pass(expr, text, graph, args, drawn)
        if own is not None and v.attached(own.returns) and self.mode == ON:
            value = self._forward(expr, text, True, f"`{text}()` hands back a module's output", graph, ANYTHING)
            for origin in value.origins - graph:
                self.events.forwards[origin].indirect = True
                self.events.forwards[origin].ran = bool(own.events.backwards)
            if own.events.backwards:
                self.note_step()
            return _carrying(own.returns, value.origins, drawn).but(holder="", source="")
        makes = text.rpartition(".")[2][:1].isupper()  # an object that keeps the module for later
        given = next((a.source for a in args if a.kind == v.MODULE and a.source and len(args) > 1), "")
        walks_layers = bool(self.loops) and self.loops[-1].kind == STRUCTURE
        if (
            given
            and not makes
            and not path.startswith(k.NEUTRAL_PACKAGES)
            and given != self.scope.self_name
            and not walks_layers
        ):
            why = f"`{given}` is handed to `{text}` together with its input"
            value = self._forward(expr, given, False, why, graph, callee, question=f"whether `{text}` runs `{given}`")
            for origin in value.origins - graph:
                self.events.forwards[origin].through = True
            return own.returns.but(origins=value.origins, holder="", source="") if own is not None else value
        if own is not None:
            return _carrying(own.returns, graph, drawn).but(origins=graph, holder="", source="", sums=v.NO_IDS)
        if isinstance(expr.func, n.Name) and expr.func.id == self.scope.self_name and self._owner_is_module():
            return self._forward(expr, text, True, "the class is a module and calls itself", graph, callee)
        given_data = not all(is_plain(a) for a in args) or bool(expr.keywords)
        unknown = bool(text) and given_data and not path and not callee.frozen and callee.kind == v.UNKNOWN
        if unknown and self._may_be_module(expr, text, on_self):
            why = f"`{text}` is called"
            parameter = text if text in self.scope.params else ""
            question = f"whether `{text}` is a module"
            value = self._forward(expr, text, False, why, graph, callee, parameter=parameter, question=question)
            fed = not graph and any(a.device == v.ACCELERATOR and a.kind in v.TENSOR_LIKE | {v.UNKNOWN} for a in args)
            for origin in value.origins - graph:
                self.events.forwards[origin].fed = fed
                self.events.forwards[origin].of = callee.path if callee.path.rpartition(".")[2][:1].isupper() else ""
            return value
        if path and not graph and path.rpartition(".")[2][:1].isupper():  # an object of a class of another file
            return Value(path=path, holder=f"made:{self.scope.qualname}:{len(self.loops)}")
        # A loss of one's own is called as torch's is, and hands back one number unless it is asked for each row's.
        loss = text.rpartition(".")[2] in k.LOSSES and dict(keywords).get("reduction", ANYTHING).const != "none"
        return Value(origins=graph, kind=v.OUTPUT if graph else v.UNKNOWN, zero_d=loss)

    def _inner(self, name: str) -> str:
        """The path of a function that is defined inside this one or one around it."""
        for scope in self.scope.around():
            for inner in scope.inner if not scope.is_module_body else ():
                if inner.name == name:
                    return f"{self.file.names.module}.{inner.qualname}"
        return ""

    def _note_owner(self, site: CallSite, owner: Value) -> None:
        """How long the object lives that a call is made on."""
        made, _, rest = owner.holder.partition(":")
        qualname, _, depth = rest.rpartition(":")
        if made == "made" and qualname == self.scope.qualname and depth.isdecimal():
            site.made_here, site.made_in = True, int(depth)
        if owner.holder.startswith("param:") and not site.receiver:
            site.given = owner.holder
        first, _, attr = owner.source.partition(".")
        if attr and first == self.scope.self_name and self.scope.owner is not None:
            site.on = f"class:{self.scope.owner.name}.{attr}"
            if not site.receiver:
                site.given = self.scope.owner.given.get(attr, "")

    def _is_layer(self, expr: n.Call, method: str, on_self: bool) -> bool:
        """An attribute of a module that is called and is none of its methods."""
        owner = self.scope.owner
        return on_self and owner is not None and method not in owner.methods and self._owner_is_module()

    def _may_be_module(self, expr: n.Call, text: str, on_self: bool) -> bool:
        """Whether an unknown callee is worth watching: what is done with its result may prove it a module."""
        method = text.rpartition(".")[2]
        if not (expr.args or expr.keywords) or method.startswith("__"):
            return False
        if not self.file.uses_torch or text in k.CONTAINER_PATHS or method in k.MODULE_PLAIN_METHODS | k.PLAIN_METHODS:
            return False
        if "." in text and method in TENSOR_NAMES or text.partition(".")[0] == self.scope.class_name:
            return False
        if on_self and self.scope.owner is not None and method in self.scope.owner.methods:
            return False
        first = text.partition(".")[0]
        return (
            "." in text
            and not self.file.names.path(first)
            or self._is_local(first)
            and first not in self.file.names.defined
        )

    def _own_function(self, expr: n.Call, text: str, on_self: bool, receiver: Value) -> Scope | None:
        """The scope of a function or method of this file, where the call plainly means it."""
        if on_self and self.scope.owner is not None:
            method = text.rpartition(".")[2]
            if method == "forward" and self._owner_is_module():
                return None
            return self.scope.owner.methods.get(method)
        if isinstance(expr.func, n.Name):
            return self.file.functions.get(expr.func.id)
        if receiver.kind == v.OBJECT and isinstance(expr.func, n.Attr):
            cls = self.file.classes.get(receiver.path.rpartition(".")[2])
            return cls.methods.get(expr.func.attr) if cls is not None else None
        return None

    def _owner_is_module(self) -> bool:
        owner = self.scope.owner
        return owner is not None and (owner.is_module(self.file.classes) or "forward" in owner.methods)

    def _class_of(self, receiver: Value, on_self: bool) -> str:
        if on_self and self.scope.owner is not None:
            return self.scope.owner.name
        return v.class_of(receiver)

    def _is_local(self, name: str) -> bool:
        return any(name in scope.local_names for scope in self.scope.around()) or name in self.file.names.defined

    def _note_training(self, expr: n.Call, method: str, path: str, receiver: Value, args: list[Value]) -> None:
        trains = path in k.TRAINING_PATHS or method in k.TRAINING_METHODS
        if method == "requires_grad_" and args and args[0].const is False:
            return
        if method == "step":
            closure = bool(expr.args) and n.dotted(expr.args[0]) in {inner.name for inner in self.scope.inner}
            trains |= receiver.kind == v.OPTIMIZER or closure or any(v.graph_of(arg) for arg in args)
        if trains:
            self._once(("training", id(expr)), lambda: expr, self.events.training)
            if method in k.BACKWARD_METHODS or path in k.BACKWARD_PATHS:
                start = expr.args or ([expr.func.value] if isinstance(expr.func, n.Attr) else [])
                from_args = [*args[:1]] if method != "backward" or path or receiver.kind not in v.TENSOR_LIKE else []
                self.backward(expr, [receiver, *from_args], [*start[:1], *_receiver(expr)])
            if method in ("backward", "manual_backward", "step"):
                self.note_step()


def _receiver(expr: n.Call) -> list[n.Expr]:
    return [expr.func.value] if isinstance(expr.func, n.Attr) else []


def _without_graph(value: Value) -> bool:
    """Whether a function of this file always hands back plain or detached values."""
    inside = [*(value.parts or ()), *((value.item,) if value.item is not None else ())]
    if value.kind in v.CONTAINERS | {v.TUPLE} and inside:
        return all(_without_graph(part) for part in inside)
    if value.kind in (v.ARRAY, v.NUMBER, v.STRING):
        return True
    return value.kind == v.TENSOR and value.grad == v.DETACHED


def _holds_tensor(value: Value) -> bool:
    inside = [*(value.parts or ()), *((value.item,) if value.item is not None else ())]
    return value.kind == v.TENSOR or any(_holds_tensor(part) for part in inside)


def _carrying(value: Value, origins: frozenset[int], drawn: frozenset[str]) -> Value:
    """What a function handed back: each part that may have a graph has it from the arguments and these passes."""
    if value.parts is None and value.item is None:
        if value.grad == v.DETACHED or value.kind in (v.NUMBER, v.STRING, v.ARRAY, v.NONE):
            return value
        return value.but(origins=origins, drawn=value.drawn | drawn)
    parts = tuple(_carrying(part, origins, drawn) for part in value.parts) if value.parts is not None else None
    item = _carrying(value.item, origins, drawn) if value.item is not None else None
    return value.but(parts=parts, item=item)
