"""Where a write goes, and which ones are refused; the golden plans show their texts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from greenshard.planner.binding.binder import Binder
from greenshard.planner.catalog import Column, Relation
from greenshard.planner.plan import (
    Broadcast,
    Constant,
    Copies,
    Insert,
    Mirror,
    Parameter,
    Refused,
    Routed,
    Scatter,
    Transfer,
)
from greenshard.planner.planner import Planner
from greenshard.planner.strategies.write import as_select, assignments
from greenshard.sql.parser import parse
from greenshard.sql.placeholders import translate
from greenshard.sql.text import Computed
from tests.unit.planner import scene

PLANNER = scene.planner()
NATION = "(n_nationkey, n_name, n_regionkey, n_comment)"
INTO_NATION = f"INSERT INTO nation {NATION} VALUES (1, 'a', 2, 'b')"
SEVERAL = "random() may choose otherwise"


def step_of(sql: str, *, has_parameters: bool = False) -> Any:
    return PLANNER.plan(sql, has_parameters, scene.PATH).step


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("DELETE FROM orders WHERE o_comment = (SELECT l.ctid::text FROM lineitem AS l)",
         "a system column has values of its own"),
        ("DELETE FROM orders WHERE o_custkey IN (SELECT l_partkey FROM lineitem FOR UPDATE)",
         "rows are locked in a subquery"),
        ("UPDATE orders SET o_comment = pg_typeof(l) FROM lineitem l WHERE l_partkey = o_orderkey",
         "a whole row would be of another type"),
        (("DELETE FROM orders WHERE o_custkey IN (SELECT l_partkey FROM lineitem TABLESAMPLE"
          " system (1) WHERE l_orderkey <> o_orderkey)"), "TABLESAMPLE"),
        ("UPDATE route SET start = o_custkey FROM orders WHERE o_custkey = stop",
         "a row may match several, and each shard take another one of them, and the primary key"),
        (("INSERT INTO orders (o_orderkey) VALUES (1) ON CONFLICT (o_orderkey)"
          " DO UPDATE SET o_comment = (SELECT max(l_comment) FROM lineitem WHERE l_orderkey <> 1"
          " AND l_partkey = excluded.o_custkey)"), "an INSERT reads a sharded table"),
        (INTO_NATION + " ON CONFLICT (n_nationkey) DO UPDATE SET n_nationkey = random()", SEVERAL),
        (INTO_NATION + " ON CONFLICT (n_nationkey) DO UPDATE SET n_nationkey = DEFAULT",
         "would get a default from each shard"),
        ("UPDATE nation SET n_nationkey = DEFAULT",
         "would get a default from each shard, and the primary key of nation is changed"),
        (("INSERT INTO orders (o_orderkey) VALUES (1) ON CONFLICT (o_orderkey)"
          " DO UPDATE SET o_orderkey = 8"), "the shard key o_orderkey is changed"),
        ("UPDATE nation SET n_nationkey = r_regionkey FROM region", "a row may match several"),
        ("UPDATE nation SET n_nationkey = random()", SEVERAL),
        ("UPDATE orders SET o_custkey = rank() OVER ()", "a window has rows of several shards"),
    ],
)  # fmt: skip
def test_a_write_that_could_differ_from_shard_to_shard_is_refused(sql: str, reason: str) -> None:
    step = step_of(sql)
    assert isinstance(step, Refused)
    assert step.code == "GS412"
    assert step.hint
    assert reason in step.message


@pytest.mark.parametrize(
    "sql",
    [
        INTO_NATION,
        "DELETE FROM nation WHERE n_nationkey = 1",
        "UPDATE nation SET n_name = n_name || %s WHERE n_nationkey = %s AND n_regionkey > 2",
    ],
)
def test_a_reference_table_is_written_everywhere_and_counted_once(sql: str) -> None:
    step = step_of(sql, has_parameters="%s" in sql)
    assert isinstance(step, Broadcast)
    assert (step.answer_of_one, step.first_alone) == (True, True)
    assert step.copies == Copies("nation")


@pytest.mark.parametrize(
    ("sql", "locked"),
    [
        ("UPDATE nation SET n_name = 'x'", ""),
        ("UPDATE nation SET n_name = 'x' WHERE n_nationkey > 1", ""),
        ("UPDATE nation SET n_name = 'x' WHERE n_nationkey = n_regionkey", ""),
        ("UPDATE nation SET n_name = r_name FROM region WHERE r_regionkey = 1", "region"),
        ("UPDATE nation SET n_name = (SELECT min(r_name) FROM region) WHERE n_nationkey = 1",
         "region"),
        ("DELETE FROM nation USING region", "region"),
    ],
)  # fmt: skip
def test_rows_of_a_reference_table_are_found_on_the_first_shard(sql: str, locked: str) -> None:
    step = step_of(sql)
    assert isinstance(step, Mirror)
    assert step.otherwise is not None
    assert step.otherwise.copies is not None
    lock = step.otherwise.copies.lock
    assert lock is not None
    assert lock.text.startswith('LOCK TABLE "public"."nation" IN SHARE ROW EXCLUSIVE MODE')
    assert lock.text.endswith(f'LOCK TABLE "public"."{locked}" IN SHARE MODE' if locked else "E")


def test_an_aggregate_in_set_is_the_server_s_error() -> None:
    assert isinstance(step_of("UPDATE orders SET o_custkey = count(*)"), Scatter)
    assert isinstance(step_of("UPDATE orders SET o_custkey = 1 WHERE o_orderkey = 7"), Routed)


@pytest.mark.parametrize(
    ("sql", "has_parameters", "values"),
    [
        ("INSERT INTO orders (o_orderkey) VALUES (7), (8)", False, (Constant(7), Constant(8))),
        ("INSERT INTO orders (o_custkey, o_orderkey) VALUES (1, 7)", False, (Constant(7),)),
        ("INSERT INTO orders (o_orderkey) VALUES (%s)", True, (Parameter(0),)),
        ("INSERT INTO orders (o_custkey, o_orderkey) VALUES (%s, %s)", True, (Parameter(1),)),
        (("INSERT INTO orders (o_custkey, o_orderkey) VALUES %s ON CONFLICT (o_orderkey)"
          " DO UPDATE SET o_comment = %s"), True, (Parameter(0, item=1),)),
        ("INSERT INTO orders VALUES (7, DEFAULT)", False, (Constant(7),)),
    ],
)  # fmt: skip
def test_rows_are_inserted_by_their_keys(sql: str, has_parameters: bool, values: Any) -> None:
    step = step_of(sql, has_parameters=has_parameters)
    assert isinstance(step, Routed)
    (pin,) = step.pins
    assert pin.values == values
    assert pin.inserts


@pytest.mark.parametrize(
    ("sql", "in_turn"),
    [
        ("INSERT INTO visit (day) SELECT o_orderdate FROM orders", False),
        ("INSERT INTO visit (day) SELECT o_orderdate FROM orders ON CONFLICT DO NOTHING", True),
        ("INSERT INTO nation (n_nationkey) SELECT o_custkey FROM orders", True),
    ],
)
def test_rows_that_travel_and_may_lock_others_are_written_on_one_shard_first(
    sql: str, in_turn: bool
) -> None:
    step = step_of(sql)
    assert isinstance(step, Transfer)
    assert step.in_turn is in_turn


def assigned(sql: str) -> list[tuple[str, str, int | None]]:
    """Column, kind of value and item of each value that a statement assigns."""
    (statement,) = parse(translate(sql, True).text)
    kind = statement.stmt.WhichOneof("node")
    inner = getattr(statement.stmt, kind)
    binder = Binder(scene.cluster(), scene.catalog(), scene.PATH)
    query = binder.bind(as_select(kind, inner))
    return [
        (each.column.name, each.value.WhichOneof("node"), each.item)
        for each in assignments(query, inner)
    ]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("INSERT INTO moment VALUES ('today', lower('a'))",
         [("at", "a_const", None), ("what", "func_call", None)]),
        ("INSERT INTO moment (what, at) VALUES ('a', now()), (%s, %s)",
         [("what", "a_const", None), ("at", "func_call", None),
          ("what", "param_ref", None), ("at", "param_ref", None)]),
        ("INSERT INTO moment VALUES ('today')", [("at", "a_const", None)]),
        ("INSERT INTO moment (at) VALUES (%s)", [("at", "param_ref", None)]),
        ("INSERT INTO moment (what, at) VALUES %s",
         [("what", "param_ref", 0), ("at", "param_ref", 1)]),
        ("INSERT INTO moment (at, nothing) VALUES ('today', 1)", [("at", "a_const", None)]),
        (("INSERT INTO moment (at) VALUES ('today') ON CONFLICT (at)"
          " DO UPDATE SET what = lower('a')"),
         [("what", "func_call", None), ("at", "a_const", None)]),
        ("UPDATE moment SET at = 'today', nothing = 1", [("at", "a_const", None)]),
        ("UPDATE moment SET what[1] = 'today'", [("what", "a_const", None)]),
        ("DELETE FROM moment", []),
    ],
)  # fmt: skip
def test_which_values_are_assigned_to_which_columns(sql: str, expected: Any) -> None:
    assert assigned(sql) == expected


def test_what_is_written_to_a_view_is_assigned_to_no_column() -> None:
    assert assigned("UPDATE big_orders SET o_custkey = 1") == []


def test_a_key_and_a_time_with_the_same_default_get_values_of_their_own() -> None:
    catalog = scene.catalog()
    default = "now()"
    at = Column("at", "timestamptz", "timestamp with time zone", default=default)
    day = Column("day", "timestamptz", "timestamp with time zone", default=default)
    relation = Relation("public", "moment", "r", (at, day, Column("n", "int4", "integer")))
    known = {**catalog.relations, ("public", "moment"): relation}
    planner = Planner(scene.cluster(), replace(catalog, relations=known))
    step = planner.plan("INSERT INTO moment (n) VALUES (1), (2)", False, scene.PATH).step
    assert isinstance(step, Insert)
    assert step.keys is not None
    assert step.keys.values == (Computed(0), Computed(1))
    (sql,) = step.computing
    assert sql.text.count("AS now") == 1
    assert [row.text.count("%(now)s") for row in step.parts.rows] == [1, 1]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO ticket (id) VALUES (made_just_now(1))",
        "INSERT INTO orders (o_orderkey, o_custkey) SELECT o_orderkey, just_made(1) FROM orders",
    ],
)
def test_what_is_looked_at_in_parts_tells_of_functions_that_are_not_known(sql: str) -> None:
    assert PLANNER.plan(sql, False, scene.PATH).unknown
