"""How many bytes an object keeps alive: tensor storages, autograd graphs, and the Python objects in between.

Counting what is reachable, instead of asking the system, gives the same number on every run and on every machine.
"""

from __future__ import annotations

import functools
import gc
import sys
import types
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

# Reached from everything (a function's globals, an instance's class), kept alive by none of it in particular.
_SHARED = (type, types.ModuleType, types.BuiltinFunctionType, types.CodeType, types.FrameType)


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes kept alive. `accelerator` counts storages on any device but the CPU, `meta` among them.

    nodes: how many nodes of autograd graphs. entries: how many things stand in lists, dicts, sets and deques.
    """

    accelerator: int
    host: int
    objects: int
    nodes: int
    entries: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.accelerator + self.host + self.objects


def held(kept: object) -> Held:
    """Count what `kept` keeps alive; everything once, however often it is referred to."""
    seen: dict[int, object] = {}  # holds the objects too: an id is only unique while its object lives
    storages: dict[int, torch.UntypedStorage] = {}
    objects = nodes = entries = 0
    waiting: list[Any] = [kept]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or item is None or isinstance(item, _SHARED):
            continue
        seen[id(item)] = item
        if isinstance(item, torch.Tensor):
            storage = item.untyped_storage()
            storages[storage._cdata] = storage
            waiting += [item.grad if item.is_leaf else None, item.grad_fn, item._base, item.__dict__]
        elif _is_graph_node(item):
            nodes += 1
            waiting += _saved(item)
            waiting += [following for following, _ in item.next_functions]
        else:
            objects += sys.getsizeof(item)
            entries += len(item) if isinstance(item, (list, dict, set, deque)) else 0
            waiting += _referred(item)
    on_host = {key for key, storage in storages.items() if storage.device.type == "cpu"}
    return Held(
        accelerator=sum(storage.nbytes() for key, storage in storages.items() if key not in on_host),
        host=sum(storages[key].nbytes() for key in on_host),
        objects=objects,
        nodes=nodes,
        entries=entries,
    )


def _is_graph_node(item: Any) -> bool:
    # The nodes are classes of torch's C++ side with no common base to ask for.
    return hasattr(item, "next_functions") and hasattr(item, "register_hook")


def _saved(node: Any) -> Iterator[object]:
    """The tensors that a graph node saved for backward; none once backward has freed them."""
    yield getattr(node, "__dict__", None)  # the context of a torch.autograd.Function
    if hasattr(node, "variable"):  # the end of the graph: a leaf that collects a gradient
        yield node.variable
    for name in dir(node):
        if name.startswith("_saved_") or name == "saved_tensors":
            try:
                yield getattr(node, name)
            except RuntimeError:  # "Trying to backward through the graph a second time"
                continue


def _referred(item: Any) -> Iterable[object]:
    if isinstance(item, types.FunctionType):  # not its globals: the module keeps them, not the function
        return (item.__closure__, item.__defaults__, item.__kwdefaults__, item.__dict__)
    if isinstance(item, dict) and "__builtins__" in item:  # a module's globals, reached through a frame
        return ()
    if isinstance(item, functools.partial):
        return (item.func, item.args, item.keywords)
    if type(item).__module__ == "numpy":  # a view of a tensor or of another array; getsizeof counts owned data
        return (getattr(item, "base", None),)
    return gc.get_referents(item)
