from __future__ import annotations

from greenshard.pool.policy import Policy
from greenshard.pool.shard_state import Down, Step
from tests.unit.pool.shell import Shell

POLICY = Policy(max_size=3, check_after_s=30.0, first_pause_s=1.0, patience_s=2.0)


def shell_of():
    return Shell(POLICY, ["s0", "s1"], lambda: 0.0)


def fail(shell, lease, shard):
    assert shell.reach(lease, shard) is Step.OPEN
    shell.end_opening(shell.of(lease, shard), "failed")


def test_a_connection_is_opened_when_the_shard_is_first_used():
    shell = shell_of()
    lease = shell.take()
    assert not shell.connections
    shell.open(lease, "s1")
    assert shell.reach(lease, "s1") is Step.USE
    assert [each.shard for each in shell.connections] == ["s1"]


def test_a_connection_is_used_again_by_the_next():
    shell = shell_of()
    lease = shell.take()
    shell.open(lease, "s0")
    shell.give_back(lease)
    assert shell.reach(shell.take(), "s0") is Step.USE


def test_a_connection_that_was_idle_is_checked_before_its_first_use():
    shell = shell_of()
    lease = shell.take()
    shell.open(lease, "s0")
    shell.give_back(lease)
    shell.now = 30.0
    lease = shell.take()
    assert shell.reach(lease, "s0") is Step.CHECK
    shell.state.shards["s0"].checked(lease, shell.now)
    shell.now = 90.0
    assert shell.reach(lease, "s0") is Step.USE


def test_use_counts_like_a_check():
    shell = shell_of()
    for shell.now in (0.0, 20.0, 40.0):
        lease = shell.take()
        if not shell.connections:
            shell.open(lease, "s0")
        assert shell.reach(lease, "s0") is Step.USE
        shell.give_back(lease)


def test_a_connection_that_its_holder_did_not_use_is_not_younger_afterwards():
    shell = shell_of()
    lease = shell.take()
    shell.open(lease, "s0")
    shell.give_back(lease)
    shell.now = 20.0
    shell.give_back(shell.take())
    shell.now = 30.0
    assert shell.reach(shell.take(), "s0") is Step.CHECK


def test_a_broken_connection_is_replaced_alone():
    shell = shell_of()
    lease = shell.take()
    for shard in ("s0", "s1"):
        shell.open(lease, shard)
    shell.lose(lease, "s0")
    assert shell.reach(lease, "s0") is Step.OPEN
    assert shell.reach(lease, "s1") is Step.USE


def test_a_broken_connection_casts_doubt_on_the_others_to_its_shard():
    shell = shell_of()
    first, second, third = shell.take(), shell.take(), shell.take()
    for lease in (first, second, third):
        for shard in ("s0", "s1"):
            shell.open(lease, shard)
    shell.give_back(first)
    shell.now = 1.0
    shell.lose(second, "s0")
    shell.now = 2.0
    shell.give_back(third)  # used before that moment only
    for lease in (shell.take(), shell.take()):
        assert shell.reach(lease, "s0") is Step.CHECK
        assert shell.reach(lease, "s1") is Step.USE


def test_a_shard_that_went_down_casts_doubt_on_its_connections():
    shell = shell_of()
    lease = shell.take()
    shell.open(lease, "s0")
    shell.give_back(lease)
    shell.now = 1.0
    other, lease = shell.take(), shell.take()
    fail(shell, lease, "s0")
    assert shell.reach(other, "s0") is Step.CHECK


def test_a_shard_that_is_down_fails_fast_and_others_go_on():
    shell = shell_of()
    fail(shell, shell.take(), "s0")
    shell.now = 0.5
    lease = shell.take()
    assert shell.reach(lease, "s0") == Down("s0", 0.0, "connection refused", 1.0)
    shell.open(lease, "s1")


def test_a_request_is_the_probe_when_one_is_due():
    shell = shell_of()
    fail(shell, shell.take(), "s0")
    shell.now = 1.0
    lease = shell.take()
    assert shell.reach(lease, "s0") is Step.OPEN
    assert shell.reach(shell.take(), "s0") == Down("s0", 0.0, "connection refused", None)
    shell.end_opening(shell.of(lease, "s0"), "opened")
    assert shell.reach(shell.leases[-1], "s0") is Step.OPEN


def test_a_probe_whose_holder_goes_lets_another_follow():
    shell = shell_of()
    fail(shell, shell.take(), "s0")
    shell.now = 1.0
    lease = shell.take()
    assert shell.reach(lease, "s0") is Step.OPEN
    shell.give_back(lease)
    assert shell.reach(shell.take(), "s0") is Step.OPEN


