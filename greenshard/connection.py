"""The logical connection: at most one physical connection for each shard."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, ClassVar, TypeVar, overload

from greenshard import errors
from greenshard._driver import (
    STATUS_PREPARED,
    DriverError,
    Dsn,
    Own,
    RawConnection,
    RawCursor,
    make_cooperative,
    make_shell,
)
from greenshard.arguments import (
    derived_class,
    flag,
    number_of,
    on_error_attribute,
    seconds,
    timeout_attribute,
)
from greenshard.connect_arguments import OnError
from greenshard.cursor import Cursor, cursor_class
from greenshard.executor.knowledge.one_database import OneDatabase
from greenshard.executor.sql_values import plan_for, plan_without_values, with_literals_in
from greenshard.executor.types.typecasters import is_registration
from greenshard.limits import refuse_async, refuse_replication
from greenshard.links.deadline import within
from greenshard.links.members import members_of
from greenshard.links.opening import (
    HomeUnreachable,
    Opening,
    close_opened,
    failed_opening,
    open_all,
)
from greenshard.links.physical import HomeSilent, Physical, closed
from greenshard.links.session import Session
from greenshard.planner.keys import untold
from greenshard.planner.plan import Several
from greenshard.planner.target import Target, choose
from greenshard.secret import hidden
from greenshard.settings import Settings
from greenshard.sql.parameters import as_read
from greenshard.statements import Statements
from greenshard.target_scope import Scope
from greenshard.transaction.commit import commit_all, roll_back_all
from greenshard.transaction.state import Transaction

_CursorT = TypeVar("_CursorT", bound=RawCursor)

#: Stands for no key: None is one.
_NO_KEY: Any = object()
_NO_VALUES = "the values are not known: with them it is told which shards they name"


def _limit(name: str, check: Callable[[Any], Any], doc: str) -> Any:
    """An attribute that says what a statement may cost."""

    def read(self: Connection) -> Any:
        return getattr(self._statements.limits, name)

    def write(self: Connection, value: Any) -> None:
        setattr(self._statements.limits, name, check(value))

    return property(read, write, doc=doc)


class _Ours:
    """Turns the driver's errors into ours; a generator would take three times as long."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, DriverError):
            ours = errors.from_driver(error)
            raise ours from ours.__cause__


_OURS = _Ours()


