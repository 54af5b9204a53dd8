"""UPDATE and DELETE whose conditions and values read other shards do what one server does."""

from __future__ import annotations

import contextlib
from contextlib import suppress

import gevent
import psycopg2
import pytest

import greenshard
from greenshard.executor.strategies import table_rows
from tests.fault.scene import eventually
from tests.postgres.one_database.conftest import SMALL_BATCHES
from tests.postgres.one_database.side_by_side import side_by_side, told
from tests.postgres.psql import run

SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN small AS int CHECK (VALUE < 1000);
CREATE SCHEMA far;
CREATE TABLE t (k int PRIMARY KEY, c int, v numeric(8, 2), w text, m mood, a int[]);
CREATE TABLE u (k int, n int, c int, "Q %" text, s small DEFAULT 3, PRIMARY KEY (k, n));
CREATE TABLE far.t (k bigint PRIMARY KEY, c int);
CREATE TABLE alone (id int PRIMARY KEY, k int);
CREATE TABLE r (id int PRIMARY KEY, n int CHECK (n < 500), w text, f numeric);
CREATE VIEW big AS SELECT k, c, v FROM t WHERE v > 20;
CREATE VIEW totals AS SELECT c, sum(v) AS total FROM t GROUP BY c;
CREATE FUNCTION lines(int) RETURNS bigint LANGUAGE sql STABLE
    AS 'SELECT count(*) FROM u WHERE k = $1';
