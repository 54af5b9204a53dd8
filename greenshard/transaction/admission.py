"""Refuses a write on a second shard where the shards could not commit it together.

Not at COMMIT: who has written on one shard may go on with what that one can do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from greenshard.links.deadline import Deadline
from greenshard.links.members import Member, ask_member, why_not
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
        if (lacks := why_not(known_members(session, there, timeout))) is not None:
            raise lacks


def known_members(
    session: Session, shards: Collection[str], timeout: Deadline, *, anew: bool = True
) -> Mapping[str, Member]:
    """What is known of some shards as parts of one commit.

    Args:
        session: The connections, which are there; the caller has `taken` it. Its shards do not
            commit one by one.
        shards: Their names.
        timeout: What it may take to ask them.
        anew: Whether those that could not are asked again, though they were asked a moment ago.

    Raises:
        errors.Error: One could not be asked, or time is up.

    Switches: where one must be asked. Cost: then two round trips.
    """
    members = session.members
    assert members is not None  # noqa: S101  # the caller has seen it
    asked = members.to_be_asked(shards, anew=anew)
    # A copy: meanwhile another greenlet may find out that it is so no more.
    known = {shard: members.known[shard] for shard in shards if shard not in asked}
    if asked:
        calls = {s: partial(ask_member, session.physical(s), members.sharded) for s in asked}
        found: Mapping[str, Any] = session.run(calls, timeout).jobs
        answers = {shard: job.result for shard, job in found.items()}
        members.known |= answers
        known = {shard: answers.get(shard) or known[shard] for shard in shards}
    return known
