"""`ParallelConnection` over a driver that is not psycopg2, in threads."""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

import greenshard
from greenshard import ParallelConnection
from greenshard.parallel import threads


@pytest.fixture
def databases() -> Iterator[list[sqlite3.Connection]]:
    made = [sqlite3.connect(":memory:", check_same_thread=False) for _ in range(3)]
    for number, database in enumerate(made):
        database.execute("CREATE TABLE t (id int, name text)")
        for row in range(number):  # none in the first
            database.execute("INSERT INTO t VALUES (?, ?)", (10 * number + row, None))
        database.commit()
    yield made
    for database in made:
        database.close()


@pytest.fixture
def pdb(databases: list[sqlite3.Connection]) -> ParallelConnection:
    return ParallelConnection(databases)


ROWS = [(10, None), (20, None), (21, None)]


class Pool:
    """What the seed expects of a pool."""

    def __init__(self, error: Exception | None = None) -> None:
        self.returned: list[Any] = []
        self.error = error

    def putconn(self, connection: Any) -> None:
        self.returned.append(connection)
        if self.error is not None:
            raise self.error


class HeldThread:
    """``held()`` in SQL does not return before `release`, nor when it is interrupted."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._released = threading.Event()
        self.entered = False
        database.create_function("held", 0, self._hold)

    def _hold(self) -> int:
        self.entered = True
        self._released.wait(60)
        return 1

    def release(self) -> None:
        self._released.set()


def eventually(holds: Callable[[], bool]) -> None:
    with gevent.Timeout(30):
        while not holds():
            gevent.sleep(0.01)


def native_threads() -> int:
    return len(sys._current_frames())


def test_fetchall_gives_rows_of_all_connections_in_order(pdb):
    cursor = pdb.cursor()
    cursor.execute("SELECT * FROM t ORDER BY id")
    assert cursor.fetchall() == ROWS
    assert cursor.fetchall() == []


def test_fetchone_walks_through_all_connections_to_none(pdb):
    cursor = pdb.cursor()
    cursor.execute("SELECT * FROM t WHERE id > ? ORDER BY id", (5,))
    assert [cursor.fetchone() for _ in range(5)] == [*ROWS, None, None]


def test_fetchmany_and_iteration_go_on_where_the_other_ended(pdb):
    cursor = pdb.cursor()
    cursor.execute("SELECT * FROM t ORDER BY id")
    assert cursor.fetchmany() == ROWS[:1]
    assert cursor.fetchmany(1) == ROWS[1:2]
    assert list(cursor) == ROWS[2:]


def test_fetchmany_takes_rows_of_several_connections(pdb):
    cursor = pdb.cursor()
    cursor.execute("SELECT * FROM t ORDER BY id")
    cursor.arraysize = 2
    assert cursor.fetchmany() == ROWS[:2]


def test_row_of_nulls_is_kept(pdb):
    cursor = pdb.cursor()
    cursor.execute("SELECT name FROM t")
    assert cursor.fetchone() == (None,)
    assert cursor.fetchall() == [(None,), (None,)]


def test_row_that_the_row_factory_makes_none_is_kept(databases):
    for database in databases:
        database.row_factory = lambda _, row: row[0]
    cursor = ParallelConnection(databases).cursor()
    cursor.execute("SELECT name FROM t")
    assert cursor.fetchall() == [None, None, None]


def test_description_and_rowcount_tell_of_all_rows(pdb):
    cursor = pdb.cursor()
    assert (cursor.description, cursor.rowcount) == (None, -1)
    cursor.execute("SELECT id, name FROM t")
    assert [column[0] for column in cursor.description] == ["id", "name"]
    assert cursor.rowcount == 3


def test_update_runs_on_all_and_counts_are_added(pdb, databases):
    cursor = pdb.cursor()
    cursor.execute("UPDATE t SET name = ?", ("x",))
    assert cursor.rowcount == 3
    assert cursor.description is None
    pdb.commit()
    assert not any(database.in_transaction for database in databases)


def test_rowcount_is_unknown_where_one_connection_does_not_know(pdb):
    cursor = pdb.cursor()
    cursor.execute("CREATE TABLE u (id int)")
    assert cursor.rowcount == -1


def test_executemany_runs_on_all(pdb):
    cursor = pdb.cursor()
    cursor.executemany("DELETE FROM t WHERE id = ?", ((row,) for row in (10, 21)))
    assert cursor.rowcount == 2


def test_rollback_undoes_on_all(pdb, databases):
    cursor = pdb.cursor()
    cursor.execute("DELETE FROM t")
    pdb.rollback()
    assert [d.execute("SELECT count(*) FROM t").fetchone()[0] for d in databases] == [0, 1, 2]


def test_fetch_without_rows_is_an_error(pdb):
    cursor = pdb.cursor()
    with pytest.raises(greenshard.ProgrammingError, match="no results to fetch"):
        cursor.fetchone()
    cursor.execute("SELECT * FROM t")
    cursor.execute("DELETE FROM t")
    with pytest.raises(greenshard.ProgrammingError, match="no results to fetch"):
        cursor.fetchall()


def test_cursor_arguments_are_the_drivers_own(pdb):
    class Lower(sqlite3.Cursor):
        def fetchall(self) -> list[Any]:
            return [str(row) for row in super().fetchall()]

    cursor = pdb.cursor(Lower)
    cursor.execute("SELECT id FROM t")
    assert cursor.fetchall() == ["(10,)", "(20,)", "(21,)"]


def test_mogrify_is_that_of_the_driver(pdb):
    with pytest.raises(AttributeError, match="mogrify"):
        pdb.cursor().mogrify("SELECT 1")


def test_last_cursor_is_used_by_the_connection_itself(pdb):
    pdb.cursor()
    pdb.execute("SELECT id FROM t WHERE id > ?", (10,))
    assert pdb.fetchone() == (20,)
    assert pdb.fetchall() == [(21,)]


def test_without_a_cursor_the_connection_says_so(pdb):
    with pytest.raises(greenshard.ProgrammingError, match=r"call cursor\(\) first"):
        pdb.execute("SELECT 1")


# Threads ------------------------------------------------------------------------------------


def test_statements_run_at_the_same_time(databases):
    meeting = threading.Barrier(2)  # passes only two that wait at once
    for database in databases[1:]:
        database.create_function("meet", 0, lambda: meeting.wait(30) >= 0)
    cursor = ParallelConnection(databases[1:]).cursor()
    cursor.execute("SELECT meet()")
    assert cursor.fetchall() == [(1,), (1,)]


def test_other_greenlets_run_while_threads_work(databases):
    held = HeldThread(databases[0])
    cursor = ParallelConnection(databases[:1]).cursor()
    other = gevent.spawn_later(0.01, held.release)
    cursor.execute("SELECT held()")
    assert other.dead
    assert cursor.fetchall() == [(1,)]


def test_no_thread_is_left(pdb):
    before = native_threads()
    cursor = pdb.cursor()
    for _ in range(20):
        cursor.execute("SELECT * FROM t")
    eventually(lambda: native_threads() <= before)


def test_it_may_be_used_in_one_thread_after_another(pdb):
    pdb.cursor().execute("SELECT * FROM t")
    answers: list[Any] = []

    def use() -> None:
        cursor = pdb.cursor()
        cursor.execute("SELECT * FROM t ORDER BY id")
        answers.append(cursor.fetchall())
        gevent.get_hub().destroy()

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(30)
    assert answers == [ROWS]


def test_call_while_another_greenlet_waits_is_refused(databases):
    held = HeldThread(databases[0])
    pdb = ParallelConnection(databases)
    cursor = pdb.cursor()
    first = gevent.spawn(cursor.execute, "SELECT * FROM t WHERE id >= 0 AND held()")
    databases[1].create_function("held", 0, lambda: 1)
    databases[2].create_function("held", 0, lambda: 1)
    gevent.sleep(0)
    try:
        with pytest.raises(greenshard.ProgrammingError, match="busy") as caught:
            pdb.commit()
        assert caught.value.code == "GS302"
        with pytest.raises(greenshard.ProgrammingError, match="busy"):
            pdb.putconn([Pool(), Pool(), Pool()])
    finally:
        held.release()
        first.join(30)
    assert cursor.fetchall() == ROWS


def test_timeout_interrupts_what_can_be_interrupted(databases):
    pdb = ParallelConnection(databases)
    cursor = pdb.cursor()
    forever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    timeout = gevent.Timeout(0.05)
    with pytest.raises(gevent.Timeout) as caught, timeout:
        cursor.execute(forever)
    assert caught.value is timeout
    cursor.execute("SELECT * FROM t ORDER BY id")
    assert cursor.fetchall() == ROWS


def test_timeout_leaves_a_thread_that_cannot_be_interrupted_and_refuses_until_it_ends(
    databases, monkeypatch
):
    monkeypatch.setattr(threads, "_GRACE_S", 0.1)
    before = native_threads()
    held = HeldThread(databases[1])
    for other in (databases[0], databases[2]):
        other.create_function("held", 0, lambda: 1)
    pools = [Pool(), Pool(), Pool()]
    pdb = ParallelConnection(databases)
    with pdb.cursor() as cursor, gevent.Timeout(0.05, False):
        cursor.execute("SELECT held()")
    try:
        assert held.entered
        for call in (pdb.commit, pdb.close, pdb.cursor, lambda: pdb.putconn(pools)):
            with pytest.raises(greenshard.ProgrammingError, match="still runs on s1") as caught:
                call()
            assert caught.value.code == "GS302"
        assert not pdb.closed
        assert not any(pool.returned for pool in pools)
    finally:
        held.release()
    eventually(lambda: native_threads() <= before)
    pdb.putconn(pools)
    assert [pool.returned for pool in pools] == [[database] for database in databases]


def test_kill_during_the_wait_after_a_timeout_wins(databases, monkeypatch):
    monkeypatch.setattr(threads, "_GRACE_S", 1.0)
    held = HeldThread(databases[0])
    cursor = ParallelConnection(databases[:1]).cursor()
    raised: list[BaseException] = []

    def use() -> None:
        try:
            with gevent.Timeout(0.02):
                cursor.execute("SELECT held()")
        except BaseException as exc:
            raised.append(exc)

    caller = gevent.spawn(use)
    gevent.sleep(0.1)
    gevent.spawn_later(0.05, held.release)
    caller.kill()
    assert [type(exc) for exc in raised] == [gevent.GreenletExit]


# Errors -------------------------------------------------------------------------------------


def test_error_is_the_drivers_own_and_names_the_connection(pdb, databases, capfd):
    databases[2].execute("DROP TABLE t")
    cursor = pdb.cursor()
    with pytest.raises(sqlite3.OperationalError, match="no such table") as caught:
        cursor.execute("SELECT * FROM t")
    assert caught.value.shard == "s2"
    assert caught.value.failures == {}
    assert caught.value.__notes__ == ["greenshard: 1 of 3 connections failed: s2"]
    assert capfd.readouterr().err == ""


def test_error_holds_all_that_failed(pdb):
    cursor = pdb.cursor()
    with pytest.raises(sqlite3.OperationalError, match="no such column") as caught:
        cursor.execute("SELECT missing FROM t")
    assert caught.value.shard == "s0"
    assert list(caught.value.failures) == ["s0", "s1", "s2"]
    assert caught.value.failures["s0"] is caught.value


def test_error_comes_after_all_threads_have_ended(databases):
    gone = HeldThread(databases[1])
    databases[0].create_function("held", 0, lambda: 1 / 0)
    cursor = ParallelConnection(databases[:2]).cursor()
    gevent.spawn_later(0.05, gone.release)
    with pytest.raises(sqlite3.OperationalError) as caught:
        cursor.execute("SELECT held()")
    assert caught.value.shard == "s0"
    cursor.execute("SELECT * FROM t")
    assert cursor.fetchall() == ROWS[:1]


def test_closed_connection_is_an_error_not_an_empty_answer(pdb, databases):
    cursor = pdb.cursor()
    databases[1].close()
    with pytest.raises(sqlite3.ProgrammingError) as caught:
        cursor.execute("SELECT * FROM t")
    assert caught.value.shard == "s1"


def test_connection_bound_to_its_thread_is_an_error():
    bound = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.ProgrammingError, match="thread"):
        ParallelConnection([bound]).cursor()
    bound.close()


@pytest.mark.parametrize("table", ["t (id int)", "t (id int, other text)"])
def test_columns_that_differ_are_an_error(databases, table):
    databases[2].executescript(f"DROP TABLE t; CREATE TABLE {table}")
    cursor = ParallelConnection(databases).cursor()
    with pytest.raises(greenshard.ProgrammingError, match="id, name on s0") as caught:
        cursor.execute("SELECT * FROM t")
    assert (caught.value.code, caught.value.shard) == ("GS202", "s2")
    with pytest.raises(greenshard.ProgrammingError, match="no results"):
        cursor.fetchall()


# INSERT -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t VALUES (1, 'x')",
        "insert into t values (?, ?)",
        "INSERT OR REPLACE INTO t VALUES (1, 'x')",
        "REPLACE INTO t VALUES (1, 'x')",
        "  /* one\n row */ -- of x\n replace t values (1, 'x')",
        "WITH x(i) AS (SELECT :i) INSERT INTO t SELECT i, 'x' FROM x",
        "WITH x(i) AS (SELECT 1) REPLACE INTO t SELECT i, 'x' FROM x",
        "REPLACE LOW_PRIORITY INTO t VALUES (1, 'x')",
        "LOAD DATA INFILE 'x' INTO TABLE t",
        "UPSERT INTO t VALUES (1, 'x')",
        "/*!50000 INSERT INTO t VALUES (1, 'x') */",
        "SELECT 1; INSERT INTO t VALUES (%(i)s, 'x')",
        "MERGE INTO t USING u ON t.id = u.id WHEN NOT MATCHED THEN INSERT VALUES (u.id, 'x')",
        b"INSERT INTO t VALUES (1, 'x')",
    ],
)
def test_insertion_over_several_connections_is_refused(pdb, databases, statement):
    with pytest.raises(greenshard.NotSupportedError, match="each of 3 connections") as caught:
        pdb.cursor().execute(statement)
    assert caught.value.code == "GS401"
    with pytest.raises(greenshard.NotSupportedError):
        pdb.cursor().executemany(statement, [()])
    assert not any(database.in_transaction for database in databases)


def test_composed_insertion_is_refused(pdb):
    class Composed:
        def as_string(self, context: object) -> str:
            return "INSERT INTO t VALUES (1, 'x')"

    with pytest.raises(greenshard.NotSupportedError):
        pdb.cursor().execute(Composed())


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER x AFTER DELETE ON t BEGIN INSERT INTO t VALUES (1, 'x'); END",
        "SELECT 1 INSERT INTO t VALUES (1, 'x')",
    ],
)
def test_unreadable_text_that_may_insert_is_refused(pdb, statement):
    with pytest.raises(greenshard.ProgrammingError, match="may insert rows") as caught:
        pdb.cursor().execute(statement)
    assert caught.value.code == "GS404"


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT replace(name, 'a', 'b') FROM t",
        "SELECT id AS insert_id, 'insert into t' FROM t",
        "CREATE TABLE IF NOT EXISTS t (id int)",
        "PRAGMA user_version",
        "SELECT id FROM `t` WHERE [id] NOTNULL",
    ],
)
def test_other_statements_run(pdb, statement):
    pdb.cursor().execute(statement)


def test_insertion_over_one_connection_runs(databases):
    pdb = ParallelConnection(databases[:1])
    pdb.cursor().execute("INSERT INTO t VALUES (?, ?)", (1, "x"))
    pdb.commit()
    assert databases[0].execute("SELECT * FROM t").fetchall() == [(1, "x")]


# Life ---------------------------------------------------------------------------------------


def test_putconn_gives_back_clean_connections_in_order(pdb, databases):
    pools = [Pool(), Pool(), Pool()]
    cursor = pdb.cursor()
    cursor.execute("DELETE FROM t")
    pdb.putconn(iter(pools))
    assert [pool.returned for pool in pools] == [[database] for database in databases]
    assert not any(database.in_transaction for database in databases)


def test_after_putconn_nothing_can_be_used(pdb):
    cursor = pdb.cursor()
    cursor.putconn([Pool(), Pool(), Pool()])
    assert pdb.closed
    assert "given back" in repr(pdb)
    for call in (pdb.cursor, pdb.commit, pdb.rollback, pdb.fetchall, cursor.commit):
        with pytest.raises(greenshard.InterfaceError, match="given back already"):
            call()
    with pytest.raises(greenshard.InterfaceError, match="given back already"):
        pdb.putconn([Pool(), Pool(), Pool()])
    with pytest.raises(greenshard.InterfaceError, match="closed"):
        cursor.execute("SELECT 1")
    cursor.close()


def test_close_after_putconn_leaves_the_pools_connections_open(pdb, databases):
    pdb.putconn([Pool(), Pool(), Pool()])
    pdb.close()
    assert databases[0].execute("SELECT 1").fetchone() == (1,)


def test_putconn_goes_on_after_a_pool_that_fails_and_a_broken_connection(pdb, databases):
    pools = [Pool(), Pool(KeyError("unknown connection")), Pool()]
    cursor = pdb.cursor()
    cursor.execute("DELETE FROM t")
    databases[0].close()
    with pytest.raises(KeyError, match="unknown connection"):
        pdb.putconn(pools)
    assert [pool.returned for pool in pools] == [[database] for database in databases]
    assert not databases[2].in_transaction


def test_putconn_wants_one_pool_for_each_connection(pdb):
    pools = [Pool(), Pool()]
    with pytest.raises(greenshard.ProgrammingError, match="2 pools for 3 connections"):
        pdb.putconn(pools)
    assert not any(pool.returned for pool in pools)
    assert not pdb.closed


def test_close_closes_every_connection(pdb, databases):
    cursor = pdb.cursor()
    pdb.close()
    pdb.close()
    assert pdb.closed
    for database in databases:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            database.execute("SELECT 1")
    with pytest.raises(greenshard.InterfaceError, match="closed already"):
        pdb.cursor()
    with pytest.raises(greenshard.InterfaceError, match="cursor already closed"):
        cursor.execute("SELECT 1")


def test_closed_connections_can_still_be_given_back(pdb, databases):
    pools = [Pool(), Pool(), Pool()]
    pdb.cursor()
    pdb.close()
    pdb.putconn(pools)
    assert [pool.returned for pool in pools] == [[database] for database in databases]


def test_cursor_as_a_context_is_closed_after_it(pdb):
    with pdb.cursor() as cursor:
        cursor.execute("SELECT * FROM t")
        assert iter(cursor) is cursor
    assert cursor.closed
    with pytest.raises(greenshard.InterfaceError):
        cursor.fetchall()
    pdb.cursor().execute("SELECT * FROM t")


def test_open_connection_tells_its_state(pdb):
    assert repr(pdb) == "<greenshard.ParallelConnection of 3: open>"
    assert pdb.closed == 0
    pdb.cursor()
    assert pdb.closed == 0


@pytest.mark.parametrize("twice", [False, True])
def test_connections_must_be_some_and_different(databases, twice):
    with pytest.raises(greenshard.ProgrammingError) as caught:
        ParallelConnection([databases[0], databases[0]] if twice else [])
    assert caught.value.code == "GS104"


def test_many_comments_are_read_in_linear_time():
    from greenshard.parallel.insert_refusal import refuse_insert

    started = time.perf_counter()
    refuse_insert("-- " * 5_000 + "\n" + "/* */ # x\n" * 5_000 + "SELECT 1", [None, None])
    assert time.perf_counter() - started < 10
