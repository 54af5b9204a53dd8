"""An UPDATE of a shard key: rows go where their new keys belong, and all is as on one server."""

from __future__ import annotations

import contextlib
from contextlib import suppress

import gevent
import psycopg2
import psycopg2.extras
import pytest

import greenshard
from greenshard.executor.strategies import table_rows
from tests.postgres.one_database.conftest import SMALL_BATCHES
from tests.postgres.one_database.side_by_side import side_by_side
from tests.postgres.psql import run

SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN small AS int CHECK (VALUE < 1000);
CREATE TABLE t (k int PRIMARY KEY, c int, v numeric(8, 2), w varchar(8), m mood, a int[], p pair,
    f float8, twice int GENERATED ALWAYS AS (k * 2) STORED, at timestamptz DEFAULT now(),
    CHECK (c < 100));
CREATE TABLE u (k int, n int, c int, PRIMARY KEY (k, n));
CREATE TABLE ids (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, c text);
CREATE TABLE words (w text PRIMARY KEY, n int, "Odd %" text);
CREATE TABLE days (d date, b bool, n int);
CREATE TABLE parts (k int, c int) PARTITION BY LIST (c);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 PARTITION OF parts DEFAULT;
CREATE TABLE bare (k small, c int);
CREATE TABLE father (k int PRIMARY KEY, c int);
CREATE TABLE child (k int, n int, PRIMARY KEY (k, n), c int,
    CONSTRAINT of_father FOREIGN KEY (k) REFERENCES father);
