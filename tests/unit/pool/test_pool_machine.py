"""Whatever happens in whatever order, no slot is lost, and nobody is forgotten."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from greenshard import errors
from greenshard.pool.policy import Policy
from greenshard.pool.shard_state import Down, Step
from tests.unit.pool.shell import Shell

SHARDS = ("s0", "s1", "s2")


@st.composite
def policies(draw):
    max_size = draw(st.integers(1, 4))
    return Policy(
        max_size=max_size,
        min_idle=draw(st.integers(0, max_size)),
        max_waiting=draw(st.one_of(st.none(), st.integers(0, 3))),
        max_idle_s=draw(st.sampled_from([None, 3.0])),
        max_lifetime_s=draw(st.sampled_from([None, 8.0])),
        check_after_s=2.0,
        leak_after_s=draw(st.sampled_from([None, 5.0])),
        first_pause_s=0.5,
        longest_pause_s=4.0,
        patience_s=2.0,
    )


class PoolMachine(RuleBasedStateMachine):
    """Requests, the pool's own chores and the servers, each taking its next step at any time."""

    @initialize(policy=policies(), shards=st.integers(1, 3), chance=st.floats(0, 0.99))
    def begin(self, policy, shards, chance):
        self.shell = Shell(policy, SHARDS[:shards], lambda: chance)

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.5, 1.0, 3.0, 10.0]))
    def time_passes(self, seconds):
        self.shell.now += seconds

    @rule(timeout_s=st.sampled_from([0.0, 0.5, 2.0, 20.0]))
    def ask(self, timeout_s):
        shell = self.shell
        waiting, limit = len(shell.tickets), shell.state.policy.max_waiting
        ticket = shell.ask(timeout_s)
        if isinstance(ticket.refusal, errors.PoolFull):
            assert limit is not None
            assert waiting >= limit
        elif ticket.refusal is not None:
            assert isinstance(ticket.refusal, errors.PoolClosed)
            assert shell.state.is_closed

    @precondition(lambda self: self.shell.tickets)
    @rule(data=st.data())
    def leave(self, data):
        ticket = data.draw(st.sampled_from(self.shell.tickets))
        self.shell.leave(ticket)
        assert isinstance(ticket.refusal, errors.PoolTimeout)

    @precondition(lambda self: self.shell.late())
    @rule()
    def time_out(self):
        for ticket in self.shell.late():
            self.shell.leave(ticket)

    @precondition(lambda self: self.shell.leases)
    @rule(data=st.data())
    def leave_although_served(self, data):
        self.shell.leave_served(data.draw(st.sampled_from(self.shell.leases)))

    @precondition(lambda self: self.shell.held())
    @rule(data=st.data(), works=st.booleans())
    def use_a_shard(self, data, works):
        shell = self.shell
        lease = data.draw(st.sampled_from(shell.held()))
        shard = data.draw(st.sampled_from(list(shell.state.shards)))
        if shard in lease.slot.opening:
            return  # one greenlet at a time
        step = shell.reach(lease, shard)
        if step is Step.CHECK and works:
            shell.state.shards[shard].checked(lease, shell.now)
            assert shell.reach(lease, shard) is Step.USE
        elif step is Step.CHECK:
            shell.lose(lease, shard)
            again = shell.reach(lease, shard)
            assert again is Step.OPEN or isinstance(again, Down)

    @precondition(lambda self: any(not each.is_open for each in self.shell.connections))
    @rule(data=st.data(), how=st.sampled_from(["opened", "opened", "failed", "abandoned"]))
    def end_opening(self, data, how):
        opening = [each for each in self.shell.connections if not each.is_open]
        self.shell.end_opening(data.draw(st.sampled_from(opening)), how)

    @precondition(lambda self: self.shell.held())
    @rule(data=st.data())
    def lose(self, data):
        lease = data.draw(st.sampled_from(self.shell.held()))
        if lease.slot.proven:
            self.shell.lose(lease, data.draw(st.sampled_from(sorted(lease.slot.proven))))

    @precondition(lambda self: self.shell.held())
    @rule(data=st.data(), keep=st.sampled_from([True, True, False]))
    def give_back(self, data, keep):
        self.shell.give_back(data.draw(st.sampled_from(self.shell.held())), keep=keep)

    @precondition(lambda self: self.shell.stale)
    @rule(data=st.data(), keep=st.booleans())
    def give_back_what_is_not_held(self, data, keep):
        self.shell.give_back(data.draw(st.sampled_from(self.shell.stale)), keep=keep)

    @precondition(lambda self: self.shell.closing)
    @rule(data=st.data())
    def finish_closing(self, data):
        self.shell.finish_closing(data.draw(st.sampled_from(self.shell.closing)))

    @rule()
    def tick(self):
        self.shell.tick()

    @rule(chance=st.integers(0, 9))
    def fork(self, chance):
        if chance == 0:
            self.shell.fork()

    @rule(chance=st.integers(0, 19), revoke=st.booleans())
    def close(self, chance, revoke):
        if chance == 0:
            self.shell.close()
            if revoke:
                self.shell.revoke()

    @invariant()
    def everything_is_accounted_for(self):
        self.shell.check()

    def teardown(self):
        shell = getattr(self, "shell", None)
        if shell is None:
            return
        shell.drain()
        shell.check()
        assert shell.state.size == len(shell.state.idle)
        shell.close()
        shell.drain()
        assert shell.state.size == 0
        assert not shell.connections


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
