"""`conn.on` in a declared cluster puts no row where it does not belong.

`checking.check` is the judge: it asks the servers where each row belongs, and compares the copies
of reference tables.
"""

from __future__ import annotations

import contextlib

import psycopg2
import psycopg2.extras
import pytest
from psycopg2.extensions import AsIs

import greenshard
from greenshard import checking
from greenshard.cluster import Hash, Unknown
from tests.initialised import initialised
from tests.postgres.psql import run

SCHEMA = """
CREATE TABLE t (k int PRIMARY KEY, c int DEFAULT 1);
CREATE TABLE u (k int, c int);
CREATE TABLE s (k bigserial, c int);
CREATE TABLE w (k varchar(5) PRIMARY KEY, c int);
CREATE TABLE r (id int PRIMARY KEY, n int, at timestamptz);
CREATE TABLE led (k int PRIMARY KEY);
CREATE TABLE follows (id int PRIMARY KEY, k int REFERENCES led ON DELETE CASCADE
    ON UPDATE SET NULL);
CREATE TABLE free (k int, c int);
CREATE TABLE unruled (k int, c int);
CREATE VIEW v AS SELECT k, c FROM t;
CREATE VIEW vr AS SELECT id, n FROM r;
CREATE VIEW vf AS SELECT k FROM free;
CREATE TABLE parts (c int, k int) PARTITION BY LIST (c);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE above (c int, k int) PARTITION BY LIST (c);
CREATE TABLE heir PARTITION OF above FOR VALUES IN (1);
CREATE SCHEMA other;
CREATE TABLE other.codes (id int PRIMARY KEY);
CREATE TABLE kinds (id int, n int) PARTITION BY LIST (n);
CREATE TABLE kinds_1 PARTITION OF kinds FOR VALUES IN (1);
CREATE TYPE typ AS (a int, b int);
CREATE TABLE typed OF typ;
CREATE TABLE other.t (k int, c int);
"""
DECLARED = {
    "public.t": greenshard.Sharded("k"),
    "u": greenshard.Sharded("k"),
    "s": greenshard.Sharded("k"),
    "w": greenshard.Sharded("k"),
    "r": greenshard.Reference(),
    "other.codes": greenshard.Reference(),
    "kinds": greenshard.Reference(),
    "typed": greenshard.Reference(),
    "home": greenshard.Single(on="s1"),
    "led": greenshard.Sharded("k"),
    "follows": greenshard.Reference(),
    "parts": greenshard.Sharded("k"),
    "heir": greenshard.Sharded("k"),
    "unruled": greenshard.Sharded("k", Unknown()),
}
PLACEMENT = Hash()
HERE, THERE = "s1", "s2"


@pytest.fixture(scope="module")
def cluster(greenshard_shards):
    with greenshard_shards.databases() as one, greenshard_shards.databases() as other:
        dsns = {"s0": one["s0"], "s1": one["s1"], "s2": other["s0"], "s3": other["s1"]}
        for dsn in dsns.values():
            run(dsn, SCHEMA, "INSERT INTO r SELECT n, n FROM generate_series(1, 5) AS n")
        yield initialised(greenshard.Cluster(dsns, DECLARED))


@pytest.fixture
def conn(cluster):
    with contextlib.closing(greenshard.connect(cluster)) as connection:
        cur = connection.cursor()
        for key in range(20):
            cur.execute("INSERT INTO t VALUES (%s, 0) ON CONFLICT DO NOTHING", (key,))
            cur.execute("INSERT INTO u VALUES (%s, 0)", (key,))
        connection.commit()
        yield connection
        connection.rollback()
        for table in ("t", "u", "s", "w"):
            cur.execute(f"DELETE FROM {table}")
        connection.commit()


def key_of(shard, start=100):
    """A key that belongs on a shard."""
    names = ("s0", "s1", "s2", "s3")
    return next(k for k in range(start, 9999) if PLACEMENT.shards_for(k, "int4", names) == shard)


