"""`ParallelConnection` over real shards, with psycopg2's pools as the seed's page has it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import psycopg2
import psycopg2.extras
import psycopg2.pool
import pytest
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

import greenshard
from greenshard import ParallelConnection


@pytest.fixture
def dsns(greenshard_dsns: dict[str, str]) -> list[str]:
    """Two shards of a table: rows 0, 2, 4 and 1, 3."""
    dsns = list(greenshard_dsns.values())
    for number, dsn in enumerate(dsns):
        connection = psycopg2.connect(dsn)
        connection.cursor().execute(
            "CREATE TABLE my_shrd_tbl (shrd_column int, not_shrd_column int, name text);"
            "INSERT INTO my_shrd_tbl SELECT i, i / 2, NULL FROM generate_series(%s, 4, 2) i",
            (number,),
        )
        connection.commit()
        connection.close()
    return dsns


@pytest.fixture
def pools(dsns: list[str]) -> Iterator[list[psycopg2.pool.ThreadedConnectionPool]]:
    made = [psycopg2.pool.ThreadedConnectionPool(1, 2, dsn=dsn) for dsn in dsns]
    yield made
    for pool in made:
        pool.closeall()


def names(cursor: Any) -> list[int]:
    return [row[0] for row in cursor.fetchall()]


def assert_all_returned(pools: list[psycopg2.pool.ThreadedConnectionPool]) -> None:
    for pool in pools:
        assert not pool._used
        assert all(c.info.transaction_status == TRANSACTION_STATUS_IDLE for c in pool._pool)


def running(dsn: str, text: str) -> int:
    connection = psycopg2.connect(dsn)
    cursor = connection.cursor()
    cursor.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = %s", (text,)
    )
    (count,) = cursor.fetchone()
    connection.close()
    return count


def test_the_seeds_page_as_written(dsns):
    # Its `psycopg2.ThreadedConnectionPool` has never been there: the class is in psycopg2.pool.
    psycopg2_then = SimpleNamespace(
        ThreadedConnectionPool=psycopg2.pool.ThreadedConnectionPool, extras=psycopg2.extras
    )
    parameters = None
    page = """
n = 20  # maximum connections per pool
pools = [psycopg2.ThreadedConnectionPool(1, n, dsn=d) for d in dsns]
connections = [p.getconn() for p in pools]
pdb = ParallelConnection(connections)

c = pdb.cursor(cursor_factory=psycopg2.extras.RealDictCursor)
c.execute("SELECT * FROM my_shrd_tbl WHERE shrd_column = 1", parameters)
results = c.fetchall()
c.close

