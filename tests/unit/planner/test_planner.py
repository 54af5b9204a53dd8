"""The planner: its cache, its threads, and what it never does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenshard import errors
from greenshard.cluster import Cluster
from greenshard.planner.catalog import Catalog, Relation
from greenshard.planner.explanation import explain
from greenshard.planner.plan import (
    Anywhere,
    Combine,
    Constant,
    Gather,
    Plan,
    Reduction,
    Refused,
    Slice,
    SortKey,
)
from greenshard.planner.planner import CACHED_PLANS, Planner
from greenshard.planner.refusals import refusal_error
from greenshard.sql.text import Sql
from tests.differential.statements import statement
from tests.unit.planner import scene


def planned(sql: str, has_parameters: bool = False) -> Plan:
    return scene.planner().plan(sql, has_parameters, scene.PATH)


def test_a_plan_is_made_once() -> None:
    planner = scene.planner()
    first = planner.plan("SELECT 1", False, scene.PATH)
    assert planner.plan("SELECT 1", False, scene.PATH) is first
    assert planner.plan.cache_info().misses == 1


def test_a_plan_is_that_of_the_path_and_of_having_parameters() -> None:
    planner = scene.planner()
    ours = planner.plan("SELECT count(*) FROM orders", False, ("pg_catalog", "public"))
    theirs = planner.plan("SELECT count(*) FROM orders", False, ("pg_catalog", "archive"))
    assert (ours.tables, theirs.tables) == (("public.orders",), ("archive.orders",))
    planner.plan("SELECT count(*) FROM orders", True, ("pg_catalog", "public"))
    assert planner.plan.cache_info().misses == 3


def test_the_cache_is_bounded() -> None:
    planner = scene.planner()
    for number in range(CACHED_PLANS + 5):
        planner.plan(f"SELECT {number}", False, scene.PATH)
    assert planner.plan.cache_info().currsize == CACHED_PLANS


def test_a_materialized_view_of_reference_tables_is_the_first_shard_s() -> None:
    catalog = scene.catalog()
    columns = catalog.relations["public", "nation"].columns[:2]
    definition = "SELECT n_nationkey, n_name FROM public.nation"
    view = Relation("public", "nations", "m", columns, (), definition)
    known = {**catalog.relations, ("public", "nations"): view}
    planner = Planner(scene.cluster(), replace(catalog, relations=known))
    text = "SELECT * FROM nations"
    assert planner.plan(text, False, scene.PATH).step == Anywhere(Sql(text), first=True)
    text = "SELECT * FROM nation"
    assert planner.plan(text, False, scene.PATH).step == Anywhere(Sql(text))


def test_threads_share_a_planner() -> None:
    planner = scene.planner()
    texts = [statement(str(number)).text for number in range(40)] * 4

    def text_of_plan(sql: str) -> str:
        return explain(planner.plan(sql, True, scene.PATH), scene.SHARDS, verbose=True)

    alone = [text_of_plan(sql) for sql in texts]
    planner.plan.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(text_of_plan, texts)) == alone


@given(st.integers())
def test_any_statement_has_a_plan_that_is_the_same_each_time(seed: int) -> None:
    made = statement(str(seed))
    texts = {
        explain(planned(made.text, made.args is not None), scene.SHARDS, made.args, verbose=True)
        for _ in range(2)
    }
    assert len(texts) == 1


@given(st.text(max_size=30))
def test_any_text_has_a_plan(text: str) -> None:
    assert isinstance(planned(text), Plan)
    assert isinstance(planned(text, True), Plan)


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT {'abs(' * 600}sum(o_custkey){')' * 600} FROM orders",
        f"SELECT * FROM {'(SELECT * FROM ' * 300}orders{') x' * 300}",
        f"SELECT count(*) FROM orders WHERE {'NOT (' * 900}true{')' * 900}",
    ],
)
def test_a_statement_that_is_nested_deeply_is_planned_or_refused(sql: str) -> None:
    step = planned(sql).step
    if isinstance(step, Refused):
        assert "nested too deeply" in step.message
    else:
        assert not isinstance(step, Anywhere)


def refused(sql: str) -> errors.Error:
    plan = planned(sql)
    assert isinstance(plan.step, Refused)
    return refusal_error(plan.step, plan.refusals)


def test_a_refusal_is_an_error_with_its_place_and_hint() -> None:
    error = refused("SELECT ctid FROM orders")
    assert "at character 8" in str(error)
    assert error.hint == "Run it on one shard with conn.on('...')."
    assert error.pgcode is None
    assert refused("SELECT * FROM nowhere").pgcode == "42P01"


def test_a_refusal_of_all_strategies_has_each_one_s_reason() -> None:
    error = refused("SELECT count(*) FROM orders a, orders b FOR UPDATE")
    assert [refusal.strategy for refusal in error.refusals] == [
        "route", "reference", "concatenate", "merge", "combine", "gather",
    ]  # fmt: skip


def test_a_position_is_that_in_the_user_s_text() -> None:
    sql = "SELECT 'é%%', %(é)s, xmin FROM orders WHERE 'ü' = %(é)s"
    step = planned(sql, True).step
    assert isinstance(step, Refused)
    assert step.position == sql.index("xmin")


def test_a_view_s_problem_stands_where_the_view_is_named() -> None:
    sql = "SELECT * FROM nation, per_customer"
    refusal = next(each for each in planned(sql).refusals if each.strategy == "combine")
    assert refusal.position == sql.index("per_customer")


def test_a_declared_key_is_folded_as_sql_folds_it() -> None:
    cluster = scene.cluster()
    assert cluster.table("public", "Order Line") is not None
    assert planned('SELECT 1 FROM "Order Line" WHERE "Order Id" = 1').step.strategy == "route"


def test_a_declared_key_that_is_no_column_is_a_problem() -> None:
    tables = {"orders": type(scene.TABLES[0].declared)("no_such_column")}
    planner = Planner(Cluster({"s0": "dbname=a"}, tables), scene.catalog())
    step = planner.plan("SELECT * FROM orders", False, scene.PATH).step
    assert isinstance(step, Refused)
    assert "no column no_such_column" in step.message


def test_without_tables_nothing_but_the_server_s_own_is_known() -> None:
    planner = Planner(Cluster({"s0": "dbname=a"}), Catalog())
    assert isinstance(planner.plan("SELECT 1", False, scene.PATH).step, Anywhere)


def test_every_column_that_a_whole_row_may_show_is_gathered() -> None:
    step = planned("SELECT to_json(o) FROM orders o JOIN lineitem ON l_partkey = o_custkey").step
    assert isinstance(step, Gather)
    orders = next(table for table in step.tables if table.name == "orders")
    assert len(orders.columns) == 7
    assert orders.primary_key == ("o_orderkey",)


def test_distinct_rows_may_become_the_answer_in_python() -> None:
    sql = (
        "SELECT DISTINCT o_custkey AS c, o_orderdate FROM orders ORDER BY o_orderdate DESC LIMIT 5"
    )
    step = planned(sql).step
    assert isinstance(step, Combine)
    assert step.reduction == Reduction(
        (0, 1),
        (("key", 0), ("key", 1)),
        ("c", "o_orderdate"),
        (SortKey(1, descending=True, nulls_first=True),),
        Slice(Constant(5)),
    )
    computed = planned("SELECT DISTINCT o_custkey FROM orders LIMIT 2 + 3").step
    assert not isinstance(computed, Combine) or computed.reduction is None
