"""What may be done in a snapshot, what ends it, and what a connection is like afterwards."""

from __future__ import annotations

import contextlib

import gevent
import psycopg2
import pytest
from psycopg2.extensions import (
    ISOLATION_LEVEL_SERIALIZABLE,
    STATUS_READY,
    TRANSACTION_STATUS_IDLE,
)

import greenshard

SUM = "SELECT sum(amount) FROM account"
SETTINGS = """
SELECT concat_ws(' ', current_setting('transaction_isolation'),
    current_setting('transaction_read_only'), current_setting('lock_timeout'),
    current_setting('idle_in_transaction_session_timeout'))
"""
GATHERED = "SELECT count(*) FROM account a JOIN account b ON a.twin = b.id"


def one(cur, sql, *args):
    cur.execute(sql, args)
    return cur.fetchone()[0]


@pytest.fixture
def cur(conn):
    return conn.cursor()


def is_usual(conn, *, autocommit=False):
    """Whether a connection is as before: nothing is open, and transactions begin as usual."""
    assert conn.autocommit is autocommit
    assert conn.status == STATUS_READY
    assert conn.get_transaction_status() == TRANSACTION_STATUS_IDLE
    cur = conn.cursor()
    for shard in conn.shards:
        with conn.on(shard):
            found = one(conn.cursor(), SETTINGS)
            assert found == "read committed off 0 0"
    cur.execute("UPDATE account SET amount = amount")
    conn.rollback()
    if autocommit:
        assert conn.get_transaction_status() == TRANSACTION_STATUS_IDLE
    return True


@pytest.mark.parametrize("autocommit", [False, True])
def test_reads_are_repeated_and_the_connection_is_usual_afterwards(conn, plain, locks, autocommit):
    conn.autocommit = autocommit
    cur = conn.cursor()
    before = one(cur, SUM)
    conn.rollback()
    with conn.snapshot() as same:
        assert same is conn
        assert locks() == []
        for number, connection in enumerate(plain.values()):
            with connection.cursor() as writer:
                writer.execute("UPDATE account SET amount = amount + %s", (number + 1,))
        # Those that no statement has reached yet, too.
        assert one(cur, SUM) == before
        for shard in conn.shards:
            with conn.on(shard):
                assert one(cur, "SHOW transaction_isolation") == "repeatable read"
                assert one(cur, "SHOW lock_timeout") == "0"
        with conn.cursor("rows") as named:
            named.execute("SELECT amount FROM account ORDER BY id")
            assert sum(amount for (amount,) in named) == before
    assert one(cur, SUM) > before
    for number, connection in enumerate(plain.values()):
        with connection.cursor() as writer:
            writer.execute("UPDATE account SET amount = amount - %s", (number + 1,))
    conn.rollback()
    assert is_usual(conn, autocommit=autocommit)


@pytest.mark.parametrize("autocommit", [False, True])
def test_what_the_program_has_chosen_for_its_transactions_holds_afterwards(conn, autocommit):
    conn.set_session(
        ISOLATION_LEVEL_SERIALIZABLE, readonly=False, deferrable=True, autocommit=autocommit
    )
    cur = conn.cursor()
    with conn.snapshot():
        assert one(cur, "SHOW transaction_isolation") == "repeatable read"
        assert one(cur, GATHERED) == 24
        with conn.cursor("rows") as named:
            named.execute("SELECT amount FROM account ORDER BY id")
            assert len(named.fetchall()) == 24
    assert conn.isolation_level == ISOLATION_LEVEL_SERIALIZABLE
    assert (conn.readonly, conn.deferrable, conn.autocommit) == (False, True, autocommit)
    for shard in conn.shards:
        with conn.on(shard):
            assert one(cur, "SHOW transaction_isolation") == "serializable"
            assert one(cur, "SHOW transaction_read_only") == "off"
    conn.rollback()


def test_open_connections_and_blocks_of_psycopg2s(dsns):
    with contextlib.ExitStack() as opened:
        given = {
            name: opened.enter_context(contextlib.closing(psycopg2.connect(dsn)))
            for name, dsn in dsns.items()
        }
        conn = greenshard.connect(given)
        for autocommit in (False, True):
            conn.autocommit = autocommit
            with conn, conn.snapshot():
                cur = conn.cursor()
                cur.execute("SHOW transaction_isolation")
                assert [level for (level,) in cur] == ["repeatable read"] * 3
            with conn.snapshot():
                cur.execute("SHOW transaction_isolation")
                assert [level for (level,) in cur] == ["repeatable read"] * 3
            assert {each.autocommit for each in given.values()} == {autocommit}
            assert conn.get_transaction_status() == TRANSACTION_STATUS_IDLE
        conn.release()


