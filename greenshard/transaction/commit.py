"""Carries out on the shards' connections what ends a transaction; see `protocol`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from greenshard.links.deadline import Timeout, seconds_allowed, seconds_left
from greenshard.links.physical import Physical
from greenshard.links.session import Session
from greenshard.transaction import protocol
from greenshard.transaction.protocol import Action, Answers, Check, Close, Commit, RollBack, Warn
from greenshard.transaction.state import State, Transaction

logger = logging.getLogger("greenshard")

_CALLS: dict[type[Action], Callable[[Physical], object]] = {
    Check: lambda physical: physical.check_commit(),
    Commit: lambda physical: physical.commit(),
    RollBack: lambda physical: physical.roll_back(),
}


def commit_all(session: Session, transaction: Transaction, timeout: Timeout) -> None:
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
        timeout_s=seconds_allowed(timeout),
    )
    _Shards(session, transaction, states, timeout).carry_out(steps)


def roll_back_all(session: Session, transaction: Transaction, timeout: Timeout) -> None:
    """Roll back on every shard that has a transaction open.

    A shard that cannot be asked loses its connection, which rolls back too.

    Raises:
        errors.Error: No shard is left.

    Switches: yes.
    """
    session.check_alive()
    states = transaction.begun()
    _Shards(session, transaction, states, timeout).carry_out(protocol.roll_back(states))


class _Shards:
    """The shards on which a transaction ends.

    Args:
        session: The connections.
        transaction: Theirs.
        states: The shards that it is open on.
        timeout: What all actions may take.
    """

    def __init__(
        self,
        session: Session,
        transaction: Transaction,
        states: dict[str, State],
        timeout: Timeout,
    ) -> None:
        self._session, self._transaction = session, transaction
        self._states, self._timeout = states, timeout

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
            if error is not None:
                raise error
        finally:
            del error  # its traceback has this frame: a cycle

    def _answers(self, action: Action) -> Answers:
        if isinstance(action, Close):
            for shard in action.shards:
                self._session.physicals[shard].discard()
        elif isinstance(action, Warn):
            shards = list(action.shards)
            logger.critical("a transaction was not, or not known to be, committed on %s", shards)
        else:
            return self._run(action)
        return Answers(self._now())

    def _run(self, action: Check | Commit | RollBack) -> Answers:
        session, call = self._session, _CALLS[type(action)]
        calls = {shard: partial(call, session.physicals[shard]) for shard in action.shards}
        checks = isinstance(action, Check)
        # Of a COMMIT each shard counts that has done it, and what it does is not cancelled: nobody
        # would know what became of it. Over one shard, a ROLLBACK that fails is an error.
        tolerant = len(session.physicals) > 1 if isinstance(action, RollBack) else not checks
        try:
            outcome = session.run(calls, self._timeout, tolerant=tolerant, cancellable=checks)
        except BaseException as exc:
            return Answers(self._now(), error=exc)
        done = {shard: job.result for shard, job in outcome.jobs.items()}
        late = seconds_left(self._timeout) == 0
        return Answers(self._now(), done, outcome.failures, late=late)

    def _now(self) -> dict[str, State]:
        return self._transaction.states(self._states)
