"""One physical connection: how it is opened, and how what runs on it is cancelled."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from greenshard import _green
from greenshard._driver import (
    STATUS_READY,
    Attribute,
    DriverError,
    DriverOperationalError,
    Dsn,
    RawConnection,
    RawCursor,
    own_cursor,
)

#: Pauses between two cancel requests, in seconds: the first, and the longest.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.5

closed = Attribute(RawConnection, "closed")
status = Attribute(RawConnection, "status")
autocommit = Attribute(RawConnection, "autocommit")


@dataclass(slots=True, eq=False)
class Physical:
    """A connection to the database of one shard.

    Attributes:
        shard: The shard's name.
        dsn: What it was opened with; cancelling connects with it again.
        given: Whether the user opened it.
        started: When the server process started, by its own clock. With the process id it
            identifies the process, so that no cancel can hit another one: behind a load balancer
            the second connection may reach another server, and behind a pooler the process id
            is made up. None if it could not be asked.
        worker: The greenlet that its calls run in.
        beside: For a connection that is not the shard's own but a second one to its database, the
            shard's name; `shard` is then a name that no shard has.
    """

    shard: str
    dsn: Dsn
    _reference: Callable[[], Any]
    given: bool = False
    started: str | None = None
    worker: _green.Worker | None = None
    beside: str | None = None
    _address: Dsn | None = None

    @classmethod
    def new(cls, shard: str, dsn: Dsn) -> Physical:
        """A connection to be opened."""
        raw = RawConnection.__new__(RawConnection)
        return cls(shard, dsn, lambda: raw)

    @classmethod
    def second(cls, name: str, shard: Physical) -> Physical:
        """Another connection to a shard's database, to be opened."""
        second = cls.new(name, shard.dsn)
        second.beside = shard.shard
        return second

    @classmethod
    def embodied(cls, shard: str, dsn: Dsn, logical: RawConnection) -> Physical:
        """A connection to be opened that is the logical connection itself.

        The reference is weak: a cycle would keep connections open until the garbage collector runs.
        """
        return cls(shard, dsn, weakref.ref(logical))

    @classmethod
    def of_open(cls, shard: str, raw: RawConnection) -> Physical:
        """A connection that the user opened."""
        return cls(shard, Dsn.of(raw), lambda: raw, given=True)

    @property
    def raw(self) -> RawConnection:
        """psycopg2's connection."""
        raw: RawConnection = self._reference()
        return raw

    @property
    def alive(self) -> bool:
        """Whether the connection is open, as far as psycopg2 knows without asking the server."""
        raw = self._reference()
        # None when the logical connection that it is is being finalized.
        return raw is not None and closed.read(raw) == 0

    @property
    def in_transaction(self) -> bool:
        """Whether psycopg2 has begun a transaction that has not ended."""
        return bool(status.read(self.raw) != STATUS_READY)

    @property
    def transaction_status(self) -> int:
        """libpq's state of the transaction."""
        return RawConnection.get_transaction_status(self.raw)

    def open(self) -> None:
        """Connect, unless the user has.

        Switches: yes. Cost: the connection, and one round trip to learn `started`.
        """
        if not self.given:
            self._connect()
        if not self.in_transaction:
            self.learn_start()

    def _connect(self) -> None:
        """Connect; green mode's messages do not say to which server."""
        try:
            address = self.dsn.resolved()
            self._address = Dsn(address)
            RawConnection.__init__(self.raw, address)
        except DriverError as exc:
            message = str(exc)
            if "connection to server" in message:
                raise
            raise DriverOperationalError(
                f"connection to {self.dsn.server} failed: {message}"
            ) from exc

    def learn_start(self) -> None:
        """Ask the server when its process started, outside of any transaction.

        Switches: yes. Cost: one round trip.
        """
        raw = self.raw
        before = autocommit.read(raw)
        autocommit.write(raw, True)
        try:
            cursor = own_cursor(raw)
            cursor.execute("SELECT backend_start::text FROM pg_stat_get_activity(pg_backend_pid())")
            row = cursor.fetchone()
            self.started = row[0] if row else None
        finally:
            if self.alive:
                autocommit.write(raw, before)

    def roll_back(self) -> None:
        """Roll back. Switches: yes."""
        RawConnection.rollback(self.raw)

    def discard(self) -> None:
        """Close the connection at once, whatever the server is doing for it."""
        self.worker = None
        raw = self._reference()
        if raw is not None:
            with suppress(DriverError):
                RawConnection.close(raw)

    def cancel_while(self, running: Callable[[], bool]) -> None:
        """Cancel what the server runs for this connection, until `running` says it ended.

        A request that reaches the server between BEGIN and the statement is ignored there, so it
        is repeated. When this returns, every request has been delivered: the server signals its
        process before it answers, and a process sees a signal before anything that is sent to it
        later; so no request can hit the next statement.

        Switches: yes.
        Source: PostgreSQL manual, 9.28.2 "Server Signaling Functions"; ``PostgresMain`` in
        postgres.c drops a cancel that arrives while it waits for a command.
        """
        pause_s = _FIRST_PAUSE_S
        try:
            dsn = self._cancelling_dsn()
        except DriverError:
            # There may be no network; a request by key would then block the process for minutes.
            return
        try:
            with _Canceller(self, dsn) as cancel:
                while running():
                    cancel()
                    _green.sleep(pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        except DriverError:
            # The server answers but gives no second session (it is out of connection slots), or
            # is gone, in which case this fails at once.
            while running():
                self._cancel_by_key()
                _green.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _cancelling_dsn(self) -> str:
        """Where to cancel: at the address connected to, also if its name means nothing now."""
        dsn = self._address or self.dsn
        return dsn.with_parameters(application_name="greenshard cancel").resolved()

    def _cancel_by_key(self) -> None:
        """The protocol's own cancel request. It needs no session, but blocks the process meanwhile.

        Hence only where the server, or the pooler before it, has just answered.
        """
        with suppress(DriverError):
            RawConnection.cancel(self.raw)


class _Canceller:
    """A second session on the server of `physical`, called once for each request."""

    def __init__(self, physical: Physical, dsn: str) -> None:
        self._physical = physical
        self._dsn = dsn
        self._pid = RawConnection.get_backend_pid(physical.raw)

    def __enter__(self) -> Callable[[], None]:
        self._session = RawConnection(self._dsn)
        self._session.autocommit = True
        self._cursor = RawCursor(self._session)
        return self._cancel

    def __exit__(self, *exc: object) -> None:
        self._session.close()

    def _cancel(self) -> None:
        self._cursor.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_get_activity(%s)"
            " WHERE backend_start = %s::timestamptz",
            (self._pid, self._physical.started),
        )
        if self._cursor.fetchone() != (True,):
            self._physical._cancel_by_key()