CREATE FUNCTION all_lines() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM u';
"""
TABLES = {
    "t": greenshard.Sharded("k"),
    "u": greenshard.Sharded("k"),
    "far.t": greenshard.Sharded("k"),
    "alone": greenshard.Sharded("k"),
    "r": greenshard.Reference(),
}
ROWS = [
    "INSERT INTO t VALUES "
    + ", ".join(
        f"({n}, {n % 5 if n % 7 else 'NULL'}, {n * 1.25 if n % 6 else 'NULL'}, 'it''s %s {n % 3}',"
        f" '{['sad', 'ok'][n % 2]}', '{{{n},{n % 4}}}')"
        for n in range(1, 31)
    ),
    'INSERT INTO u (k, n, c, "Q %") VALUES '
    + ", ".join(
        f"({n}, {line}, {(n * 3 + line) % 9}, {'NULL' if n % 4 == 0 else repr(chr(97 + n % 5))})"
        for n in range(1, 20)
        for line in range(n % 3)
    ),
    "INSERT INTO far.t VALUES " + ", ".join(f"({n}, {n % 3})" for n in range(1, 13)),
    "INSERT INTO r VALUES " + ", ".join(f"({n}, {n}, 'w{n}', NULL)" for n in range(1, 10)),
]
CASES = {
    "scalars": [
        "UPDATE t SET w = 'large' WHERE v > (SELECT avg(v) FROM t) RETURNING k, v, w",
        "DELETE FROM t WHERE v = (SELECT max(v) FROM t WHERE w <> 'x')",
        "UPDATE t SET v = (SELECT sum(c) FROM u), c = (SELECT count(*) FROM u WHERE u.c > 3)",
        ("UPDATE t SET v = v + %(x)s WHERE c < (SELECT avg(n) + %(x)s FROM u WHERE c <> %(x)s)",
         {"x": 1}),
        ("UPDATE t SET w = '5%%' WHERE k > %s AND v < (SELECT max(c) FROM u WHERE c < %s)", (3, 8)),
        "UPDATE t SET c = (SELECT c FROM u WHERE u.k = 5) WHERE k = 7",
        "UPDATE t SET c = (SELECT u.c FROM u) WHERE k = 7",
        "UPDATE t SET c = 1 WHERE c = (SELECT nosuch FROM u)",
        "UPDATE t SET c = (SELECT count(*) FROM t x WHERE x.m = 'sad')",
        "UPDATE t SET v = 1 / ((SELECT count(*) FROM u) - (SELECT count(*) FROM u))",
    ],
    "correlated": [
        "UPDATE t SET c = (SELECT count(*) FROM u WHERE u.c = t.c) RETURNING k, c",
        "UPDATE t SET v = (SELECT max(x.v) FROM t x WHERE x.k < t.k)",
        "DELETE FROM t WHERE EXISTS (SELECT FROM u WHERE u.c = t.k) RETURNING k",
        "DELETE FROM t WHERE NOT EXISTS (SELECT FROM far.t f WHERE f.c = t.c)",
        "UPDATE t SET w = ARRAY(SELECT n FROM u WHERE u.c = t.c ORDER BY k, n)::text",
        "UPDATE t AS a SET (c, v) = (SELECT min(u.c), sum(n) FROM u WHERE u.n = a.c)",
        'UPDATE u SET "Q %" = (SELECT w FROM t WHERE t.k = u.c) WHERE c IN (SELECT k FROM t)',
    ],
    "what is computed once": [
        ("DELETE FROM u WHERE (k, n) IN (SELECT k, n FROM u ORDER BY c DESC, k, n LIMIT 4)"
         " RETURNING *"),
        ("UPDATE t SET v = (SELECT avg(k / 3.0::float8) FROM u),"
         " w = (SELECT string_agg(c::text, ',' ORDER BY k, n) FROM u)"),
        "UPDATE t SET (v, c) = (SELECT sum(c), max(n) FROM u) WHERE k < 9 RETURNING k, v, c",
        ("UPDATE t SET c = (SELECT max(c) + %s FROM u WHERE c < %s) WHERE k > %s RETURNING c",
         (1, 20, 4)),
        ("UPDATE t SET w = (SELECT max(w) FROM t x WHERE x.w LIKE '%') WHERE c IN (SELECT c FROM u"
         ' WHERE "Q %" IS NOT NULL UNION SELECT c FROM far.t EXCEPT SELECT 1)'),
        ("UPDATE t SET m = (SELECT m FROM t GROUP BY m ORDER BY count(*), m LIMIT 1),"
         " a = (SELECT array_agg(DISTINCT c ORDER BY c) FROM u)"
         " WHERE k = ANY (SELECT n + 1 FROM u)"),
        "UPDATE t SET c = x.n FROM (SELECT c, count(*) OVER () AS n FROM u) x WHERE x.c = t.k",
        "UPDATE r SET f = (SELECT avg(c) FROM u), n = 3 WHERE id IN (SELECT c FROM u LIMIT 100)",
        "UPDATE r SET f = q.a FROM (SELECT avg(k * 0.5::float8)::numeric(9, 3) AS a FROM t) q",
    ],
    "IN, NOT IN, ANY": [
        "DELETE FROM u WHERE c NOT IN (SELECT c FROM t)",
        "DELETE FROM u WHERE c NOT IN (SELECT k FROM t) RETURNING *",
        "UPDATE u SET c = 0 WHERE (n, c) IN (SELECT c, k FROM t)",
        "UPDATE u SET c = 5 WHERE c = ANY (SELECT c FROM far.t) AND \"Q %\" > 'a'",
        "UPDATE u SET s = 400 WHERE c < ALL (SELECT v FROM t WHERE v IS NOT NULL)",
        "UPDATE u SET s = (SELECT 1000 + count(*) FROM t)",
    ],
    "FROM and USING": [
        "UPDATE t SET v = q.a FROM (SELECT avg(c) AS a FROM u) q RETURNING k, v, q.a",
        'UPDATE t SET w = u."Q %" FROM u WHERE t.c = u.k AND u.n = 0 RETURNING t.*, u.c',
        "DELETE FROM t USING u WHERE t.c = u.c AND u.n = 1 RETURNING t.k",
        "UPDATE t SET v = 5 FROM u JOIN r ON r.id = u.c WHERE t.k = u.c",
        "DELETE FROM u USING u AS o WHERE u.c = o.c AND (u.k, u.n) > (o.k, o.n) RETURNING u.k, u.n",
        ("UPDATE t SET c = x.n FROM (SELECT c, count(*)::int AS n FROM far.t GROUP BY c) x"
        " WHERE x.c = t.c"),
        "DELETE FROM t USING far.t f LEFT JOIN u ON u.c = f.c WHERE f.k = t.c AND u.k IS NULL",
        "UPDATE u SET c = 7 FROM far.t WHERE far.t.c = u.c AND t.k = 4 RETURNING far.t.*",
    ],
    "WITH": [
        ("WITH x AS (SELECT c, sum(v) AS s FROM t GROUP BY c) UPDATE t SET v = s FROM x"
        " WHERE x.c = t.c RETURNING k, v"),
        ("WITH RECURSIVE x (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x"
         " WHERE n < (SELECT count(*) FROM far.t)) DELETE FROM u WHERE c IN (SELECT n FROM x)"),
        "WITH x AS MATERIALIZED (SELECT k FROM u) DELETE FROM t WHERE t.c IN (SELECT k FROM x)",
    ],
    "the key tells the shard": [
        "UPDATE t SET v = (SELECT count(*) FROM u) WHERE k = 7 RETURNING v",
        ("DELETE FROM u WHERE k = %s AND c < (SELECT max(c) FROM t)", (5,)),
        "UPDATE t SET v = (SELECT sum(c) FROM u WHERE u.k = 8) WHERE k IN (1, 2, 3) RETURNING *",
        "UPDATE t SET v = 1 WHERE k = NULL AND c = (SELECT max(c) FROM u)",
        "UPDATE t SET k = k, v = (SELECT count(*) FROM u) WHERE k = 4",
    ],
    "no rows": [
        "DELETE FROM far.t",
        "UPDATE t SET v = (SELECT max(c) FROM far.t) WHERE k < 9 RETURNING v",
        "DELETE FROM t WHERE c IN (SELECT c FROM far.t)",
        "UPDATE t SET v = 3 FROM far.t AS f WHERE f.c = t.c RETURNING *",
        "DELETE FROM t WHERE NOT EXISTS (SELECT FROM far.t)",
    ],
    "views and functions": [
        "UPDATE t SET w = 'many' WHERE c IN (SELECT c FROM totals WHERE total > 20) RETURNING k",
        "UPDATE t SET v = (SELECT total FROM totals x WHERE x.c = 3), c = (SELECT all_lines())",
        "UPDATE u SET c = 1 WHERE c IN (SELECT c FROM big) RETURNING *",
        "DELETE FROM u WHERE c > (SELECT count(*) FROM big WHERE v > 25)",
        "UPDATE t SET v = lines(k) WHERE c < (SELECT max(c) FROM u)",
    ],
    "copies": [
        "UPDATE r SET n = (SELECT count(*) FROM t WHERE t.c = id), w = 'x' RETURNING id, n",
        "UPDATE r SET f = q.a FROM (SELECT avg(v) AS a FROM t) q RETURNING *",
        "UPDATE r SET n = q.n FROM (SELECT c, count(*) AS n FROM u GROUP BY c) q WHERE q.c = id",
        "WITH q AS (SELECT c, max(v) FROM t GROUP BY 1) UPDATE r SET f = max FROM q WHERE c = id",
        "UPDATE r SET n = t.k FROM t WHERE t.k = r.id AND t.c IN (SELECT c FROM u)",
        "DELETE FROM r WHERE NOT EXISTS (SELECT FROM t WHERE t.c = id) RETURNING id",
        "UPDATE r SET n = (SELECT 499 + count(*) FROM t)",
        ("DELETE FROM r USING u WHERE u.c = r.id AND u.n = %s RETURNING u.n", (1,)),
        # Of several that match, the first shard takes one for all; here they are alike.
        "UPDATE r SET f = u.c, w = 'of several' FROM u WHERE u.c = r.id RETURNING r.id, r.f",
        "UPDATE r SET f = (SELECT avg(k * 0.5::float8) FROM t WHERE t.c >= id) WHERE id < 3",
        "DELETE FROM r WHERE id < (SELECT avg(k) FROM far.t)",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def both(greenshard_shards):
    with side_by_side(greenshard_shards, SCHEMA, TABLES) as both:
        yield both


@pytest.mark.parametrize("shards", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_writes_read_other_shards_as_one_server_does(both, case, shards):
    both.check(ROWS, CASES[case], shards, autocommit=shards == 2)


def test_what_a_write_reads_is_limited(both):
    text = "UPDATE t SET v = 0 WHERE v > (SELECT avg(c) FROM u WHERE u.c <> t.c)"
    with both.filled(ROWS, 3) as (_, conn):
        cur = conn.cursor()
        for name, value, code in [
            ("allow_gather", False, "GS407"),
            ("allow_scatter", False, "GS406"),
            ("gather_limit", 3, "GS405"),
        ]:
            before = getattr(conn, name)
            setattr(conn, name, value)
            with pytest.raises(greenshard.NotSupportedError, match=code):
                cur.execute(text)
            setattr(conn, name, before)
        # Nothing was sent that fails a transaction, and nothing was written.
        cur.execute("SELECT count(*) FROM t WHERE v = 0")
        assert cur.fetchone() == (0,)


def test_many_rows_come_in_batches(both, monkeypatch):
    for name, value in SMALL_BATCHES.items():
        monkeypatch.setattr(table_rows, name, value)
    cases = CASES["scalars"] + CASES["copies"]
    for autocommit in (False, True):
        both.check(ROWS, cases, 3, autocommit=autocommit)


def test_every_set_of_parameters_reads_anew(both):
    text = "UPDATE t SET c = (SELECT count(*) FROM t x WHERE x.w = 'new'), w = %s WHERE k = %s"
    with both.filled(ROWS, 3) as (single, conn):
        found = []
        for each in (single, conn):
            cur = each.cursor()
            cur.executemany(text, [("new", 1), ("new", 2), ("old", 1), ("new", 3)])
            cur.execute("SELECT k, c, w FROM t WHERE k < 4 ORDER BY k")
            found.append(cur.fetchall())
        assert found[0] == found[1] == [(1, 2, "old"), (2, 1, "new"), (3, 1, "new")]


def test_a_row_that_changes_meanwhile_is_looked_at_anew(both):
    """At READ COMMITTED PostgreSQL waits for the row, and then tests and computes it anew."""
    text = """UPDATE t SET c = (SELECT count(*) FROM u), v = v + 1
        WHERE v < (SELECT max(v) FROM t) AND k < 12 RETURNING k, v, c"""
    found = []
    with both.filled(ROWS, 2) as sides:
        connects = (
            (lambda: psycopg2.connect(both.one), both.one),
            (lambda: greenshard.connect(both.cluster(2)), both.dsns["s0"]),
        )
        for side, (connect, first) in zip(sides, connects, strict=True):
            side.cursor().execute("UPDATE t SET v = v + 100, c = 50 WHERE k < 9")
            with (
                contextlib.closing(connect()) as other,
                contextlib.closing(psycopg2.connect(first)) as beside,
            ):
                beside.autocommit = True
                cur = other.cursor()
                waiting = gevent.spawn(cur.execute, text)
                eventually(lambda beside=beside: is_waiting(beside))
                side.commit()
                waiting.get(timeout=20)
                found.append(sorted(cur.fetchall()))
                other.commit()
    assert found[0] == found[1]
    assert [k for k, _, _ in found[0]] == [9, 10, 11]


def is_waiting(beside):
    """Whether a write waits for a row on one of the servers' databases."""
    cur = beside.cursor()
    cur.execute(
        "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'UPDATE t SET c'"
    )
    return cur.rowcount > 0


