"""Carries out on the shards' connections what ends a transaction; see `protocol`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial

from greenshard import _green
from greenshard._driver import RawCursor
from greenshard.links.beginning import executing
from greenshard.links.deadline import Deadline
from greenshard.links.fanout import Job
from greenshard.links.physical import Physical
from greenshard.links.session import Session
from greenshard.sql.ending import EndKind
from greenshard.transaction import protocol
from greenshard.transaction.protocol import Action, Answers, Check, Close, Commit, RollBack, Warn
from greenshard.transaction.state import State, Transaction

logger = logging.getLogger("greenshard")

_Call = Callable[[Physical], object]
_Calls = Mapping[type[Action], _Call]

_METHODS: dict[type[Action], _Call] = {
    Check: lambda physical: physical.check_commit(),
    Commit: lambda physical: physical.commit(),
    RollBack: lambda physical: physical.roll_back(),
}


def commit_all(session: Session, transaction: Transaction, timeout: Deadline) -> None:
    """Commit on every shard that has a transaction open.

    Args:
        session: The connections; the caller has `taken` it.
        transaction: Theirs.
        timeout: What all steps together may take. To end what did not end in time takes the
            session's grace time at most, once more.

    Raises:
        errors.Error: See `Connection.commit`.

    Switches: yes.
    """
    session.check_alive()
    states = transaction.begun()
    steps = protocol.commit(
        states,
        wrote=transaction.wrote,
        several=len(session.shards) > 1,
        timeout_s=timeout.timeout_s,
    )
    _Shards(session, partial(transaction.states, states), timeout).carry_out(steps)


def roll_back_all(session: Session, transaction: Transaction, timeout: Deadline) -> None:
    """Roll back on every shard that has a transaction open.

    A shard that cannot be asked loses its connection, which rolls back too.

    Raises:
        errors.Error: No shard is left.

    Switches: yes.
    """
    session.check_alive()
    states = transaction.begun()
    steps = protocol.roll_back(states)
    _Shards(session, partial(transaction.states, states), timeout).carry_out(steps)


def end_by_sql(
    session: Session,
    transaction: Transaction,
    end: EndKind,
    shards: Collection[str],
    execute: _Call,
    timeout: Deadline,
    noted: list[Job] | None = None,
    *,
    chains: bool = False,
) -> None:
    """End the transaction as the methods do, but by SQL: for psycopg2 it then has not ended.

    Until commit() or rollback(), psycopg2 begins no other, and each statement commits by itself.

    Args:
        session: The connections; the caller has `taken` it.
        transaction: Theirs.
        end: How it shall end.
        shards: Where, if nothing is in the way: a transaction that has failed anywhere is rolled
            back everywhere instead of being committed.
        execute: Executes the statement for it on a connection.
        timeout: See `commit_all`.
        noted: See `Session.run`.
        chains: Whether the statement begins another one at once. So it does where the transaction
            has failed and is rolled back instead; not where it is COMMIT that fails.

    Raises:
        errors.Error: See `Connection.commit`, `Connection.rollback`.

    Switches: yes.
    """
    session.check_alive()
    states = transaction.at_servers()
    there = {shard: state for shard, state in states.items() if shard in shards}
    calls = {**_BY_SQL, Commit: execute}
    if end is EndKind.ROLLBACK:
        states, calls[RollBack] = there, execute
        steps = protocol.roll_back(states)
    else:
        # COMMIT on some shards only, with conn.on: the others are none of its business, unless the
        # whole has failed.
        if not (transaction.wrote and protocol.is_broken(states)):
            states = there
        elif chains:
            calls[RollBack] = partial(_by_sql, "ROLLBACK AND CHAIN")
        steps = protocol.commit(
            states, wrote=transaction.wrote, several=True, timeout_s=timeout.timeout_s
        )
    now = partial(transaction.states_at_servers, states)
    _Shards(session, now, timeout, calls, noted).carry_out(steps)


def begin_alone(session: Session, shards: Collection[str], timeout: Deadline) -> None:
    """Begin a transaction of one statement's own, where each commits by itself.

    Switches: yes. Cost: one round trip.
    """
    # A write that goes to several shards in autocommit mode, and must not be done on some of them
    # only.
    calls = {shard: partial(_by_sql, "BEGIN", session.physicals[shard]) for shard in shards}
    session.run(calls, timeout)


def end_alone(
    session: Session,
    transaction: Transaction,
    shards: Collection[str],
    end: EndKind,
    timeout: Deadline,
) -> None:
    """End a transaction of one statement's own, wherever it has begun.

    Args:
        session: The connections; the caller has `taken` it.
        transaction: Theirs.
        shards: Where it was to begin.
        end: How it shall end.
        timeout: See `commit_all`.

    Raises:
        errors.Error: See `Connection.commit`.

    Switches: yes. Cost: two round trips to commit.
    """
    states = transaction.states_at_servers(shards)
    if end is EndKind.COMMIT:
        steps = protocol.commit(states, wrote=True, several=True, timeout_s=timeout.timeout_s)
    else:
        steps = protocol.roll_back(states)
    now = partial(transaction.states_at_servers, shards)
    _Shards(session, now, timeout, _BY_SQL).carry_out(steps)


def _by_sql(text: str, physical: Physical) -> None:
    executing(physical, RawCursor(physical.raw), text)()


_BY_SQL: _Calls = {
    Check: _METHODS[Check],
    Commit: partial(_by_sql, "COMMIT"),
    RollBack: partial(_by_sql, "ROLLBACK"),
}


class _Shards:
    """The shards on which a transaction ends.

    Args:
        session: The connections.
        now: Tells how it stands on them.
        timeout: What all actions may take.
        calls: What the actions are, on a connection.
        noted: See `Session.run`.
    """

    def __init__(
        self,
        session: Session,
        now: Callable[[], dict[str, State]],
        timeout: Deadline,
        calls: _Calls = _METHODS,
        noted: list[Job] | None = None,
    ) -> None:
        self._session, self._now, self._timeout = session, now, timeout
        self._calls, self._noted = calls, noted
        self._arrived: BaseException | None = None  # from outside

    def carry_out(self, steps: protocol.Steps) -> None:
        """Do what the steps say.

        Raises:
            BaseException: What they say, when all is done.

        Switches: yes.
        """
        error = None
        try:
            action = next(steps)
            while True:
                action = steps.send(self._answers(action))
        except StopIteration as end:
            error = end.value
        try:
            if self._arrived is not None and not isinstance(error, Exception):
                _green.raise_arrived(self._arrived)
            if error is not None:
                raise error
        finally:
            del error  # its traceback has this frame: a cycle

    def _answers(self, action: Action) -> Answers:
        if isinstance(action, Close):
            # Their servers roll back when the connection is gone.
            for shard in action.shards:
                self._session.physicals[shard].discard()
        elif isinstance(action, Warn):
            shards = list(action.shards)
            logger.critical("a transaction was not, or not known to be, committed on %s", shards)
        else:
            return self._run(action)
        return Answers(self._now())

    def _run(self, action: Check | Commit | RollBack) -> Answers:
        session, call = self._session, self._calls[type(action)]
        checks = isinstance(action, Check)
        calls = {shard: partial(call, session.physicals[shard]) for shard in action.shards}
        # Of a COMMIT each shard counts that has done it, and what it does is not cancelled: nobody
        # would know what became of it. Over one shard, a ROLLBACK that fails is an error.
        tolerant = len(session.physicals) > 1 if isinstance(action, RollBack) else not checks
        try:
            outcome = session.run(
                calls,
                self._timeout,
                tolerant=tolerant,
                cancellable=checks,
                noted=self._noted,
            )
        except BaseException as exc:
            if not isinstance(exc, Exception):
                self._arrived = _green.graver(self._arrived, exc)
            return Answers(self._now(), error=exc)
        done = {shard: job.result for shard, job in outcome.jobs.items()}
        late = self._timeout.left_s == 0
        return Answers(self._now(), done, outcome.failures, late=late)
