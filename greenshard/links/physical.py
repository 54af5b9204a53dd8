"""One physical connection: how it is opened, and how what runs on it is cancelled."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

from greenshard import _green, errors
from greenshard._driver import (
    STATUS_BEGIN,
    STATUS_READY,
    TRANSACTION_FAILED,
    TRANSACTION_IDLE,
    Attribute,
    DriverError,
    DriverOperationalError,
    DriverProgrammingError,
    Dsn,
    RawConnection,
    RawCursor,
    Route,
    Wire,
    ours,
    own_cursor,
)
from greenshard._libpq import last_error, request_cancel, server_tried, whole_errors
from greenshard.links.bearings import Bearings
from greenshard.links.rejection import read_failure
from greenshard.planner.place import Place

#: The part of the time that servers which do not answer may have together, nearly.
_SHARE = 0.8

#: Pauses between two cancel requests, in seconds: the first, and the longest.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.5
#: Nothing is to be done; made once, for it is asked for in each step of a commit.
_AS_IT_IS = nullcontext()

#: SQLSTATEs: there is no such prepared transaction; it is another role's.
NO_SUCH_OBJECT, _DENIED = "42704", "42501"

closed = Attribute(RawConnection, "closed")
status = Attribute(RawConnection, "status")
autocommit = Attribute(RawConnection, "autocommit")
client_encoding = Attribute(RawConnection, "encoding")
isolation_level = Attribute(RawConnection, "isolation_level")
string_types = Attribute(RawConnection, "string_types")
_readonly = Attribute(RawConnection, "readonly")
_info = Attribute(RawConnection, "info")
_deferrable = Attribute(RawConnection, "deferrable")
notices = Attribute(RawConnection, "notices")


def has_characteristics(raw: RawConnection) -> bool:
    """Whether something was chosen for the transactions of a connection.

    If not, psycopg2 sends nothing to the server when autocommit changes.
    """
    return (
        isolation_level.read(raw) is not None
        or _readonly.read(raw) is not None
        or _deferrable.read(raw) is not None
    )


def commit_alone(raw: RawConnection) -> None:
    """Let each statement commit by itself, with what was chosen for transactions.

    Switches: if something was. Cost: then up to six round trips.
    """
    autocommit.write(raw, True)
    if not has_characteristics(raw):
        return
    # psycopg2 tells the server only what changes, and takes this for told.
    attributes = {
        "isolation_level": isolation_level,
        "readonly": _readonly,
        "deferrable": _deferrable,
    }
    chosen = {name: each.read(raw) for name, each in attributes.items()}
    RawConnection.set_session(raw, **dict.fromkeys(chosen, "DEFAULT"))  # type: ignore[arg-type]
    RawConnection.set_session(raw, **chosen)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a server says of itself, to a session.

    Attributes:
        started: When the server was started.
        database: The database's OID.
        standby: Whether the server is one.
        path: The schemas that the session looks into, whatever their order: a table that one of
            them has is found in any.
        pid: The session's process there.
    """

    started: str
    database: int
    standby: bool
    path: str | None
    pid: int


def begins_by_itself(raw: RawConnection) -> bool:
    """Whether psycopg2 would begin a transaction with the next statement, by a plain ``BEGIN``.

    Cost: 1 us.
    """
    return (
        not autocommit.read(raw)
        and status.read(raw) == STATUS_READY
        and not has_characteristics(raw)
    )


