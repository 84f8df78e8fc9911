"""Runs a program and weighs it: what it still holds at its end, and the most that was alive at one time.

A mutant is a defect where it holds more graph nodes, more tensor bytes, more entries in its containers or more open
files and threads than its original, or needed more tensor bytes at one time; without its no_grad also where autograd
saved more for a backward pass. Programs that say "cuda" are also run on torch's meta device, where what stays on the
accelerator can be told from what was moved away.
"""

from __future__ import annotations

import contextlib
import gc
import io
import multiprocessing
import os
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 20
"""Of processor time, longer than any program takes: a mutant that takes longer never ends."""

PATIENCE = 10
"""How many times as long a program may be on the clock, on a machine with other things to do."""

BYTES = 256
"""A difference of fewer bytes is left aside: numbers kept as 0-d tensors, the objects around tensors."""


@dataclass(frozen=True, slots=True)
class Weight:
    """What one run came to. error: how it failed; the numbers are then nothing. saved: counted only where asked for."""

    nodes: int = 0
    entries: int = 0
    tensors: int = 0
    accelerator: int = 0
    peak: int = 0
    accelerator_peak: int = 0
    handles: int = 0
    saved: int = 0
    error: str = ""

    def excess(self, original: Weight) -> str:
        """In what this run costs more than the original's; empty: in nothing."""
        more = []
        if self.nodes > original.nodes:
            more.append(f"{self.nodes - original.nodes} more graph nodes held")
        for what, mine, its in (
            ("tensor bytes held", self.tensors, original.tensors),
            ("bytes held on the accelerator", self.accelerator, original.accelerator),
            ("tensor bytes at one time", self.peak, original.peak),
            ("bytes on the accelerator at one time", self.accelerator_peak, original.accelerator_peak),
            ("tensor bytes saved for backward", self.saved, original.saved if self.saved else 0),
        ):
            if mine >= its + BYTES:
                more.append(f"{mine - its} more {what}")
        if self.entries > original.entries:
            more.append(f"{self.entries - original.entries} more entries held")
        if self.handles > original.handles:
            more.append(f"{self.handles - original.handles} more files or threads open")
        return ", ".join(more)


def weigh(text: str, with_saved: bool = False) -> Weight:
    """Run one program in this process."""
    import torch

    from tests.support import running
    from tests.support.device import Accelerator
    from tests.support.held import Held, held
    from tests.support.meter import Meter

    def run(file: Path, stand_in: str) -> tuple[Held, Meter, int, bool]:
        before = _handles()
        with running.forgetting_project(file.parent), Accelerator(stand_in) as device, Meter() as meter:
            torch.manual_seed(0)
            _, kept = running.load(file).run()
        return held(kept), meter, _handles() - before, device.used

    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        file = Path(folder, "program.py")
        file.write_text(text, encoding="utf-8")
        os.chdir(folder)
        try:
            with _within(SECONDS):
                on_cpu, meter, handles, used = run(file, "cpu")
                on_meta, meta_meter, _, _ = run(file, "meta") if used else (Held(0, 0, 0, 0, 0), Meter(), 0, False)
                saved = _saved_by(lambda: run(file, "cpu")) if with_saved else 0
        except Exception as error:
            return Weight(error=f"{type(error).__name__}: {error}"[:200])
        finally:
            os.chdir(here)
            gc.collect()
    return Weight(
        nodes=on_cpu.nodes,
        entries=on_cpu.entries,
        tensors=on_cpu.accelerator + on_cpu.host,
        accelerator=on_meta.accelerator,
        peak=meter.peak,
        accelerator_peak=meta_meter.peak_on_accelerator,
        handles=handles,
        saved=saved,
    )


def weigh_all(texts: Sequence[tuple[str, bool]], processes: int | None = None) -> list[Weight]:
    """Run programs, several at a time, each worker process only so many: a mutant may leave things behind.

    texts: each with whether what autograd saves is to be counted too, which takes another run.
    """
    import tests.support.running  # noqa: F401 - torch is imported once, before the processes part

    way = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    with multiprocessing.get_context(way).Pool(processes, initializer=_one_thread, maxtasksperchild=20) as pool:
        return pool.starmap(weigh, texts, chunksize=1)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # a mutant's warnings are nobody's concern


def _saved_by(call: Callable[[], object]) -> int:
    """The bytes of all tensors that autograd saves during a call."""
    import torch

    total = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor.detach()  # the tensor itself could hold its own graph

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        call()
    return total


def _handles() -> int:
    """Files and threads of this process that are open or alive."""
    files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    return files + threading.active_count()


@contextlib.contextmanager
def _within(seconds: int) -> Iterator[None]:
    """Raise TimeoutError after so many seconds of processor time, or many more of waiting, where there are timers."""

    def ring(*_: Any) -> None:
        raise TimeoutError(f"took longer than {seconds} seconds")

    if not hasattr(signal, "setitimer"):
        yield
        return
    timers = [
        (signal.SIGPROF, signal.ITIMER_PROF, seconds),
        (signal.SIGALRM, signal.ITIMER_REAL, seconds * PATIENCE),
    ]
    before = [signal.signal(number, ring) for number, _, _ in timers]
    for _, timer, limit in timers:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)
