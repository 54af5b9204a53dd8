from __future__ import annotations

import pytest

from greenshard import errors
from greenshard.pool.policy import Policy
from greenshard.pool.shard_state import Step
from tests.unit.pool.shell import Shell

FOREVER = {"max_idle_s": None, "max_lifetime_s": None, "leak_after_s": None}


def shell_of(shards=("s0", "s1"), random=lambda: 0.0, **policy):
    return Shell(Policy(**{"max_size": 1, **FOREVER, **policy}), shards, random)


def idle_slot(shell, *shards):
    """Leave an idle slot with connections to `shards`."""
    lease = shell.take()
    for shard in shards or ("s0",):
        shell.open(lease, shard)
    shell.give_back(lease)
    return lease.slot


# Requests -----------------------------------------------------------------------------------


def test_a_request_is_served_at_once_while_there_is_a_slot():
    shell = shell_of(max_size=2)
    assert shell.take().slot is not shell.take().slot
    assert shell.ask().lease is None


def test_a_slot_that_is_given_back_is_used_again():
    shell = shell_of()
    slot = idle_slot(shell)
    assert shell.take().slot is slot


def test_the_last_used_slot_is_given_out_first():
    shell = shell_of(max_size=2)
    first, second = shell.take(), shell.take()
    for lease in (first, second):
        shell.open(lease, "s0")
        shell.give_back(lease)
    assert shell.take().slot is second.slot


def test_those_who_wait_are_served_in_their_order():
    shell = shell_of()
    lease = shell.take()
    first, second = shell.ask(), shell.ask()
    shell.give_back(lease)
    assert first.lease is not None
    assert second.lease is None
    shell.give_back(first.lease)
    assert second.lease is not None


def test_who_comes_when_others_wait_waits_behind_them():
    shell = shell_of()
    lease = shell.take()
    first = shell.ask(timeout_s=9.0)
    later = shell.ask(timeout_s=1.0)
    shell.give_back(lease)
    assert (first.lease is None, later.lease is None) == (False, True)


def test_who_has_waited_too_long_is_not_served():
    shell = shell_of()
    lease = shell.take()
    late, patient = shell.ask(timeout_s=1.0), shell.ask(timeout_s=5.0)
    shell.now = 1.5
    shell.give_back(lease)
    assert isinstance(late.refusal, errors.PoolTimeout)
    assert patient.lease is not None


def test_a_tick_tells_those_who_have_waited_too_long():
    shell = shell_of()
    shell.take()
    late = shell.ask(timeout_s=1.0)
    shell.now = 1.5
    shell.tick()
    assert isinstance(late.refusal, errors.PoolTimeout)


def test_requests_are_counted_by_how_they_end():
    shell = shell_of(max_waiting=2)
    lease = shell.take()
    shell.now = 10.0
    late = [shell.ask(timeout_s=2.0) for _ in range(2)]
    for _ in range(2):
        assert shell.ask().refusal is not None
    shell.now = 11.0
    shell.leave(late.pop())  # its owner was killed
    late += [shell.ask(timeout_s=1.0)]
    shell.now = 12.0
    for each in late:
        shell.leave(each)
    served = shell.ask()
    shell.now = 15.0
    shell.give_back(lease)
    assert served.lease is not None
    counts = shell.state.counts
    assert (counts.requests, counts.waited, counts.refused, counts.timeouts) == (7, 4, 2, 2)
    assert counts.waits.value().sum_s == 3.0  # of those who were served


def test_no_time_to_wait_is_enough_if_there_is_a_slot():
    assert shell_of().ask(timeout_s=0.0).lease is not None


def test_leaving_gives_up_the_turn():
    shell = shell_of()
    lease = shell.take()
    first, second = shell.ask(), shell.ask()
    shell.leave(first)
    shell.give_back(lease)
    assert isinstance(first.refusal, errors.PoolTimeout)
    assert first.lease is None
    assert second.lease is not None