@dataclass(slots=True, eq=False)
class Physical:
    """A connection to the database of one shard.

    Attributes:
        shard: The shard's name.
        dsn: What it was opened with.
        raw: psycopg2's connection.
        given: Whether the user opened it.
        worker: The greenlet that its calls run in.
        beside: Its place, if it is not the shard's own but a further one to its database.
        identity: What the server says of itself, if it was asked and does.
        bearings: The session's, as it told them last; None if they must be asked for.
        bearings_at: When it was asked, of the monotonic clock.
        session_user: Who the session was when it was asked first.
        begun: Whether a transaction was begun that psycopg2 does not know of (`beginning`). Until
            commit() or rollback() the connection is in autocommit mode then.
        aside: Whether it is in autocommit mode only for what is asked meanwhile; it may be late.
        begun_at: When such a transaction was begun last, of the monotonic clock.
        entered: Whether it is in a ``with`` block of psycopg2's, in which that always begins.
        answered_at: When it has last answered a statement, of the monotonic clock; 0 before.
        late: The greenlet of a call that is not waited for (`hedge`). Until it has ended, psycopg2
            must not be called on the connection: that would freeze the thread.
        after_late: What is to be done as soon as that call has ended; it sends nothing.
        stop_copy: What lets the COPY from or to the client fail that runs there, beside the request
            to cancel: its server may be waiting for rows, and see no request.
        status_before: libpq's state of the transaction when it began, which it leaves as it was.
        prepared: What its transaction is prepared as, which it has still to end.
        in_tpc: Whether psycopg2's ``tpc_begin()`` has begun it.
    """

    shard: str
    dsn: Dsn
    raw: RawConnection = field(repr=False)  # the program's own show some secrets
    given: bool = False
    worker: _green.Worker | None = None
    beside: Place | None = None
    identity: Identity | None = None
    bearings: Bearings | None = None
    bearings_at: float = 0.0
    session_user: str | None = None
    begun: bool = False
    aside: bool = False
    begun_at: float = 0.0
    entered: bool = False
    answered_at: float = 0.0
    late: _green.Worker | None = None
    after_late: Callable[[], object] | None = None
    stop_copy: Callable[[], None] | None = None
    status_before: int = TRANSACTION_IDLE
    prepared: str | None = None
    in_tpc: bool = False

    @classmethod
    def new(cls, shard: str, dsn: Dsn) -> Physical:
        """A connection to be opened."""
        return cls(shard, dsn, Wire.__new__(Wire))

    @classmethod
    def embodied(cls, shard: str, dsn: Dsn, logical: RawConnection) -> Physical:
        """A connection to be opened that is the logical connection itself."""
        return _Embodied(shard, dsn, logical)

    @classmethod
    def second(cls, place: Place, dsn: Dsn) -> Physical:
        """A further connection to a shard's database, to be opened."""
        second = cls.new(place.shard, dsn)
        second.beside = place
        return second

    @classmethod
    def of_open(cls, shard: str, raw: RawConnection) -> Physical:
        """A connection that the user opened."""
        return cls(shard, Dsn.of(raw), raw, given=True)

    @property
    def alive(self) -> bool:
        """Whether the connection is open, as far as psycopg2 knows without asking the server."""
        return not closed.read(self.raw)

    @property
    def user(self) -> str:
        """Who has connected."""
        return str(_info.read(self.raw).user)

    @property
    def backend_pid(self) -> int:
        """Who serves the session, as it was told when it began: a server's process, or a pooler."""
        return int(_info.read(self.raw).backend_pid)

    @property
    def server_pid(self) -> int | None:
        """The server's process; None if it is not known, as behind a pooler."""
        pid = self.backend_pid
        return pid if self.identity is not None and self.identity.pid == pid else None

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction was begun, by psycopg2 or with a statement, that has not ended."""
        return self.begun or bool(status.read(self.raw) != STATUS_READY)

    @property
    def status(self) -> int:
        """psycopg2's status, also of a transaction that it has not begun."""
        return STATUS_BEGIN if self.begun else status.read(self.raw)

    @property
    def autocommit(self) -> bool:
        """Whether each statement is its own transaction, as the program wants it."""
        return not (self.begun or self.aside) and bool(autocommit.read(self.raw))

    @property
    def would_begin(self) -> bool:
        """Whether the next statement would begin a transaction."""
        # In a `with` block psycopg2 begins one in autocommit mode, too.
        begins = self.aside or not autocommit.read(self.raw) or self.entered
        return begins and not self.in_transaction

    @property
    def commits_alone(self) -> bool:
        """Whether the next statement would commit by itself."""
        return self.idle and not self.would_begin

    @property
    def transaction_status(self) -> int:
        """libpq's state of the transaction, whatever nobody waits for there."""
        if self.late is not None:  # libpq only says that something is running
            return self.status_before
        return RawConnection.get_transaction_status(self.raw)

    @property
    def idle(self) -> bool:
        """Whether the server has no transaction."""
        if self.late is not None:
            return self.status_before == TRANSACTION_IDLE
        return RawConnection.get_transaction_status(self.raw) == TRANSACTION_IDLE

    @property
    def failed(self) -> bool:
        """Whether the server takes nothing but the end of a transaction."""
        if self.late is not None:
            return self.status_before == TRANSACTION_FAILED
        return RawConnection.get_transaction_status(self.raw) == TRANSACTION_FAILED

    def open(self, timeout_s: float | None = None) -> None:
        """Connect; or see that what the user opened still answers.

        Args:
            timeout_s: Seconds after which the caller gives up. Of several servers, each that does
                not answer gets its share of it; libpq's own timeout has no effect here.

        Switches: yes.
        """
        if self.given:
            # In the middle of a transaction, even SELECT 1 would be part of it.
            if not self.in_transaction:
                self.check()
            return
        try:
            self._connect(self.dsn.route(), timeout_s)
        except HomeSilent:
            raise
        except Exception as exc:
            raise self._failure(exc) from exc

    def _connect(self, route: Route, timeout_s: float | None) -> None:
        end = time.monotonic() + (timeout_s or 0.0)
        while timeout_s is not None and route.count > 1:
            # host=a,b: libpq would wait for a until its own timeout, which has no effect in green
            # mode.
            patience = _Patience(self.raw, route, _SHARE * (end - time.monotonic()) / route.count)
            try:
                with (
                    whole_errors(self.raw),
                    _green.interrupted(patience.judge, patience.share_s / 8),
                ):
                    RawConnection.__init__(self.raw, route.text)
                return
            except _Silent as silent:
                route = route.without(silent.number)
                self._renew(route, end - time.monotonic())
        with whole_errors(self.raw):
            RawConnection.__init__(self.raw, route.text)

    def _renew(self, route: Route, left_s: float) -> None:
        """Give up the connection that psycopg2 cannot open any more, for another one."""
        self.discard()
        self.raw = Wire.__new__(Wire)

    def _failure(self, error: Exception) -> DriverError:
        """Why the connection could not be opened.

        Whatever psycopg2 raises, it is the shard's failure: it may not even be able to read what
        the server says, which comes in the encoding of the server's machine.
        """
        # psycopg2 cannot read a message in Latin-1, and raises UnicodeDecodeError in its place.
        said = last_error(self.raw).decode("utf-8", "backslashreplace")
        message, sqlstate, stays = read_failure(said or str(error) or type(error).__name__)
        if "connection to server" not in message:
            # Green mode's messages do not say to which server.
            message = f"connection to {self.dsn.server} failed: {message}"
        if stays:
            return errors.rejected(message.rstrip("\n"), self.shard, sqlstate)
        return DriverOperationalError(message)

    def check(self) -> None:
        """Let the server show that it answers, outside of any transaction.

        Raises:
            DriverError: It does not.

        Switches: yes. Cost: one round trip.
        """
        with self.beginning_nothing():
            RawCursor(self.raw).execute("SELECT 1")

    def ping(self) -> None:
        """Let the server show that it answers, in a transaction too, also in one that has failed.

        Raises:
            DriverError: It does not.

        Switches: yes. Cost: one round trip.
        """
        # A server answers that this is no statement, whatever its transaction has come to.
        with self.beginning_nothing(), suppress(DriverProgrammingError):
            RawCursor(self.raw).execute("--")

    def beginning_nothing(self) -> AbstractContextManager[None]:
        """Let what is sent meanwhile begin no transaction, if there is none."""
        if autocommit.read(self.raw) or self.in_transaction:
            return _AS_IT_IS
        return self._aside()

    @contextmanager
    def _aside(self) -> Iterator[None]:
        raw = self.raw
        autocommit.write(raw, True)
        self.aside = True
        try:
            yield
        finally:
            self.aside = False
            if self.alive:
                autocommit.write(raw, False)

    def commit(self, before: str = "", *, decides: bool = False) -> None:
        """Commit, whoever has begun the transaction; what is prepared, too.

        Args:
            before: SQL to run before, in the same message where psycopg2 has not begun the
                transaction. If it fails, the transaction is open, and has failed.
            decides: Whether it is an error that the server rolls back instead, as it does with a
                transaction that has failed.

        Raises:
            errors.InternalError: It has; there is no transaction any more.

        Switches: yes.
        """
        if self.prepared is not None:
            self._end_prepared("COMMIT PREPARED %s")
            return
        if self.begun or self.in_tpc:
            cursor = RawCursor(self.raw)
            try:
                # psycopg2's commit() would send nothing, as it knows of no transaction, or refuse.
                cursor.execute(f"{before}COMMIT")
            finally:
                if self.idle or not self.alive:
                    self.forget_transaction()  # however it has ended, as psycopg2 does
            if decides and cursor.statusmessage == "ROLLBACK":
                raise rolled_back(self.shard)
            return
        if before and not self.idle:
            self._execute_alone(before)
        if decides and self.failed:
            self.roll_back()
            raise rolled_back(self.shard)
        if not (self.in_transaction or self.idle):
            self._end_by_sql("COMMIT")
        RawConnection.commit(self.raw)

    def roll_back(self) -> None:
        """Roll back, whoever has begun the transaction; what is prepared, too. Switches: yes."""
        if self.prepared is not None:
            self._end_prepared("ROLLBACK PREPARED %s")
            return
        if self.in_tpc:
            RawConnection.tpc_rollback(self.raw)
            return
        if self.begun:
            # No finally, unlike COMMIT: if this does not arrive, the transaction is still there.
            RawCursor(self.raw).execute("ROLLBACK")
            self.leave_to_psycopg2()
            return
        if not (self.in_transaction or self.idle):
            self._end_by_sql("ROLLBACK")
        RawConnection.rollback(self.raw)

    def prepare(self, gid: str) -> None:
        """Prepare the transaction for two-phase commit, whoever has begun it.

        commit() and roll_back() then end what is prepared.

        Args:
            gid: As what.

        Raises:
            errors.InternalError: The server has rolled back instead: the transaction had failed.

        Switches: yes. Cost: one round trip.
        """
        prepared = False
        try:
            cursor = self._execute_alone("PREPARE TRANSACTION %s", (ours(gid),))
            # To PostgreSQL, PREPARE of a failed transaction is a ROLLBACK without an error.
            prepared = cursor.statusmessage == "PREPARE TRANSACTION"
        finally:
            if prepared:
                self.prepared = gid
            elif self.alive and self.idle:
                self.forget_transaction()
        if not prepared:
            raise rolled_back(self.shard)

    def leave_prepared(self) -> None:
        """Leave to others what is prepared. Switches: if psycopg2 has begun the transaction."""
        self.prepared = None
        self.forget_transaction()

    def _end_prepared(self, text: str) -> None:
        try:
            self._execute_alone(text, (ours(self.prepared),))
        except DriverError as error:
            if error.pgcode == _DENIED:
                self._end_as_session_user(text)
            elif error.pgcode != NO_SUCH_OBJECT:
                raise
            # Somebody who recovers was faster, and has done the same: there is one verdict.
        self.leave_prepared()

    def _end_as_session_user(self, text: str) -> None:
        """End what is prepared as who has connected, who has prepared it; then be who we were."""
        role = self.role()
        self.set_role("none", local=False)
        try:
            self._execute_alone(text, (ours(self.prepared),))
        finally:
            if self.alive:
                self.set_role(role, local=False)

    def role(self) -> str:
        """The role that the program has set; "none" for the one that has connected.

        Switches: yes. Cost: one round trip.
        """
        cursor = self._execute_alone("SELECT pg_catalog.current_setting('role')")
        row: Any = cursor.fetchone()
        return str(row[0])

    def set_role(self, name: str, *, local: bool) -> None:
        """Set it, for the transaction or the session. Switches, Cost: see `role`."""
        given = (ours(name), local)
        self._execute_alone("SELECT pg_catalog.set_config('role', %s, %s)", given)

    def _execute_alone(self, text: str, given: Any = None) -> RawCursor:
        """Execute a statement, before which psycopg2 must send no BEGIN of its own."""
        cursor = own_cursor(self.raw)
        with self.beginning_nothing():
            cursor.execute(text, given)
        return cursor

    def forget_transaction(self) -> None:
        """Let psycopg2 know that no transaction is open any more."""
        if self.begun:
            self.leave_to_psycopg2()
        elif self.alive and status.read(self.raw) != STATUS_READY:
            # It sends a COMMIT, of which PostgreSQL warns. The warning is ours, not the program's.
            told = notices.read(self.raw)
            notices.write(self.raw, [])
            try:
                end = RawConnection.tpc_rollback if self.in_tpc else RawConnection.commit
                end(self.raw)
            finally:
                notices.write(self.raw, told)

    def _end_by_sql(self, text: str) -> None:
        """End a transaction that SQL has begun in autocommit mode, and psycopg2 does not know.

        In a ``with`` block psycopg2 sends a BEGIN of its own before, of which the server warns:
        then it must be told of the end.
        """
        with self.beginning_nothing():
            RawCursor(self.raw).execute(text)

    def leave_to_psycopg2(self) -> None:
        """Leave it to psycopg2 to begin transactions: no other is open, as far as it knows."""
        self.begun = False
        if self.alive:
            autocommit.write(self.raw, False)

    def enter_block(self) -> None:
        """Let psycopg2 begin transactions in autocommit mode too, as in its ``with`` block.

        Else it need not be told: then the first statement can bring its BEGIN with it.
        """
        if self.autocommit and not self.entered:
            RawConnection.__enter__(self.raw)
            self.entered = True

    def leave_block(self, *exc: Any) -> None:
        """Leave that block, in which nothing is open any more: psycopg2 would commit it.

        A connection that is late is closed instead: psycopg2 would freeze the thread.
        """
        if not self.entered:
            return
        self.entered = False
        if self.late is None:
            RawConnection.__exit__(self.raw, *exc)
        else:
            self.discard()

    def discard(self) -> None:
        """Close the connection at once, whatever the server is doing for it."""
        self.worker = None
        if self.late is not None:
            # psycopg2 closes a connection whose wait callback raises. Until then it is late: to
            # close it from here, too, would freeze the thread.
            if not self.late.stopped:
                self.late.stop()
            return
        with suppress(DriverError):
            RawConnection.close(self.raw)

    def become_late(self, greenlet: _green.Worker | None) -> None:
        """Take note of a call that may not be waited for; see `late`.

        What psycopg2 knows does not do: SQL may have begun a transaction in autocommit mode, or
        ended the one that psycopg2 has begun.
        """
        self.status_before = RawConnection.get_transaction_status(self.raw)
        self.late = greenlet

    def end_late(self) -> None:
        """Take note that such a call has ended: psycopg2 can be called again."""
        self.late, after, self.after_late = None, self.after_late, None
        if after is not None and self.alive:
            after()

    def wait_late(self, grace_s: float) -> None:
        """Wait until a call that nobody waited for has ended, so that psycopg2 can be called.

        Args:
            grace_s: How long, in seconds, to wait for a call of another thread: that may not run
                its greenlets any more.

        Raises:
            errors.InterfaceError: It does not end.

        Switches: while there is such a call.
        """
        end = time.monotonic() + grace_s
        while (late := self.late) is not None:
            if not late.is_here and time.monotonic() >= end:
                raise errors.InterfaceError(
                    f"the connection to shard {self.shard} is still waiting for its server",
                    code="GS203",
                    shard=self.shard,
                    hint="Connect again; what was not committed on it is rolled back.",
                )
            _green.sleep(_green.LOOK_S)

    def cancel_while(self, running: Callable[[], bool]) -> None:
        """Cancel what the server runs for this connection, until `running` says it ended.

        A request that reaches the server between BEGIN and the statement is ignored there, so it
        is repeated. When this returns every request has been delivered, so that none can hit the
        next statement.

        Switches: yes.
        Source: ``PostgresMain`` in postgres.c drops a cancel that arrives while it waits for a
        command.
        """
        pause_s = _FIRST_PAUSE_S
        while running():
            if self.stop_copy is not None:
                self.stop_copy()
            request_cancel(self.raw)
            _green.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def rolled_back(shard: str) -> errors.Error:
    """The error if a server has rolled back a transaction that was to be committed."""
    error = errors.refused(
        f"shard {shard} rolled the transaction back instead of committing it: it had failed there",
        code="GS501",
        pgcode="25P02",
    )
    error.shard = shard
    return error


