"""A forward pass builds a graph that nobody uses: run it under `torch.no_grad()`.

What it finds
-------------
A call of a module while gradients are on, whose result is only detached, read with `.item()`, `.argmax()` or
`.numpy()`, formatted or dropped; and forward passes of a model that the same function has put into evaluation mode
with `.eval()`, where nothing that the function reaches trains. `.eval()` changes dropout and batch normalisation; it
does not switch gradients off. In training code also networks that only supply targets: a copy of the one that learns
(`load_state_dict`, `deepcopy`, a moving average), or a teacher in evaluation mode, which is in no optimizer.

Why it costs
------------
With gradients on, every layer keeps its inputs until the result is gone, so that inference takes several times the
memory that it needs; a result kept over a loop keeps one graph for each pass.

When it stays silent
--------------------
Where a training operation (`backward`, `autograd.grad`, an optimizer's step) can be reached, where all callers have
gradients off, in a helper context that switches them off, in framework hooks that do so (`validation_step`), where the
parameters are frozen around the call, where the result is returned or stored with its graph and nothing says that it
is inference, in unit tests, and for networks that only supply targets where a graph goes in, or where they are in an
optimizer.

Fix safety
----------
Safe where every result provably ends in plain numbers: values are the same. Otherwise unsafe: a caller may
want the gradient. A function is decorated with `@torch.no_grad()`; inside training code only the statement is wrapped.

Example
-------
    import torch
    from torch import nn


    def accuracy(model: nn.Module, batches: list) -> float:
        hits = 0
        for inputs, labels in batches:
            hits += (model(inputs).argmax(1) == labels).sum().item()
        return hits / len(batches)

Use instead
-----------
    import torch
    from torch import nn


    @torch.no_grad()
    def accuracy(model: nn.Module, batches: list) -> float:
        hits = 0
        for inputs, labels in batches:
            hits += (model(inputs).argmax(1) == labels).sum().item()
        return hits / len(batches)

From
----
Atheria's memory plan ("intermediate tensors should use `torch.no_grad()`"), and the largest class of memory fixes in
public repositories.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import (
    CalleeKeepsGrad,
    CalleeOnlyRuns,
    ForwardKeepsGrad,
    HelpersKeepGrad,
    IsModule,
    IsModuleAttribute,
    IsModuleClass,
    NotForLoss,
    NotFrozen,
    NoTrainingReached,
    Open,
    SomeCallerWithGrad,
)
from memlint.facts import FileFacts, Scope
from memlint.facts import nodes as n
from memlint.facts.defects import ForwardWithGrad
from memlint.facts.events import Forward
from memlint.facts.forwards import Wasted, set_on_another, wasted_forwards
from memlint.rule import Condition, Proposal, Severity, rule


@rule(needs=("torch", ".eval()", ".detach()"))
def no_grad_inference(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each function, or loop of one that also trains, whose forwards waste their graph."""
    for scope in facts.all_scopes():
        for wasted in wasted_forwards(facts, scope):
            yield _proposal(facts, scope, wasted)


def _proposal(facts: FileFacts, scope: Scope, wasted: Wasted) -> Proposal:
    forward = wasted.forward
    of_self = forward.receiver == scope.self_name and forward.question.endswith("runs the network")
    runs = facts.text(forward.node.func) if of_self or not forward.receiver else forward.receiver
    decorate = wasted.block is None and scope.node is not None and not scope.node.is_async
    return Proposal(
        message=f"`{runs}` runs with gradients on, but nothing uses its graph",
        place=facts.place(forward.node),
        fact=ForwardWithGrad(
            call=facts.span(forward.node),
            function=facts.span(scope.node) if scope.node is not None else None,
            block=facts.span(wasted.block or _outermost(scope, wasted)),
            decorate=decorate,
            escapes=wasted.escapes,
            shared=wasted.shared,
        ),
        evidence=tuple(facts.evidence(node, message) for node, message in wasted.reasons),
        conditions=tuple(_conditions(facts, scope, wasted)),
        severity=Severity.WARNING,
    )


def _settling(forward: Forward) -> str:
    """What shows that something unknown is a module, or that a call runs one."""
    if forward.through:
        return f"check the file of `{n.dotted(forward.node.func)}` too"
    if "." in forward.receiver or forward.question.endswith("runs the network"):
        return f"annotate `{forward.receiver}` where it is set, with the class of the module"
    return f"annotate `{forward.receiver}: nn.Module`"


def _outermost(scope: Scope, wasted: Wasted) -> object:
    forward = wasted.forward
    return forward.loops[0].node if forward.loops else forward.stmt


def _conditions(facts: FileFacts, scope: Scope, wasted: Wasted) -> Iterator[Condition]:
    function = (facts.names.module, scope.qualname)
    forward = wasted.forward
    if not scope.is_module_body:
        yield SomeCallerWithGrad(function)
        if handed_to := set_on_another(facts, scope):
            proof = f"list `{scope.qualname}` under `no-grad-functions`"
            yield Open(f"whether `{handed_to}`, as which it is stored, is called with gradients off", proof)
    if wasted.kept:
        yield NotForLoss(function)
    if wasted.block is None:
        yield NoTrainingReached(function, wasted.handed)
    elif forward.indirect:
        yield CalleeOnlyRuns(function, n.dotted(forward.node.func).rpartition(".")[2])
    if scope.owner is not None:
        yield NotFrozen(scope.owner.name)
    if forward.helpers:
        yield HelpersKeepGrad(forward.helpers)
    about_kind = forward.question.endswith("is a module")
    if forward.certain and forward.of:
        yield ForwardKeepsGrad(forward.of)
    if forward.of and about_kind:
        yield IsModuleClass(forward.of, forward.question, _settling(forward), wasted.only_if_module)
    elif forward.parameter:
        yield IsModule(function, forward.parameter)
    elif forward.question:
        yield CalleeKeepsGrad(n.dotted(forward.node.func).rpartition(".")[2])
        owner, _, attribute = forward.receiver.partition(".")
        plain = bool(attribute) and "." not in attribute
        if about_kind and scope.owner is not None and owner == scope.self_name and plain:
            settling = _settling(forward)
            yield IsModuleAttribute(scope.owner.name, attribute, forward.question, settling, wasted.only_if_module)
        else:
            yield Open(forward.question, _settling(forward))
    if not wasted.sure:
        handed = f"check the file of `{wasted.handed[0]}` too, or write" if wasted.handed else "write"
        yield Open(wasted.question, f"{handed} `torch.no_grad()` or `torch.enable_grad()` around it")