def test_a_shard_that_does_not_answer_is_noticed_by_the_next_tick():
    shell = shell_of()
    shell.reach(shell.take(), "s0")
    shell.now = 2.0
    assert not shell.state.shards["s0"].breaker.down
    shell.tick()
    assert shell.state.shards["s0"].breaker.down


def test_a_connection_that_opens_after_its_lease_ended_is_not_kept():
    shell = shell_of()
    lease = shell.take()
    shell.reach(lease, "s0")
    connection = shell.of(lease, "s0")
    shell.give_back(lease)
    shell.end_opening(connection, "opened")
    assert not shell.connections


def test_a_loss_that_is_told_late_is_not_the_next_holders():
    shell = shell_of()
    lease = shell.take()
    shell.open(lease, "s0")
    shell.give_back(lease)
    later = shell.take()
    shell.state.shards["s0"].lost(lease, shell.now)
    assert later.slot.proven.keys() == {"s0"}


def test_rejection_is_told_to_everybody_who_asks_and_is_no_outage():
    shell = shell_of()
    lease = shell.take()
    shard = shell.state.shards["s0"]
    fail(shell, lease, "s0")
    assert shard.breaker.down
    shell.now = shard.breaker.retry_at
    assert shell.reach(lease, "s0") is Step.OPEN
    shell.end_opening(shell.of(lease, "s0"), "rejected")
    assert not shard.breaker.down
    assert shard.rejects
    assert shell.reach(lease, "s0") is Step.OPEN
    shell.end_opening(shell.of(lease, "s0"), "opened")
    assert not shard.rejects


def test_a_connection_that_worked_at_the_moment_of_the_doubt_is_checked():
    shell = shell_of()
    first, second = shell.take(), shell.take()
    for lease in (first, second):
        shell.open(lease, "s0")
    shell.lose(first, "s0")
    shell.give_back(second)
    assert shell.reach(shell.take(), "s0") is Step.CHECK


def test_a_check_that_ends_late_proves_nothing_to_the_next_holder():
    shell = shell_of()
    lease = shell.take()
    shell.open(lease, "s0")
    shell.give_back(lease)
    shell.now = 30.0
    shell.state.shards["s0"].checked(lease, shell.now)
    assert shell.reach(shell.take(), "s0") is Step.CHECK


def test_who_may_choose_a_shard_takes_none_that_is_down_or_rejects_or_did_not_answer():
    shell = shell_of()
    shard = shell.state.shards["s0"]
    one, other, third = shell.take(), shell.take(), shell.take()
    for lease in (one, other, third):
        shell.reach(lease, "s0")
    assert not shard.is_doubtful
    shell.end_opening(shell.of(one, "s0"), "rejected")
    assert shard.is_doubtful
    shell.end_opening(shell.of(other, "s0"), "opened")
    assert not shard.is_doubtful
    shell.reach(one, "s0")
    shell.end_opening(shell.of(one, "s0"), "given up")
    assert not shard.breaker.down
    assert shard.is_doubtful
    shell.end_opening(shell.of(third, "s0"), "failed")  # began before it was up: no news, but words
    assert not shard.is_doubtful
    fail(shell, one, "s0")
    assert shard.is_doubtful
    shell.now = shard.breaker.retry_at
    shell.reach(one, "s0")
    shell.end_opening(shell.of(one, "s0"), "given up")
    shell.reach(third, "s0")
    shell.end_opening(shell.of(third, "s0"), "rejected")
    assert not shard.silent
    shell.check()  # none of them is being opened any more


def test_what_happens_to_a_shard_is_counted():
    shell = shell_of()
    shard = shell.state.shards["s0"]
    leases = [shell.take() for _ in range(3)]
    for _ in range(2):
        for lease, how in zip(leases, ("opened", "rejected", "failed"), strict=True):
            shell.reach(lease, "s0")
            shell.end_opening(shell.of(lease, "s0"), how)
        assert isinstance(shell.reach(leases[1], "s0"), Down)
        shell.lose(leases[0], "s0")
        shell.now += 100.0
    assert (shard.connects, shard.failed_connects) == (2, 4)
    assert (shard.lost_connections, shard.refused) == (2, 2)
    for _ in range(3):
        shard.began()
    for failed in (True, True, False):
        assert shard.running
        shard.ended(1.5, failed=failed)
    assert (shard.running, shard.failed_queries, shard.queries.value().sum_s) == (0, 2, 4.5)