def test_a_write_is_refused(conn, cur, plain):
    texts = {
        "UPDATE account SET amount = 0": "before it is sent",
        "INSERT INTO account VALUES (1000, 1, 1)": "before it is sent",
        "SELECT 1; DELETE FROM account": "before it is sent",
        "TRUNCATE fund": "before it is sent",
        "CREATE TABLE made (a int)": "before it is sent",
        "SELECT * FROM account FOR UPDATE": "by the servers",
        "WITH gone AS (DELETE FROM account RETURNING id) SELECT * FROM gone": "by the servers",
    }  # fmt: skip
    for text, how in texts.items():
        with conn.snapshot():
            with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction) as caught:
                cur.execute(text)
            assert caught.value.pgcode == "25006", text
            assert caught.value.code == "GS507", text
            assert ("in a snapshot, which only reads" in str(caught.value)) is (
                how == "before it is sent"
            ), text
            # As on one PostgreSQL, the transaction has failed with it.
            with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
                cur.execute("SELECT 1")
        with conn.snapshot(), conn.on("s1"), pytest.raises(greenshard.InternalError, match="GS507"):
            conn.cursor().execute("DO $$ BEGIN DELETE FROM account; END $$")
        with conn.snapshot(), pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            cur.executemany("UPDATE account SET amount = %s", [(1,)])
    for connection in plain.values():
        with connection.cursor() as writer:
            writer.execute("CREATE FUNCTION wipe() RETURNS int LANGUAGE sql AS"
                           " 'WITH gone AS (DELETE FROM account RETURNING id)"
                           " SELECT count(*)::int FROM gone'")  # fmt: skip
    try:
        # Where rows are gathered, too: that connection may not write either.
        for text in ("SELECT wipe()", "SELECT wipe() FROM account LIMIT 1"):
            with conn.snapshot(), pytest.raises(psycopg2.Error) as caught:
                cur.execute(text)
            assert getattr(caught.value, "code", None) in {"GS507", "GS410"}, text
    finally:
        for connection in plain.values():
            with connection.cursor() as writer:
                writer.execute("DROP FUNCTION wipe()")
    assert is_usual(conn)


def test_savepoints_bring_reads_back(conn, cur):
    with conn.snapshot():
        before = one(cur, SUM)
        cur.execute("SAVEPOINT a")
        with pytest.raises(psycopg2.errors.DivisionByZero):
            cur.execute("SELECT 1 / (amount - amount) FROM account")
        cur.execute("ROLLBACK TO SAVEPOINT a")
        assert one(cur, GATHERED) == 24
        assert one(cur, SUM) == before
        cur.execute("SET LOCAL work_mem = '10MB'")
        assert one(cur, "SHOW work_mem") == "10MB"
    assert is_usual(conn)


def test_sql_does_not_end_it(conn, cur):
    with conn.snapshot():
        for text in ("COMMIT", "ROLLBACK", "SELECT 1; COMMIT; BEGIN", "COMMIT AND CHAIN",
                     "PREPARE TRANSACTION 'a'"):  # fmt: skip
            with pytest.raises(greenshard.ProgrammingError, match="GS507"):
                cur.execute(text)
            with conn.on("s1"), pytest.raises(greenshard.ProgrammingError, match="GS507"):
                conn.cursor().execute(text)
        assert one(cur, "SHOW transaction_isolation") == "repeatable read"
    assert is_usual(conn)


@pytest.mark.parametrize("end", ["commit", "rollback", "reset", "set_isolation_level"])
def test_methods_end_it_and_its_block_reads_no_more(conn, cur, end):
    with conn.snapshot():
        one(cur, SUM)
        getattr(conn, end)(*([None] if end == "set_isolation_level" else []))
        with pytest.raises(greenshard.ProgrammingError, match="the snapshot has ended"):
            cur.execute(SUM)
        with pytest.raises(greenshard.ProgrammingError, match="GS506"), conn.snapshot():
            pass
    assert is_usual(conn)


