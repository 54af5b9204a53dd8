"""The statements of tests/golden/plans/ give over four shards what one PostgreSQL gives."""

from __future__ import annotations

import datetime as dt
import os
import uuid
from collections import Counter
from dataclasses import replace
from random import Random

import psycopg2
import pytest
from psycopg2 import extras

import greenshard
from greenshard.cluster import Sharded, TableName
from greenshard.executor.knowledge.catalog_queries import load_catalog
from greenshard.links.deadline import within
from greenshard.sql.deparsing import write
from greenshard.sql.nodes import add_target
from greenshard.sql.parser import parse
from greenshard.sql.placeholders import translate
from greenshard.sql.tree import names_of
from tests.differential.answers import answer, difference, shown
from tests.differential.draft import Statement
from tests.postgres.one_database.test_catalog import open_session
from tests.unit.planner import scene
from tests.unit.planner.plan_cases import plan_cases

SEED = os.environ["GREENSHARD_SEED"]
ROWS = {"orders": 60, "lineitem": 150, "nation": 9, "region": 4, "customer": 13}
FEW = 25
WORDS = ["", "a", "A", "b", "Zed", "é", "100%", "it's", "back\\slash", "x y", "late", "now"]
TEXTS = {"text", "varchar"}
#: Their answers differ from one run to the next.
BY_CHANCE = {
    "carried.txt: rows of which there is a choice",
    "carried.txt: rows that were to be a sample",
    "carried.txt: rows of a reference table are deleted by chance, one of two keys",
    "functions.txt: a choice by a frame of rows",
    "functions.txt: a choice by a frame of rows, in WINDOW",
    "functions.txt: a list over a window",
    "gather.txt: a choice among reference rows",
    "gather.txt: a choice among reference rows, in FROM",
    "gather.txt: a choice among the reference rows of a set operation",
    "gather.txt: the order of reference rows in an array",
    "gather.txt: the order of reference rows in an array, within a subquery",
    "now.txt: now() of nothing",
    "now.txt: now() on one shard",
    "now.txt: one shard tells its own",
    "now.txt: the time of the statement, which several shards do not tell alike",
    "reference.txt: a sequence is the first shard's",
}
#: psycopg2 raises an error of Python's.
NOT_SQL = {"parameters.txt: what psycopg2 refuses to format"}


def value(pick: Random, column: scene.Column) -> object:
    if pick.random() < 0.15:
        return None
    kind = column.type_name
    if kind in TEXTS:
        return pick.choice(WORDS)
    return VALUES[kind](pick)


VALUES = {
    "int4": lambda pick: pick.randint(0, 12),
    "int8": lambda pick: pick.randint(0, 12),
    "numeric": lambda pick: pick.choice(["1.00", "2.5", "10", "0", "-3.75", "999.99", "501"]),
    "float4": lambda pick: pick.choice([0.5, -2.0, 3.0, 0.0]),
    "float8": lambda pick: pick.choice([0.5, 1.25, -2.0, 0.0, 100.0]),
    "bpchar": lambda pick: pick.choice("OFP"),
    "date": lambda pick: dt.date(2024, 1, 1) + dt.timedelta(pick.randint(0, 40)),
    "timestamp": lambda pick: dt.datetime(2024, 1, 1) + dt.timedelta(hours=pick.randint(0, 3)),  # noqa: DTZ001
    "timestamptz": lambda pick: dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc),
    "uuid": lambda pick: uuid.UUID(int=pick.getrandbits(128)),
    "bytea": lambda pick: pick.randbytes(1),
    "bool": lambda pick: pick.random() < 0.5,
    "json": lambda pick: pick.choice(['{"a": 1}', "{}", '{"x": null}']),
    "jsonb": lambda pick: pick.choice(['{"a": 1, "b": [1, 2]}', "{}", '{"a": 2}']),
    "_text": lambda pick: pick.choice([["a", "b"], [], ["x", None]]),
}
#: Columns without NULL whose values are the number of the row, or refer to other tables.
NUMBERED = {"o_orderkey", "c_custkey", "n_nationkey", "r_regionkey", "l_linenumber", "Order Id"}
REFERRING = {"l_orderkey", "i_orderkey"}


def row(pick: Random, relation: scene.Relation, number: int) -> list[object]:
    made = []
    for column in relation.columns:
        if column.name in NUMBERED or (column.name == "id" and column.type_name == "int8"):
            made.append(number)
        elif column.name in REFERRING:
            made.append(pick.randint(1, 70))
        elif column.name in relation.primary_key and column.type_name in TEXTS:
            made.append(f"u{number}@x")
        elif column.name in relation.primary_key and column.type_name == "bytea":
            made.append(bytes([number]))
        elif column.name in relation.primary_key:
            made.append(VALUES[column.type_name](pick))
        else:
            made.append(value(pick, column))
    return made


