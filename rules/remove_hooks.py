"""The handle of a hook is lost, so that the hook stays for good: keep the handle and call `remove()`.

What it finds
-------------
`register_forward_hook` and its kin, where the handle that they give back is dropped, or bound to a name that nobody
reads: in a function that puts recording hooks on its caller's module, runs it and is done; in a constructor that hooks
its object onto a module that it was given; in code that runs in each step.

Why it costs
------------
The module holds the hook, the hook holds what it stores and the object it belongs to, and both last as long as the
module. The next call adds the next hook: each pass then stores its tensors several times over, and takes longer.

When it stays silent
--------------------
Where the handle is kept, returned or used as a context manager; for a module's hooks on itself and on its parts, hooks
that a script registers once, hooks of functions that hand the module back, hooks that change values
and store nothing, and hooks on a tensor, which go with it.

Fix safety
----------
There is no fix: when the hook has done its work is for the author to say. Collect the handles and remove them in a
`finally`, or make the object that registers them a context manager.

Example
-------
    import torch
    from torch import nn


    def features(model: nn.Sequential, inputs: torch.Tensor) -> torch.Tensor:
        seen = []
        model[0].register_forward_hook(lambda module, args, output: seen.append(output.detach()))
        model(inputs)
        return seen[0]

Use instead
-----------
    import torch
    from torch import nn


    def features(model: nn.Sequential, inputs: torch.Tensor) -> torch.Tensor:
        seen = []
        handle = model[0].register_forward_hook(lambda module, args, output: seen.append(output.detach()))
        try:
            model(inputs)
        finally:
            handle.remove()
        return seen[0]

From
----
Calibration functions and extractors of activations in public repositories.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import Open, PerStep
from memlint.facts import FileFacts
from memlint.facts.hooks import ONCE, OWNER, Hook, lost_hooks
from memlint.rule import Condition, Proposal, rule


@rule(needs=("_hook(",))
def remove_hooks(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each registration whose handle is lost."""
    hooks = list(lost_hooks(facts))
    proved = {id(hook.node) for hook in hooks if hook.form == ONCE}
    for hook in hooks:
        if hook.form != ONCE and id(hook.node) in proved:
            continue  # that it may also repeat adds nothing
        yield Proposal(
            message=_message(facts, hook),
            place=facts.place(hook.node),
            fact=None,
            evidence=tuple(facts.evidence(at, reason) for at, reason in hook.reasons),
            conditions=tuple(_conditions(facts, hook)),
        )


def _message(facts: FileFacts, hook: Hook) -> str:
    on = facts.text(hook.receiver)
    if hook.form == ONCE:
        return f"the handle of `{hook.method}` is lost: the hook stays on `{on}` when `{hook.scope.name}` is done"
    if hook.form == OWNER:
        owner = hook.scope.owner.name if hook.scope.owner is not None else ""
        return f"the handle of `{hook.method}` is lost: `{on}` keeps each `{owner}` that hooked itself onto it"
    return f"the handle of `{hook.method}` is lost: each step puts one more hook on `{on}`"


def _conditions(facts: FileFacts, hook: Hook) -> Iterator[Condition]:
    if hook.form == OWNER and hook.scope.owner is not None:
        yield Open(f"whether more than one `{hook.scope.owner.name}` is made for the same module")
    elif hook.form != ONCE:
        if not hook.repeats:
            yield PerStep((facts.names.module, hook.scope.qualname), any_loop=hook.same)
        if not hook.same:
            yield Open("whether it is the same module each time")
