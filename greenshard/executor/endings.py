"""SQL that ends the transaction, over several shards: what is sent, and what holds no more then.

    COMMIT                  as the connection's commit(), see `transaction.commit`
    SELECT 1; COMMIT        refused: a shard on which the one fails would not do the other
    no transaction is open  what has ended is forgotten: named cursors, the time at which it began

psycopg2 takes the transaction for open still when SQL has ended it, and begins no other until
commit() or rollback(): each statement commits by itself. So it must on every shard, or a rollback()
would undo on some what is committed on others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from greenshard import errors
from greenshard._driver import RawCursor
from greenshard.executor.answers.answer import Answer
from greenshard.executor.answers.portals import Portals
from greenshard.executor.execution import Calls, Execution
from greenshard.executor.knowledge.one_database import OneDatabase
from greenshard.links.beginning import begin_no_more
from greenshard.links.deadline import Deadline, within
from greenshard.links.fanout import Job
from greenshard.links.physical import Physical
from greenshard.links.session import Outcome, Session
from greenshard.planner.target import Target
from greenshard.planner.union import refuse_ending
from greenshard.sql.ending import Ending, EndKind
from greenshard.transaction.by_sql import end_by_sql
from greenshard.transaction.snapshot import Snapshots
from greenshard.transaction.state import State, Transaction


class Endings:
    """How the transaction of one logical connection ends.

    Args:
        session: The connections to the shards.
        transaction: Theirs.
        database: What is known of the declared cluster; None for a union.
        portals: The named cursors.
        snapshots: Those over all shards.

    Attributes:
        has_committed: Whether something that was written may be committed.
    """

    def __init__(
        self,
        session: Session,
        transaction: Transaction,
        database: OneDatabase | None,
        portals: Portals,
        snapshots: Snapshots,
    ) -> None:
        self._session, self._transaction = session, transaction
        self._snapshots = snapshots
        self._database, self._portals = database, portals
        self.has_committed = False

    def run(
        self,
        e: Execution,
        ending: Ending,
        shards: Sequence[str],
        calls_on: Callable[[Mapping[str, RawCursor]], Calls],
    ) -> Answer:
        """Do for a statement that ends the transaction what the connection's methods do.

        psycopg2 then takes it for open still, as if it had sent the statement itself: it begins no
        other. So none begins on the shards either that had none.

        Args:
            e: The execution.
            ending: What the statement does.
            shards: Where it is to do so. To those that have no transaction nothing is sent.
            calls_on: What executes it, for the cursors of shards.

        Switches: yes.
        """
        session, timeout = self._session, e.timeout
        there = [s for s in shards if (p := session.physicals.get(s)) is not None and p.alive]
        cursors = e.parts.ready(there, timeout)
        calls, ran, jobs = calls_on(cursors), set[str](), list[Job]()

        def execute(physical: Physical) -> None:
            ran.add(physical.shard)
            calls[physical.shard]()

        committed = False
        try:
            end_by_sql(
                session,
                self._transaction,
                ending.end,
                there,
                execute,
                timeout,
                jobs,
                chains=ending.chains,
            )
            answer = self._answer({s: cursors[s] for s in there if s in ran}, jobs)
            if not ran:  # what one server says of it
                answer = e.fan_out((there or shards)[:1], calls_on)
            committed = ending.end is EndKind.COMMIT and answer.statusmessage != "ROLLBACK"
            return answer
        finally:
            e.ran |= ran
            if e.noted is not None:
                e.noted += jobs
            self._begin_no_more(there, ending)
            self._transaction.began_at = None
            if ending.chains or len(shards) == len(session.shards):
                self.ended(committed=committed)
            else:
                self.look(committed=committed)

    def _answer(self, cursors: Mapping[str, RawCursor], jobs: Iterable[Job]) -> Answer:
        """What those say that executed COMMIT: all the same, if none has rolled back instead."""
        undone = [s for s, cursor in cursors.items() if cursor.statusmessage == "ROLLBACK"]
        first = dict.fromkeys((*undone, *cursors))
        done = {job.shard: job for job in jobs if job.shard in cursors}
        return Answer({s: cursors[s] for s in first}, (), Outcome(done, {})).of_first()

    def _begin_no_more(self, shards: Iterable[str], ending: Ending) -> None:
        """Let each statement on some shards commit by itself, as psycopg2 does after COMMIT.

        Not where the end has begun another transaction: then those begin one, too, that had none.
        But COMMIT AND CHAIN begins none when it fails.

        Args:
            shards: Those.
            ending: How the transaction was to end there; it has, or an error is on its way.

        Switches: where psycopg2 must be told.
        """
        session = self._session
        alive = [p for shard in shards if (p := session.physicals[shard]).alive]
        if ending.chains and not all(physical.idle for physical in alive):
            return
        # Not where it is open still, because a kill has arrived: COMMIT would be the program's.
        told = [physical for physical in alive if physical.idle and not begin_no_more(physical)]
        if told:
            calls = {p.shard: partial(RawCursor(p.raw).execute, "COMMIT") for p in told}
            with suppress(errors.Error):  # of the connection; the next statement tells
                session.run(calls, within(session.grace_s), tolerant=True)

    def ended(self, *, committed: bool) -> None:
        """Forget what held for the transaction, and end the named cursors that end with it.

        Switches: if such a cursor has rows on a server.
        """
        self.has_committed |= committed
        self._transaction.end()
        if self._database is not None:
            self._database.ended()
        self._portals.end(committed=committed)
        if self._snapshots.stands:
            self._snapshots.ended()

    def look(self, *, committed: bool) -> None:
        """Take note of the end of the transaction, if no server has one any more.

        Switches: see `ended`.
        """
        overall = self._transaction.overall
        if overall is State.LOST:  # commit() must not take that for nothing
            self._portals.end(committed=committed)
        elif overall is not State.OPEN:
            self.ended(committed=committed)

    def admit(self, ending: Ending | None, target: Target, timeout: Deadline) -> None:
        """Refuse a text that would not end the transaction on all its shards alike.

        Raises:
            errors.Error: It would not. If the transaction has failed, it is rolled back.

        Switches: if it has failed.
        """
        if ending is None or ending.is_done:
            return
        if ending.end is not EndKind.ROLLBACK:
            self._refuse_failed(ending, timeout)
        if len(target.shards) > 1:
            refuse_ending(ending)

    def _refuse_failed(self, ending: Ending, timeout: Deadline) -> None:
        """Roll back a transaction that has written, was to be committed and has failed on a shard.

        Raises:
            errors.InternalError: It has.
        """
        session, transaction = self._session, self._transaction
        if transaction.wrote and transaction.failed is not None:
            end, chains = EndKind.COMMIT, ending.chains
            try:
                end_by_sql(session, transaction, end, (), Physical.commit, timeout, chains=chains)
            finally:
                self._begin_no_more(session.physicals, ending)
                self.look(committed=False)
