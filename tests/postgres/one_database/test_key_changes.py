"""DDL that touches a shard key is refused; what leaves rows where they belong goes on."""

from __future__ import annotations

import contextlib

import pytest

import greenshard
from greenshard import checking
from tests.initialised import initialised
from tests.postgres.psql import run

SCHEMA = """
CREATE DOMAIN whole AS int;
CREATE TABLE t (k int PRIMARY KEY, c int, word text);
CREATE TABLE "T u" ("K" text, c int);
CREATE SCHEMA far;
CREATE TABLE far.t (k whole, c int);
CREATE TABLE r (id int PRIMARY KEY, n int);
CREATE TABLE parts (k int, c int) PARTITION BY LIST (c);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE like_parts (k int, c int);
CREATE TABLE other_key (k int, c int);
CREATE TABLE above (k int, c int);
CREATE TABLE heir (k int, c int) INHERITS (above);
CREATE TABLE free (k int, c int);
CREATE VIEW v AS SELECT k, c FROM parts;
CREATE VIEW w AS SELECT c, word FROM t;
CREATE TYPE typ AS (k int, x int);
CREATE TABLE typed OF typ (k PRIMARY KEY);
CREATE TYPE lone AS (k int, x int);
"""
DECLARED = {
    "t": greenshard.Sharded("k"),
    '"T u"': greenshard.Sharded('"K"'),
    "r": greenshard.Reference(),
    "parts": greenshard.Sharded("k"),
    "like_parts": greenshard.Sharded("k"),
    "other_key": greenshard.Sharded("c"),
    "heir": greenshard.Sharded("k"),
    "gone": greenshard.Sharded("k"),
    "typed": greenshard.Sharded("k"),
}
REFUSED = [
    "ALTER TABLE t ALTER k TYPE text",
    "ALTER TABLE t ALTER COLUMN k SET DATA TYPE bigint USING k + 1",
    "ALTER TABLE IF EXISTS ONLY public.t ALTER k TYPE numeric",
    "ALTER TABLE t ADD d int, ALTER c TYPE text, ALTER k TYPE text, DROP word",
    'ALTER TABLE "T u" ALTER "K" TYPE varchar(3)',
    'ALTER TABLE "T u" ALTER "K" TYPE text COLLATE "C"',
    "ALTER TABLE t ALTER k TYPE whole",
    "ALTER TABLE t DROP k",
    "ALTER TABLE t DROP COLUMN IF EXISTS k CASCADE",
    "ALTER TABLE t DROP k, ADD k int",
    "ALTER TABLE t RENAME k TO id",
    "ALTER TABLE IF EXISTS far.t RENAME COLUMN k TO id",
    "ALTER TABLE t RENAME c TO k",
    'ALTER TABLE "T u" RENAME "K" TO k',
    "ALTER TABLE public.t RENAME COLUMN k TO id",
    "ALTER TABLE above RENAME k TO id",
    "ALTER TABLE above ALTER k TYPE text",
    "ALTER TABLE t RENAME TO old_t",
    "ALTER TABLE free RENAME TO gone",
    "ALTER TABLE r RENAME TO gone",
    "ALTER TABLE parts ATTACH PARTITION free FOR VALUES IN (2)",
    "ALTER TABLE parts ATTACH PARTITION other_key DEFAULT",
    "ALTER TABLE free INHERIT t",
    "ALTER TABLE other_key INHERIT heir",
    "SET lock_timeout = '5s'; ALTER TABLE t DROP k",
    "ALTER TYPE t RENAME ATTRIBUTE k TO id",
    "ALTER FOREIGN TABLE t RENAME k TO id",
    "ALTER INDEX t RENAME TO old_t",
    "ALTER TYPE typ RENAME ATTRIBUTE k TO z CASCADE",
    "ALTER TYPE typ RENAME ATTRIBUTE x TO k CASCADE",
    "ALTER TYPE public.typ ALTER ATTRIBUTE k TYPE text CASCADE",
    "ALTER TYPE typ ADD ATTRIBUTE y int CASCADE, DROP ATTRIBUTE IF EXISTS k CASCADE",
    "ALTER TYPE typ ADD ATTRIBUTE k int CASCADE",
]
GO_ON = [
    "ALTER TABLE t ALTER k TYPE bigint",
    "ALTER TABLE t ALTER k TYPE int, ADD d int DEFAULT 1, ALTER k SET DEFAULT 7",
    "ALTER TABLE t DROP d",
    "ALTER TABLE t ADD COLUMN IF NOT EXISTS k int",
    'ALTER TABLE "T u" RENAME c TO k',
    "ALTER VIEW v RENAME k TO id",
    "ALTER VIEW v RENAME TO gone_view",
    "ALTER VIEW w RENAME c TO k",
    "ALTER TABLE parts ATTACH PARTITION like_parts FOR VALUES IN (2)",
    "ALTER TABLE parts DETACH PARTITION like_parts",
    "ALTER TABLE free ALTER k TYPE text",
    "ALTER TABLE free RENAME k TO id",
    "ALTER TABLE IF EXISTS nowhere DROP k",
    "ALTER TABLE parts RENAME c TO d",
    "ALTER TABLE r RENAME CONSTRAINT r_pkey TO code",
    "ALTER TABLE t RENAME CONSTRAINT t_pkey TO k",
    "ALTER INDEX k RENAME TO gone_index",
    "ALTER TYPE lone RENAME ATTRIBUTE k TO z",
    "ALTER TYPE typ RENAME ATTRIBUTE x TO y CASCADE",
    "ALTER TYPE typ ADD ATTRIBUTE z int CASCADE",
    "ALTER TABLE typed NOT OF",
    "ALTER TABLE typed OF typ",
]


