"""One snapshot over all shards: carries out on the shards' connections what finds its moment.

While it stands, a transaction that only reads is open on each shard, at REPEATABLE READ, and all of
them see the same moment. It ends as any transaction does. The connections to all shards are there
from its beginning: one that was opened later would see another moment. A further one, which
gathers, joins it (`Session.exported`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from greenshard import _green, errors
from greenshard._driver import DriverError
from greenshard.links.deadline import Deadline, within
from greenshard.links.physical import (
    Physical,
    autocommit,
    commit_alone,
    has_characteristics,
)
from greenshard.links.session import Session
from greenshard.sql.ending import ending_of
from greenshard.sql.writing import written_by
from greenshard.transaction import barrier, snapshot_protocol
from greenshard.transaction.commit import roll_back_all
from greenshard.transaction.recovery import recover_shards
from greenshard.transaction.snapshot_protocol import (
    DOUBT_S,
    LIMIT_S,
    Action,
    Answers,
    Freeze,
    Holder,
    LetGo,
    Lock,
    Pause,
    Recover,
)
from greenshard.transaction.state import Transaction

#: Seconds that the servers may take beyond what they may wait for the barrier.
_PATIENCE_S = 1.0
#: Seconds that recovery of what is in doubt may take; a shard may be out of reach.
_RECOVERY_S = 2.0
_INIT = "Run greenshard init over the cluster: it makes the table that commits and snapshots lock."
#: Why the barrier cannot be locked, by SQLSTATE: what is wrong, and what to do.
_REASONS: Mapping[str, tuple[str, str]] = {
    "3F000": ("the shard is not initialised", _INIT),
    "42P01": ("the shard is not initialised", _INIT),
    "42501": (
        "the role may not lock greenshard.barrier",
        "Run greenshard init over the cluster with --role and its name.",
    ),
    "25006": (
        "the server is a standby, which knows of no locks of the primary's",
        "Connect to the primary.",
    ),
}


class Snapshots:
    """The snapshots of one logical connection, of which one stands at most.

    Args:
        session: The connections to the shards; held by whoever calls.
        transaction: Theirs.
        gathers: Whether further connections may have to join.

    Attributes:
        on: Whether statements must ask `admit`: one stands or has ended within its block, or each
            transaction is to have its own.
    """

    def __init__(self, session: Session, transaction: Transaction, *, gathers: bool) -> None:
        self._session, self._transaction, self._gathers = session, transaction, gathers
        self.on = False
        self._each = False
        self._in_block = False
        self._held: tuple[Physical, ...] = ()
        self._alone: list[Physical] = []  # those that were in autocommit mode

    @property
    def stands(self) -> bool:
        """Whether there is a snapshot, as far as is known here."""
        return self._session.exported is not None

    @property
    def each(self) -> bool:
        """Whether each transaction reads from a snapshot of its own."""
        return self._each

    @each.setter
    def each(self, each: bool) -> None:
        self._each = each
        self._look()

    def _look(self) -> None:
        self.on = self._each or self._in_block or self.stands

    # The beginning --------------------------------------------------------------------------

    def enter(self, timeout: Deadline) -> None:
        """Begin a block in which all reads are of one moment; see `take`."""
        self.take(timeout)
        self._in_block = True

    def take(self, timeout: Deadline) -> None:
        """Begin a transaction on all shards that sees the same moment on each.

        Args:
            timeout: What it may take; without a limit, `LIMIT_S`.

        Raises:
            errors.ProgrammingError: A transaction is open.
            errors.OperationalError: There is no such snapshot here, or not in time.
            errors.Error: A shard is gone.

        Switches: yes. Cost: two round trips to all shards at once; one over a single shard.
        """
        session = self._session
        self._refuse_open()
        limit = within(LIMIT_S) if timeout.timeout_s is None else timeout
        session.reach(session.shards, limit)
        self._held = tuple(session.physical(shard) for shard in session.shards)
        self._refuse_open()  # on those that were just opened, the program may have begun one
        self._alone = [p for p in self._held if p.autocommit and not p.entered]
        try:
            exported = self._take(limit)
        except BaseException:
            self._undo()
            raise
        session.exported = exported
        self._look()

    def _refuse_open(self) -> None:
        is_open = any(p.in_transaction or not p.idle for p in self._session.alive)
        if is_open or self._in_block:
            again = self.stands or self._in_block
            what = "a snapshot is taken already" if again else "a transaction is open"
            raise errors.ProgrammingError(
                f"a snapshot over all shards cannot begin here: {what}",
                code="GS506",
                hint="Leave its block first." if again else "Call commit() or rollback() first.",
            )

    def _take(self, limit: Deadline) -> dict[str, str]:
        """Take it; returns what further connections join it by, of each shard."""
        if len(self._held) == 1:
            self._run(barrier.begin_alone, limit)
            return {}
        steps = snapshot_protocol.take(limit.timeout_s or LIMIT_S, _uneven)
        exported: dict[str, str] = {}
        try:
            action = next(steps)
            while True:
                action = steps.send(self._answers(action, limit, exported))
        except StopIteration as end:
            error = end.value
        if error is not None:
            raise error
        return exported

    def _answers(self, action: Action, limit: Deadline, exported: dict[str, str]) -> Answers:
        """Do what a step says."""
        missed: tuple[str, ...] = ()
        found: tuple[Holder, ...] = ()
        told = ""
        if isinstance(action, Lock):
            missed = self._lock(action, limit)
        elif isinstance(action, Freeze):
            exported.update(self._run(partial(barrier.freeze, exports=self._gathers), limit))
        elif isinstance(action, LetGo):
            found = self._let_go(action, limit)
        elif isinstance(action, Recover):
            told = self._recover(limit)
        elif isinstance(action, Pause):
            _green.sleep(action.seconds)
        return Answers(limit.left_s or 0.0, missed, found, told)

    def _lock(self, action: Lock, limit: Deadline) -> tuple[str, ...]:
        """Lock the barrier on all shards; returns those that did not get it in time."""
        # What hangs must not hold up commits elsewhere for all the time that there is.
        soon = limit.at_most(action.wait_s + _PATIENCE_S)
        try:
            got = self._run(partial(barrier.lock, wait_s=action.wait_s), soon)
        except errors.Error as error:
            raise _explained(error) from error
        return tuple(shard for shard, has_it in got.items() if not has_it)

    def _let_go(self, action: LetGo, limit: Deadline) -> tuple[Holder, ...]:
        session = self._session
        self._roll_back()
        calls = {s: partial(barrier.holders, session.physical(s)) for s in action.asked}
        # It is what the error tells: if time is up, it may take the grace time.
        jobs = session.run(calls, within(max(limit.left_s or 0.0, session.grace_s))).jobs
        found: list[Any] = [job.result for job in jobs.values()]
        return tuple(holder for each in found for holder in each)

    def _recover(self, limit: Deadline) -> str:
        """Finish what is in doubt on the shards; tells what came of it."""
        report = recover_shards(
            {physical.shard: physical.dsn for physical in self._held},
            timeout_s=limit.at_most(_RECOVERY_S).left_s or 0.0,
            connect_timeout_s=_PATIENCE_S,
            young_s=DOUBT_S,
        )
        left = [f"{part.gid}: {part.why}" for part in report.in_doubt]
        left += [f"shard {shard}: {why}" for shard, why in report.unreached.items()]
        if left:
            return "recovery was started, and could not finish all:\n  " + "\n  ".join(left)
        return "recovery was started, and has finished all that was in doubt"

    def _run(self, call: Callable[[Physical], Any], timeout: Deadline) -> dict[str, Any]:
        calls = {p.shard: partial(call, p) for p in self._held}
        jobs = self._session.run(calls, timeout).jobs
        return {shard: job.result for shard, job in jobs.items()}

    def _roll_back(self) -> None:
        session = self._session
        roll_back_all(session, self._transaction, within(session.grace_s))

    def _undo(self) -> None:
        """Leave nothing behind of a snapshot that could not be taken."""
        try:
            self._roll_back()
        except errors.Error:
            # No shard is left, or their connections are closed now.
            pass
        finally:
            self.ended()

    # While it stands ------------------------------------------------------------------------

    def admit(self, text: str, timeout: Deadline) -> None:
        """Let a statement be run, or refuse it; take its transaction's snapshot if that is wanted.

        Args:
            text: The statement.
            timeout: What it may take.

        Raises:
            errors.Error: It writes, or ends the transaction; or the snapshot has ended. Or see
                `take`.

        Switches: if a snapshot must be taken.
        """
        if not self.stands:
            if self._in_block or not self._each:
                raise _over()
            if any(physical.autocommit for physical in self._session.alive):
                raise errors.ProgrammingError(
                    "in autocommit mode no transaction can be consistent",
                    code="GS506",
                    hint="Switch autocommit off, or read in a block: with conn.snapshot(): ...",
                )
            self.take(timeout)
        # By whatever it was ended: what is read now would be of another moment.
        elif any(physical.alive and physical.idle for physical in self._held):
            raise _over()
        if ending_of(text) is not None:
            raise errors.ProgrammingError(
                "SQL ends the transaction of a snapshot",
                code="GS507",
                hint="Leave its block, or call commit() or rollback().",
            )
        if (word := written_by(text)) is not None:
            raise errors.refused(
                f"cannot execute {word} in a snapshot, which only reads",
                code="GS507",
                pgcode="25006",
                hint="Write in a transaction of its own, after the snapshot.",
            )

    def told(self, error: DriverError) -> DriverError:
        """An error of a statement, with its code if the server has refused to write."""
        if error.pgcode != "25006" or getattr(error, "code", None) == "GS507":
            return error
        ours = errors.from_driver(error)
        errors.note_code(ours, "GS507", "A snapshot over all shards only reads.")
        return ours

    # The end --------------------------------------------------------------------------------

    def leave(self) -> None:
        """Leave the block; its transaction has ended."""
        self._in_block = False
        self._look()

    def ended(self) -> None:
        """Take note that the transaction has ended, if it has on all shards.

        Switches: if psycopg2 must be told of autocommit mode by the servers.
        """
        if any(p.alive and (p.in_transaction or not p.idle) for p in self._held):
            return
        alone, self._alone = self._alone, []
        for physical in self._held:
            # What it told of its transaction does not hold for the next one.
            if physical.bearings is not None and physical.bearings.isolated:
                physical.bearings = None
        self._held = ()
        self._session.exported = None
        self._look()
        self._set_autocommit([physical for physical in alone if physical.alive])

    def _set_autocommit(self, physicals: list[Physical]) -> None:
        """Let each statement commit by itself again, as the program has chosen."""
        session = self._session
        asks = [p for p in physicals if has_characteristics(p.raw) or p.late is not None]
        for physical in physicals:
            if physical not in asks:
                autocommit.write(physical.raw, True)
        if asks:
            calls = {p.shard: partial(commit_alone, p.raw) for p in asks}
            try:
                session.run(calls, within(session.grace_s))
            except BaseException:
                # Its statements would be in a transaction that nobody knows of.
                for physical in asks:
                    if physical.alive and not autocommit.read(physical.raw):
                        physical.discard()
                raise


def _uneven() -> float:
    return random.uniform(0.5, 1.5)  # noqa: S311  # nobody is to be kept from guessing it


def _over() -> errors.Error:
    return errors.ProgrammingError(
        "the snapshot has ended, and what is read now would be of another moment",
        code="GS506",
        hint="Leave its block, and take another one.",
    )


def _explained(error: errors.Error) -> errors.Error:
    """Why the barrier could not be locked, if that is known."""
    if (reason := _REASONS.get(error.pgcode or "")) is None:
        return error
    what, hint = reason
    where = f"shard {error.shard}: " if error.shard is not None else ""
    return errors.OperationalError(
        f"no snapshot over all shards: {where}{what}", code="GS506", shard=error.shard, hint=hint
    )
