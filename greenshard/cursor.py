"""A PEP 249 cursor over the rows of several shards."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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
from greenshard.executor.columns import check_columns
from greenshard.executor.streaming import Stream
from greenshard.executor.typecasters import shard_typecasters
from greenshard.merge.concatenation import Concatenation
from greenshard.merge.status import merge_status
from greenshard.planner import Statement, read_statement, redact
from greenshard.planner.union import refuse_insert

if TYPE_CHECKING:
    from greenshard.connection import Connection
    from greenshard.executor.session import Outcome
    from greenshard.planner.target import Target

logger = logging.getLogger("greenshard")

Calls = Mapping[str, Callable[[], object]]

#: Texts longer than this are taken to write, instead of being parsed at each call.
_LONGEST_READ = 10_000


@dataclass(slots=True)
class ShardTiming:
    """How long one shard took.

    Attributes:
        first_result_s: Seconds until its answer to the statement was there.
        total_s: Seconds in all, with what was fetched from its server afterwards.
        rows: How many rows it gave, or changed.
    """

    first_result_s: float
    total_s: float
    rows: int


class Cursor(RawCursor):
    """A cursor over the shards that its connection targets.

    Each shard's rows stay in a plain cursor of psycopg2. A ``cursor_factory`` is mixed in by
    `cursor_class`: its methods run once for each call and see this class as their base.

    Attributes:
        timeout: Seconds that each call may take; None for no limit.
        on_error: "raise", or "partial": a statement that only reads then gives the rows of the
            shards that answered.
        failures: The error of each shard that did not answer the last statement.
        timings: A `ShardTiming` for each shard that did.
    """

    def __init__(self, conn: Connection, name: str | None = None) -> None:
        super().__init__(conn._home.raw, name)
        self._logical = conn
        self._target: Target | None = None
        self._raws: dict[str, RawCursor] = {}
        self._asked: tuple[RawCursor, ...] = ()
        self._answered: tuple[RawCursor, ...] = ()
        self._rows = Concatenation(())
        self._streams: list[Stream] = []
        self._closed = False
        self.timeout = conn.timeout
        self.on_error = conn.on_error
        self.failures: Mapping[str, BaseException] = {}
        self.timings: dict[str, ShardTiming] = {}

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

    def callproc(self, procname: str, *parameters: Any) -> Any:
        """Call a stored function on every shard targeted; returns the parameters.

        Switches: yes.
        """

        def calls(raws: Mapping[str, RawCursor]) -> Calls:
            return {s: partial(raw.callproc, procname, *parameters) for s, raw in raws.items()}

        outcome = self._fan_out(procname, False, calls)
        return next(iter(outcome.jobs.values())).result

    def mogrify(self, query: str | bytes | Composable, vars: Any = None) -> bytes:
        """The statement as it would be sent to the first shard targeted."""
        self._logical._session.check()
        try:
            return self._first_raw().mogrify(query, vars)
        except DriverError as exc:
            self._fail(exc)

    def _text(self, query: str | bytes | Composable) -> str | bytes:
        self._check()
        if isinstance(query, Composable):
            return query.as_string(self._first_raw())
        return query

    def _fan_out(
        self,
        query: str | bytes,
        has_parameters: bool,
        calls: Callable[[Mapping[str, RawCursor]], Calls],
    ) -> Outcome:
        conn = self._logical
        session = conn._session
        target = self._target or conn._target
        with session.taken():
            try:
                tolerant = self._admit(query, has_parameters, target)
                raws = {name: self._raw(name) for name in target.shards if name in session.physicals}
                self._begin(raws)
                todo = {**dict.fromkeys(target.shards, _nothing), **calls(raws)}
                started = time.perf_counter()
                try:
                    outcome = session.run(todo, self.timeout, tolerant=tolerant)
                finally:
                    _log(query, target, time.perf_counter() - started)
                self._accept(outcome)
            except DriverError as exc:
                self._fail(exc)
        self._report(outcome)
        return outcome

    def _admit(self, query: str | bytes, has_parameters: bool, target: Target) -> bool:
        """Refuse what must not run; returns whether a shard may fail."""
        conn = self._logical
        partial_wanted = self.on_error == "partial"
        if len(conn.shards) == 1 or not isinstance(query, (str, bytes)):
            return False
        text = query if isinstance(query, str) else query.decode(python_encoding(conn), "replace")
        statement = read_statement(text, has_parameters)
        if len(target.shards) > 1 and not target.broadcast:
            refuse_insert(statement, target)
        reads = (
            isinstance(statement, Statement) and len(text) <= _LONGEST_READ and statement.reads
        )
        if not reads:
            conn._admit_write(text)
        return partial_wanted and reads

    def _begin(self, raws: Mapping[str, RawCursor]) -> None:
        """Forget the last statement."""
        self._asked = tuple(raws.values())
        self._answered = ()
        self._rows = Concatenation(())
        self.failures, self.timings = {}, {}

    def _accept(self, outcome: Outcome) -> None:
        """Take over the shards' answers."""
        raws = {name: self._raws[name] for name in outcome.jobs}
        if self.name is None:
            check_columns(raws, self._logical._session, self.timeout)
            self._rows = Concatenation(list(raws.values()))
        else:
            self._read_streams(raws)
        self._answered = tuple(raws.values())
        self.failures = dict(outcome.failures)
        self.timings = {
            name: ShardTiming(job.seconds, job.seconds, max(0, raws[name].rowcount))
            for name, job in outcome.jobs.items()
        }

    def _report(self, outcome: Outcome) -> None:
        if not outcome.failures:
            return
        names = ", ".join(outcome.failures)
        logger.warning("partial answer: no rows from %s", names)
        warnings.warn(
            f"partial answer: no rows from {names}; see cursor.failures",
            errors.PartialResultWarning,
            stacklevel=4,
        )

    # One shard's cursor ---------------------------------------------------------------------

    def _raw(self, shard: str) -> RawCursor:
        """The shard's own cursor, with the settings that the user made on this one."""
        raw = self._raws.get(shard)
        physical = self._logical._session.physicals[shard]
        if raw is None:
            raw = self._raws[shard] = RawCursor(physical.raw, self.name)
            if self.name is not None:
                raw.withhold = self.withhold
                raw.scrollable = self.scrollable
            raw.tzinfo_factory = self.tzinfo_factory
            self._bridge_rows(raw)
        registered = {**(self._logical.string_types or {}), **(self.string_types or {})}
        if registered or self._logical.shards[1:]:
            raw.string_types = shard_typecasters(
                self._logical._session, self._logical._home, physical, registered, self.timeout
            )
        return raw

    def _first_raw(self) -> RawCursor:
        """A cursor to quote with: that of the first shard targeted that is there."""
        physicals = self._logical._session.physicals
        usable = [physicals[name].raw for name in self._shards()]
        return RawCursor(usable[0] if usable else self._logical._home.raw)

    def _bridge_rows(self, raw: RawCursor) -> None:
        """Let the shard's rows be made by this cursor's row factory, for this cursor."""
        factory = RawCursor.row_factory.__get__(self)
        raw.row_factory = None if factory is None else (lambda _: factory(self))

    @property
    def row_factory(self) -> Any:
        """psycopg2's: makes the row object that the values are then put into."""
        return RawCursor.row_factory.__get__(self)

    @row_factory.setter
    def row_factory(self, factory: Any) -> None:
        RawCursor.row_factory.__set__(self, factory)
        for raw in self._raws.values():
            self._bridge_rows(raw)

    @property
    def tzinfo_factory(self) -> Any:
        """psycopg2's: makes the time zone of a timestamp."""
        return RawCursor.tzinfo_factory.__get__(self)

    @tzinfo_factory.setter
    def tzinfo_factory(self, factory: Any) -> None:
        RawCursor.tzinfo_factory.__set__(self, factory)
        for raw in self._raws.values():
            raw.tzinfo_factory = factory

    def _read_streams(self, shards: Iterable[str]) -> None:
        self._streams = [self._stream(shard) for shard in shards]
        self._rows = Concatenation(self._streams)

    def _stream(self, shard: str) -> Stream:
        """The rows of a shard's named cursor."""
        raw = self._raws[shard]

        def run(call: Callable[[], Any]) -> Any:
            session = self._logical._session
            first = raw.description is None
            with session.taken():
                outcome = session.run({shard: call}, self.timeout)
                if first:
                    seen = {n: r for n, r in self._raws.items() if r.description is not None}
                    check_columns(seen, session, self.timeout)
            timing = self.timings[shard]
            timing.total_s += outcome.jobs[shard].seconds
            timing.rows += max(0, raw.rowcount)
            return outcome.jobs[shard].result

        return Stream(raw, run, self.itersize)

    # Rows -----------------------------------------------------------------------------------

    def _readable(self) -> Concatenation:
        """The rows; a named cursor may read those of a cursor that SQL has declared."""
        if self.name is not None and not self._asked:
            raws = {name: self._raw(name) for name in self._shards()}
            self._asked = self._answered = tuple(raws.values())
            self.timings = {name: ShardTiming(0.0, 0.0, 0) for name in raws}
            self._read_streams(raws)
        return self._rows

    def _shards(self) -> tuple[str, ...]:
        """The shards targeted whose connections are there."""
        target = self._target or self._logical._target
        alive = {physical.shard for physical in self._logical._session.alive}
        return tuple(name for name in target.shards if name in alive)

    def fetchone(self) -> Any:
        """The next row of the first shard, then of the second, ...; None after the last.

        Switches: only on a named cursor.
        """
        self._logical._session.check_process()
        try:
            return self._readable().fetchone()
        except DriverError as exc:
            self._fail(exc)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """At most `size` rows (default: ``arraysize``), of as many shards as it takes.

        Switches: only on a named cursor.
        """
        self._logical._session.check_process()
        try:
            return self._readable().fetchmany(self.arraysize if size is None else size)
        except DriverError as exc:
            self._fail(exc)

    def fetchall(self) -> list[Any]:
        """All rows that are left.

        Switches: only on a named cursor.
        """
        self._logical._session.check_process()
        try:
            return self._readable().fetchall()
        except DriverError as exc:
            self._fail(exc)

    def __iter__(self) -> Cursor:
        return self

    def __next__(self) -> Any:
        self._logical._session.check_process()
        try:
            return next(self._readable())
        except DriverError as exc:
            self._fail(exc)

    def scroll(self, value: int, mode: str = "relative") -> None:
        """Move to another row. A named cursor can only be moved over one shard.

        Switches: only on a named cursor.
        """
        self._check()
        if self.name is not None and len(self._answered) > 1:
            raise errors.NotSupportedError(
                "a named cursor over several shards cannot be scrolled",
                code="GS403",
                hint="Fetch the rows to be passed over, or restrict the cursor with conn.on(...).",
            )
        try:
            self._readable().scroll(value, mode)
        except DriverError as exc:
            self._fail(exc)

    # What is known of the last statement ----------------------------------------------------

    @property
    def rowcount(self) -> int:
        """Rows of all shards together, -1 if not known."""
        if self.name is not None and len(self._answered) > 1:
            return -1
        return self._rows.rowcount

    @property
    def rownumber(self) -> int | None:
        """How many rows have been fetched; on a named cursor over one shard, of the last page."""
        if self.name is not None and len(self._streams) == 1:
            return self._streams[0].page_rownumber
        return self._rows.rownumber

    @property
    def description(self) -> Any:
        """The columns; the type codes are those of the first shard that answered."""
        return self._answered[0].description if self._answered else None

    @property
    def statusmessage(self) -> str | None:
        """The command tag, with the row counts of the shards added up."""
        return merge_status([raw.statusmessage for raw in self._answered])

    @property
    def query(self) -> bytes | None:
        """The last statement as it was sent to the first shard."""
        return self._asked[0].query if self._asked else None

    @property
    def lastrowid(self) -> int | None:
        """The OID of the last row inserted, 0 if the table has none."""
        return self._answered[0].lastrowid if self._answered else 0

    @property
    def pgresult_ptr(self) -> int | None:
        """libpq's result of the first shard that answered."""
        return self._answered[0].pgresult_ptr if self._answered else None

    @property
    def connection(self) -> Any:
        """The connection that the cursor is of."""
        return self._logical

    # Life -----------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return self._closed or bool(self._logical.closed == 1)

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
                for raw in self._raws.values():
                    raw.close()
                super().close()
            elif shards := self._shards():
                with session.taken():
                    calls = {name: self._raw(name).close for name in shards}
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
        _refuse_copy()

    def copy_to(self, *args: object, **kwargs: object) -> NoReturn:
        """Not supported: see `copy_expert`."""
        _refuse_copy()

    def copy_expert(self, *args: object, **kwargs: object) -> NoReturn:
        """Not supported: psycopg2 cannot COPY with cooperative waits.

        Raises:
            errors.NotSupportedError: Always.
        """
        _refuse_copy()


