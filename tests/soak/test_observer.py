"""The observer tells each thing that must not be on a server, and no other."""

from __future__ import annotations

import pytest

from tests.soak.observer import Judge, Rules

RULES = Rules({"web": 2, "worker *": 1}, over_s=0.5, active_s=3, idle_s=2, dead_s=1, stall_s=9)


class Looks:
    """Looks at a server, ten a second."""

    def __init__(self):
        self.told = []
        self.dead = set()
        self.judge = Judge("s0", RULES, self.dead, self.told.append)
        self.now = 0.0

    def look(self, *sessions, seconds=0.1):
        for _ in range(round(seconds * 10)):
            self.judge.look(sessions, self.now)
            self.now += 0.1


@pytest.fixture
def looks():
    return Looks()


def session(pid=1, state="idle", name="web", since="t", query="SELECT 1"):
    return pid, "begun", name, state, since, query


def test_sound_server_is_not_told_of(looks):
    for since in range(100):
        looks.look(session(1), session(2, "active", since=since))
        looks.look(session(1, "idle in transaction", since=since), session(2))
    assert looks.told == []
    assert looks.judge.most == {"web": 2}


def test_too_many_sessions(looks):
    looks.look(session(1), session(2), session(3), seconds=1)
    (told,) = looks.told
    assert "s0: 3 sessions of web, where 2 are configured" in told


def test_sessions_over_the_limit_for_a_moment_are_only_counted(looks):
    for _ in range(5):
        looks.look(session(1), session(2), session(3), seconds=0.4)
        looks.look(session(1))
    assert looks.told == []
    assert looks.judge.most == {"web": 3}


def test_each_name_of_a_kind_has_the_limit(looks):
    looks.look(session(1, name="worker 1"), session(2, name="worker 2"), seconds=1)
    assert looks.told == []
    looks.look(session(1, name="worker 1"), session(2, name="worker 1"), seconds=1)
    assert "2 sessions of worker 1, where 1" in looks.told[0]


def test_transaction_that_waits_too_long(looks):
    looks.look(session(state="idle in transaction (aborted)"), seconds=3)
    (told,) = looks.told
    assert "session 1 of web is idle in transaction (aborted), after 'SELECT 1'" in told


def test_statement_that_runs_too_long(looks):
    looks.look(session(state="active"), seconds=4)
    assert "session 1 of web runs 'SELECT 1'" in looks.told[0]


def test_statement_of_a_dead_request(looks):
    running = session(state="active", query="SELECT 'soak:7:'")
    looks.look(running)
    looks.dead.add(7)
    looks.look(running, seconds=0.9)
    assert looks.told == []
    looks.look(running, seconds=0.5)
    assert "request 7 has ended; session 1 of web runs" in looks.told[0]


def test_time_in_which_nobody_looked_does_not_count(looks):
    for _ in range(5):
        looks.look(session(state="active"))
        looks.now += 60
    assert looks.told == []


def test_faulty_server_is_excused_until_it_has_settled(looks):
    looks.judge.excuse()
    looks.look(*map(session, range(5)), session(7, "idle in transaction"), seconds=10)
    looks.judge.watch(looks.now)
    looks.look(*map(session, range(5)), seconds=10)
    assert looks.told == []
    looks.look(session(1))
    looks.look(*map(session, range(5)), seconds=1)
    assert "5 sessions of web" in looks.told[0]


def test_server_that_does_not_settle_is_told_of(looks):
    looks.judge.excuse()
    looks.judge.watch(looks.now)
    looks.look(*map(session, range(5)), seconds=22)
    assert "5 sessions of web" in looks.told[0]
