"""Taking a connection, using it, and giving it back."""

from __future__ import annotations

from contextlib import suppress

import gevent
import psycopg2
import pytest
from psycopg2 import extensions, extras

import greenshard
from greenshard import Pool
from tests.initialised import initialised


@pytest.fixture
def table(watch, dsns):
    for shard in dsns:
        watch.ask(shard, "CREATE TABLE t (x int); SELECT 1")
    yield "t"
    for shard in dsns:
        watch.ask(shard, "DROP TABLE t; SELECT 1")


def rows(watch, dsns):
    return [watch.ask(shard, "SELECT x FROM t") for shard in dsns]


def insert(conn):
    with conn.broadcast():
        conn.cursor().execute("INSERT INTO t VALUES (1)")


def test_pool_opens_nothing_before_its_first_use(make_pool, watch):
    pool = make_pool()
    assert pool.stats().size == 0
    assert set(watch.counts().values()) == {0}


def test_connection_to_a_shard_is_opened_when_a_statement_needs_it(pool, watch):
    with pool.connection() as conn:
        assert watch.counts() == {"s0": 1, "s1": 0, "s2": 0}
        with conn.on("s2"):
            conn.cursor().execute("SELECT 1")
        assert watch.counts() == {"s0": 1, "s1": 0, "s2": 1}
        assert conn.closed == 0
        cur = conn.cursor()
        cur.execute("SELECT 1")
        assert len(cur.fetchall()) == 3
    assert watch.counts() == {"s0": 1, "s1": 1, "s2": 1}


def test_block_commits(pool, table, watch, dsns):
    with pool.connection() as conn:
        insert(conn)
    assert rows(watch, dsns) == [[(1,)]] * 3


class Stop(BaseException):
    pass


@pytest.mark.parametrize("error", [ValueError, Stop, gevent.GreenletExit])
def test_block_that_raises_is_rolled_back_and_given_back(pool, table, watch, dsns, error):
    def view():
        with pool.connection() as conn:
            insert(conn)
            raise error

    with pytest.raises(error):
        view()
    assert rows(watch, dsns) == [[]] * 3
    assert pool.stats().taken == 0


def test_failed_statement_leaves_a_sound_connection(pool):
    for _ in range(5):
        with pytest.raises(greenshard.DataError), pool.connection() as conn:
            conn.cursor().execute("SELECT 1/0")
    with pool.connection() as conn:
        conn.cursor().execute("SELECT 1")
    assert pool.stats().shards["s1"].connects == 1


def test_connection_given_back_reaches_nothing(pool):
    conn = pool.getconn()
    cur = conn.cursor()
    named = conn.cursor("streamed")
    named.execute("SELECT generate_series(1, 9)")
    named.fetchone()
    pool.putconn(conn)
    with pool.connection():
        for call in (
            lambda: cur.execute("SELECT 1"),
            lambda: named.fetchmany(9999),
            conn.commit,
            conn.cursor,
        ):
            with pytest.raises(greenshard.InterfaceError):
                call()
    conn.close()
    pool.putconn(conn)
    assert conn.closed == 1


def test_connect_gives_a_connection_whose_close_gives_it_back(pool, table, watch, dsns):
    conn = pool.connect()
    insert(conn)
    conn.close()
    assert rows(watch, dsns) == [[]] * 3
    assert (pool.stats().idle, pool.stats().taken) == (1, 0)


def test_putconn_can_close_the_connections(pool, watch):
    conn = pool.getconn()
    conn.cursor().execute("SELECT 1")
    pool.putconn(conn, close=True)
    assert set(watch.counts().values()) == {0}


def test_dropped_connection_is_taken_back(pool, caplog):
    conn = pool.getconn()
    conn.cursor().execute("SELECT 1")
    del conn
    with pool.connection():
        assert pool.stats().taken == 1
    assert "test_dropped_connection_is_taken_back" in caplog.text


def test_held_connection_is_reported_with_its_place(make_pool, caplog):
    pool = make_pool(leak_after=0.05)
    with pool.connection():
        end = gevent.get_hub().loop.now() + 10
        while "is held for" not in caplog.text:
            assert gevent.get_hub().loop.now() < end
            gevent.sleep(0.02)
    assert "test_held_connection_is_reported_with_its_place" in caplog.text
    assert pool.stats().leaks == 1


def test_transaction_block_of_psycopg2_reaches_shards_opened_in_it(pool, table, watch, dsns):
    with pool.connection() as conn:
        conn.autocommit = True
        with suppress(ZeroDivisionError), conn:
            insert(conn)
            raise ZeroDivisionError
        assert rows(watch, dsns) == [[]] * 3
        with conn:
            insert(conn)
    assert rows(watch, dsns) == [[(1,)]] * 3


def test_pool_refuses_what_it_cannot_use(dsns, pool):
    with greenshard.connect(dsns) as conn:
        with pytest.raises(greenshard.ProgrammingError, match="GS104"):
            pool.putconn(conn)
        with pytest.raises(greenshard.ProgrammingError, match="GS104"):
            Pool([conn])
    with pytest.raises(greenshard.ProgrammingError, match="max_size"):
        Pool(dsns, 0)
    with pytest.raises(greenshard.ProgrammingError, match="GS104"):
        pool.getconn(timeout=-1)


@pytest.fixture
def cluster(dsns, watch):
    """Orders 0 to 19; a table of names on every shard."""
    for shard in dsns:
        watch.ask(shard, "CREATE TABLE orders (id int, n int); SELECT 1")
        watch.ask(shard, "CREATE TABLE names (n int, name text); SELECT 1")
        watch.ask(shard, "INSERT INTO names VALUES (1, 'one') RETURNING 1")
    tables = {"orders": greenshard.Sharded("id"), "names": greenshard.Reference()}
    cluster = initialised(greenshard.Cluster(shards=dsns, tables=tables))
    with greenshard.connect(cluster) as conn:
        rows = [(number, number) for number in range(20)]
        conn.cursor().executemany("INSERT INTO orders VALUES (%s, %s)", rows)
    conn.close()
    yield cluster
    for shard in dsns:
        watch.ask(shard, "DROP TABLE orders, names; SELECT 1")


