"""One timeout over several stages."""

from __future__ import annotations

import time


class Deadline:
    """The end of what a call may take.

    Args:
        timeout_s: Seconds from now; None for no limit.

    Attributes:
        timeout_s: What was allowed in all, for messages.
    """

    __slots__ = ("_end", "timeout_s")

    def __init__(self, timeout_s: float | None) -> None:
        self.timeout_s = timeout_s
        self._end = None if timeout_s is None else time.monotonic() + timeout_s

    @property
    def left_s(self) -> float | None:
        """Seconds that are left, 0 if time is up; None for no limit."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def part(self, share: float) -> Deadline:
        """An earlier deadline, when a share (0 to 1) of the time that is left will have passed."""
        earlier = Deadline(self.timeout_s)
        if self._end is not None:
            now = time.monotonic()
            # `timeout_s` stays that of the whole call: messages tell the user's own number.
            earlier._end = now + share * max(0.0, self._end - now)
        return earlier

    def at_most(self, seconds: float) -> Deadline:
        """The deadline, or an earlier one if more than so many seconds are left."""
        left_s = self.left_s
        if left_s is not None and left_s <= seconds:
            return self
        earlier = Deadline(seconds)
        earlier.timeout_s = self.timeout_s
        return earlier

    def later(self, seconds: float) -> Deadline:
        """The deadline so much later."""
        later = Deadline(self.timeout_s)
        if self._end is not None:
            later._end = self._end + seconds
        return later


#: For calls that may take as long as they do.
UNLIMITED = Deadline(None)


def within(timeout_s: float | None) -> Deadline:
    """The deadline of a call that begins now.

    Each method that the program calls makes one, and all that it does has that.

    Args:
        timeout_s: Seconds; None for no limit.
    """
    return UNLIMITED if timeout_s is None else Deadline(timeout_s)