def cursor_class(factory: Any) -> Callable[..., Cursor]:
    """What makes the cursors for a ``cursor_factory``: a class of both it and `Cursor`.

    Raises:
        errors.ProgrammingError: It is not a class derived from psycopg2's cursor.
    """
    if isinstance(factory, partial):
        return partial(cursor_class(factory.func), *factory.args, **factory.keywords)
    if not isinstance(factory, type) or not issubclass(factory, RawCursor):
        raise errors.ProgrammingError(
            "cursor_factory must be a class derived from psycopg2.extensions.cursor,"
            f" not {factory!r}",
            code="GS104",
        )
    return _mixed(factory)


@lru_cache(maxsize=256)
def _mixed(factory: type) -> type[Cursor]:
    if issubclass(factory, Cursor) or issubclass(Cursor, factory):
        return factory if issubclass(factory, Cursor) else Cursor
    return type(factory.__name__, (factory, Cursor), {"__module__": factory.__module__})


def _nothing() -> None:
    """The call of a shard that is not there; it is never made."""


def _log(query: object, target: Target, seconds: float) -> None:
    if logger.isEnabledFor(logging.DEBUG):
        text = query.decode("utf-8", "replace") if isinstance(query, bytes) else str(query)
        logger.debug("%s on %s: %.1f ms", redact(text), ", ".join(target.shards), seconds * 1e3)


def _refuse_copy() -> NoReturn:
    raise errors.NotSupportedError(
        "COPY is not possible with cooperative connections",
        code="GS402",
        hint="Load with psycopg2.extras.execute_values, or COPY over a plain psycopg2 connection "
        "to the shard in a process without a wait callback (psql's \\copy, say). "
        "Read large results with a named cursor.",
    )
