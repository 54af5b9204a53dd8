"""A COPY in the middle of which its caller is stopped, or a shard dies or goes silent."""

from __future__ import annotations

import gevent
import psycopg2
import pytest

import greenshard
from tests.fault.scene import SURVIVORS, VICTIM, bounded, eventually
from tests.fault.test_interruption import (
    AFTER_S,
    GRACE_S,
    by_gevent_timeout,
    by_kill,
    by_own_timeout,
    by_two_kills,
)


class Endless:
    """A file without an end; `pace_s` is what each read or write takes."""

    def __init__(self, pace_s):
        self.pace_s = pace_s
        self.count = 0

    def read(self, size):
        gevent.sleep(self.pace_s)
        self.count += 1
        return "".join(f"{1000 * self.count + n}\n" for n in range(1000))

    def write(self, data):
        self.count += 1
        gevent.sleep(self.pace_s)


def copy_in(conn, shards, pace_s):
    cur = (conn.on(shards[0]) if len(shards) == 1 else conn.broadcast()).cursor()
    return lambda: cur.copy_from(Endless(pace_s), "writes")


def copy_out(conn, shards, pace_s):
    cur = conn.on(shards).cursor()
    sql = "COPY (SELECT repeat('x', 1000), generate_series(1, 100000000)) TO STDOUT"
    return lambda: cur.copy_expert(sql, Endless(pace_s))


every_copy = pytest.mark.parametrize("prepare", [copy_in, copy_out])
ONE, ALL = ["s1"], ["s1", "s0", "s2"]
#: The rows of the shard that fails are written first: of the others, nobody looks meanwhile.
ORDER = ("s1", "s0", "s2")


@pytest.mark.parametrize(
    ("way", "pace_s", "shards"),
    [
        (by_own_timeout, 0.001, ALL),
        (by_gevent_timeout, 30.0, ONE),
        (by_kill, 30.0, ALL),
        (by_two_kills, 0.001, ONE),
    ],
)
@every_copy
def test_sound_shards_keep_their_connections(scene, way, prepare, pace_s, shards):
    conn = scene.connect(timeout=AFTER_S if way is by_own_timeout else None, cancel_grace=30.0)
    pids = {name: scene.sessions(name) for name in conn.shards}
    call = prepare(conn, shards, pace_s)
    with bounded(AFTER_S):
        way(conn, call)
    assert not conn.closed
    scene.assert_idle(*conn.shards, sessions=1)
    assert {name: scene.sessions(name) for name in conn.shards} == pids
    scene.assert_usable(conn, conn.shards)
    assert [scene.rows(shard) for shard in conn.shards] == [[], [], []]


@every_copy
@pytest.mark.parametrize(("fault", "shards"), [("killed", ALL), ("stopped", ONE), ("reset", ALL)])
def test_a_shard_that_dies_ends_it(scene, fault, prepare, shards):
    conn = scene.connect(fault, ORDER, cancel_grace=GRACE_S)
    call = prepare(conn, shards, 0.001)
    gevent.spawn_later(AFTER_S, scene.inflict, fault)
    with pytest.raises(psycopg2.OperationalError) as caught, bounded(AFTER_S + GRACE_S + 1.0):
        call()
    assert getattr(caught.value, "shard", None) in {VICTIM, None}
    assert conn.closed == 2
    scene.assert_idle(*SURVIVORS, sessions=1)
    scene.assert_usable(conn)
    assert [scene.rows(shard) for shard in SURVIVORS] == [[], []]


@every_copy
@pytest.mark.parametrize(("fault", "shards"), [("frozen", ONE), ("black hole", ALL)])
def test_a_shard_that_goes_silent_loses_its_connection_after_the_grace_time(
    scene, fault, prepare, shards
):
    conn = scene.connect(fault, ORDER, cancel_grace=GRACE_S, timeout=2 * AFTER_S)
    call = prepare(conn, shards, 0.001)
    gevent.spawn_later(AFTER_S, scene.inflict, fault)
    with pytest.raises(greenshard.QueryTimeout), bounded(2 * AFTER_S + GRACE_S + 1.0):
        call()
    assert conn.closed == 2
    scene.assert_idle(*SURVIVORS, sessions=1)
    scene.assert_usable(conn)
    eventually(lambda: [scene.rows(shard) for shard in SURVIVORS] == [[], []])
