"""Findings that are known and wait: a file that lists them, so that a check reports only those that are not in it.

An entry is known again by the rule, the path, the function and the code of the statement, not by its line. The file is
JSON with one entry a line, sorted, and its paths start from its own folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import asdict, fields

from memlint import disk, record
from memlint.config import ConfigError, Settings, all_rules, display_path
from memlint.rule import Finding
from memlint.statements import Statements

VERSION = 1
_VERSION_KEY = "memlint-baseline"
_LONGEST = 120  # letters of a statement: of a longer one the beginning is shown, and a hash tells it from others


class Entry(Struct, frozen=True, order=True):
    """One known finding. function: "" for a module's own statements. nth: among those that are equal in all else."""

    path: str
    function: str
    rule: str
    code: str
    nth: int

    @property
    def kind(self) -> tuple[str, str, str, str]:
        """What entries that only their number tells apart have in common."""
        return self.path, self.function, self.rule, self.code


class Sorted(Struct):
    """What a baseline makes of the findings: new and known ones, and the entries that nothing matches any more."""

    new: list[Finding] = field(default_factory=list)
    known: list[Finding] = field(default_factory=list)
    stale: list[Entry] = field(default_factory=list)


class Baseline:
    """The entries of a file. path: where it lies; what its paths start from is the folder around it."""

    def __init__(self, path: str, entries: Iterable[Entry] = ()) -> None:
        self.path = path
        self.entries = sorted(set(entries))

    def sort(self, findings: Sequence[Finding], texts: Mapping[str, str], checked: Mapping[str, Settings]) -> Sorted:
        """Tell known findings from new ones: of equal ones as many as there are entries, the first ones.

        checked: the files of this run, by display path. The entries of other files, and of rules that were not on, are
        not judged, unless the file or the rule is gone.
        """
        left = Counter(entry.kind for entry in self.entries)
        outcome = Sorted()
        for finding, entry in zip(findings, self._entries_of(findings, texts), strict=True):
            if left[entry.kind] > 0:
                left[entry.kind] -= 1
                outcome.known.append(finding)
            else:
                outcome.new.append(finding)
        unmatched = []
        for entry in reversed(self.entries):
            if left[entry.kind] > 0:
                left[entry.kind] -= 1
                unmatched.append(entry)
        outcome.stale = self._judged(unmatched, checked)
        return outcome

    def renewed(
        self, findings: Sequence[Finding], texts: Mapping[str, str], checked: Mapping[str, Settings]
    ) -> Baseline:
        """The baseline of what was found now, and of the entries that this run can't judge."""
        judged = set(self._judged(self.entries, checked))
        kept = [entry for entry in self.entries if entry not in judged]
        return Baseline(self.path, [*kept, *self._entries_of(findings, texts)])

    def _judged(self, entries: Sequence[Entry], checked: Mapping[str, Settings]) -> list[Entry]:
        """The entries of which a run knows that nothing more is to be found."""
        if not entries:
            return []
        folder = os.path.dirname(os.path.abspath(self.path))
        paths = {_relative(path, self.path): path for path in checked}
        rules: dict[str, Collection[str]] = {}
        judged = []
        for entry in entries:
            path = paths.get(entry.path)
            if path is None:
                if not record.lexists(os.path.join(folder, entry.path)):
                    judged.append(entry)
                continue
            if path not in rules:
                rules[path] = checked[path].enabled(path)
            if entry.rule in rules[path] or entry.rule not in all_rules():
                judged.append(entry)
        return judged

    def _entries_of(self, findings: Sequence[Finding], texts: Mapping[str, str]) -> list[Entry]:
        statements: dict[str, Statements] = {}
        seen: Counter[tuple[str, str, str, str]] = Counter()
        entries = []
        for finding in findings:
            path = finding.place.path
            if path not in statements:
                statements[path] = Statements(texts.get(path, ""))
            statement = statements[path].at(finding.place.line)
            code = _short(statements[path].code(statement))
            kind = (_relative(path, self.path), statement.function, finding.rule, code)
            seen[kind] += 1
            entries.append(Entry(*kind, seen[kind]))
        return entries