def test_it_begins_no_transaction_in_another_one(conn, cur):
    cur.execute("SELECT 1")
    with pytest.raises(greenshard.ProgrammingError, match="a transaction is open"):  # noqa: SIM117
        with conn.snapshot():
            pass
    assert one(cur, "SELECT 1") == 1
    conn.rollback()
    conn.autocommit = True
    cur.execute("BEGIN")
    with pytest.raises(greenshard.ProgrammingError, match="a transaction is open"):  # noqa: SIM117
        with conn.snapshot():
            pass
    cur.execute("ROLLBACK")
    conn.autocommit = False
    with conn.snapshot():
        with pytest.raises(greenshard.ProgrammingError, match="a snapshot is taken already"):  # noqa: SIM117
            with conn.snapshot():
                pass
        assert one(cur, "SHOW transaction_isolation") == "repeatable read"
        with pytest.raises(greenshard.ProgrammingError, match="inside a transaction"):
            conn.autocommit = True
    assert is_usual(conn)


def test_what_its_block_raises_is_raised(conn, cur):
    with pytest.raises(ZeroDivisionError), conn.snapshot():
        _fails(one(cur, SUM))
    assert is_usual(conn)
    with gevent.Timeout(0.2, False), conn.snapshot():
        cur.execute("SELECT pg_sleep(5) FROM account")
    assert is_usual(conn)
    with conn.snapshot(), pytest.raises(greenshard.QueryTimeout):
        _slowly(conn)
    assert is_usual(conn)


def _fails(number):
    return 1 / (number - number)


def _slowly(conn):
    cur = conn.cursor()
    cur.timeout = 0.1
    cur.execute("SELECT pg_sleep(5) FROM account")


def test_a_pools_connections_have_snapshots_on_all_shards(cluster, plain):
    with greenshard.Pool(cluster, max_size=1) as pool:
        with pool.connection() as conn:
            cur = conn.cursor()
            cur.execute("SELECT amount FROM account WHERE id = 1")
        with pool.connection() as conn, conn.snapshot():
            cur = conn.cursor()
            before = one(cur, SUM)
            for connection in plain.values():
                connection.cursor().execute("UPDATE account SET amount = amount + 1")
            assert one(cur, SUM) == before
            assert one(cur, GATHERED) == 24
        for connection in plain.values():
            connection.cursor().execute("UPDATE account SET amount = amount - 1")
        # Given back in the middle of it.
        conn = pool.getconn()
        with conn.snapshot():
            one(conn.cursor(), SUM)
            conn.close()
        with pool.connection() as conn:
            assert is_usual(conn)
        with pool.connection() as conn:
            conn.autocommit = True
            with conn.snapshot():
                one(conn.cursor(), GATHERED)
                pool.putconn(conn)
        with pool.connection() as conn:
            assert is_usual(conn)


def test_each_transaction_may_have_its_own(conn, cur, plain):
    assert conn.consistent is False
    conn.set_session(consistent=True)
    for _ in range(2):
        before = one(cur, SUM)
        for connection in plain.values():
            connection.cursor().execute("UPDATE account SET amount = amount + 1")
        assert one(cur, SUM) == before
        assert one(cur, GATHERED) == 24
        with pytest.raises(greenshard.ProgrammingError, match="inside a transaction"):
            conn.consistent = False
        conn.commit()
        assert one(cur, SUM) > before
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction, match="GS507"):
            cur.execute("UPDATE account SET amount = amount - 1")
        conn.rollback()
        for connection in plain.values():
            connection.cursor().execute("UPDATE account SET amount = amount - 1")
        with conn.snapshot():
            assert one(cur, SUM) == before
        with conn:
            assert one(cur, SUM) == before
    conn.autocommit = True
    with pytest.raises(greenshard.ProgrammingError, match="autocommit"):
        cur.execute(SUM)
    with conn.snapshot():
        assert one(cur, SUM) == before
    conn.set_session(autocommit=False, consistent=False)
    assert is_usual(conn)
    with pytest.raises(greenshard.ProgrammingError, match="consistent"):
        conn.consistent = "yes"


def test_a_single_shard_needs_no_barrier(greenshard_dsns):
    dsn = greenshard_dsns["s0"]
    with contextlib.closing(greenshard.connect(dsn)) as conn:
        cur = conn.cursor()
        cur.execute("CREATE TABLE t AS SELECT 1 AS n")
        conn.commit()
        with conn.snapshot():
            with (
                contextlib.closing(psycopg2.connect(dsn)) as other,
                other,
                other.cursor() as writer,
            ):
                writer.execute("UPDATE t SET n = 2")
            assert one(cur, "SELECT n FROM t") == 1
            with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction, match="GS507"):
                cur.execute("DROP TABLE t")
        assert one(cur, "SELECT n FROM t") == 2
