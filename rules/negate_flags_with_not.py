"""A Python bool is inverted with `~`, which gives -1 or -2: negate it with `not`.

What it finds
-------------
`~flag` where the flag is proved to be a Python bool: a name for True or False, a comparison of Python numbers, a
parameter or an attribute that is annotated as `bool`, an option of the command line, `module.training`, what
`isinstance` gives.

Why it costs
------------
`~False` is -1 and `~True` is -2. Both are true, so a condition no longer depends on the flag. Combined with a mask of
bools they make a tensor of whole numbers, and indexing with that gathers rows instead of choosing them: wrong rows, as
many as there are elements. From Python 3.16 on it is an error.

When it stays silent
--------------------
Tensors, arrays and `numpy.bool_` are inverted by `~` as meant; so are whole numbers that are bit masks. Names and
attributes of which it is not known what they hold are left alone, and so is `~True` itself: who writes that wants -2.

Fix safety
----------
`(not flag)`, where the flag is proved to be a bool. The result changes, because it was wrong. Safe where the truth of
it is what counts, in a condition or a mask; unsafe elsewhere, since somebody may want the number.

Example
-------
    import torch


    def still_active(active: torch.Tensor, outside: torch.Tensor, reflecting: bool) -> torch.Tensor:
        return active | (outside & ~reflecting)

Use instead
-----------
    import torch


    def still_active(active: torch.Tensor, outside: torch.Tensor, reflecting: bool) -> torch.Tensor:
        return active | (outside & (not reflecting))

From
----
energy_flow: flows that had left the box were to stay active while reflection was off; with `~` in the mask every
batch read the first two flows over and over.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import IsFlag, PassedFlags
from memlint.facts import FileFacts, Scope
from memlint.facts.defects import InvertedFlag
from memlint.facts.flags import FLAG, Inverted, inverted
from memlint.rule import Condition, Proposal, Severity, rule

_EFFECTS = {
    "mask": "the mask becomes a tensor of whole numbers",
    "condition": "the condition is always true",
    "value": "that is true in either case",
}


@rule(needs=("~",))
def negate_flags_with_not(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each `~` of what is, or may be, a Python bool."""
    for scope in facts.all_scopes():
        for found in inverted(facts, scope):
            why = found.truth.why
            yield Proposal(
                message=f"`{facts.text(found.node)}` of a Python bool is -1 or -2: {_EFFECTS[found.use]}",
                place=facts.place(found.node),
                fact=InvertedFlag(facts.span(found.node), found.use != "value"),
                evidence=(facts.evidence(*why),) if why is not None else (),
                conditions=tuple(_conditions(facts, scope, found)),
                severity=Severity.ERROR,
            )


def _conditions(facts: FileFacts, scope: Scope, found: Inverted) -> Iterator[Condition]:
    truth = found.truth
    if truth.verdict == FLAG:
        return
    if truth.parameter:
        yield PassedFlags((facts.names.module, scope.qualname), truth.parameter)
    else:
        yield IsFlag(truth.attribute, truth.owner, truth.own)