MINE, ANOTHER = key_of(HERE), key_of(THERE)
#: Statements that put something where it does not belong, and a part of the hint of each.
WRONG = {
    f"INSERT INTO t VALUES ({ANOTHER}, 1)": "without conn.on",
    f"INSERT INTO t (c, k) VALUES (1, {MINE}), (2, {ANOTHER})": "without conn.on",
    f"INSERT INTO public.t AS x (k) VALUES ({ANOTHER}) ON CONFLICT DO NOTHING": "without conn.on",
    "INSERT INTO t VALUES (NULL, 1)": "without conn.on",
    "INSERT INTO s (c) VALUES (1)": "nextval",
    "INSERT INTO s VALUES (DEFAULT, 1)": "nextval",
    "INSERT INTO s DEFAULT VALUES": "nextval",
    "INSERT INTO t VALUES (50 + 50, 1)": "as a value",
    "INSERT INTO t SELECT 100, 1": "Read the rows first",
    "INSERT INTO t SELECT c, k FROM u": "Read the rows first",
    "INSERT INTO t SELECT id, n FROM r": "Read the rows first",
    "INSERT INTO t SELECT u.k + 100, 1 FROM u": "Read the rows first",
    "INSERT INTO t SELECT u.k, 1 FROM r LEFT JOIN u ON u.k = 0": "Read the rows first",
    f"WITH x AS (INSERT INTO t VALUES ({ANOTHER}, 1) RETURNING k) SELECT * FROM x": "without",
    f"EXPLAIN ANALYZE INSERT INTO t VALUES ({ANOTHER}, 1)": "without conn.on",
    f"SELECT 1; INSERT INTO t VALUES ({ANOTHER}, 1)": "without conn.on",
    f"SET search_path = public; INSERT INTO t VALUES ({MINE}, 1)": "one at a time",
    "PREPARE ins AS INSERT INTO t VALUES ($1, 1)": "as a value",
    f"INSERT INTO w VALUES ('{'x' * 5} ', 1)": "column's type",
    f"INSERT INTO v VALUES ({MINE}, 1)": "its tables",
    "UPDATE t SET k = k + 100": "Delete the row",
    f"UPDATE t SET k = {ANOTHER} WHERE k = 0": "without conn.on",
    f"UPDATE t SET (c, k) = (1, {MINE})": "Delete the row",
    f"INSERT INTO t VALUES ({MINE}, 1) ON CONFLICT (k) DO UPDATE SET k = {ANOTHER}": "without",
    "UPDATE v SET c = 1": "its tables",
    f"INSERT INTO parts_1 VALUES (1, {ANOTHER})": "without conn.on",
    f"INSERT INTO parts VALUES (1, {ANOTHER})": "without conn.on",
    f"INSERT INTO above VALUES (1, {ANOTHER})": "without conn.on",
    "UPDATE above SET k = k + 1": "Delete the row",
    "UPDATE r SET n = 7": "all shards",
    "DELETE FROM r WHERE id = 1": "all shards",
    "INSERT INTO r VALUES (9, 9)": "all shards",
    "TRUNCATE free, r": "all shards",
    "UPDATE vr SET n = 7": "its tables",
    "MERGE INTO t USING (VALUES (1)) AS m (a) ON k = a"
    f" WHEN NOT MATCHED THEN INSERT VALUES ({ANOTHER}, 1)": "without conn.on",
    "MERGE INTO t USING r ON k = id + 100 WHEN NOT MATCHED THEN INSERT VALUES (id + 100, 1)":
        "as a value",
    "MERGE INTO t USING r ON k = id WHEN MATCHED THEN UPDATE SET k = k + 100": "Delete the row",
    "COPY t FROM '/dev/null'": "without conn.on",
}  # fmt: skip
#: Statements that do not.
RIGHT = [
    f"INSERT INTO t VALUES ({MINE}, 1)",
    f"INSERT INTO t VALUES ('{MINE}', 1) ON CONFLICT (k) DO UPDATE SET c = 2, k = {MINE}",
    f"UPDATE t SET k = {key_of(HERE, MINE + 1)} WHERE k = {MINE}",
    "UPDATE t SET c = c + 1",
    "UPDATE t SET c = u.c FROM u WHERE u.k = t.k",
    "INSERT INTO t SELECT k, c FROM u ON CONFLICT DO NOTHING",
    "INSERT INTO u SELECT t.k, r.n FROM t JOIN r ON true",
    "DELETE FROM t WHERE c = 5",
    f"""MERGE INTO t USING r ON k = id WHEN MATCHED THEN UPDATE SET c = n
        WHEN NOT MATCHED AND false THEN INSERT VALUES ({MINE}, 1)""",
    f"EXPLAIN INSERT INTO t VALUES ({ANOTHER}, 1)",
    "INSERT INTO free VALUES (1, 2)",
    f"INSERT INTO parts_1 VALUES (1, {MINE})",
    f"INSERT INTO above VALUES (1, {MINE})",
    "INSERT INTO vf VALUES (1)",
    "INSERT INTO other.t SELECT 1, 2",
    "INSERT INTO unruled VALUES (3, 4)",
    "CREATE TEMP TABLE temporary AS SELECT * FROM t; INSERT INTO temporary SELECT 1, 2",
    "CREATE FUNCTION writes() RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO t SELECT 1; END",
    "SELECT 'insert', count(*) FROM t",
    "TRUNCATE u",
]