@pytest.fixture(scope="module")
def cluster(greenshard_shards):
    with greenshard_shards.databases() as one, greenshard_shards.databases() as other:
        dsns = {"s0": one["s0"], "s1": one["s1"], "s2": other["s0"], "s3": other["s1"]}
        for dsn in dsns.values():
            run(dsn, SCHEMA)
        cluster = initialised(greenshard.Cluster(dsns, DECLARED))
        with contextlib.closing(greenshard.connect(cluster)) as conn, conn.cursor() as cur:
            for key in range(40):
                cur.execute("INSERT INTO t VALUES (%s, 1)", (key,))
                cur.execute("INSERT INTO like_parts VALUES (%s, 2)", (key,))
                cur.execute("""INSERT INTO "T u" VALUES (%s, 1)""", (str(key),))
            conn.commit()
        yield cluster


@pytest.fixture
def conn(cluster):
    with contextlib.closing(greenshard.connect(cluster)) as connection:
        yield connection


@pytest.mark.parametrize("shard", [None, "s1"])
def test_ddl_that_touches_a_key_is_refused(conn, shard):
    for statement in REFUSED:
        with contextlib.ExitStack() as stack:
            if shard is not None:
                stack.enter_context(conn.on(shard))
            with pytest.raises(greenshard.NotSupportedError) as refused:
                conn.cursor().execute(statement)
        assert refused.value.code == "GS416", statement
        assert "conn.on" not in refused.value.hint
    conn.rollback()


def test_ddl_that_leaves_rows_where_they_belong_goes_on(conn, cluster):
    cur = conn.cursor()
    for statement in GO_ON:
        cur.execute(statement)
    conn.commit()
    for key in range(40):
        cur.execute("SELECT count(*) FROM t WHERE k = %s", (key,))
        assert cur.fetchone() == (1,)
    conn.commit()
    shards = {name: shard.primary for name, shard in cluster.shards.items()}
    with contextlib.closing(greenshard.connect(shards)) as union:
        found = checking.check(union, cluster).findings
    assert [each for each in found if each.check == "rows"] == []


