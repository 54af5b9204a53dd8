"""Random statements: shards give what one server with every row gives.

``GREENSHARD_SEED`` sets the seed, ``GREENSHARD_STATEMENTS`` how many; both are printed with a
failure. ``make differential`` runs many more. Where the server has no ICU, ``words`` is a locale
of the C library.
"""

from __future__ import annotations

import os
from collections import Counter

import psycopg2
import pytest
from psycopg2 import extras

from tests.differential import databases, golden, report, writes
from tests.differential.referee import Referee, referee

SEED = os.environ["GREENSHARD_SEED"]
STATEMENTS = int(os.environ.get("GREENSHARD_STATEMENTS") or 200)
CHECKED = 400
BLOCKS = 6
#: Of so few statements a few more may be refused than of many.
REFUSED_SHARE = 0.03


@pytest.fixture(scope="module")
def server():
    with databases.server() as shards:
        yield shards


@pytest.fixture(scope="module", params=databases.COLLATIONS)
def made(server, request):
    try:
        return databases.make(server, request.param, SEED)
    except databases.NoCollationError as why:
        pytest.skip(str(why))


@pytest.fixture(scope="module")
def judge(made):
    with referee(made, SEED, databases.SHARD_COUNTS) as opened:
        yield opened


def test_statements_have_one_answer_only(made):
    """Of the generator: with its rows in another order and other plans, a server says the same."""
    extras.register_uuid()
    one, other = psycopg2.connect(made.one), psycopg2.connect(made.other)
    try:
        alike = Referee(SEED, one, {0: other}, made.types)
        for number in range(CHECKED):
            case = alike.case(number)
            assert case.verdicts[0].outcome != "wrong", report.told(case)
            alike.rollback()
    finally:
        one.close()
        other.close()


def test_shards_answer_as_one_server(judge):
    outcomes = Counter()
    for number in range(STATEMENTS):
        case = judge.case(number)
        for verdict in case.verdicts:
            outcomes[verdict.outcome] += 1
            assert verdict.outcome != "wrong", report.told(case, judge)
        if number % 20 == 0:
            judge.rollback()
    judge.rollback()
    assert outcomes["refused"] <= REFUSED_SHARE * outcomes.total(), outcomes


@pytest.mark.parametrize("finding", golden.findings(), ids=lambda finding: finding.title)
def test_past_findings_stay_right(judge, finding):
    case = judge.judge(finding.title, finding.statement)
    judge.rollback()
    assert not case.expected.error or finding.statement.risky, case.expected.error
    for verdict in case.verdicts:
        assert verdict.outcome != "wrong", report.told(case, judge)


@pytest.mark.parametrize("count", databases.SHARD_COUNTS)
def test_own_writes_are_seen(judge, count):
    for number in range(BLOCKS):
        for case in writes.block(judge, count, f"{SEED}/writes/{number}"):
            for verdict in case.verdicts:
                assert verdict.outcome != "wrong", report.told(case, judge)
