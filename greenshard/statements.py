"""One statement's way from a cursor to the shards, and what the statements of a connection share.

A cursor asks for a statement (`Asked`); `Statements` decides who answers:

- the *union*: the text goes as it is to the shards that are targeted;
- the *planner*, over declared tables, unless shards were named.

It holds the session meanwhile, lets the cursor's `Parts` have the answer, and tells the listener.
Connection and cursor are psycopg2's surface over this.
"""

from __future__ import annotations

import logging
import re
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn, TypeVar

from greenshard import errors
from greenshard._driver import DriverError, RawCursor, can_keep, python_encoding
from greenshard.events import Listener
from greenshard.executor.answers.answer import NOTHING, Answer, CountedAnswer
from greenshard.executor.answers.columns import check_columns
from greenshard.executor.answers.parts import Parts
from greenshard.executor.answers.portals import Portals
from greenshard.executor.asked import Asked
from greenshard.executor.atomic import atomically
from greenshard.executor.client_copy import CopyFile, copying
from greenshard.executor.copies_planned import Copies
from greenshard.executor.dispatch import note, run_plan
from greenshard.executor.endings import Endings
from greenshard.executor.execution import Calls, Execution, Streaming
from greenshard.executor.knowledge.one_database import OneDatabase, PlanOutdated
from greenshard.executor.named_writes import check_named_writes
from greenshard.executor.others import OTHERS, Others
from greenshard.executor.planned import Planned
from greenshard.executor.prepared import statement_of
from greenshard.executor.record import recording, tell_cancelled
from greenshard.executor.repeating import calling, run_many
from greenshard.executor.short import Way, run_short, short_way, sure_plan
from greenshard.executor.sql_values import are_values, plan_for, written_out
from greenshard.limits import refuse_copy, refuse_foreign_callback, refuse_named_copy
from greenshard.links.beginning import executing
from greenshard.links.deadline import Deadline
from greenshard.links.opening import Limits
from greenshard.links.physical import Physical
from greenshard.links.quoting import are_usual, check_written, is_plain, merged_once
from greenshard.links.session import Session
from greenshard.links.streams import Stream, streams
from greenshard.planner.code import Trace
from greenshard.planner.plan import (
    Broadcast,
    Executed,
    Plan,
    Refused,
    Several,
)
from greenshard.planner.target import Target
from greenshard.planner.tasks import Task, own_place
from greenshard.planner.union import refuse_current_of, refuse_insert
from greenshard.sql.effects import CALL, NO_EFFECT, Effect, effect_of, only_queries
from greenshard.sql.ending import Ending, ending_of
from greenshard.sql.first_words import copies_with_client
from greenshard.sql.statement import Statement, read_statement
from greenshard.sql.text import Sql
from greenshard.transaction.admission import admit_writes
from greenshard.transaction.failing import fail_all, fail_rest, savepoints_alike
from greenshard.transaction.snapshot import Snapshots
from greenshard.transaction.state import Transaction

logger = logging.getLogger("greenshard")
_Text = TypeVar("_Text", str, bytes)

#: Texts longer than this are taken to write, instead of being parsed at each call.
_LONGEST_READ = 10_000
_UNDOES = re.compile(r"\s*(?:rollback|abort)\b", re.IGNORECASE)