class HomeSilent(Exception):
    """The logical connection's own came to a server that does not answer; others are left.

    Attributes:
        dsn: How to connect to those.
        left_s: Seconds that are left for it.
    """

    def __init__(self, dsn: Dsn, left_s: float) -> None:
        super().__init__()
        self.dsn, self.left_s = dsn, left_s


class _Silent(Exception):
    """A server of several does not answer."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Patience:
    """Watches connecting to one of several servers."""

    def __init__(self, raw: RawConnection, route: Route, share_s: float) -> None:
        self.share_s = max(share_s, 0.01)
        self._raw, self._route = raw, route
        self._number: int | None = None
        self._since = 0.0

    def judge(self) -> _Silent | None:
        """Whether the server that is tried has had its share of the time."""
        now, number = time.monotonic(), self._route.where(*server_tried(self._raw))
        if number != self._number:
            self._number, self._since = number, now
        elif number is not None and now - self._since >= self.share_s:
            return _Silent(number)
        return None


class _Embodied(Physical):
    """A connection that is the logical connection itself.

    The reference is weak: a cycle would keep connections open until the garbage collector runs.
    """

    __slots__ = ("_reference",)

    @property
    def raw(self) -> Any:
        """psycopg2's connection; None while it is being finalized."""
        return self._reference()

    @raw.setter
    def raw(self, raw: RawConnection) -> None:
        self._reference = weakref.ref(raw)

    @property
    def alive(self) -> bool:
        """Whether the connection is open, as far as psycopg2 knows without asking the server."""
        raw = self._reference()
        return raw is not None and closed.read(raw) == 0

    def discard(self) -> None:
        """Close the connection at once, whatever the server is doing for it."""
        # Being finalized, it is closed by psycopg2 itself.
        if self._reference() is not None:
            super().discard()

    def _renew(self, route: Route, left_s: float) -> None:
        """The object is the connection: whoever made it must make another one."""
        raise HomeSilent(Dsn(route.text), max(left_s, 0.01)) from None
