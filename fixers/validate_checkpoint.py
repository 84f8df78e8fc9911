"""A comparison of the configurations goes directly below the load, before anything is taken over.

Unsafe: what does not fit raises. The entries to compare come from the rule's `keys` option, else from what the model is
seen to be built from; where neither says anything, the fixer refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import libcst as cst

from memlint.facts.defects import UnvalidatedWeights
from memlint.fixer import Edit, Refuse, Safety, fixer

if TYPE_CHECKING:
    from memlint.edit import Tree


@fixer(helpers=("check_config",))
def fix(fact: UnvalidatedWeights, tree: Tree, options: Mapping[str, Any]) -> Edit:
    """Compare first."""
    if fact.form == "late":
        raise Refuse("move the comparison up, before the weights are taken over")
    if fact.form == "handed-out" or not fact.entry:
        raise Refuse("compare where both configurations are at hand: `check_config(saved, current, keys)`")
    if fact.loaded is None:
        raise Refuse("give the checkpoint a name first, so that its configuration can be read")
    keys = list(options["keys"]) or list(fact.keys)
    if not keys:
        raise Refuse("which entries must agree is yours to say: list them as `keys` of this rule")
    loaded = tree.statement_at(fact.loaded)
    if unknown := tree.unknown_name(fact.current, loaded):
        raise Refuse(f"`{unknown}`, which holds the current configuration, is not known here")
    listed = ", ".join(f'"{key}"' for key in keys)
    call = f'{tree.helper("check_config", loaded)}({fact.name}["{fact.entry}"], {fact.current}, [{listed}])'
    return Edit({loaded: cst.FlattenSentinel([loaded, tree.line(call)])}, Safety.UNSAFE, helpers=("check_config",))
