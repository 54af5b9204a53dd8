"""Several statements in one string, each run where it belongs, as one PostgreSQL would run them.

    UPDATE orders SET total = 1 WHERE id = 1; UPDATE orders SET total = 2 WHERE id = 2; ...

They are run in order, and the answer is the last one's; when one fails, the rest is not run. The
string was parsed whole before, and what is refused whatever has run before is refused before any
of it runs (`_check`).

*In autocommit mode* PostgreSQL makes one transaction of them, which ends with the string, or where
a COMMIT in it says so; BEGIN keeps it open. Savepoints are not allowed in it (PostgreSQL manual,
55.2.2.1 "Multiple Statements in a Simple Query"). Over shards that is one that begins and ends as
`atomically` does it.

*Writes that follow one another, each for one shard,* go to each shard in one message: their answers
are nobody's. The shards take their turns, in the cluster's order: asked at the same time, each of
two strings could lock a row that the other one waits for. ::

    s0   SAVEPOINT x; UPDATE ... id = 1; UPDATE ... id = 4
    s1   SAVEPOINT x; UPDATE ... id = 2
    all  RELEASE x

If one fails, nothing tells which: all shards go back to the savepoint, and the statements are run
one by one until it fails again, as the first that does in the string's order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from greenshard import errors
from greenshard._driver import DriverError, RawCursor, ours, python_encoding
from greenshard.executor.answers.answer import Answer
from greenshard.executor.execution import Execution
from greenshard.executor.knowledge.one_database import OneDatabase
from greenshard.executor.short import short_way, sure_plan
from greenshard.executor.sql_values import plan_for
from greenshard.links.beginning import executing
from greenshard.links.deadline import within
from greenshard.links.physical import Physical
from greenshard.planner.analysis.clock_words import told_by
from greenshard.planner.code import Trace
from greenshard.planner.plan import Broadcast, Plan, Refused, Routed
from greenshard.planner.refusals import refusal_error
from greenshard.sql.ending import EndKind
from greenshard.sql.lifting import lifted
from greenshard.sql.splitting import Control, Part
from greenshard.transaction.admission import admit_writes
from greenshard.transaction.by_sql import begin_alone, end_alone
from greenshard.transaction.failing import fail_open
from greenshard.transaction.state import State, state_at_server

#: The servers log the name.
_SAVEPOINT = '"greenshard: statements of one string"'
_SETTING = f"SAVEPOINT {_SAVEPOINT}".encode()
_THERE = frozenset({State.OPEN, State.FAILED})
#: SQLSTATEs after which a statement is not tried again: cancelled, shut down, the connection lost.
_FINAL = ("57", "08", "58")

_One = tuple[Physical, bytes]


@dataclass(slots=True, eq=False, kw_only=True)
class SeveralStatements:
    """The statements of one string.

    Args:
        execution: What they have in common.
        database: What the connection knows.
        parts: The statements.
        given: The parameters of all.
        run_one: Runs one, by its text and its parameters.
        note: Takes note of what a statement may leave.
        tells: Whether an error tells which statement it is of.
    """

    execution: Execution
    database: OneDatabase
    parts: Sequence[Part]
    given: Any
    run_one: Callable[[str, Any], Answer]
    note: Callable[[Trace], None]
    tells: bool = True
    _at: int = field(default=0, init=False)
    _own: tuple[str, ...] = field(default=(), init=False)

    def run(self) -> Answer:
        """Run them all.

        Raises:
            errors.Error: One failed, or cannot be planned; its `statement` tells which.

        Switches: yes.
        """
        self._check()
        try:
            while self._at < len(self.parts) - 1:
                self._begin()
                batch = self._batch()
                if len(batch) > 1:
                    self._run_batch(batch)
                else:
                    self._run_next()
            self._begin()
            answer = self._run_next()
        except BaseException as exc:
            self._fail(exc)
            raise
        self._end()
        return answer

    # One by one -----------------------------------------------------------------------------

    def _check(self) -> None:
        """Refuse what is refused whatever has run before, before anything is sent.

        Raises:
            errors.Error: There is such a statement.
        """
        database, e = self.database, self.execution
        for number, part in enumerate(self.parts, 1):
            plan, _ = self._sure(part)
            if plan is None or isinstance(plan.step, Refused):
                given = part.given(self.given)
                text, given, plan = plan_for(database, e.parts, part.text, given, e.timeout)
                if isinstance(plan.step, Refused) and plan.step.pgcode is None:
                    plan = database.plan_anew(text, given is not None, e.timeout)
            step = plan.step
            # What PostgreSQL would say of it, it would say at its turn.
            if isinstance(step, Refused) and step.pgcode is None:
                error = refusal_error(step, plan.refusals)
                self._note(error, number)
                raise error
            # What comes after may be planned otherwise when this has run: ROLLBACK TO, too, in a
            # transaction that has changed tables.
            changes = isinstance(step, Broadcast) and step.resets_catalog
            keeps = part.control is not None and not database.changed
            if not keeps and (changes or plan.trace >= Trace.ANYTHING):
                return

    def _note(self, error: errors.Error, number: int) -> None:
        if self.tells:
            errors.note_statement(error, number, len(self.parts))

    def _run_next(self) -> Answer:
        part = self.parts[self._at]
        try:
            if self._own:
                _check_block(part)
            answer = self.run_one(part.text, part.given(self.given))
        except errors.Error as exc:
            self._note(exc, self._at + 1)
            raise
        # BEGIN makes a transaction of what there was before it, which the string does not end.
        if part.control is not None:
            self._own = ()
        self._at += 1
        return answer

    # A transaction of their own -------------------------------------------------------------

    def _begin(self) -> None:
        """Begin a transaction, where the next statements would each commit by themselves."""
        session, e = self.execution.session, self.execution
        if self._own or e.transaction.is_open or not session.apart:
            return  # as `atomically`: one database would wait for itself
        block = list(self._block())
        alone = len(block) == 1 and self._at == len(self.parts) - 1
        if not block or alone or block[0].control or all(part.reads for part in block):
            return
        if not session.alive:
            session.reach(session.shards[:1], e.timeout)
        if not all(physical.commits_alone for physical in session.alive):
            return
        ways = [self._way(part) for part in block]
        named = {way[0].shard for way in ways if way is not None}
        shards = session.shards if None in ways else tuple(s for s in session.shards if s in named)
        session.reach(shards, e.timeout)
        for shard in shards:
            session.physical(shard)
        self._own = shards
        begin_alone(session, shards, e.timeout)

    def _block(self) -> Iterator[Part]:
        """The statements of the transaction that the next one is of."""
        for part in self.parts[self._at :]:
            if part.control is Control.ENDS:
                return
            yield part

    def _end(self) -> None:
        own, self._own = self._own, ()
        if own:
            e = self.execution
            end_alone(e.session, e.transaction, own, EndKind.COMMIT, e.timeout)

    def _fail(self, error: BaseException) -> None:
        """Undo what has run, or see to it that it is not committed."""
        e, own = self.execution, self._own
        if own:
            timeout = within(e.session.grace_s)
            with suppress(errors.Error):  # of connections that are closed now
                end_alone(e.session, e.transaction, own, EndKind.ROLLBACK, timeout)
        # After a refusal a transaction goes on; but a part of a string was never asked for.
        elif self._at and e.transaction.wrote and isinstance(error, errors.Error):
            fail_open(e.session, e.transaction)

    # Many at once ---------------------------------------------------------------------------

    def _sure(self, part: Part) -> tuple[Plan | None, Any]:
        """The plan of a statement, if nothing is in doubt, and the parameters that it is for."""
        text, given = part.text, part.given(self.given)
        if given is None and part.writes and (found := lifted(text)) is not None:
            text, given = found
        return sure_plan(self.database, text, given), given

    def _way(self, part: Part) -> tuple[Physical, Plan, Any] | None:
        """The connection of the one shard that a write is for, and its plan; None if it is not so.

        Returns:
            With them, the parameters that the plan is for.

        Cost: 25 us for a text like one before.
        """
        if not part.writes:
            return None
        e = self.execution
        plan, given = self._sure(part)
        way = plan and short_way(plan, self.database, e.session, given, e.timeout)
        return (way[1], plan, given) if way and plan else None

    def _batch(self) -> list[_One]:
        """The next statements that can be sent together, but for the last one of the string."""
        found: list[_One] = []
        if self.execution.transaction.failed is not None:
            return found
        for part in self.parts[self._at : -1]:
            one = self._sent(part)
            if one is None:
                break
            found.append(one)
        return found

    def _sent(self, part: Part) -> _One | None:
        """What is sent of a write, and where; None if it must be run by itself."""
        way = self._way(part)
        if way is None or way[0].commits_alone:
            return None
        physical, plan, lifted = way
        given = part.given(self.given)
        try:
            if not self.database.clock.tells_right(plan, lifted, physical):
                sent = self._in_time(plan, physical, lifted)
                if sent is None:
                    return None
            elif given is None:
                sent = part.text.encode(python_encoding(physical.raw))
            else:
                sent = RawCursor(physical.raw).mogrify(part.text, given)
        except (DriverError, LookupError, TypeError, ValueError):
            return None  # which is told at its turn
        self.note(plan.trace)
        return physical, sent

    def _in_time(self, plan: Plan, physical: Physical, given: Any) -> bytes | None:
        """What is sent of a write so that it tells the time of the transaction.

        Returns:
            None if it must be run by itself.

        Switches: the first time in a transaction.
        """
        clock, timed = self.database.clock, plan.timed
        if not isinstance(timed, Routed) or told_by(plan.clock, given):
            return None
        now = clock.now
        if now is None:
            now = clock.ask(clock.shard(physical.shard), self.execution.timeout)
        values = timed.sql.values(given, ours(now))
        return bytes(RawCursor(physical.raw).mogrify(timed.sql.text, values))

    def _run_batch(self, batch: Sequence[_One]) -> None:
        """Run writes, each shard its own in one message; one by one if that fails."""
        e = self.execution
        session, reached = e.session, list[Physical]()
        texts: dict[str, list[bytes]] = {shard: [] for shard in session.shards}
        for physical, text in batch:
            texts[physical.shard].append(text)
        e.transaction.wrote = True
        try:
            for shard, its in texts.items():
                if its:
                    physical = session.physical(shard)
                    admit_writes(session, e.transaction, (shard,), e.timeout)
                    reached.append(physical)
                    call = executing(physical, RawCursor(physical.raw), _message(its))
                    session.run({shard: call}, e.timeout, writes=True, noted=e.noted)
        except errors.Error as error:
            if not self._go_back(error, reached):
                raise
            for _ in batch:
                self._run_next()
        else:
            self._at += len(batch)
        # Not with the statements: till the last shard is done, the others may have to go back. And
        # not left there: of a thousand pages, each would be within the one before.
        self._on_all(reached, "RELEASE")

    def _go_back(self, error: errors.Error, reached: Sequence[Physical]) -> bool:
        """Go back to where a batch began; whether that could be done."""
        if error.pgcode is None or error.pgcode.startswith(_FINAL):
            return False
        if not all(p.alive and state_at_server(p) in _THERE for p in reached):
            return False
        self._on_all(reached, "ROLLBACK TO")
        return True

    def _on_all(self, reached: Iterable[Physical], what: str) -> None:
        """Release the savepoint, or go back to it."""
        text, e = f"{what} SAVEPOINT {_SAVEPOINT}", self.execution
        e.session.run({p.shard: executing(p, RawCursor(p.raw), text) for p in reached}, e.timeout)


def _message(texts: Iterable[bytes]) -> bytes:
    # A statement may end with a comment, which the end of the line ends.
    return b"\n;\n".join((_SETTING, *texts))


def _check_block(part: Part) -> None:
    """Refuse what PostgreSQL refuses in the transaction that it makes of a string.

    Raises:
        errors.Error: As PostgreSQL does.
    """
    what = "AND CHAIN" if part.chains else "SAVEPOINT" if part.control is Control.SAVES else None
    if what is not None:
        raise errors.refused(f"{what} can only be used in transaction blocks", pgcode="25P01")
