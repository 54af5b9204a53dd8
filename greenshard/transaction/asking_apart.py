"""Asks shards over connections of recovery's own, which live as long as the question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from greenshard import _green
from greenshard._driver import Dsn
from greenshard.links.deadline import Deadline
from greenshard.links.fanout import End, FanOut, Job
from greenshard.links.physical import Physical
from greenshard.transaction.recovery import CONNECT_S, open_own, own_dsn

#: What a question may take that is being stopped, in seconds.
_GRACE_S = 0.5


def ask(
    dsns: Mapping[str, Dsn], question: Callable[[str, Physical], object], timeout: Deadline
) -> tuple[dict[str, object], dict[str, BaseException | None], BaseException | None]:
    """Ask some shards, all at once; whatever comes, all connections are closed in the end.

    Args:
        dsns: How to connect to each.
        question: What to ask, with the shard's name and a connection in autocommit mode.
        timeout: What connecting and asking may take.

    Returns:
        What those said that answered; why the others did not (None: not in time); and what has
        arrived from outside meanwhile, which is to be raised then.

    Switches: yes.
    """
    physicals = {shard: Physical.new(shard, own_dsn(dsn)) for shard, dsn in dsns.items()}
    jobs = [
        Job(shard, partial(_asked, question, physical, timeout), physical)
        for shard, physical in physicals.items()
    ]
    fanout = FanOut(jobs, grace_s=_GRACE_S, tolerant=True, cancellable=False)
    arrived: BaseException | None = None
    _green.enter_thread()
    try:
        fanout.run(timeout.left_s)
    except BaseException as exc:
        arrived = exc
    finally:
        for physical in physicals.values():
            physical.discard()
    done = {job.shard: job.result for job in jobs if job.end is End.DONE}
    failures = {job.shard: job.error for job in jobs if job.end is not End.DONE}
    return done, failures, arrived


def _asked(
    question: Callable[[str, Physical], object], physical: Physical, timeout: Deadline
) -> object:
    open_own(physical, timeout.at_most(CONNECT_S).left_s or 0.0)
    return question(physical.shard, physical)
