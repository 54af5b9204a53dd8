"""BEGIN travels with a transaction's first statement; the program sees what psycopg2 would show."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest
from psycogreen.gevent import gevent_wait_callback
from psycopg2.extensions import (
    ISOLATION_LEVEL_SERIALIZABLE,
    STATUS_BEGIN,
    STATUS_READY,
    TRANSACTION_STATUS_IDLE,
    TRANSACTION_STATUS_INERROR,
    TRANSACTION_STATUS_INTRANS,
    set_wait_callback,
)

import greenshard
from greenshard import _driver

FIRST_STATEMENTS = [
    ("SELECT 1 AS x, 'a;b' AS y", None),
    ("SELECT %s::int AS x", (1,)),
    ("SELECT 7;  ", None),
    ("SELECT 1; SELECT 2, 3", None),
    ("SELECT no_such_column", None),
    ("SELECT %s, 'größer', no_such_column", ("größer",)),
    ("SELEC", None),
    ("SELECT 1; SELEC", None),
    ("SELECT 'a'::int", None),
    ("SELECT 1 / 0", None),
    ("SELECT %s", ()),
    ("", None),
    ("-- nothing", None),
    ("/* BEGIN */ -- begin", None),
    ("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELEC'", None),
    ("BEGIN", None),
    ("COMMIT", None),
    ("ROLLBACK", None),
    ("VACUUM", None),
    ("DO $$ BEGIN COMMIT; END $$", None),
    ("CREATE TEMP TABLE made (a int) ON COMMIT DROP", None),
    ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", None),
    ("SAVEPOINT a", None),
    ("DECLARE c CURSOR FOR SELECT 1", None),
    ("SELECT current_setting('transaction_isolation'), now() = transaction_timestamp()", None),
    ("SELECT '\udc80'", None),
    (b"SELECT 1 AS x", None),
    (b"SELECT '\xff'", None),  # of which nothing is run, and no position is told
]


@pytest.fixture
def one(dsns):
    with contextlib.closing(greenshard.connect({"s0": dsns["s0"]})) as connection:
        yield connection


def seen(connection, cursor, text, given):
    """All that a program sees of a statement."""
    error = None
    try:
        cursor.execute(text, given)
    except (psycopg2.Error, UnicodeError, IndexError) as exc:
        diag = getattr(exc, "diag", None)
        position = diag and diag.statement_position
        message = str(exc).replace("shard s0: ", "")
        error = (message, getattr(exc, "pgcode", None), position)
    rows = cursor.fetchall() if error is None and cursor.description else None
    return {
        "error": error,
        "rows": rows,
        "columns": cursor.description,
        "rowcount": cursor.rowcount,
        "query": cursor.query,
        "tag": cursor.statusmessage or None,
        "status": connection.status,
        "transaction": connection.get_transaction_status(),
        "autocommit": connection.autocommit,
        "notices": connection.notices,
    }


def test_first_statements_are_as_with_psycopg2(conn, one, plain):
    """Over one shard, and on one of three."""
    for text, given in FIRST_STATEMENTS:
        wanted = seen(plain["s0"], plain["s0"].cursor(), text, given)
        assert seen(one, one.cursor(), text, given) == wanted
        assert seen(conn, conn.on("s0").cursor(), text, given) == wanted
        for connection in (plain["s0"], one, conn):
            connection.rollback()
            assert connection.status == STATUS_READY
            assert connection.get_transaction_status() == TRANSACTION_STATUS_IDLE
            connection.notices = []


def test_it_costs_no_message_of_its_own(conn):
    """Counts psycopg2's waits: there is one for each message."""
    waits = []

    def count(connection):
        waits.append(connection)
        gevent_wait_callback(connection)

    cur = conn.cursor()
    try:
        set_wait_callback(count)
        for given in (None, (1,)):
            for run in (conn.on("s1").cursor().execute, cur.execute):
                waits.clear()
                run("SELECT 1", given)
                run("SELECT 2", given)
                conn.commit()
                shards = 1 if run != cur.execute else 3
                assert len(waits) == 3 * shards
    finally:
        set_wait_callback(None)
        _driver.make_cooperative()


