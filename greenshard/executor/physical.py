"""One physical connection: how it is opened, and how what runs on it is cancelled."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from greenshard import _green, errors
from greenshard._driver import (
    STATUS_READY,
    Attribute,
    DriverError,
    DriverOperationalError,
    Dsn,
    RawConnection,
    RawCursor,
    Wire,
)
from greenshard._libpq import last_error, request_cancel, whole_errors
from greenshard.executor.rejection import read_failure

if TYPE_CHECKING:
    from greenshard.executor.identity import Identity

#: Pauses between two cancel requests, in seconds: the first, and the longest.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.5

closed = Attribute(RawConnection, "closed")
status = Attribute(RawConnection, "status")
autocommit = Attribute(RawConnection, "autocommit")
_isolation_level = Attribute(RawConnection, "isolation_level")
_readonly = Attribute(RawConnection, "readonly")
_deferrable = Attribute(RawConnection, "deferrable")


def has_characteristics(raw: RawConnection) -> bool:
    """Whether something was chosen for the transactions of a connection.

    If not, psycopg2 sends nothing to the server when autocommit changes.
    """
    return (
        _isolation_level.read(raw) is not None
        or _readonly.read(raw) is not None
        or _deferrable.read(raw) is not None
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
        beside: For a connection that is not the shard's own but a second one to its database, the
            shard's name; `shard` is then a name that no shard has.
        identity: What the server says of itself, if it was asked and does.
    """

    shard: str
    dsn: Dsn
    raw: RawConnection = field(repr=False)  # the program's own show some secrets
    given: bool = False
    worker: _green.Worker | None = None
    beside: str | None = None
    identity: Identity | None = None

    @classmethod
    def new(cls, shard: str, dsn: Dsn) -> Physical:
        """A connection to be opened."""
        return cls(shard, dsn, Wire.__new__(Wire))

    @classmethod
    def embodied(cls, shard: str, dsn: Dsn, logical: RawConnection) -> Physical:
        """A connection to be opened that is the logical connection itself."""
        return _Embodied(shard, dsn, logical)

    @classmethod
    def second(cls, name: str, shard: Physical) -> Physical:
        """Another connection to a shard's database, to be opened."""
        second = cls.new(name, shard.dsn)
        second.beside = shard.shard
        return second

    @classmethod
    def of_open(cls, shard: str, raw: RawConnection) -> Physical:
        """A connection that the user opened."""
        return cls(shard, Dsn.of(raw), raw, given=True)

    @property
    def alive(self) -> bool:
        """Whether the connection is open, as far as psycopg2 knows without asking the server."""
        return bool(closed.read(self.raw) == 0)

    @property
    def in_transaction(self) -> bool:
        """Whether psycopg2 has begun a transaction that has not ended."""
        return bool(status.read(self.raw) != STATUS_READY)

    @property
    def transaction_status(self) -> int:
        """libpq's state of the transaction."""
        return RawConnection.get_transaction_status(self.raw)

    def open(self) -> None:
        """Connect; or see that what the user opened still answers.

        Switches: yes.
        """
        if self.given:
            if not self.in_transaction:
                self.check()
            return
        try:
            text = self.dsn.resolved()
            with whole_errors(self.raw):
                RawConnection.__init__(self.raw, text)
        except Exception as exc:
            raise self._failure(exc) from exc

    def _failure(self, error: Exception) -> DriverError:
        """Why the connection could not be opened.

        Whatever psycopg2 raises, it is the shard's failure: it may not even be able to read what
        the server says, which comes in the encoding of the server's machine.
        """
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

    @contextmanager
    def beginning_nothing(self) -> Iterator[None]:
        """Let what is sent meanwhile begin no transaction, if there is none."""
        raw = self.raw
        before = autocommit.read(raw)
        if before or self.in_transaction:
            yield
            return
        autocommit.write(raw, True)
        try:
            yield
        finally:
            if self.alive:
                autocommit.write(raw, before)

    def roll_back(self) -> None:
        """Roll back. Switches: yes."""
        RawConnection.rollback(self.raw)

    def discard(self) -> None:
        """Close the connection at once, whatever the server is doing for it."""
        self.worker = None
        with suppress(DriverError):
            RawConnection.close(self.raw)

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
            request_cancel(self.raw)
            _green.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


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
        if self._reference() is not None:
            super().discard()
