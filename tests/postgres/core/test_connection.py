from __future__ import annotations

import contextlib
import gc
import select
import weakref

import gevent
import psycopg2
import pytest
from psycopg2 import extensions as ext

import greenshard

SECRET = "s3cret"


def on_all(conn, statement):
    with conn.cursor() as cur:
        cur.execute(statement)
        return [row[0] for row in cur.fetchall()]


@pytest.fixture
def table(plain):
    """A committed table on every shard."""
    for connection in plain.values():
        with connection, connection.cursor() as cur:
            cur.execute("DROP TABLE IF EXISTS kept; CREATE TABLE kept (a int UNIQUE)")
    return plain


def kept(plain):
    """What every shard has committed."""
    found = {}
    for name, connection in plain.items():
        with connection, connection.cursor() as cur:
            cur.execute("SELECT a FROM kept ORDER BY a")
            found[name] = [a for (a,) in cur.fetchall()]
    return found


def insert(conn, number):
    with conn.broadcast().cursor() as cur:
        cur.execute("INSERT INTO kept VALUES (%s)", (number,))


def test_commit_and_rollback_act_on_every_shard(conn, table):
    insert(conn, 1)
    conn.commit()
    insert(conn, 2)
    conn.rollback()
    assert kept(table) == {"s0": [1], "s1": [1], "s2": [1]}


def test_what_was_begun_on_connections_that_are_given_is_checked_before_it_is_committed(table):
    alter = "ALTER TABLE kept DROP CONSTRAINT kept_a_key, ADD UNIQUE (a) DEFERRABLE"
    for connection in table.values():
        with connection, connection.cursor() as cur:
            cur.execute(f"{alter} INITIALLY DEFERRED")
            cur.execute("INSERT INTO kept VALUES (1)")
    for name, connection in table.items():
        connection.cursor().execute("INSERT INTO kept VALUES (%s)", (1 if name == "s1" else 2,))
    conn = greenshard.connect(dict(table))
    with pytest.raises(psycopg2.errors.UniqueViolation) as caught:
        conn.commit()
    assert caught.value.shard == "s1"
    assert kept(table) == {"s0": [1], "s1": [1], "s2": [1]}
    conn.release()


def test_close_rolls_back(conn, table):
    insert(conn, 1)
    conn.close()
    assert kept(table) == {"s0": [], "s1": [], "s2": []}
    conn.close()
    assert conn.closed == 1
    for use in (conn.cursor, conn.commit, conn.rollback, lambda: conn.on("s0"), conn.reset):
        with pytest.raises(psycopg2.InterfaceError, match="connection already closed"):
            use()


def test_with_commits_or_rolls_back_and_stays_open(conn, table):
    with conn as same:
        assert same is conn
        insert(conn, 1)
    with pytest.raises(ZeroDivisionError), conn:  # noqa: PT012
        insert(conn, 2)
        raise ZeroDivisionError
    assert kept(table) == {"s0": [1], "s1": [1], "s2": [1]}
    assert not conn.closed


def test_with_may_not_be_nested_as_in_psycopg2(conn):
    with conn, pytest.raises(psycopg2.ProgrammingError, match="recursively"), conn:
        pass
    with conn:
        assert on_all(conn, "SELECT 1") == [1, 1, 1]


def test_with_and_autocommit_is_a_transaction_as_in_psycopg2(conn, table):
    conn.autocommit = True
    with pytest.raises(ZeroDivisionError), conn:  # noqa: PT012
        insert(conn, 1)
        raise ZeroDivisionError
    assert kept(table) == {"s0": [], "s1": [], "s2": []}
    insert(conn, 2)
    assert kept(table) == {"s0": [2], "s1": [2], "s2": [2]}


