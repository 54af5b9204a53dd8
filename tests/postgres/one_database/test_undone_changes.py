"""What a transaction has changed and then undone, by ROLLBACK TO, is planned by no more."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from tests.initialised import initialised
from tests.postgres import psql

SCHEMA = """
CREATE TABLE t (k int PRIMARY KEY, c int);
CREATE VIEW v AS SELECT count(*) AS n FROM t;
CREATE TABLE w (k int PRIMARY KEY, y int);
CREATE TABLE moved (k int PRIMARY KEY);
CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN new.k := new.k + 1000; RETURN new; END';
CREATE TRIGGER tg BEFORE INSERT ON moved FOR EACH ROW EXECUTE FUNCTION move();
CREATE FUNCTION add_to_view() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE 'CREATE OR REPLACE VIEW v AS SELECT count(*) + 100 AS n FROM t'; RETURN 1; END $$;
"""
FILL = "INSERT INTO t VALUES {0}; INSERT INTO w VALUES {0}"
KEYS = range(40)
ADDING = "CREATE OR REPLACE VIEW v AS SELECT count(*) + 100 AS n FROM t"
VIEW = "SELECT * FROM v"
MOVING = "CREATE TRIGGER late BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION move()"
DISTINCT = "SELECT cardinality(array_agg(DISTINCT coalesce(y))) FROM w"
SCRIPTS = [
    ["SAVEPOINT a", ADDING, VIEW, "ROLLBACK TO a", VIEW],
    ["SAVEPOINT a", ADDING, "ROLLBACK TO a", VIEW],
    ["SAVEPOINT a", ADDING, VIEW, f"ROLLBACK TO a; {VIEW}"],
    ["SAVEPOINT a", ADDING, VIEW, f"SELECT 1; ROLLBACK TO SAVEPOINT a; {VIEW}", VIEW],
    ["SAVEPOINT a", "DROP VIEW v", "ROLLBACK TO a", VIEW, ADDING, VIEW, "ROLLBACK TO a", VIEW],
    [ADDING, "SAVEPOINT a", "DROP VIEW v", "/* back */ rollback transaction to a", VIEW],
    ["SAVEPOINT a", "DROP VIEW v", f"ROLLBACK TO a; {VIEW}"],
    ["SAVEPOINT a", MOVING, "ROLLBACK TO a; INSERT INTO t VALUES (900, 1)", VIEW],
    ["SAVEPOINT a", ADDING, VIEW, "SELECT nosuch", "ROLLBACK TO a", VIEW],
    ["SAVEPOINT a", "ALTER TABLE w DROP COLUMN y", DISTINCT, "ROLLBACK TO a", DISTINCT],
]


@pytest.fixture(scope="module")
def both(greenshard_shards):
    """A cluster of three shards, and the DSN of one server that has all of the rows."""
    with greenshard_shards.databases() as first, greenshard_shards.databases() as second:
        dsns = {"s0": first["s0"], "s1": first["s1"], "s2": second["s0"]}
        tables = dict.fromkeys(("t", "w", "moved"), greenshard.Sharded("k"))
        cluster = initialised(greenshard.Cluster(dsns, tables))
        for name, dsn in {**dsns, None: second["s1"]}.items():
            place = cluster.placement
            here = [k for k in KEYS if name in (None, place.shards_for(k, "int4", cluster.names))]
            psql.run(dsn, SCHEMA + FILL.format(", ".join(f"({k}, {k % 3})" for k in here)))
        yield cluster, second["s1"]


def run(conn, script):
    seen = []
    with contextlib.closing(conn):
        for text in script:
            cur = conn.cursor()
            try:
                cur.execute(text)
                seen.append(cur.fetchall() if cur.description else cur.statusmessage)
            except psycopg2.Error as error:
                seen.append(error.pgcode)
    return seen


@pytest.mark.parametrize("script", SCRIPTS, ids="; ".join)
def test_statements_are_planned_by_what_is_there_again(both, script):
    cluster, one = both
    expected = run(psycopg2.connect(one), script)
    assert run(greenshard.connect(cluster), script) == expected


def test_trigger_that_is_there_again_keeps_rows_from_being_misplaced(both):
    cluster, _ = both
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        cur = conn.cursor()
        for shards in (None, conn.shards):
            cur.execute("SAVEPOINT a")
            cur.execute("DROP TRIGGER tg ON moved")
            cur.execute("INSERT INTO moved VALUES (1), (2), (3), (4)")
            with conn.on(shards) if shards else contextlib.nullcontext():
                cur.execute("ROLLBACK TO a")
            with pytest.raises(greenshard.NotSupportedError) as refused:
                cur.execute("INSERT INTO moved VALUES (1), (2), (3), (4)")
            assert refused.value.code == "GS415"


def test_changes_before_the_savepoint_are_still_planned_by(both):
    cluster, _ = both
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        cur = conn.cursor()
        for text in ("CREATE VIEW late AS SELECT k FROM t", "SAVEPOINT a", "ROLLBACK TO a"):
            cur.execute(text)
        cur.execute("SELECT count(*) FROM late")
        assert cur.fetchall() == [(len(KEYS),)]
        conn.rollback()
        with pytest.raises(psycopg2.errors.UndefinedTable):
            cur.execute("SELECT count(*) FROM late")


def test_change_that_a_function_made_unseen_is_undone_too(both):
    cluster, _ = both
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        cur = conn.cursor()
        cur.execute("SAVEPOINT a")
        for _ in range(2):
            with conn.on(conn.shards):
                cur.execute("SELECT add_to_view()")
            cur.execute(VIEW)
            assert cur.fetchall() == [(140,)]
            cur.execute("ROLLBACK TO a")
            cur.execute(VIEW)
            assert cur.fetchall() == [(40,)]
