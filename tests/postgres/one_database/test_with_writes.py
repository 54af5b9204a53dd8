"""Statements whose WITH queries write do what one server does, or are refused."""

from __future__ import annotations

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
"""
TABLES = {
    "t": greenshard.Sharded("k"),
    "u": greenshard.Sharded("k"),
    "kept": greenshard.Sharded("k"),
    "dated": greenshard.Sharded("k"),
    "ids": greenshard.Sharded("id"),
    "r": greenshard.Reference(),
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
}  # fmt: skip
REFUSED = {
    "WITH gone AS (DELETE FROM t RETURNING *) SELECT count(*) FROM gone": "an aggregate takes",
    "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone ORDER BY k": "put in order",
    "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone LIMIT 1": "LIMIT",
    "WITH gone AS (DELETE FROM t RETURNING *) SELECT 1": "the same rows on every shard",
    "WITH gone AS (DELETE FROM r RETURNING *) SELECT * FROM gone": "writes to reference table r",
    "WITH gone AS (DELETE FROM t RETURNING *) INSERT INTO r SELECT k, c FROM gone":
        "writes to reference table r",
    "WITH gone AS (DELETE FROM t RETURNING *) INSERT INTO kept SELECT c, k FROM gone":
        "the k of the rows that the statement inserts is not the shard key",
    "WITH gone AS (DELETE FROM t RETURNING *) INSERT INTO dated SELECT k FROM gone":
        "at would get a default",
    "WITH gone AS (DELETE FROM t WHERE k = 1 RETURNING *) INSERT INTO ids (c) SELECT k FROM gone":
        "counted",
    "WITH ins AS (INSERT INTO t (k) VALUES (1001), (1002), (1003)) DELETE FROM u": "inserts VALUES",
    "WITH up AS (UPDATE t SET k = k + 1 RETURNING *) SELECT * FROM up": "changes the shard key k",
    "WITH gone AS (DELETE FROM t RETURNING *) DELETE FROM u USING gone WHERE u.n = gone.c":
        "are not joined by their shard keys",
    "WITH up AS (UPDATE t SET at = 'now') DELETE FROM u": "may tell the time",
    "WITH gone AS (DELETE FROM t WHERE k = 1 RETURNING *) INSERT INTO kept SELECT n FROM r, gone":
        "is not the shard key",
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