def test_failed_statement_fails_the_transaction_until_rollback(conn, table):
    insert(conn, 1)
    with pytest.raises(greenshard.IntegrityError) as caught:
        insert(conn, 1)
    assert isinstance(caught.value, psycopg2.errors.UniqueViolation)
    assert conn.get_transaction_status() == ext.TRANSACTION_STATUS_INERROR
    conn.rollback()
    assert conn.get_transaction_status() == ext.TRANSACTION_STATUS_IDLE
    assert kept(table) == {"s0": [], "s1": [], "s2": []}


def test_failure_on_one_shard_names_it_and_is_not_committed_on_the_others(conn, table):
    with conn.on("s1"):
        insert(conn, 1)
    conn.commit()
    with pytest.raises(psycopg2.errors.UniqueViolation, match="shard s1") as caught:
        insert(conn, 1)
    assert caught.value.shard == "s1"
    assert caught.value.pgcode == "23505"
    assert caught.value.diag.constraint_name == "kept_a_key"
    with pytest.raises(psycopg2.InternalError, match="cannot be committed"):
        conn.commit()
    assert kept(table) == {"s0": [], "s1": [1], "s2": []}
    insert(conn, 2)
    conn.commit()


@pytest.mark.parametrize("text", ["COMMIT", "/* app */ COMMIT", "SELECT 1; COMMIT", "END"])
def test_commit_by_sql_after_a_failure_commits_nowhere(conn, table, text):
    with conn.on("s1"):
        insert(conn, 1)
    conn.commit()
    with pytest.raises(psycopg2.errors.UniqueViolation):
        insert(conn, 1)
    with pytest.raises(psycopg2.InternalError):
        conn.cursor().execute(text)
    conn.rollback()
    assert kept(table) == {"s0": [], "s1": [1], "s2": []}


def test_deferred_constraint_that_fails_on_one_shard_commits_nowhere(conn, table):
    cur = conn.cursor()
    cur.execute("ALTER TABLE kept ADD UNIQUE (a) DEFERRABLE INITIALLY DEFERRED")
    cur.execute("ALTER TABLE kept DROP CONSTRAINT kept_a_key")
    conn.commit()
    insert(conn, 1)
    with conn.on("s2"):
        insert(conn, 1)
    with pytest.raises(psycopg2.errors.UniqueViolation) as caught:
        conn.commit()
    assert caught.value.shard == "s2"
    assert not isinstance(caught.value, greenshard.PartialCommitError)
    assert kept(table) == {"s0": [], "s1": [], "s2": []}


SETTINGS = [
    ("isolation_level", "SERIALIZABLE", ext.ISOLATION_LEVEL_SERIALIZABLE,
     "SHOW transaction_isolation", "serializable"),
    ("isolation_level", ext.ISOLATION_LEVEL_REPEATABLE_READ, ext.ISOLATION_LEVEL_REPEATABLE_READ,
     "SHOW transaction_isolation", "repeatable read"),
    ("readonly", True, True, "SHOW transaction_read_only", "on"),
    ("deferrable", True, True, "SHOW transaction_deferrable", "on"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "read", "statement", "shown"), SETTINGS)
def test_session_settings_hold_on_all_shards(conn, name, value, read, statement, shown):
    setattr(conn, name, value)
    assert getattr(conn, name) == read
    assert on_all(conn, statement) == [shown] * 3
    conn.rollback()
    setattr(conn, name, None)
    assert getattr(conn, name) is None
    conn.set_session(**{name: value})
    assert on_all(conn, statement) == [shown] * 3


def test_settings_may_not_change_within_a_transaction_on_any_shard(conn):
    with conn.on("s1"):
        on_all(conn, "SELECT 1")
    for change in (
        lambda: conn.set_session(readonly=True),
        lambda: setattr(conn, "autocommit", True),
        lambda: setattr(conn, "isolation_level", 1),
        lambda: setattr(conn, "readonly", True),
    ):
        with pytest.raises(psycopg2.ProgrammingError, match="inside a transaction"):
            change()
    conn.rollback()
    conn.autocommit = True
    assert conn.autocommit is True
    assert on_all(conn, "SELECT pg_current_xact_id_if_assigned()") == [None] * 3
    assert conn.get_transaction_status() == ext.TRANSACTION_STATUS_IDLE


