"""What the coordinator runs in the place of a gather, and what it is not asked for."""

from __future__ import annotations

import pytest

from greenshard.cluster import Cluster
from greenshard.planner.explanation import explain
from greenshard.planner.plan import Combine, Elsewhere, Gather, Plan, Reading, Refusal
from greenshard.planner.planner import Planner
from tests.sampling import few
from tests.unit.planner import scene
from tests.unit.planner.plan_cases import plan_cases

DECLARED = scene.cluster()
CLUSTER = Cluster(
    {name: shard.primary for name, shard in DECLARED.shards.items()},
    DECLARED.tables,
    DECLARED.placement,
    coordinator="dbname=coordinator",
)
PLANNER = Planner(CLUSTER, scene.catalog())
MEDIAN = "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY o_custkey)"


def planned(sql: str) -> Plan:
    return PLANNER.plan(sql, False, scene.PATH)


def elsewhere(sql: str) -> Elsewhere | Refusal:
    step = planned(sql).step
    assert isinstance(step, Gather)
    assert step.elsewhere is not None
    return step.elsewhere


def test_tables_have_their_schemas_and_keep_their_names() -> None:
    found = elsewhere(f"{MEDIAN} FROM orders JOIN archive.kind k ON orders.o_custkey = 1")
    assert isinstance(found, Elsewhere)
    assert found.sql.text == (
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY o_custkey) FROM public.orders orders "
        "JOIN archive.kind k ON orders.o_custkey = 1"
    )
    assert found.tables == (("archive", "kind"), ("public", "orders"))
    assert Reading(("public", "orders"), ("o_custkey",)) in found.rights


def test_conditions_that_the_gather_spares_are_said() -> None:
    found = elsewhere(f"{MEDIAN} FROM orders WHERE o_comment <> 'a'")
    assert isinstance(found, Elsewhere)
    assert "WHERE o_comment <> 'a'" in found.sql.text
    assert Reading(("public", "orders"), ("o_custkey", "o_comment")) in found.rights


def test_views_are_their_queries() -> None:
    found = elsewhere("SELECT count(*) FROM big_orders a JOIN big_orders b USING (o_custkey)")
    assert isinstance(found, Elsewhere)
    assert found.sql.text.count("FROM public.orders orders") == 2
    assert found.tables == (("public", "orders"),)
    assert Reading(("public", "big_orders")) in found.rights


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        (f"{MEDIAN} FROM ONLY orders", "ONLY would leave out"),
        (f"{MEDIAN}, current_user FROM orders", "CURRENT_USER is another"),
        (f"{MEDIAN}, session_user FROM orders", "SESSION_USER is another"),
        (f"{MEDIAN}, current_schema FROM orders", "CURRENT_SCHEMA looks"),
        (f"{MEDIAN}, current_schemas(true) FROM orders", "current_schemas() looks"),
        (f"{MEDIAN}, current_setting('work_mem') FROM orders", "current_setting() is another"),
        (f"{MEDIAN}, 'orders'::regclass::text FROM orders", "regclass looks a name up"),
        (f"{MEDIAN}, to_regtype('x')::text FROM orders", "to_regtype() looks"),
        (f"{MEDIAN}, pg_typeof(1)::text FROM orders", "pg_typeof() looks"),
        ("SELECT lines(max(o_orderkey)) FROM orders", "lines() reads tables"),
    ],
)
def test_what_it_is_not_asked_for(sql: str, reason: str) -> None:
    found = elsewhere(sql)
    assert isinstance(found, Refusal)
    assert found.strategy == "coordinator"
    assert reason in found.reason


def test_a_combination_that_is_too_large_is_run_there_too() -> None:
    plan = planned("SELECT o_custkey, avg(o_totalprice) FROM orders GROUP BY 1")
    assert isinstance(plan.step, Combine)
    assert isinstance(plan.step.otherwise, Gather)
    assert isinstance(plan.step.otherwise.elsewhere, Elsewhere)
    assert "the coordinator runs:" in explain(plan, scene.SHARDS)


def test_a_plan_says_what_is_run_there_or_why_nothing_is() -> None:
    told = explain(planned(f"{MEDIAN} FROM orders"), scene.SHARDS).splitlines()
    assert told[-2:] == [
        "if more than gather_limit rows are needed, the coordinator runs:",
        f"    {MEDIAN} FROM public.orders orders",
    ]
    told = explain(planned(f"{MEDIAN}, session_user FROM orders"), scene.SHARDS).splitlines()
    assert told[-1] == ("the coordinator cannot run it instead: SESSION_USER is another one there")


def test_without_one_plans_are_as_they_were() -> None:
    """And with one, a plan says what is run there, and else the same."""
    without = scene.planner()
    for case in few([*plan_cases().values()], 100):
        plans = [
            each.plan(case.sql, case.has_parameters, scene.PATH) for each in (without, PLANNER)
        ]
        plain, more = (explain(plan, scene.SHARDS, case.given) for plan in plans)
        assert "coordinator" not in plain
        said = [line for line in more.splitlines() if line in plain.splitlines()]
        assert set(plain.splitlines()) <= set(said)
