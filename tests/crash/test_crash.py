"""The short form of ``make crash``: some cases, others each time, and what the judge must find.

``GREENSHARD_SEED`` sets the seed, which is printed with a failure.
"""

from __future__ import annotations

import os
import random
from contextlib import closing

import pytest

from tests.crash.bank import Bank
from tests.crash.runs import Case, Runs
from tests.crash.scene import Scene

SEED = os.environ["GREENSHARD_SEED"]
PAIR, TRIPLE = ("s0", "s1"), ("s0", "s1", "s2")
#: So many of all cases.
TRIED, STRUCK, RANDOM = 10, 10, 10
KILLS = 5


@pytest.fixture(scope="module")
def scene():
    with closing(Scene(3, two_phase=True)) as scene:
        yield scene


@pytest.fixture(scope="module")
def runs(scene):
    return Runs(scene)


@pytest.fixture
def chance():
    return random.Random(SEED)


def wrong(runs, cases):
    """What is wrong in some cases."""
    found = {str(case): runs.run(case) for case in cases}
    return {case: what for case, what in found.items() if what}


def test_whoever_commits_may_die_at_any_moment(runs, chance):
    cases = list(runs.every_kill(PAIR))
    assert len(cases) > 20
    cases += chance.sample(list(runs.every_kill(TRIPLE)), TRIED)
    assert wrong(runs, cases) == {}
    assert not runs.tally["did not come about"], runs.tally


def test_any_message_may_be_lost_and_any_server_die(runs, chance):
    # Always: a decision must outlive its server.
    cases = [Case.read("s0+s1//method/commit:s0:answered/kill-server/pass/once")]
    cases += chance.sample(list(runs.every_strike(PAIR)), STRUCK)
    cases += chance.sample(list(runs.every_strike(TRIPLE)), STRUCK)
    assert wrong(runs, cases) == {}


def test_random_transactions_and_faults(runs, chance):
    assert wrong(runs, [runs.random_case(chance) for _ in range(RANDOM)]) == {}


def test_money_is_not_made_nor_lost_where_tellers_are_killed(scene, chance):
    bank = Bank(scene)
    assert bank.run(KILLS, chance) == []


# What the judge must find ---------------------------------------------------------------------


def test_commit_shard_by_shard_is_found_half_applied(scene, monkeypatch):
    monkeypatch.setattr(scene, "options", {"two_phase": False})
    case = Case(PAIR, points=(("commit", "s0", "sent"), ("commit", "s1", "told")))
    assert "half applied" in Runs(scene).run(case)


@pytest.mark.parametrize(
    ("fault", "case"),
    [
        ("rolls back", "s0+s1//method/commit prepared:s1:sent/kill/cut/once"),
        # Its COMMIT is still on the way when recovery looks for the decision.
        ("only looks", "s0+s1//method/commit:s0:sent/kill/late/once"),
    ],
)
def test_wrong_recovery_is_found(scene, monkeypatch, fault, case):
    monkeypatch.setattr(scene, "fault", fault)
    assert "half applied" in Runs(scene).run(Case.read(case))