def test_set_isolation_level_zero_is_autocommit(conn):
    conn.set_isolation_level(ext.ISOLATION_LEVEL_AUTOCOMMIT)
    assert conn.autocommit
    conn.set_isolation_level(ext.ISOLATION_LEVEL_READ_COMMITTED)
    assert not conn.autocommit
    with pytest.raises((ValueError, psycopg2.Error)):
        conn.set_isolation_level(42)
    with pytest.raises((ValueError, psycopg2.Error)):
        conn.isolation_level = "nonsense"


@pytest.mark.parametrize("encoding", ["LATIN1", "UTF8", "SQL_ASCII"])
def test_client_encoding_is_set_on_all_shards(conn, encoding):
    conn.set_client_encoding(encoding)
    assert conn.encoding in (encoding, encoding.replace("_", ""))
    assert set(on_all(conn, "SHOW client_encoding")) <= {encoding, encoding.replace("_", "")}
    text = "plain" if encoding == "SQL_ASCII" else "é"
    cur = conn.cursor()
    cur.execute("SELECT %s AS echo, length(%s)", (text, text))
    assert cur.fetchall() == [(text, len(text))] * 3
    with pytest.raises(psycopg2.Error):
        conn.set_client_encoding("nonsense")


def test_client_encoding_of_one_connection_string_is_brought_into_line(dsns):
    odd = {**dsns, "s1": dsns["s1"] + " client_encoding=LATIN1"}
    with contextlib.closing(greenshard.connect(odd)) as conn:
        cur = conn.cursor()
        cur.execute("SELECT %s AS echo", ("é",))
        assert cur.fetchall() == [("é",)] * 3


def test_notices_of_all_shards_are_collected(conn):
    cur = conn.cursor()
    cur.execute("DROP TABLE IF EXISTS never_was")
    assert sum("never_was" in notice for notice in conn.notices) == 3
    conn.notices = []
    cur.execute("DROP TABLE IF EXISTS never_was")
    assert len(conn.notices) == 3


def test_notifications_of_all_shards_arrive(conn, plain):
    conn.autocommit = True
    conn.cursor().execute("LISTEN news")
    assert conn.notifies == []
    for name, other in plain.items():
        with other, other.cursor() as cur:
            cur.execute("SELECT pg_notify('news', %s)", (name,))
    conn.cursor().execute("SELECT 1")
    with gevent.Timeout(10):
        while len(conn.notifies) < 3:
            conn.poll()
            gevent.sleep(0.01)
    assert sorted(notify.payload for notify in conn.notifies) == ["s0", "s1", "s2"]
    assert {notify.channel for notify in conn.notifies} == {"news"}


def test_waiting_for_notifications_on_one_shards_socket(conn, plain):
    conn.autocommit = True
    with conn.on("s1"):
        conn.cursor().execute("LISTEN news")
        with plain["s1"] as other, other.cursor() as cur:
            cur.execute("NOTIFY news, 'x'")
        assert select.select([conn], [], [], 10)[0] == [conn]
        conn.poll()
    assert conn.notifies.pop().payload == "x"
    with pytest.raises(greenshard.NotSupportedError, match="one shard"):
        conn.fileno()


def test_state_of_the_connection(conn):
    assert (conn.closed, conn.async_, conn.autocommit) == (0, 0, False)
    assert conn.status == ext.STATUS_READY
    assert conn.server_version == conn.info.server_version > 100000
    assert conn.protocol_version == 3
    assert conn.encoding == "UTF8"
    assert not conn.isexecuting()
    assert conn.get_parameter_status("client_encoding") == "UTF8"
    with conn.on("s2"):
        on_all(conn, "SELECT 1")
        assert conn.get_backend_pid() == on_all(conn, "SELECT pg_backend_pid()")[0]
    assert conn.status == ext.STATUS_BEGIN
    assert conn.get_transaction_status() == ext.TRANSACTION_STATUS_INTRANS
    assert conn.poll() == ext.POLL_OK
    conn.reset()
    assert conn.status == ext.STATUS_READY
    with pytest.raises(greenshard.NotSupportedError, match="one shard"):
        conn.get_backend_pid()


