"""Weights are loaded without a look at the configuration they were saved with: compare it before they are taken over.

What it finds
-------------
`load_state_dict` from a checkpoint that the program saves together with its configuration (`"config"`, `"args"`,
`"hyper_parameters"`), where the loading code never reads that entry, or only prints it; the same where the comparison
stands behind the loading; and a loader that hands such a checkpoint to its callers, none of which looks either.

Why it costs
------------
Where shapes differ, the load fails half way, with parts of the object changed already. Where they do not, nothing
fails: another dropout, activation, grid or tokenizer with these weights trains on and gives wrong results, and the
reason is found days later.

When it stays silent
--------------------
Where the saved configuration is used for anything: compared, handed to the model's constructor, passed on, returned.
With `strict=False`, where another model's weights are welcome; where nothing is saved to compare with; where the whole
checkpoint goes to code that nobody sees; in unit tests.

Fix safety
----------
Unsafe: a checkpoint that does not fit now raises `ConfigMismatch` before anything is changed, and one without a
configuration raises `KeyError`. What has to agree are the entries from which the code builds the model; name others
with `keys = ["width", "depth"]` under `[tool.memlint.rules.validate-checkpoint]`.

Example
-------
    import torch
    from torch import nn


    class Trainer:
        def __init__(self, config: dict) -> None:
            self.config = config
            self.model = nn.Sequential(nn.Linear(config["width"], 4), nn.Dropout(config["dropout"]))

        def save(self, path: str) -> None:
            torch.save({"config": self.config, "model": self.model.state_dict()}, path)

        def load(self, path: str) -> None:
            checkpoint = torch.load(path, map_location="cpu")
            self.model.load_state_dict(checkpoint["model"])

Use instead
-----------
    import torch
    from torch import nn

    from memlint.runtime import check_config


    class Trainer:
        def __init__(self, config: dict) -> None:
            self.config = config
            self.model = nn.Sequential(nn.Linear(config["width"], 4), nn.Dropout(config["dropout"]))

        def save(self, path: str) -> None:
            torch.save({"config": self.config, "model": self.model.state_dict()}, path)

        def load(self, path: str) -> None:
            checkpoint = torch.load(path, map_location="cpu")
            check_config(checkpoint["config"], self.config, ["width", "dropout"])
            self.model.load_state_dict(checkpoint["model"])

From
----
energy_flow's report (priority 3: a checkpoint of another lattice was loaded without a word).
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import Open, SavedWithConfig
from memlint.facts import FileFacts
from memlint.facts.configs import HANDED_OUT, LATE, UNCHECKED, Unvalidated, unvalidated
from memlint.facts.defects import UnvalidatedWeights
from memlint.rule import Condition, Proposal, Severity, rule

_MESSAGE = {
    UNCHECKED: "weights are taken over and `{key}`, which was saved with them, is not looked at",
    LATE: "the saved configuration is compared only when the weights have been taken over",
    HANDED_OUT: "the checkpoint is handed out, and nobody compares the configuration that was saved in it",
}


@rule(needs=(".load(", "import load"), default=False, options={"keys": []})
def validate_checkpoint(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each load of weights whose configuration nobody compares."""
    for found in unvalidated(facts):
        saved = found.saved
        key = saved.key if saved is not None else "the configuration"
        yield Proposal(
            message=_MESSAGE[found.form].format(key=key).replace("`the configuration`", "the configuration"),
            place=facts.place(found.node),
            fact=UnvalidatedWeights(
                found.form,
                facts.span(found.stmt) if found.stmt is not None and found.name else None,
                found.name,
                saved.key if saved is not None else "",
                facts.text(saved.value) if saved is not None else "",
                found.keys,
            ),
            evidence=tuple(facts.evidence(node, reason) for node, reason in found.reasons),
            conditions=tuple(_conditions(facts, found)),
            severity=Severity.WARNING,
        )


def _conditions(facts: FileFacts, found: Unvalidated) -> Iterator[Condition]:
    if found.form == HANDED_OUT or found.form == UNCHECKED and found.saved is None:
        yield SavedWithConfig((facts.names.module, found.scope.qualname), tuple(sorted(found.weights)))
    for question in found.questions:
        yield Open(question)
