"""Whether a shard can be connected to."""

from __future__ import annotations

from collections.abc import Callable

from greenshard.pool.policy import Policy

#: By which part a pause may be shorter, so that the processes of a site do not probe together.
_JITTER = 0.2


class Breaker:
    """Keeps those who need a new connection from waiting for a shard that is down.

    While the shard is up everybody may try. It is down when a try fails, or has had no answer for
    `Policy.patience_s`: then nobody may try until a pause is over, and then one at a time, the
    probe. A probe that fails doubles the pause. Whatever try succeeds, the shard is up.

    Args:
        policy: The pauses, and the patience.
        random: A number from 0 to 1, each time another.

    Attributes:
        since: When it went down; None while it is up.
        reason: Why, in one line.
        retry_at: When the next probe is due, if it is down and none is under way.
    """

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._pause_s = policy.first_pause_s
        # The tries whose failure would be news, by who tries, oldest first. One that began before
        # the shard last went up or down says nothing about now, or was counted already.
        self._tries: dict[object, float] = {}
        self.since: float | None = None
        self.reason = ""
        self.retry_at = 0.0

    @property
    def down(self) -> bool:
        return self.since is not None

    @property
    def probing(self) -> bool:
        """Whether the shard is down and a probe is under way."""
        return self.down and bool(self._tries)

    def probe_is_due(self, now: float) -> bool:
        """Whether the shard is down and the next request becomes the probe."""
        # One at a time: a shard that comes back is not met by all who wait at once.
        return self.down and not self._tries and now >= self.retry_at

    def admits(self, who: object, now: float) -> bool:
        """Whether `who` may try now; it then tells how the try ended."""
        self.look(now)
        if self.down and not self.probe_is_due(now):
            return False
        self._tries[who] = now
        return True

    def look(self, now: float) -> None:
        """Notice a shard that does not answer."""
        # The oldest try: if it has had no answer for that long, neither will the others.
        if not self.down and self._tries:
            self._judge(next(iter(self._tries.values())), now)

    def succeeded(self) -> None:
        """A try, however old, got a connection."""
        self._tries.clear()
        # The next time that it goes down may be a matter of a moment again.
        self._pause_s = self._policy.first_pause_s
        self.since, self.reason = None, ""

    def failed(self, who: object, now: float, reason: str) -> bool:
        """A try got none; returns whether that is news."""
        if self._tries.pop(who, None) is None:
            return False
        self._go_down(now, reason)
        return True

    def abandoned(self, who: object, now: float) -> None:
        """A try was given up: nobody knows how it would have ended."""
        started = self._tries.pop(who, None)
        if started is not None:
            self._judge(started, now)

    def _judge(self, started: float, now: float) -> None:
        if now - started >= self._policy.patience_s:
            self._go_down(now, f"no answer within {self._policy.patience_s:g} s")

    def _go_down(self, now: float, reason: str) -> None:
        # Since the first failure, also if a probe has failed after it.
        if self.since is None:
            self.since = now
        self.reason = reason
        self._tries.clear()
        self.retry_at = now + self._pause_s * (1 - _JITTER * self._random())
        self._pause_s = min(2 * self._pause_s, self._policy.longest_pause_s)
