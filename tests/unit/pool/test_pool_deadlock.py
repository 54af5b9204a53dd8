"""Requests that use shards in any order never wait for each other's."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from greenshard.pool.policy import Policy
from greenshard.pool.shard_state import Step
from tests.unit.pool.shell import Shell

SHARDS = ("s0", "s1", "s2")


@dataclass(eq=False)
class Request:
    """A request: what it still has to do."""

    shards: list
    lease: object = None
    ticket: object = None
    done: bool = False
    seen: list = field(default_factory=list)

    def can_go_on(self):
        return not self.done and (self.ticket is None or self.ticket.decided)

    def step(self, shell):
        """Take one step, none of which waits."""
        if self.ticket is None:
            self.ticket = shell.ask(timeout_s=1e9)
        elif not self.shards:
            shell.give_back(self.ticket.lease)
            self.done = True
        else:
            self._use(shell, self.shards[0])

    def _use(self, shell, shard):
        step = shell.reach(self.ticket.lease, shard)
        if step is Step.OPEN:
            shell.end_opening(shell.of(self.ticket.lease, shard), "opened")
        else:
            assert step is Step.USE
            self.seen.append(self.shards.pop(0))


@settings(deadline=None)
@given(
    max_size=st.integers(1, 3),
    wanted=st.lists(st.lists(st.sampled_from(SHARDS), max_size=4), min_size=1, max_size=8),
    data=st.data(),
)
def test_some_request_can_always_go_on_until_all_are_done(max_size, wanted, data):
    shell = Shell(Policy(max_size=max_size), SHARDS)
    requests = [Request(list(shards)) for shards in wanted]
    while not all(request.done for request in requests):
        ready = [request for request in requests if request.can_go_on()]
        assert ready, "every request waits for another one"
        data.draw(st.sampled_from(ready)).step(shell)
        for shard in SHARDS:
            assert sum(each.shard == shard for each in shell.connections) <= max_size
    assert [request.seen for request in requests] == wanted