class Statements:
    """What the statements of one logical connection share.

    Args:
        session: The connections to the shards.
        transaction: Theirs.
        home: The one that lends its session where only one can: to quote, to read an encoding.
        database: What is known of the declared cluster; None for a union.
        limits: What a statement may cost.
        listener: Called with an event after each statement.

    Attributes:
        whole: All shards.
        target: The shards that statements go to, of cursors that have no target of their own.
        portals: The named cursors.
        endings: How the transaction ends.
        snapshots: Those over all shards.
    """

    def __init__(
        self,
        session: Session,
        transaction: Transaction,
        home: Physical,
        database: OneDatabase | None,
        limits: Limits,
        listener: Listener | None,
    ) -> None:
        self.session = session
        self.transaction = transaction
        self.home = home
        self.database = database
        self.limits = limits
        self.listener = listener
        self.whole = self.target = Target(session.shards)
        self.portals = Portals(session)
        gathers = database is not None and len(session.shards) > 1
        self.snapshots = Snapshots(session, transaction, gathers=gathers)
        self.endings = Endings(session, transaction, database, self.portals, self.snapshots)

    # Who answers ----------------------------------------------------------------------------

    def planning(self, own: Target | None) -> OneDatabase | None:
        """What plans a statement; None if it goes to the shards targeted as it is.

        Args:
            own: The target of the statement's cursor.
        """
        chosen = own is not None or self.target is not self.whole
        return None if chosen or len(self.session.shards) == 1 else self.database

    def alive(self, own: Target | None) -> list[str]:
        """The shards targeted that can be talked to."""
        alive = {physical.shard for physical in self.session.alive}
        return [shard for shard in (own or self.target).shards if shard in alive]

    # Texts ----------------------------------------------------------------------------------

    def decoded(self, query: str | bytes, wrong: str = "strict") -> str:
        """A text as the servers will read it; `wrong` as for ``bytes.decode``."""
        if isinstance(query, str):
            return query
        return query.decode(python_encoding(self.home.raw), wrong)

    def quoting(self, own: Target | None) -> RawCursor:
        """A cursor to adapt parameters with: of the first shard targeted that is there.

        Cost: 1 us; `execute_values` asks for each row.
        """
        physicals = self.session.physicals
        for shard in (own or self.target).shards:
            physical = physicals.get(shard)
            if physical is not None and physical.alive:
                return RawCursor(physical.raw)
        return RawCursor(self.home.raw)

    def written(self, own: Target | None, cursor: RawCursor, text: _Text) -> _Text:
        """A text that was written for a cursor's session, and may be run in others.

        Raises:
            errors.NotSupportedError: These could read it otherwise. Over shards that are just
                named, it is the statement's own affair.
        """
        if self.planning(own) is not None:
            check_written(cursor.connection, text)
        return text

    # What cursors ask for -------------------------------------------------------------------

    def execute(self, asked: Asked, text: str | bytes, given: Any) -> None:
        """Run a statement with one set of parameters, or with none.

        Raises:
            errors.Error: See `Cursor.execute`.
            DriverError: psycopg2 refuses the parameters.

        Switches: yes.
        """
        database = self.planning(asked.target)
        if database is not None:
            self._take(asked, text, partial(self.planned, asked, database, text, given))
            return
        plain = given is None or self._are_values(asked, text, (given,))
        calls = partial(_executing, self.session, text, given)
        bound = given is not None
        run = partial(self._union, asked, text, bound, calls, plain=plain, every=(given,))
        self._take(asked, text, run)

    def execute_many(self, asked: Asked, text: str | bytes, every: Sequence[Any]) -> None:
        """Run a statement once for each set of parameters.

        Raises, Switches: see `execute`.
        """
        asked.sets = len(every)
        database = self.planning(asked.target)
        if database is not None:
            run = partial(self.planned, asked, database, text, every, many=True)
            self._take(asked, text, run)
            return
        plain = self._are_values(asked, text, every)
        calls = partial(_executing_many, text, every)
        run = partial(self._union, asked, text, True, calls, plain=plain, every=every)
        self._take(asked, text, run)

    def call(self, asked: Asked, procname: str | bytes, parameters: Sequence[Any]) -> None:
        """Call a stored function, as psycopg2's ``callproc`` does.

        Raises, Switches: see `execute`.
        """
        database = self.planning(asked.target)
        if database is not None:
            text, given = calling(self.quoting(asked.target), procname, *parameters)
            self._take(asked, text, partial(self.planned, asked, database, text, given))
            return
        name = procname.decode(errors="replace") if isinstance(procname, bytes) else procname
        calls = partial(_calling, procname, parameters)
        run = partial(self._union, asked, None, False, calls, plain=False)
        self._take(asked, f"SELECT * FROM {name}(...)", run)

    def copy(self, asked: Asked, text: str | bytes, file: CopyFile) -> None:
        """Run a COPY from or to a file of the program's.

        Raises, Switches: see `execute`.
        """
        if asked.parts.named:
            refuse_named_copy()
        if not can_keep():
            refuse_foreign_callback()
        database = self.planning(asked.target)
        if database is not None:
            self._take(asked, text, partial(Copies(self).run, asked, database, text, file))
            return
        calls = partial(copying, self.session, text, file)
        run = partial(
            self._union, asked, text, False, calls, plain=True, every=(None,), copies=True
        )
        self._take(asked, text, run)

    def _are_values(self, asked: Asked, text: Any, every: Iterable[Any]) -> bool:
        """Whether all parameters are values, as `are_values` tells."""
        if not isinstance(text, (str, bytes)):
            return False
        decoded = self.decoded(text, "replace")
        return all(are_values(asked.parts, given, decoded) for given in every)

    def _take(self, asked: Asked, text: str | bytes, run: Callable[[], Answer]) -> None:
        """Run a statement, let the cursor have its answer, and tell the listener."""
        parts, session = asked.parts, self.session
        record = None
        try:
            with session.taken():
                record = asked.record = recording(self.listener, text, asked.sets)
                parts.begin()
                answered = True
                try:
                    if parts.named:
                        self.portals.check_name(parts.name)
                    snapshots = self.snapshots
                    parts.answer = self._of_one_moment(asked, text, run) if snapshots.on else run()
                    if parts.named and parts.portal is None:
                        self.portals.declared[parts.name] = parts.holds
                except DriverError as exc:
                    fail_all(session, self.transaction, exc)
                    raise_ours(exc, parts)
                except BaseException:
                    answered = False
                    raise
                finally:
                    if self.transaction.is_noted or self.portals.end_with_transaction:
                        self._note_what_ended(asked, text, ask=answered)
        except BaseException as exc:
            tell_cancelled(exc, text)
            if record is not None:
                record.tell(NOTHING, exc)
            raise
        if record is not None:
            record.tell(parts.answer)
        if parts.answer.failures:
            _warn(parts.answer.failures)

    def _of_one_moment(self, asked: Asked, text: str | bytes, run: Callable[[], Answer]) -> Answer:
        """Run a statement in a snapshot over all shards."""
        self.snapshots.admit(self.decoded(text, "replace"), asked.timeout)
        try:
            return run()
        except DriverError as error:
            told = self.snapshots.told(error)
            raise told from told.__cause__
        finally:
            self.transaction.wrote = False  # whatever it may have called: the servers forbid it

    # The two ways ---------------------------------------------------------------------------

    def _union(
        self,
        asked: Asked,
        query: str | bytes | None,
        bound: bool,
        calls: Callable[[Mapping[str, RawCursor]], Calls],
        *,
        plain: bool,
        every: Sequence[Any] = (),
        copies: bool = False,
    ) -> Answer:
        """Run a statement on the shards targeted.

        Args:
            asked: Who asks.
            query: None if it is no text.
            bound: Whether there are parameters, or none at all.
            calls: What to run, for the cursors that there are.
            plain: Whether the parameters are values: some could be any SQL.
            every: The sets of parameters; None among them for no parameters.
            copies: Whether `calls` have a file for COPY.
        """
        target, parts, database = asked.target or self.target, asked.parts, self.database
        said = self.decoded(query, "replace") if isinstance(query, (str, bytes)) else None
        ending = None
        if said is not None and len(self.session.shards) > 1:
            ending = ending_of(said)
            self.endings.admit(ending, target, asked.timeout)
        reads = self._admit(said, bound, target, ends=ending is not None, copies=copies)
        text = said if plain else None
        same = said is not None and is_plain(said)
        if text is not None and (bound or not same) and self._is_odd(target, asked.timeout):
            # What was read in the text is not what the server reads.
            self.transaction.wrote = True
            reads, text = False, None
        if text is None or "savepoint" in text.lower():
            self.transaction.savepoints = True
        parts.trace = self.trace_of(text, bound, target.shards, asked.timeout)
        if database is not None and said is not None and not reads:
            self._check_written(database, asked, said, every, target)
        self.note(parts.trace, parts)
        # Of one shard it matters only if others may be written in the same transaction.
        whole = len(target.shards) < 2 and self.session.members is None
        execution = Execution(
            self.session,
            self.transaction,
            parts,
            asked.timeout,
            reads,
            reads and asked.partial,
            self._streaming(parts),
            "union",
            plain=same,
            bound=bound or query is None,
            effect=NO_EFFECT if reads or whole else _effect_of(query, said),
            queries=said is not None and only_queries(said),
        )
        asked.follow(execution)
        try:
            if ending is not None and ending.is_done and not parts.named:
                return self.endings.run(execution, ending, target.shards, calls)
            run = partial(execution.fan_out, target.shards, calls)
            if reads:
                return run()
            if len(target.shards) > 1:
                fail_rest(self.session, target.shards)
            with savepoints_alike(self.session, target.shards, said or ""):
                return atomically(execution, target.shards, run)
        finally:
            self.leave(parts.trace, execution.ran)
            # Tables of one session alone are no reference tables.
            if database is not None and parts.trace >= Trace.ANYTHING:
                database.temporary.leave_out()
            if database is not None and said is not None:
                database.note_undone(said)

    def _check_written(
        self,
        database: OneDatabase,
        asked: Asked,
        text: str,
        every: Sequence[Any],
        target: Target,
    ) -> None:
        """Refuse to write rows of declared tables where they do not belong."""
        session = self.session
        failed = any(p.failed for p in session.alive if p.shard in target.shards)
        if len(session.shards) > 1 and not failed:
            if "execute" in text.lower():
                text, every = self._prepared_there(database, asked, text, every, target)
            check_named_writes(database, session, asked.parts, text, every, target, asked.timeout)

    def _prepared_there(
        self,
        database: OneDatabase,
        asked: Asked,
        text: str,
        every: Sequence[Any],
        target: Target,
    ) -> tuple[str, Sequence[Any]]:
        """The statement that an EXECUTE on named shards runs, to look at what it writes."""
        plan = database.plan(text, every[0] is not None, asked.timeout)
        parts = plan.step.parts if isinstance(plan.step, Several) else ()
        if any(part.executes for part in parts) or (
            isinstance(plan.step, Executed) and len(every) > 1
        ):
            raise errors.NotSupportedError(
                "EXECUTE on named shards, beside others",
                code="GS411",
                hint="Execute one statement at a time.",
            )
        if not isinstance(plan.step, Executed) or target.broadcast:
            return text, every
        written = written_out(asked.parts, text, every[0]).removeprefix(plan.step.prefix)
        self.session.reach(target.shards, asked.timeout)
        shard = self.alive(target)[0]
        try:
            found = statement_of(written, database, self.session, shard, asked.timeout)
        except errors.Error as error:
            if error.pgcode is None:
                raise
            return text, every  # which that server says, too
        return found, (None,)

    def planned(
        self,
        asked: Asked,
        database: OneDatabase,
        query: str | bytes,
        given: Any,
        *,
        many: bool = False,
    ) -> Answer:
        """Run a statement by its plan; with `many`, once for each of the parameters given."""
        text = query if isinstance(query, str) else self.decoded(query)
        timeout = asked.timeout
        plan = None
        if not (many or asked.partial or asked.parts.named or asked.record):
            plan = sure_plan(database, text, given)
            if plan is not None and self.transaction.failed is None:
                way = short_way(plan, database, self.session, given, timeout)
                # Most statements tell no time: they are not asked about it.
                tells = plan.timed is not None or plan.clock
                if way is not None and (
                    not tells or database.clock.tells_right(plan, given, way[1])
                ):
                    return self._run_short(asked, database, text, plan, way, given, timeout)
        while True:
            try:
                return self._once_planned(asked, database, text, given, timeout, plan, many=many)
            except PlanOutdated:
                plan = None  # nothing was sent

    def _run_short(
        self,
        asked: Asked,
        database: OneDatabase,
        text: str,
        plan: Plan,
        way: Way,
        given: Any,
        timeout: Deadline,
    ) -> Answer:
        parts = asked.parts
        parts.trace = plan.trace
        self.note(plan.trace, parts)
        if not plan.reads:
            self.transaction.wrote = True
            if plan.effect.atomic and not only_queries(text):
                admit_writes(self.session, self.transaction, (way[1].shard,), timeout)
        return run_short(way, plan, database, self.session, parts, given, timeout)

    def _once_planned(
        self,
        asked: Asked,
        database: OneDatabase,
        text: str,
        given: Any,
        timeout: Deadline,
        plan: Plan | None,
        *,
        many: bool,
    ) -> Answer:
        parts = asked.parts
        if many:
            plan = database.plan(text, True, timeout)
        elif plan is None or isinstance(plan.step, Refused):
            text, given, plan = plan_for(database, parts, text, given, timeout)
        if isinstance(plan.step, OTHERS) or plan.declares is not None:
            return Others(self).run(asked, database, text, given, plan, many=many)
        return self.run_planned(asked, database, text, given, plan, many=many)

    def run_planned(
        self,
        asked: Asked,
        database: OneDatabase,
        text: str,
        given: Any,
        plan: Plan,
        *,
        many: bool = False,
    ) -> Answer:
        """Run a statement by its plan, which is none of `OTHERS`; with `many`, see `planned`."""
        execution = self.execution(asked, database, text, given, plan, many=many)
        ending = None if asked.parts.named else plan.ending
        try:
            if ending is not None:
                return self._end_planned(execution, ending, given if many else (given,))
            return run_many(execution) if many else run_plan(execution)
        except errors.Error as error:
            if not many:
                errors.keep_positions(error, execution.as_sent())
            raise
        finally:
            asked.parts.sent = execution.query

    def execution(
        self,
        asked: Asked,
        database: OneDatabase,
        text: str,
        given: Any,
        plan: Plan,
        *,
        many: bool = False,
    ) -> Planned:
        """What runs a plan, noted as what is about to be run."""
        parts, timeout = asked.parts, asked.timeout
        parts.trace = plan.trace
        if isinstance(plan.step, Broadcast):
            self.transaction.savepoints = True
        self.note(plan.trace, parts)
        reads = plan.reads and not many
        ending = None if parts.named else plan.ending
        if plan.own_only:
            self.transaction.wrote_own = True
        elif not (reads or plan.only_sets) and ending is None:
            self.transaction.wrote = True
        execution = Planned(
            self.session,
            self.transaction,
            parts,
            timeout,
            reads,
            reads and asked.partial,
            self._streaming(parts),
            database=database,
            plan=plan,
            text=text,
            given=given,
            limits=self.limits,
            effect=plan.effect,
            queries=plan.effect.atomic and not reads and only_queries(text),
        )
        asked.follow(execution)
        return execution

    def _end_planned(self, e: Planned, ending: Ending, every: Sequence[Any]) -> Answer:
        """End the transaction, once for each set of parameters."""
        answer: Answer = CountedAnswer(0, None)
        shards = self.session.shards
        e.strategy = e.plan.step.strategy
        for given in every:
            stage = tuple(Task(own_place(shard), Sql(e.text), given) for shard in shards)
            try:
                answer = self.endings.run(e, ending, shards, partial(e.calls, stage))
            finally:
                note(e, e.plan)
        return answer

    # What may run, and what it may leave ----------------------------------------------------

    def _admit(
        self, text: str | None, bound: bool, target: Target, *, ends: bool, copies: bool
    ) -> bool:
        """Refuse what must not run in a union; returns whether it certainly only reads.

        Args:
            text: None if it is no text.
            bound: Whether there are parameters, or none at all.
            target: Where it is to run.
            ends: Whether it ends the transaction, and writes nothing.
            copies: Whether there is a file for COPY.
        """
        if text is None:
            self.transaction.wrote = True
            return False
        if not copies and copies_with_client(text):
            refuse_copy()
        if len(self.session.shards) == 1:
            return False
        statement = read_statement(text, bound)
        if len(target.shards) > 1:
            if not target.broadcast:
                refuse_insert(statement, target)
            refuse_current_of(text, bound)
        reads = isinstance(statement, Statement) and len(text) <= _LONGEST_READ and statement.reads
        if not (reads or ends):
            self.transaction.wrote = True
        return reads

    def _is_odd(self, target: Target, timeout: Deadline) -> bool:
        """Whether a session targeted reads literals otherwise than we do."""
        self.session.reach(target.shards, timeout)
        there = (self.session.physicals.get(shard) for shard in target.shards)
        return not are_usual(physical for physical in there if physical is not None)

    def trace_of(
        self, text: str | None, bound: bool, shards: Sequence[str], timeout: Deadline
    ) -> Trace:
        """What a statement may leave that goes to chosen shards.

        Args:
            text: None stands for any statement.
            bound: Whether it has parameters.
            shards: Those.
            timeout: What it may take to find out.

        Switches: when the catalog must be loaded, or shards be asked whether it has changed.
        """
        if self.database is None or text is None:
            return Trace.CODE
        return self.database.trace_of(text, bound, shards, timeout)

    def note(self, trace: Trace, parts: Parts | None = None) -> None:
        """Take note of what a statement, or a call without one, may leave; it is about to be run.

        A connection that lives no longer than its sessions needs none.
        """

    def leave(self, trace: Trace, shards: Iterable[str]) -> None:
        """Take note of what a statement may have left in the sessions of some shards."""
        if self.database is not None and trace >= Trace.ANYTHING:
            self.database.note(trace, shards, changes=trace is Trace.CODE)

    # The end of transactions ----------------------------------------------------------------

    def fail(self, error: DriverError) -> None:
        """Let the transaction be failed after an error of a fetch; see `fail_all`.

        Switches: if it must be failed.
        """
        if error.pgcode is None:
            return
        with suppress(errors.ProgrammingError), self.session.taken():  # it may be busy elsewhere
            fail_all(self.session, self.transaction, error)

    def _note_what_ended(self, asked: Asked, text: str | bytes, *, ask: bool) -> None:
        """Take note of what a statement has ended: the transaction, or a part of it.

        Args:
            asked: Who asks.
            text: The statement.
            ask: Whether servers may be asked which part: not after what has come from outside.

        Cost: 2 us after a write in autocommit mode.
        """
        portals, parts = self.portals, asked.parts
        if not portals.end_with_transaction:
            self.endings.look(committed=True)  # as far as is known
        elif not self.transaction.is_open:
            # Without an answer, it was COMMIT that failed.
            done = parts.answer.statusmessage
            undone = done in {None, "ROLLBACK"} or _UNDOES.match(self.decoded(text, "replace"))
            self.endings.look(committed=not undone)
        elif (portals.open or portals.by_sql) and b"rollback" in (parts.query or b"").lower():
            portals.end_undone(asked.timeout, ask=ask)

    # The rows of named cursors --------------------------------------------------------------

    def _streaming(self, parts: Parts) -> Streaming | None:
        """What makes the rows of a named cursor; None for another one."""
        return partial(self.streams, parts) if parts.named else None

    def streams(self, parts: Parts, cursors: Mapping[str, RawCursor]) -> tuple[Stream, ...]:
        """The rows of a named cursor."""
        # Weak: the parts have the answer, which has the streams.
        reference = weakref.ref(parts)

        def run(calls: Calls) -> Mapping[str, Any]:
            parts = reference()
            return {} if parts is None else self._fetch(parts, calls)

        return streams(cursors, run, parts.itersize)

    def _fetch(self, parts: Parts, calls: Calls) -> Mapping[str, Any]:
        """Fetch from named cursors; their columns are known from the first time on."""
        session, cursors = self.session, parts.made()
        first = any(cursors[shard].description is None for shard in calls)
        with session.taken():
            timeout = parts.fetch_timeout
            # on_error="partial": the others answer as if the shard that has failed were gone.
            if not parts.answer.failures:
                fail_rest(session, cursors)
            try:
                jobs = session.run(calls, timeout).jobs
            finally:
                self.leave(parts.trace, calls)
            if first:
                seen = {name: c for name, c in cursors.items() if c.description is not None}
                check_columns(seen, session, timeout)
        timings = parts.answer.timings
        for shard, job in jobs.items():
            timings[shard].total_s += job.seconds
            timings[shard].rows += max(0, cursors[shard].rowcount)
        return {shard: job.result for shard, job in jobs.items()}