def test_routed_statement_sends_nothing_to_the_other_shards(make_pool, cluster, watch):
    pool = make_pool(cluster)
    with pool.connection() as conn:
        conn.cursor().execute("SELECT count(*) FROM orders")
        keys = {
            conn._statements.database.shard_of(number, "orders", None): number
            for number in range(20)
        }

    def last_messages():
        asked = "SELECT state_change FROM pg_stat_activity WHERE application_name = 'pooled'"
        asked += " AND datname = current_database()"
        return {shard: watch.ask(shard, asked) for shard in keys}

    assert len(keys) == 3
    for shard, key in keys.items():
        before = last_messages()
        with pool.connection() as conn:
            cur = conn.cursor()
            cur.execute("SELECT n FROM orders WHERE id = %s", (key,))
            assert cur.fetchall() == [(key,)]
        after = last_messages()
        assert [name for name in keys if before[name] != after[name]] == [shard]


def test_search_path_is_asked_for_again_after_it_was_set(make_pool, cluster, watch):
    pool = make_pool(cluster)
    for _ in range(2):
        with pool.connection() as conn:
            cur = conn.cursor()
            cur.execute("SELECT count(*) FROM orders")
            assert cur.fetchall() == [(20,)]
            cur.execute("SET search_path = pg_catalog")
            with pytest.raises(greenshard.Error, match="orders"):
                cur.execute("SELECT count(*) FROM orders")
            conn.rollback()


STATEMENTS = {
    "route": ("SELECT n FROM orders WHERE id = 7", [(7,)]),
    "reference": ("SELECT name FROM names", [("one",)]),
    "merge": ("SELECT n FROM orders ORDER BY n DESC LIMIT 2", [(19,), (18,)]),
    "combine": ("SELECT count(*), sum(n) FROM orders", [(20, 190)]),
    "combine there": ("SELECT n % 2, avg(n) > 9 FROM orders GROUP BY 1 ORDER BY 1", 2),
    "gather": ("SELECT a.n FROM orders a JOIN orders b ON a.n = b.n + 1", 19),
    "gather distinct": (
        "SELECT cardinality(array_agg(DISTINCT coalesce(n % 3))) FROM orders",
        [(3,)],
    ),
    "write": ("UPDATE orders SET n = n WHERE id < 5 RETURNING id", 5),
    "reference write": ("UPDATE names SET name = 'eins' RETURNING n", None),
    "insert": ("INSERT INTO orders VALUES (20, 20), (21, 21)", None),
}


@pytest.mark.parametrize("kind", STATEMENTS)
def test_first_statement_of_a_fresh_connection_over_a_cluster(make_pool, cluster, watch, kind):
    statement, expected = STATEMENTS[kind]
    pool = make_pool(cluster)
    for _ in range(2):
        conn = pool.getconn()
        cur = conn.cursor()
        cur.execute(statement)
        if isinstance(expected, list):
            assert cur.fetchall() == expected
        elif expected is not None:
            assert len(cur.fetchall()) == expected
        conn.close()
    assert max(watch.counts().values()) == (2 if kind.startswith("gather") else 1)


@pytest.mark.parametrize("kind", ["pool", "open connections"])
def test_typecasters_are_registered_for_the_connection_only(request, dsns, watch, kind):
    """A connection that is none of psycopg2's own has a place for them, too."""
    globally = dict(extensions.string_types)
    if kind == "pool":
        make = request.getfixturevalue("make_pool")(max_size=1).getconn
    else:
        raws = {shard: psycopg2.connect(dsn) for shard, dsn in dsns.items()}

        def make():
            return greenshard.connect(raws)

    watch.ask("s1", "CREATE TYPE before AS (b int); CREATE TYPE pair AS (a int, b text); SELECT 1")
    for shard in ("s0", "s2"):
        watch.ask(shard, "CREATE TYPE pair AS (a int, b text); SELECT 1")
    sql = "SELECT '1'::int, '[1]'::json, 'a-b'::text, ROW(1, 'x')::pair"
    usual = [(1, [1], "a-b", "(1,x)")] * 3
    try:
        conn = make()
        extensions.register_type(extensions.new_type((23,), "MINUS", lambda v, _: -int(v)), conn)
        extras.register_default_json(conn, loads=lambda text: ("json", text))
        extras.register_uuid(conn_or_curs=conn)
        extras.register_composite("pair", conn)
        assert set(conn.string_types) >= {23, 114}
        with conn.cursor() as cur:
            cur.execute(sql)
            assert cur.fetchall() == [(-1, ("json", "[1]"), "a-b", (-1, "x"))] * 3
        conn.release()
        assert all(extensions.string_types.get(oid) is c for oid, c in globally.items())
        assert extensions.string_types.keys() == globally.keys()
        conn = make()
        assert conn.string_types == {}
        cur = conn.cursor()
        cur.execute(sql)
        assert cur.fetchall() == usual
        with pytest.raises(psycopg2.InterfaceError, match="connection not valid"):
            extensions.quote_ident("x", conn)
        assert extensions.quote_ident("x", cur) == '"x"'
        conn.release()
    finally:
        if kind == "open connections":
            for raw in raws.values():
                raw.close()
        for shard in dsns:
            watch.ask(shard, "DROP TYPE pair; DROP TYPE IF EXISTS before; SELECT 1")
