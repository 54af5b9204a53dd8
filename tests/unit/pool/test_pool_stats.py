from __future__ import annotations

from dataclasses import asdict

from greenshard.pool.policy import Policy
from greenshard.pool.stats import stats_of
from tests.unit.pool.shell import Shell


def shell_of(**policy):
    return Shell(Policy(**policy), ["s0", "s1"], lambda: 0.0)


def test_a_pool_that_nobody_used():
    stats = stats_of(shell_of(max_size=4).state, 0.0)
    assert (stats.max_size, stats.size, stats.requests, stats.longest_wait_s) == (4, 0, 0, 0.0)
    assert list(stats.shards) == ["s0", "s1"]
    assert stats.shards["s0"].down_s is None


def test_sizes_tell_what_each_slot_does():
    shell = shell_of(max_size=4, min_idle=2)
    taken, other, broken = shell.take(), shell.take(), shell.take()
    for lease in (taken, other, broken):
        shell.open(lease, "s0")
    shell.reach(taken, "s1")
    shell.open(other, "s1")
    shell.give_back(other)
    shell.give_back(broken, keep=False)
    shell.tick()
    stats = stats_of(shell.state, 0.0)
    assert (stats.size, stats.taken, stats.idle, stats.connecting, stats.closing) == (4, 1, 1, 1, 1)
    assert (stats.shards["s0"].open, stats.shards["s1"].opening) == (3, 1)


def test_waits_are_counted_and_timed():
    shell = shell_of(max_size=1, max_waiting=2)
    lease = shell.take()
    shell.ask()
    second = shell.ask(timeout_s=1.0)
    shell.ask()
    shell.now = 2.0
    assert stats_of(shell.state, shell.now).longest_wait_s == 2.0
    shell.leave(second)
    shell.give_back(lease)
    stats = stats_of(shell.state, shell.now)
    assert (stats.requests, stats.waited, stats.timeouts, stats.refused) == (4, 2, 1, 1)
    assert (stats.waits.count, stats.waits.sum_s) == (2, 2.0)


def test_who_is_killed_while_waiting_has_no_timeout():
    shell = shell_of(max_size=1)
    shell.take()
    shell.leave(shell.ask())
    assert stats_of(shell.state, 0.0).timeouts == 0


def test_leaks_are_counted():
    shell = shell_of(leak_after_s=1.0)
    shell.take()
    shell.now = 1.0
    shell.tick()
    assert stats_of(shell.state, 1.0).leaks == 1


def test_each_shard_counts_its_own_connections_and_statements():
    shell = shell_of(max_size=3)
    lease = shell.take()
    shell.open(lease, "s0")
    shell.lose(lease, "s0")
    shell.reach(lease, "s1")
    shell.end_opening(shell.of(lease, "s1"), "failed")
    shell.reach(lease, "s1")
    s0 = shell.state.shards["s0"]
    for failed in (False, True):
        s0.began()
        s0.ended(0.25, failed=failed)
    s0.began()
    shell.now = 0.05
    shards = stats_of(shell.state, shell.now).shards
    assert (shards["s0"].connects, shards["s0"].lost_connections) == (1, 1)
    assert (shards["s0"].queries.count, shards["s0"].queries.sum_s) == (2, 0.5)
    assert (shards["s0"].running, shards["s0"].failed_queries) == (1, 1)
    assert (shards["s1"].failed_connects, shards["s1"].refused) == (1, 1)
    assert (shards["s1"].down_s, shards["s1"].reason) == (0.05, "connection refused")


def test_stats_can_be_written_as_plain_data():
    told = asdict(stats_of(shell_of().state, 0.0))
    assert told["shards"]["s0"]["queries"]["sum_s"] == 0.0