def test_isolation_level_and_readonly_begin_as_chosen(conn):
    conn.set_session(isolation_level="SERIALIZABLE", readonly=True, deferrable=True)
    cur = conn.on("s1").cursor()
    cur.execute("SHOW transaction_isolation")
    assert cur.fetchall() == [("serializable",)]
    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
        cur.execute("CREATE TABLE never (a int)")


def test_named_cursor_after_it_is_in_the_transaction(conn):
    conn.cursor().execute("CREATE TEMP TABLE made AS SELECT generate_series(1, 3) AS a")
    for shards in (("s1",), conn.shards):
        with conn.on(shards):
            for hold in (False, True):
                named = conn.cursor("named", withhold=hold)
                named.execute("SELECT a FROM made")
                assert named.fetchall() == [(1,), (2,), (3,)] * len(shards)
                named.close()
    assert conn.notices == []
    assert conn.status == STATUS_BEGIN
    conn.rollback()
    with pytest.raises(psycopg2.errors.UndefinedTable):
        conn.cursor("named").execute("SELECT a FROM made")


def test_named_cursor_in_a_failed_transaction_fails(one):
    with pytest.raises(psycopg2.errors.DivisionByZero):
        one.cursor().execute("SELECT 1 / 0")
    with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
        one.cursor("named").execute("SELECT 1")
    one.rollback()
    one.cursor("named").execute("SELECT 1")


def test_many_and_procedures_begin_as_psycopg2_does(conn, plain):
    for run in (
        lambda cur: cur.executemany("SELECT %s", [(1,), (2,)]),
        lambda cur: cur.callproc("abs", (-1,)),
    ):
        for first in (False, True):
            cur = conn.on("s0").cursor()
            if first:
                cur.execute("SELECT 1")
            run(cur)
            assert conn.status == STATUS_BEGIN
            assert conn.notices == []
            conn.rollback()


def test_what_ends_a_transaction_with_psycopg2_ends_it(one):
    for end in (
        one.reset,
        lambda: one.set_client_encoding("LATIN1"),
        lambda: one.set_isolation_level(ISOLATION_LEVEL_SERIALIZABLE),
    ):
        one.cursor().execute("CREATE TEMP TABLE gone (a int)")
        end()
        assert one.get_transaction_status() == TRANSACTION_STATUS_IDLE
        with pytest.raises(psycopg2.errors.UndefinedTable):
            one.cursor().execute("SELECT FROM gone")
        one.rollback()
        assert not one.autocommit


def test_what_does_not_end_a_transaction_with_psycopg2_does_not(one):
    one.cursor().execute("CREATE TEMP TABLE kept (a int)")
    one.set_client_encoding("utf-8")
    for wrong in (
        lambda: setattr(one, "autocommit", True),
        lambda: one.set_session(readonly=True),
        lambda: one.tpc_begin(one.xid(1, "a", "b")),
    ):
        with pytest.raises(psycopg2.ProgrammingError, match=r"inside|outside"):
            wrong()
        assert one.get_transaction_status() == TRANSACTION_STATUS_INTRANS
    assert one.tpc_recover() == []
    one.cursor().execute("SELECT FROM kept")
    assert one.notices == []


@pytest.mark.parametrize("failed", [False, True])
def test_block_that_is_entered_in_a_transaction_ends_it(conn, failed):
    cur = conn.cursor()
    cur.execute("CREATE TEMP TABLE made (a int)")
    if failed:
        with pytest.raises(psycopg2.errors.DivisionByZero):
            cur.execute("SELECT 1 / 0")
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction), conn:
            cur.execute("SELECT 1")
    else:
        with conn:
            cur.execute("SELECT 1")
    assert conn.notices == []
    assert conn.status == STATUS_READY
    cur.execute("SELECT to_regclass('made') IS NULL")
    assert cur.fetchall() == [(failed,)] * 3


