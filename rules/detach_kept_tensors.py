"""A value is kept together with its graph beyond its step: detach it when it is stored.

What it finds
-------------
Tensors with a graph that are appended to a list, added to a running sum or average, put into a dict under a new key or
handed to a meter that keeps them, in each step of a loop or once per step of an object's life. It says whether the
backward pass has run by then: if so, the nodes of the graph stay (kilobytes a step), if not, every activation of the
step does (megabytes). Also what was overlooked: `x.detach()` as a statement of its own, whose result nobody takes, and
a value that is reported with its graph in the same call as a detached loss. In MLX, where nothing is computed before
it is asked for: sums, averages, lists and states that take in something new with each step of a loop that never
evaluates them.

Why it costs
------------
A tensor holds its graph, the graph holds what its operations saved. One kept loss keeps a whole step alive, and the
memory grows with the number of steps. An MLX array that was not evaluated holds what it is to be computed from: a mean
loss the logits of its batch, although the weights were evaluated.

When it stays silent
--------------------
Where a backward pass starts from what is kept: log-probabilities of an episode, sums of several losses, histories that
feed a loss. Where the sum starts anew in each step, for numbers, whole-numbered and detached values, and where
gradients are off, be it here or in all callers. Keys and values that a decoder keeps only where its caller asks for
it, by a parameter that is False otherwise. In MLX: where the loop evaluates it or what is made from it, reads it,
prints it or hands it on, and inside what is differentiated or compiled.

Fix safety
----------
Safe where the backward pass of the value has run and nothing starts another one: only the graph goes. Elsewhere
unsafe: code that memlint does not see may want to train on it. In MLX `mx.eval(total)` goes behind the statement that
adds: unsafe, since the loop waits for it then.

Example
-------
    import torch
    from torch import nn


    def train(model: nn.Module, loader, steps: int) -> float:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        total = 0.0
        for x, y in loader:
            loss = nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss
        return float(total) / steps

Use instead
-----------
    import torch
    from torch import nn


    def train(model: nn.Module, loader, steps: int) -> float:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        total = 0.0
        for x, y in loader:
            loss = nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        return float(total) / steps

From
----
Atheria's loss history, and the largest class of memory defects in the histories of public repositories.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import (
    CalleeKeeps,
    CalleeMayKeep,
    HelpersKeepGrad,
    NothingTrainsOn,
    Open,
    PerStep,
    SomeCallerPassesGraph,
    SomeCallerWithGrad,
)
from memlint.facts import FileFacts
from memlint.facts import values as v
from memlint.facts.defects import DetachedForNobody, KeptGraph, Unevaluated
from memlint.facts.kept import HandedOver, Kept, handed_over, is_tensor, kept
from memlint.facts.lazy import Piled, piled
from memlint.facts.logged import Logged, logged
from memlint.facts.overlooked import Dropped, Reported, dropped, reported
from memlint.rule import Condition, Proposal, Severity, rule

_LEFT = {True: "the nodes of its graph, whose backward pass has run", False: "its whole graph"}
_SEVERITY = {True: Severity.WARNING, False: Severity.ERROR}


@rule(needs=("torch", "backward", "mlx"))
def detach_kept_tensors(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each place that keeps a value with its graph."""
    for found in kept(facts):
        growth = found.growth
        verb = "adds up" if growth.how == "accumulate" else "keeps"
        item = growth.item if growth.item is not None else growth.node
        yield Proposal(
            message=f"`{facts.text(growth.container)}` {verb} a value of each step with {_LEFT[found.ran]}",
            place=facts.place(growth.node),
            fact=KeptGraph(facts.span(item), not is_tensor(found.scope, growth) or bool(found.parameter), found.ran),
            evidence=tuple(facts.evidence(node, message) for node, message in found.reasons),
            conditions=tuple(_conditions(facts, found)),
            severity=_SEVERITY[found.ran],
        )
    for handed in handed_over(facts):
        yield _handed(facts, handed)
    for entry in logged(facts):
        yield _logged(facts, entry)
    for lost in dropped(facts):
        yield _dropped(facts, lost)
    told = {id(handed.node) for handed in handed_over(facts)}
    for report in reported(facts):
        if id(report.node) not in told:
            yield _reported(facts, report)
    for pile in piled(facts):
        yield _piled(facts, pile)