c = pdb.cursor(cursor_factory=psycopg2.extras.RealDictCursor)
c.execute("SELECT * FROM my_shrd_tbl WHERE not_shrd_column = 1", parameters)
results_of_all = c.fetchall()
c.close
"""
    names = {
        "psycopg2": psycopg2_then,
        "dsns": dsns,
        "ParallelConnection": ParallelConnection,
        "parameters": parameters,
    }
    exec(page, names)
    row = {"not_shrd_column": 0, "name": None}
    assert names["results"] == [{"shrd_column": 1, **row}]
    row = {"not_shrd_column": 1, "name": None}
    assert names["results_of_all"] == [{"shrd_column": 2, **row}, {"shrd_column": 3, **row}]
    names["pdb"].putconn(names["pools"])
    assert_all_returned(names["pools"])
    for pool in names["pools"]:
        pool.closeall()


def test_the_same_pools_serve_one_object_after_another(pools):
    used = set()
    for _ in range(5):
        pdb = ParallelConnection([pool.getconn() for pool in pools])
        cursor = pdb.cursor()
        cursor.execute("SELECT shrd_column, pg_backend_pid() FROM my_shrd_tbl ORDER BY 1")
        rows = cursor.fetchall()
        assert [row[0] for row in rows] == [0, 2, 4, 1, 3]
        used |= {row[1] for row in rows}
        cursor.close()
        cursor.putconn(pools)
        assert_all_returned(pools)
    assert len(used) == 2


def test_fetchone_walks_through_all_shards(pools):
    pdb = ParallelConnection([pool.getconn() for pool in pools])
    cursor = pdb.cursor()
    cursor.execute("SELECT shrd_column FROM my_shrd_tbl WHERE shrd_column > %s ORDER BY 1", (1,))
    assert [cursor.fetchone() for _ in range(5)] == [(2,), (4,), (3,), None, None]
    assert cursor.rowcount == 3
    assert cursor.description[0].name == "shrd_column"
    pdb.putconn(pools)


def test_row_of_nulls_is_kept_and_an_empty_shard_adds_nothing(pools):
    pdb = ParallelConnection([pool.getconn() for pool in pools])
    cursor = pdb.cursor()
    cursor.execute("SELECT name FROM my_shrd_tbl WHERE shrd_column = 3")
    assert cursor.fetchone() == (None,)
    assert cursor.fetchone() is None
    pdb.putconn(pools)


def test_fetchmany_iteration_and_mogrify(pools):
    pdb = ParallelConnection([pool.getconn() for pool in pools])
    cursor = pdb.cursor()
    assert cursor.mogrify("SELECT %s", ("it's",)) == b"SELECT 'it''s'"
    cursor.execute("SELECT shrd_column FROM my_shrd_tbl ORDER BY 1")
    assert cursor.fetchmany(4) == [(0,), (2,), (4,), (1,)]
    assert list(cursor) == [(3,)]
    assert pdb.mogrify("SELECT 1") == b"SELECT 1"
    pdb.execute("SELECT shrd_column FROM my_shrd_tbl WHERE shrd_column = %s", (3,))
    assert (pdb.fetchone(), pdb.fetchall()) == ((3,), [])
    pdb.putconn(pools)


@pytest.mark.parametrize(
    ("factory", "row"),
    [
        (psycopg2.extras.NamedTupleCursor, (0, 1)),
        (psycopg2.extras.DictCursor, [0, 1]),
        (psycopg2.extras.RealDictCursor, {"a": 0, "b": 1}),
    ],
)
def test_every_cursor_factory(pools, factory, row):
    pdb = ParallelConnection([pool.getconn() for pool in pools])
    cursor = pdb.cursor(cursor_factory=factory)
    cursor.execute("SELECT 0 AS a, 1 AS b")
    assert isinstance(cursor, factory)
    assert cursor.fetchall() == [row, row]
    pdb.putconn(pools)


def test_commit_and_rollback_hold_on_all_shards(pools):
    pdb = ParallelConnection([pool.getconn() for pool in pools])
    cursor = pdb.cursor()
    cursor.execute("UPDATE my_shrd_tbl SET name = 'kept'")
    cursor.commit()
    cursor.execute("UPDATE my_shrd_tbl SET name = 'undone'")
    cursor.rollback()
    cursor.execute("UPDATE my_shrd_tbl SET name = 'undone by putconn'")
    assert cursor.rowcount == 5
    pdb.putconn(pools)
    assert_all_returned(pools)
    pdb = ParallelConnection([pool.getconn() for pool in pools])
    cursor = pdb.cursor()
    cursor.execute("SELECT DISTINCT name FROM my_shrd_tbl")
    assert cursor.fetchall() == [("kept",), ("kept",)]
    pdb.putconn(pools)


def test_insert_is_refused_and_the_cursors_connection_is_the_way_out(pools):
    pdb = ParallelConnection([pool.getconn() for pool in pools])
    cursor = pdb.cursor()
    with pytest.raises(greenshard.NotSupportedError) as caught:
        cursor.execute("INSERT INTO my_shrd_tbl VALUES (5, 2, 'x')")
    assert caught.value.code == "GS401"
    with cursor.connection.on("s1"):
        cursor.execute("INSERT INTO my_shrd_tbl VALUES (5, 2, 'x')")
    pdb.commit()
    cursor.execute("SELECT shrd_column FROM my_shrd_tbl WHERE not_shrd_column = 2")
    assert names(cursor) == [4, 5]
    pdb.putconn(pools)


def test_error_of_a_shard_names_it(pools, dsns):
    connection = psycopg2.connect(dsns[1])
    connection.cursor().execute("DROP TABLE my_shrd_tbl")
    connection.commit()
    connection.close()
    pdb = ParallelConnection([pool.getconn() for pool in pools])
    cursor = pdb.cursor()
    with pytest.raises(psycopg2.errors.UndefinedTable) as caught:
        cursor.execute("SELECT * FROM my_shrd_tbl")
    assert caught.value.shard == "s1"
    pdb.putconn(pools)
    assert_all_returned(pools)


def test_other_greenlets_run_while_the_shards_work(pools):
    pdb = ParallelConnection([pool.getconn() for pool in pools])
    cursor = pdb.cursor()
    other = gevent.spawn(gevent.sleep, 0.01)
    cursor.execute("SELECT pg_sleep(0.3)")
    assert other.dead
    assert list(cursor.timings) == ["s0", "s1"]
    pdb.putconn(pools)


def test_timeout_cancels_on_the_servers_and_connections_go_back_clean(pools, dsns):
    pdb = ParallelConnection([pool.getconn() for pool in pools])
    cursor = pdb.cursor()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
        cursor.execute("SELECT pg_sleep(600)")
    pdb.putconn(pools)
    assert [running(dsn, "SELECT pg_sleep(600)") for dsn in dsns] == [0, 0]
    assert_all_returned(pools)
    assert [len(pool._pool) for pool in pools] == [1, 1]


def test_putconn_while_another_greenlet_executes_is_refused(pools):
    pdb = ParallelConnection([pool.getconn() for pool in pools])
    cursor = pdb.cursor()
    other = gevent.spawn(cursor.execute, "SELECT pg_sleep(0.3)")
    gevent.sleep(0.05)
    with pytest.raises(greenshard.ProgrammingError) as caught:
        pdb.putconn(pools)
    assert caught.value.code == "GS302"
    other.get()
    pdb.putconn(pools)
    assert_all_returned(pools)


def test_cursor_while_another_greenlet_makes_the_first_is_refused(pools):
    pdb = ParallelConnection([pool.getconn() for pool in pools])
    other = gevent.spawn(pdb.cursor)
    gevent.sleep(0)
    with pytest.raises(greenshard.ProgrammingError) as caught:
        pdb.cursor()
    assert caught.value.code == "GS302"
    other.get()
    pdb.putconn(pools)
    assert_all_returned(pools)


def test_after_putconn_nothing_can_be_used(pools):
    pdb = ParallelConnection([pool.getconn() for pool in pools])
    cursor = pdb.cursor()
    pdb.putconn(pools)
    for call in (pdb.cursor, pdb.commit, cursor.rollback, lambda: pdb.putconn(pools)):
        with pytest.raises(greenshard.InterfaceError, match="given back already"):
            call()
    with pytest.raises(psycopg2.InterfaceError, match="closed"):
        cursor.execute("SELECT 1")
    pdb.close()
    assert [pool._pool[0].closed for pool in pools] == [0, 0]


def test_putconn_without_any_use(pools):
    pdb = ParallelConnection([pool.getconn() for pool in pools])
    pdb.putconn(pools)
    assert_all_returned(pools)


def test_dead_shard_is_an_error_and_its_pool_recovers(pools, greenshard_dsns, greenshard_shards):
    pdb = ParallelConnection([pool.getconn() for pool in pools])
    cursor = pdb.cursor()
    name = list(greenshard_dsns)[1]
    greenshard_shards[name].kill()
    with pytest.raises(psycopg2.OperationalError) as caught:
        cursor.execute("SELECT * FROM my_shrd_tbl")
    assert caught.value.shard == "s1"
    with pytest.raises(psycopg2.Error):
        cursor.execute("SELECT * FROM my_shrd_tbl")
    assert pdb.closed == 2
    pdb.putconn(pools)
    assert_all_returned(pools)
    greenshard_shards[name].start()
    pdb = ParallelConnection([pool.getconn() for pool in pools])
    cursor = pdb.cursor()
    cursor.execute("SELECT 1")
    assert cursor.fetchall() == [(1,), (1,)]
    pdb.putconn(pools)


def test_shard_that_died_in_the_pool_is_an_error_and_all_connections_go_back(
    pools, greenshard_dsns, greenshard_shards
):
    greenshard_shards[next(iter(greenshard_dsns))].kill()
    pdb = ParallelConnection([pool.getconn() for pool in pools])
    with pytest.raises(psycopg2.OperationalError) as caught:
        pdb.cursor()
    assert caught.value.shard == "s0"
    pdb.putconn(pools)
    assert_all_returned(pools)


def test_close_closes_the_connections(dsns):
    connections = [psycopg2.connect(dsn) for dsn in dsns]
    pdb = ParallelConnection(connections)
    pdb.cursor().execute("SELECT 1")
    pdb.close()
    assert pdb.closed == 1
    assert all(connection.closed for connection in connections)
    unused = [psycopg2.connect(dsn) for dsn in dsns]
    ParallelConnection(unused).close()
    assert all(connection.closed for connection in unused)


@pytest.mark.parametrize("patched", ["", "from gevent import monkey; monkey.patch_all()"])
def test_connections_opened_before_psycopg2_was_patched(dsns, patched):
    program = f"""
{patched}
import sys
import psycopg2.extensions
from psycopg2.pool import ThreadedConnectionPool

