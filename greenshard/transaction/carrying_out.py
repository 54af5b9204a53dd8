"""Carries out on the shards' connections what the steps of `protocol` say."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from greenshard import _green, errors
from greenshard._driver import DriverError
from greenshard.links.deadline import Deadline, within
from greenshard.links.fanout import End, Job
from greenshard.links.physical import Physical
from greenshard.links.session import Outcome, Session
from greenshard.transaction import asking_apart, barrier, messages, recovery
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
from greenshard.transaction.gids import Gid
from greenshard.transaction.state import State
from greenshard.transaction.verdict import Ending, Verdict

logger = logging.getLogger("greenshard")

#: SQLSTATEs where what `greenshard init` has made is gone, or is another shard's.
_NOT_AS_KNOWN = frozenset({"42P01", "42501", "3F000", "42703", messages.ANOTHER_SHARD})

#: SQLSTATE: a lock was not got in time.
_NOT_AVAILABLE = "55P03"

Call = Callable[[Physical], object]
#: What commits the transaction of a connection, given what is to go before it.
CommitCall = Callable[..., object]
_Calls = Mapping[str, Callable[[], object]]


def _call_commit(physical: Physical, before: str, *, decides: bool) -> None:
    physical.commit(before, decides=decides)


def _call_roll_back(physical: Physical) -> None:
    physical.roll_back()


class Conductor:
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
        commit: CommitCall = _call_commit,
        roll_back: Call = _call_roll_back,
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
        if error is not None and not (self._arrived and _green.kills(self._arrived)):
            self._tell_who_waits_for_whom(error)
        arrived = self._arrived
        try:
            # A timeout says less than that it is in doubt; a kill must not be lost.
            if arrived is not None and (not isinstance(error, Exception) or _green.kills(arrived)):
                if error is not None and error is not arrived:
                    arrived.__context__ = error
                _green.raise_arrived(arrived)
            if error is not None:
                raise error
        finally:
            del error, arrived  # their tracebacks have this frame: a cycle

    def _tell_who_waits_for_whom(self, error: BaseException) -> None:
        """Tell with a lock that was not got in time who holds the barrier, if it is that.

        What arrives meanwhile is kept as any other: the error is not lost for it.

        Switches: then, to ask the shard once more.
        """
        physical = self._session.physicals.get(getattr(error, "shard", None) or "")
        if not isinstance(error, errors.Error) or error.pgcode != _NOT_AVAILABLE or not physical:
            return
        if self._two_phase is None or not (physical.alive and physical.idle):
            return
        asked = {physical.shard: partial(barrier.holders, physical, commits=True)}
        try:
            answer: Any = self._session.run(asked, within(self._session.grace_s)).jobs
        except errors.Error:
            return
        except BaseException as arrived:
            self._arrived = _green.graver(self._arrived, arrived)
            return
        if found := answer[physical.shard].result:
            there = "; ".join(holder.described for holder in found)
            errors.give_hint(
                error,
                "Each commit locks greenshard.barrier, for which it waits ten seconds at most. "
                f"On shard {physical.shard} {there}. A snapshot lets go of it by itself.",
            )

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
            return self._run(self._noting(action.anchor), cancellable=True)
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

    def _noting(self, anchor: str) -> _Calls:
        assert self._two_phase is not None  # noqa: S101  # the protocol was given it
        decision = self._two_phase.gid(anchor).decision
        physical = self._session.physicals[anchor]
        return {anchor: partial(messages.note, physical, decision, self._others(anchor))}

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
            elif action.unless_written:
                calls[shard] = partial(messages.commit_unless_written, physical)
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
            # `Timeout(seconds, error)` lets any exception arrive.
            if not (isinstance(exc, DriverError) or any(exc is job.error for job in jobs)):
                self._arrived = _green.graver(self._arrived, exc)
            error = exc
            # What was known of the shards is so no more: they are asked again.
            if getattr(exc, "pgcode", None) in _NOT_AS_KNOWN and self._session.members is not None:
                self._session.members.known.clear()
        if self._noted is not None:
            self._noted += jobs
        done = {job.shard: job.result for job in jobs if job.end is End.DONE}
        late = self._timeout.left_s == 0
        return Answers(self._now(), done, outcome.failures, error, late=late)

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
