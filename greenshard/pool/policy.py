"""What a pool may and shall do."""

from __future__ import annotations

from dataclasses import dataclass, replace

from greenshard.arguments import a_number, seconds, unusable


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers that a pool goes by.

    Attributes:
        max_size: How many logical connections there may be, and so how many to each shard.
        min_idle: How many shall be idle and connected to every shard, as far as `max_size` allows.
        max_gathers: How many statements may gather rows at the same time, each with a connection
            more to the shard where it does; None for a quarter of `max_size`, at least 1.
        max_waiting: How many may wait for one; None for no limit.
        timeout_s: How long a request waits for one, unless it says otherwise.
        max_idle_s: After how long an idle one is closed; None for never.
        max_lifetime_s: How old one may get; None for no limit.
        lifetime_jitter: By which part (0 to 1) of `max_lifetime_s` it may end earlier, so that
            those which were opened together do not end together.
        check_after_s: After how long without use a physical connection must show that it works.
        leak_after_s: After how long a taken one is reported; None for never.
        first_pause_s, longest_pause_s: Before a shard that is down is tried again.
        patience_s: How long connecting may take before the shard counts as down.
        recover_every_s: How often transactions in doubt are finished; None for never.
        of_gatherers: The pool is of the connections with which statements gather.

    Raises:
        greenshard.ProgrammingError: A number cannot be used.
    """

    max_size: int = 10
    min_idle: int = 0
    max_gathers: int | None = None
    max_waiting: int | None = None
    timeout_s: float = 5.0
    max_idle_s: float | None = 600.0
    max_lifetime_s: float | None = 3600.0
    lifetime_jitter: float = 0.1
    check_after_s: float = 30.0
    leak_after_s: float | None = 300.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 10.0
    patience_s: float = 2.0
    recover_every_s: float | None = None
    of_gatherers: bool = False

    def __post_init__(self) -> None:
        _whole("max_size", self.max_size, least=1)
        _whole("min_idle", self.min_idle)
        if self.min_idle > self.max_size:
            raise unusable(f"min_idle is {self.min_idle}, more than max_size {self.max_size}")
        if self.max_gathers is not None:
            _whole("max_gathers", self.max_gathers, least=1)
        if self.max_waiting is not None:
            _whole("max_waiting", self.max_waiting)
        for name in ("max_idle", "max_lifetime", "leak_after", "recover_every"):
            seconds(name, getattr(self, f"{name}_s"))
        for name in ("timeout", "check_after"):
            seconds(name, _given(name, getattr(self, f"{name}_s")), zero=True)
        for name in ("first_pause", "longest_pause", "patience"):
            seconds(name, _given(name, getattr(self, f"{name}_s")))
        if self.first_pause_s > self.longest_pause_s:
            raise unusable("first_pause is longer than longest_pause")
        if not 0 <= a_number("lifetime_jitter", self.lifetime_jitter) <= 1:
            raise unusable(f"lifetime_jitter is {self.lifetime_jitter!r}, not from 0 to 1")

    def for_gatherers(self) -> Policy:
        """The numbers that the pool of the connections that gather goes by."""
        return replace(
            self,
            max_size=self.max_gathers or max(1, self.max_size // 4),
            # They are opened when a statement gathers, which may be never.
            min_idle=0,
            # Who gathers holds a connection already, and has been let in.
            max_waiting=None,
            leak_after_s=None,
            recover_every_s=None,
            of_gatherers=True,
        )


def _whole(name: str, value: object, least: int = 0) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise unusable(f"{name} is {value!r}; it must be a whole number of at least {least}")


def _given(name: str, value: object) -> object:
    if value is None:
        raise unusable(f"{name} must be a number of seconds: a pool never waits for ever")
    return value
