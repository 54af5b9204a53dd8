"""A connection is as good as new when it is taken again."""

from __future__ import annotations

import contextlib

import psycopg2.extensions
import pytest

SESSION = (
    "SELECT current_setting('TimeZone'), current_setting('search_path'),"
    " current_setting('application_name'),"
    " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),"
    " (SELECT count(*) FROM pg_cursors), (SELECT count(*) FROM pg_prepared_statements),"
    " (SELECT count(*) FROM pg_listening_channels()),"
    " (SELECT count(*) FROM pg_class WHERE relpersistence = 't'),"
    " current_setting('client_encoding'), current_setting('transaction_isolation'),"
    " current_setting('transaction_read_only'), current_setting('default_transaction_read_only')"
)


def session(conn):
    """What a session is like, and what psycopg2 knows of it."""
    cur = conn.cursor()
    cur.execute(SESSION)
    found = cur.fetchall()
    return (
        found,
        conn.autocommit,
        conn.isolation_level,
        conn.readonly,
        conn.deferrable,
        conn.encoding,
        conn.notices,
        conn.notifies,
        conn.string_types,
        conn.timeout,
    )


def execute(*statements):
    def change(conn):
        for statement in statements:
            conn.cursor().execute(statement)

    return change


def named_cursor(conn):
    cur = conn.cursor("kept", withhold=True)
    cur.execute("SELECT generate_series(1, 9)")
    cur.fetchone()
    conn.commit()


def attributes(conn):
    conn.autocommit = True
    conn.readonly = True
    conn.deferrable = True
    conn.isolation_level = psycopg2.extensions.ISOLATION_LEVEL_SERIALIZABLE
    conn.timeout = 3.0
    conn.notices.append("mine")


def native_connection(conn):
    """Whoever has libpq's own connection can do anything with it, unseen."""
    with conn.on("s1"):
        conn.get_native_connection()
    raw = conn._session.physical("s1").raw
    psycopg2.extensions.cursor(raw).execute("SET TimeZone = 'Asia/Tokyo'")


def two_phases(conn):
    with conn.on("s1"):
        conn.tpc_begin(conn.xid(1, "gtrid", "bqual"))
        raw = conn._session.physical("s1").raw
        psycopg2.extensions.cursor(raw).execute("SET TimeZone = 'Asia/Tokyo'")
        conn.tpc_commit()


def typecaster(conn):
    conn.string_types[20] = psycopg2.extensions.UNICODE


