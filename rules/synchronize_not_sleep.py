"""The program sleeps until the device may have finished: wait for it with a synchronisation.

What it finds
-------------
`time.sleep(0.5)` between work for the device, or something that was just dropped, and what needs it to be over:
emptying the cache, reading how much memory is used, reading the clock. Also a sleep right behind `empty_cache()`, which
returns only when the memory has gone.

Why it costs
------------
No memory becomes free by waiting: it does when nothing holds it any more. A sleep is too long on a fast device and too
short on a slow one; in a loop its seconds add up, and a number that is read after it is right by luck.

When it stays silent
--------------------
Polling and pacing: a sleep in a `while` loop, one of a configured length, one of more than ten seconds; a sleep in an
exception's handler, where other programs may free memory; functions that start, stop or wait for processes; tests and
benchmarks. A sleep behind `empty_cache()` is suspected at most: it may be meant for somebody else.

Fix safety
----------
Unsafe: the pause goes. `synchronize()` of memlint's runtime waits for the accelerator and no longer; where the sleep
stands behind the clearing, the device is waited for before it.

Example
-------
    import gc
    import time

    import torch


    def unload(models: dict) -> None:
        models.clear()
        gc.collect()
        time.sleep(0.01)
        torch.cuda.empty_cache()

Use instead
-----------
    import gc

    import torch

    from memlint.runtime import synchronize


    def unload(models: dict) -> None:
        models.clear()
        gc.collect()
        synchronize()
        torch.cuda.empty_cache()

From
----
Empirical Distrust's report (ten milliseconds of sleep in each training step), and clean-up helpers in public
repositories.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import Open
from memlint.facts import FileFacts
from memlint.facts.defects import SleptForDevice
from memlint.facts.pauses import AFTER_CLEAR, BEFORE_CLEAR, BEFORE_CLOCK, BEFORE_PROBE, pauses
from memlint.rule import Proposal, rule

_MESSAGE = {
    BEFORE_CLEAR: "`{call}` is to let the device finish before `{beside}`: a synchronisation waits for that, no longer",
    BEFORE_PROBE: "`{call}` is to let the device finish before `{beside}`: a synchronisation waits for that, no longer",
    BEFORE_CLOCK: "`{call}` is part of the time that `{beside}` measures: a synchronisation waits for the device only",
    AFTER_CLEAR: "`{call}` waits for memory that `{beside}` has freed already",
}
_OUTSIDE = Open("whether it waits for another program")


@rule(needs=("sleep",))
def synchronize_not_sleep(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each sleep."""
    for pause in pauses(facts):
        after = pause.form == AFTER_CLEAR
        yield Proposal(
            message=_MESSAGE[pause.form].format(call=facts.text(pause.call), beside=facts.text(pause.beside)),
            place=facts.place(pause.call),
            fact=SleptForDevice(facts.span(pause.call), facts.span(pause.beside) if after else None),
            evidence=tuple(facts.evidence(node, message) for node, message in pause.reasons),
            conditions=(_OUTSIDE,) if after else (),
        )
