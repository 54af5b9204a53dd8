"""A PEP 249 cursor over the rows of several shards."""

from __future__ import annotations

import logging
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NoReturn

from greenshard import errors
from greenshard._driver import (
    Composable,
    DriverError,
    RawCursor,
    merged_once,
    python_encoding,
)
from greenshard.arguments import derived_class, on_error_attribute, timeout_attribute
from greenshard.executor.answer import NOTHING, Answer, AnswerView
from greenshard.executor.columns import check_columns
from greenshard.executor.parts import Parts, row_factory, tzinfo_factory
from greenshard.executor.streaming import Stream, streams
from greenshard.limits import refuse_copy, refuse_replication
from greenshard.planner import Statement, copies_with_client, read_statement, redact
from greenshard.planner.union import refuse_insert

if TYPE_CHECKING:
    from greenshard.connection import Connection
    from greenshard.executor.session import Outcome
    from greenshard.merge.concatenation import Concatenation
    from greenshard.planner.target import Target

logger = logging.getLogger("greenshard")

Calls = Mapping[str, Callable[[], object]]

#: Texts longer than this are taken to write, instead of being parsed at each call.
_LONGEST_READ = 10_000


class Cursor(AnswerView, RawCursor):
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
        self._parts = Parts(self, conn._session, conn._home)
        self._asked: RawCursor | None = None
        self._answer = NOTHING
        self._closed = False
        self.timeout = conn.timeout
        self.on_error = conn.on_error

    def __repr__(self) -> str:
        shards = ", ".join((self._target or self._logical._target).shards)
        state = "closed" if self.closed else f"rowcount {self.rowcount}"
        named = f" {self.name!r}" if self.name else ""
        return f"<greenshard.Cursor{named} over {shards}: {state}>"

    __str__ = __repr__

    # Statements -----------------------------------------------------------------------------

    def execute(self, query: str | bytes | Composable, vars: Any = None) -> None:
        """Run a statement on every shard targeted, and wait for all of them.

        Raises:
            greenshard.Error: A shard failed, also of psycopg2's class for it; `FanoutError` if
                several did; `QueryTimeout`; `NotSupportedError` for an INSERT over several shards.

        Switches: yes. When it raises, nothing is left running on any server.
        """
        text = self._text(query)

        def calls(raws: Mapping[str, RawCursor]) -> Calls:
            sent = merged_once(text, vars, list(raws.values()))
            return {shard: partial(raw.execute, *sent) for shard, raw in raws.items()}

        self._fan_out(text, vars is not None, calls)

    def executemany(self, query: str | bytes | Composable, vars_list: Iterable[Any]) -> None:
        """Run a statement once for each set of parameters, on every shard targeted.

        Switches: yes.
        """
        text = self._text(query)
        every = vars_list if isinstance(vars_list, (list, tuple)) else list(vars_list)

        def calls(raws: Mapping[str, RawCursor]) -> Calls:
            return {shard: partial(raw.executemany, text, every) for shard, raw in raws.items()}

        self._fan_out(text, True, calls)

    def callproc(self, procname: str | bytes, *parameters: Any) -> Any:
        """Call a stored function on every shard targeted; returns the parameters.

        Switches: yes.
        """

        def calls(raws: Mapping[str, RawCursor]) -> Calls:
            return {s: partial(raw.callproc, procname, *parameters) for s, raw in raws.items()}

        outcome = self._fan_out(None, False, calls)
        return next(iter(outcome.jobs.values())).result

    def mogrify(self, query: str | bytes | Composable, vars: Any = None) -> bytes:
        """The statement as it would be sent to the first shard targeted."""
        self._logical._session.check()
        try:
            return self._quoting().mogrify(query, vars)
        except DriverError as exc:
            self._fail(exc)

    def _text(self, query: str | bytes | Composable) -> str | bytes:
        if self._closed or self._logical._session.closed:
            self._check()
        return query.as_string(self._quoting()) if isinstance(query, Composable) else query

    def _fan_out(
        self,
        query: str | bytes | None,
        has_parameters: bool,
        calls: Callable[[Mapping[str, RawCursor]], Calls],
    ) -> Outcome:
        """Run a statement on the shards targeted; `query` is None if it is no text."""
        session = self._logical._session
        target = self._target or self._logical._target
        with session.taken():
            try:
                reads = self._admit(query, has_parameters, target)
                cursors = self._begin(target)
                todo = calls(cursors)
                if len(todo) < len(target.shards):
                    todo = {shard: todo.get(shard, _nothing) for shard in target.shards}
                started = time.perf_counter()
                try:
                    tolerant = reads and self.on_error == "partial"
                    outcome = session.run(todo, self.timeout, tolerant=tolerant, writes=not reads)
                finally:
                    _log(query, target, time.perf_counter() - started)
                self._accept(outcome, cursors)
            except DriverError as exc:
                self._fail(exc)
        if outcome.failures:
            _warn(outcome.failures)
        return outcome

    def _admit(self, query: str | bytes | None, has_parameters: bool, target: Target) -> bool:
        """Refuse what must not run; returns whether it certainly only reads."""
        conn = self._logical
        if not isinstance(query, (str, bytes)):
            conn._admit_write("")
            return False
        text = query if isinstance(query, str) else query.decode(python_encoding(conn), "replace")
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

    def _begin(self, target: Target) -> dict[str, RawCursor]:
        """Forget the last statement; returns the cursors of the shards that are there."""
        self._asked, self._answer = None, NOTHING
        there = self._logical._session.physicals
        cursors = {shard: self._parts.of(shard) for shard in target.shards if shard in there}
        self._apply_typecasters(cursors)
        self._asked = next(iter(cursors.values()), None)
        return cursors

    def _accept(self, outcome: Outcome, asked: Mapping[str, RawCursor]) -> None:
        """Take over the answers of the shards that gave one."""
        cursors = {shard: asked[shard] for shard in outcome.jobs} if outcome.failures else asked
        if self.name is None:
            check_columns(cursors, self._logical._session, self.timeout)
            self._answer = Answer(cursors, (), outcome)
        else:
            self._answer = Answer(cursors, self._streams(cursors), outcome)

    # The shards' cursors --------------------------------------------------------------------

    def _apply_typecasters(self, shards: Iterable[str]) -> None:
        registered = self._logical.string_types or {}
        if self.string_types:
            registered = {**registered, **self.string_types}
        self._parts.apply_typecasters(shards, registered, self.timeout)

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
            jobs = session.run(calls, self.timeout).jobs
            if first:
                seen = {name: c for name, c in cursors.items() if c.description is not None}
                check_columns(seen, session, self.timeout)
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

    def _rows(self) -> Concatenation:
        """The rows; a named cursor may read those of a cursor that SQL has declared."""
        self._logical._session.check_process()
        if self._closed:
            raise errors.InterfaceError("cursor already closed")
        if self.name is not None and self._asked is None:
            cursors = {shard: self._parts.of(shard) for shard in self._alive()}
            with self._logical._session.taken():
                self._apply_typecasters(cursors)
            self._asked = next(iter(cursors.values()), None)
            self._answer = Answer(cursors, self._streams(cursors))
        return self._answer.rows

    def fetchone(self) -> Any:
        """The next row of the first shard, then of the second, ...; None after the last.

        Switches: only on a named cursor.
        """
        try:
            return self._rows().fetchone()
        except DriverError as exc:
            self._fail(exc)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """At most `size` rows (default: ``arraysize``), of as many shards as it takes.

        Switches: only on a named cursor.
        """
        try:
            return self._rows().fetchmany(self.arraysize if size is None else size)
        except DriverError as exc:
            self._fail(exc)

    def fetchall(self) -> list[Any]:
        """All rows that are left.

        Switches: only on a named cursor.
        """
        try:
            return self._rows().fetchall()
        except DriverError as exc:
            self._fail(exc)

    def __iter__(self) -> Cursor:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._rows())
        except DriverError as exc:
            self._fail(exc)

    def scroll(self, value: int, mode: str = "relative") -> None:
        """Move to another row. A named cursor can only be moved over one shard.

        Switches: only on a named cursor.
        """
        self._check()
        if self.name is not None and self._answer.shard_count > 1:
            raise errors.NotSupportedError(
                "a named cursor over several shards cannot be scrolled",
                code="GS403",
                hint="Fetch the rows to be passed over, or restrict the cursor with conn.on(...).",
            )
        try:
            self._rows().scroll(value, mode)
        except DriverError as exc:
            self._fail(exc)

    # What is known of the last statement ----------------------------------------------------

    @property
    def query(self) -> bytes | None:
        """The last statement as it was sent to the first shard."""
        return None if self._asked is None else self._asked.query

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
            elif shards := self._alive():
                with session.taken():
                    calls = {shard: self._parts.of(shard).close for shard in shards}
                    session.run(calls, self.timeout)
        except DriverError as exc:
            self._fail(exc)

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


def _nothing() -> None:
    """The call of a shard that is not there; it is never made."""


def _log(query: str | bytes | None, target: Target, seconds: float) -> None:
    if logger.isEnabledFor(logging.DEBUG):
        text = query.decode("utf-8", "replace") if isinstance(query, bytes) else query or "a call"
        logger.debug("%s on %s: %.1f ms", redact(text), ", ".join(target.shards), seconds * 1e3)


def _warn(failures: Mapping[str, BaseException]) -> None:
    names = ", ".join(failures)
    logger.warning("partial answer: no rows from %s", names)
    warnings.warn(
        f"partial answer: no rows from {names}; see cursor.failures",
        errors.PartialResultWarning,
        stacklevel=4,
    )
