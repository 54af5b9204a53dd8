"""A shard that says nothing holds up nobody who does not ask it.

It is the first one everywhere here: the one that is asked first, if any is.
"""

from __future__ import annotations

import contextlib
import time

import gevent
import pytest

import greenshard
from greenshard.executor.knowledge import shared
from greenshard.pool import supply
from tests.fault.scene import SILENT, VICTIM

ORDER = (VICTIM, "s0", "s2")
OTHER = "s0"
#: Nobody may wait so long; every limit of a call that waits for the shard is longer.
SOON_S = 3.0

every_silence = pytest.mark.parametrize("fault", SILENT)


@pytest.fixture(scope="module")
def seeds(whole_scene):
    """A sharded table, a reference table, and functions that may change the catalog."""
    placement = greenshard.cluster.Hash(
        slots=256, assignment={slot: f"s{slot % 3}" for slot in range(256)}
    )
    tables = {"seeds": greenshard.Sharded("id"), "words": greenshard.Reference()}
    cluster = greenshard.Cluster(whole_scene.dsns(order=ORDER), tables, placement)
    keys = {cluster.placement.shards_for(n, "int4", cluster.names): n for n in range(100)}
    for name in cluster.names:
        whole_scene.ask(
            name,
            "CREATE TABLE seeds (id int PRIMARY KEY, n int);"
            " CREATE TABLE words (word text);"
            " CREATE FUNCTION unseen(command text) RETURNS int LANGUAGE plpgsql VOLATILE AS"
            " 'BEGIN EXECUTE command; RETURN 1; END'",
        )
        whole_scene.ask(name, "INSERT INTO words VALUES ('one')")
        whole_scene.ask(name, "INSERT INTO seeds VALUES (%s, 1)", (keys[name],))
    yield lambda dsns: (greenshard.Cluster(dsns, tables, placement), keys)
    for name in cluster.names:
        whole_scene.ask(name, "DROP TABLE seeds, words; DROP FUNCTION unseen")


class Garden:
    """A cluster whose first shard can be silenced, and connections to it."""

    def __init__(self, scene, fault, seeds, monkeypatch):
        self._scene, self._fault, self._monkeypatch = scene, fault, monkeypatch
        self.cluster, self.keys = seeds(scene.dsns(fault, ORDER))
        scene.initialise(self.cluster)
        self.options = {"cancel_grace": 5.0, "application_name": "tested", "timeout": 5.0}

    def connect(self, **options):
        conn = greenshard.connect(self.cluster, **{**self.options, **options})
        self._scene.connections.append(conn)
        return conn

    def pool(self, shards=None, **options):
        given = {**self.options, "call_timeout": 5.0, **options}
        return contextlib.closing(greenshard.Pool(shards or self.cluster, 2, **given))

    def silence(self):
        self._scene.inflict(self._fault)

    def grow_old(self):
        """What is known is too old from now on, until it is asked again."""
        self._monkeypatch.setattr(shared, "OLDEST_S", 0.2)
        gevent.sleep(0.25)
        for each in shared._kin[self.cluster].all():
            each.expire()
        self._monkeypatch.setattr(shared, "OLDEST_S", 60.0)
        for each in shared._kin[self.cluster].all():
            each._doubted_at = time.monotonic()

    def of(self, shard, cursor):
        cursor.execute("SELECT n FROM seeds WHERE id = %s", (self.keys[shard],))
        return cursor.fetchall()


@pytest.fixture
def garden(scene, fault, seeds, monkeypatch):
    # A look at a connection that waits for it would be seen.
    monkeypatch.setattr(supply, "_CHECK_S", 5.0)
    return Garden(scene, fault, seeds, monkeypatch)


@contextlib.contextmanager
def soon():
    started = time.monotonic()
    yield
    assert time.monotonic() - started < SOON_S


@every_silence
def test_pools_first_request_needs_only_its_own_shard(garden):
    garden.silence()
    with garden.pool() as pool:
        for _ in range(2):
            with soon(), pool.connection() as conn:
                assert garden.of(OTHER, conn.cursor()) == [(1,)]
        with soon(), pool.connection() as conn:
            cur = conn.cursor()
            cur.execute("SELECT word FROM words")
            assert cur.fetchall() == [("one",)]
    union = {name: shard.primary for name, shard in garden.cluster.shards.items()}
    with garden.pool(union) as pool, soon(), pool.connection() as conn, conn.on("s2"):
        conn.cursor().execute("SELECT 1")


