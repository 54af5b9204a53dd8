"""A PEP 249 cursor over the rows of several shards: psycopg2's surface over `Statements`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, Literal, NoReturn, Protocol

from greenshard import errors
from greenshard._driver import Composable, DriverError, RawCursor, ours, quote_ident
from greenshard.arguments import derived_class, on_error_attribute, timeout_attribute
from greenshard.connect_arguments import OnError
from greenshard.executor.answers.answer import NOTHING, Answer, AnswerView
from greenshard.executor.answers.fetching import Fetching
from greenshard.executor.answers.parts import Parts, row_factory, tzinfo_factory
from greenshard.executor.asked import Asked
from greenshard.executor.client_copy import CopyFile
from greenshard.limits import refuse_replication
from greenshard.links.deadline import within
from greenshard.links.physical import string_types
from greenshard.merge.concatenation import Concatenation, Rows
from greenshard.planner.target import Target
from greenshard.sql.parameters import AS_THEY_ARE, as_read
from greenshard.statements import Statements, raise_ours


class Connected(Protocol):
    """What a cursor needs of its connection."""

    timeout: float | None
    on_error: str

    @property
    def _statements(self) -> Statements:
        """What runs the cursor's statements."""


class Cursor(AnswerView, Fetching, RawCursor):
    """A cursor over the shards that its connection targets.

    Each shard's rows stay in a plain cursor of psycopg2. A ``cursor_factory`` is mixed in by
    `cursor_class`: its methods run once for each call and see this class as their base.

    `timeout` and `on_error` are the connection's until they are set.
    """

    timeout: float | None = timeout_attribute()
    on_error: OnError = on_error_attribute()

    def __init__(self, conn: Any, name: str | None = None) -> None:
        connection: Connected = conn
        statements = connection._statements
        home = statements.home
        # psycopg2 quotes a name, for which the connection must be open.
        raw = home.raw if name is None or home.alive else statements.quoting(None).connection
        super().__init__(raw, name)
        self._logical = conn
        self._statements = statements
        self._target: Target | None = None
        self._parts = Parts(
            self, statements.session, home, string_types.read(conn), statements.portals
        )
        self._closed = False
        # Not set as attributes: they were checked when the connection's were.
        self.__dict__["timeout"] = connection.timeout
        self.__dict__["on_error"] = connection.on_error

    def __repr__(self) -> str:
        shards = ", ".join((self._target or self._statements.target).shards)
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
                several did, for different reasons; `QueryTimeout`; `NotSupportedError` for what
                cannot be done right.

        Switches: yes. When it raises, nothing is left running on any server.
        """
        text = self._text(query)
        if self._parts.portal is not None:
            raise errors.ProgrammingError("can't call .execute() on named cursors more than once")
        given = vars if type(vars) in AS_THEY_ARE else self._read(text, vars)
        self._statements.execute(self._asked(), text, given)

    def executemany(self, query: str | bytes | Composable, vars_list: Iterable[Any]) -> None:
        """Run a statement once for each set of parameters; the row counts are added up.

        Switches: yes.
        """
        text = self._text(query)
        every = [v if type(v) in AS_THEY_ARE else self._read(text, v) for v in vars_list]
        self._statements.execute_many(self._asked(), text, every)

    def callproc(self, procname: str | bytes, *parameters: Any) -> Any:
        """Call a stored function; returns the parameters.

        Switches: yes.
        """
        self._check()
        self._statements.call(self._asked(), procname, parameters)
        return parameters[0] if parameters else None

    def mogrify(self, query: str | bytes | Composable, vars: Any = None) -> bytes:
        """The statement as it would be sent to the first shard targeted."""
        statements = self._statements
        statements.session.check()
        cursor = statements.quoting(self._target)
        try:
            return statements.written(self._target, cursor, cursor.mogrify(query, vars))
        except DriverError as exc:
            self._fail(exc)

    def _asked(self) -> Asked:
        return Asked(self._parts, within(self.timeout), self.on_error == "partial", self._target)

    def _text(self, query: str | bytes | Composable) -> str | bytes:
        if self._closed or self._statements.session.closed:
            self._check()
        if not isinstance(query, Composable):
            return query
        cursor = self._statements.quoting(self._target)
        return self._statements.written(self._target, cursor, query.as_string(cursor))

    def _read(self, text: Any, given: Any) -> Any:
        """Parameters as psycopg2 reads them, each once; see `as_read`."""
        if not isinstance(text, (str, bytes)):
            return given  # which psycopg2 refuses
        return as_read(given, lambda: self._statements.decoded(text, "replace"))

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
        statements, parts = self._statements, self._parts
        statements.session.check_process()
        if self._closed:
            raise errors.InterfaceError("cursor already closed")
        if not parts.named:
            return self._answer.rows
        declared = statements.portals.by_sql.get(parts.name) if parts.asked is None else None
        if declared is not None and declared.logical is not None:
            standing: Cursor = declared.logical
            return standing._rows()
        timeout = parts.fetch_timeout = within(self.timeout)
        if self._answer is NOTHING and parts.asked is None:
            with statements.session.taken():
                there = statements.alive(self._target)
                if declared is not None and declared.shard is not None:
                    there = [declared.shard]
                cursors = parts.ready(there, timeout)
            self._answer = Answer(cursors, statements.streams(parts, cursors))
        return self._answer.rows

    # What is known of the last statement ----------------------------------------------------

    @property
    def query(self) -> bytes | None:
        """The last statement as it was sent to the first shard."""
        return self._parts.query

    @property
    def connection(self) -> Any:  # type: ignore[override]  # psycopg2's is an attribute
        """The connection that the cursor is of."""
        return self._logical

    # Life -----------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return self._closed or self._statements.session.closed

    def close(self) -> None:
        """Close the cursor; a named one on its servers, too.

        Switches: only on a named cursor.
        """
        if self._closed:
            return
        self._closed = True
        session = self._statements.session
        session.check_process()
        try:
            if self.name is None:
                for cursor in self._parts.made().values():
                    cursor.close()
                super().close()
            elif (portal := self._parts.portal) is not None:
                with session.taken():
                    self._statements.portals.close(portal)
            elif shards := self._opened():
                with session.taken():
                    calls = {shard: self._parts.of(shard).close for shard in shards}
                    session.run(calls, within(self.timeout))
                    if self._statements.transaction.failed is None:  # then CLOSE was not sent
                        self._statements.portals.forget(self.name)
        except DriverError as exc:
            self._fail(exc)

    def _opened(self) -> Sequence[str]:
        """The shards that may have the named cursor: all, if SQL may have declared it."""
        statements, made = self._statements, self._parts.made()
        planned = statements.planning(self._target) is not None
        return [s for s in statements.alive(self._target) if not planned or s in made]

    def __enter__(self) -> Cursor:
        self._check()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _check(self) -> None:
        self._statements.session.check_process()
        if self.closed:
            raise errors.InterfaceError("cursor already closed")

    def _fail(self, error: DriverError) -> NoReturn:
        """Raise our error for one of the driver's, with this cursor in it.

        Switches: if it fails the transaction, which no shard knows yet.
        """
        self._statements.fail(error)
        raise_ours(error, self._parts)

    # COPY -----------------------------------------------------------------------------------

    def copy_expert(self, sql: str | bytes | Composable, file: Any, size: int = 8192) -> None:
        """Run a COPY that reads its rows from a file, or writes them there, as psycopg2's does.

        Over a declared cluster the rows come and go as those of one database; over shards that are
        just named, COPY TO gives the rows of all, one shard after the other.

        Args:
            sql: ``COPY ... FROM STDIN`` or ``COPY ... TO STDOUT``.
            file: An object with ``read(size)`` or ``write(data)``.
            size: What ``read`` is asked for.

        Raises:
            TypeError: The file has neither.
            greenshard.Error: As for `execute`; also if ``read`` raises, which is the cause then.
            Exception: What ``write`` raises.

        Switches: yes, and so may the file. Nothing is left half loaded.
        """
        if not (hasattr(file, "read") or hasattr(file, "write")):
            raise TypeError(
                "file must be a readable file-like object for COPY FROM; "
                "a writable file-like object for COPY TO."
            )
        self._statements.copy(self._asked(), self._text(sql), CopyFile(file, size))

    def copy_from(
        self,
        file: Any,
        table: str,
        sep: str = "\t",
        null: str = "\\N",
        size: int = 8192,
        columns: Iterable[str] | None = None,
    ) -> None:
        """Load a table from a file in PostgreSQL's text format, as psycopg2's does.

        Raises, Switches: see `copy_expert`.
        """
        self._copy_table("read", file, size, table, sep, null, columns)

    def copy_to(
        self,
        file: Any,
        table: str,
        sep: str = "\t",
        null: str = "\\N",
        columns: Iterable[str] | None = None,
    ) -> None:
        """Write a table to a file in PostgreSQL's text format, as psycopg2's does.

        Raises, Switches: see `copy_expert`.
        """
        self._copy_table("write", file, 0, table, sep, null, columns)

    def _copy_table(
        self,
        method: Literal["read", "write"],
        file: Any,
        size: int,
        table: str,
        sep: str,
        null: str,
        columns: Iterable[str] | None,
    ) -> None:
        """Run a COPY of a table by a method of the file's."""
        if not hasattr(file, method):
            raise TypeError(f"argument 1 must have a .{method}() method")
        way = "FROM" if method == "read" else "TO"
        text = self._copy_text(way, table, sep, null, columns)
        self._statements.copy(self._asked(), text, CopyFile(file, size))

    def _copy_text(
        self, way: str, table: str, sep: str, null: str, columns: Iterable[str] | None
    ) -> str | bytes:
        names = None if columns is None else list(columns)  # whose own error comes first
        self._check()
        cursor = self._statements.quoting(self._target)
        listed = "" if names is None else f" ({','.join(quote_ident(n, cursor) for n in names)})"
        end = "stdin" if way == "FROM" else "stdout"
        head = f"COPY {quote_ident(table, cursor)}{listed} {way} {end}".replace("%", "%%")
        text = cursor.mogrify(f"{head} WITH DELIMITER AS %s NULL AS %s", (ours(sep), ours(null)))
        return self._statements.written(self._target, cursor, text)


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