def test_leaving_with_a_slot_passes_it_on():
    shell = shell_of()
    lease = shell.take()
    first, second = shell.ask(), shell.ask()
    shell.give_back(lease)
    shell.leave_served(first.lease)
    assert second.lease is not None


def test_more_than_may_wait_are_refused_at_once():
    shell = shell_of(max_waiting=1)
    shell.take()
    assert shell.ask().refusal is None
    refused = shell.ask()
    assert isinstance(refused.refusal, errors.PoolFull)
    assert len(shell.tickets) == 1


def test_nobody_may_wait_and_yet_be_served():
    shell = shell_of(max_waiting=0)
    shell.take()
    assert isinstance(shell.ask().refusal, errors.PoolFull)


# Slots --------------------------------------------------------------------------------------


def test_a_slot_with_nothing_open_is_not_kept():
    shell = shell_of()
    shell.give_back(shell.take())
    assert shell.state.size == 0


def test_a_slot_that_is_not_kept_is_free_when_it_is_closed():
    shell = shell_of()
    lease = shell.take()
    shell.open(lease, "s0")
    waiting = shell.ask()
    shell.give_back(lease, keep=False)
    assert waiting.lease is None
    shell.finish_closing(lease.slot)
    assert waiting.lease is not None
    assert waiting.lease.slot is not lease.slot


def test_a_slot_left_while_it_is_being_connected_is_closed():
    shell = shell_of()
    lease = shell.take()
    assert shell.reach(lease, "s0") is Step.OPEN
    shell.give_back(lease)
    assert shell.closing == [lease.slot]
    assert not lease.slot.opening


def test_giving_back_twice_does_not_take_it_from_the_next():
    shell = shell_of()
    lease = shell.take()
    shell.open(lease, "s0")
    shell.give_back(lease)
    later = shell.take()
    shell.give_back(lease)
    assert list(shell.state.leases) == [later]


def test_a_slot_ends_with_its_lifetime_when_it_is_given_back():
    shell = shell_of(max_lifetime_s=10.0)
    lease = shell.take()
    shell.open(lease, "s0")
    shell.now = 10.0
    shell.give_back(lease)
    assert shell.closing == [lease.slot]


def test_a_slot_ends_with_its_lifetime_when_it_would_be_used():
    shell = shell_of(max_lifetime_s=10.0)
    slot = idle_slot(shell)
    shell.now = 10.0
    waiting = shell.ask()
    assert shell.closing == [slot]
    shell.finish_closing(slot)
    assert waiting.lease is not None


def test_a_lifetime_is_shortened_by_chance():
    shell = shell_of(max_lifetime_s=10.0, lifetime_jitter=0.5, random=lambda: 0.5)
    assert shell.take().slot.expires_at == pytest.approx(7.5)


def test_idle_slots_are_closed_when_their_time_is_up():
    shell = shell_of(max_size=2, max_idle_s=10.0, max_lifetime_s=100.0)
    first, second = shell.take(), shell.take()
    for lease in (first, second):
        shell.open(lease, "s0")
        shell.give_back(lease)
        shell.now += 5.0
    shell.tick()
    assert shell.closing == [first.slot]
    shell.now = 100.0
    shell.tick()
    assert shell.closing == [first.slot, second.slot]


def test_as_many_as_wanted_stay_idle():
    shell = shell_of(max_size=2, min_idle=1, max_idle_s=10.0)
    leases = [shell.take(), shell.take()]
    for lease in leases:
        for shard in ("s0", "s1"):
            shell.open(lease, shard)
        shell.give_back(lease)
    shell.now = 60.0
    shell.tick()
    assert shell.closing == [leases[0].slot]
    assert not shell.chores


def test_of_many_that_are_too_old_as_many_as_wanted_stay_idle():
    shell = shell_of(max_size=4, min_idle=1, max_idle_s=10.0)
    leases = [shell.take() for _ in range(4)]
    for lease in leases:
        shell.open(lease, "s0")
        shell.open(lease, "s1")
        shell.give_back(lease)
    shell.now = 60.0
    shell.tick()
    assert shell.closing == [lease.slot for lease in leases[:3]]


