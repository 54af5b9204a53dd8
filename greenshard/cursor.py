"""A PEP 249 cursor over the rows of several shards."""

from __future__ import annotations

import logging
import re
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from greenshard import errors
from greenshard._driver import (
    TRANSACTION_IDLE,
    Composable,
    DriverError,
    RawCursor,
    python_encoding,
)
from greenshard.arguments import derived_class, on_error_attribute, timeout_attribute
from greenshard.executor.answers.answer import NOTHING, Answer, AnswerView
from greenshard.executor.answers.columns import check_columns
from greenshard.executor.answers.fetching import Fetching
from greenshard.executor.answers.parts import Parts, row_factory, tzinfo_factory
from greenshard.executor.answers.portals import end_portals, end_undone_portals
from greenshard.executor.dispatch import run_plan
from greenshard.executor.execution import Calls, Execution
from greenshard.executor.planned import Planned
from greenshard.executor.record import Record, recording
from greenshard.executor.repeating import calling, run_many
from greenshard.executor.sql_values import are_values, plan_for
from greenshard.executor.strategies.staying import check_name
from greenshard.limits import refuse_copy, refuse_replication
from greenshard.links.deadline import Deadline
from greenshard.links.physical import string_types
from greenshard.links.quoting import are_usual, check_written, is_plain, merged_once
from greenshard.links.streams import Stream, streams
from greenshard.planner import Statement, copies_with_client, read_statement
from greenshard.planner.code import Trace
from greenshard.planner.plan import Broadcast
from greenshard.planner.union import refuse_insert
from greenshard.sql.parameters import AS_THEY_ARE, as_read

if TYPE_CHECKING:
    from greenshard.connection import Connection
    from greenshard.executor.knowledge.one_database import OneDatabase
    from greenshard.merge.concatenation import Concatenation, Rows
    from greenshard.planner.target import Target

logger = logging.getLogger("greenshard")
_Text = TypeVar("_Text", str, bytes)

#: Texts longer than this are taken to write, instead of being parsed at each call.
_LONGEST_READ = 10_000
_UNDOES = re.compile(r"\s*(?:rollback|abort)\b", re.IGNORECASE)


