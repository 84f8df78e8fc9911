"""A reload trusts a save that may have written nothing: reload only what the save returned.

What it finds
-------------
Weights that are read back right behind a call that was to save them, where that call can return without writing (no
checkpoint manager, a flag that is off, not the writing process, an interval that is not due) and the code neither
asks for that nor looks at what the save returned; and a file named after this very step that is reloaded under another
name than the save gives it.

Why it costs
------------
A reload that is to free memory fails in the middle of a long run, or takes the weights of an earlier run that lie
under that name: the training goes on from there, and nothing says so.

When it stays silent
--------------------
Where the result of the save is used, where the caller asks for the same thing or for the file, where the reading
function asks for the file or the reload stands in a `try`, where other processes wait at a barrier, where names do
not count steps (the best checkpoint, reloaded at the end), and in unit tests.

Fix safety
----------
There is no automatic fix: what should happen where nothing was saved is for the author to say. Let the save return the
path that it wrote, and None where it wrote nothing; reload that path, behind a test of it. When a reload is due,
`ReloadPolicy` of the runtime says.

Example
-------
    import torch
    from torch import nn


    class Trainer:
        def __init__(self, folder: str | None = None) -> None:
            self.folder = folder
            self.model = nn.Linear(2, 1)

        def save(self, path: str) -> str | None:
            if self.folder is None:
                return None
            torch.save(self.model.state_dict(), path)
            return path

        def restart(self, path: str) -> None:
            self.save(path)
            self.model = nn.Linear(2, 1)
            self.model.load_state_dict(torch.load(path, map_location="cpu"))

Use instead
-----------
    import torch
    from torch import nn


    class Trainer:
        def __init__(self, folder: str | None = None) -> None:
            self.folder = folder
            self.model = nn.Linear(2, 1)

        def save(self, path: str) -> str | None:
            if self.folder is None:
                return None
            torch.save(self.model.state_dict(), path)
            return path

        def restart(self, path: str) -> None:
            saved = self.save(path)
            if saved is not None:
                self.model = nn.Linear(2, 1)
                self.model.load_state_dict(torch.load(saved, map_location="cpu"))

From
----
Empirical Distrust's leak fixes (2 and 5): a save that returned at once without a checkpoint manager, and an emergency
reload of a file that was saved under another name.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import Open
from memlint.facts import FileFacts
from memlint.facts.defects import UnsavedReload
from memlint.facts.written import NOTHING, reloads
from memlint.rule import Proposal, Severity, rule


@rule(needs=("load",))
def reload_saved_only(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each save whose file is reloaded without being sure of it."""
    for found in reloads(facts):
        saver, path = facts.text(found.save.func), facts.text(found.path)
        if found.form == NOTHING:
            message = f"`{path}` is reloaded although `{saver}` may have written nothing"
        else:
            message = f"`{path}` is reloaded, but `{saver}` writes `{found.told}`"
        yield Proposal(
            message=message,
            place=facts.place(found.node),
            fact=UnsavedReload(found.form, facts.span(found.save), facts.span(found.node), path),
            evidence=tuple(facts.evidence(node, reason) for node, reason in found.reasons),
            conditions=tuple(Open(question) for question in found.questions),
            severity=Severity.ERROR,
        )