CREATE TABLE grown (k int PRIMARY KEY, c int);
CREATE TABLE logged (k int, c int);
CREATE TABLE r (id int PRIMARY KEY, n int);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.c := NEW.c + 1; RETURN NEW; END $$;
CREATE TRIGGER touches BEFORE UPDATE ON grown FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER logs BEFORE INSERT ON logged FOR EACH ROW EXECUTE FUNCTION touch();
"""
TABLES = {
    "t": greenshard.Sharded("k"),
    "u": greenshard.Sharded("k"),
    "ids": greenshard.Sharded("id"),
    "words": greenshard.Sharded("w"),
    "days": greenshard.Sharded("d"),
    "parts": greenshard.Sharded("k"),
    "parts_1": greenshard.Sharded("k"),
    "parts_2": greenshard.Sharded("k"),
    "bare": greenshard.Sharded("k"),
    "father": greenshard.Sharded("k"),
    "child": greenshard.Sharded("k"),
    "grown": greenshard.Sharded("k"),
    "logged": greenshard.Sharded("k", triggers=("logs",)),
    "r": greenshard.Reference(),
}
ROWS = [
    "INSERT INTO t (k, c, v, w, m, a, p, f, at) VALUES "
    + ", ".join(
        f"({n}, {n % 5 if n % 7 else 'NULL'}, {n * 1.25 if n % 6 else 'NULL'}, 'a%s''{n % 3}',"
        f" '{['sad', 'ok'][n % 2]}', '{{{n},NULL}}', '({n},\"x,{n}\")', {n} / 7.0::float8,"
        f" '2024-01-{n:02} 12:00+00')"
        for n in range(1, 31)
    ),
    "INSERT INTO u VALUES "
    + ", ".join(f"({n}, {m}, {n * m % 7})" for n in (1, 2, 5) for m in (0, 1, 2)),
    "INSERT INTO ids OVERRIDING SYSTEM VALUE VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')",
    "INSERT INTO words VALUES ('a', 1, 'x'), ('é', 2, NULL), ('it''s', 3, '%s')",
    "INSERT INTO words VALUES ('', 4, 'a\\b')",
    "INSERT INTO days VALUES ('2024-01-01', true, 1), ('2024-02-29', false, 2)",
    "INSERT INTO parts VALUES (1, 1), (2, 1), (3, 2), (4, 3)",
    "INSERT INTO bare VALUES (1, 1), (2, 2), (2, 2), (3, 3)",
    "INSERT INTO father VALUES (1, 1), (2, 2), (3, 3), (4, 4)",
    "INSERT INTO child (k, n, c) VALUES (1, 1, 1), (2, 1, 2)",
    "INSERT INTO grown VALUES (1, 1), (2, 2), (3, 3)",
    "INSERT INTO r VALUES (1, 101), (2, 102), (3, 103)",
]
CASES = {
    "values": [
        "UPDATE t SET k = 100 WHERE k = 7 RETURNING *",
        ("UPDATE t SET k = %s, c = %s WHERE k = %s", (101, 9, 8)),
        ("UPDATE t SET k = %(k)s WHERE k = %(old)s RETURNING k, twice, w", {"k": 102, "old": 9}),
        "UPDATE t SET k = 103 WHERE k = 999",
        "UPDATE t SET k = 1 WHERE k = 2",
        "UPDATE t SET k = 104 WHERE c = 3",
        "UPDATE t SET k = NULL WHERE k = 5",
        "UPDATE t SET k = '105' WHERE k = 10",
        "UPDATE t SET k = 106.4 WHERE k = 11 RETURNING k",
        "UPDATE t SET k = 10000000000 WHERE k = 12",
        "UPDATE t SET k = 'x' WHERE k = 12",
        "UPDATE t SET k = 12, c = 3 WHERE k IN (13, 12)",
        "UPDATE t SET k = 107, c = 100 WHERE k = 14",
        "UPDATE t SET k = 108, w = 'much too long' WHERE k = 14",
        "UPDATE t SET k = 109, twice = 3 WHERE k = 14",
        "UPDATE t SET k = 110, nosuch = 3 WHERE k = 14",
    ],
    "computed": [
        "UPDATE t SET k = k + 1000 RETURNING k, c, v, m, a, p, f, twice, at",
        "UPDATE t SET k = k - 500, v = v + 1, w = w || k WHERE c < 3",
        "UPDATE t SET k = -k WHERE k > 1010 RETURNING k - 1 AS less, w",
        "UPDATE t SET k = k * 1000000 WHERE k > 0",
        "UPDATE t SET k = 1 / (k - k) WHERE c = 1",
        "UPDATE t SET (k, c) = (k + 5000, c + 1) WHERE k < 0",
        "UPDATE t AS x SET k = x.k + 7 WHERE x.c = 1 RETURNING x.k, x.*",
    ],
    "from others": [
        "UPDATE t SET k = n FROM r WHERE id = k RETURNING k, r.*",
        "UPDATE t SET k = 200 + u.n FROM u WHERE u.k = 5 AND t.k = u.c AND t.k > 3",
        "UPDATE t SET k = (SELECT max(x.k) + 1 FROM t x) WHERE k = 20 RETURNING k",
        "UPDATE u SET k = k + (SELECT count(*) FROM t) WHERE n = 1 RETURNING *",
        "WITH x AS (SELECT max(k) AS top FROM u) UPDATE u SET k = k + top FROM x WHERE n = 2",
        "UPDATE u SET k = k + 3, n = n + 10 WHERE c IN (SELECT c FROM t)",
    ],
    "kinds of keys": [
        "UPDATE ids SET id = 9 WHERE id = 1",
        "UPDATE words SET w = w || '-é' RETURNING w, \"Odd %\"",
        ("UPDATE words SET w = %s WHERE n = 2 RETURNING *", ("%s\\'",)),
        'UPDATE words SET w = upper(w), "Odd %" = w',
        "UPDATE days SET d = d + 1 RETURNING *",
        "UPDATE days SET d = NULL WHERE b",
        "UPDATE days SET d = '2030-01-01' WHERE d IS NULL RETURNING d, b",
        "UPDATE parts SET k = k + 10 RETURNING *",
        "UPDATE parts SET k = k + 3, c = 1",
        "UPDATE bare SET k = k + 100 RETURNING *",
        "UPDATE bare SET k = 1001 WHERE c = 2",
    ],
    "keys that reference": [
        "UPDATE father SET k = 12 WHERE k = 1",
        "UPDATE father SET k = k + 10 WHERE k > 2 RETURNING *",
        "UPDATE father SET k = 2 WHERE k = 13",
    ],
    "triggers": ["UPDATE grown SET k = k + 30 RETURNING *", "UPDATE grown SET k = 1 WHERE k = 31"],
}  # fmt: skip


@pytest.fixture(scope="module")
def both(greenshard_shards):
    with side_by_side(greenshard_shards, SCHEMA, TABLES) as both:
        yield both


@pytest.mark.parametrize("shards", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_rows_move_as_on_one_server(both, case, shards):
    both.check(ROWS, CASES[case], shards, autocommit=shards == 2)


REFUSED = {
    "UPDATE logged SET k = 5": 'trigger "logs" of table logged',
    "UPDATE child SET k = 5": 'foreign key "of_father" references is on the new shard',
    "UPDATE ids SET id = DEFAULT": "counted by the sequence",
    "INSERT INTO u VALUES (1, 1, 1) ON CONFLICT (k, n) DO UPDATE SET k = 5": "key k is changed",
}


def test_what_a_moving_row_would_set_off_is_refused(both):
    with both.filled(ROWS, 3) as (_, conn):
        cur = conn.cursor()
        for text, reason in REFUSED.items():
            with pytest.raises(greenshard.NotSupportedError) as refused:
                cur.execute(text)
            assert reason in str(refused.value), text
        # On the shard that it is on, a row may get any key.
        same = [n for n in range(50) if both.cluster(3).placement.shards_for(
            n, "int4", ("s0", "s1", "s2")) == "s1"]  # fmt: skip
        cur.execute("UPDATE logged SET k = %s WHERE k = %s", same[:2])
        conn.allow_scatter = False
        with pytest.raises(greenshard.NotSupportedError, match="GS406"):
            cur.execute("UPDATE t SET k = k + 500 WHERE k = 1")


def test_many_rows_move(both, monkeypatch):
    for name, value in SMALL_BATCHES.items():
        monkeypatch.setattr(table_rows, name, value)
    both.check(ROWS, CASES["computed"] + CASES["from others"], 3, autocommit=False)
    with both.filled([], 3) as (single, conn):
        for each in (single, conn):
            cur = each.cursor()
            cur.execute("INSERT INTO words SELECT 'w' || n, n, repeat('x', n % 50) FROM "
                        "generate_series(1, 3000) n")  # fmt: skip
            cur.execute("UPDATE words SET w = w || 'y'")
            assert cur.rowcount == 3000
            each.commit()
        both.compare(conn, single)
        both.check_places(3)


def test_all_rows_move_or_none(both):
    """A row that finds its key taken fails the statement on all shards."""
    for autocommit in (False, True):
        with both.filled(ROWS, 3) as (single, conn):
            for each in (single, conn):
                each.autocommit = autocommit
                cur = each.cursor()
                with pytest.raises(psycopg2.errors.UniqueViolation) as error:
                    cur.execute("UPDATE u SET k = 5, n = 0, c = 9 WHERE k = 2 AND n = 1")
                assert error.value.diag.constraint_name == "u_pkey"
                if not autocommit:
                    with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
                        cur.execute("SELECT 1 FROM u")
                    each.rollback()
            both.compare(conn, single)


def test_rows_may_change_places_and_savepoints_bring_them_back(both):
    with both.filled(ROWS, 3) as (_, conn):
        cur = conn.cursor(cursor_factory=psycopg2.extras.RealDictCursor)
        keys = [next(n for n in range(1, 31) if both.cluster(3).placement.shards_for(
            n, "int4", ("s0", "s1", "s2")) == shard) for shard in ("s0", "s2")]  # fmt: skip
        cur.execute("SAVEPOINT before")
        cur.execute(
            "UPDATE t SET k = %(sum)s - k WHERE k IN %(keys)s RETURNING k, w",
            {"sum": sum(keys), "keys": tuple(keys)},
        )
        assert sorted(row["k"] for row in cur.fetchall()) == sorted(keys)
        conn.commit()
        both.check_places(3)
        cur.execute("SAVEPOINT before")
        cur.execute("UPDATE t SET k = k + 100")
        cur.execute("ROLLBACK TO before")
        cur.execute("SELECT count(*) AS n FROM t WHERE k > 100")
        assert cur.fetchone()["n"] == 0
        cur.executemany("UPDATE t SET k = %s WHERE k = %s", [(200, 1), (201, 2), (202, 200)])
        assert cur.rowcount == 3
        conn.commit()
        both.check_places(3)


def test_a_row_that_changes_meanwhile_moves_as_it_then_is(both):
    with both.filled(ROWS, 3) as sides:
        connects = (
            lambda: psycopg2.connect(both.one),
            lambda: greenshard.connect(both.cluster(3)),
        )
        for side, connect in zip(sides, connects, strict=True):
            side.cursor().execute("UPDATE t SET c = c + 50, w = 'new' WHERE k < 5")
            with contextlib.closing(connect()) as other:
                cur = other.cursor()
                waiting = gevent.spawn(cur.execute, "UPDATE t SET k = k + 100 WHERE c <> 52")
                gevent.sleep(0.3)
                assert not waiting.ready()
                side.commit()
                waiting.get(timeout=20)
                other.commit()
        both.compare(sides[1], sides[0])
        both.check_places(3)


def test_a_policy_that_hides_a_row_from_deletion_fails_the_statement(both):
    role, dsns = "mover_of_rows", dict.fromkeys([both.one, *both.dsns.values()])
    try:
        for dsn in dsns:
            with suppress(psycopg2.Error):
                run(dsn, f"CREATE ROLE {role}")
            run(
                dsn,
                f"GRANT SELECT, UPDATE, INSERT, DELETE ON u TO {role}",
                "ALTER TABLE u ENABLE ROW LEVEL SECURITY",
                f"CREATE POLICY see ON u FOR SELECT TO {role} USING (true)",
                f"CREATE POLICY change ON u FOR UPDATE TO {role} USING (true)",
                f"CREATE POLICY come ON u FOR INSERT TO {role} WITH CHECK (true)",
            )
        with both.filled(ROWS, 3) as (_, conn):
            cur = conn.cursor()
            cur.execute(f"SET ROLE {role}")
            conn.commit()
            with pytest.raises(greenshard.NotSupportedError, match="cannot be deleted"):
                cur.execute("UPDATE u SET k = k + 100")
            with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
                cur.execute("SELECT 1")
            conn.rollback()
            cur.execute("SELECT count(*) FROM u WHERE k > 99")
            assert cur.fetchone() == (0,)
    finally:
        for dsn in dsns:
            run(
                dsn,
                "DROP POLICY see ON u; DROP POLICY change ON u; DROP POLICY come ON u",
                f"ALTER TABLE u DISABLE ROW LEVEL SECURITY; REVOKE ALL ON u FROM {role}",
            )