def test_those_wanted_idle_end_with_their_lifetime_too():
    shell = shell_of(min_idle=1, max_lifetime_s=10.0)
    slot = idle_slot(shell, "s0", "s1")
    shell.now = 9.0
    shell.tick()
    assert not shell.closing
    shell.now = 10.0
    shell.tick()
    assert shell.closing == [slot]


# Chores -------------------------------------------------------------------------------------


def test_a_tick_connects_as_many_slots_as_shall_be_idle():
    shell = shell_of(max_size=3, min_idle=2)
    shell.tick()
    assert [chore.shards for chore in shell.chores] == [("s0", "s1")] * 2
    shell.tick()
    assert len(shell.chores) == 2
    for lease in shell.held():
        for shard in ("s0", "s1"):
            shell.open(lease, shard)
        shell.give_back(lease)
    shell.tick()
    assert not shell.chores
    assert len(shell.state.idle) == 2


def test_an_idle_slot_that_lacks_a_shard_is_completed():
    shell = shell_of(max_size=3, min_idle=1)
    slot = idle_slot(shell, "s0")
    shell.tick()
    assert [chore.lease.slot for chore in shell.chores] == [slot]


def test_the_taken_ones_count_for_the_size_when_idle_ones_are_wanted():
    shell = shell_of(max_size=2, min_idle=2)
    shell.take()
    shell.tick()
    assert len(shell.chores) == 1


@pytest.mark.parametrize("end", ["failed", "rejected"])
def test_shards_that_are_down_or_let_nobody_in_are_not_connected_beforehand(end):
    shell = shell_of(min_idle=1)
    lease = shell.take()
    shell.reach(lease, "s1")
    shell.end_opening(shell.of(lease, "s1"), end)
    shell.give_back(lease)
    shell.tick()
    assert [chore.shards for chore in shell.chores] == [("s0",)]


def test_nothing_is_connected_beforehand_while_no_shard_is_up():
    shell = shell_of(max_size=2, min_idle=2)
    lease = shell.take()
    for shard in ("s0", "s1"):
        shell.reach(lease, shard)
        shell.end_opening(shell.of(lease, shard), "failed")
    shell.give_back(lease)
    shell.tick()
    assert not shell.chores


def test_a_shard_that_is_down_is_probed_when_it_is_due():
    shell = shell_of(max_size=2, first_pause_s=1.0)
    slot = idle_slot(shell, "s0")
    lease = shell.take()
    shell.reach(lease, "s1")
    shell.end_opening(shell.of(lease, "s1"), "failed")
    shell.give_back(lease)
    shell.tick()
    assert not shell.chores
    shell.now = 1.0
    shell.tick()
    shell.tick()
    ((chore,),) = [shell.chores]
    assert (chore.shards, chore.lease.slot) == (("s1",), slot)
    shell.open(chore.lease, "s1")
    shell.give_back(chore.lease)
    assert not shell.state.shards["s1"].breaker.down


def test_no_slot_is_left_for_a_probe_while_all_are_taken():
    shell = shell_of(first_pause_s=1.0)
    lease = shell.take()
    shell.reach(lease, "s1")
    shell.end_opening(shell.of(lease, "s1"), "failed")
    shell.now = 1.0
    shell.tick()
    assert not shell.chores
    assert shell.reach(lease, "s1") is Step.OPEN


def test_a_request_that_would_wait_calls_a_chore_off():
    shell = shell_of(min_idle=1)
    shell.tick()
    (chore,) = shell.chores
    waiting = shell.ask()
    assert chore.recalled
    assert shell.recalled == [chore]
    shell.give_back(chore.lease)
    assert waiting.lease is not None


def test_no_more_chores_are_called_off_than_requests_wait():
    shell = shell_of(max_size=3, min_idle=3)
    shell.tick()
    shell.ask()
    assert sum(chore.recalled for chore in shell.chores) == 1
    shell.leave(shell.tickets[0])
    shell.ask()
    assert sum(chore.recalled for chore in shell.chores) == 1
    shell.ask()
    assert sum(chore.recalled for chore in shell.chores) == 2


