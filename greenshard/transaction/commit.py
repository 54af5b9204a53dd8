"""Carries out on the shards' connections what ends a transaction; see `protocol`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial

from greenshard import _green, errors
from greenshard._driver import RawCursor
from greenshard.links.beginning import executing
from greenshard.links.deadline import Deadline, within
from greenshard.links.fanout import End, Job
from greenshard.links.physical import Physical
from greenshard.links.session import Outcome, Session
from greenshard.sql.ending import EndKind
from greenshard.transaction import asking_apart, messages, protocol, recovery
from greenshard.transaction.actions import (
    Action,
    Answers,
    Check,
    Close,
    Commit,
    Finish,
    Leave,
    Note,
    Prepare,
    RollBack,
    Settle,
    Steps,
    TwoPhase,
    Warn,
)
from greenshard.transaction.admission import why_not_together
from greenshard.transaction.gids import Gid, new_transaction
from greenshard.transaction.rolling_back import roll_back
from greenshard.transaction.state import TO_BE_ENDED, State, Transaction
from greenshard.transaction.verdict import Ending, Verdict

logger = logging.getLogger("greenshard")

#: SQLSTATEs of a commit where what `greenshard init` has made is gone, or is another shard's.
_NOT_AS_KNOWN = frozenset({"42P01", "42501", "3F000", "42703", messages.ANOTHER_SHARD})

_Call = Callable[[Physical], object]
_Calls = Mapping[str, Callable[[], object]]
#: What commits, or rolls back, the transaction of a connection.
_Commit = Callable[..., object]


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
    _refuse_in_tpc(session, "commit")
    states = transaction.begun()
    try:
        two_phase = _two_phase(session, transaction, states, timeout)
    except BaseException:
        with suppress(errors.Error):  # no shard is left
            roll_back_all(session, transaction, within(session.grace_s))
        raise
    steps = protocol.commit(
        states,
        wrote=transaction.wrote,
        several=len(session.shards) > 1,
        timeout_s=timeout.timeout_s,
        two_phase=two_phase,
    )
    now = partial(transaction.states, states)
    _Shards(session, now, timeout, two_phase).carry_out(steps)


def _refuse_in_tpc(session: Session, what: str) -> None:
    if session.in_tpc:
        raise errors.ProgrammingError(f"{what} cannot be used during a two-phase transaction")


def _two_phase(
    session: Session, transaction: Transaction, states: Mapping[str, State], timeout: Deadline
) -> TwoPhase | None:
    """What a commit needs to be one over several shards; None if shards commit one by one.

    Switches: where a shard must be asked.
    """
    members = session.members
    if members is None or not transaction.wrote or protocol.is_broken(states):
        return None
    shards = [shard for shard, state in states.items() if state in TO_BE_ENDED]
    lacks = why_not_together(session, shards, timeout, anew=False)
    known = {shard: members.known[shard] for shard in shards}
    cluster = next((m.cluster for m in known.values() if m.cluster is not None), "")
    ids = {shard: member.id for shard, member in known.items() if member.id is not None}
    name = new_transaction(time.time()) if len(shards) > 1 else ""
    return TwoPhase(cluster, ids, name, transaction.writers, lacks)


def roll_back_all(session: Session, transaction: Transaction, timeout: Deadline) -> None:
    """Roll back on every shard that has a transaction open.

    A shard that cannot be asked loses its connection, which rolls back too.

    Raises:
        errors.Error: No shard is left.

    Switches: yes.
    """
    session.check_alive()
    _refuse_in_tpc(session, "rollback")
    states = transaction.begun()
    steps = roll_back(states)
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
    _refuse_in_tpc(session, "COMMIT or ROLLBACK as a statement")
    states = transaction.at_servers()
    there = {shard: state for shard, state in states.items() if shard in shards}
    commit: _Commit = partial(_execute_commit, execute)
    undo: _Call = _ROLL_BACK
    two_phase = None
    if end is EndKind.ROLLBACK:
        states, undo = there, execute
        steps = roll_back(states)
    else:
        # COMMIT on some shards only, with conn.on: the others are none of its business, unless the
        # whole has failed.
        if not (transaction.wrote and protocol.is_broken(states)):
            states = there
        elif chains:
            undo = partial(_by_sql, "ROLLBACK AND CHAIN")
        two_phase = _two_phase(session, transaction, states, timeout)
        steps = protocol.commit(
            states,
            wrote=transaction.wrote,
            several=True,
            timeout_s=timeout.timeout_s,
            two_phase=two_phase,
        )
    now = partial(transaction.states_at_servers, states)
    shards_ending = _Shards(session, now, timeout, two_phase, commit, undo, noted)
    if not (chains and two_phase is not None and two_phase.lacks is None):
        shards_ending.carry_out(steps)
        return
    # COMMIT PREPARED begins no other transaction.
    modes = _modes(session, states, timeout)
    shards_ending.carry_out(steps)
    _begin_anew(session, modes)


def _modes(session: Session, states: Mapping[str, State], timeout: Deadline) -> Mapping[str, str]:
    """How the transaction was begun on each shard; of one that has failed it is not asked."""
    physicals = session.physicals
    opened = [shard for shard, state in states.items() if state is State.OPEN]
    calls = {shard: partial(messages.modes, physicals[shard]) for shard in opened}
    return {s: str(job.result) for s, job in session.run(calls, timeout).jobs.items()}


def _begin_anew(session: Session, modes: Mapping[str, str]) -> None:
    """Begin a transaction on those shards where ``AND CHAIN`` has begun none.

    The one before is committed, whatever becomes of this one: a shard that cannot begin it loses
    its connection, of which the next statement tells.
    """
    calls = {
        shard: partial(_by_sql, f"BEGIN {how}", session.physicals[shard])
        for shard, how in modes.items()
        if session.physicals[shard].alive and session.physicals[shard].idle
    }
    if not calls:
        return
    try:
        with suppress(errors.Error):
            session.run(calls, within(session.grace_s), tolerant=True)
    finally:
        for shard in calls:
            if session.physicals[shard].alive and session.physicals[shard].idle:
                session.physicals[shard].discard()


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
    two_phase = None
    if end is EndKind.COMMIT:
        try:
            two_phase = _two_phase(session, transaction, states, timeout)
        except BaseException:
            with suppress(errors.Error):  # likewise
                end_alone(session, transaction, shards, EndKind.ROLLBACK, within(session.grace_s))
            raise
        steps = protocol.commit(
            states, wrote=True, several=True, timeout_s=timeout.timeout_s, two_phase=two_phase
        )
    else:
        steps = roll_back(states)
    now = partial(transaction.states_at_servers, shards)
    commit: _Commit = partial(_execute_commit, partial(_by_sql, "COMMIT"))
    _Shards(session, now, timeout, two_phase, commit, _ROLL_BACK).carry_out(steps)


def _by_sql(text: str, physical: Physical) -> None:
    executing(physical, RawCursor(physical.raw), text)()


_ROLL_BACK: _Call = partial(_by_sql, "ROLLBACK")


def _execute_commit(execute: _Call, physical: Physical, before: str, **_: bool) -> None:
    if before:
        messages.lock(physical)
    execute(physical)


def _call_commit(physical: Physical, before: str, *, decides: bool) -> None:
    physical.commit(before, decides=decides)


def _call_roll_back(physical: Physical) -> None:
    physical.roll_back()


class _Shards:
    """The shards on which a transaction ends.

    Args:
        session: The connections.
        now: Tells how it stands on them.
        timeout: What all actions may take.
        two_phase: What the protocol was given.
        commit, roll_back: What these actions are, where nothing is prepared.
        noted: See `Session.run`.
    """

    def __init__(
        self,
        session: Session,
        now: Callable[[], dict[str, State]],
        timeout: Deadline,
        two_phase: TwoPhase | None = None,
        commit: _Commit = _call_commit,
        roll_back: _Call = _call_roll_back,
        noted: list[Job] | None = None,
    ) -> None:
        self._session, self._now, self._timeout = session, now, timeout
        self._two_phase, self._commit, self._roll_back = two_phase, commit, roll_back
        self._noted = noted
        self._arrived: BaseException | None = None  # from outside

    def carry_out(self, steps: Steps) -> None:
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
        except BaseException:
            # Between two steps, as a signal does: it may have been decided, so that nobody here may
            # roll back what is prepared. Recovery asks.
            for physical in self._session.physicals.values():
                if physical.prepared is not None:
                    physical.discard()
            raise
        try:
            if self._arrived is not None and not isinstance(error, Exception):
                _green.raise_arrived(self._arrived)
            if error is not None:
                raise error
        finally:
            del error  # its traceback has this frame: a cycle

    def _answers(self, action: Action) -> Answers:
        physicals = self._session.physicals
        if isinstance(action, Close):
            # Their servers roll back when the connection is gone.
            for shard in action.shards:
                physicals[shard].discard()
        elif isinstance(action, Warn):
            shards = list(action.shards)
            logger.critical("a transaction was not, or not known to be, committed on %s", shards)
        elif isinstance(action, Leave):
            self._run({s: physicals[s].leave_prepared for s in action.shards if physicals[s].alive})
        elif isinstance(action, (Settle, Finish)):
            return self._ask_apart(action)
        else:
            return self._do(action)
        return Answers(self._now())

    def _do(self, action: Check | Note | Prepare | Commit | RollBack) -> Answers:
        if isinstance(action, Note):
            return self._run({action.anchor: self._noting(action.anchor)}, cancellable=True)
        if isinstance(action, Check):
            return self._run(self._checking(action), cancellable=True)
        if isinstance(action, Prepare):
            return self._run(self._preparing(action), cancellable=True)
        # Of a COMMIT each shard counts that has done it, and what it does is not cancelled: nobody
        # would know what became of it. Over one shard, a ROLLBACK that fails is an error.
        tolerant = isinstance(action, Commit) or len(self._session.physicals) > 1
        return self._run(self._ending(action), self._to_the_end(action), tolerant=tolerant)

    def _to_the_end(self, action: Commit | RollBack) -> Deadline:
        """The deadline; later for what is prepared, which is ended though time be up."""
        left_s, grace_s = self._timeout.left_s, self._session.grace_s
        physicals = self._session.physicals
        if left_s is None or left_s > grace_s:
            return self._timeout
        if any(physicals[shard].prepared is not None for shard in action.shards):
            return within(grace_s)
        return self._timeout

    def _checking(self, action: Check) -> _Calls:
        physicals, two_phase = self._session.physicals, self._two_phase
        if two_phase is None or (anchor := action.anchor) is None:
            check = messages.check if two_phase is None else messages.check_rows
            return {shard: partial(check, physicals[shard]) for shard in action.shards}
        decision, others = two_phase.gid(anchor).decision, self._others(anchor)
        noted = {anchor: decision}
        return {
            shard: partial(
                messages.ready, physicals[shard], two_phase.ids[shard], noted.get(shard), others
            )
            for shard in action.shards
        }

    def _noting(self, anchor: str) -> Callable[[], object]:
        assert self._two_phase is not None  # noqa: S101  # the protocol was given it
        decision = self._two_phase.gid(anchor).decision
        return partial(
            messages.note, self._session.physicals[anchor], decision, self._others(anchor)
        )

    def _others(self, anchor: str) -> list[str]:
        assert self._two_phase is not None  # noqa: S101  # likewise
        return [each for shard, each in self._two_phase.ids.items() if shard != anchor]

    def _preparing(self, action: Prepare) -> _Calls:
        physicals, two_phase = self._session.physicals, self._two_phase
        assert two_phase is not None  # noqa: S101  # likewise
        gid = two_phase.gid(action.anchor)
        calls: dict[str, Callable[[], object]] = {
            shard: partial(physicals[shard].prepare, gid.prepared(two_phase.ids[shard]))
            for shard in action.shards
        }
        for shard in action.readers:
            calls[shard] = partial(self._commit, physicals[shard], "", decides=False)
        return calls

    def _ending(self, action: Commit | RollBack) -> _Calls:
        calls: dict[str, Callable[[], object]] = {}
        ready = self._two_phase is not None and self._two_phase.lacks is None
        before = messages.BEFORE_COMMIT if ready else ""
        for shard in action.shards:
            physical = self._session.physicals[shard]
            if isinstance(action, RollBack):
                undo = _call_roll_back if physical.prepared is not None else self._roll_back
                calls[shard] = partial(undo, physical)
            elif physical.prepared is not None:
                calls[shard] = physical.commit
            else:
                wanted = before if action.unchecked else ""
                calls[shard] = partial(self._commit, physical, wanted, decides=action.decides)
        return calls

    def _run(
        self,
        calls: _Calls,
        timeout: Deadline | None = None,
        *,
        tolerant: bool = False,
        cancellable: bool = False,
    ) -> Answers:
        jobs: list[Job] = []
        error: BaseException | None = None
        outcome = Outcome({}, {})
        try:
            outcome = self._session.run(
                calls,
                timeout or self._timeout,
                tolerant=tolerant,
                cancellable=cancellable,
                noted=jobs,
            )
        except BaseException as exc:
            if not isinstance(exc, Exception):
                self._arrived = _green.graver(self._arrived, exc)
            error = exc
            # What was known of the shards is so no more: they are asked again.
            if self._two_phase is not None and getattr(exc, "pgcode", None) in _NOT_AS_KNOWN:
                self._forget()
        if self._noted is not None:
            self._noted += jobs
        done = {job.shard: job.result for job in jobs if job.end is End.DONE}
        late = self._timeout.left_s == 0
        return Answers(self._now(), done, outcome.failures, error, late=late)

    def _forget(self) -> None:
        if self._session.members is not None:
            self._session.members.known.clear()

    def _ask_apart(self, action: Settle | Finish) -> Answers:
        """Ask shards over new connections, for the grace time at most."""
        assert self._two_phase is not None  # noqa: S101  # likewise
        gid, grace_s = self._two_phase.gid(action.anchor), self._session.grace_s
        ask: Callable[[str, Physical], object]
        if isinstance(action, Settle):
            shards: tuple[str, ...] = (action.anchor,)
            ask = partial(_settle, gid, within(grace_s / 2))
        else:
            shards = action.shards
            ids = {shard: gid.prepared(self._two_phase.ids[shard]) for shard in shards}
            ask = partial(_finish, ids, action.committed)
        dsns = {shard: self._session.physicals[shard].dsn for shard in shards}
        done, failures, arrived = asking_apart.ask(dsns, ask, within(grace_s))
        for shard, why in failures.items():
            logger.warning("%s: shard %s could not be asked: %s", gid.decision, shard, why)
        self._arrived = _green.graver(self._arrived, arrived)
        return Answers(self._now(), done)


def _settle(gid: Gid, timeout: Deadline, _shard: str, physical: Physical) -> bool:
    """Whether a transaction is committed; once it is asked for, it cannot be decided any more."""
    made_ms = round(gid.made_at * 1000)
    # The session that was lost may be at its COMMIT still.
    while (verdict := recovery.decide(physical, gid, made_ms)) is Verdict.HELD:
        if timeout.left_s == 0:
            break
    if verdict in {Verdict.COMMITTED, Verdict.ROLLED_BACK}:
        return verdict is Verdict.COMMITTED
    raise errors.OperationalError(f"the decision is {verdict.value}")


def _finish(prepared: Mapping[str, str], committed: bool, shard: str, physical: Physical) -> None:
    ending = recovery.finish(physical, prepared[shard], committed=committed)
    if ending not in {Ending.DONE, Ending.GONE}:
        raise errors.OperationalError(f"what is prepared is {ending.value}")