@every_silence
def test_pools_request_waits_for_no_connection_that_it_does_not_use(garden):
    with garden.pool(check_after=0.0) as pool:
        with pool.connection() as conn:
            conn.cursor().execute("SELECT count(*) FROM seeds")
        garden.silence()
        for old in (False, True):
            if old:
                garden.grow_old()
            with soon(), pool.connection() as conn:
                cur = conn.cursor()
                assert garden.of(OTHER, cur) == [(1,)]
                cur.execute("SELECT 1")
                conn.commit()
                if not old:
                    conn.autocommit = True
                cur.execute("SELECT word FROM words")


@every_silence
def test_first_statement_of_all_waits_for_no_other_shard(garden):
    conn = garden.connect()
    garden.silence()
    with soon():
        assert garden.of(OTHER, conn.cursor()) == [(1,)]


@every_silence
@pytest.mark.parametrize("then", ["commit", "rollback"])
def test_transaction_of_one_shard_waits_for_no_other(garden, then):
    conn = garden.connect()
    cur = conn.cursor()
    cur.execute("SELECT count(*) FROM seeds")
    conn.commit()
    garden.of(OTHER, cur)
    garden.silence()
    garden.grow_old()
    with soon():
        for _ in range(2):
            assert garden.of(OTHER, cur) == [(1,)]
            cur.execute("UPDATE seeds SET n = 1 WHERE id = %s", (garden.keys[OTHER],))
            cur.execute("SELECT n, now() FROM seeds WHERE id = %s", (garden.keys[OTHER],))
            for anywhere in ("SELECT 1", "SHOW TimeZone", "SELECT * FROM words", "SELECT now()"):
                cur.execute(anywhere)
            conn.explain("SELECT count(*) FROM seeds")
            getattr(conn, then)()
    with soon(), conn:
        cur.execute("SELECT 1")


@every_silence
def test_moved_bearings_are_asked_where_they_are_needed(garden):
    conn = garden.connect()
    cur = conn.cursor()
    cur.execute("SET TimeZone = 'UTC'")
    conn.commit()
    garden.silence()
    with soon():
        assert garden.of(OTHER, cur) == [(1,)]
        conn.commit()


@every_silence
def test_doubts_of_a_shard_hold_up_nobody_else(garden):
    conn = garden.connect()
    cur = conn.cursor()
    assert garden.of(OTHER, cur) == [(1,)]
    conn.on(ORDER).cursor().execute("SELECT unseen('SELECT 1')")
    conn.commit()
    garden.silence()
    with soon():
        assert garden.of(OTHER, cur) == [(1,)]
        conn.commit()
        with pytest.raises(greenshard.ProgrammingError):
            cur.execute("SELECT missing FROM seeds WHERE id = %s", (garden.keys[OTHER],))
        conn.rollback()


@every_silence
def test_who_needs_the_silent_shard_waits_for_it_alone(garden, scene):
    conn = garden.connect(timeout=1.0, cancel_grace=0.25)
    cur = conn.cursor()
    garden.silence()
    assert garden.of(OTHER, cur) == [(1,)]  # asked the silent one for the catalog, too
    conn.commit()
    started = time.monotonic()
    with pytest.raises(greenshard.Error) as caught:
        garden.of(VICTIM, cur)
    assert caught.value.shard == VICTIM
    assert time.monotonic() - started < SOON_S
    with soon():
        conn.rollback()
        assert garden.of(OTHER, cur) == [(1,)]


def test_connection_that_was_late_is_sound_again(scene, seeds, monkeypatch):
    garden = Garden(scene, "frozen", seeds, monkeypatch)
    conn = garden.connect()
    cur = conn.cursor()
    scene.inflict("frozen")
    assert garden.of(OTHER, cur) == [(1,)]
    conn.commit()
    assert VICTIM in [physical.shard for physical in conn._session.alive if physical.late]
    conn.poll()
    scene.heal()
    conn.autocommit = True  # waits until it has ended
    assert not any(p.late for p in conn._session.alive)
    cur.execute("SELECT count(*) FROM seeds")
    assert cur.fetchall() == [(3,)]
