"""Fixers for loops that tick: what they write, what they refuse, and when slots are safe."""

from __future__ import annotations

from pathlib import Path

import pytest

from memlint import edit, engine, registry
from memlint.config import Settings
from memlint.edit import Cure, Refusal
from memlint.fixer import Safety

LOOP = """\
import io
import threading
import time
from pathlib import Path


def live(path, text, stop: threading.Event):
    while not stop.is_set():
        {}
        time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's own path says `test`, and tests are left alone: paths are to be relative."""
    monkeypatch.chdir(tmp_path)


def cure(rule: str, text: str, **options: object) -> Cure | Refusal:
    """What the rule's fixer makes of the only finding in a file."""
    Path("program.py").write_text(text, encoding="utf-8")
    found = engine.check([("program.py", Settings(select=(rule,)))])
    assert not found.errors
    (finding,) = found.findings
    given = {**registry.rules()[rule].options, **options}
    return edit.cure(text, finding, registry.fixers()[rule], options=given)


def ticking(statement: str) -> str:
    """A loop that sleeps, with a statement in it."""
    return LOOP.format(statement.replace("\n", "\n        "))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('with open(path, "a") as f:\n    f.write(f"{text}\\n")', 'writer.write(f"{text}\\n")'),
        ('with path.open("a") as f:\n    f.write(text + "\\n")', 'writer.write(text + "\\n")'),
        (
            'with io.open(path, mode="at", encoding="UTF-8") as f:\n    f.write("%s\\n" % text)',
            'writer.write("%s\\n" % text)',
        ),
        ('with open(path, "a") as f:\n    f.write("{}\\n".format(text))', 'writer.write("{}\\n".format(text))'),
        ('with open(path, "a") as f:\n    # why\n    f.write("a" "b\\n")', '# why\nwriter.write("a" "b\\n")'),
        (
            'if stop is not None:\n    with open(path, "a") as f:\n        f.write("a\\n")',
            'if stop is not None:\n    writer.write("a\\n")',
        ),
    ],
)  # fmt: skip
def test_a_writer_around_the_loop(before: str, after: str) -> None:
    result = cure("buffer-step-io", ticking(before))
    assert isinstance(result, Cure)
    assert result.safety is Safety.UNSAFE
    body = "".join(f"            {line}\n" for line in after.splitlines())
    head = "    with BufferedWriter(path) as writer:\n        while not stop.is_set():\n"
    assert result.text.endswith(f"{head}{body}            time.sleep(0.01)\n")


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ('with open(path, "a") as f:\n    f.write(text)', "plainly writes a whole line"),
        ('with open(path, "a") as f:\n    f.write(r"a\\n")', "plainly writes a whole line"),
        ('with open(path, "ab") as f:\n    f.write(b"a\\n")', "plainly writes a whole line"),
        ('with open(path, "a") as f:\n    print(text, file=f)', "plainly writes a whole line"),
        ('with open(path, "a", newline="") as f:\n    f.write("a\\n")', "in a way of its own"),
        ('with open(path, "a", encoding="cp1252") as f:\n    f.write("a\\n")', "in a way of its own"),
        ('with open(path, "a", 1) as f:\n    f.write("a\\n")', "in a way of its own"),
        ('f = open(path, "a")\nf.write("a\\n")\nf.close()', "a `with` of its own"),
        (
            'with open(path, "a") as f:\n    f.write("a\\n")\nprint(path.read_text())',
            "something else with the same file",
        ),
        ('writer = log_writer = 0\nwith open(path, "a") as f:\n    f.write("a\\n")', "are taken"),
        ('with open(path, "w") as f:\n    f.write("a\\n")', "at an interval"),
    ],
)
def test_no_writer_around_the_loop(before: str, reason: str) -> None:
    result = cure("buffer-step-io", ticking(before))
    assert isinstance(result, Refusal)
    assert reason in result.reason


EVENTS = """\
import queue
import time


def live(world, events: queue.Queue, stop):
    while not stop.is_set():
        if {}:  # rain, noise
            world.handle(events.get())
        time.sleep(0.01)
"""


def test_a_limited_number_of_events_is_suggested() -> None:
    result = cure("drain-queue", EVENTS.format("not events.empty()"), limit=8)
    assert isinstance(result, Cure)
    assert result.safety is Safety.SUGGESTED
    loop = "        for _ in range(min(events.qsize(), 8)):"
    assert loop in result.text
    assert result.text.replace(loop, "        if not events.empty():") == EVENTS.format("not events.empty()")


@pytest.mark.parametrize(("test", "limit"), [("not events.empty() and world", 8), ("not events.empty()", 0)])
def test_no_loop_is_suggested(test: str, limit: int) -> None:
    assert isinstance(cure("drain-queue", EVENTS.format(test), limit=limit), Refusal)


RECORDS = """\
import time
from dataclasses import dataclass


@dataclass
class Entry:
    kind: str
    weight: float = 1.0


class Agent:
    def __init__(self):
        self.memory = []

    def tick(self):
        self.memory.append(Entry("noise"))


def live(agent: Agent, stop):
    while not stop.is_set():
        agent.tick()
        time.sleep(0.01)
"""


def test_slots_are_safe_where_nothing_needs_a_dict_and_python_is_new_enough() -> None:
    result = cure("slot-records", RECORDS, python="3.10")
    assert isinstance(result, Cure)
    assert result.safety is Safety.SAFE
    assert result.text == RECORDS.replace("@dataclass\n", "@dataclass(slots=True)\n")


@pytest.mark.parametrize(
    ("more", "python"),
    [
        ("", ""),
        ("", "3.9"),
        ("class Late(Entry):\n    pass\n", "3.10"),
        ("def show():\n    return Entry.weight\n", "3.10"),
        ("def mark(entry):\n    entry.marked = True\n", "3.10"),
        ("def show(entry):\n    return entry.__dict__\n", "3.10"),
        ("import pickle\n", "3.10"),
    ],
)
def test_slots_that_something_may_stand_against_are_unsafe(more: str, python: str) -> None:
    result = cure("slot-records", f"{RECORDS}\n\n{more}", python=python)
    assert isinstance(result, Cure)
    assert result.safety is Safety.UNSAFE


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("def mark(self):\n        self.marked = True", "`marked` is set"),
        ("def __init__(self, kind):\n        super().__init__()", "super()"),
        ("@cached_property\n    def size(self):\n        return 1", "cached_property"),
    ],
)
def test_slots_that_would_break_the_class_are_refused(method: str, reason: str) -> None:
    text = RECORDS.replace("    weight: float = 1.0\n", f"    weight: float = 1.0\n\n    {method}\n")
    result = cure("slot-records", text, python="3.10")
    assert isinstance(result, Refusal)
    assert reason in result.reason
