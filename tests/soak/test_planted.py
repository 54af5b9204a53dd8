"""The soak reports each fault that is planted: a check that cannot fail would show nothing."""

from __future__ import annotations

import contextlib
import itertools
import time

import gevent
import psycopg2
import pytest
from gevent import monkey

from greenshard.links.fanout import FanOut
from greenshard.links.physical import Physical
from greenshard.merge.concatenation import Concatenation
from greenshard.planner.code import Trace
from greenshard.pool.process import Process
from greenshard.pool.supply import Supply
from tests.soak import soak
from tests.soak.bounds import Bounds
from tests.soak.crowd import Crowd
from tests.soak.part import Until
from tests.soak.report import Report
from tests.soak.scene import Scene
from tests.soak.soak import CLUSTER, Soak
from tests.soak.work import Request

#: Without gevent's patch: it stops the process.
_native_sleep = monkey.get_original("time", "sleep")


class Strict(Bounds):
    """Bounds that nothing sound keeps on a busy machine: only what was planted counts."""

    request_s = 1.5
    active_s = 1.5
    idle_s = 0.8
    dead_s = 0.4


BOUNDS = Strict(
    clients=16,
    max_size=4,
    pool_timeout_s=1.0,
    call_timeout_s=0.5,
    grace_s=0.3,
    slack_s=0.4,
    stall_s=0.4,
    over_s=0.3,
    growth_mb=30.0,
)


class Both(Until):
    """Ends when there were so many kills, and so many seconds have passed."""

    def share(self, report):
        return min(1.0, report.killed / self.kills, report.seconds / self.seconds)


@pytest.fixture(scope="module")
def scene():
    with Scene(3) as scene:
        yield scene


def planted(scene, monkeypatch, *plants, **parameters):
    """What a short soak tells in which faults were planted."""
    monkeypatch.setattr(soak, "RECOVERY_S", 1.0)
    report = Report("planted")
    running = Soak(scene, BOUNDS, report, Both(60, 2.5), faulty=False, **parameters)
    with contextlib.ExitStack() as ending:
        for plant in plants:
            plant(scene, monkeypatch, ending)
        running.run()
    monkeypatch.undo()
    for name in scene.names:
        scene.ask(
            name, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'"
        )
    return "\n".join(report.violations)


def sometimes(original, instead, every=5):
    """A function that now and then does something else."""
    calls = itertools.count(1)

    def either(*args, **kwargs):
        return (original if next(calls) % every else instead)(*args, **kwargs)

    return either


# What is planted ----------------------------------------------------------------------------


def lost_write(scene, patch, ending):
    """A commit that does not commit."""

    def undone(self, *_, **__):
        self.roll_back()

    patch.setattr(Physical, "commit", sometimes(Physical.commit, undone))


def doubled_write(scene, patch, ending):
    """A statement that runs twice."""
    ask = Request._ask

    def ask_twice(self, cur, statement, parameters=None):
        ask(self, cur, statement, parameters)
        if statement.startswith("INSERT"):
            ask(self, cur, statement, parameters)

    patch.setattr(Request, "_ask", sometimes(ask, ask_twice))


def lost_row(scene, patch, ending):
    """An answer that lacks a row."""
    fetchall = Concatenation.fetchall
    patch.setattr(Concatenation, "fetchall", sometimes(fetchall, lambda self: fetchall(self)[1:]))


def kept_setting(scene, patch, ending):
    """A connection that is given back as it is."""
    renew = Supply.renew
    kept = Trace.NOTHING
    patch.setattr(
        Supply,
        "renew",
        lambda self, session, *_, every: renew(self, session, kept, frozenset(), every=every),
    )


def ended_sessions(scene, patch, ending):
    """Sessions that end although the schedule says nothing of it."""

    def end():
        scene.ask(
            "s0",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE usename = 'app' AND application_name LIKE 'soak %' AND state = 'active'",
        )

    for number in range(15):  # at some moments nothing is active there
        gevent.spawn_later(0.3 + 0.1 * number, end)


def stall(scene, patch, ending):
    """A call that stops the whole process."""
    gevent.spawn_later(1.0, _native_sleep, 1.0)


def growth(scene, patch, ending):
    """Memory that is never given back."""
    kept = []

    def grow():
        while True:
            kept.append(b"x" * 16_000_000)
            gevent.sleep(0.05)

    growing = gevent.spawn(grow)
    ending.callback(growing.kill)


def too_many_sessions(scene, patch, ending):
    """More sessions than configured."""
    dsn = scene.dsns(CLUSTER, relayed=False)["s2"]
    for _ in range(BOUNDS.max_size + BOUNDS.max_gathers + 1):
        ending.enter_context(contextlib.closing(psycopg2.connect(dsn)))


def leak(scene, patch, ending):
    """Connections that are not given back."""
    give_back = Process.give_back
    leaking = sometimes(give_back, lambda self, lease, **options: None, every=40)
    patch.setattr(Process, "give_back", leaking)


def uncancelled(scene, patch, ending):
    """A statement that nobody cancels, on a server that does not look for its client."""
    patch.setattr(FanOut, "_cancel", lambda self, job: None)


def open_transaction(scene, patch, ending):
    """A transaction that nobody ends."""
    conn = psycopg2.connect(scene.dsns(CLUSTER, relayed=False)["s0"])
    ending.enter_context(contextlib.closing(conn))
    conn.cursor().execute("SELECT 1")


def endless_request(scene, patch, ending):
    """A request that a kill does not end."""

    def endless(self, conn):
        self._at("execute")
        end = time.monotonic() + 3.0
        while time.monotonic() < end:
            with contextlib.suppress(BaseException):
                gevent.sleep(0.1)

    request = Crowd._request

    def request_or_endless(self, client, rand):
        made = request(self, client, rand)
        if made.number == 5:
            made._work = endless
        return made

    patch.setattr(Crowd, "_request", request_or_endless)


@pytest.fixture(scope="module")
def wrong(scene):
    """What is told of faults in what is answered and written, and of the process."""
    with pytest.MonkeyPatch.context() as patch:
        return planted(
            scene,
            patch,
            *(lost_write, doubled_write, lost_row, kept_setting, ended_sessions, stall, growth),
            too_many_sessions,
        )


@pytest.fixture(scope="module")
def left(scene):
    """What is told of what is left behind."""
    with pytest.MonkeyPatch.context() as patch:
        plants = (leak, uncancelled, open_transaction, endless_request)
        return planted(scene, patch, *plants, options="-c client_connection_check_interval=0")


@pytest.mark.parametrize(
    "told",
    [
        "lost write: ",
        "doubled write: ",
        "wrong answer: ",
        "a session keeps what another request has set",
        "an error without a cause",
        "the process has done nothing for",
        "the process has grown from",
        "sessions of soak cluster, where 6 are configured",
    ],
)
def test_wrong_behaviour_is_told(wrong, told):
    assert told in wrong


@pytest.mark.parametrize(
    "told",
    [
        "taken, waiting, closing; nobody has any",
        "not full again",
        "has ended; session",
        "of soak cluster is idle in transaction, after 'SELECT 1'",
        "in a transaction at the end",
        "active at the end",
        "sessions after everything was closed",
        "request 5 (endless, execute) has not ended after",
    ],
)
def test_what_is_left_behind_is_told(left, told):
    assert told in left
