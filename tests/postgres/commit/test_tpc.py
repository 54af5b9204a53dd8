"""PEP 249's two-phase commit: all shards are one resource of a foreign coordinator."""

from __future__ import annotations

from types import SimpleNamespace

import gevent
import psycopg2
import psycopg2.extensions as ext
import pytest

import greenshard
from greenshard.transaction import tpc
from tests.postgres.commit.conftest import run
from tests.postgres.commit.test_commit import ALL, NONE, ONE


@pytest.fixture
def xid(conn):
    return conn.xid(42, "global", "branch")


def prepare(conn, xid):
    conn.tpc_begin(xid)
    conn.cursor().execute(ALL)
    conn.tpc_prepare()


@pytest.mark.parametrize("prepares", [True, False])
@pytest.mark.parametrize(("ends", "values"), [("tpc_commit", ONE), ("tpc_rollback", NONE)])
def test_transaction_ends_on_all_shards(world, conn, xid, prepares, ends, values):
    conn.tpc_begin(xid)
    conn.cursor().execute(ALL)
    if prepares:
        conn.tpc_prepare()
        assert [len(rows) for rows in world.left().values()] == [1, 1, 1]
    getattr(conn, ends)()
    assert world.values() == values
    conn.cursor().execute("SELECT 1")  # the connection goes on
    conn.rollback()


@pytest.mark.parametrize(("ends", "values"), [("tpc_commit", ONE), ("tpc_rollback", NONE)])
def test_prepared_transaction_outlives_its_connection(world, conn, xid, ends, values):
    prepare(conn, xid)
    conn.close()
    with world.connect() as other:
        (found,) = other.tpc_recover()
        assert (found.format_id, found.gtrid, found.bqual) == (42, "global", "branch")
        other.rollback()
        getattr(other, ends)(found)
        assert other.tpc_recover() == []
        other.rollback()
    assert world.values() == values


def test_what_one_shard_has_committed_the_others_commit_too(world, conn):
    prepare(conn, "by name")
    conn.close()
    ((gid,),) = run(
        world.dsns["s1"],
        "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()",
    )
    run(world.dsns["s1"], f"COMMIT PREPARED '{gid}'")
    with world.connect() as other:
        assert [str(each) for each in other.tpc_recover()] == ["by name"]
        other.rollback()
        other.tpc_commit("by name")
        with pytest.raises(psycopg2.errors.UndefinedObject):
            other.tpc_commit("by name")
    assert world.values() == ONE


def test_shard_that_cannot_prepare_undoes_all(world, conn, xid):
    conn.tpc_begin(xid)
    with conn.on("s1").cursor() as there:
        there.execute("CREATE TEMP TABLE own (a int)")
    conn.cursor().execute(ALL)
    with pytest.raises(psycopg2.NotSupportedError, match="shard s1: cannot PREPARE"):
        conn.tpc_prepare()
    assert (world.values(), world.left()) == (NONE, {})
    # Without a coordinator, that shard decides.
    conn.tpc_begin(xid)
    with conn.on("s1").cursor() as there:
        there.execute("CREATE TEMP TABLE own (a int)")
    conn.cursor().execute(ALL)
    conn.tpc_commit()
    assert (world.values(), world.left()) == (ONE, {})
    prepare(conn, xid)
    conn.tpc_rollback()


@pytest.mark.parametrize("late", [False, True])
def test_what_a_shard_has_prepared_whose_answer_is_lost_is_rolled_back(
    world, conn, xid, monkeypatch, late
):
    def tpc_prepare(raw):
        if raw is not lost:
            ext.connection.tpc_prepare(raw)
            return
        if not late:
            ext.connection.tpc_prepare(raw)
        else:  # the server is at it still when the connection is gone
            greenlets.append(gevent.spawn_later(0.2, prepare_late))
        raw.close()
        raise psycopg2.OperationalError("the answer is lost")

    def prepare_late():
        dsn = world.dsns["s1"]
        run(dsn, "BEGIN", "UPDATE t SET c = 9", f"PREPARE TRANSACTION '{names['s1']}'")

    greenlets = []
    conn.tpc_begin(xid)
    conn.cursor().execute(ALL)
    names = conn._session.tpc_names
    lost = conn._session.physicals["s1"].raw
    stand_in = SimpleNamespace(tpc_prepare=tpc_prepare, tpc_rollback=ext.connection.tpc_rollback)
    monkeypatch.setattr(tpc, "RawConnection", stand_in)
    with pytest.raises(psycopg2.OperationalError, match="the answer is lost"):
        conn.tpc_prepare()
    gevent.joinall(greenlets)
    assert (world.values(), world.left()) == (NONE, {})


