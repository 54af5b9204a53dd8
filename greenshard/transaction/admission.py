"""Refuses a write on a second shard where the shards could not commit it together.

Not at COMMIT: who has written on one shard may go on with what that one can do.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

from greenshard import errors
from greenshard.links.deadline import Deadline
from greenshard.links.members import ask_member
from greenshard.links.session import Session
from greenshard.transaction.state import Transaction


def admit_writes(
    session: Session, transaction: Transaction, shards: Collection[str], timeout: Deadline
) -> None:
    """Take note of where a statement is about to write.

    Args:
        session: The connections, which are there; the caller has `taken` it.
        transaction: Theirs.
        shards: Where.
        timeout: What the statement may take.

    Raises:
        errors.NotSupportedError: They could not commit together with those that have written.

    Switches: where a shard must be asked whether it can. Cost: 0.5 us.
    """
    if session.members is None or transaction.writers.issuperset(shards):
        return
    physicals = session.physicals
    # In autocommit mode each shard commits by itself, and nothing is left to be committed together.
    if all((p := physicals.get(shard)) is None or p.commits_alone for shard in shards):
        return
    writers = transaction.writers.union(shards)
    if len(writers) > 1:
        admit_together(session, writers, timeout)
    transaction.writers = writers


def admit_together(session: Session, shards: Collection[str], timeout: Deadline) -> None:
    """Refuse to write on some shards together if these cannot commit together.

    Args, Raises, Switches: see `admit_writes`.
    """
    if session.members is not None and not any(p.failed for p in session.alive):
        alive = {p.shard for p in session.alive}.intersection(shards)
        there = [shard for shard in session.shards if shard in alive]
        lacks = why_not_together(session, there, timeout)
        if lacks is not None:
            raise lacks


def why_not_together(
    session: Session, shards: Collection[str], timeout: Deadline, *, anew: bool = True
) -> errors.Error | None:
    """Why some shards cannot commit together; None if they can, or commit one by one.

    Args:
        session: The connections, which are there; the caller has `taken` it.
        shards: Their names.
        timeout: What it may take to ask them.
        anew: Whether those that could not are asked again, though they were asked a moment ago.

    Raises:
        errors.Error: One could not be asked, or time is up.

    Switches: where one must be asked. Cost: then two round trips.
    """
    members = session.members
    if members is None:
        return None
    calls = {
        shard: partial(ask_member, session.physical(shard), members.sharded)
        for shard in members.to_be_asked(shards, anew=anew)
    }
    if calls:
        for shard, job in session.run(calls, timeout).jobs.items():
            found: Any = job.result
            members.known[shard] = found
    return members.why_not(shards)
