"""A setting breaks the limits that the project declares for it, or a check forbids them: write what they allow.

What it finds
-------------
Defaults of a configuration, values that presets and calls pass, stored literals and options of the command line that
are outside of what `[tool.memlint.limits]` in pyproject.toml allows; and asserts, or ifs that raise, which let no value
within the limits pass:

    [tool.memlint.limits]
    max_active_flows = "<= 50000"
    max_spawn_per_step = "== 0"
    "FlowConfig.movement_based_spawn" = "== false"

A name with a class before it means that class only. Several conditions are separated by commas.

Why it costs
------------
A limit that was found the hard way, after a run had died from lack of memory, is raised again by the next preset. A
constant that is lowered below its own assert stops the program at the start.

When it stays silent
--------------------
Without that table, for names that are not listed, and for values that are computed.

Fix safety
----------
Safe: the value becomes the nearest one within the limits. A check in the same file that would forbid it is relaxed with
it, where another sign is enough (`> 0` becomes `>= 0`); where it is not, or where the check stands in another file,
nothing is changed.

Example
-------
    # max_active_flows = "<= 50000"
    from dataclasses import dataclass


    @dataclass
    class FlowConfig:
        depth: int = 20
        max_active_flows: int = 200000

Use instead
-----------
    # max_active_flows = "<= 50000"
    from dataclasses import dataclass


    @dataclass
    class FlowConfig:
        depth: int = 20
        max_active_flows: int = 50000

From
----
energy_flow: spawning was to be off and flows were to be limited to 50,000. A script of text replacements set the new
values, of which the validator forbade one; the presets keep the old ones to this day.
"""

from __future__ import annotations

from collections.abc import Iterator

from memlint.conditions import PassesElsewhere
from memlint.facts import FileFacts
from memlint.facts.defects import BrokenLimit
from memlint.facts.demands import Broken, broken, plain, relaxed
from memlint.rule import Proposal, Severity, rule


@rule(default=False)
def hold_config_limits(facts: FileFacts) -> Iterator[Proposal]:
    """One proposal for each literal that breaks a limit, and for each check that forbids all that it allows."""
    found = list(broken(facts))
    literals = {item.demand for item in found if item.setting.sign == "" and item.value}
    for item in found:
        name, text = item.demand.name, item.demand.text
        if item.setting.sign:
            message = f"this check lets no `{name}` pass that is `{text}`, which the project's limits demand"
        else:
            message = (
                f"`{name}` is {facts.text(item.setting.node).strip()}, and is to be `{text}` by the project's limits"
            )
        passes = (PassesElsewhere(facts.path, name, plain(item.value)),) if item.value else ()
        yield Proposal(
            message=message,
            place=facts.place(item.setting.node),
            fact=_fact(facts, item, together=item.demand in literals),
            evidence=tuple(facts.evidence(check.node, "this check forbids the value") for check in item.forbidding),
            conditions=passes,
            severity=Severity.ERROR,
        )


def _fact(facts: FileFacts, item: Broken, together: bool) -> BrokenLimit:
    if item.setting.sign:
        bounds = [test.bound for test in item.demand.tests if test.op == "=="]
        source = relaxed(facts, item.setting, bounds[0]) if bounds else ""
        compare = item.setting.compare
        change = ((facts.span(compare), source),) if compare is not None and source else ()
        return BrokenLimit(None, relaxed=change, together=together)
    changes = []
    for check in item.forbidding:
        node = check.compare if check.compare is not None else check.node
        changes.append((facts.span(node), relaxed(facts, check, plain(item.value))))
    return BrokenLimit(facts.span(item.setting.node), item.value, tuple(changes))