CHANGES = {
    "set": execute("SET TimeZone = 'Asia/Tokyo'"),
    "set, and failed": execute("SET TimeZone = 'Asia/Tokyo'", "COMMIT", "SELECT 1/0"),
    "set_config": execute("SELECT set_config('search_path', 'pg_catalog', false)"),
    "search_path": execute("SET search_path = pg_catalog"),
    "advisory lock": execute("SELECT pg_advisory_lock(7)"),
    "declare": execute("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "COMMIT"),
    "prepare": execute("PREPARE p AS SELECT 1"),
    "listen": execute("LISTEN news"),
    "temp table": execute("CREATE TEMP TABLE left_over (x int)"),
    "select into": execute("SELECT 1 AS x INTO TEMP left_over"),
    "notice": execute("DO $$ BEGIN RAISE NOTICE 'heard'; END $$"),
    "encoding": lambda conn: conn.set_client_encoding("LATIN1"),
    "encoding by sql": execute("SET client_encoding = 'LATIN1'"),
    "date style": execute("SET DateStyle = 'German'"),
    "named cursor": named_cursor,
    "a long text": execute(f"SET TimeZone = 'Asia/Tokyo' /* {'x' * 10_001} */"),
    "many texts": execute(
        *(f"SELECT {number}" for number in range(1001)), "SET TimeZone = 'Asia/Tokyo'"
    ),
    "native connection": native_connection,
    "two phases": two_phases,
    "attributes": attributes,
    "typecaster": typecaster,
}


@pytest.mark.parametrize("end", ["commit", "rollback", "nothing"])
@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_left_of(pool, change, end):
    with pool.connection() as conn:
        before = session(conn)
    conn = pool.getconn()
    try:
        CHANGES[change](conn)
    except psycopg2.DataError:
        conn.rollback()
    if end != "nothing":
        getattr(conn, end)()
    pool.putconn(conn)
    with pool.connection() as conn:
        assert session(conn) == before
    assert pool.stats().size == 1


def test_plain_statements_need_no_reset(pool, watch):
    with pool.connection() as conn:
        conn.cursor().execute("SELECT 1")
    with pool.connection() as conn:
        conn.cursor().execute("SELECT count(*) FROM pg_class WHERE relname IN ('a', 'b')")
    ((last,),) = watch.ask(
        "s1", "SELECT query FROM pg_stat_activity WHERE application_name = 'pooled'"
    )
    assert last.endswith("; COMMIT")  # what has only read


def test_what_was_set_is_set_back_on_shards_that_nothing_was_run_on(pool):
    with pool.connection() as conn:
        conn.cursor().execute("SELECT 1")
        session = conn._session
        physicals = list(session.physicals.values())
        assert len(physicals) == len(conn.shards)
    for run in (lambda conn: None, lambda conn: conn.on(conn.shards[1]).cursor().execute("SELECT")):
        with pool.connection() as conn:
            conn.autocommit = True
            run(conn)
            assert all(physical.autocommit for physical in physicals)
        assert not any(physical.autocommit for physical in physicals)


def test_autocommit_is_set_and_set_back_without_a_word_to_the_server(pool, watch):
    for _ in range(3):
        with pool.connection() as conn:
            assert not conn.autocommit
            conn.autocommit = True
            cur = conn.cursor()
            cur.execute("SELECT 'in autocommit'")
            assert conn.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_IDLE
    ((last,),) = watch.ask(
        "s1",
        "SELECT query FROM pg_stat_activity WHERE application_name = 'pooled'"
        " AND datname = current_database()",
    )
    assert last == "SELECT 'in autocommit'"


def test_characteristics_chosen_in_autocommit_are_taken_back(pool):
    with pool.connection() as conn:
        conn.autocommit = True
        conn.isolation_level = psycopg2.extensions.ISOLATION_LEVEL_SERIALIZABLE
        conn.readonly = True
    with pool.connection() as conn:
        conn.autocommit = True
        cur = conn.cursor()
        cur.execute("SELECT current_setting('default_transaction_isolation'), pg_backend_pid() > 0")
        assert cur.fetchall() == [("read committed", True)] * 3
        cur.execute("SHOW default_transaction_read_only")
        assert cur.fetchall() == [("off",)] * 3


@pytest.mark.parametrize("more", ["SELECT 1", "SELECT no_such_column"])
def test_transaction_that_sql_began_in_autocommit_mode_is_not_handed_on(pool, more):
    """psycopg2 does not know of it, and the next one's commit would commit it."""
    with pool.connection() as conn:
        conn.autocommit = True
        cur = conn.cursor()
        cur.execute("BEGIN")
        cur.execute("CREATE TABLE begun_here (x int)")
        with contextlib.suppress(psycopg2.Error):
            cur.execute(more)
    with pool.connection() as conn:
        assert conn.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_IDLE
        cur = conn.cursor()
        cur.execute("SELECT to_regclass('begun_here')")
        assert cur.fetchall() == [(None,)] * 3


def test_block_whose_connection_is_given_back_within_ends_with_it(pool):
    """psycopg2 begins a transaction within a block, in autocommit mode too."""
    conn = pool.getconn()
    conn.autocommit = True
    conn.__enter__()
    conn.cursor().execute("SELECT 1")
    conn.close()
    with pytest.raises(psycopg2.InterfaceError):
        conn.__exit__(None, None, None)
    conn = pool.getconn()
    conn.autocommit = True
    conn.cursor().execute("CREATE TABLE made_at_once (x int)")
    conn.close()
    with pool.connection() as conn:
        cur = conn.cursor()
        cur.execute("SELECT to_regclass('made_at_once') IS NULL")
        assert cur.fetchall() == [(False,)] * 3


def test_settings_hold_on_shards_opened_later(pool):
    with pool.connection() as conn:
        conn.autocommit = True
        conn.set_client_encoding("LATIN1")
        conn.deferrable = True
        cur = conn.cursor()
        cur.execute("SHOW client_encoding")
        assert cur.fetchall() == [("LATIN1",)] * 3
        assert [physical.raw.deferrable for physical in conn._session.alive] == [True] * 3
        assert conn.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_IDLE
        cur.execute("DO $$ BEGIN RAISE NOTICE 'heard'; END $$")
        assert len(conn.notices) == 3
