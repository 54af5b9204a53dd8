"""A pool finishes in the background what is in doubt, and nobody notices."""

from __future__ import annotations

import contextlib
import gc
import time

import psycopg2
import pytest
from prometheus_client import CollectorRegistry

import greenshard
from greenshard.ext.prometheus import PoolCollector
from greenshard.pool import background

NAME = "greenshard recovery"


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """What is prepared is not young, and the first round comes soon."""
    monkeypatch.setattr(background, "_YOUNG_S", 0.0)
    monkeypatch.setattr(background, "_FIRST_S", 0.01)
    monkeypatch.setattr(background, "_LOOK_S", 0.2)


@pytest.fixture
def make_pool(scene):
    with contextlib.ExitStack() as pools:

        def make(cluster=None, **options):
            cluster = cluster or greenshard.Cluster(scene.dsns, {"t": greenshard.Sharded("x")})
            options = {"max_size": 1, "recover_every": 0.1, "check": False, **options}
            return pools.enter_context(greenshard.Pool(cluster, **options))

        yield make


def eventually(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def rounds(pool):
    """When its last round was."""
    recovery = pool.stats().recovery
    return None if recovery is None else recovery.at


def sessions(scene):
    sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
    return sum(scene.ask(shard, sql, NAME)[0][0] for shard in scene.dsns)


def test_it_finishes_what_is_in_doubt_and_tells_the_numbers(scene, make_pool, caplog):
    decided, held, lost = scene.gid(), scene.gid(), scene.gid(anchor_id="a" * 32)
    for gid in (decided, held, lost):
        scene.prepare("s1", gid, 1)
    scene.decide(decided, True)
    pool = make_pool()
    assert pool.stats().recovery is None
    with contextlib.closing(psycopg2.connect(scene.dsns["s0"])) as coordinator:
        sql = "INSERT INTO greenshard.decision VALUES (%s, true, '{}')"
        coordinator.cursor().execute(sql, (held.decision,))
        with pool.connection():  # the only place there is
            eventually(lambda: rounds(pool) is not None)
            stats = pool.stats()
        assert (stats.recovery.in_doubt, stats.recovery.finished) == (2, 1)
        assert stats.recovery.oldest_s > 0
        assert scene.rows("s1") == [1]
        registry = CollectorRegistry()
        registry.register(PoolCollector({"main": pool}))

        def value(name, of="main"):
            return registry.get_sample_value(f"greenshard_pool_{name}", {"pool": of})

        assert value("in_doubt") == 2
        assert value("in_doubt_oldest_seconds") > 0
        assert value("recovered_total") == 1
        assert value("in_doubt", "main (gathering)") is None
        coordinator.rollback()
    eventually(lambda: pool.stats().recovery.finished == 2)
    eventually(lambda: pool.stats().recovery.in_doubt == 1)
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    (error,) = [message for level, message in told if level == "ERROR"]
    assert error == (
        f"a transaction stays in doubt until somebody decides: {lost.decision} on s1: "
        f"no shard of the cluster decides it: none has the id {'a' * 32}"
    )
    assert ("WARNING", f"a transaction in doubt is committed on s1: {decided.decision}") in told


def test_one_process_does_it_at_a_time(scene, make_pool):
    with contextlib.closing(psycopg2.connect(scene.dsns["s0"])) as other:
        other.cursor().execute(
            "LOCK TABLE greenshard.forgotten IN SHARE UPDATE EXCLUSIVE MODE;"
            # What anybody may lock is in nobody's way.
            "SELECT pg_advisory_xact_lock(-702760002094826652)"
        )
        pool = make_pool()
        with pool.connection():
            pass
        time.sleep(1)
        assert rounds(pool) is None
        other.rollback()
    eventually(lambda: rounds(pool) is not None)


def test_it_goes_on_while_nobody_uses_the_pool(scene, make_pool):
    pool = make_pool(max_idle=0.01)
    with pool.connection():
        pass
    eventually(lambda: pool.stats().size == 0)
    gid = scene.gid()
    scene.prepare("s1", gid, 1)
    eventually(lambda: scene.prepared("s1") == [])


def test_it_is_left_out_where_it_has_no_use(scene, make_pool):
    pools = [
        make_pool(recover_every=None),
        make_pool(scene.dsns),
        make_pool(two_phase=False),
        make_pool(greenshard.Cluster({"s0": scene.dsns["s0"]}, {"t": greenshard.Sharded("x")})),
    ]
    for pool in pools:
        with pool.connection():
            pass
    time.sleep(0.5)
    assert [rounds(pool) for pool in pools] == [None] * 4
    with pytest.raises(greenshard.ProgrammingError, match="recover_every"):
        make_pool(recover_every=-1)


def test_closing_does_not_wait_for_it(scene, make_pool, servers):
    pool = make_pool()
    with pool.connection():
        servers["s1"].pause()
    try:
        eventually(lambda: sessions_at(scene, "s0") > 1)  # the round is under way
        housekeeper = pool._process._housekeeper
        started = time.monotonic()
        pool.close()
        assert time.monotonic() - started < 2
        eventually(lambda: not housekeeper._running, 3)
    finally:
        servers["s1"].resume()
    eventually(lambda: sessions(scene) == 0)


def sessions_at(scene, shard):
    sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
    return scene.ask(shard, sql, NAME)[0][0]


def test_a_pool_that_is_forgotten_ends_it(scene):
    cluster = greenshard.Cluster(scene.dsns, {"t": greenshard.Sharded("x")})
    pools = [greenshard.Pool(cluster, recover_every=0.1, check=False)]
    with pools[0].connection():
        pass
    eventually(lambda: rounds(pools[0]) is not None)
    housekeeper = pools[0]._process._housekeeper
    pools.clear()
    gc.collect()
    eventually(lambda: not housekeeper._running)
    eventually(lambda: sessions(scene) == 0)


def test_shards_that_are_not_initialised_and_failures_are_no_news(scene, make_pool, caplog):
    scene.ask("s1", "DROP SCHEMA greenshard CASCADE")
    pool = make_pool()
    with pool.connection():
        eventually(lambda: rounds(pool) is not None)
    assert pool.stats().recovery.in_doubt == 0
    assert caplog.records == []