def findings(cluster):
    shards = {name: shard.primary for name, shard in cluster.shards.items()}
    with contextlib.closing(greenshard.connect(shards)) as union:
        found = checking.check(union, cluster).findings
        return [(each.table, each.message) for each in found if each.check in ("rows", "reference")]


def test_what_puts_rows_elsewhere_is_refused_with_what_to_do(conn, cluster):
    for statement, hint in WRONG.items():
        if conn.server_version < 150000 and "MERGE" in statement:
            continue
        with pytest.raises(greenshard.NotSupportedError) as refused, conn.on(HERE):
            conn.cursor().execute(statement)
        assert (refused.value.code, hint in refused.value.hint) == ("GS412", True), statement
    conn.rollback()
    assert findings(cluster) == []


def test_what_leaves_rows_where_they_belong_is_run(conn, cluster):
    for statement in RIGHT:
        if conn.server_version < 150000 and "MERGE" in statement:
            continue
        with conn.on(HERE).cursor() as cur:
            cur.execute(statement)
    conn.commit()
    assert findings(cluster) == []
    with conn.on(HERE).cursor() as cur:
        cur.execute("DROP FUNCTION writes()")
    conn.commit()


def test_parameters_name_the_keys_of_rows(conn, cluster):
    insert = "INSERT INTO t VALUES (%s, %s)"
    with conn.on(HERE).cursor() as cur:
        cur.execute(insert, (MINE, 1))
        cur.execute("INSERT INTO t (k) VALUES %s", ((key_of(HERE, MINE + 1),),))
        cur.executemany("UPDATE t SET c = %(c)s, k = %(k)s WHERE k = %(k)s", [{"c": 1, "k": MINE}])
        psycopg2.extras.execute_values(
            cur, "INSERT INTO u VALUES %s", [(MINE, n) for n in range(9)]
        )
        for text, given in [
            (insert, (ANOTHER, 1)),
            (insert, (None, 1)),
            (insert, (AsIs(ANOTHER), 1)),
            (insert, (float(MINE), 1)),
            ("INSERT INTO t (k) VALUES %s", ((ANOTHER,),)),
            ("INSERT INTO %s VALUES (%s)", (AsIs("t"), ANOTHER)),
            ("UPDATE t SET k = %s WHERE k = %s", (ANOTHER, MINE)),
            (b"INSERT INTO t VALUES (%(k)s)", {"k": ANOTHER}),
            (psycopg2.sql.SQL("INSERT INTO {} VALUES (%s)").format(psycopg2.sql.Identifier("t")),
             (ANOTHER,)),
        ]:  # fmt: skip
            with pytest.raises(greenshard.NotSupportedError, match="GS412"):
                cur.execute(text, given)
        with pytest.raises(greenshard.NotSupportedError, match=f"belongs on {THERE}"):
            cur.executemany(insert, [(key_of(HERE, 300), 1), (ANOTHER, 1)])
        with pytest.raises(greenshard.NotSupportedError, match=f"belongs on {THERE}"):
            psycopg2.extras.execute_values(
                cur, "INSERT INTO u VALUES %s", [(MINE, 1), (ANOTHER, 1)]
            )
        with pytest.raises((IndexError, TypeError)):
            cur.execute(insert, (MINE,))
    conn.commit()
    assert findings(cluster) == []