FILLING = [
    "ALTER TABLE r ADD u uuid DEFAULT gen_random_uuid()",
    "ALTER TABLE r ADD x int, ADD ts timestamptz NOT NULL DEFAULT now()",
    "ALTER TABLE r ADD ts timestamptz DEFAULT current_timestamp",
    "ALTER TABLE r ADD ts timestamptz DEFAULT 'now'",
    "ALTER TABLE r ADD f float8 DEFAULT random() * 2",
    "ALTER TABLE r ADD s bigserial",
    "ALTER TABLE r ADD s int GENERATED ALWAYS AS IDENTITY",
    "ALTER TABLE r ALTER n TYPE text USING random()::text",
    "ALTER TABLE t ADD ts timestamptz DEFAULT now()",
    "ALTER TABLE t ADD day date DEFAULT current_date",
    "ALTER TABLE t ADD s bigserial",
    "ALTER TABLE t ADD s int GENERATED BY DEFAULT AS IDENTITY",
    "ALTER TABLE t ADD s int DEFAULT nextval('numbers')",
    "ALTER TABLE r ADD o oid DEFAULT 't'::regclass::oid",
    "ALTER TABLE r ADD c text DEFAULT ('n' || 'ow')::timestamptz::text",
    "ALTER TABLE r ALTER n TYPE timestamptz USING n::text::timestamptz",
    "ALTER TABLE t ADD c text DEFAULT replace('nxow', 'x', '')::timestamptz::text",
    "ALTER TABLE t ADD c text DEFAULT told()",
    "ALTER TABLE t ADD c text DEFAULT current_database()",
]
FILLING_ALIKE = [
    "ALTER TABLE r ADD a int DEFAULT 5, ADD b text DEFAULT lower('A'), ADD z timestamptz",
    "ALTER TABLE r ALTER z SET DEFAULT now()",
    "ALTER TABLE r ALTER n TYPE bigint USING n + 1",
    "ALTER TABLE r ADD named text DEFAULT 't'::regclass::text",
    "ALTER TABLE t ADD u uuid DEFAULT gen_random_uuid()",
    "ALTER TABLE t ADD chance int DEFAULT (random() * 9)::int",
]


def test_ddl_fills_rows_alike_or_is_refused(conn, cluster):
    cur = conn.cursor()
    cur.execute("CREATE FUNCTION told() RETURNS text STABLE LANGUAGE sql AS 'SELECT now()::text'")
    cur.execute("INSERT INTO r VALUES (1, 1), (2, 2)")
    conn.commit()
    for statement in FILLING:
        with pytest.raises(greenshard.NotSupportedError, match="GS412") as refused:
            cur.execute(statement)
        assert "then SET DEFAULT" in refused.value.hint, statement
    for statement in FILLING_ALIKE:
        cur.execute(statement)
    conn.commit()
    shards = {name: shard.primary for name, shard in cluster.shards.items()}
    with contextlib.closing(greenshard.connect(shards)) as union:
        found = checking.check(union, cluster).findings
    assert [each for each in found if each.check == "reference"] == []


def test_a_declared_table_is_not_made_of_some_shards_rows(conn):
    for statement in ["CREATE TABLE gone AS SELECT 1 AS k", "SELECT k INTO gone FROM free",
                      "CREATE MATERIALIZED VIEW gone AS SELECT 1 AS k"]:  # fmt: skip
        with conn.on("s1"), pytest.raises(greenshard.NotSupportedError, match="GS412"):
            conn.cursor().execute(statement)
    with conn.on("s1"):
        conn.cursor().execute("CREATE TEMP TABLE gone AS SELECT 1 AS k")
    # From one integer to another goes on where all shards do it.
    with conn.on("s1"), pytest.raises(greenshard.NotSupportedError, match="GS416") as refused:
        conn.cursor().execute("ALTER TABLE t ALTER k TYPE smallint")
    assert refused.value.hint == "Do it on all shards at once, without conn.on(...)."
