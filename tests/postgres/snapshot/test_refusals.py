"""Where there is no snapshot, who is in the way is told; nothing stays, and nobody is held up."""

from __future__ import annotations

import contextlib
import time

import gevent
import psycopg2
import pytest
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, make_dsn

import greenshard
from greenshard.links.deadline import within
from greenshard.testing import Shards
from greenshard.transaction import barrier, snapshot
from greenshard.transaction.gids import Gid, new_transaction
from greenshard.transaction.snapshot_protocol import DOUBT_S
from tests.postgres.snapshot.bank import BARRIER, cluster_of

SUM = "SELECT sum(amount) FROM account"


def eventually(condition, within_s=10.0):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "did not come about"
        gevent.sleep(0.005)


def refused(conn, error=greenshard.OperationalError, **arguments):
    with pytest.raises(error) as caught, conn.snapshot(**arguments):
        pytest.fail("there is a snapshot")
    assert conn.get_transaction_status() == TRANSACTION_STATUS_IDLE
    return caught.value


@pytest.fixture
def writer(dsns):
    """A client that keeps the barrier of s1, in a transaction."""
    dsn = make_dsn(dsns["s1"], application_name="sleeper")
    with contextlib.closing(psycopg2.connect(dsn)) as connection:
        connection.cursor().execute(BARRIER)
        yield connection


def test_a_cluster_that_is_not_initialised(greenshard_dsns):
    tables = {"account": greenshard.Sharded("id")}
    cluster = greenshard.Cluster(greenshard_dsns, tables)
    for shards in (greenshard_dsns, cluster):
        with contextlib.closing(greenshard.connect(shards)) as conn:
            error = refused(conn)
            assert error.code == "GS506"
            assert "not initialised" in str(error)
            assert "greenshard init" in error.hint
    greenshard.init(cluster)
    with contextlib.closing(psycopg2.connect(greenshard_dsns["s1"])) as conn, conn:
        conn.cursor().execute("DROP TABLE greenshard.barrier")
    with contextlib.closing(greenshard.connect(greenshard_dsns)) as conn:
        error = refused(conn)
        assert error.shard == "s1"
        assert "shard s1: the shard is not initialised" in str(error)


def test_rights(dsns, plain):
    for shard in ("s0", "s1"):  # s0 and s2 are databases of one server
        plain[shard].cursor().execute("CREATE ROLE snapshot_reader LOGIN")
    for connection in plain.values():
        connection.cursor().execute("GRANT SELECT ON account, fund TO snapshot_reader")
    try:
        theirs = {name: make_dsn(dsn, user="snapshot_reader") for name, dsn in dsns.items()}
        with contextlib.closing(greenshard.connect(cluster_of(theirs))) as conn:
            error = refused(conn)
            assert error.code == "GS506"
            assert "may not lock greenshard.barrier" in str(error)
            assert "--role" in error.hint
            greenshard.init(cluster_of(dsns), roles=["snapshot_reader"])
            with conn.snapshot(), conn.cursor() as cur:
                cur.execute(SUM)
                assert cur.fetchone()[0] > 0
    finally:
        for connection in plain.values():
            connection.cursor().execute("DROP OWNED BY snapshot_reader")
        for shard in ("s0", "s1"):
            plain[shard].cursor().execute("DROP ROLE snapshot_reader")


def test_a_standby():
    with Shards(2) as shards:
        dsns = {shard.name: shard.dsn for shard in shards}
        greenshard.init(greenshard.Cluster(dsns, {"account": greenshard.Sharded("id")}))
        standby = shards[1]
        standby.stop()
        (standby.data_dir / "standby.signal").touch()
        standby.start()
        # The embedded servers are copies of one.
        with contextlib.closing(greenshard.connect(dsns, allow_same_database=True)) as conn:
            error = refused(conn)
            assert error.code == "GS506"
            assert error.shard == "s1"
            assert "standby" in str(error)


def test_who_keeps_the_barrier_is_told_and_other_commits_go_on(conn, dsns, writer, locks):
    over, waits = False, []

    def commit():
        with contextlib.closing(psycopg2.connect(dsns["s0"])) as other:
            while not over:
                began = time.monotonic()
                with other:
                    other.cursor().execute(BARRIER)
                waits.append(time.monotonic() - began)
                gevent.sleep(0.001)

    other = gevent.spawn(commit)
    began = time.monotonic()
    error = refused(conn, timeout=1.0)
    assert time.monotonic() - began < 2.0
    over = True
    other.get()
    assert error.code == "GS506"
    assert "within 1 s" in str(error)
    assert f"s1: process {writer.get_backend_pid()} (sleeper) has the barrier" in str(error)
    assert len(waits) > 30
    assert max(waits) < 0.6
    assert locks() == [("s1", "RowExclusiveLock")]
    writer.commit()
    with conn.snapshot(timeout=1.0):
        assert locks() == []


def test_a_reader_and_a_commit_that_wait_for_each_other(conn, dsns, locks):
    with contextlib.ExitStack() as opened:
        own = {
            shard: opened.enter_context(contextlib.closing(psycopg2.connect(dsns[shard])))
            for shard in ("s0", "s1")
        }
        own["s0"].cursor().execute(BARRIER)
        waits = []

        def commit():
            eventually(lambda: ("s1", "ShareLock") in locks())
            began = time.monotonic()
            own["s1"].cursor().execute(BARRIER)  # which the reader has
            waits.append(time.monotonic() - began)
            for each in own.values():
                each.commit()

        other = gevent.spawn(commit)
        with conn.snapshot():
            pass
        other.get()
    assert waits[0] < 0.5