def home(table: scene.Table, relation: scene.Relation, made: list[object]) -> str | None:
    """The shard of a row; None for every one."""
    if not isinstance(table.declared, Sharded):
        return None
    names = [column.name for column in relation.columns]
    at = names.index(table.declared.column)
    placement = scene.cluster().placement_of(table.declared)
    shard = placement.shards_for(made[at], relation.columns[at].type_name, scene.SHARDS)
    # An unknown placement is ours to choose; equal keys share a shard.
    return shard or scene.SHARDS[sum(str(made[at]).lower().encode()) % len(scene.SHARDS)]


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    """The connection strings of one database with all rows, and of the shards."""
    dsns = {name: greenshard_shards[0].dsn_of(f"gold_{name}") for name in ("one", *scene.SHARDS)}
    admin = psycopg2.connect(greenshard_shards[0].dsn)
    admin.autocommit = True
    with admin.cursor() as cur:
        for name in dsns:
            cur.execute(f"CREATE DATABASE gold_{name} TEMPLATE template0 LOCALE 'C'")
        cur.execute("SELECT count(*) > 0 FROM pg_collation WHERE collname = 'en-x-icu'")
        ((has_icu,),) = cur.fetchall()
    extras.register_uuid()
    catalog = scene.catalog().relations
    connections = {name: psycopg2.connect(dsn) for name, dsn in dsns.items()}
    for connection in connections.values():
        connection.cursor().execute(scene.ddl(has_icu=has_icu))
    for table in scene.TABLES:
        pick = Random(f"{SEED}/{table.name}")
        name = TableName.read(table.name)
        relation = catalog[name.schema or "public", name.name]
        for number in range(ROWS.get(table.name, FEW)):
            made = row(pick, relation, number)
            shard = home(table, relation, made)
            values = ", ".join(["%s"] * len(made))
            holds = f"INSERT INTO {table.name} VALUES ({values})"
            for each in ("one", *((shard,) if shard else scene.SHARDS)):
                connections[each].cursor().execute(f"{holds} ON CONFLICT DO NOTHING", made)
    for connection in connections.values():
        # Its numbers are no row's.
        connection.cursor().execute("SELECT setval('public.counter', 100000)")
        connection.commit()
        connection.close()
    yield dsns
    with admin.cursor() as cur:
        for name in dsns:
            cur.execute(f"DROP DATABASE gold_{name} WITH (FORCE)")
    admin.close()


@pytest.fixture(scope="module")
def one(databases):
    connection = psycopg2.connect(databases["one"])
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def many(databases):
    cluster = scene.cluster({name: databases[name] for name in scene.SHARDS})
    greenshard.init(cluster)
    with greenshard.connect(cluster, timeout=30.0) as connection:
        yield connection


CASES = {
    title: case
    for title, case in plan_cases().items()
    if not title.startswith(("writes", "utilities", "one_shard"))
    and title not in NOT_SQL
    # What the sequences have come to by then differs.
    and title != "defaults.txt: an UPDATE of a number to its default"
    and not (case.has_parameters and case.given is None)
}


@pytest.mark.parametrize("title", CASES)
def test_shards_answer_as_one_server(title, one, many):
    case = CASES[title]
    statement = Statement(case.sql, case.given if case.has_parameters else None, order=None)
    expected = answer(one, statement, {})
    one.rollback()
    try:
        got = answer(many, statement, {})
    finally:
        many.rollback()
    if got.error is not None:
        # One server stops at the first error, each shard at its own.
        failures = getattr(got.error, "failures", {}).values()
        told = {got.sqlstate, *(getattr(each, "pgcode", None) for each in failures)}
        # Which of several constraints is violated first depends on the order of the rows.
        kinds = {(state or "")[:2] for state in told}
        same = expected.error is not None and (
            expected.sqlstate in told or (expected.sqlstate[:2] == "23" and "23" in kinds)
        )
        refused = isinstance(got.error, psycopg2.NotSupportedError) and not got.sqlstate
        assert same or (refused and case.plan.startswith("strategy: refused")), got.error
    elif title not in BY_CHANCE:
        assert expected.error is None, f"rows instead of {expected.error}"
        assert difference(expected, got, statement) is None, f"seed {SEED}"
        assert_in_order(case, got, one)


def assert_in_order(case, got, one):
    """Where the rows are sorted, those that are equal in all keys stand where they should."""
    statement, places = with_keys(case, [name for name, _ in got.columns])
    if statement is None:
        return
    expected = answer(one, statement, {})
    one.rollback()
    assert expected.error is None, expected.error
    width = len(got.columns)
    keys = [tuple(row[at] for at in places) for row in shown(expected, by_value=True)]
    rows = list(zip(keys, map(repr, (row[:width] for row in expected.rows)), strict=True))
    ours = list(zip(keys, map(repr, got.rows), strict=True))
    assert Counter(ours) == Counter(rows), f"seed {SEED}: {got.rows} are not in order of {keys}"


def with_keys(case, names):
    """The statement with what it is sorted by as further columns, and the places of all keys.

    Returns:
        No statement if it is not sorted.
    """
    translation = translate(case.sql, case.has_parameters)
    raw = parse(translation.text)[-1]  # the answer is the last one's
    select = raw.stmt.select_stmt
    places, width = [], len(names)
    for number, item in enumerate(select.sort_clause):
        node = item.sort_by.node
        fields = names_of(node.column_ref.fields) if node.HasField("column_ref") else None
        if node.HasField("a_const"):
            places.append(node.a_const.ival.ival - 1)
        elif fields is not None and len(fields) == 1 and fields[0] in names:
            places.append(names.index(fields[0]))
        else:
            places.append(width)
            width += 1
            add_target(select, node, f"key {number}")
    if not places:
        return None, places
    sql = write(raw, translation)
    return Statement(sql.text, sql.values(case.given, None)), places


def test_the_catalog_of_the_golden_plans_is_a_server_s(databases):
    session = open_session(databases["s0"])
    try:
        loaded = load_catalog(session, ["s0"], within(20.0))
    finally:
        session.physical("s0").discard()
    ours = scene.catalog()
    for where, relation in ours.relations.items():
        found = loaded.relations[where]
        assert (found.kind, found.primary_key) == (relation.kind, relation.primary_key), where
        if where != ("public", "person"):  # its collation needs ICU
            assert found.columns == relation.columns, where
        if loaded.server_version >= 180000 and relation.definition:
            assert found.definition.split() == relation.definition.split(), where
    if loaded.server_version >= 180000:
        for name, functions in ours.functions.items():
            found = {replace(each, unary=True) for each in loaded.functions[name]}
            assert found == functions, name
    assert loaded.bodies == ours.bodies
