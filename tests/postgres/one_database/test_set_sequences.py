"""setval() of what is read: any strategy reads it, and the first shard, which counts, is set."""

from __future__ import annotations

import pytest

import greenshard
from tests.postgres.one_database.side_by_side import side_by_side
from tests.postgres.psql import run

SCHEMA = """
CREATE TABLE t (k bigserial PRIMARY KEY, c int);
CREATE TABLE r (id int PRIMARY KEY, n int);
"""
TABLES = {"t": greenshard.Sharded("k"), "r": greenshard.Reference()}
ROWS = ["INSERT INTO t SELECT g, g % 5 FROM generate_series(1, 40) AS g"]
STATEMENTS = [
    "SELECT setval('t_k_seq', (SELECT max(k) FROM t))",
    "INSERT INTO t (c) VALUES (1) RETURNING k",
    "SELECT setval('t_k_seq', max(k)) FROM t",
    "SELECT setval('t_k_seq', coalesce(max(k), 0) + 1, false) AS reached FROM t",
    "SELECT nextval('t_k_seq')",
    "SELECT setval(pg_get_serial_sequence('t', 'k'), max(k) + 100, count(*) > 0) FROM t",
    "SELECT nextval('t_k_seq'), currval('t_k_seq')",
    ("SELECT setval('t_k_seq', %s + (SELECT max(k) FROM t WHERE c < %s), %s)", (1000, 3, True)),
    "SELECT nextval('t_k_seq')",
    "SELECT setval('t_k_seq', (WITH w AS (SELECT max(k) AS m FROM t) SELECT m FROM w))",
    "SELECT setval('t_k_seq', max(k)) FROM t WHERE c = 99",
    "SELECT setval('t_k_seq', max(k)) FROM t HAVING count(*) > 1000",
    "SELECT setval('t_k_seq', (SELECT max(k) FROM t WHERE k = 7))",
    "SELECT setval('t_k_seq', -1 - max(k)) FROM t",
    "SELECT setval('none', max(k)) FROM t",
    "SELECT setval('t_k_seq', (SELECT max(c) FROM t)), setval('t_k_seq', (SELECT max(k) FROM t))",
    "SELECT nextval('t_k_seq')",
]


@pytest.fixture(scope="module")
def sides(greenshard_shards):
    with side_by_side(greenshard_shards, SCHEMA, TABLES) as found:
        yield found


@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
def test_it_is_as_on_one_server(sides, autocommit):
    for dsn in (sides.one, *sides.dsns.values()):
        run(dsn, "ALTER SEQUENCE t_k_seq RESTART")
    sides.check(ROWS, STATEMENTS, 3, autocommit=autocommit)


def test_the_plan_is_told(sides):
    with sides.filled(ROWS, 3) as (_, conn):
        plan = conn.explain(STATEMENTS[0])
        assert plan.splitlines()[:2] == ["strategy: setting", "first this is read:"]
        assert "then s0 runs:\n    SELECT setval('t_k_seq', gs.c0) FROM (the row) gs" in plan


@pytest.mark.parametrize(
    "text",
    [
        "SELECT setval('t_k_seq', k) FROM t",
        "SELECT setval('t_k_seq', max(k)) FROM t GROUP BY c",
        "SELECT setval('t_k_seq', max(k)), max(k) FROM t",
        "SELECT setval('t_k_seq', nextval('t_k_seq') + max(k)) FROM t",
    ],
)
def test_what_is_refused(sides, text):
    with sides.filled(ROWS, 3) as (_, conn), pytest.raises(greenshard.NotSupportedError):
        conn.cursor().execute(text)
