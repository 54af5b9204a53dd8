"""psycopg2's attributes and session methods, over all shards.

What is read comes from the home shard, unless the shards' values add up to something; what is set
is set on all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

from greenshard import errors
from greenshard._driver import (
    POLL_OK,
    STATUS_READY,
    TRANSACTION_ACTIVE,
    TRANSACTION_FAILED,
    TRANSACTION_IDLE,
    TRANSACTION_OPEN,
    TRANSACTION_UNKNOWN,
    Attribute,
    Notify,
    PasswordlessInfo,
    RawConnection,
    Xid,
    obscured,
    without_secrets,
)
from greenshard.arguments import flag
from greenshard.limits import refuse_large_objects
from greenshard.links.beginning import hand_over
from greenshard.links.deadline import Deadline, within
from greenshard.links.physical import Physical, client_encoding, has_characteristics
from greenshard.links.quoting import letters_of
from greenshard.links.session import Session
from greenshard.planner.code import Trace
from greenshard.statements import Statements
from greenshard.transaction import tpc

_server_version = Attribute(RawConnection, "server_version")
_dsn = Attribute(RawConnection, "dsn")

#: libpq's status of a connection that is lost.
CONNECTION_BAD = 1

#: Of several transaction states, the first of these is the connection's.
_GRAVEST = (
    TRANSACTION_UNKNOWN,
    TRANSACTION_FAILED,
    TRANSACTION_ACTIVE,
    TRANSACTION_OPEN,
    TRANSACTION_IDLE,
)


def _of_home(name: str, doc: str) -> Any:
    """A read-only attribute of psycopg2's connection, taken from the home shard."""
    attribute = Attribute(RawConnection, name)
    return property(lambda self: attribute.read(self._home_raw()), doc=doc)


def _of_all(name: str, doc: str) -> Any:
    """An attribute of psycopg2's connection that is the same on every shard."""
    attribute = Attribute(RawConnection, name)

    def read(self: Settings) -> Any:
        with self._ours():
            found = attribute.read(self._home_raw())
        home: Physical | None = self.__dict__.get("_home")
        if name == "autocommit" and home is not None:
            return home.autocommit  # psycopg2's may be otherwise in a transaction
        return found

    def write(self: Settings, value: Any) -> None:
        sends = name != "autocommit" or self._has_characteristics()
        self._set(lambda raw: attribute.write(raw, value), sends=sends)

    return property(read, write, doc=doc)


def _collected(name: str, doc: str) -> Any:
    """A list to which every shard's connection appends."""
    attribute = Attribute(RawConnection, name)

    def write(self: Settings, value: Any) -> None:
        for physical in self._session.physicals.values():
            attribute.write(physical.raw, value)

    return property(lambda self: attribute.read(self._home_raw()), write, doc=doc)


def _own_exception(name: str) -> Any:
    return property(lambda _: getattr(errors, name), doc=f"`greenshard.{name}` (PEP 249).")


def _differ(name: str) -> errors.ProgrammingError:
    return errors.ProgrammingError(
        f"the open connections differ in {name}",
        code="GS104",
        hint="Give connections with the same settings.",
    )


def _apply(call: Callable[[Any], object], physical: Physical, *, ends: bool) -> None:
    if ends and physical.begun:
        physical.roll_back()
    call(physical.raw)


class _InfoOfAll(PasswordlessInfo):
    """Facts of the home shard; how the connection stands is told of all its shards."""

    def __init__(self, connection: Settings) -> None:
        super().__init__(connection._home_raw())
        self._connection = connection

    @property
    def status(self) -> Any:
        """libpq's status; bad if the connection to a shard is lost."""
        session = self._connection._session
        lost = len(session.alive) < len(session.physicals)
        return CONNECTION_BAD if session.closed or lost else super().status

    @property
    def transaction_status(self) -> Any:
        """libpq's transaction status, the gravest of all shards; unknown if one is lost."""
        return self._connection.get_transaction_status()


