"""What a project's files say of attributes and settings, joined: who declares, reads and checks them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memlint.facts.demands import Plain
    from memlint.facts.summary import Summary


class Attributes:
    """The attributes of a project.

    read: the names that are read of objects other than `self`. keywords: the names of arguments in calls.
    checks: (path, (name, sign, bound)) for the files that check a setting which has declared limits.
    """

    def __init__(self, summaries: Iterable[Summary]) -> None:
        self.read: set[str] = set()
        self.keywords: set[str] = set()
        self.checks: list[tuple[str, tuple[str, str, Plain]]] = []
        self._flags: dict[str, set[str]] = defaultdict(set)
        self._others: set[str] = set()
        self._readers: dict[str, set[str]] = defaultdict(set)
        for summary in summaries:
            self.read |= summary.other_reads
            self.keywords |= summary.keywords
            self.checks += [(summary.path, check) for check in summary.checks]
            self._others |= summary.others
            for owner, attribute in summary.flags:
                self._flags[attribute].add(owner)
            for owner, attribute in summary.own_reads:
                self._readers[attribute].add(owner)

    def flag_in(self, attribute: str) -> set[str]:
        """The classes that declare an attribute as a Python bool, "" for a command line.

        None at all where anything else is stored under the name.
        """
        return set() if attribute in self._others else self._flags.get(attribute, set())

    def readers(self, attribute: str) -> set[str]:
        """The classes whose methods read an attribute of `self`."""
        return self._readers.get(attribute, set())