def test_all_is_read_as_of_one_moment_where_transactions_are_isolated(both):
    with both.filled(ROWS, 2) as (_, conn):
        conn.set_session(isolation_level="REPEATABLE READ")
        cur = conn.cursor()
        cur.execute("SELECT count(*) FROM u")
        (before,) = cur.fetchone()
        with contextlib.closing(greenshard.connect(both.cluster(2))) as other:
            other.cursor().execute("DELETE FROM u")
            other.commit()
        cur.execute("UPDATE t SET c = (SELECT count(*) FROM u) WHERE k < 4 RETURNING c")
        assert cur.fetchall() == [(before,)] * 3


def test_rights_and_policies_hold_for_what_is_read(both):
    role = "agent_of_others"
    setup = [
        f"GRANT SELECT, UPDATE ON t TO {role}",
        f"GRANT SELECT (k, c) ON u TO {role}",
        f"GRANT SELECT, UPDATE ON r TO {role}",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        f"CREATE POLICY mine ON t TO {role} USING (k % 2 = 0)",
    ]
    undo = ["DROP POLICY mine ON t", "ALTER TABLE t DISABLE ROW LEVEL SECURITY",
            f"REVOKE ALL ON t, u, r FROM {role}"]  # fmt: skip
    run(both.one, f"DROP ROLE IF EXISTS {role}", f"CREATE ROLE {role}")
    statements = [
        "UPDATE t SET c = (SELECT count(*) FROM t) RETURNING k, c",
        "UPDATE t SET c = (SELECT max(k) FROM u WHERE u.c = t.c)",
        "UPDATE t SET c = (SELECT max(n) FROM u)",
        "UPDATE r SET n = (SELECT count(*) FROM t WHERE t.c = id)",
        "DELETE FROM r WHERE id IN (SELECT c FROM u)",
        "UPDATE t SET v = 1 FROM far.t f WHERE f.c = t.c",
    ]
    dsns = dict.fromkeys([both.one, *both.dsns.values()])
    try:
        for dsn in dsns:
            with suppress(psycopg2.Error):
                run(dsn, f"CREATE ROLE {role}")
            run(dsn, *setup)
        with both.filled(ROWS, 3) as (single, conn):
            single.autocommit = conn.autocommit = True
            mine, theirs = conn.cursor(), single.cursor()
            denied = 0
            for statement in [f"SET ROLE {role}", *statements, "RESET ROLE"]:
                expected = told(theirs, statement)
                assert told(mine, statement) == expected, statement
                denied += expected == "42501"
            assert denied == 3
            both.compare(conn, single)
    finally:
        for dsn in dsns:
            run(dsn, *undo)