def test_reset_gives_back_the_settings_on_all_shards(conn):
    conn.cursor().execute("SET work_mem = '9MB'")
    conn.commit()
    assert on_all(conn, "SHOW work_mem") == ["9MB"] * 3
    conn.reset()
    assert "9MB" not in on_all(conn, "SHOW work_mem")


def test_password_is_shown_nowhere(dsns):
    secret = {name: f"{dsn} password={SECRET}" for name, dsn in dsns.items()}
    with contextlib.closing(greenshard.connect(secret)) as conn:
        shown = [
            repr(conn), str(conn), conn.dsn, repr(conn.info), str(conn.info.dsn_parameters),
            str(conn.info.password), str(conn.get_dsn_parameters()), repr(conn.cursor()),
            str(vars(conn)), repr(conn.on("s0")),
        ]  # fmt: skip
        assert not [text for text in shown if SECRET in text]
        assert conn.info.dbname
        assert conn.info.user == "postgres"


def test_exceptions_are_attributes(conn):
    for name in ("Warning", "Error", "InterfaceError", "DatabaseError", "DataError",
                 "OperationalError", "IntegrityError", "InternalError", "ProgrammingError",
                 "NotSupportedError"):  # fmt: skip
        assert getattr(conn, name) is getattr(greenshard, name)
    with pytest.raises(conn.ProgrammingError) as caught:
        conn.cursor().execute("SELECT * FROM nothing")
    assert caught.value.cursor is not None


def test_it_is_a_psycopg2_connection(conn):
    assert isinstance(conn, ext.connection)
    assert isinstance(conn.cursor(), ext.cursor)
    assert conn.cursor().connection is conn
    assert "s0, s1, s2" in repr(conn)


def test_connection_that_is_dropped_is_closed_on_the_servers(dsns, plain):
    conn = greenshard.connect(dsns, application_name="to be dropped")
    gone = weakref.ref(conn)
    cursor = conn.cursor()
    cursor.execute("SELECT 1")
    del conn, cursor
    gc.collect()
    assert gone() is None
    for other in plain.values():
        with gevent.Timeout(10):
            while sessions(other):
                gevent.sleep(0.01)


def sessions(plain):
    with plain, plain.cursor() as cur:
        cur.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'to be dropped'"
                    " AND datname = current_database()")  # fmt: skip
        return cur.fetchone()[0]


def test_two_phase_commit_is_refused_over_several_shards(conn):
    xid = conn.xid(1, "global", "branch")
    for use in (lambda: conn.tpc_begin(xid), conn.tpc_prepare, conn.tpc_commit, conn.tpc_recover):
        with pytest.raises(greenshard.NotSupportedError, match="one shard") as caught:
            use()
        assert caught.value.code == "GS403"


def test_connection_lost_on_one_shard_is_told_and_rolled_back(conn, table):
    with conn.on("s1"):
        insert(conn, 1)
        pid = conn.get_backend_pid()
    insert(conn, 2)
    with table["s1"].cursor() as cur:
        cur.execute("SELECT pg_terminate_backend(%s)", (pid,))
    table["s1"].commit()
    with pytest.raises(psycopg2.OperationalError) as caught:
        on_all(conn, "SELECT 1")
    assert caught.value.shard == "s1"
    assert conn.closed == 2
    with pytest.raises(psycopg2.Error):
        conn.commit()
    assert kept(table) == {"s0": [], "s1": [], "s2": []}
    with conn.on(["s0", "s2"]):
        assert on_all(conn, "SELECT 1") == [1, 1]
    with pytest.raises(psycopg2.InterfaceError, match="s1 is gone"):
        on_all(conn, "SELECT 1")