def test_block_begins_in_autocommit_mode_too_which_may_change_in_it(conn, plain):
    for connection in (conn, plain["s0"]):
        for before in (False, True):
            connection.autocommit = before
            with connection:
                connection.autocommit = not before
                cur = connection.cursor()
                cur.execute("SELECT 1")
                assert connection.status == STATUS_BEGIN
                assert connection.get_transaction_status() == TRANSACTION_STATUS_INTRANS
            assert connection.get_transaction_status() == TRANSACTION_STATUS_IDLE
            assert connection.autocommit is not before
            with pytest.raises(psycopg2.ProgrammingError, match="re-entered"), connection:
                connection.__enter__()


def test_statement_after_the_transaction_has_ended_in_sql_is_as_with_psycopg2(one, plain):
    for connection in (one, plain["s0"]):
        cur = connection.cursor()
        cur.execute("SELECT 1")
        cur.execute("COMMIT")
        assert connection.status == STATUS_BEGIN
        cur.execute("SELECT 1")
        assert connection.get_transaction_status() == TRANSACTION_STATUS_IDLE
        connection.commit()
        cur.execute("SELECT 1")
        assert connection.get_transaction_status() == TRANSACTION_STATUS_INTRANS
        connection.rollback()


def test_failed_transaction_takes_nothing_until_it_is_rolled_back(one):
    for text in ("SELECT no_such_column", "SELEC", "SELECT 1 / 0"):
        cur = one.cursor()
        with pytest.raises(psycopg2.Error):
            cur.execute(text)
        assert one.get_transaction_status() == TRANSACTION_STATUS_INERROR
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
            cur.execute("SELECT 1")
        one.rollback()


def test_what_has_run_before_an_error_has_run_once(one):
    """What is not undone with the transaction would show it."""
    cur = one.cursor()
    cur.execute("CREATE SEQUENCE counted")
    one.commit()
    for text in (
        "SELECT nextval('counted'); SELECT no_such_column",
        "SELECT 1 / nextval('counted')",
        # Types are parsed while these run, and such errors tell a position, too.
        "SELECT nextval('counted'), (x || ' bar(')::regtype FROM (VALUES ('foo')) AS v (x)",
        "SELECT nextval('counted'), (repeat(' ', 40) || x)::regtype FROM (VALUES ('f(')) AS v (x)",
    ):
        with contextlib.suppress(psycopg2.Error):
            cur.execute(text)
        one.rollback()
    cur.execute("SELECT nextval('counted')")
    assert cur.fetchall() == [(5,)]


def test_parameters_are_adapted_once(one):
    class Counted:
        times = 0

        def __conform__(self, protocol):
            Counted.times += 1
            return psycopg2.extensions.AsIs("no_such_column")

    counts = []
    for one.autocommit in (True, False):
        with pytest.raises(psycopg2.errors.UndefinedColumn):
            one.cursor().execute("SELECT %s", (Counted(),))
        one.rollback()
        counts.append(Counted.times)
    assert counts[1] == 2 * counts[0]


def test_connection_of_a_pool_goes_back_as_it_was(dsns):
    with greenshard.Pool(dsns, max_size=1) as pool:
        for end in ("close", "commit", "rollback", "error"):
            with contextlib.suppress(psycopg2.Error), contextlib.closing(pool.getconn()) as conn:
                assert (conn.autocommit, conn.status) == (False, STATUS_READY)
                cur = conn.cursor()
                cur.execute("CREATE TEMP TABLE left_there (a int)")
                if end == "error":
                    cur.execute("SELEC")
                elif end != "close":
                    getattr(conn, end)()
        with pool.connection() as conn, pytest.raises(psycopg2.errors.UndefinedTable):
            conn.cursor().execute("SELECT FROM left_there")


def test_given_connections_stay_psycopg2_s(plain):
    conn = greenshard.connect(plain)
    conn.cursor().execute("SELECT 1")
    assert {raw.status for raw in plain.values()} == {STATUS_BEGIN}
    assert not any(raw.autocommit for raw in plain.values())
    conn.release()