def test_nothing_is_read_for_a_write_that_is_refused(both):
    """A view that needs several shards, and functions that would read a shard's part."""
    with both.filled(ROWS, 3) as (_, conn):
        for text, reason in [
            ("UPDATE r SET n = all_lines()", "function all_lines()"),
            ("UPDATE t SET v = 0 FROM far.t WHERE far.t.c = public.t.c", "two tables are called t"),
        ]:
            with pytest.raises(greenshard.NotSupportedError, match="GS412") as refused:
                conn.cursor().execute(text)
            assert reason in str(refused.value), text


def test_two_tables_of_one_name_are_not_mixed_up_where_rows_are_gathered(both):
    correlated = "(SELECT count(*) FROM far.t WHERE far.t.c = public.t.c)"
    with both.filled(ROWS, 3) as (single, conn):
        for text in [
            f"SELECT k, {correlated} FROM public.t",
            f"SELECT k FROM public.t WHERE c < {correlated}",
            "SELECT count(DISTINCT public.t.v) FROM public.t, far.t WHERE public.t.c = far.t.c",
        ]:
            with pytest.raises(greenshard.NotSupportedError, match="two tables are called t"):
                conn.cursor().execute(text)
            aliased = text.replace("far.t", "f").replace("FROM f", "FROM far.t AS f")
            aliased = aliased.replace("public.t, f", "public.t, far.t AS f")
            found = []
            for each in (single, conn):
                cur = each.cursor()
                cur.execute(aliased)
                found.append(sorted(cur.fetchall()))
            assert found[0] == found[1], aliased
