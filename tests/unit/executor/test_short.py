"""When a statement goes the short way; at the first doubt it does not."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace

import pytest
from psycopg2.extensions import AsIs

from greenshard import errors
from greenshard.executor.short import run_short, short_way, sure_plan
from greenshard.links.quoting import check_usual
from greenshard.planner.code import Trace
from greenshard.sql.statement import MAX_CACHED_CHARACTERS
from greenshard.sql.text import Sql
from tests.unit.links.reporting import CONFORMING, reporting_session
from tests.unit.planner import scene

PLANNER = scene.planner()
BY_KEY = "SELECT * FROM orders WHERE o_orderkey = %s"


def planned(sql=BY_KEY, **changes):
    return replace(PLANNER.plan(sql, True, scene.PATH), **changes)


PLAN = planned()


class FakeDatabase:
    """Knows all that it is asked for."""

    def __init__(self):
        self.cluster = SimpleNamespace(names=scene.SHARDS)
        self.bearings = SimpleNamespace(are_plans=lambda shards: True)
        self.mistrusted = 0
        self.altering = False

    def may_alter(self, given):
        return self.altering

    def sure_plan(self, text, has_parameters):
        return text, has_parameters

    def mistrust(self):
        self.mistrusted += 1


class FakeSession:
    """A peer of `Session` that opens connections when they are first needed."""

    def __init__(self, raw):
        self.physicals = {}
        self.there = {
            shard: SimpleNamespace(shard=shard, raw=raw, alive=True, late=None)
            for shard in scene.SHARDS
        }
        self.error = None

    def reach(self, shards, timeout):
        self.reached = shards, timeout
        self.physicals = self.there

    def run_one(self, physical, call, timeout, *, writes):
        self.ran = physical, timeout, writes
        if self.error is not None:
            raise self.error
        return SimpleNamespace(result=call(), seconds=1.5)


@pytest.fixture(scope="module")
def raws():
    with reporting_session() as usual, reporting_session({CONFORMING: b"off"}) as other:
        yield usual, other


@pytest.fixture
def database():
    return FakeDatabase()


@pytest.fixture
def session(raws):
    session = FakeSession(raws[0])
    check_usual(session.there.values())
    return session


@pytest.mark.parametrize("given", [None, (), (1, "a", None), {"a": 1}])
def test_plain_statement_with_values_has_a_plan_that_is_sure(database, given):
    assert sure_plan(database, BY_KEY, given) == (BY_KEY, given is not None)


@pytest.mark.parametrize(
    ("text", "given"),
    [("SELECT 'é'", None), ("SELECT '\\'", (1,)), (BY_KEY, (AsIs("1"),)), (BY_KEY, ([1],))],
)
def test_what_might_be_read_otherwise_has_none(database, text, given):
    assert sure_plan(database, text, given) is None


def test_one_key_leads_to_its_shard(database, session):
    ways = {key: short_way(PLAN, database, session, (key,), 5.0) for key in range(20)}
    assert session.reached[1] == 5.0
    assert {physical.shard for _, physical in ways.values()} == set(scene.SHARDS)
    assert {sql for sql, _ in ways.values()} == {Sql(BY_KEY)}


def test_only_the_shard_of_the_key_is_reached_and_looked_at(database, session):
    (shard,), _ = (short_way(PLAN, database, session, (7,), None), session.reached)[1]
    asked = []
    database.bearings.are_plans = lambda shards: asked.append(set(shards)) or True
    for other, physical in session.there.items():
        physical.alive = other == shard
    assert short_way(PLAN, database, session, (7,), None) is not None
    assert asked == [{shard}]


@pytest.mark.parametrize(
    "plan",
    [
        planned("SELECT * FROM orders"),
        planned(step=PLAN.step.otherwise),
        planned(step=replace(PLAN.step, sql=Sql(BY_KEY, ()))),
        planned(trace=Trace.ANYTHING),
        planned(trace=Trace.CODE),
        planned(policies=("any",)),
    ],
)
def test_plan_that_needs_more_than_its_text_sent_goes_the_general_way(database, session, plan):
    assert short_way(plan, database, session, (7,), None) is None


def test_letters_that_may_arrive_as_others_are_no_certain_key_where_it_is_a_text(database, session):
    text = planned("SELECT * FROM account WHERE email = %s")
    assert short_way(text, database, session, ("a",), None) is not None
    database.altering = True
    assert short_way(text, database, session, ("a",), None) is None
    assert short_way(PLAN, database, session, (7,), None) is not None


def test_what_only_counts_in_its_session_may_go_the_short_way(database, session):
    assert short_way(planned(trace=Trace.COUNT), database, session, (7,), None) is not None


@pytest.mark.parametrize("given", [(), {}, None, (None,), (Decimal(7),), ([1, 2],)])
def test_parameters_that_are_no_certain_key_go_the_general_way(database, session, given):
    assert short_way(PLAN, database, session, given, None) is None


def test_keys_of_several_shards_go_the_general_way(database, session):
    plan = planned("SELECT * FROM orders WHERE o_orderkey IN (%s, %s)")
    ways = [short_way(plan, database, session, (0, key), None) for key in range(20)]
    assert None in ways
    assert {way[1].shard for way in ways if way} == {ways[0][1].shard}


@pytest.mark.parametrize("trouble", ["missing", "late", "dead", "bearings", "quoting"])
def test_session_about_which_something_is_in_doubt(database, session, raws, trouble):
    if trouble == "missing":
        session.there = {}
    elif trouble == "bearings":
        database.bearings.are_plans = lambda shards: False
    for physical in session.there.values():
        physical.late = object() if trouble == "late" else None
        physical.alive = trouble != "dead"
        physical.raw = raws[1] if trouble == "quoting" else physical.raw
    assert short_way(PLAN, database, session, (7,), None) is None


class FakeParts:
    def ready_one(self, physical, timeout):
        self.readied = physical, timeout
        self.sent = []
        return SimpleNamespace(name=None, rowcount=2, execute=lambda *sent: self.sent.append(sent))


@pytest.mark.parametrize("given", [None, (7,)])
@pytest.mark.parametrize("reads", [True, False])
def test_text_and_parameters_are_sent_and_the_rows_are_that_shards(database, session, given, reads):
    physical = session.there["s2"]
    physical.begun = True
    parts = FakeParts()
    way = Sql(BY_KEY), physical
    answer = run_short(way, planned(reads=reads), database, session, parts, given, 5.0)
    assert parts.sent == [(BY_KEY,) if given is None else (BY_KEY, given)]
    assert parts.readied == (physical, 5.0)
    assert session.ran == (physical, 5.0, not reads)
    assert (answer.rowcount, answer.timings["s2"].total_s) == (2, 1.5)


@pytest.mark.parametrize(("pgcode", "times"), [("42P01", 1), ("22012", 0), (None, 0)])
def test_name_that_the_server_does_not_know_lets_the_catalog_be_read_anew(
    database, session, pgcode, times
):
    physical = session.there["s2"]
    physical.begun = True
    session.error = errors.refused("failed", pgcode=pgcode)
    with pytest.raises(errors.Error, match="failed"):
        run_short((Sql(BY_KEY), physical), PLAN, database, session, FakeParts(), None, None)
    assert database.mistrusted == times


def test_of_a_long_text_no_plan_is_sure():
    database = SimpleNamespace(sure_plan=lambda text, has_parameters: (text, has_parameters))
    text = f"SELECT '{'a' * (MAX_CACHED_CHARACTERS - 9)}'"
    assert len(text) == MAX_CACHED_CHARACTERS
    assert sure_plan(database, text, None) == (text, False)
    assert sure_plan(database, text + " ", None) is None
