"""Statements whose WITH queries write do what one server does, or are refused."""

from __future__ import annotations

import psycopg2
import pytest

import greenshard
from tests.postgres.one_database.side_by_side import side_by_side

SCHEMA = """
CREATE TABLE t (k int PRIMARY KEY, c int, w text DEFAULT 'new', at timestamptz);
CREATE TABLE u (k int, n int, c int, PRIMARY KEY (k, n));
CREATE TABLE kept (k int, c int, why text DEFAULT 'moved');
CREATE TABLE dated (k int, at timestamptz DEFAULT now());
CREATE TABLE ids (id serial PRIMARY KEY, c int);
CREATE TABLE r (id int PRIMARY KEY, n int);
CREATE TABLE child (k int PRIMARY KEY, r int REFERENCES r);
CREATE TABLE cascaded (k int PRIMARY KEY, r int REFERENCES r ON DELETE CASCADE);
CREATE TABLE fired (k int PRIMARY KEY);
CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN DELETE FROM kept WHERE kept.k = NEW.k; RETURN NEW; END';
CREATE TRIGGER fires AFTER INSERT ON fired FOR EACH ROW EXECUTE FUNCTION fires();
CREATE VIEW few AS SELECT k, c FROM t WHERE c < 5;
"""
TABLES = {
    "t": greenshard.Sharded("k"),
    "u": greenshard.Sharded("k"),
    "kept": greenshard.Sharded("k"),
    "dated": greenshard.Sharded("k"),
    "ids": greenshard.Sharded("id"),
    "r": greenshard.Reference(),
    "child": greenshard.Sharded("k"),
    "cascaded": greenshard.Reference(),
    "fired": greenshard.Sharded("k", triggers=("fires",)),
}
ROWS = [
    "INSERT INTO t (k, c) VALUES " + ", ".join(f"({n}, {n % 5})" for n in range(1, 31)),
    "INSERT INTO u VALUES "
    + ", ".join(f"({n}, {m}, {n % 3})" for n in range(1, 21) for m in (0, 1)),
    "INSERT INTO r VALUES (1, 1), (2, 2), (3, 3)",
]
CASES = {
    "one shard": [
        "WITH gone AS (DELETE FROM t WHERE k = 7 RETURNING *) SELECT k, c FROM gone",
        (("WITH gone AS (DELETE FROM t WHERE k = %(k)s RETURNING *)"
          " INSERT INTO kept (k, c) SELECT k, c FROM gone RETURNING *"), {"k": 8}),
        (("WITH up AS (UPDATE t SET c = 9 WHERE k = %s RETURNING k),"
          " ins AS (INSERT INTO kept VALUES (%s, 1, 'x') RETURNING k, why)"
          " SELECT up.k, why, n FROM up, ins, r WHERE r.id = 2"), (9, 9)),
        "WITH ins AS (INSERT INTO t (k, c) VALUES (50, 1) RETURNING *) SELECT * FROM ins",
        "WITH ins AS (INSERT INTO t (k, c) VALUES (50, 1)) UPDATE u SET c = 7 WHERE k = 50",
        ("WITH up AS (UPDATE t SET c = 5 WHERE k = 10 RETURNING *)"
         " INSERT INTO t (k, c) SELECT 10, 3 WHERE NOT EXISTS (SELECT FROM up)"),
        ("WITH up AS (UPDATE t SET c = 5 WHERE k = 60 RETURNING *)"
         " INSERT INTO t (k, c) SELECT 60, 3 WHERE NOT EXISTS (SELECT FROM up) RETURNING *"),
        "WITH gone AS (DELETE FROM u WHERE k = 3 RETURNING c) SELECT count(*), sum(c) FROM gone",
        ("WITH gone AS (DELETE FROM u WHERE k = 4 RETURNING k, n) UPDATE t SET c = 77 FROM gone"
         " WHERE t.k = gone.k AND t.k = 4 AND gone.n = 0 RETURNING t.*"),
        "WITH gone AS (DELETE FROM t WHERE k = 5) SELECT count(*) FROM t WHERE k = 5",
        "WITH ins AS (INSERT INTO dated VALUES (5, NULL) RETURNING k) SELECT k FROM ins",
        "WITH gone AS (DELETE FROM u WHERE k = 6 RETURNING 1 / n AS x) SELECT x FROM gone",
    ],
    "every shard": [
        "WITH gone AS (DELETE FROM t WHERE k = 12 RETURNING k) DELETE FROM u WHERE n = 1 AND c = 0",
        ("WITH gone AS (DELETE FROM t WHERE c = 1 RETURNING k, c)"
         " INSERT INTO kept (k, c) SELECT k, c + 100 FROM gone RETURNING k, c, why"),
        "WITH gone AS (DELETE FROM u WHERE c = 2 RETURNING *) SELECT k, n FROM gone WHERE n > 0",
        ("WITH up AS (UPDATE u SET c = c + 10 WHERE n = 1 RETURNING k, c)"
         " UPDATE t SET c = up.c FROM up WHERE up.k = t.k RETURNING t.k, t.c"),
        ("WITH gone AS (DELETE FROM u RETURNING *),"
         " sums AS (SELECT k, sum(c) AS s FROM gone GROUP BY k)"
         " INSERT INTO kept (k, c, why) SELECT k, s, 'sum' FROM sums"),
        ("WITH a AS (DELETE FROM kept WHERE why = 'sum' RETURNING k),"
         " b AS (INSERT INTO u SELECT k, 5, 6 FROM a RETURNING k, n)"
         " DELETE FROM t USING b WHERE t.k = b.k RETURNING t.k, b.n"),
        "WITH a AS (UPDATE t SET w = now()::date FROM r WHERE id = c RETURNING k) SELECT k FROM a",
    ],
    "part by part": [
        "WITH gone AS (DELETE FROM t WHERE c = 3 RETURNING *) SELECT count(*) FROM gone",
        ("WITH gone AS (DELETE FROM t WHERE c = 2 RETURNING k AS a, c AS b, at, ARRAY[c, 1] AS d)"
         " SELECT *, d[1] FROM gone ORDER BY a LIMIT 4"),
        "WITH gone AS (DELETE FROM u WHERE n = 0 RETURNING *) SELECT 1",
        "WITH gone (x, y) AS (DELETE FROM r WHERE id = 3 RETURNING *) SELECT y, x FROM gone",
        "WITH gone AS (DELETE FROM u WHERE n = 7 RETURNING *) SELECT sum(c) FROM gone",
        ("WITH gone AS (DELETE FROM t WHERE k = 11 RETURNING *)"
         " INSERT INTO r SELECT k, c FROM gone RETURNING *"),
        ("WITH gone AS (DELETE FROM u WHERE n = 1 RETURNING *)"
         " INSERT INTO kept SELECT c, k FROM gone RETURNING k"),
        "WITH ins AS (INSERT INTO t (k) VALUES (101), (102), (103)) DELETE FROM u",
        "WITH ins AS (INSERT INTO t (k) VALUES (60 + 1) RETURNING k) SELECT k + 1 FROM ins",
        ("WITH ins AS (INSERT INTO ids (c) VALUES (5), (6) RETURNING id, c), more AS"
         " (INSERT INTO kept SELECT id, c FROM ins RETURNING k)"
         " SELECT count(*), min(c) FROM ins, more WHERE k = id"),
        "WITH up AS (UPDATE t SET k = k + 1000 WHERE k < 4 RETURNING *) SELECT k, c FROM up",
        ("WITH up AS (UPDATE kept SET c = 0 WHERE k > 101 RETURNING k) SELECT t.k, up.k FROM t"
         " JOIN up ON t.c = up.k % 5"),
        ("WITH x AS (SELECT max(c) AS m FROM u), a AS (UPDATE t SET c = m FROM x RETURNING t.k),"
         " b AS (DELETE FROM kept USING x WHERE kept.c < m RETURNING kept.k)"
         " SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b), m FROM x"),
        (("WITH up AS (UPDATE r SET n = n + %s RETURNING id, n),"
          " x AS (SELECT id FROM up WHERE n > %s) UPDATE t SET w = 'of r' FROM x"
          " WHERE t.c = x.id"), (5, 2)),
        "WITH up AS (UPDATE t SET at = 'today') DELETE FROM kept",
        ("WITH gone AS (DELETE FROM t WHERE k = 105 RETURNING *)"
         " INSERT INTO kept SELECT n FROM r, gone"),
        "WITH a AS (DELETE FROM u WHERE n = 1 RETURNING k) INSERT INTO kept VALUES (1), (2), (3)",
        # The second part fails: nothing of the first one is left.
        "WITH a AS (DELETE FROM r RETURNING id) INSERT INTO t (k) SELECT k / 0 FROM kept",
        ("WITH a AS (INSERT INTO few VALUES (70, 3), (71, 4) RETURNING c) SELECT sum(c), count(*)"
         " FROM a"),
        "WITH a AS (DELETE FROM few WHERE c = 4 RETURNING *) SELECT count(*) FROM a",
    ],
}  # fmt: skip
REFUSED = {
    "WITH a AS (DELETE FROM t RETURNING k) SELECT count(*) FROM t": "an aggregate takes",
    "WITH a AS (DELETE FROM t RETURNING c) SELECT sum(c) FROM t JOIN a USING (c)": "WITH queries",
    "WITH a AS (DELETE FROM t RETURNING c) DELETE FROM t USING a WHERE t.k = a.c": "WITH queries",
    "WITH a AS (DELETE FROM t RETURNING c) INSERT INTO t (k) SELECT sum(c) FROM u": "WITH queries",
    "WITH a AS (UPDATE t SET c = 1 RETURNING c) SELECT sum(c) FROM a, few": "WITH queries",
    ("WITH a AS (INSERT INTO child VALUES (1, 99), (2, 98)), b AS (INSERT INTO r VALUES (99), (98))"
     " SELECT 1"): "WITH queries",
    ("WITH a AS (DELETE FROM r RETURNING id), b AS (DELETE FROM child) SELECT count(*) FROM a"):
        "WITH queries",
    "WITH a AS (DELETE FROM r RETURNING id) SELECT count(*) FROM a, cascaded": "WITH queries",
    "WITH RECURSIVE a AS (DELETE FROM t RETURNING c) SELECT sum(c) FROM a": "WITH queries",
    ("WITH a AS (INSERT INTO fired VALUES (1), (2) RETURNING k) SELECT sum(k) FROM a"):
        "WITH queries",
}  # fmt: skip