def _conditions(facts: FileFacts, found: Kept) -> Iterator[Condition]:
    function = (facts.names.module, found.scope.qualname)
    holder = found.growth.holder.removesuffix("[]")
    if not holder.startswith("local:"):
        yield NothingTrainsOn(holder)
    if not found.repeats:
        yield PerStep(function, uncalled=bool(found.parameter), of_a_loop=True)
    if found.parameter:
        yield SomeCallerPassesGraph(function, found.parameter)
    elif not found.ran:
        yield SomeCallerWithGrad(function)
    if found.question:
        yield Open(found.question)


def _logged(facts: FileFacts, entry: Logged) -> Proposal:
    text = facts.text(entry.item)
    evidence = [facts.evidence(entry.beside, "the dict leaves the function beside what is trained on")]
    conditions: list[Condition] = [SomeCallerWithGrad((facts.names.module, entry.scope.qualname))]
    if entry.sibling is not None:
        message = f"`{text}` leaves the function with its graph in a dict whose other entries are detached"
        evidence.insert(0, facts.evidence(entry.sibling, "this entry is detached"))
        if not entry.sure:
            conditions.append(Open(f"whether `{text}` carries a graph"))
    else:
        message = f"`{text}` is handed back to train on, and once more with its graph in the dict beside it"
    conditions.append(Open("whether the dict outlives the step, as logs do"))
    fact = KeptGraph(facts.span(entry.item), entry.value.kind != v.TENSOR and not entry.value.zero_d, False)
    return Proposal(message, facts.place(entry.item), fact, tuple(evidence), tuple(conditions), _SEVERITY[False])


def _handed(facts: FileFacts, handed: HandedOver) -> Proposal:
    site = handed.site
    text = facts.text(handed.node)
    return Proposal(
        message=f"`{text}` is handed over with {_LEFT[handed.ran]}, and what it is handed to keeps it",
        place=facts.place(handed.node),
        fact=KeptGraph(facts.span(handed.node), handed.structure, handed.ran),
        conditions=(
            CalleeKeeps(site.callee, facts.names.module, handed.argument),
            HelpersKeepGrad(site.helpers),
            SomeCallerWithGrad((facts.names.module, handed.scope.qualname)),
        ),
        severity=_SEVERITY[handed.ran],
    )


def _dropped(facts: FileFacts, lost: Dropped) -> Proposal:
    source = facts.text(lost.source)
    hooked = lost.scope.name in facts.names.hooked
    asked = "whether the module with this hook runs with gradients on" if hooked else f"whether `{source}` has a graph"
    graph = () if lost.sure and not hooked else (Open(asked),)
    return Proposal(
        message=f"`{facts.text(lost.node)}` is a statement of its own: its result is lost, `{source}` keeps its graph",
        place=facts.place(lost.node),
        fact=DetachedForNobody(facts.span(lost.node), source, lost.trained),
        conditions=(SomeCallerWithGrad((facts.names.module, lost.scope.qualname)), *graph),
        severity=Severity.WARNING,
    )


def _reported(facts: FileFacts, report: Reported) -> Proposal:
    name = report.site.name
    return Proposal(
        message=f"`{facts.text(report.node)}` is handed to `{name}` with its graph, beside what was detached for it",
        place=facts.place(report.node),
        fact=KeptGraph(facts.span(report.node), report.structure, True),
        evidence=(facts.evidence(report.sibling, "this was detached"),),
        conditions=(
            CalleeMayKeep(report.site.callee, facts.names.module),
            HelpersKeepGrad(report.site.helpers),
            SomeCallerWithGrad((facts.names.module, report.scope.qualname)),
        ),
        severity=_SEVERITY[True],
    )


def _piled(facts: FileFacts, pile: Piled) -> Proposal:
    return Proposal(
        message=f"`{pile.name}` takes in what each step left uncomputed, and nothing evaluates it in the loop",
        place=facts.place(pile.node),
        fact=Unevaluated(facts.span(pile.anchor), pile.values, pile.module),
        evidence=tuple(facts.evidence(node, message) for node, message in pile.reasons),
        conditions=(Open(pile.question),) if pile.question else (),
    )
