"""Finishing transactions that are in doubt, and learning what became of one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum
from functools import partial
from typing import Any

from greenshard import _green, arguments, errors
from greenshard._driver import DriverError, Dsn, make_cooperative
from greenshard.dbapi import read_opening
from greenshard.links.fanout import End, FanOut, Job
from greenshard.links.physical import Physical
from greenshard.transaction import gids
from greenshard.transaction.gids import Gid
from greenshard.transaction.recovery import (
    CONNECT_S,
    KEPT_S,
    ask,
    decide,
    open_own,
    own_dsn,
    recover_shards,
)
from greenshard.transaction.verdict import Failure, RecoveryReport, Verdict

#: What names the cluster where nothing else does.
VARIABLE = "GREENSHARD_CLUSTER"
#: Seconds that the anchor has for its answer, beside connecting.
_ANSWER_S = 5.0


class Outcome(Enum):
    """What became of a transaction over several shards."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    #: Its coordinator has the decision in an open transaction: ask again.
    IN_PROGRESS = "in progress"
    #: It is older than what is kept of decisions.
    UNKNOWN = "unknown"


_OUTCOMES = {
    Verdict.COMMITTED: Outcome.COMMITTED,
    Verdict.ROLLED_BACK: Outcome.ROLLED_BACK,
    Verdict.HELD: Outcome.IN_PROGRESS,
    Verdict.FORGOTTEN: Outcome.UNKNOWN,
}


def recover(
    cluster: Any,
    *,
    timeout: float = 30.0,
    connect_timeout: float = CONNECT_S,
    keep: float = KEPT_S,
    min_age: float = 0.0,
) -> RecoveryReport:
    """Finish the transactions over several shards that their coordinators have left.

    Each is committed everywhere or rolled back everywhere, by the word of the shard that decides
    it. It may be called at any time, beside programs that commit, and by several at once. What
    cannot be finished now is left as it is, and told: nothing is decided over a shard that cannot
    be asked. Prepared transactions of other programs and clusters are not touched.

    Args:
        cluster: What `greenshard.connect` takes: a `Cluster`, the path of its TOML file, or
            connection strings. The role must be the one that has prepared the transactions, or a
            superuser.
        timeout: Seconds for all of it; what is not done by then is told as in doubt.
        connect_timeout: Seconds in which each shard must be connected.
        keep: Seconds for which decisions are kept at least, so that `outcome` can tell them; older
            ones are removed when all shards could be asked.
        min_age: What was prepared less than so many seconds ago is left to its coordinator.

    Raises:
        greenshard.ProgrammingError: An argument cannot be used.

    Switches: yes.
    """
    return recover_shards(
        _dsns(cluster),
        timeout_s=_number("timeout", timeout),
        connect_timeout_s=_number("connect_timeout", connect_timeout),
        young_s=_number("min_age", min_age, zero=True),
        kept_s=_number("keep", keep),
    )


def outcome(gid: str, cluster: Any = None, *, connect_timeout: float = CONNECT_S) -> Outcome:
    """What became of a transaction over several shards.

    If it has not been decided, and no coordinator has it open, this decides: it is rolled back, now
    and for ever. So what is told stays right, whoever asks and however often.

    Args:
        gid: What `TransactionInDoubt.gid` says.
        cluster: See `recover`; by default the file that ``$GREENSHARD_CLUSTER`` names.
        connect_timeout: Seconds in which each shard must be connected.

    Raises:
        greenshard.ProgrammingError: It is not the name of a transaction, or not of this cluster.
        greenshard.OperationalError: The shard that decides cannot be asked.

    Switches: yes.
    """
    named = gids.read(str(gid))
    if named is None:
        raise arguments.unusable(f"gid is {gid!r}, not the name of a transaction")
    if cluster is None and not (cluster := os.environ.get(VARIABLE)):
        raise arguments.unusable(f"no cluster is named, and ${VARIABLE} is not set")
    timeout_s = _number("connect_timeout", connect_timeout)
    make_cooperative()
    physicals = [Physical.new(name, own_dsn(dsn)) for name, dsn in _dsns(cluster).items()]
    jobs = [Job(each.shard, partial(_told, each, named[0], timeout_s), each) for each in physicals]
    _green.enter_thread()
    try:
        FanOut(jobs, 0.1, tolerant=True, cancellable=False).run(timeout_s + _ANSWER_S)
    finally:
        for physical in physicals:
            physical.discard()
    return _one_of(named[0], jobs)


def _told(physical: Physical, gid: Gid, timeout_s: float) -> Outcome | None:
    """What a shard says of a transaction; None if another one decides it."""
    open_own(physical, timeout_s)
    found = ask(physical)
    if isinstance(found, Failure):
        raise errors.OperationalError(f"shard {physical.shard}: {found.why}", shard=physical.shard)
    if (found.cluster, found.id) != (gid.cluster, gid.anchor):
        return None
    return _OUTCOMES[decide(physical, gid, round(gid.made_at * 1000))]


def _one_of(gid: Gid, jobs: list[Job]) -> Outcome:
    found = [job.result for job in jobs if isinstance(job.result, Outcome)]
    if len(found) == 1:
        return found[0]
    failures: dict[str, BaseException] = {}
    for job in jobs:
        if job.end is not End.DONE:
            given = isinstance(job.error, DriverError)
            failures[job.shard] = job.error if given and job.error else _silent(job.shard)
    if failures:
        raise errors.from_shards(
            failures, len(jobs), doing=" to tell what they decided", code="GS201"
        )
    raise arguments.unusable(f"no shard of the cluster decides {gid.decision}")


def _silent(shard: str) -> errors.OperationalError:
    return errors.OperationalError(f"shard {shard} has not answered in time", shard=shard)


def _dsns(cluster: Any) -> Mapping[str, Dsn]:
    dsns = {}
    for name, shard in read_opening(cluster, check=False).shards.items():
        if not isinstance(shard, Dsn):
            raise arguments.unusable(f"shard {name} is an open connection; recovery opens its own")
        dsns[name] = shard
    return dsns


def _number(name: str, value: float, *, zero: bool = False) -> float:
    seconds = arguments.seconds(name, value, zero=zero)
    if seconds is None:
        raise arguments.unusable(f"{name} must be a number of seconds")
    return seconds