def test_on_all_shards_reference_tables_are_written_alike(conn, cluster):
    with conn.broadcast() as all_of_them, all_of_them.cursor() as cur:
        cur.execute("INSERT INTO r VALUES (%s, 1, NULL)", (77,))
        cur.execute("UPDATE r SET n = 5 WHERE id = 77")
        cur.execute("UPDATE t SET c = 1")
        for statement in [
            "INSERT INTO r VALUES (78, random() * 10)",
            "INSERT INTO r VALUES (78, 1, now())",
            "UPDATE r SET at = current_timestamp",
            "INSERT INTO r VALUES (78, 1, 'now')",
            "UPDATE r SET n = (SELECT count(*) FROM t)",
            f"INSERT INTO t VALUES ({MINE}, 1)",
        ]:
            with pytest.raises(greenshard.NotSupportedError, match="GS412"):
                cur.execute(statement)
        with pytest.raises(greenshard.NotSupportedError, match="GS412"):
            cur.execute("INSERT INTO r VALUES (78, 1, %s)", ("now",))
        cur.execute("UPDATE r SET at = %s", ("2020-01-01 00:00:00+00",))
        cur.execute("DELETE FROM r WHERE id = 77")
    with conn.on(["s0", "s1"]).cursor() as cur:
        cur.execute("UPDATE t SET c = 1")
        with pytest.raises(greenshard.NotSupportedError, match="s0, s1 alone"):
            cur.execute("UPDATE r SET n = 1")
    conn.commit()
    assert findings(cluster) == []


#: DDL that each shard would do for itself, after which they would differ.
ALONE = [
    "ALTER TABLE r ALTER n TYPE int USING n + 1",
    "ALTER TABLE r ADD q int DEFAULT 5",
    "ALTER TABLE IF EXISTS ONLY public.r ALTER id SET STATISTICS 9, DROP COLUMN n",
    "ALTER TABLE r ALTER n SET DEFAULT 5",
    "ALTER TABLE r ALTER n DROP DEFAULT",
    "ALTER TABLE r RENAME n TO m",
    "ALTER TYPE r RENAME ATTRIBUTE n TO m",
    "ALTER FOREIGN TABLE r RENAME n TO m",
    "ALTER TABLE kinds DETACH PARTITION kinds_1",
    "ALTER TABLE kinds_1 ADD q int",
    "ALTER TYPE typ ADD ATTRIBUTE q int CASCADE",
    "ALTER TYPE typ RENAME ATTRIBUTE a TO q CASCADE",
    "DROP TABLE free, r CASCADE",
    "DROP TABLE IF EXISTS kinds_1",
    "DROP TABLE other.codes",
    "DROP SCHEMA other CASCADE",
    "ALTER TABLE t ALTER c TYPE int USING c + 1",
    "ALTER TABLE t ADD q int DEFAULT 5",
    "ALTER TABLE t DROP c",
    "ALTER TABLE t RENAME c TO m",
    "ALTER TABLE t ALTER c SET DEFAULT 7",
    "ALTER TABLE above ADD q int",
    "ALTER TABLE unruled ADD q int",
    "SET lock_timeout = '5s'; ALTER TABLE r ADD q int",
]
#: DDL that changes no column and no copy's rows.
APART = [
    "CREATE INDEX apart ON r (n)",
    "ALTER INDEX apart RENAME TO apart_2",
    "DROP INDEX apart_2",
    "ALTER TABLE r ALTER n SET STATISTICS 9",
    "ALTER TABLE r ADD CONSTRAINT small CHECK (n < 10000), DROP CONSTRAINT IF EXISTS nowhere",
    "ALTER TABLE r DROP CONSTRAINT small",
    "ALTER TABLE free ADD q int DEFAULT 5",
    "ALTER TABLE free DROP q",
    "ALTER TABLE home ADD q int DEFAULT 5",
    "ALTER TABLE home ALTER q TYPE bigint USING q + 1",
    "ALTER VIEW v ALTER c SET DEFAULT 5",
    "CREATE TYPE lone AS (a int)",
    "ALTER TYPE lone ADD ATTRIBUTE b int",
    "CREATE TEMP TABLE own (a int)",
    "ALTER TABLE own ADD q int DEFAULT 5",
    "DROP TABLE own",
    "DROP TABLE IF EXISTS nowhere",
]


