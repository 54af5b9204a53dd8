"""Random statements: shards give what one server with every row gives.

``GREENSHARD_SEED`` sets the seed, ``GREENSHARD_STATEMENTS`` how many; both are printed with a
failure. ``make differential`` runs many more. The tests are run for each collation, by a module
of its own, so that they run side by side.
"""

from __future__ import annotations

import os

import psycopg2
import pytest
from psycopg2 import extras

from tests.differential import answers, budget, databases, golden, report, schema, writes
from tests.differential.referee import Referee, referee
from tests.differential.report import Tally

SEED = os.environ["GREENSHARD_SEED"]
STATEMENTS = int(os.environ.get("GREENSHARD_STATEMENTS") or 1200)
CHECKED = min(400, STATEMENTS)
BLOCKS = 6
#: What decides how values are written, where names are looked for, and which rows are seen.
SETTINGS = [
    f"role = {schema.READER}",
    "DateStyle = 'German'; SET TimeZone = 'Asia/Kolkata'",
    "DateStyle = 'SQL, DMY'; SET search_path = public, pg_temp",
    "extra_float_digits = 0; SET bytea_output = 'escape'",
    "extra_float_digits = -14; SET enable_sort = off",
]
SET_STATEMENTS = min(60, STATEMENTS // 5)


class Agreement:
    """The tests of one collation.

    Attributes:
        collation: One of `databases.COLLATIONS`; the fixtures look at it.
    """

    collation: str

    def test_statements_have_one_answer_only(self, made):
        """Of the generator: with rows in another order and other plans, a server says the same."""
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

    def test_shards_answer_as_one_server(self, judge):
        tally = Tally()
        for number in range(STATEMENTS):
            case = judge.case(number, everywhere=False)
            tally.add(case)
            assert case.verdicts[0].outcome != "wrong", report.told(case, judge)
            if number % 20 == 0:
                judge.rollback()
        judge.rollback()
        excesses = [*budget.excesses(tally.refusals, tally.total, new=1)]
        assert not excesses, "\n".join([*excesses, *tally.lines()])

    @pytest.mark.parametrize("finding", golden.findings(), ids=lambda finding: finding.title)
    def test_past_findings_stay_right(self, judge, finding):
        case = judge.judge(finding.title, finding.statement)
        judge.rollback()
        assert not case.expected.error or finding.statement.risky, case.expected.error
        for verdict in case.verdicts:
            assert verdict.outcome != "wrong", report.told(case, judge)

    @pytest.mark.parametrize("setting", SETTINGS)
    def test_settings_of_the_session_hold(self, made, judge, setting):
        four = max(judge.clusters)
        with referee(made, SEED, [four]) as apart:
            for conn in (apart.one, apart.clusters[four]):
                answers.read_as_text(conn)
                with conn.cursor() as cur:
                    for each in setting.split("; SET "):
                        cur.execute(f"SET {each}")
                conn.commit()
            for number in range(SET_STATEMENTS):
                case = apart.case(f"{setting}/{number}")
                assert case.verdicts[0].outcome != "wrong", report.told(case, apart)
                if number % 20 == 0:
                    apart.rollback()

    @pytest.mark.parametrize("count", databases.SHARD_COUNTS)
    def test_own_writes_are_seen(self, judge, count):
        for number in range(BLOCKS):
            for case in writes.block(judge, count, f"{SEED}/writes/{number}"):
                for verdict in case.verdicts:
                    assert verdict.outcome != "wrong", report.told(case, judge)
