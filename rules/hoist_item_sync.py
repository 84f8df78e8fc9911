"""Numbers are read out of a tensor one by one in a loop: read them all with one `tolist()` before it.

What it finds
-------------
A loop or comprehension over the entries of a tensor that turns each of them into a number: `x[i].item()`, `int(x[i])`,
`float(t)` and `bool(t)` for `t` in `x`, and an entry that decides a branch, such as `if mask[i]:`. Also numbers that a
loop computes on the device and reads one by one, only to send them back in one `torch.tensor(numbers, device=...)`; and
a tensor of constants that a function makes in each call, in a loop, to read one number of it.

Why it costs
------------
On an accelerator each read waits until the device has done all that it was given, copies one number, and leaves the
device with nothing to do meanwhile. On the CPU nothing waits, but each read still makes a tensor for the entry: 1.7
microseconds where an entry of a list costs 0.03, measured with torch 2.13.

When it stays silent
--------------------
For one read per step or batch, such as `loss.item()`; for tensors that are on the CPU (made there, taken there, or as a
data loader gives them), and where the class or function has nothing to do with devices; for lists of separate tensors,
short constant loops, loops that may end early, and loops that run a network or train; for reads at an interval or in
the first few passes, tensors that the loop writes, tests and benchmarks.

Fix safety
----------
`tolist()` gives the same Python numbers as `item()`. Safe where memlint has proved that it is a tensor and that nothing
in the loop can change it; unsafe where the loop calls something that memlint does not know. Refused where the entry is
used as a tensor as well.

Example
-------
    import torch


    def keep(scores: torch.Tensor, threshold: float) -> list:
        scores = scores.cuda() if torch.cuda.is_available() else scores
        kept = []
        for i in range(scores.shape[0]):
            if scores[i].item() > threshold:
                kept.append(i)
        return kept

Use instead
-----------
    import torch


    def keep(scores: torch.Tensor, threshold: float) -> list:
        scores = scores.cuda() if torch.cuda.is_available() else scores
        kept = []
        for i, score in enumerate(scores.tolist()):
            if score > threshold:
                kept.append(i)
        return kept

From
----
energy_flow's optimisation report, whose comprehension over device indices read three numbers for each cell and became
slower than the loops it replaced; and post-processing in public repositories.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import CalledPerItem, NotGivenList, Open
from memlint.facts import FileFacts
from memlint.facts import nodes as n
from memlint.facts.defects import ReadsPerItem
from memlint.facts.hostreads import ItemRead, ItemReads, item_reads
from memlint.facts.roundtrips import RoundTrip, round_trips
from memlint.rule import Condition, Evidence, Proposal, Severity, rule


@rule(needs=("torch",))
def hoist_item_sync(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each loop."""
    if not facts.uses_torch:
        return
    for found in item_reads(facts):
        first = found.reads[0]
        tensors = list(dict.fromkeys(facts.text(read.tensor).strip() for read in found.reads))
        listed = ", ".join(f"`{text}`" for text in tensors[:3]) + (" and others" if len(tensors) > 3 else "")
        yield Proposal(
            message=f"this loop reads {listed} one number at a time: each read waits for the device",
            place=facts.place(first.read.node),
            fact=_fact(facts, found),
            evidence=tuple(_evidence(facts, found)),
            conditions=tuple(_conditions(facts, found)),
            severity=Severity.WARNING,
        )
    for trip in round_trips(facts):
        yield _there_and_back(facts, trip)


def _there_and_back(facts: FileFacts, trip: RoundTrip) -> Proposal:
    read, made = facts.text(trip.read.node).strip(), " ".join(facts.text(trip.made).split())
    condition: Condition
    if trip.around is not None:
        message = f"each number that this loop reads from the device goes back to it in `{made}`"
        step = facts.evidence(trip.made, "all numbers go back here")
        condition = Open(f"whether `{facts.text(trip.read.operand).strip()}` is on the accelerator")
        hinder = "stack the tensors and compute with all of them on the device"
    else:
        message = f"`{made}` is made in every call only to read one number that never changes"
        step = facts.evidence(trip.made, "made of constants and settings alone")
        condition = CalledPerItem((facts.names.module, trip.scope.qualname))
        hinder = "read it once, where the object is made, and keep the number"
    return Proposal(
        message=message,
        place=facts.place(trip.read.node),
        fact=ReadsPerItem(facts.span(trip.read.node), (), (), exact=False, hinder=hinder),
        evidence=(facts.evidence(trip.read.node, f"`{read.splitlines()[0]}` is read here"), step),
        conditions=(condition,),
        severity=Severity.WARNING,
    )


def _evidence(facts: FileFacts, found: ItemReads) -> Iterator[Evidence]:
    yield facts.evidence(found.around.iter, "in each pass of this")
    for read in found.reads[:4]:
        yield facts.evidence(read.read.node, f"one number of `{facts.text(read.tensor)}` is read here")


def _conditions(facts: FileFacts, found: ItemReads) -> Iterator[Condition]:
    function = (facts.names.module, found.scope.qualname)
    for name in sorted({n.root(read.tensor) for read in found.reads} | _taken_from(found)):
        if name in found.scope.params:
            yield NotGivenList(function, name)
    if not found.on_accelerator:
        unknown = next(read for read in found.reads if not read.value.device)
        name = facts.text(unknown.tensor)
        yield Open(f"whether `{name}` is on the accelerator: on the CPU each read costs a call, and waits for nothing")


def _taken_from(found: ItemReads) -> set[str]:
    """The parameters that what is read comes out of: `hyps` in `for hyp in hyps`."""
    prefix = f"param:{found.scope.qualname}:"
    drawn = {holder for read in found.reads for holder in read.value.drawn}
    return {holder.removeprefix(prefix) for holder in drawn if holder.startswith(prefix)}


def _fact(facts: FileFacts, found: ItemReads) -> ReadsPerItem:
    return ReadsPerItem(
        loop=facts.span(found.around.node),
        iterables=tuple(facts.span(tensor) for tensor in found.iterables),
        reads=tuple(_one(facts, read) for read in found.reads),
        exact=found.exact,
        hinder=found.hinder,
    )


def _one(facts: FileFacts, read: ItemRead) -> tuple[tuple[int, int, int, int], str, str]:
    node = read.read.node
    if isinstance(node, n.Call) and read.read.how != "item":
        node = node.args[0]
    return facts.span(node), read.selection, read.position or read.entry
