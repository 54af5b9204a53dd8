"""The union over three shards against one server that holds every row.

The seed is printed when a statement's answers differ; ``GREENSHARD_SEED`` sets it.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections import Counter
from itertools import islice

import psycopg2
import pytest
from psycopg2 import extensions, extras

import greenshard
from tests.differential.cases import COLUMNS, SHARD_COUNT, change, query, values

STATEMENTS = 300
ROWS = 90
SEED = int(os.environ["GREENSHARD_SEED"])
SMALL = [(number % 7 - 1, label) for number, label in enumerate("axbycz")]


@pytest.fixture(scope="module")
def filled(three_shards):
    """The two sides, with the same rows: each of the big table on one shard, and on the server."""
    shards, single = three_shards
    pick = random.Random(SEED)
    rows = [values(pick) for _ in range(ROWS)]
    # One shard may well be empty.
    parts = {name: [] for name in shards}
    weights = [pick.random() + (pick.random() < 0.8) for _ in range(SHARD_COUNT)]
    for row in rows:
        parts[pick.choices(list(parts), weights)[0]].append(row)
    for name, dsn in shards.items():
        fill(dsn, parts[name])
    fill(single, rows)
    return shards, single


def fill(dsn, rows):
    columns = ", ".join(f'"{name}" {kind}' for name, (kind, _) in COLUMNS.items())
    template = ", ".join(f"CAST(%s AS {kind})" for kind, _ in COLUMNS.values())
    with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
        cur.execute(f"CREATE TABLE big ({columns}); CREATE TABLE small (k int, label text)")
        extras.execute_values(cur, "INSERT INTO big VALUES %s", rows, f"({template})")
        extras.execute_values(cur, "INSERT INTO small VALUES %s", SMALL)


@pytest.fixture(scope="module")
def sides(filled):
    """A connection to the shards and one to the server, which read infinite dates as text."""
    shards, single = filled
    with contextlib.ExitStack() as opened:
        both = [
            opened.enter_context(contextlib.closing(connect(where)))
            for connect, where in [(greenshard.connect, shards), (psycopg2.connect, single)]
        ]
        for conn in both:
            as_text = extensions.new_type((1082,), "DATE_TEXT", lambda text, _: text)
            extensions.register_type(as_text, conn)
            extensions.register_type(
                extensions.new_array_type((1182,), "DATES_TEXT", as_text), conn
            )
        yield both


def by_one(cursor, pick):
    return list(iter(cursor.fetchone, None))


def by_many(cursor, pick):
    rows = []
    while some := cursor.fetchmany(pick.randint(1, 40)):
        rows += some
    return rows


def by_all(cursor, pick):
    return cursor.fetchall()


def by_iteration(cursor, pick):
    return list(cursor)


def by_mixture(cursor, pick):
    rows = list(islice(cursor, pick.randint(0, 30)))
    rows += filter(None, [cursor.fetchone()])
    return rows + cursor.fetchmany(pick.randint(1, 9)) + cursor.fetchall()


FETCHES = [by_one, by_many, by_all, by_iteration, by_mixture]


def bag(rows):
    """The rows without their order; text tells -0.0 from 0.0, 1.0 from 1.00, and NaN is NaN."""
    return Counter(tuple(repr(plain(value)) for value in row) for row in rows)


def plain(value):
    return bytes(value) if isinstance(value, memoryview) else value


def told(description):
    return [(column.name, column.type_code) for column in description]


def answer(conn, statement, parameters, fetch, pick, name=None):
    """What one side gives: bag of rows and columns, or the code of its error."""
    with conn.cursor(name) as cursor:
        cursor.itersize = pick.randint(1, 50)
        try:
            cursor.execute(statement, parameters)
            rows = fetch(cursor, pick)
        except psycopg2.Error as exc:
            conn.rollback()
            return exc.pgcode, None, None
        return bag(rows), told(cursor.description), len(rows)


@pytest.mark.parametrize("fetch", FETCHES, ids=lambda fetch: fetch.__name__)
@pytest.mark.parametrize("name", [None, "named"])
def test_union_is_the_rows_of_one_server(sides, fetch, name):
    several, one = sides
    errors = 0
    for number in range(STATEMENTS // (2 * len(FETCHES))):
        seed = f"{SEED}/{fetch.__name__}/{name}/{number}"
        pick = random.Random(seed)
        statement, parameters = query(pick)
        expected = answer(one, statement, parameters, by_all, pick)
        got = answer(several, statement, parameters, fetch, pick, name)
        errors += expected[1] is None
        assert got == expected, (
            f"GREENSHARD_SEED={SEED} ({seed}):\n{one.cursor().mogrify(statement, parameters)!r}"
        )
    assert errors < STATEMENTS // (4 * len(FETCHES)), "most statements should run"


def test_counts_of_rows_changed_add_up_to_those_of_one_server(sides):
    for number in range(40):
        statement, parameters = change(random.Random(f"{SEED}/change/{number}"))
        expected, got = (changed(conn, statement, parameters) for conn in reversed(sides))
        assert got == expected, f"GREENSHARD_SEED={SEED}: {statement} {parameters}"


def changed(conn, statement, parameters):
    with conn.cursor() as cursor:
        cursor.execute(statement, parameters)
        facts = cursor.rowcount, cursor.statusmessage
    conn.rollback()
    return facts