def read(path: str) -> Baseline:
    """The baseline in a file. Raises ConfigError where there is none, or anything in it is not as memlint writes it."""
    shown = display_path(path)
    if record.exists(path) and not record.is_file(path):
        raise ConfigError(f"{shown}: not a file, so not a baseline")
    try:
        data = record.read(path)
    except FileNotFoundError:
        raise ConfigError(f"{shown}: no such file; `memlint check --write-baseline {shown}` makes it") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{shown}: can't be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        return Baseline(path, _entries(json.loads(data.decode("utf-8"), object_pairs_hook=_once)))
    except RecursionError:
        reason = "nested too deeply"
    except json.JSONDecodeError as error:
        reason = f"not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: {error.reason} at byte {error.start}"
    except ValueError as error:
        reason = str(error)
    raise ConfigError(f"{shown}: not a baseline of memlint: {reason}")


def write(baseline: Baseline) -> None:
    """Write the file whole, or leave what is there. Raises ConfigError."""
    new = text(baseline).encode("utf-8")
    target = baseline.path
    try:
        os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
        old = None
        if os.path.exists(target):
            with open(target, "rb") as stream:
                old = stream.read()
    except OSError as error:
        raise ConfigError(f"{display_path(target)}: can't be written: {error.strerror}") from None
    error_ = disk.create(target, new) if old is None else disk.replace(target, old, new)
    if error_ is not None:
        raise ConfigError(f"{display_path(target)}: {error_.message}")


def text(baseline: Baseline) -> str:
    """What stands in the file."""
    entries = ",\n".join(f"    {_line(asdict(entry))}" for entry in baseline.entries)
    between = f"\n{entries}\n  " if entries else ""
    return f'{{\n  "{_VERSION_KEY}": {VERSION},\n  "findings": [{between}]\n}}\n'


def _line(entry: dict[str, Any]) -> str:
    line = json.dumps(entry, ensure_ascii=False)
    # The bytes of a name that are no UTF-8 are lone surrogates here, and a file can hold those only as escapes.
    return line if line.isprintable() else json.dumps(entry)


def _entries(document: Any) -> list[Entry]:
    """The entries of a document, checked. Raises ValueError."""
    if not isinstance(document, dict) or _VERSION_KEY not in document:
        raise ValueError(f'there is no "{_VERSION_KEY}" in it')
    version = document[_VERSION_KEY]
    if version != VERSION or type(version) is not int:
        raise ValueError(f"it is of version {_shown(version)}, and this memlint reads version {VERSION}")
    if set(document) != {_VERSION_KEY, "findings"} or not isinstance(document["findings"], list):
        raise ValueError('beside its version it must have a list "findings", and nothing else')
    return [_entry(item, number) for number, item in enumerate(document["findings"], 1)]


def _entry(item: Any, number: int) -> Entry:
    types = {field.name: int if field.name == "nth" else str for field in fields(Entry)}
    if not isinstance(item, dict) or set(item) != set(types):
        raise ValueError(f"finding {number} must have {', '.join(types)}, and nothing else")
    for key, wanted in types.items():
        if type(item[key]) is not wanted:
            kind = "a whole number" if wanted is int else "a string"
            raise ValueError(f'"{key}" of finding {number} must be {kind}, not {_shown(item[key])}')
    if item["nth"] < 1:
        raise ValueError(f'"nth" of finding {number} must be at least 1')
    return Entry(**item)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, if it says each key once: of two values, JSON would silently take the last one."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _shown(value: Any) -> str:
    line = json.dumps(value)
    return line if len(line) <= 40 else f"{line[:40]}..."


def _short(code: str) -> str:
    if len(code) <= _LONGEST:
        return code
    mark = hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{code[: _LONGEST - 40]} ... {mark}"


def _relative(path: str, baseline: str) -> str:
    """A file's path from the folder of the baseline, with forward slashes, however the two were named."""
    file, folder = os.path.abspath(path), os.path.dirname(os.path.abspath(baseline))
    if not file.startswith(os.path.join(folder, "")):
        file, folder = record.real(file), record.real(folder)
    try:
        return os.path.relpath(file, folder).replace(os.sep, "/")
    except ValueError:  # on another drive
        return file.replace(os.sep, "/")