@pytest.mark.parametrize("branch", ["b", "bq", "", "abc", "."])
@pytest.mark.parametrize("ends", ["tpc_commit", "tpc_rollback"])
def test_any_branch_of_a_foreign_transaction_is_found_again(world, conn, branch, ends):
    xid = conn.xid(1, "order-17", branch)
    prepare(conn, xid)
    conn.close()
    with world.connect() as other:
        (found,) = other.tpc_recover()
        assert (found.format_id, found.gtrid, found.bqual) == (1, "order-17", branch)
        other.rollback()
        getattr(other, ends)(found)
        assert other.tpc_recover() == []
        other.rollback()
    assert world.values() == (ONE if ends == "tpc_commit" else NONE)


@pytest.mark.parametrize("ends", ["tpc_commit", "tpc_rollback"])
def test_role_that_was_set_ends_what_it_has_prepared(world, conn, xid, ends):
    with conn.cursor() as cursor:
        cursor.execute("SET ROLE pg_monitor")
        conn.commit()
        conn.tpc_begin(xid)
        cursor.execute("SELECT current_user")
        conn.tpc_prepare()
        getattr(conn, ends)()
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() == ("pg_monitor",)
        conn.commit()
    assert world.left() == {}


def test_commit_without_prepare_is_one_decision(world, conn, xid):
    conn.tpc_begin(xid)
    conn.cursor().execute(ALL)
    conn.tpc_commit()
    assert (world.values(), world.left()) == (ONE, {})
    assert len(world.decisions()) == 1
    assert conn.notices == []
    conn.cursor().execute(ALL)
    conn.rollback()
    conn.tpc_begin(xid)
    conn.on("s1").cursor().execute("SELECT count(*) FROM t")
    conn.tpc_commit()
    assert (world.values(), world.left()) == (ONE, {})


def test_reset_leaves_what_is_prepared_to_its_coordinator(world, conn, xid):
    prepare(conn, xid)
    conn.reset()
    conn.cursor().execute("SELECT count(*) FROM t")
    conn.commit()
    conn.tpc_commit(xid)
    assert world.values() == ONE


@pytest.mark.parametrize("call", [lambda c: c.commit(), lambda c: c.rollback(),
                                  lambda c: c.cursor().execute("COMMIT")])  # fmt: skip
def test_usual_ends_are_refused(world, conn, xid, call):
    conn.tpc_begin(xid)
    conn.cursor().execute(ALL)
    with pytest.raises(psycopg2.ProgrammingError, match="during a two-phase transaction"):
        call(conn)
    conn.tpc_commit()
    assert world.values() == ONE


def test_nothing_runs_in_what_is_prepared(conn, xid):
    prepare(conn, xid)
    with pytest.raises(psycopg2.ProgrammingError, match="two-phase"):
        conn.cursor().execute("SELECT count(*) FROM t")
    conn.tpc_rollback()


def test_begin_in_a_transaction_is_refused(conn, xid):
    conn.cursor().execute("SELECT count(*) FROM t")
    with pytest.raises(psycopg2.ProgrammingError, match="inside a transaction"):
        conn.tpc_begin(xid)
    conn.rollback()


def test_shards_that_cannot_commit_together_are_refused(bare):
    with bare.connect() as conn:
        with pytest.raises(greenshard.NotSupportedError) as caught:
            conn.tpc_begin("x")
        assert caught.value.code == "GS503"
        with pytest.raises(greenshard.ProgrammingError, match="166 bytes"):
            conn.tpc_begin("x" * 167)


def test_prepare_without_begin_is_refused(conn):
    with pytest.raises(psycopg2.ProgrammingError, match="prepare"):
        conn.tpc_prepare()
    conn.cursor().execute("SELECT 1")
    conn.rollback()


def test_one_shard_is_a_resource_of_its_own(world, conn):
    with conn.on("s1"):
        conn.tpc_begin("alone")
        conn.cursor().execute(f"UPDATE t SET c = 1 WHERE k = {world.keys['s1']}")
        conn.tpc_prepare()
        conn.tpc_commit()
    assert world.values() == {**NONE, "s1": [1]}
