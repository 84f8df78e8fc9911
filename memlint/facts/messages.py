"""Messages that are written in each step of a hot loop: the question behind log-sparsely."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from msgspec import Struct

from memlint.facts import FileFacts, Scope
from memlint.facts import knowledge as k
from memlint.facts import nodes as n
from memlint.facts import values as v
from memlint.facts.cleanups import asks_for_device
from memlint.facts.events import CONSTANT, DATA, ENDLESS, EPOCH, OFF, STEP, STRUCTURE, CallSite, Loop
from memlint.facts.looping import without_wrappers
from memlint.facts.tensor_names import TENSOR_NAMES
from memlint.facts.trials import is_trial
from memlint.facts.values import Value

_LEVELS = k.names("debug info")
_LOGGER_METHODS = _LEVELS | k.names("warning error critical exception isEnabledFor")
_READS = k.TO_HOST | {"cpu"}

PER_ITEM = "per-item"
EACH_STEP = "each-step"
IN_A_STEP = "in-a-step"
ONLY_FOR_IT = "only-for-it"


class Message(Struct, eq=False):
    """A message without guard or interval, for which tensors are read back from their device.

    form: per-item (in a loop inside the step), each-step (in a hot loop), in-a-step (in a function that one runs), or
    only-for-it (what is computed for messages costs more than these). run: the messages that follow each other, this
    one among them, with what is computed for them alone. loop: the outermost one around, where one of them is hot.
    """

    scope: Scope
    form: str
    call: n.Call
    run: list[n.Do | n.Assign]
    tensor: n.Expr
    loop: n.Stmt | None
    reasons: list[tuple[object, str]]


class _Trail(Struct, eq=False):
    """How a statement is reached. block: what it stands in; choices: the tests above; left: it may be skipped."""

    block: list[n.Stmt]
    choices: list[n.Expr]
    left: bool = False
    handled: bool = False


def messages(facts: FileFacts) -> Iterator[Message]:
    """At most one for each block of statements."""
    if is_trial(facts.path):
        return
    loggers = _Loggers(facts)
    for scope in facts.all_scopes():
        logs = {id(site.node): site for site in scope.events.calls if site.dropped and loggers.is_log(site)}
        if not logs or _only_tells(scope):
            continue
        reader = _Reader(facts, scope, logs)
        seen: set[int] = set()
        for stmt, trail in _reached(scope.body, _Trail(scope.body, [])):
            site = logs.get(id(stmt.value)) if isinstance(stmt, n.Do) else None
            if isinstance(stmt, n.Do) and site is not None and id(trail.block) not in seen:
                found = reader.judge(stmt, site, trail)
                if found is not None:
                    seen.add(id(trail.block))
                    yield found


class _Loggers:
    """What writes messages in a file."""

    def __init__(self, facts: FileFacts) -> None:
        self.facts = facts

    @functools.cached_property
    def objects(self) -> set[str]:
        """The sources of what is asked for its level, or told something, as only loggers are."""
        parts = (part for scope in self.facts.all_scopes() for part in scope.every())
        return {n.dotted(part.value) for part in parts if isinstance(part, n.Attr) and part.attr in _LOGGER_METHODS}

    def is_log(self, site: CallSite) -> bool:
        """`print(...)`, `logger.debug(f"...")`, and methods that were added to a logger."""
        func, args = site.node.func, site.node.args
        if isinstance(func, n.Name):
            return func.id == "print" and not site.path
        if not isinstance(func, n.Attr) or not args or not (owner := n.dotted(func.value)):
            return False
        text = args[1] if func.attr == "log" and len(args) > 1 else args[0]
        if not _is_text(text) and not (func.attr in _LEVELS and site.path.startswith("logging.")):
            return False
        if func.attr in _LEVELS | {"log", "write"}:
            return func.attr != "write" or self.facts.names.path(owner).startswith("tqdm")
        # `logger.debug_memory(f"...")`, a level of the project's own
        return func.attr not in _LOGGER_METHODS and isinstance(text, n.Text) and owner in self.objects


def _only_tells(scope: Scope) -> bool:
    """A layer that is there to show what passes through it: it computes nothing and hands back what it is given."""
    returned = [stmt.value for stmt in scope.statements() if isinstance(stmt, n.Return)]
    made = any(isinstance(stmt, (n.Assign, n.Augment)) for stmt in scope.statements())
    return bool(returned) and not made and all(e is not None and n.dotted(e) in scope.params for e in returned)


def _is_text(expr: n.Expr) -> bool:
    if isinstance(expr, n.Binary):
        return _is_text(expr.left) or expr.op == "Add" and _is_text(expr.right)
    if isinstance(expr, n.Call) and isinstance(expr.func, n.Attr) and expr.func.attr == "format":
        return _is_text(expr.func.value)
    return isinstance(expr, n.Text) or isinstance(expr, n.Const) and isinstance(expr.value, str)


def _reached(body: list[n.Stmt], trail: _Trail) -> Iterator[tuple[n.Stmt, _Trail]]:
    """The plain statements of a body, in source order, with how they are reached."""
    left = trail.left
    for stmt in body:
        here = _Trail(body, trail.choices, left, trail.handled)
        if not n.blocks(stmt):
            yield stmt, here
        elif isinstance(stmt, n.If):
            chosen = trail.choices if asks_for_device(stmt.test) else [*trail.choices, stmt.test]
            for block in (stmt.body, stmt.orelse):
                yield from _reached(block, _Trail(block, chosen, left, trail.handled))
            left |= any(_skips(block) for block in (stmt.body, stmt.orelse))
        elif isinstance(stmt, n.Try):
            for number, block in enumerate(n.blocks(stmt)):
                handled = trail.handled or 0 < number <= len(stmt.handlers)
                yield from _reached(block, _Trail(block, trail.choices, left, handled))
        elif isinstance(stmt, n.Match):
            for block in stmt.cases:
                yield from _reached(block, _Trail(block, [*trail.choices, stmt.subject], left, trail.handled))
        else:
            for block in n.blocks(stmt):
                yield from _reached(block, _Trail(block, trail.choices, left, trail.handled))


def _skips(block: list[n.Stmt]) -> bool:
    """Whether a branch leaves the pass or the function as usual: what follows runs now and then."""
    last = block[-1] if block else None
    return isinstance(last, n.Return) or isinstance(last, n.Jump) and last.kind == "continue"


def _run(block: list[n.Stmt], line: n.Do, lines: list[n.Do], only: list[n.Assign]) -> list[n.Do | n.Assign]:
    """The messages that stand directly beside one, with what is computed for them."""
    wanted: list[n.Do | n.Assign] = [*lines, *only]
    known = {id(stmt): stmt for stmt in wanted}
    first = last = block.index(line)
    while first > 0 and id(block[first - 1]) in known:
        first -= 1
    while last + 1 < len(block) and id(block[last + 1]) in known:
        last += 1
    return [known[id(stmt)] for stmt in block[first : last + 1]]


def _moves(call: n.Call) -> bool:
    """`batch.to(device)`."""
    return isinstance(call.func, n.Attr) and call.func.attr in ("to", "cuda")


def _counts(loop: n.For) -> bool:
    """`for epoch in range(10)`."""
    head = without_wrappers(loop.iter)
    return isinstance(head, n.Call) and n.dotted(head.func) in ("range", "trange")


class _Reader:
    """What the messages of one function format, and how often they are written."""

    def __init__(self, facts: FileFacts, scope: Scope, logs: dict[int, CallSite]) -> None:
        self.facts, self.scope, self.logs = facts, scope, logs

    def judge(self, stmt: n.Do, site: CallSite, trail: _Trail) -> Message | None:
        """The message of a block that costs most, if it is written in each step."""
        if trail.handled or trail.left or site.mode == OFF or self.scope.name.startswith("__"):
            return None
        hot = next((number for number, loop in enumerate(site.loops) if self.is_hot(site.loops[:number], loop)), None)
        inner = site.loops if hot is None else site.loops[hot + 1 :]
        if hot is None and (self.scope.is_module_body or any(loop.kind in (STEP, DATA, EPOCH) for loop in inner)):
            return None
        if any(hot is not None or not self.is_first_few(test, inner) for test in trail.choices):
            return None
        lines = [line for line in trail.block if isinstance(line, n.Do) and id(line.value) in self.logs]
        items = [loop for loop in inner if loop.kind not in (CONSTANT, STRUCTURE, EPOCH)]
        loop = site.loops[0].node if hot is not None else None
        form = PER_ITEM if items else IN_A_STEP if loop is None else EACH_STEP
        only = self.only_for(trail.block, lines) if loop is None and not items else []
        for line in lines:
            tensor = next((part for part in self.formatted(line) if items or self.is_extra(line, part)), None)
            if tensor is not None and isinstance(line.value, n.Call):
                reasons: list[tuple[object, str]] = [(tensor, "read back from the device to be written")]
                return Message(
                    self.scope, form, line.value, _run(trail.block, line, lines, only), tensor, loop, reasons
                )
        if not only or not isinstance(stmt.value, n.Call):
            return None
        reasons = [(line, "computed for messages only") for line in only[:3]]
        run = _run(trail.block, stmt, lines, only)
        return Message(self.scope, ONLY_FOR_IT, stmt.value, run, only[0].targets[0], loop, reasons)

    def is_extra(self, line: n.Do, part: n.Expr) -> bool:
        """Whether the message costs more than to show a number that is there: a loss that is printed is wanted.

        What is computed for it, and what is read for a message of a level that is off as a rule.
        """
        call = line.value
        assert isinstance(call, n.Call)
        if isinstance(call.func, n.Attr) and call.func.attr not in ("info", "log", "write"):
            return True
        if isinstance(part, n.Call) and isinstance(part.func, n.Attr) and part.func.attr in _READS:
            part = part.func.value
        return isinstance(part, (n.Call, n.Binary))

    def only_for(self, block: list[n.Stmt], lines: list[n.Do]) -> list[n.Assign]:
        """The statements of a block whose tensors nothing but its messages uses."""
        made = {
            target.id: stmt
            for stmt in block
            if isinstance(stmt, n.Assign) and len(stmt.targets) == 1 and isinstance(target := stmt.targets[0], n.Name)
        }
        owners = {id(part): stmt for stmt in self.scope.statements() for e in n.expressions(stmt) for part in n.walk(e)}
        readers: dict[str, list[n.Stmt]] = {}
        for scope in self.scope.within():
            for part in scope.every():
                if isinstance(part, n.Name) and part.id in made and part is not made[part.id].targets[0]:
                    readers.setdefault(part.id, []).append(owners.get(id(part), block[0]))
        wanted: set[int] = {id(line) for line in lines}
        found: list[n.Assign] = []
        for _ in range(len(made)):
            for name, stmt in made.items():
                if id(stmt) not in wanted and readers.get(name) and all(id(r) in wanted for r in readers[name]):
                    wanted.add(id(stmt))
                    found.append(stmt)
        on_device = [stmt for stmt in found if self.makes_tensor(stmt.value)]
        return sorted(found, key=block.index) if on_device else []

    def makes_tensor(self, expr: n.Expr) -> bool:
        return any(
            isinstance(part, n.Call) and self.value(part).kind == v.TENSOR and self.value(part).device != v.CPU
            for part in n.walk(expr)
        )

    def is_hot(self, outer: tuple[Loop, ...], loop: Loop) -> bool:
        """Whether a loop goes through batches, or never ends: not one over epochs, each of which is a step."""
        inside = {id(part) for part in n.every(getattr(loop.node, "body", []))}
        if not any(id(node) in inside for node in self.scope.events.training):
            return False
        if loop.kind == ENDLESS:
            return True
        if loop.kind not in (STEP, DATA):
            return False
        if not isinstance(loop.node, n.For):
            return any(around.kind == EPOCH for around in outer)
        heads = [self.value(part) for part in n.walk(loop.node.iter)]
        if any(value.kind == v.LOADER for value in heads) or any(around.kind == EPOCH for around in outer):
            return True
        # `for inputs, labels in batches`: what comes out goes into a module, or to a device.
        items = n.mentioned(loop.node.target)
        fed = [f.node for f in self.scope.events.forwards if id(f.node) in inside]
        moved = [part for part in n.every(loop.node.body) if isinstance(part, n.Call) and _moves(part)]
        given = [arg for call in fed for arg in call.args] + [part.func for part in moved]
        return not _counts(loop.node) and any(items & n.mentioned(arg) for arg in given)

    def is_first_few(self, test: n.Expr, loops: tuple[Loop, ...]) -> bool:
        """`if i < 5`, `if len(ids) <= 5` with what is counted anew in each call: so many in each step, not in all."""
        if not isinstance(test, n.Compare) or len(test.rest) != 1 or not isinstance(test.rest[0][1], n.Const):
            return False
        if test.rest[0][0] not in ("LessThan", "LessThanEqual"):
            return False
        left = test.left
        if isinstance(left, n.Call) and n.dotted(left.func) == "len" and left.args:
            name = n.dotted(left.args[0])
            return any(init.holder == f"local:{self.scope.qualname}:{name}" for init in self.scope.events.inits)
        counters = {name for loop in loops if isinstance(loop.node, n.For) for name in n.mentioned(loop.node.target)}
        return n.dotted(left) in counters

    # -- what is formatted -----------------------------------------------------------------------------------------

    def formatted(self, line: n.Do) -> Iterator[n.Expr]:
        """The tensors that a statement formats, or reads a number out of to do so."""
        call = line.value
        assert isinstance(call, n.Call)
        printed = isinstance(call.func, n.Name)
        for number, arg in enumerate(call.args):
            eager = printed or isinstance(arg, n.Text) or number == 0 and _is_text(arg)
            yield from self.read_in(arg, whole=eager)

    def read_in(self, expr: n.Expr, whole: bool) -> Iterator[n.Expr]:
        if isinstance(expr, n.Text):
            for part in expr.parts:
                yield from self.read_in(part, whole=True)
        elif isinstance(expr, n.Binary) and _is_text(expr):
            rest = [expr.right] if expr.op == "Modulo" else [expr.left, expr.right]
            for part in [e for r in rest for e in (r.elements if isinstance(r, n.Sequence) else [r])]:
                yield from self.read_in(part, whole=True)
        elif isinstance(expr, n.Call) and isinstance(expr.func, n.Attr) and expr.func.attr == "format":
            for part in expr.args:
                yield from self.read_in(part, whole=True)
        elif whole and self.value(expr).kind == v.TENSOR and self.value(expr).device != v.CPU:
            yield expr
        else:
            for part in n.walk(expr):
                if isinstance(part, n.Call) and isinstance(part.func, n.Attr) and part.func.attr in _READS:
                    value = self.value(part.func.value)
                    if value.kind in v.TENSOR_LIKE and value.device != v.CPU:
                        yield part
                        return

    def value(self, expr: n.Expr) -> Value:
        """What is known of an expression when the function is over."""
        if isinstance(expr, (n.Name, n.Attr)):
            text, owner = n.dotted(expr), self.scope.owner
            for around in self.scope.around():
                if text in around.env:
                    return around.env[text]
            first, _, rest = text.partition(".")
            if owner is not None and first == self.scope.self_name and rest in owner.attributes:
                return owner.attributes[rest]
            if isinstance(expr, n.Attr) and expr.attr in ("data", "grad", "T", "values", "indices"):
                return self.value(expr.value)
            return v.ANYTHING
        if isinstance(expr, n.Item):
            base = self.value(expr.value)
            return base if base.kind == v.TENSOR else base.item or v.ANYTHING
        if isinstance(expr, n.Binary):
            left, right = self.value(expr.left), self.value(expr.right)
            return left if left.kind == v.TENSOR else right if right.kind == v.TENSOR else v.ANYTHING
        if isinstance(expr, n.Compare):
            told = any(op in ("Is", "IsNot", "In", "NotIn") for op, _ in expr.rest)
            return v.ANYTHING if told else self.value(expr.left)
        if isinstance(expr, n.Unary):
            return self.value(expr.operand)
        if not isinstance(expr, n.Call):
            return v.ANYTHING
        path = self.facts.names.path(n.dotted(expr.func))
        name = path.rpartition(".")[2] if path else expr.func.attr if isinstance(expr.func, n.Attr) else ""
        if name in k.METADATA or name not in TENSOR_NAMES | k.CREATORS:
            return v.ANYTHING
        if path.startswith("torch."):
            devices = {self.value(arg).device for arg in expr.args}
            return Value(v.TENSOR, device=v.CPU if devices == {v.CPU} else "")
        base = self.value(expr.func.value) if isinstance(expr.func, n.Attr) and not path else v.ANYTHING
        if base.kind not in v.TENSOR_LIKE or name in k.TO_HOST:
            return v.ANYTHING
        return base.but(kind=v.TENSOR, device=v.CPU if name == "cpu" else base.device)