@pytest.fixture(scope="module")
def both(greenshard_shards):
    with side_by_side(greenshard_shards, SCHEMA, TABLES) as both:
        yield both


@pytest.mark.parametrize("shards", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_parts_that_write_do_what_one_server_does(both, case, shards):
    both.check(ROWS, CASES[case], shards, autocommit=shards == 2)


def test_parts_that_need_other_shards_are_refused(both):
    with both.filled(ROWS, 3) as (single, conn):
        for text, reason in REFUSED.items():
            with pytest.raises(greenshard.NotSupportedError, match="GS412") as refused:
                conn.cursor().execute(text)
            assert reason in str(refused.value), text
        both.compare(conn, single)


def test_a_transaction_fails_with_a_part_that_is_refused(both):
    """Else what ran before it would be committed."""
    text = (
        "WITH a AS (DELETE FROM kept RETURNING k) SELECT k FROM t WHERE k IN (SELECT k FROM a)"
        " ORDER BY c LIMIT 3 FOR UPDATE SKIP LOCKED"
    )
    for autocommit in (False, True):
        with both.filled(ROWS, 3) as (_, conn):
            conn.cursor().execute("INSERT INTO kept VALUES (1), (2), (3)")
            conn.commit()
            conn.autocommit = autocommit
            with pytest.raises(greenshard.NotSupportedError, match="locked"):
                conn.cursor().execute(text)
            if not autocommit:
                with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
                    conn.cursor().execute("SELECT 1")
                conn.rollback()
            cur = conn.cursor()
            cur.execute("SELECT count(*) FROM kept")
            assert cur.fetchone() == (3,)
