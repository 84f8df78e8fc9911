"""Whom a call means that is made on a parameter: the class of what all callers pass for it."""

from __future__ import annotations

import pytest

from memlint.facts import FileFacts
from memlint.facts.summary import summarize
from memlint.project import Project
from memlint.source import Source

AGENT = """
class Agent:
    def learn(self, batch):
        self.seen.append(batch)
"""
TRAIN = """
def train(agent, steps):
    for step in range(100_000):
        loss = agent.learn(steps)
        loss.backward()
"""


def callers(code: str, function: str = "Agent.learn") -> list[tuple[str, bool]]:
    linked = project(code)
    return [(caller.function[1], caller.sure) for caller in linked.callers["a", function]]


def project(code: str) -> Project:
    return Project([summarize(FileFacts(Source("a.py", code.encode())))])


@pytest.mark.parametrize(
    "given",
    [
        "train(Agent(), 1)\n",
        "agent = Agent()\ntrain(agent, 1)\n",
        "def run():\n    train(agent=Agent(), steps=1)\n",
        "def run(one):\n    train(one, 1)\nrun(Agent())\n",
    ],
    ids=["made in place", "by a name", "by keyword", "by way of another parameter"],
)
def test_a_call_on_a_parameter_means_the_class_that_is_passed(given: str) -> None:
    assert callers(AGENT + TRAIN + given) == [("train", True)]


def test_an_attribute_that_the_constructor_is_given() -> None:
    code = """
class Trainer:
    def __init__(self, agent):
        self.agent = agent

    def step(self):
        self.agent.learn(1)

trainer = Trainer(Agent())
"""
    assert callers(AGENT + code) == [("Trainer.step", True)]


def test_the_entries_of_a_list_that_is_passed() -> None:
    code = "def every(agents):\n    for agent in agents:\n        agent.learn(1)\nevery([Agent(), Agent()])\n"
    assert callers(AGENT + code) == [("every", True)]


@pytest.mark.parametrize("given", ["train(load(), 1)\n", "", "train(Agent(), 1)\ntrain(load(), 1)\n"])
def test_where_not_all_that_is_passed_is_known_the_name_alone_decides_nothing(given: str) -> None:
    assert callers(AGENT + TRAIN + given) == [("train", False)]


def test_two_functions_that_pass_their_parameter_to_each_other() -> None:
    code = "def ping(a):\n    a.learn(1)\n    pong(a)\ndef pong(b):\n    ping(b)\n"
    assert callers(AGENT + code) == [("ping", False)]


def test_what_is_passed_repeats_only_if_it_outlives_the_function_that_made_it() -> None:
    once = project(AGENT + TRAIN + "train(Agent(), 1)\n")
    assert ("a", "Agent.learn") in once.per_step
    each_time = project(AGENT + TRAIN + "def episode():\n    agent = Agent()\n    train(agent, 1)\n")
    assert ("a", "Agent.learn") not in each_time.per_step
