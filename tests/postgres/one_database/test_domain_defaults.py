"""What a domain gives a column that has no default of its own: it is a default like any other."""

from __future__ import annotations

import pytest

import greenshard
from tests.postgres.one_database.side_by_side import side_by_side
from tests.postgres.psql import run

SCHEMA = """
CREATE SCHEMA other;
CREATE SEQUENCE counting;
CREATE DOMAIN token AS uuid DEFAULT gen_random_uuid();
CREATE DOMAIN at AS timestamptz DEFAULT now();
CREATE DOMAIN later AS at;
CREATE DOMAIN other.day AS date DEFAULT CURRENT_DATE;
CREATE DOMAIN number AS int DEFAULT nextval('counting');
CREATE DOMAIN five AS int DEFAULT 5;
CREATE TABLE r (id int PRIMARY KEY, g token, n at, e later, d other.day, f five);
CREATE TABLE own (id int PRIMARY KEY, g token DEFAULT NULL, no number DEFAULT 7, f five);
CREATE TABLE t (k int PRIMARY KEY, no number UNIQUE, n at, f five);
CREATE TABLE keyed (k number PRIMARY KEY, c text);
"""
TABLES = {
    **dict.fromkeys(["r", "own"], greenshard.Reference()),
    **dict.fromkeys(["t", "keyed"], greenshard.Sharded("k")),
}
ROWS = ["INSERT INTO own (id, no) VALUES (1, 7), (2, 7)"]


@pytest.fixture(scope="module")
def sides(greenshard_shards):
    with side_by_side(greenshard_shards, SCHEMA, TABLES) as found:
        yield found


def test_copies_get_the_same(sides):
    with sides.filled(ROWS, 3) as (_, conn):
        cur = conn.cursor()
        for text in (
            "INSERT INTO r (id) VALUES (1)",
            "INSERT INTO r (id) VALUES (2), (3)",
            "INSERT INTO r (id, g) VALUES (4, DEFAULT)",
            "INSERT INTO r (id) SELECT id + 10 FROM own",
            "UPDATE r SET g = DEFAULT WHERE id < 3",
            "INSERT INTO r (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET n = DEFAULT",
        ):
            cur.execute(text)
        cur.execute("SELECT count(DISTINCT g), count(DISTINCT e), min(f) FROM r")
        assert cur.fetchall() == [(6, 1, 5)]
        conn.commit()
    sides.check_places(3)


def test_rows_are_numbered_as_on_one_server(sides):
    for dsn in (sides.one, *sides.dsns.values()):
        run(dsn, "ALTER SEQUENCE counting RESTART")
    statements = [
        "INSERT INTO own (id) VALUES (3) RETURNING *",
        "INSERT INTO t (k, n) VALUES (1, NULL), (2, NULL), (3, NULL), (4, NULL) RETURNING *",
        "INSERT INTO t (k, n) VALUES (5, NULL) RETURNING *",
        "INSERT INTO t (k, n) SELECT id + 10, NULL FROM own RETURNING k, f",
        "INSERT INTO keyed (c) VALUES ('a'), ('b'), ('c') RETURNING *",
    ]
    sides.check(ROWS, statements, 3, autocommit=False)


def test_it_is_one_time_for_all_rows(sides):
    with sides.filled([], 3) as (_, conn):
        cur = conn.cursor()
        cur.execute("INSERT INTO t (k) SELECT * FROM generate_series(1, 9)")
        cur.execute("SELECT count(DISTINCT n), min(n) = now() FROM t")
        assert cur.fetchall() == [(1, True)]
        cur.execute("UPDATE t SET n = DEFAULT")
        cur.execute("SELECT count(DISTINCT n) FROM t")
        assert cur.fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("ALTER TABLE own ADD z token", r"gen_random_uuid\(\)"),
        ("ALTER TABLE t ADD z later", r"now\(\)"),
        ("ALTER TABLE t ADD z other.day", "CURRENT_DATE"),
        ("ALTER TABLE t ADD z number", r"nextval\(\)"),
    ],
)
def test_what_is_refused(sides, text, what):
    with (
        sides.filled(ROWS, 3) as (_, conn),
        pytest.raises(greenshard.NotSupportedError, match=what),
    ):
        conn.cursor().execute(text)


def test_columns_that_are_filled_alike_are_added(sides):
    with sides.filled(ROWS, 3) as (_, conn):
        cur = conn.cursor()
        cur.execute("ALTER TABLE own ADD a five, ADD b token DEFAULT NULL, ADD c token[]")
        cur.execute("ALTER TABLE t ADD z token")  # one a row anyway
        cur.execute("SELECT a, b, c FROM own WHERE id = 1")
        assert cur.fetchall() == [(5, None, None)]


def test_a_default_that_a_domain_gets_later_counts(sides):
    with sides.filled(ROWS, 3) as (_, conn):
        cur = conn.cursor()
        cur.execute("ALTER DOMAIN five SET DEFAULT (random() * 1e9)::int")
        cur.execute("INSERT INTO own (id, no) VALUES (9, 1)")
        assert "random" in conn.explain("INSERT INTO own (id, no) VALUES (10, 1)")
        cur.execute("ALTER DOMAIN five SET DEFAULT 5")
        conn.commit()
    sides.check_places(3)