@pytest.mark.parametrize("committed", [True, False])
def test_what_is_in_doubt_is_recovered_first(conn, dsns, plain, locks, committed):
    def ask(shard, sql, *args):
        with plain[shard].cursor() as cur:
            cur.execute(sql, args)
            return cur.fetchall() if cur.description else None

    stamps = {s: ask(s, "SELECT cluster, id FROM greenshard.shard")[0] for s in dsns}
    gid = Gid(*stamps["s0"], new_transaction(time.time()))
    if committed:
        ask("s0", "INSERT INTO greenshard.decision VALUES (%s, true, %s)", gid.decision,
            [stamps["s1"][1]])  # fmt: skip
        ask("s0", "UPDATE account SET amount = amount - 7 WHERE id = (SELECT min(id) FROM account)")
    with contextlib.closing(psycopg2.connect(dsns["s1"])) as coordinator:
        cur = coordinator.cursor()
        cur.execute(
            "UPDATE account SET amount = amount + 7 WHERE id = (SELECT min(id) FROM account)"
        )
        cur.execute(BARRIER)
        cur.execute(f"PREPARE TRANSACTION '{gid.prepared(stamps['s1'][1])}'")
        coordinator.rollback()
    assert locks() == [("s1", "RowExclusiveLock")]
    gevent.sleep(DOUBT_S)
    with conn.snapshot(), conn.cursor() as reader:
        reader.execute(SUM)
        # All of it, or nothing.
        assert reader.fetchone()[0] == 24 * 100
    assert ask("s1", "SELECT gid FROM pg_prepared_xacts") == []


def test_what_others_have_prepared_is_told(conn, dsns, plain):
    with contextlib.closing(psycopg2.connect(dsns["s1"])) as other:
        cur = other.cursor()
        cur.execute(BARRIER)
        cur.execute("PREPARE TRANSACTION 'of another program'")
        other.rollback()
    try:
        error = refused(conn, timeout=1.2)
        assert "s1: transaction of another program has the barrier, prepared " in str(error)
        assert "recovery" not in str(error)
        assert "tpc_recover() lists it" in error.hint
    finally:
        plain["s1"].cursor().execute("ROLLBACK PREPARED 'of another program'")


def test_an_end_from_outside_leaves_nothing(conn, writer, locks):
    with gevent.Timeout(0.02, False):
        refused(conn)
    assert conn.get_transaction_status() == TRANSACTION_STATUS_IDLE
    assert locks() == [("s1", "RowExclusiveLock")]
    waiting = gevent.spawn(refused, conn)
    eventually(lambda: ("s0", "ShareLock") in locks())
    waiting.kill()
    eventually(lambda: locks() == [("s1", "RowExclusiveLock")])
    assert conn.get_transaction_status() == TRANSACTION_STATUS_IDLE
    conn.autocommit = True
    with gevent.Timeout(0.02, False):
        refused(conn)
    assert conn.autocommit
    writer.rollback()
    with conn.snapshot(), conn.cursor() as cur:
        cur.execute(SUM)


def test_a_reader_that_hangs_with_the_lock_holds_up_commits_for_two_seconds(conn, dsns, locks):
    session = conn._session
    session.run({"s0": lambda: barrier.lock(session.physicals["s0"], 0.05)}, within(5.0))
    assert locks() == [("s0", "ShareLock")]
    began = time.monotonic()
    with contextlib.closing(psycopg2.connect(dsns["s0"])) as other:
        other.cursor().execute(f"SET lock_timeout = '10s'; {BARRIER}")
    assert 1.5 < time.monotonic() - began < 4.0


@pytest.mark.parametrize("of_pool", [False, True])
def test_a_shard_that_is_lost(cluster, plain, of_pool):
    def lose(conn):
        cur = conn.cursor()
        cur.execute(SUM)
        plain["s1"].cursor().execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        for _ in range(2):
            # Not of a new connection, which would be of another moment.
            with pytest.raises(psycopg2.Error) as caught:
                cur.execute(SUM)
            assert "s1" in str(caught.value)
        with pytest.raises(psycopg2.Error), conn.on("s1"):
            conn.cursor().execute("SELECT 1")

    if not of_pool:
        with contextlib.closing(greenshard.connect(cluster)) as conn:
            with conn.snapshot():
                lose(conn)
            assert conn.closed == 2
            with pytest.raises(greenshard.Error, match="GS203"), conn.snapshot():
                pytest.fail("there is a snapshot")
        return
    with greenshard.Pool(cluster, max_size=1) as pool:
        with contextlib.suppress(greenshard.Error), pool.connection() as conn, conn.snapshot():
            lose(conn)
        with pool.connection() as conn, conn.snapshot(), conn.cursor() as cur:
            cur.execute(SUM)
            assert cur.fetchone()[0] > 0


def test_a_shard_that_is_silent_holds_up_no_commits_elsewhere(
    cluster, dsns, greenshard_shards, monkeypatch
):
    monkeypatch.setattr(snapshot, "_PATIENCE_S", 0.2)
    with contextlib.closing(greenshard.connect(cluster, cancel_grace=0.2)) as conn:
        greenshard_shards[1].pause()  # s1's server
        try:
            with pytest.raises(greenshard.QueryTimeout) as caught, conn.snapshot(timeout=3.0):
                pytest.fail("there is a snapshot")
            assert caught.value.shard == "s1"
            began = time.monotonic()
            with contextlib.closing(psycopg2.connect(dsns["s0"])) as other:
                other.cursor().execute(BARRIER)
            assert time.monotonic() - began < 1.0
        finally:
            greenshard_shards[1].resume()
