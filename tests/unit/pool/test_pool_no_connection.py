from __future__ import annotations

import pickle

import psycopg2.pool
import pytest

from greenshard import errors
from greenshard.pool import no_connection
from greenshard.pool.policy import Policy
from greenshard.pool.shard_state import Down
from tests.unit.pool.shell import Shell


def shell_of(**policy):
    return Shell(Policy(**policy), ["s0", "s1"], lambda: 0.0)


def test_a_timeout_says_who_holds_who_waits_and_what_the_shards_do():
    shell = shell_of(max_size=3)
    for where in ("app.py:7 in slow", "app.py:9 in other", "app.py:7 in slow"):
        lease = shell.take(where=where)
        shell.open(lease, "s0")
        shell.now += 1.0
    shell.state.shards["s0"].began()
    shell.reach(lease, "s1")
    shell.end_opening(shell.of(lease, "s1"), "failed")
    ticket = shell.ask(timeout_s=2.5)
    shell.ask(where="app.py:3 in page")
    shell.now += 2.5
    shell.leave(ticket)
    assert str(ticket.refusal).splitlines()[0] == (
        "no connection within 2.5 s: "
        "3 of 3 are taken, the longest for 5.5 s (2 at app.py:7 in slow, 1 at app.py:9 in other); "
        "1 others wait, the longest for 2.5 s (1 at app.py:3 in page); "
        "shard s0: 3 connections in use, 1 statements run; "
        "shard s1: 0 connections in use, 0 statements run, down for 2.5 s (connection refused) "
        "[GS601]"
    )
    assert "max_size" in ticket.refusal.hint


def test_a_full_pool_says_how_many_wait():
    shell = shell_of(max_size=1, max_waiting=1)
    shell.take()
    shell.ask()
    assert str(shell.ask().refusal).startswith("no connection, and 1 wait already: 1 of 1 are")


def test_only_the_most_frequent_places_are_named():
    shell = shell_of(max_size=6)
    for where in "aabcde":
        shell.take(where=where)
    told = no_connection.situation(shell.state, shell.now)
    assert "(2 at a, 1 at b, 1 at c, 2 elsewhere)" in told


def test_slots_that_nobody_holds_are_told_too():
    shell = shell_of(max_size=2, min_idle=1)
    shell.give_back(shell.take(), keep=False)
    shell.tick()
    told = no_connection.situation(shell.state, shell.now)
    assert told.startswith(
        "0 of 2 are taken, 1 are being connected, 1 are being closed; shard s0: 0 "
    )


def test_a_shard_that_is_down_is_named_with_its_reason():
    error = no_connection.unavailable(Down("s1", 2.0, "connection refused", 10.5), 9.0)
    assert str(error).splitlines()[0] == (
        "shard s1 is down for 7.0 s (connection refused); the next probe is due in 1.5 s [GS604]"
    )
    assert (error.shard, error.code) == ("s1", "GS604")


def test_a_probe_that_is_under_way_is_told():
    error = no_connection.unavailable(Down("s1", 2.0, "connection refused", None), 9.0)
    assert "; a probe is under way" in str(error)


@pytest.mark.parametrize("name", ["PoolTimeout", "PoolFull", "PoolClosed"])
def test_errors_of_the_pool_are_psycopg2s_too(name):
    assert issubclass(getattr(errors, name), psycopg2.pool.PoolError)


def test_errors_of_the_pool_can_be_sent_to_another_process():
    shell = shell_of(max_size=1)
    shell.close()
    error = shell.ask().refusal
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.code) == (errors.PoolClosed, str(error), "GS603")
