"""Fixers that need a number or a list which only the user knows take it from the options of their rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memlint import edit, registry
from tests.support import FIXTURES
from tests.support.case import findings

NEEDS_KEYS = """\
import torch


class Trainer:
    def __init__(self, config, model):
        self.config = config
        self.model = model

    def save(self, path):
        torch.save({"config": self.config, "model": self.model.state_dict()}, path)

    def load(self, path):
        checkpoint = torch.load(path, map_location="cpu")
        self.model.load_state_dict(checkpoint["model"])
"""


def cured(rule: str, text: str, options: dict[str, Any]) -> str:
    """The text after the fix of its only finding, or why there is none."""
    [finding] = findings(rule, text)
    result = edit.cure(text, finding, registry.fixers()[rule], options=options)
    return result.text if isinstance(result, edit.Cure) else result.reason


def test_a_guard_is_asked_before_a_large_allocation_where_the_limit_is_known() -> None:
    text = Path(FIXTURES, "monitor_leaks/large_allocation_in_each_pass/before.py").read_text(encoding="utf-8")
    new = cured("monitor-leaks", text, {"limit_gb": 20.5})
    made, asked = new.index("    memory_guard = MemoryGuard(20.5)\n"), new.index("memory_guard.ok(1073741824)\n")
    assert made < new.index("for batch in loader:") < asked < new.index("scratch = torch.empty(")
    assert cured("monitor-leaks", text, {"limit_gb": 0}).startswith("how much memory may be used")


def test_the_entries_to_compare_are_the_ones_that_the_user_lists() -> None:
    new = cured("validate-checkpoint", NEEDS_KEYS, {"keys": ["depth", "model.width"]})
    assert '        check_config(checkpoint["config"], self.config, ["depth", "model.width"])\n' in new
    assert cured("validate-checkpoint", NEEDS_KEYS, {"keys": []}).startswith("which entries must agree")
