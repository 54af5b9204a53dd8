"""What servers do beside a statement, on shards as on one server: see `kinds`."""

from __future__ import annotations

import os

import pytest

from tests.differential import budget, databases, play, report, stage
from tests.differential.kinds import kinds
from tests.differential.report import Tally

SEED = os.environ["GREENSHARD_SEED"]
STATEMENTS = int(os.environ.get("GREENSHARD_STATEMENTS") or 1200) // 20
ENOUGH = 50


@pytest.fixture(scope="module")
def server():
    with databases.server() as shards:
        yield shards


@pytest.fixture(scope="module")
def made(server):
    return stage.make(server, "UTF8", SEED)


@pytest.mark.parametrize("name", kinds())
def test_shards_do_as_one_server(made, name):
    compare(made, name)


def test_shards_place_letters_as_their_encoding_writes_them(server):
    compare(stage.make(server, "LATIN1", SEED), "texts")


def compare(made, name):
    kind = kinds()[name]
    with stage.opened(made, kind) as (one, conn):
        player = play.Player(made, kind, one, conn)
        tally = Tally()
        for case in player.cases(f"{SEED}/{made.encoding}", STATEMENTS):
            tally.add(case)
            assert case.verdicts[0].outcome != "wrong", report.told(case, player.referee)
    # Of a few statements, half may be refused by chance.
    if tally.total < ENOUGH:
        return
    excesses = [*budget.excesses(tally.refusals, tally.total, kind.refused, new=1)]
    assert not excesses, "\n".join([*excesses, *tally.lines()])