def test_ddl_lets_no_copy_and_no_shard_have_columns_of_its_own(conn, cluster):
    with conn.on(HERE).cursor() as cur:
        cur.execute("CREATE TABLE home (a int)")
    conn.commit()
    for named in (HERE, [HERE, THERE]):
        for statement in ALONE:
            with pytest.raises(greenshard.NotSupportedError, match="alone") as refused:
                conn.on(named).cursor().execute(statement)
            found = (refused.value.code, "`greenshard check`" in refused.value.hint)
            assert found == ("GS412", True), statement
    for statement in APART:
        with conn.on(HERE).cursor() as cur:
            cur.execute(statement)
    conn.rollback()
    assert findings(cluster) == []


def test_ddl_on_all_shards_that_are_named_goes_on(conn, cluster):
    with conn.broadcast() as all_of_them, all_of_them.cursor() as cur:
        cur.execute("ALTER TABLE r ADD q int DEFAULT 5")
        cur.execute("SET lock_timeout = '5s'; ALTER TABLE t RENAME c TO d")
        cur.execute("DROP TABLE kinds")
    with conn.on(["s0", "s1", "s2", "s3"]).cursor() as cur:
        cur.execute("ALTER TABLE other.codes ALTER id TYPE bigint USING id + 1")
    conn.rollback()
    assert findings(cluster) == []


def test_foreign_keys_change_no_copy_of_a_reference_table_alone(conn):
    merge = "MERGE INTO led USING r ON k = id WHEN MATCHED THEN DELETE"
    for statement in ["DELETE FROM led", "UPDATE led SET k = 5", "TRUNCATE led CASCADE",
                      *([merge] if conn.server_version >= 150000 else [])]:  # fmt: skip
        with conn.on(HERE), pytest.raises(greenshard.NotSupportedError, match="GS415") as refused:
            conn.cursor().execute(statement)
        assert "follows would be changed, by a foreign key" in str(refused.value), statement
    with conn.on(HERE):
        conn.cursor().execute(f"INSERT INTO led VALUES ({MINE})")


def test_names_are_looked_up_where_the_session_does(conn):
    with conn.on(HERE).cursor() as cur:
        cur.execute("SET search_path = other, public")
        cur.execute(f"INSERT INTO t VALUES ({ANOTHER}, 1)")
        with pytest.raises(greenshard.NotSupportedError, match="GS412"):
            cur.execute(f"INSERT INTO public.t VALUES ({ANOTHER}, 1)")
        cur.execute("RESET search_path")
        with pytest.raises(greenshard.NotSupportedError, match="GS412"):
            cur.execute(f"INSERT INTO t VALUES ({ANOTHER}, 1)")


def test_a_key_that_the_session_reads_otherwise_is_refused(conn, cluster):
    names = cluster.names
    two = next(  # such that the text and what is made of it belong on different shards
        f"a\\\\{n}" for n in range(99)
        if PLACEMENT.shards_for(f"a\\\\{n}", "varchar", names) == HERE
        and PLACEMENT.shards_for(f"a\\{n}", "varchar", names) != HERE
    )  # fmt: skip
    with conn.on(HERE).cursor() as cur:
        cur.execute("SET standard_conforming_strings = off")
        with pytest.raises(greenshard.NotSupportedError, match="GS413"):
            cur.execute(f"INSERT INTO w VALUES ('{two}', 1)")
        cur.execute(f"INSERT INTO t VALUES ({MINE}, 1)")
        cur.execute("SET standard_conforming_strings = on")
        cur.execute(f"INSERT INTO w VALUES ('{two}', 1)")
    conn.commit()
    assert findings(cluster) == []


def test_a_failed_transaction_is_left_to_the_server(conn):
    with conn.on(HERE).cursor() as cur:
        with pytest.raises(psycopg2.errors.DivisionByZero):
            cur.execute("SELECT 1 / 0")
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
            cur.execute(f"INSERT INTO t VALUES ({ANOTHER}, 1)")