def _executing(
    session: Session, text: str | bytes, given: Any, raws: Mapping[str, RawCursor]
) -> Calls:
    sent = merged_once(text, given, list(raws.values()))
    physicals = session.physicals
    return {shard: executing(physicals[shard], raw, *sent) for shard, raw in raws.items()}


def _executing_many(text: Any, every: Sequence[Any], raws: Mapping[str, RawCursor]) -> Calls:
    return {shard: partial(raw.executemany, text, every) for shard, raw in raws.items()}


def _calling(procname: Any, parameters: Sequence[Any], raws: Mapping[str, RawCursor]) -> Calls:
    return {shard: partial(raw.callproc, procname, *parameters) for shard, raw in raws.items()}


def _effect_of(query: Any, text: str | None) -> Effect:
    """How a statement is to be run on several shards.

    Args:
        query: None for the call of a function.
        text: The same, read; None if it is no text.
    """
    if text is None:
        return CALL if query is None else NO_EFFECT  # which psycopg2 refuses
    # A long text counts as one that writes, for it is not parsed.
    long = len(text) > _LONGEST_READ
    return NO_EFFECT if long and only_queries(text) else effect_of(text)


def raise_ours(error: DriverError, parts: Parts) -> NoReturn:
    """Raise our error for one of the driver's; its ``cursor`` is the logical one."""
    ours = errors.from_driver(error)
    ours.__dict__.setdefault("_cursor", parts.logical)
    raise ours from ours.__cause__


def _warn(failures: Mapping[str, BaseException]) -> None:
    names = ", ".join(failures)
    logger.warning("partial answer: no rows from %s", names)
    warnings.warn(
        f"partial answer: no rows from {names}; see cursor.failures",
        errors.PartialResultWarning,
        stacklevel=5,
    )
