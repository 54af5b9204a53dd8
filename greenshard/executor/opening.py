"""Open the connections to all shards in parallel, within one deadline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from greenshard import _green, errors
from greenshard._driver import DriverError
from greenshard.executor.fanout import End, FanOut, Job
from greenshard.executor.physical import Physical

#: How long, in seconds, greenlets may take to start; then they are ended.
_START_S = 0.05


def open_all(physicals: Sequence[Physical], timeout_s: float | None) -> Mapping[str, BaseException]:
    """Connect each of `physicals`; returns why those failed that did.

    A connection that is not there within `timeout_s` is given up. On a ``gevent.Timeout`` or kill
    from outside all that it opened are closed.

    Switches: yes.
    """
    _green.enter_thread()
    jobs = [Job(physical.shard, physical.open, physical) for physical in physicals]
    fanout = FanOut(jobs, grace_s=_START_S, tolerant=True, cancellable=False)
    try:
        fanout.run(timeout_s)
    except BaseException:
        close_opened(physicals)
        raise
    failures: dict[str, BaseException] = {}
    for job in jobs:
        if job.end is End.LOST:
            failures[job.shard] = errors.OperationalError(
                f"timeout expired: no connection to shard {job.shard} within {timeout_s:g} s",
                code="GS101",
                shard=job.shard,
                hint="Is the server up and reachable? connect_timeout sets the time allowed.",
            )
        elif job.error is not None:
            failures[job.shard] = job.error
    close_opened([physical for physical in physicals if physical.shard in failures])
    return failures


def close_opened(physicals: Sequence[Physical]) -> None:
    """Close `physicals`, but for those that the user opened."""
    for physical in physicals:
        if not physical.given:
            physical.discard()


def failed_opening(failures: Mapping[str, BaseException], total: int) -> BaseException:
    """The error of `greenshard.connect`: it names every shard that failed and says why."""
    error = errors.from_shards(failures, total, doing=" to open", code="GS101")
    if isinstance(error, DriverError) and not isinstance(error, errors.Error):
        return errors.from_driver(error)
    return error
