"""An `=` of the user's own tells no shard, unless it cannot be the one that is meant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenshard.planner.code import Operator
from greenshard.planner.explanation import explain
from greenshard.planner.plan import Refused
from greenshard.planner.planner import Planner
from tests.unit.planner import scene

AFTER = ("pg_catalog", "public")
BEFORE = ("public", "pg_catalog")
KEYS = [
    "SELECT o_custkey FROM orders WHERE o_orderkey = 7",
    "SELECT o_custkey FROM orders WHERE o_orderkey IN (7)",
    "SELECT o_custkey FROM orders WHERE o_orderkey = ANY (ARRAY[7])",
    "SELECT o_custkey FROM orders NATURAL JOIN (SELECT 7 AS o_custkey) AS x WHERE o_orderkey = 7",
    "UPDATE orders SET o_comment = 'x' WHERE o_orderkey = 7",
    "DELETE FROM orders WHERE o_orderkey IN (7)",
]
JOINS = [
    "SELECT o_custkey FROM orders JOIN lineitem ON o_orderkey = l_orderkey",
    "SELECT o_custkey FROM orders, lineitem WHERE o_orderkey = l_orderkey",
    "SELECT o_custkey FROM orders LEFT JOIN lineitem ON o_orderkey = l_orderkey",
    "SELECT o_custkey FROM orders WHERE o_orderkey IN (SELECT l_orderkey FROM lineitem)",
    "SELECT 1 FROM orders WHERE EXISTS (SELECT FROM lineitem WHERE l_orderkey = o_orderkey)",
]
USING = [
    "SELECT a.o_custkey FROM orders a JOIN orders b USING (o_orderkey)",
    "SELECT a.o_custkey FROM orders a FULL JOIN orders b USING (o_orderkey)",
    "SELECT o_custkey FROM orders NATURAL JOIN (SELECT o_orderkey FROM orders) AS b",
]


def plan(sql: str, path: tuple[str, ...], *operators: Operator) -> str:
    catalog = replace(scene.catalog(), operators={"=": frozenset(operators)})
    planner = Planner(scene.cluster(), catalog)
    return explain(planner.plan(sql, False, path), scene.SHARDS)


def strategy(sql: str, path: tuple[str, ...], *operators: Operator) -> str:
    return plan(sql, path, *operators).partition("\n")[0]


PLANTED = Operator("public", takes_builtin=True, leaves=False)
OF_EXTENSION = Operator("public", takes_builtin=False, leaves=False)
ELSEWHERE = Operator("archive", takes_builtin=True, leaves=False)


@pytest.mark.parametrize("path", [AFTER, BEFORE])
@pytest.mark.parametrize("sql", KEYS)
def test_a_planted_equality_does_not_route(sql: str, path: tuple[str, ...]) -> None:
    assert strategy(sql, path) == "strategy: route"
    assert strategy(sql, path, PLANTED) != "strategy: route"


@pytest.mark.parametrize("sql", [*JOINS, *USING])
def test_a_planted_equality_joins_no_keys(sql: str) -> None:
    assert strategy(sql, AFTER) == "strategy: concatenate"
    assert strategy(sql, AFTER, PLANTED) == "strategy: gather"


@pytest.mark.parametrize("sql", [*KEYS[:3], *JOINS])
@pytest.mark.parametrize("operator", [OF_EXTENSION, ELSEWHERE])
def test_an_equality_that_cannot_be_meant_changes_nothing(sql: str, operator: Operator) -> None:
    assert plan(sql, AFTER, operator) == plan(sql, AFTER)


@pytest.mark.parametrize("sql", USING)
def test_using_may_be_that_of_a_view_made_with_another_path(sql: str) -> None:
    assert strategy(sql, AFTER, OF_EXTENSION) == "strategy: concatenate"
    assert strategy(sql, AFTER, ELSEWHERE) == "strategy: gather"


def test_an_equality_with_its_schema_is_what_it_says() -> None:
    sql = "SELECT o_custkey FROM orders WHERE o_orderkey OPERATOR({}.=) 7"
    assert strategy(sql.format("pg_catalog"), BEFORE, PLANTED) == "strategy: route"
    assert strategy(sql.format("public"), BEFORE, PLANTED) != "strategy: route"


def test_a_type_of_another_schema_is_not_postgresqls() -> None:
    sql = "SELECT o_custkey FROM orders WHERE o_orderkey = '7'::{}.int8"
    assert strategy(sql.format("pg_catalog"), AFTER) == "strategy: route"
    assert strategy(sql.format("public"), AFTER) != "strategy: route"


def test_a_refusal_tells_whose_equality_it_is() -> None:
    catalog = replace(scene.catalog(), operators={"=": frozenset([PLANTED])})
    sql = "DELETE FROM orders WHERE o_custkey IN (SELECT l_partkey FROM lineitem FOR UPDATE)"
    step = Planner(scene.cluster(), catalog).plan(sql, False, AFTER).step
    assert isinstance(step, Refused)
    assert "the = of schema public is not PostgreSQL's own" in step.message
