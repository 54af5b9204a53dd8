"""Random writes: shards do what one server does, step by step, and hold its rows afterwards.

``make differential`` runs many more. That each of some faults would be seen is looked at, too.
"""

from __future__ import annotations

import os

import pytest

from greenshard.executor.answers.answer import Answer
from greenshard.executor.strategies import insert
from greenshard.planner.strategies import completing
from tests.differential import budget, databases
from tests.differential.dml import blocks
from tests.differential.report import Tally

SEED = os.environ["GREENSHARD_SEED"]
STATEMENTS = int(os.environ.get("GREENSHARD_STATEMENTS") or 1200) // 2
#: Within so many statements a fault is found.
ENOUGH = 3000


@pytest.fixture(scope="module")
def server():
    with databases.server() as shards:
        yield shards


def test_shards_write_as_one_server(server):
    tally = Tally()
    with blocks.players(server, SEED) as players:
        for case in blocks.cases(players, SEED, STATEMENTS):
            tally.add(case)
            assert case.verdicts[0].outcome != "wrong", blocks.told(case)
    excesses = [*budget.excesses(tally.refusals, tally.total, blocks.REFUSED, new=1)]
    assert not excesses, "\n".join([*excesses, *tally.lines()])


def _to_the_next_shard(*args, homes_of=insert.homes_of):
    names = args[1]
    return [names[(names.index(home) + 1) % len(names)] for home in homes_of(*args) if home]


@pytest.mark.parametrize(
    ("where", "what", "fault", "seen"),
    [
        (insert, "homes_of", _to_the_next_shard, "and belongs on"),
        (completing, "varies", lambda _: False, "the copies of"),
        (Answer, "of_first", lambda answer: answer, "count: "),
        (Answer, "weave", lambda *_: None, "order: "),
    ],
    ids=["row on the wrong shard", "default of each shard", "counted on each", "order of shards"],
)
def test_a_fault_is_found(server, monkeypatch, where, what, fault, seen):
    with blocks.players(server, SEED) as players:
        monkeypatch.setattr(where, what, fault)
        for case in blocks.cases(players[-1:], SEED, ENOUGH):
            if case.verdicts[0].outcome == "wrong" and seen in case.verdicts[0].reason:
                return
    pytest.fail("nothing was found")
