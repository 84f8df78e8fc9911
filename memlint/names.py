"""What names mean in the user's file, as far as new code needs to know."""

from __future__ import annotations

import builtins
import itertools
from collections import defaultdict
from collections.abc import Iterator

import libcst as cst
from libcst.helpers import get_full_name_for_node
from msgspec import Struct

from memlint.fixer import Refuse
from memlint.layout import Layout

RUNTIME = "memlint.runtime"

_COMPREHENSIONS = (cst.ListComp, cst.SetComp, cst.DictComp, cst.GeneratorExp)
_SCOPES = (cst.FunctionDef, cst.Lambda, cst.ClassDef, *_COMPREHENSIONS)
# Where a name, or a tuple or list of names, is given a meaning: the node around it and the field it stands in.
_BINDERS = {
    cst.AssignTarget: "target",
    cst.AugAssign: "target",
    cst.AnnAssign: "target",
    cst.NamedExpr: "target",
    cst.For: "target",
    cst.CompFor: "target",
    cst.Del: "target",
    cst.AsName: "name",
    cst.Param: "name",
    cst.FunctionDef: "name",
    cst.ClassDef: "name",
    cst.NameItem: "name",
    cst.MatchAs: "name",
    cst.MatchStar: "name",
    cst.MatchMapping: "rest",
    cst.TypeAlias: "name",
    cst.TypeVar: "name",
    cst.TypeVarTuple: "name",
    cst.ParamSpec: "name",
}


class Need(Struct, frozen=True, order=True):
    """A name that new code uses. name: what is taken from `module`, "" for the module itself. bound: already there."""

    module: str
    name: str
    local: str
    bound: bool = False


