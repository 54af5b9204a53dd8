"""What an error's hint says is done, and arrives: each case is refused, then follows it."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from greenshard import Cluster, Reference, Sharded
from tests.postgres.psql import run

SCHEMA = """
CREATE TABLE orders (id int PRIMARY KEY, note text, n int);
CREATE TABLE items (order_id int, word text);
CREATE TABLE nation (id int PRIMARY KEY, name text);
CREATE TABLE loose (a int);
"""
TABLES = {"orders": Sharded("id"), "items": Sharded("order_id"), "nation": Reference()}
JOIN = "SELECT count(*) FROM orders JOIN items ON word = note"


@pytest.fixture(scope="module")
def dsns(greenshard_shards):
    with greenshard_shards.databases() as dsns:
        cluster = Cluster(dsns, TABLES)
        for dsn in dsns.values():
            run(dsn, SCHEMA)
        greenshard.init(cluster)
        with contextlib.closing(greenshard.connect(cluster)) as conn, conn.cursor() as cur:
            cur.executemany("INSERT INTO orders VALUES (%s, 'x', 1)", [(n,) for n in range(20)])
            cur.executemany("INSERT INTO items VALUES (%s, 'x')", [(n,) for n in range(20)])
            conn.commit()
        yield dsns


@pytest.fixture
def conn(dsns):
    with contextlib.closing(greenshard.connect(Cluster(dsns, TABLES))) as conn:
        yield conn


@pytest.fixture
def union(dsns):
    with contextlib.closing(greenshard.connect(dsns)) as union:
        yield union


def refused(conn, code, sql, args=None, *, hint, name=None):
    """Run what is refused, look at the code and the hint, and go back."""
    with pytest.raises(greenshard.Error) as caught:
        (conn.cursor(name) if name else conn.cursor()).execute(sql, args)
    assert (caught.value.code, hint in (caught.value.hint or "")) == (code, True)
    conn.rollback()
    return caught.value


def ask(conn, sql, args=None, name=None):
    with conn.cursor(name) if name else conn.cursor() as cur:
        cur.execute(sql, args)
        return cur.fetchall() if name or cur.description else cur.rowcount


def test_gs103_names_the_shards(conn):
    with pytest.raises(greenshard.ProgrammingError) as caught:
        conn.on("nope")
    assert caught.value.hint == "The shards are s0, s1."
    for name in ("s0", "s1"):
        assert conn.on(name)


def test_gs104_names_what_a_plan_needs(union, dsns):
    with pytest.raises(greenshard.ProgrammingError, match="needs a declared cluster") as caught:
        union.explain("SELECT 1")
    assert "Connect to a greenshard.Cluster" in caught.value.hint
    with contextlib.closing(greenshard.connect(Cluster(dsns, TABLES))) as conn:
        assert conn.explain("SELECT 1")


def test_gs202_name_the_columns_or_cast_them(union):
    with union.on("s1"):
        ask(union, "CREATE TEMP TABLE t AS SELECT 1 AS a, 2 AS b")
    with union.on("s0"):
        ask(union, "CREATE TEMP TABLE t AS SELECT 1::bigint AS a")
    union.commit()
    hint = "Name the columns instead of *, cast them"
    refused(union, "GS202", "SELECT * FROM t", hint=hint)
    refused(union, "GS202", "SELECT a FROM t", hint=hint)
    assert ask(union, "SELECT a::bigint FROM t") == [(1,), (1,)]


def test_gs203_connect_again(dsns):
    with contextlib.closing(greenshard.connect(dsns)) as conn:
        (pid,), _ = ask(conn, "SELECT pg_backend_pid()")
        run(dsns["s0"], f"SELECT pg_terminate_backend({pid}, 10000)")
        with pytest.raises(greenshard.OperationalError):
            ask(conn, "SELECT 1")
        conn.rollback()
        with pytest.raises(greenshard.InterfaceError) as caught:
            ask(conn, "SELECT 1")
        assert (caught.value.code, "Connect again" in caught.value.hint) == ("GS203", True)
    with contextlib.closing(greenshard.connect(dsns)) as conn:
        assert ask(conn, "SELECT 1")


def test_gs301_raise_the_timeout(conn):
    cursor = conn.cursor()
    cursor.timeout = 0.05
    with pytest.raises(greenshard.QueryTimeout) as caught:
        cursor.execute("SELECT pg_sleep(0.2) FROM nation UNION ALL SELECT pg_sleep(0.2)")
    assert "Raise the timeout" in caught.value.hint
    conn.rollback()
    cursor.timeout = 30
    cursor.execute("SELECT 1")


def test_gs401_name_the_shard_or_broadcast(union):
    refused(union, "GS401", "INSERT INTO loose VALUES (1)", hint="conn.on('...')")
    with union.on("s1"):
        assert ask(union, "INSERT INTO loose VALUES (1)") == 1
    with union.broadcast():
        assert ask(union, "INSERT INTO loose VALUES (1)") == 2
    union.rollback()


def test_gs403_choose_one(conn):
    with pytest.raises(greenshard.NotSupportedError) as caught:
        conn.fileno()
    assert (caught.value.code, "with conn.on" in caught.value.hint) == ("GS403", True)
    with conn.on("s1"):
        assert conn.fileno() > 0


def test_gs405_raise_gather_limit(conn):
    conn.gather_limit = 5
    refused(conn, "GS405", JOIN, hint="raise gather_limit")
    conn.gather_limit = 100
    assert ask(conn, JOIN) == [(400,)]
    conn.gather_limit = 30
    restricted = f"{JOIN} WHERE orders.id < 3 AND order_id < 3"
    assert ask(conn, restricted) == [(9,)]


def test_gs406_compare_the_key_or_set_allow_scatter(conn):
    conn.allow_scatter = False
    refused(conn, "GS406", "SELECT * FROM orders", hint="Compare the shard key with a value")
    assert ask(conn, "SELECT n FROM orders WHERE id = 7") == [(1,)]
    conn.allow_scatter = True
    assert len(ask(conn, "SELECT * FROM orders")) == 20


def test_gs407_write_it_so_that_less_is_needed_or_set_allow_gather(conn):
    conn.allow_gather = False
    refused(conn, "GS407", JOIN, hint="conn.explain tells what is in the way")
    assert "strategy: gather" in conn.explain(JOIN)
    assert ask(conn, f"{JOIN} AND id = order_id") == [(20,)]
    conn.allow_gather = True
    assert ask(conn, JOIN) == [(400,)]


def test_gs409_declare_it_or_name_the_shard(conn, dsns):
    refused(conn, "GS409", "SELECT * FROM loose", hint="Declare it as sharded, as a reference")
    with conn.on("s0"):
        assert ask(conn, "SELECT * FROM loose") == []
    for how in (Sharded("a"), Reference(), greenshard.Single("s1")):
        declared = Cluster(dsns, {**TABLES, "loose": how})
        with contextlib.closing(greenshard.connect(declared)) as other:
            assert ask(other, "INSERT INTO loose VALUES (1)") == 1
            assert ask(other, "SELECT * FROM loose") == [(1,)]
            other.rollback()


def test_gs410_ask_each_shard(conn):
    size = "SELECT pg_relation_size('orders')"
    refused(conn, "GS410", size, hint="Ask each shard, with conn.on('...'), and add up")
    total = 0
    for shard in conn.shards:
        with conn.on(shard):
            total += ask(conn, size)[0][0]
    assert total > 0
    refused(conn, "GS410", "DO 'BEGIN END'", hint="name the shards with conn.on(...)")
    with conn.on(conn.shards), conn.broadcast():
        ask(conn, "DO 'BEGIN END'")
    refused(conn, "GS410", "SELECT ctid FROM orders", hint="on one shard with conn.on('...')")
    with conn.on("s0"):
        assert ask(conn, "SELECT ctid FROM orders")


def test_gs410_tables_that_are_made_of_queries(conn, dsns):
    made = "CREATE TABLE made AS SELECT id, n FROM orders"
    refused(conn, "GS410", made, hint="Declare the table; or create it WITH NO DATA")
    assert ask(conn, f"{made} WITH NO DATA") == -1
    conn.rollback()
    declared = Cluster(dsns, {**TABLES, "made": Sharded("id")})
    with contextlib.closing(greenshard.connect(declared)) as other:
        ask(other, made)
        assert ask(other, "SELECT count(*) FROM made") == [(20,)]
        other.rollback()


def test_gs410_cursors_that_scroll(conn):
    scrolling = "DECLARE c SCROLL CURSOR FOR SELECT id FROM orders ORDER BY id"
    refused(conn, "GS410", scrolling, hint="Leave SCROLL out, and fetch the rows in their order")
    ask(conn, scrolling.replace("SCROLL ", ""))
    assert ask(conn, "FETCH 2 FROM c") == [(0,), (1,)]
    conn.rollback()


def test_gs411_one_query_for_a_named_cursor(conn):
    refused(conn, "GS411", "SELECT 1; SELECT 2", hint="one query", name="several")
    assert ask(conn, "SELECT 2", name="one") == [(2,)]


def test_gs412_delete_the_row_and_insert_it_anew(conn):
    changing = "INSERT INTO orders VALUES (1, 'a', 1) ON CONFLICT (id) DO UPDATE SET id = 500"
    refused(conn, "GS412", changing, hint="Delete the row and insert it anew, with its new key")
    assert ask(conn, "DELETE FROM orders WHERE id = 1") == 1
    assert ask(conn, "INSERT INTO orders VALUES (500, 'a', 1)") == 1
    conn.rollback()


def test_gs412_returning_of_merge(conn):
    if conn.server_version < 170000:
        pytest.skip("MERGE has RETURNING from 17 on")
    merge = (
        "MERGE INTO orders USING items ON note = word"
        " WHEN NOT MATCHED THEN INSERT VALUES (1000 + order_id, word, 1)"
    )
    refused(conn, "GS412", f"{merge} RETURNING id", hint="Leave RETURNING out")
    assert ask(conn, merge) == 0
    conn.rollback()
    keyed = (
        "MERGE INTO orders USING items ON id = order_id WHEN MATCHED THEN UPDATE SET n = 2"
        " WHEN NOT MATCHED THEN INSERT VALUES (order_id, word, 1) RETURNING id"
    )
    assert len(ask(conn, keyed)) == 20
    conn.rollback()


def test_gs414_use_a_named_cursor(conn):
    conn.max_held_bytes = 100_000
    large = "SELECT id, repeat('x', 10000) FROM orders ORDER BY 1"
    refused(conn, "GS414", large, hint="Use a named cursor, with a smaller itersize")
    with conn.cursor("rows") as cur:
        cur.itersize = 2
        cur.execute(large)
        assert sum(1 for _ in cur) == 20
    conn.rollback()


def test_gs415_add_the_shard_key(conn):
    unique = "CREATE UNIQUE INDEX ON items (word)"
    error = refused(conn, "GS415", unique, hint="Add the shard key to it")
    ask(conn, "CREATE UNIQUE INDEX ON items (order_id, word)")
    conn.rollback()
    assert "conn.broadcast()" in error.hint
    with conn.broadcast(), contextlib.suppress(psycopg2.errors.UniqueViolation):
        ask(conn, unique)  # each shard looks at its own rows
    conn.rollback()


def test_gs416_make_another_table(conn, dsns):
    hint = "Make a table with another name and declare it, insert the rows there"
    refused(conn, "GS416", "ALTER TABLE orders ALTER id TYPE text", hint=hint)
    declared = Cluster(dsns, {**TABLES, "orders2": Sharded("id")})
    with contextlib.closing(greenshard.connect(declared)) as other:
        ask(other, "CREATE TABLE orders2 (id text PRIMARY KEY, note text, n int)")
        assert ask(other, "INSERT INTO orders2 SELECT id::text, note, n FROM orders") == 20
        assert ask(other, "DROP TABLE orders") == -1
        other.rollback()


def test_gs501_call_rollback(conn):
    with pytest.raises(psycopg2.errors.DivisionByZero):
        ask(conn, "UPDATE orders SET n = 1 / 0")
    with pytest.raises(greenshard.InternalError) as caught:
        conn.commit()
    assert (caught.value.code, "call rollback()" in caught.value.hint) == ("GS501", True)
    conn.rollback()
    assert ask(conn, "UPDATE orders SET n = 1") == 20
    conn.commit()


def test_gs503_init_or_one_after_the_other(greenshard_shards):
    with greenshard_shards.databases() as dsns:
        for dsn in dsns.values():
            run(dsn, SCHEMA)
        cluster = Cluster(dsns, TABLES)
        write = "INSERT INTO nation VALUES (1, 'a')"
        with contextlib.closing(greenshard.connect(cluster)) as conn:
            refused(conn, "GS503", write, hint="`greenshard init` makes what is needed")
        with contextlib.closing(greenshard.connect(cluster, two_phase=False)) as conn:
            assert ask(conn, write) == 1
            conn.rollback()
        with contextlib.closing(greenshard.connect(cluster)) as conn:
            with pytest.raises(greenshard.OperationalError) as caught, conn.snapshot():
                pass
            assert (caught.value.code, "greenshard init" in caught.value.hint) == ("GS506", True)
        assert greenshard.init(cluster) == []
        with contextlib.closing(greenshard.connect(cluster)) as conn:
            assert ask(conn, write) == 1
            conn.commit()
            with conn.snapshot():
                assert ask(conn, "SELECT count(*) FROM nation") == [(1,)]


def test_gs507_write_after_the_snapshot(conn):
    with pytest.raises(greenshard.InternalError) as caught, conn.snapshot():
        ask(conn, "UPDATE orders SET n = 1")
    assert (caught.value.code, "after the snapshot" in caught.value.hint) == ("GS507", True)
    assert ask(conn, "UPDATE orders SET n = 1") == 20
    conn.rollback()