def test_no_chore_begins_while_a_request_waits():
    shell = shell_of(min_idle=1)
    lease = shell.take()
    shell.open(lease, "s0")
    shell.ask()
    shell.give_back(lease, keep=False)
    shell.tick()
    assert not shell.chores


def test_a_connection_held_for_long_is_reported_once():
    shell = shell_of(max_size=2, leak_after_s=10.0)
    lease = shell.take(where="app.py:7 in forgetful")
    shell.now = 9.0
    shell.take()
    shell.tick()
    assert not shell.leaks
    shell.now = 10.0
    shell.tick()
    shell.tick()
    assert shell.leaks == [lease]
    assert shell.leaks[0].where == "app.py:7 in forgetful"
    shell.now = 19.0
    shell.tick()
    assert (len(shell.leaks), shell.state.counts.leaks) == (2, 2)


def test_a_pool_that_holds_nothing_needs_no_tick():
    shell = shell_of()
    assert shell.state.next_tick(0.0) is None
    shell.take()
    assert shell.state.next_tick(0.0) == 1.0
    assert shell_of(min_idle=1).state.next_tick(0.0) == 1.0


def test_the_next_tick_is_when_a_probe_is_due():
    shell = shell_of(first_pause_s=0.5)
    lease = shell.take()
    shell.reach(lease, "s0")
    shell.end_opening(shell.of(lease, "s0"), "failed")
    shell.give_back(lease)
    assert shell.state.next_tick(0.0) == 0.5
    assert shell.state.next_tick(7.0) == pytest.approx(7.05)
    shell.now = 7.0
    shell.reach(shell.take(), "s0")  # is the probe
    assert shell.state.next_tick(7.0) == 8.0


# The end ------------------------------------------------------------------------------------


def test_a_closed_pool_refuses_those_who_wait_and_those_who_come():
    shell = shell_of()
    shell.take()
    waiting = shell.ask()
    shell.close()
    assert isinstance(waiting.refusal, errors.PoolClosed)
    assert isinstance(shell.ask().refusal, errors.PoolClosed)


def test_a_closed_pool_closes_idle_slots_at_once_and_others_when_given_back():
    shell = shell_of(max_size=2)
    lease = shell.take()
    shell.open(lease, "s0")
    slot = idle_slot(shell)
    shell.close()
    assert shell.closing == [slot]
    assert shell.reach(lease, "s1") is Step.OPEN
    shell.end_opening(shell.of(lease, "s1"), "opened")
    shell.give_back(lease)
    assert shell.closing == [slot, lease.slot]


def test_a_closed_pool_begins_nothing():
    shell = shell_of(min_idle=1)
    shell.close()
    shell.tick()
    assert not shell.chores
    assert shell.state.next_tick(0.0) is None


def test_a_closed_pool_calls_off_what_it_does_itself():
    shell = shell_of(max_size=2, min_idle=2)
    shell.tick()
    shell.close()
    assert shell.recalled == shell.chores
    assert len(shell.chores) == 2


def test_what_is_not_given_back_is_revoked():
    shell = shell_of(max_size=2)
    lease = shell.take()
    shell.open(lease, "s0")
    shell.close()
    shell.revoke()
    assert shell.closing == [lease.slot]
    with pytest.raises(errors.InterfaceError, match="connection already closed"):
        shell.reach(lease, "s0")
    shell.give_back(lease)
    shell.finish_closing(lease.slot)
    assert shell.state.size == 0


def test_a_child_process_starts_anew():
    shell = shell_of()
    lease = shell.take()
    shell.open(lease, "s0")
    parents = shell.ask()
    shell.fork()
    assert shell.state.size == 0
    own = shell.take()
    shell.carry_out(shell.state.leave(parents, shell.now))
    shell.give_back(lease)
    assert list(shell.state.leases) == [own]
    shell.check()


def test_a_child_of_a_closed_pool_is_closed():
    shell = shell_of()
    shell.close()
    shell.fork()
    assert isinstance(shell.ask().refusal, errors.PoolClosed)
