"""A statement that writes on several shards is done on all of them or on none.

In autocommit mode each server would commit by itself, and what fails on one shard would stay done
on the others: an UPDATE that violates a CHECK, a constraint, a unique index. So it is run in a
transaction of its own, which commits as `Connection.commit` does. What PostgreSQL does not run in a
transaction is run as it is (see `greenshard.sql.effects`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from greenshard import errors
from greenshard.executor.answers.answer import Answer
from greenshard.executor.execution import Execution
from greenshard.links.deadline import within
from greenshard.sql.ending import EndKind
from greenshard.transaction.admission import admit_together, admit_writes
from greenshard.transaction.by_sql import begin_alone, end_alone

_Given = TypeVar("_Given")


def atomically(e: Execution, shards: Sequence[str], run: Callable[[], Answer]) -> Answer:
    """Run a statement, in a transaction of its own if it needs one.

    Args:
        e: The execution.
        shards: Where it runs.
        run: Runs it there.

    Raises:
        BaseException: What `run` raises, when it is undone; or see `Connection.commit`.

    Switches: yes. Cost: where it needs one, five round trips if several shards write, else three.
    """
    session, transaction = e.session, e.transaction
    if not needs_transaction(e, shards):
        if e.writes:
            # For all of them: what is refused must not be done on some.
            session.reach(shards, e.timeout)
            admit_writes(session, transaction, shards, e.timeout)
        return run()
    if e.writes:
        admit_together(session, shards, e.timeout)
    try:
        begin_alone(session, shards, e.timeout)
        answer = run()
    except BaseException:
        with suppress(errors.Error):  # of connections that are closed now
            end_alone(session, transaction, shards, EndKind.ROLLBACK, within(session.grace_s))
        raise
    end_alone(session, transaction, shards, EndKind.COMMIT, e.timeout)
    return answer


def at_one_moment(e: Execution, shards: Sequence[str], run: Callable[[], _Given]) -> _Given:
    """Run a statement that reads in several steps, and would commit by itself in each.

    So each would see what others have committed meanwhile. Here they run in a transaction that
    shows one moment of each shard, may only read, and is rolled back in the end.

    Args:
        e: The execution.
        shards: Where it runs; `all_commit_alone` is true of them.
        run: Runs it there.

    Switches: yes. Cost: two round trips.
    """
    session = e.session
    try:
        begin_alone(session, shards, e.timeout, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return run()
    finally:
        with suppress(errors.Error):  # of connections that are closed now
            end_alone(session, e.transaction, shards, EndKind.ROLLBACK, within(session.grace_s))


def needs_transaction(e: Execution, shards: Sequence[str]) -> bool:
    """Whether a statement on some shards would be committed by each of them alone.

    Switches: if a connection must be opened.
    """
    if e.reads or not e.effect.atomic or len(shards) < 2 or e.streaming is not None:
        return False
    return all_commit_alone(e, shards)


def all_commit_alone(e: Execution, shards: Sequence[str]) -> bool:
    """Whether a statement would commit by itself on each of some shards, each a database."""
    session = e.session
    if not session.apart:
        return False  # one database would wait for itself
    session.reach(shards, e.timeout)
    physicals = [session.physical(shard) for shard in shards]
    return not e.transaction.is_open and all(each.commits_alone for each in physicals)
