"""CREATE TABLE AS and SELECT INTO of declared tables do what one server does."""

from __future__ import annotations

import contextlib
import re

import psycopg2
import pytest

import greenshard
from tests.postgres.one_database.side_by_side import side_by_side

SCHEMA = """
CREATE SCHEMA far;
CREATE TABLE t (k int PRIMARY KEY, c varchar(9), v numeric(8, 2), at date);
CREATE TABLE r (id int PRIMARY KEY, name text);
"""
TABLES = {"t": greenshard.Sharded("k"), "r": greenshard.Reference()}
MADE = {
    "s": greenshard.Sharded("k"),
    "copy": greenshard.Reference(),
    "far.s": greenshard.Sharded("k"),
}
ROWS = [
    (
        "INSERT INTO t SELECT g, 'c' || g % 3, g / 7.0, date '2020-01-01' + g"
        " FROM generate_series(1, 20) AS g"
    ),
    "INSERT INTO r VALUES (1, 'a'), (2, '50%')",
]
COLUMNS = """SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
    WHERE attrelid = 's'::regclass AND attnum > 0 ORDER BY attnum"""
CASES = [
    "CREATE TABLE s AS SELECT * FROM t",
    "CREATE TABLE s AS SELECT k + 100 AS k, c, v, 'x' AS lit, now()::date > at AS late FROM t",
    "CREATE TABLE s (k, total, n) AS SELECT k % 5, sum(v), count(*) FROM t GROUP BY 1",
    "CREATE UNLOGGED TABLE s WITH (fillfactor = 50) AS SELECT k, '100%'::varchar(7) AS p FROM t",
    ("CREATE TABLE s AS SELECT k, %s || c AS c FROM t WHERE k > %s", ("%x", 5)),
    ("CREATE TABLE s AS SELECT id AS k, name FROM r WHERE id = %(id)s", {"id": 2}),
    "CREATE TABLE s (k, c) AS VALUES (1, 'a'), (2, 'b')",
    "CREATE TABLE s AS SELECT a.k, b.c FROM t a JOIN t b ON b.k = a.k + 1 WITH DATA",
    "CREATE TABLE s AS SELECT k, c FROM t WITH NO DATA",
    "SELECT k, c INTO s FROM t WHERE k < 9 ORDER BY c",
    "WITH x AS (SELECT max(k) AS k FROM t) SELECT k, 1 AS one INTO TABLE s FROM x",
    "CREATE TABLE s AS SELECT k, 1 / (k - 3) FROM t",
    "CREATE TABLE s AS SELECT nosuch FROM t",
    "CREATE TABLE s AS SELECT k, k FROM t",
]


@pytest.fixture(scope="module")
def sides(greenshard_shards):
    with side_by_side(greenshard_shards, SCHEMA, {**TABLES, **MADE}) as found:
        found.tables = TABLES
        yield found


@contextlib.contextmanager
def filled(sides, shards=3):
    """Connections, to which the tables that are to be made are declared."""
    with sides.filled(ROWS, shards) as (single, _):
        dsns = dict(list(sides.dsns.items())[:shards])
        cluster = greenshard.Cluster(dsns, {**TABLES, **MADE})
        with contextlib.closing(greenshard.connect(cluster)) as conn:
            yield single, conn


def told(conn, statement):
    text, given = statement if isinstance(statement, tuple) else (statement, None)
    cur = conn.cursor()
    try:
        cur.execute(text, given)
        found = [cur.rowcount, cur.statusmessage, cur.description]
        cur.execute(COLUMNS)
        found.append(cur.fetchall())
        cur.execute("SELECT * FROM s")
        found.append(sorted(map(repr, cur.fetchall())))
    except greenshard.NotSupportedError as error:
        return error
    except psycopg2.Error as error:
        return error.pgcode
    return found


@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
def test_they_are_made_as_on_one_server(sides, autocommit):
    with filled(sides) as (single, conn):
        for statement in CASES:
            single.autocommit = conn.autocommit = autocommit
            assert told(conn, statement) == told(single, statement), statement
            for each in (conn, single):
                each.rollback()
                each.autocommit = True
                each.cursor().execute("DROP TABLE IF EXISTS s")


def test_rows_go_where_they_belong(sides):
    text = "CREATE TABLE {} AS SELECT k * 7 AS k, c, gen_random_uuid() AS u FROM t"
    with filled(sides) as (_, conn):
        cur = conn.cursor()
        for name in ("s", "far.s", "copy"):
            cur.execute(text.format(name))
        conn.commit()
        copies = []
        for shard in conn.shards:
            with conn.on(shard):
                cur.execute("SELECT * FROM copy ORDER BY k")
                copies.append(cur.fetchall())
        assert len(copies[0]) == 20
        assert copies[0] == copies[1] == copies[2]
        cur.execute("SELECT count(*) FROM s JOIN far.s AS f USING (k)")
        assert cur.fetchone() == (20,)
        cur.execute("SELECT c FROM s WHERE k = 49")
        assert cur.fetchall() == [("c1",)]
        cur.execute("DROP TABLE s, far.s, copy")
        conn.commit()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("CREATE TABLE other AS SELECT * FROM t", "Declare the table"),
        ("SELECT * INTO other FROM t", "Declare the table"),
        ("CREATE TABLE IF NOT EXISTS s AS SELECT * FROM t", "IF NOT EXISTS"),
        ("CREATE TABLE s AS SELECT c FROM t", "has no column k, its declared shard key"),
        ("CREATE MATERIALIZED VIEW s AS SELECT * FROM t", "over several shards"),
    ],
)
def test_what_is_refused_leaves_nothing(sides, text, reason):
    with filled(sides) as (_, conn):
        conn.autocommit = True
        cur = conn.cursor()
        with pytest.raises(greenshard.NotSupportedError) as raised:
            cur.execute(text)
        assert re.search(reason, f"{raised.value} {raised.value.hint}")
        cur.execute("SELECT to_regclass('s') IS NULL")
        assert cur.fetchone() == (True,)


def test_explain_tells_both_steps(sides):
    with filled(sides) as (_, conn):
        plan = conn.explain("SELECT k, '5%%' AS p INTO s FROM t WHERE k > %s", (3,))
    assert "strategy: create" in plan
    assert "CREATE TABLE s AS SELECT k, '5%%' AS p FROM t WHERE k > (%(p1)s)  WITH NO DATA" in plan
    assert "INSERT INTO s SELECT k, '5%%' AS p FROM t WHERE k > (%(p1)s)" in plan