class Cursor(AnswerView, Fetching, RawCursor):
    """A cursor over the shards that its connection targets.

    Each shard's rows stay in a plain cursor of psycopg2. A ``cursor_factory`` is mixed in by
    `cursor_class`: its methods run once for each call and see this class as their base.

    `timeout` and `on_error` are the connection's until they are set.
    """

    timeout = timeout_attribute()
    on_error = on_error_attribute()

    def __init__(self, conn: Connection, name: str | None = None) -> None:
        super().__init__(conn._home.raw, name)
        self._logical = conn
        self._target: Target | None = None
        self._parts = Parts(self, conn._session, conn._home, string_types.read(conn))
        self._answer = NOTHING
        self._record: Record | None = None
        self._sent: bytes | None = None
        self._trace = Trace.NOTHING
        self._closed = False
        # Not set as attributes: they were checked when the connection's were.
        self.__dict__["timeout"], self.__dict__["on_error"] = conn.timeout, conn.on_error

    def __repr__(self) -> str:
        shards = ", ".join((self._target or self._logical._target).shards)
        state = "closed" if self.closed else f"rowcount {self.rowcount}"
        named = f" {self.name!r}" if self.name else ""
        return f"<greenshard.Cursor{named} over {shards}: {state}>"

    __str__ = __repr__

    # Statements -----------------------------------------------------------------------------

    def execute(self, query: str | bytes | Composable, vars: Any = None) -> None:
        """Run a statement, and wait for all shards that it runs on.

        Over declared tables the shards are those that the statement needs; without, or with a
        target chosen (`Connection.on`), all that are targeted.

        Raises:
            greenshard.Error: A shard failed, also of psycopg2's class for it; `FanoutError` if
                several did; `QueryTimeout`; `NotSupportedError` for what cannot be done right.

        Switches: yes. When it raises, nothing is left running on any server.
        """
        text = self._text(query)
        if self._parts.portal is not None:
            raise errors.ProgrammingError("can't call .execute() on named cursors more than once")
        if self.name is not None:
            check_name(self._logical._session, self.name)
        given = self._read(text, vars)
        if (database := self._planning()) is not None:
            self._take_answer(text, lambda: self._planned(database, text, given))
            return

        def calls(raws: Mapping[str, RawCursor]) -> Calls:
            sent = merged_once(text, given, list(raws.values()))
            return {shard: partial(raw.execute, *sent) for shard, raw in raws.items()}

        plain = given is None or self._are_values(text, (given,))
        self._take_answer(text, lambda: self._union(text, given is not None, calls, plain=plain))

    def executemany(self, query: str | bytes | Composable, vars_list: Iterable[Any]) -> None:
        """Run a statement once for each set of parameters; the row counts are added up.

        Switches: yes.
        """
        text = self._text(query)
        every = [v if type(v) in AS_THEY_ARE else self._read(text, v) for v in vars_list]
        if (database := self._planning()) is not None:
            self._take_answer(
                text, lambda: self._planned(database, text, every, many=True), len(every)
            )
            return

        def calls(raws: Mapping[str, RawCursor]) -> Calls:
            return {shard: partial(raw.executemany, text, every) for shard, raw in raws.items()}

        plain = self._are_values(text, every)
        self._take_answer(text, lambda: self._union(text, True, calls, plain=plain), len(every))

    def callproc(self, procname: str | bytes, *parameters: Any) -> Any:
        """Call a stored function; returns the parameters.

        Switches: yes.
        """
        if (database := self._planning()) is not None:
            text, given = calling(self._quoting(), procname, *parameters)
            self._take_answer(text, lambda: self._planned(database, text, given))
        else:

            def calls(raws: Mapping[str, RawCursor]) -> Calls:
                return {s: partial(raw.callproc, procname, *parameters) for s, raw in raws.items()}

            name = procname.decode(errors="replace") if isinstance(procname, bytes) else procname
            text = f"SELECT * FROM {name}(...)"
            self._take_answer(text, lambda: self._union(None, False, calls, plain=False))
        return parameters[0] if parameters else None

    def mogrify(self, query: str | bytes | Composable, vars: Any = None) -> bytes:
        """The statement as it would be sent to the first shard targeted."""
        self._logical._session.check()
        cursor = self._quoting()
        try:
            return self._written(cursor, cursor.mogrify(query, vars))
        except DriverError as exc:
            self._fail(exc)

    def _text(self, query: str | bytes | Composable) -> str | bytes:
        if self._closed or self._logical._session.closed:
            self._check()
        if not isinstance(query, Composable):
            return query
        cursor = self._quoting()
        return self._written(cursor, query.as_string(cursor))

    def _read(self, text: Any, given: Any) -> Any:
        """Parameters as psycopg2 reads them, each once; see `as_read`."""
        if not isinstance(text, (str, bytes)):
            return given  # which psycopg2 refuses
        return as_read(given, lambda: self._decoded(text, "replace"))

    def _are_values(self, text: Any, every: Iterable[Any]) -> bool:
        """Whether parameters are values, as `are_values` tells."""
        if not isinstance(text, (str, bytes)):
            return False
        decoded = self._decoded(text, "replace")
        return all(are_values(self._parts, given, decoded) for given in every)

    def _written(self, cursor: RawCursor, text: _Text) -> _Text:
        """A text that was written for a cursor's session, and may be run in others.

        Raises:
            errors.NotSupportedError: These could read it otherwise. Over shards that are just
                named, it is the statement's own affair.
        """
        if self._planning() is not None:
            check_written(cursor.connection, text)
        return text

    def _planning(self) -> OneDatabase | None:
        """What plans the statement; None if it goes to the shards targeted as it is."""
        conn = self._logical
        chosen = self._target is not None or conn._target is not conn._whole
        return None if chosen or len(conn.shards) == 1 else conn._database

    def _take_answer(
        self, text: str | bytes, run: Callable[[], Answer], sets: int | None = None
    ) -> None:
        """Run a statement, let the cursor have its answer, and tell who listens.

        Args:
            text: The statement.
            run: What runs it.
            sets: How many sets of parameters it has, of `executemany`.
        """
        record, session = None, self._logical._session
        try:
            with session.taken():
                record = self._record = recording(self._logical._on_event, text, sets)
                self._parts.asked, self._sent, self._answer = None, None, NOTHING
                answered = True
                try:
                    self._answer = run()
                    if self.name is not None and self._parts.portal is None:
                        session.streamed.add(self.name)
                except DriverError as exc:
                    self._fail(exc)
                except BaseException:
                    answered = False
                    raise
                finally:
                    self._record = None
                    if session.portals:
                        self._end_portals(text, ask=answered)
        except BaseException as exc:
            if record is not None:
                record.tell(NOTHING, exc)
            raise
        if record is not None:
            record.tell(self._answer)
        if self._answer.failures:
            _warn(self._answer.failures)

    def _end_portals(self, text: str | bytes, *, ask: bool) -> None:
        """End the named cursors that end with what SQL has ended: the transaction, or a part.

        Args:
            text: The statement.
            ask: Whether servers may be asked which: not after what has come from outside.
        """
        session = self._logical._session
        if all(physical.transaction_status == TRANSACTION_IDLE for physical in session.alive):
            # Without an answer, it was COMMIT that failed.
            done = self._answer.statusmessage
            undone = done in {None, "ROLLBACK"} or _UNDOES.match(self._decoded(text)) is not None
            end_portals(session, committed=not undone)
        elif b"rollback" in (self.query or b"").lower():
            end_undone_portals(session, self.timeout, ask=ask)

    def _union(
        self,
        query: str | bytes | None,
        has_parameters: bool,
        calls: Callable[[Mapping[str, RawCursor]], Calls],
        *,
        plain: bool,
    ) -> Answer:
        """Run a statement on the shards targeted.

        Args:
            query: None if it is no text.
            has_parameters: Whether there are any, or none at all.
            calls: What to run, for the cursors that there are.
            plain: Whether the parameters are values: some could be any SQL.
        """
        conn = self._logical
        target = self._target or conn._target
        reads = self._admit(query, has_parameters, target)
        text = None
        if plain and isinstance(query, (str, bytes)):
            text = self._decoded(query, "replace")
        same = isinstance(query, (str, bytes)) and is_plain(query)
        if text is not None and (has_parameters or not same) and self._is_odd(target):
            # What was read in the text is not what the server reads.
            conn._admit_write("")
            reads, text = False, None
        if text is None or "savepoint" in text.lower():
            conn._session.savepoints = True
        self._trace = conn._trace_of(text, has_parameters, self)
        execution = Execution(
            conn._session,
            self._parts,
            self.timeout,
            reads,
            reads and self.on_error == "partial",
            None if self.name is None else self._streams,
            "union",
            plain=same,
            bound=has_parameters or query is None,
        )
        if self._record is not None:
            self._record.follow(execution)
        try:
            return execution.fan_out(target.shards, calls)
        finally:
            self._leave(execution.ran)

    def _is_odd(self, target: Target) -> bool:
        """Whether a session targeted reads literals otherwise than we do."""
        session = self._logical._session
        session.reach(target.shards, self.timeout)
        there = (session.physicals.get(shard) for shard in target.shards)
        return not are_usual(physical for physical in there if physical is not None)

    def _planned(
        self, database: OneDatabase, query: str | bytes, given: Any, *, many: bool = False
    ) -> Answer:
        """Run a statement by its plan; with `many`, once for each of the parameters given."""
        conn, text = self._logical, self._decoded(query)
        timeout = None if self.timeout is None else Deadline(self.timeout)
        if many:
            plan = database.plan(text, True, timeout)
        else:
            text, given, plan = plan_for(database, self._parts, text, given, timeout)
        self._trace = plan.trace
        if isinstance(plan.step, Broadcast):
            conn._session.savepoints = True
        conn._note(plan.trace, self)
        reads = plan.reads and not many
        if not reads:
            conn._admit_write(text)
        execution = Planned(
            conn._session,
            self._parts,
            timeout,
            reads,
            reads and self.on_error == "partial",
            None if self.name is None else self._streams,
            database=database,
            plan=plan,
            text=text,
            given=given,
            limits=conn,
            wrote=conn._wrote,
        )
        if self._record is not None:
            self._record.follow(execution)
        try:
            return run_many(execution) if many else run_plan(execution)
        finally:
            self._sent = execution.query

    def _decoded(self, query: str | bytes, wrong: str = "strict") -> str:
        if isinstance(query, str):
            return query
        return query.decode(python_encoding(self._logical), wrong)

    def _leave(self, shards: Iterable[str]) -> None:
        """Take note of what the statement may have left in the sessions of some shards."""
        database = self._logical._database
        if database is not None and self._trace >= Trace.ANYTHING:
            database.note(self._trace, shards, changes=self._trace is Trace.CODE)

    def _admit(self, query: str | bytes | None, has_parameters: bool, target: Target) -> bool:
        """Refuse what must not run; returns whether it certainly only reads."""
        conn = self._logical
        if not isinstance(query, (str, bytes)):
            conn._admit_write("")
            return False
        text = self._decoded(query, "replace")
        if copies_with_client(text):
            refuse_copy()
        if len(conn.shards) == 1:
            return False
        statement = read_statement(text, has_parameters)
        if len(target.shards) > 1 and not target.broadcast:
            refuse_insert(statement, target)
        reads = isinstance(statement, Statement) and len(text) <= _LONGEST_READ and statement.reads
        if not reads:
            conn._admit_write(text)
        return reads

    # The shards' cursors --------------------------------------------------------------------

    def _alive(self) -> list[str]:
        """The shards targeted that can be talked to."""
        target = self._target or self._logical._target
        alive = {physical.shard for physical in self._logical._session.alive}
        return [shard for shard in target.shards if shard in alive]

    def _quoting(self) -> RawCursor:
        """A cursor to adapt parameters with."""
        alive = self._alive()
        return RawCursor(
            self._logical._session.physicals[alive[0]].raw if alive else self._logical._home.raw
        )

    def _streams(self, cursors: Mapping[str, RawCursor]) -> tuple[Stream, ...]:
        """The rows of a named cursor."""
        reference = weakref.ref(self)

        def run(calls: Calls) -> Mapping[str, Any]:
            cursor = reference()
            return {} if cursor is None else cursor._fetch(calls)

        return streams(cursors, run, self.itersize)

    def _fetch(self, calls: Calls) -> Mapping[str, Any]:
        """Fetch from named cursors; their columns are known from the first time on."""
        session, cursors = self._logical._session, self._parts.made()
        first = any(cursors[shard].description is None for shard in calls)
        with session.taken():
            timeout = self._parts.fetch_timeout
            try:
                jobs = session.run(calls, timeout).jobs
            finally:
                self._leave(calls)
            if first:
                seen = {name: c for name, c in cursors.items() if c.description is not None}
                check_columns(seen, session, timeout)
        for shard, job in jobs.items():
            self.timings[shard].total_s += job.seconds
            self.timings[shard].rows += max(0, cursors[shard].rowcount)
        return {shard: job.result for shard, job in jobs.items()}

    @property
    def row_factory(self) -> Any:
        """What makes the row object that psycopg2 then puts the values into."""
        return row_factory.read(self)

    @row_factory.setter
    def row_factory(self, factory: Any) -> None:
        self._parts.set_row_factory(factory)

    @property
    def tzinfo_factory(self) -> Any:
        """What makes the time zone of a timestamp."""
        return tzinfo_factory.read(self)

    @tzinfo_factory.setter
    def tzinfo_factory(self, factory: Any) -> None:
        self._parts.set_tzinfo_factory(factory)

    # Rows -----------------------------------------------------------------------------------

    def _rows(self) -> Concatenation | Rows:
        """The rows; a named cursor may read those of a cursor that SQL has declared."""
        self._logical._session.check_process()
        if self._closed:
            raise errors.InterfaceError("cursor already closed")
        if self.name is None:
            return self._answer.rows
        self._parts.begin_fetch(self.timeout)
        if self._answer is NOTHING and self._parts.asked is None:
            with self._logical._session.taken():
                cursors = self._parts.ready(self._alive(), self.timeout)
            self._answer = Answer(cursors, self._streams(cursors))
        return self._answer.rows

    # What is known of the last statement ----------------------------------------------------

    @property
    def query(self) -> bytes | None:
        """The last statement as it was sent to the first shard."""
        asked = self._parts.asked
        return self._sent or (None if asked is None else asked.query)

    @property
    def connection(self) -> Any:  # type: ignore[override]  # psycopg2's is an attribute
        """The connection that the cursor is of."""
        return self._logical

    # Life -----------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return self._closed or self._logical._session.closed

    def close(self) -> None:
        """Close the cursor; a named one on its servers, too.

        Switches: only on a named cursor.
        """
        if self._closed:
            return
        self._closed = True
        session = self._logical._session
        session.check_process()
        try:
            if self.name is None:
                for cursor in self._parts.made().values():
                    cursor.close()
                super().close()
            elif (portal := self._parts.portal) is not None:
                with session.taken():
                    portal.close(session)
            elif shards := self._opened():
                with session.taken():
                    calls = {shard: self._parts.of(shard).close for shard in shards}
                    session.run(calls, self.timeout)
        except DriverError as exc:
            self._fail(exc)

    def _opened(self) -> list[str]:
        """The shards that may have the named cursor: all, if SQL may have declared it."""
        made = self._parts.made()
        return [s for s in self._alive() if self._planning() is None or s in made]

    def __enter__(self) -> Cursor:
        self._check()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _check(self) -> None:
        self._logical._session.check_process()
        if self.closed:
            raise errors.InterfaceError("cursor already closed")

    def _fail(self, error: DriverError) -> NoReturn:
        """Raise our error for one of the driver's, with this cursor in it."""
        ours = errors.from_driver(error)
        ours.__dict__.setdefault("_cursor", self)
        raise ours from ours.__cause__

    # What green mode cannot do --------------------------------------------------------------

    def copy_from(self, *args: object, **kwargs: object) -> NoReturn:
        """Not supported: see `copy_expert`."""
        refuse_copy()

    def copy_to(self, *args: object, **kwargs: object) -> NoReturn:
        """Not supported: see `copy_expert`."""
        refuse_copy()

    def copy_expert(self, *args: object, **kwargs: object) -> NoReturn:
        """Not supported: psycopg2 cannot COPY with cooperative waits.

        Raises:
            errors.NotSupportedError: Always.
        """
        refuse_copy()


def cursor_class(factory: Any) -> Callable[..., Cursor]:
    """What makes the cursors for a ``cursor_factory``: a class of both it and `Cursor`.

    Raises:
        errors.ProgrammingError: It is not a class derived from psycopg2's cursor.
    """
    if isinstance(factory, partial):
        return partial(cursor_class(factory.func), *factory.args, **factory.keywords)
    refuse_replication(factory)
    derived_class("cursor_factory", factory, RawCursor)
    hashable: Any = factory
    return _mixed(hashable)


@lru_cache(maxsize=256)
def _mixed(factory: Any) -> type[Cursor]:
    if issubclass(factory, Cursor) or issubclass(Cursor, factory):
        return factory if issubclass(factory, Cursor) else Cursor
    return type(factory.__name__, (factory, Cursor), {"__module__": factory.__module__})


def _warn(failures: Mapping[str, BaseException]) -> None:
    names = ", ".join(failures)
    logger.warning("partial answer: no rows from %s", names)
    warnings.warn(
        f"partial answer: no rows from {names}; see cursor.failures",
        errors.PartialResultWarning,
        stacklevel=4,
    )