class Connection(Settings, Own, RawConnection):
    """A connection to all shards, used by one greenlet at a time.

    Made by `greenshard.connect`. The object is itself psycopg2's connection to one shard, its
    *home* (the first that can be reached), because psycopg2's C functions (``quote_ident``,
    ``register_type``, ``Binary.prepare``) take nothing else. The connections to the other shards
    are psycopg2's plain ones. Given open connections, it lives on none of them: typecasters are
    registered for it, and the other functions take its cursors only.

    New cursors take over its `timeout` and `on_error`. Over a declared cluster, `allow_scatter`,
    `allow_gather`, `gather_limit` and `max_held_bytes` say what a statement may cost.
    """

    timeout: float | None = timeout_attribute()
    on_error: OnError = on_error_attribute()
    allow_scatter: bool = _limit(
        "allow_scatter",
        partial(flag, "allow_scatter"),
        "Whether a statement that reads or changes rows may run on several shards.",
    )
    allow_gather: bool = _limit(
        "allow_gather",
        partial(flag, "allow_gather"),
        "Whether rows may be brought to one server, for what needs that.",
    )
    gather_limit: int = _limit(
        "gather_limit",
        partial(number_of, "rows", "gather_limit"),
        "How many rows a statement may bring to one server.",
    )
    max_held_bytes: int = _limit(
        "max_held_bytes",
        partial(number_of, "bytes", "max_held_bytes"),
        "How much a statement may hold of rows on their way, in bytes.",
    )
    _opening: Opening | None = None
    _session: Session
    _home: Physical
    _statements: Statements
    _statements_class: ClassVar[type[Statements]] = Statements

    def __init__(self, dsn: str = "", async_: int = 0) -> None:
        dsn = hidden(dsn)
        if async_:
            refuse_async()
        opening = self._opening or Opening({"s0": Dsn(dsn)})
        self._opening = None
        # Not set as attributes: they were checked when `opening` was made.
        self.__dict__["timeout"] = opening.timeout_s
        self.__dict__["on_error"] = opening.on_error
        make_cooperative()
        self._open(opening)
        self._session.apart = not opening.allow_same_database
        self._session.waits = opening.waits
        self.cluster = opening.cluster
        if opening.two_phase:
            self._session.members = members_of(opening.cluster, opening.databases)
        transaction = Transaction(self._session)
        # Whoever gave connections may have begun anything on them.
        transaction.wrote = transaction.savepoints = transaction.is_open
        database = None
        if opening.cluster is not None:
            database = OneDatabase(
                opening.cluster,
                self._session,
                transaction,
                self._home,
                opening.connect_timeout_s,
                opening.databases,
            )
        limits = opening.limits.copy()
        self._statements = self._statements_class(
            self._session, transaction, self._home, database, limits, opening.on_event
        )

    def _open(self, opening: Opening) -> None:
        missing = dict(opening.missing)
        physicals = self._physicals({n: s for n, s in opening.shards.items() if n not in missing})
        limit_s = opening.left_s or opening.connect_timeout_s
        failures = open_all(physicals, limit_s, identified=opening.identifies, look=opening.look)
        if isinstance(silent := failures.get(self._home.shard), HomeSilent):
            close_opened(physicals)
            raise silent
        opened = [physical for physical in physicals if physical.shard not in failures]
        missing |= failures
        if failures and not (opened and opening.on_error == "partial"):
            close_opened(physicals)
            raise failed_opening(missing, len(opening.shards))
        if self._home.shard in failures:
            close_opened(physicals)
            raise HomeUnreachable(missing)
        try:
            # Before there is a session, which would have to be held.
            opening.refuse_unfit({physical.shard: physical for physical in opened})
            self._session = Session(opened, missing, list(opening.shards), opening.grace_s)
            self._share_settings()
        except BaseException:
            close_opened(physicals)
            raise

    def _physicals(self, shards: Mapping[str, Dsn | RawConnection]) -> list[Physical]:
        """The connections to be opened; the first one's is this object, unless it is open."""
        physicals = []
        for name, shard in shards.items():
            if isinstance(shard, RawConnection):
                physicals.append(Physical.of_open(name, shard))
            elif physicals:
                physicals.append(Physical.new(name, shard))
            else:
                physicals.append(Physical.embodied(name, shard, self))
        self._home = physicals[0]
        if self._home.raw is not self:
            make_shell(self)
        return physicals

    def __repr__(self) -> str:
        session = self.__dict__.get("_session")
        if session is None:
            return "<greenshard.Connection: not open>"
        states = {0: "open", 1: "closed"}
        return (
            f"<greenshard.Connection to {', '.join(session.shards)}: "
            f"{states.get(self.closed, 'broken: ' + ', '.join(session.broken))}>"
        )

    __str__ = __repr__

    @property
    def shards(self) -> tuple[str, ...]:
        """The shards' names, in the order of their rows."""
        return self._session.shards

    # Cursors --------------------------------------------------------------------------------

    @overload
    def cursor(
        self,
        name: str | bytes | None = None,
        cursor_factory: None = None,
        withhold: bool = False,
        scrollable: bool | None = None,
    ) -> Cursor: ...

    @overload
    def cursor(
        self,
        name: str | bytes | None = None,
        *,
        cursor_factory: Callable[..., _CursorT],
        withhold: bool = False,
        scrollable: bool | None = None,
    ) -> _CursorT: ...

    @overload
    def cursor(
        self,
        name: str | bytes | None,
        cursor_factory: Callable[..., _CursorT],
        withhold: bool = False,
        scrollable: bool | None = None,
    ) -> _CursorT: ...

    def cursor(
        self,
        name: Any = None,
        cursor_factory: Any = None,
        withhold: bool = False,
        scrollable: bool | None = None,
    ) -> Any:
        """A new cursor; with a name, one on the servers, whose rows are streamed.

        Args:
            name: Name of a server-side cursor.
            cursor_factory: A class derived from psycopg2's cursor, as in ``psycopg2.extras``. The
                new cursor is a `Cursor`, too.
            withhold: Whether a server-side cursor outlives its transaction.
            scrollable: Whether a server-side cursor can move backwards.
        """
        self._session.check()
        default: Any = self.cursor_factory
        factory = cursor_factory or default
        cursor: Any = (cursor_class(factory) if factory else Cursor)(self, name)
        if withhold:
            cursor.withhold = withhold
        cursor.scrollable = scrollable
        if cursor_factory is RawCursor and is_registration(sys._getframe(1)):
            cursor._target = Target((self._home.shard,))
        return cursor

    def on(
        self,
        shards: str | Iterable[str] | None = None,
        *,
        key: Any = _NO_KEY,
        table: str | None = None,
    ) -> Scope[Connection]:
        """Restrict to some shards: ``with conn.on("s1"): ...``, or ``conn.on("s1").cursor()``.

        Args:
            shards: A shard's name, or several.
            key: Instead of it, a value of the shard key: the shard that its rows are on. Of a
                declared cluster.
            table: Whose key, where tables are placed by different rules.

        Raises:
            greenshard.ProgrammingError: No shard has that name, or the key cannot be placed.
        """
        self._session.check()
        if (shards is None) is (key is _NO_KEY) or (shards is not None and table is not None):
            raise TypeError("on() takes either shards, or a key and maybe its table")
        named = self._shard_of(key, table) if shards is None else shards
        return Scope(self, choose(named, self.shards))

    def _shard_of(self, key: Any, table: str | None) -> str:
        database = self._declared("conn.on(key=...)")
        with self._session.taken(), self._ours():
            try:
                literals = with_literals_in(Cursor(self)._parts, (key,), "%s")
            except (DriverError, ValueError) as error:  # it cannot be written at all
                raise untold(key, table) from error
            if literals is None:
                raise untold(key, table)
            return database.shard_of(literals[0], table, within(self.timeout))

    def explain(self, sql: Any, args: Any = None, verbose: bool = False) -> str:
        """How a statement would be run, as text; nothing is run.

        Args:
            sql: The statement, as for `Cursor.execute`; or as a log has it, with ``?`` or ``$1`` in
                the place of values.
            args: Its parameters; without them, no shard is known that they would name.
            verbose: Tell too why cheaper ways could not be taken.

        Raises:
            greenshard.ProgrammingError: There is no declared cluster.

        Switches: if the catalog must be asked for.
        """
        self._session.check()
        database = self._declared("conn.explain")
        with self._session.taken(), self._ours():
            cursor = Cursor(self)
            text = self._statements.decoded(cursor._text(sql))
            args = as_read(args, lambda: text)
            cursor.mogrify(text, args)
            timeout = within(self.timeout)
            database.make_sure(timeout)
            if args is None and (logged := plan_without_values(database, text, timeout)):
                text, plan = logged
                told = database.explain(text, plan, None, verbose=verbose)
                return f"{told}\n{_NO_VALUES}"
            text, given, plan = plan_for(database, cursor._parts, text, args, timeout)
            if not isinstance(plan.step, Several):
                return database.explain(text, plan, given, verbose=verbose)
            lines = [f"strategy: {plan.step.strategy}"]
            for number, part in enumerate(plan.step.parts, 1):
                own = part.given(given)
                found = plan_for(database, cursor._parts, part.text, own, timeout)
                shown = database.explain(found[0], found[2], found[1], verbose=verbose)
                lines += [f"statement {number}:", *(f"    {line}" for line in shown.splitlines())]
            return "\n".join(lines)

    def _declared(self, what: str) -> OneDatabase:
        """What is known of the cluster.

        Raises:
            errors.ProgrammingError: None is declared.
        """
        database = self._statements.database
        if database is None:
            raise errors.ProgrammingError(
                f"{what} needs a declared cluster",
                code="GS104",
                hint="Connect to a greenshard.Cluster, or to the path of its TOML file.",
            )
        return database

    @property
    def plan_stats(self) -> dict[str, int]:
        """How many plans were found in the cache, and how many were made.

        Of all connections to the cluster together, since its catalog was last found changed.
        """
        database = self._statements.database
        return {} if database is None else database.plan_stats

    def broadcast(self) -> Scope[Connection]:
        """Let an INSERT put the same rows on every shard targeted; used like `on`."""
        self._session.check()
        return Scope(self, Target(self._statements.target.shards, broadcast=True))

    # Transactions ---------------------------------------------------------------------------

    def commit(self) -> None:
        """Commit on every shard that has a transaction.

        A transaction that wrote on several shards is committed on all of them or on none: in two
        phases, unless ``two_phase`` is off. Then there is a moment in which a crash of a shard
        leaves it committed on some only; that is a `PartialCommitError`.

        Raises:
            greenshard.InternalError: The transaction has failed on a shard; it is rolled back on
                all of them.
            greenshard.TransactionInDoubt: It could not be finished: it will be committed on all
                shards or on none when ``greenshard recover`` has been run.
            greenshard.PartialCommitError: Some shards have committed, others not (without
                two-phase commit).

        Switches: yes.
        """
        session = self._session
        session.check()
        with session.taken(), self._ours():
            committed = False
            try:
                commit_all(session, self._statements.transaction, within(self.timeout))
                committed = True
            finally:
                self._statements.endings.ended(committed=committed)

    def rollback(self) -> None:
        """Roll back on every shard. A shard whose connection is gone has rolled back already.

        Switches: yes.
        """
        session = self._session
        session.check()
        if session.inside():  # tpc_recover() ends its transaction so
            RawConnection.rollback(self)
            return
        with session.taken(), self._ours():
            try:
                roll_back_all(session, self._statements.transaction, within(self.timeout))
            finally:
                self._statements.endings.ended(committed=False)

    @contextmanager
    def snapshot(self, timeout: float | None = None) -> Iterator[Connection]:
        """A block in which all reads, on whatever shards, are of one moment.

        They see all or nothing of each transaction over several shards, and what was committed
        before what they see. Only reads are allowed. When the block ends, its transaction ends.

        Args:
            timeout: Seconds that taking the snapshot may take; by default the connection's, or 5.

        Raises:
            greenshard.ProgrammingError: A transaction is open.
            greenshard.OperationalError: The shards give none: see GS506.

        Switches: yes. Cost: two round trips, to all shards at once, and one for its end.
        """
        limit_s = seconds("timeout", timeout)
        session, snapshots = self._session, self._statements.snapshots
        session.check()
        with session.taken(), self._ours():
            snapshots.enter(within(self.timeout if limit_s is None else limit_s))
        try:
            yield self
        except BaseException:
            if snapshots.stands and not session.closed:
                with suppress(DriverError):  # what the block raised is told
                    self.rollback()
            raise
        else:
            if snapshots.stands and not session.closed:
                self.commit()
        finally:
            snapshots.leave()

    def __enter__(self) -> Connection:
        """Begin a transaction block, as psycopg2 means it: it ends with commit or rollback."""
        self._session.check()
        with self._session.taken(), self._ours():
            if self._in_block:
                raise errors.ProgrammingError("the connection cannot be re-entered recursively")
            self._in_block = True
            self._begin_in_block()
        return self

    def __exit__(self, *exc: Any) -> None:  # noqa: PYI036  # passed on to psycopg2
        # psycopg2's own exit calls this object's commit or rollback and ends the block.
        try:
            self._in_block = False
            if self._home.raw is self:
                self._home.entered = False
                RawConnection.__exit__(self, *exc)
            elif exc[0] is None:
                self.commit()
            else:
                self.rollback()
        finally:
            self._leave_block(*exc)

    def _leave_block(self, *exc: Any) -> None:
        """End the block on the other shards, where nothing is open any more.

        Not while another greenlet is busy with the session: psycopg2 would freeze the process.
        """
        with suppress(DriverError), self._session.taken():
            for physical in self._session.alive:
                if not physical.in_transaction:
                    physical.leave_block(*exc)

    # Life -----------------------------------------------------------------------------------

    @property
    def closed(self) -> int:
        """0 while open, 1 after `close`, 2 if a shard's is gone or it is the parent process's.

        Pools that look at it open another one then.
        """
        session = self.__dict__.get("_session")
        if session is None:
            return int(closed.read(self))
        return 1 if session.closed else 2 if session.inherited or session.broken else 0

    def ping(self) -> None:
        """See that every shard that it is connected to answers; a transaction stays as it is.

        Raises:
            greenshard.Error: One does not: connect again. With ``on_error="partial"``, none does.

        Switches: yes. Cost: one round trip, to all shards at once.
        """
        session = self._session
        session.check()
        session.check_alive()
        with session.taken(), self._ours():
            calls = {name: physical.ping for name, physical in session.physicals.items()}
            session.run(calls, within(self.timeout), tolerant=self.on_error == "partial")

    def close(self) -> None:
        """Close the connections to all shards; what was not committed is rolled back.

        Does not wait for the servers.

        Raises:
            greenshard.InterfaceError: It is the parent process's; its sockets are left alone.
            greenshard.ProgrammingError: Another greenlet is using it.
        """
        session = self.__dict__.get("_session")
        if session is None or session.closed:
            return
        with session.taken():
            session.closed = True
            for physical in session.every:
                physical.discard()

    def release(self) -> None:
        """Like `close`, but leaves open the connections that were given open.

        They keep the transactions that they have.
        """
        with self._session.taken():
            self._session.closed = True
            for physical in self._session.every:
                if physical.given:
                    physical.wait_late(self._session.grace_s)
                physical.worker = None
            close_opened([physical for physical in self._session.every if physical.alive])

    def cancel(self) -> None:
        """Cancel what another greenlet or thread executes here; its call then fails.

        Raises:
            greenshard.ProgrammingError: A two-phase transaction is prepared.

        Switches: yes, until that call has ended.
        """
        self._session.check()
        if self.status == STATUS_PREPARED:
            raise errors.ProgrammingError("cancel cannot be used with a prepared transaction")
        self._session.cancel()

    def _ours(self) -> _Ours:
        """Turn the driver's errors into ours."""
        return _OURS


def connection_class(factory: Any) -> type[Connection]:
    """The class for a ``connection_factory``, of both it and `Connection`.

    Raises:
        errors.ProgrammingError: It is not a class derived from psycopg2's connection.
    """
    if factory is None or factory is RawConnection:
        return Connection
    refuse_replication(factory)
    derived_class("connection_factory", factory, RawConnection)
    if issubclass(factory, Connection):
        cls: type[Connection] = factory
        return cls
    return type(factory.__name__, (factory, Connection), {"__module__": factory.__module__})