class Settings:
    """Attributes and session methods of `Connection`."""

    timeout: float | None
    _session: Session
    _home: Physical
    _in_block = False
    _statements: Statements
    _ours: Callable[[], Any]

    Warning = _own_exception("Warning")
    Error = _own_exception("Error")
    InterfaceError = _own_exception("InterfaceError")
    DatabaseError = _own_exception("DatabaseError")
    DataError = _own_exception("DataError")
    OperationalError = _own_exception("OperationalError")
    IntegrityError = _own_exception("IntegrityError")
    InternalError = _own_exception("InternalError")
    ProgrammingError = _own_exception("ProgrammingError")
    NotSupportedError = _own_exception("NotSupportedError")

    encoding: str = _of_home("encoding", "The client encoding; the same for all shards.")
    protocol_version: int = _of_home("protocol_version", "Version of the protocol.")
    pgconn_ptr: int = _of_home("pgconn_ptr", "libpq's connection to the home shard.")

    autocommit: bool = _of_all("autocommit", "Whether each statement is its own transaction.")
    isolation_level: int | None = _of_all(
        "isolation_level", "Isolation level of the transactions to come."
    )
    readonly: bool | None = _of_all("readonly", "Whether the transactions to come are read only.")
    deferrable: bool | None = _of_all(
        "deferrable", "Whether the transactions to come are deferrable."
    )

    notices: list[str] = _collected("notices", "Messages that the servers sent.")
    notifies: list[Notify] = _collected("notifies", "Notifications (LISTEN) that the servers sent.")

    # Session --------------------------------------------------------------------------------

    def set_session(self, *args: Any, consistent: bool | None = None, **kwargs: Any) -> None:
        """Set isolation level, readonly, deferrable, autocommit, on all shards.

        Args:
            args, kwargs: psycopg2's.
            consistent: Whether each transaction reads from one moment over all shards, as a block
                of `Connection.snapshot` does; None leaves that as it is.

        Raises:
            greenshard.ProgrammingError: A transaction is open.

        Switches: yes.
        """
        if args or kwargs or consistent is None:
            self._set(lambda raw: RawConnection.set_session(raw, *args, **kwargs))
        if consistent is not None:
            self.consistent = consistent

    @property
    def consistent(self) -> bool:
        """Whether each transaction reads from one moment over all shards, and writes nothing."""
        return self._statements.snapshots.each

    @consistent.setter
    def consistent(self, consistent: bool) -> None:
        each = flag("consistent", consistent)
        self._refuse_in_transaction()
        self._statements.snapshots.each = each

    def set_isolation_level(self, level: int | None) -> None:
        """Roll back and set the isolation level, on all shards.

        Switches: yes.
        """
        self._each(lambda raw: RawConnection.set_isolation_level(raw, level), ends=True)

    def set_client_encoding(self, encoding: str) -> None:
        """Roll back and set the client encoding, on all shards.

        Switches: yes.
        """
        same = letters_of(encoding) == letters_of(self.encoding)  # then psycopg2 does nothing
        self._each(lambda raw: RawConnection.set_client_encoding(raw, encoding), ends=not same)

    def reset(self) -> None:
        """Roll back and set the session's settings back, on all shards.

        Switches: yes.
        """
        self._each(RawConnection.reset, ends=True)
        tpc.leave(self._session)
        if self._statements.database is not None:
            self._statements.database.note(Trace.ANYTHING, self._session.physicals, changes=False)

    def _begin_in_block(self) -> None:
        """In a ``with`` block, let psycopg2 begin transactions in autocommit mode too."""
        for physical in self._session.alive if self._in_block else ():
            physical.enter_block()

    def _has_characteristics(self) -> bool:
        return any(has_characteristics(physical.raw) for physical in self._session.alive)

    def _set(self, call: Callable[[Any], object], *, sends: bool = True) -> None:
        """Like `_each`, but not while a transaction is open on one of the shards.

        psycopg2 refuses that itself, but only on the shards which have one.
        """
        self._refuse_in_transaction()
        self._each(call, sends=sends)

    def _refuse_in_transaction(self) -> None:
        if any(physical.in_transaction for physical in self._session.alive):
            self._session.check()
            raise errors.ProgrammingError("set_session cannot be used inside a transaction")

    def _each(
        self,
        call: Callable[[Any], object],
        *,
        sends: bool = True,
        ends: bool = False,
        timeout: Deadline | None = None,
    ) -> None:
        """Call something on every connection.

        Args:
            call: What, with psycopg2's connection.
            sends: Whether that may ask the server.
            ends: Whether it rolls back first; psycopg2 does so if it knows of a transaction.
            timeout: What it may take; by default the connection's, from now on.
        """
        session = self._session
        session.check()
        session.check_alive()
        with session.taken(), self._ours():
            # A connection that is late must be waited for, and psycopg2 not be called before.
            if sends or any(physical.late is not None for physical in session.alive):
                calls = {p.shard: partial(_apply, call, p, ends=ends) for p in session.alive}
                session.run(calls, timeout or within(self.timeout))
            else:
                for physical in session.alive:
                    call(physical.raw)
            self._begin_in_block()
            self._statements.endings.look(committed=False)

    # State ----------------------------------------------------------------------------------

    @property
    def status(self) -> int:
        """psycopg2's status; `STATUS_READY` if no shard has a transaction."""
        found = [physical.status for physical in self._session.alive]
        return next((each for each in found if each != STATUS_READY), STATUS_READY)

    def get_transaction_status(self) -> int:
        """libpq's transaction status, the gravest of all shards; unknown if one is lost."""
        session = self._session
        session.check_process()
        found = {p.transaction_status for p in session.alive}
        if session.closed or len(session.alive) < len(session.physicals) or not found:
            return TRANSACTION_UNKNOWN
        return next(status for status in _GRAVEST if status in found)

    @property
    def server_version(self) -> int:
        """The lowest server version among the shards, as in 180003."""
        return int(min(_server_version.read(p.raw) for p in self._session.physicals.values()))

    @property
    def dsn(self) -> str:
        """The home shard's connection string, with ``xxx`` for secrets."""
        return obscured(_dsn.read(self._home_raw()))

    @property
    def info(self) -> PasswordlessInfo:
        """psycopg2's ``ConnectionInfo`` of the home shard, without secrets.

        Its ``status`` and ``transaction_status`` tell of all shards: psycopg2's pool asks for them.
        Where one shard is named (`Connection.on`), it is that one's.

        Switches: if that one must be opened.
        """
        statements = self.__dict__.get("_statements")
        if statements is None:
            return PasswordlessInfo(self._home_raw())
        shards = statements.target.shards
        if len(shards) > 1 or len(self._session.shards) == 1:
            return _InfoOfAll(self)
        if self._session.source is not None and not self._session.closed:
            with self._session.taken():
                self._session.reach(shards, within(self.timeout))
        physical = self._session.physicals.get(shards[0]) or self._session.physical(shards[0])
        return PasswordlessInfo(physical.raw)

    @property
    def async_(self) -> int:
        """Always 0, since asynchronous connections are not supported."""
        return 0

    def get_dsn_parameters(self) -> dict[str, str]:
        """The home shard's connection parameters, without secrets."""
        return without_secrets(self._at_home(RawConnection.get_dsn_parameters))

    def get_parameter_status(self, parameter: str) -> str | None:
        """A setting that the home shard's server reports."""
        value: str | None = self._at_home(RawConnection.get_parameter_status, parameter)
        return value

    def isexecuting(self) -> bool:
        """Whether a statement is running."""
        self._session.check_process()
        return self._session.running

    def poll(self) -> int:
        """Read what the servers have sent: notifications arrive so. Does not wait."""
        if self._waiting():
            return RawConnection.poll(self)  # type: ignore[arg-type]
        self._session.check()
        with self._session.taken(), self._ours():
            for physical in self._session.alive:
                if physical.late is None:
                    RawConnection.poll(physical.raw)
        return POLL_OK

    # Over one shard, and two-phase commit ---------------------------------------------------

    def fileno(self) -> int:
        """The socket, to wait for notifications on it; over one shard."""
        if self._waiting():
            return RawConnection.fileno(self)  # type: ignore[arg-type]
        return int(self._over_one("fileno"))

    def _waiting(self) -> bool:
        """Whether psycopg2's wait callback is asking, which knows this object as one connection."""
        session = self.__dict__.get("_session")
        return session is None or session.inside()

    def get_backend_pid(self) -> int:
        """The server process; over one shard."""
        return int(self._over_one("get_backend_pid"))

    def get_native_connection(self) -> object:
        """A capsule with libpq's connection; over one shard."""
        capsule = self._over_one("get_native_connection")
        if self._statements.database is not None:
            self._statements.database.expose(self._statements.target.shards[0])
        return capsule

    def xid(self, *args: Any) -> Xid:
        """A transaction id for the ``tpc_`` methods."""
        made: Xid = self._at_home(RawConnection.xid, *args)
        return made

    def tpc_begin(self, xid: Any) -> None:
        """Begin a two-phase transaction: of all shards, or of the one chosen by `on`.

        Raises:
            greenshard.NotSupportedError: The shards cannot commit together (GS503).

        Switches: yes.
        """
        if self._over_all(partial(tpc.begin, xid=xid)) is None:
            self._over_one("tpc_begin", xid, switches=True)

    def tpc_prepare(self) -> None:
        """Prepare it; if a shard cannot, it is rolled back on all. Switches: yes."""
        if self._over_all(tpc.prepare) is None:
            self._over_one("tpc_prepare", switches=True)

    def tpc_commit(self, *xid: Any) -> None:
        """Commit it; or what ``tpc_recover`` has told of, wherever it is. Switches: yes."""
        self._tpc_end("tpc_commit", *xid)

    def tpc_rollback(self, *xid: Any) -> None:
        """Roll it back; or what ``tpc_recover`` has told of, wherever it is. Switches: yes."""
        self._tpc_end("tpc_rollback", *xid)

    def _tpc_end(self, name: str, *xid: Any) -> None:
        committed = name == "tpc_commit"
        transaction = self._statements.transaction
        end: Any = partial(tpc.end, transaction=transaction, committed=committed)
        if len(xid) == 1:
            end = partial(tpc.end_recovered, xid=xid[0], committed=committed)
        if len(xid) > 1 or self._over_all(end, ends=committed) is None:
            self._over_one(name, *xid, switches=True)

    def tpc_recover(self) -> list[Xid]:
        """The pending transactions: of all shards, or of the one chosen by `on`. Switches: yes."""
        found = self._over_all(tpc.recover)
        pending: list[Xid] = found[0] if found else self._over_one("tpc_recover", switches=True)
        return pending

    def _over_all(self, call: Callable[..., Any], *, ends: bool | None = None) -> tuple[Any] | None:
        """What a call returns for all shards; None if some were chosen, or they commit one by one.

        Args:
            call: The call, with the session and a deadline.
            ends: Whether it commits the transaction, or rolls it back; None if it does not end it.
        """
        self._session.check()
        statements, session = self._statements, self._session
        if session.members is None or statements.target is not statements.whole:
            return None
        with self._ours(), self._session.taken():
            try:
                return (call(self._session, timeout=within(self.timeout)),)
            finally:
                if ends is not None:
                    self._statements.endings.look(committed=ends)

    def _over_one(self, name: str, *args: Any, switches: bool = False) -> Any:
        self._session.check()
        shards = self._statements.target.shards
        if len(shards) > 1:
            raise errors.NotSupportedError(
                f"{name}() works over one shard, and the connection targets {', '.join(shards)}",
                code="GS403",
                hint="Choose one: with conn.on('...'): ...",
            )
        timeout = within(self.timeout)
        with self._ours():
            if self._session.source is not None:
                with self._session.taken():
                    self._session.reach(shards, timeout)
            physical = self._session.physical(shards[0])
            call = partial(getattr(RawConnection, name), physical.raw, *args)
            if not switches:
                return call()
            with self._session.taken():
                # A second phase that was cancelled would be in doubt; so it is waited for.
                try:
                    if physical.begun:  # psycopg2 says what cannot be done then
                        self._session.run({shards[0]: partial(hand_over, physical)}, timeout)
                    outcome = self._session.run({shards[0]: call}, timeout, cancellable=False)
                finally:
                    self._statements.endings.look(committed=name == "tpc_commit")
                return outcome.jobs[shards[0]].result

    def _at_home(self, call: Callable[..., Any], *args: Any) -> Any:
        self._session.check()
        with self._ours():
            return call(self._home.raw, *args)

    def _home_raw(self) -> Any:
        """psycopg2's connection to the home shard, also while the object is being made."""
        home = self.__dict__.get("_home")
        return self if home is None else home.raw

    def _share_settings(self) -> None:
        """Let all shards' connections have the same settings, and collect messages in one place.

        Raises:
            greenshard.ProgrammingError: Connections that were given open differ.
        """
        self.notices = self.notices
        self.notifies = self.notifies
        alive = self._session.alive
        given = [physical for physical in alive if physical.given]
        if given:
            self._agree(given, [physical for physical in alive if not physical.given])
        differ = [p for p in alive if client_encoding.read(p.raw) != self.encoding]
        if any(physical.in_transaction for physical in differ):
            raise _differ("encoding")  # setting it would roll back
        calls = {
            p.shard: partial(RawConnection.set_client_encoding, p.raw, self.encoding)
            for p in differ
        }
        if calls:
            self._session.run(calls, within(self.timeout))

    def _agree(self, given: Sequence[Physical], new: Sequence[Physical]) -> None:
        """Give the new connections what the open ones have."""
        for name in ("autocommit", "isolation_level", "readonly", "deferrable"):
            attribute = Attribute(RawConnection, name)
            values = [attribute.read(physical.raw) for physical in given]
            if len(set(values)) > 1:
                raise _differ(name)
            calls = {p.shard: partial(attribute.write, p.raw, values[0]) for p in new}
            if calls:
                self._session.run(calls, within(self.timeout))

    # What green mode cannot do --------------------------------------------------------------

    def lobject(self, *args: object, **kwargs: object) -> NoReturn:
        """Not supported.

        Raises:
            greenshard.NotSupportedError: Always.
        """
        refuse_large_objects()