class Names:
    """The names of one file, as seen from any of its nodes.

    Scopes are Python's, simplified where only a doubt is at stake: a `global` statement counts as a meaning of its own,
    and a doubtful name is not used.
    """

    def __init__(self, layout: Layout, runtime: str) -> None:
        self._layout = layout
        self._runtime = runtime
        self._used: set[str] = set()
        self._imports: list[cst.Import | cst.ImportFrom] = []
        # name -> scope (None: the module) -> the imports that bind it there, None for each other binding.
        self._bound: dict[str, dict[cst.CSTNode | None, list[cst.CSTNode | None]]] = defaultdict(dict)
        for node in layout.parents:
            if isinstance(node, (cst.Import, cst.ImportFrom)):
                self._imports.append(node)
                for _, local in bindings(node):
                    self._bind(local, self._scope(node), node)
            elif isinstance(node, cst.Name):
                self._note(node)

    def is_bound(self, name: str, at: cst.CSTNode) -> bool:
        """Whether a name means anything at a node: a local, a global, a builtin."""
        return bool(self._meanings(name, at)) or hasattr(builtins, name)

    def helper(self, name: str, at: cst.CSTNode) -> Need:
        """What to call a helper of the runtime at a node: as it is imported already, else by a name that is free."""
        for node in self._imports:
            if source(node) in (RUNTIME, self._runtime) and self._is_top(node):
                for full, local in bindings(node):
                    if full == name and all(found is node for found in self._meanings(local, at)):
                        return Need(self._runtime, name, local, bound=True)
        return Need(self._runtime, name, self._free(name))

    def plain(self, module: str, at: cst.CSTNode) -> Need:
        """What to call a module at a node. Raises Refuse where the file imports it, but only for other places."""
        seen = False
        for node in self._imports:
            for full, local in bindings(node):
                if full == module and isinstance(node, cst.Import):
                    seen = True
                    if node in self._meanings(local, at) and self._runs_before(node, at):
                        return Need(module, "", local, bound=True)
        if seen:
            raise Refuse(f"{module} is imported in this file, but not for the place that needs it")
        return Need(module, "", self._free(module))

    # -- building the table --------------------------------------------------------------------------------------------

    def _around(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        while (outer := self._layout.parents.get(node)) is not None:
            yield outer
            node = outer

    def _scope(self, node: cst.CSTNode) -> cst.CSTNode | None:
        return next((outer for outer in self._around(node) if isinstance(outer, _SCOPES)), None)

    def _bind(self, name: str, scope: cst.CSTNode | None, node: cst.CSTNode | None) -> None:
        self._used.add(name)
        self._bound[name].setdefault(scope, []).append(node)

    def _note(self, name: cst.Name) -> None:
        """Note a name that is looked up or bound; one that only follows a dot or labels an argument is neither."""
        inner: cst.CSTNode = name
        while isinstance(outer := self._layout.parents[inner], cst.Attribute):
            inner = outer
        if isinstance(outer, (cst.ImportAlias, cst.ImportFrom)):
            return
        inner = name
        for outer in self._around(name):
            if isinstance(outer, (cst.Tuple, cst.List, cst.Element, cst.StarredElement)):
                inner = outer
                continue
            if isinstance(outer, cst.Attribute) and outer.attr is name:
                return
            if isinstance(outer, cst.Arg) and outer.keyword is name:
                return
            self._used.add(name.value)
            if isinstance(outer, cst.AsName):
                if not isinstance(self._layout.parents[outer], cst.ImportAlias):
                    self._bind(name.value, self._scope(outer), None)
            elif getattr(outer, _BINDERS.get(type(outer), ""), None) is inner:
                self._bind(name.value, self._home(outer), None)
            return

    def _home(self, binder: cst.CSTNode) -> cst.CSTNode | None:
        """The scope that a binding belongs to: that of a walrus is around the comprehension."""
        scope = self._scope(binder)
        while isinstance(binder, cst.NamedExpr) and isinstance(scope, _COMPREHENSIONS):
            scope = self._scope(scope)
        return scope

    # -- looking up ----------------------------------------------------------------------------------------------------

    def _meanings(self, name: str, at: cst.CSTNode) -> list[cst.CSTNode | None]:
        """The imports that bind a name as seen from a node, None for each other binding of it."""
        table = self._bound.get(name, {})
        own_class = True
        for scope in (outer for outer in self._around(at) if isinstance(outer, _SCOPES)):
            # The names of a class are seen in its body, not in the functions inside it.
            if scope in table and (own_class or not isinstance(scope, cst.ClassDef)):
                return table[scope]
            own_class = False
        return table.get(None, [])

    def _is_top(self, node: cst.CSTNode) -> bool:
        return isinstance(self._layout.parents[self._layout.parents[node]], cst.Module)

    def _runs_before(self, node: cst.CSTNode, at: cst.CSTNode) -> bool:
        """Whether an import really runs, and not after the place that needs it."""
        outer = list(self._around(node))
        tests = [get_full_name_for_node(o.test) or "" for o in outer if isinstance(o, cst.If)]
        if any(test.split(".")[-1] == "TYPE_CHECKING" for test in tests):
            return False
        inside = any(isinstance(o, cst.FunctionDef) for o in self._around(at))
        if inside and not any(isinstance(o, cst.FunctionDef) for o in outer):
            return True  # a function runs after its module's body
        return self._layout.span(node) < self._layout.span(at)

    def _free(self, name: str) -> str:
        tries = itertools.chain((name, f"_{name}"), (f"_{name}_{number}" for number in itertools.count(2)))
        return next(local for local in tries if local not in self._used)


def source(node: cst.Import | cst.ImportFrom) -> str:
    """The module of a from-import, "" for any other and for relative ones."""
    if isinstance(node, cst.Import) or node.relative or node.module is None:
        return ""
    return get_full_name_for_node(node.module) or ""


def bindings(node: cst.Import | cst.ImportFrom) -> Iterator[tuple[str, str]]:
    """What an import makes known, and under which name: `import torch.nn` makes `torch` known."""
    for alias in () if isinstance(node.names, cst.ImportStar) else node.names:
        if alias.asname is not None and alias.evaluated_alias:
            yield alias.evaluated_name, alias.evaluated_alias
        else:
            root = alias.evaluated_name.split(".")[0]
            yield root, root