dsns = sys.argv[1:]
pools = [ThreadedConnectionPool(1, 2, dsn=d) for d in dsns]
connections = [p.getconn() for p in pools]
open_one = connections[0].cursor()
open_one.execute("UPDATE my_shrd_tbl SET name = 'from before'")  # a transaction is open already
assert psycopg2.extensions.get_wait_callback() is None

from greenshard import ParallelConnection
import gevent

pdb = ParallelConnection(connections)
cursor = pdb.cursor()
other = gevent.spawn(gevent.sleep, 0.05)
cursor.execute("SELECT name, pg_sleep(0.2) FROM my_shrd_tbl WHERE shrd_column < 2")
assert other.dead
print(cursor.fetchall())
cursor.close()
pdb.putconn(pools)
print([p._pool[0].info.transaction_status for p in pools])
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, *dsns],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "[('from before', ''), (None, '')]\n[0, 0]\n"


# Several drivers ----------------------------------------------------------------------------


@pytest.fixture
def mixed(dsns: list[str]) -> Iterator[list[Any]]:
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.execute("CREATE TABLE my_shrd_tbl (shrd_column, not_shrd_column, name)")
    database.execute("INSERT INTO my_shrd_tbl VALUES (7, 3, NULL)")
    database.commit()
    connections = [psycopg2.connect(dsns[0]), database, psycopg2.connect(dsns[1])]
    yield connections
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("cooperative", [False, True])
def test_connections_of_several_drivers(mixed, cooperative, monkeypatch):
    callback = psycopg2.extensions.get_wait_callback()
    if cooperative:
        import psycogreen.gevent

        psycogreen.gevent.patch_psycopg()
    else:
        psycopg2.extensions.set_wait_callback(None)
    try:
        pdb = ParallelConnection(mixed)
        cursor = pdb.cursor()
        cursor.execute("SELECT shrd_column, name FROM my_shrd_tbl ORDER BY shrd_column")
        assert cursor.fetchall() == [(i, None) for i in (0, 2, 4, 7, 1, 3)]
        cursor.execute("UPDATE my_shrd_tbl SET name = 'x'")
        assert cursor.rowcount == 6
        pdb.commit()
        with pytest.raises(psycopg2.errors.UndefinedTable) as caught:
            cursor.execute("SELECT * FROM missing")
        assert list(caught.value.failures) == ["s0", "s1", "s2"]
        pdb.rollback()
        with pytest.raises(greenshard.NotSupportedError):
            cursor.execute(psycopg2.sql.SQL("INSERT INTO my_shrd_tbl VALUES (1, 2, 'x')"))
        pdb.close()
    finally:
        psycopg2.extensions.set_wait_callback(callback)
    assert mixed[0].closed
