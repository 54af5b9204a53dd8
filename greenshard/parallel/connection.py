"""Several open connections as one, with the interface of 2015."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from greenshard import _green, errors
from greenshard._driver import RawConnection
from greenshard.connection import Connection
from greenshard.dbapi import connect
from greenshard.parallel.threads import Threads, busy


class ParallelConnection:
    """Several open connections as one: a statement runs on all of them, its rows are one answer.

    If all are psycopg2's, each runs in a greenlet, and cursors are `Cursor`, whose ``connection``
    is the `Connection` with all that it can do (``timeout``, ``on``, ``broadcast``). psycopg2 is
    patched with psycogreen on first use, unless a wait callback is installed.

    Connections of other PEP 249 drivers, or of several drivers, run in a thread each, which their
    driver must allow (``sqlite3.connect(..., check_same_thread=False)``):

    - ``execute`` fetches all rows. An INSERT is refused, with several connections.
    - An error is the driver's own, raised when all threads have ended. Its ``shard`` names the
      connection ("s0", "s1", ...); if several failed, its ``failures`` has them all.
    - A ``gevent.Timeout`` or a kill cannot end a thread. A connection with a method ``interrupt``
      (sqlite3) is interrupted. The call ends when all threads have ended, or after 5 seconds; while
      a thread still runs then, every call but a cursor's ``close`` is refused.

    A cursor also has this object's ``commit``, ``rollback`` and ``putconn``; this object also has
    its last cursor's ``execute``, ``fetchone``, ``fetchall`` and ``mogrify``.

    Args:
        connections: Open connections, in the order of their rows. Nothing is done with them before
            the first cursor is made.

    Raises:
        greenshard.ProgrammingError: There are none, or one is given twice.
    """

    def __init__(self, connections: Iterable[Any]) -> None:
        self._connections = list(connections)
        if len({id(connection) for connection in self._connections}) < len(self._connections):
            raise _unusable("a connection is given twice")
        if not self._connections:
            raise _unusable("there are no connections")
        self._logical: Connection | Threads | None = None
        self._last: Any = None
        self._changing = _green.NativeLock()
        self._end = ""

    def __repr__(self) -> str:
        return f"<greenshard.ParallelConnection of {len(self._connections)}: {self._end or 'open'}>"

    @property
    def closed(self) -> int:
        """0 while open, 2 if a connection of psycopg2 is gone, 1 after `close` or `putconn`."""
        return 1 if self._end else self._logical.closed if self._logical else 0

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """A new cursor; the arguments are those of the connections' own ``cursor``.

        Raises:
            greenshard.Error: A connection of psycopg2 is closed, or its server gone.

        Switches: yes.
        """
        cursor = self._opened().cursor(*args, **kwargs)
        cursor.commit, cursor.rollback, cursor.putconn = self.commit, self.rollback, self.putconn
        self._last = cursor
        return cursor

    def execute(self, query: Any, args: Any = None) -> None:
        """Execute with the last cursor made. Switches: yes."""
        self._last_cursor().execute(query, args)

    def fetchone(self) -> Any:
        """The last cursor's next row, or None."""
        return self._last_cursor().fetchone()

    def fetchall(self) -> list[Any]:
        """The last cursor's rows that are left."""
        rows: list[Any] = self._last_cursor().fetchall()
        return rows

    def mogrify(self, query: Any, args: Any = None) -> Any:
        """The statement as the last cursor would send it, if its driver can tell."""
        return self._last_cursor().mogrify(query, args)

    def commit(self) -> None:
        """Commit on every connection.

        Raises:
            greenshard.PartialCommitError: Over psycopg2: some have committed, others not. Another
                driver's own error tells which have not.

        Switches: yes.
        """
        self._opened().commit()

    def rollback(self) -> None:
        """Roll back on every connection. Switches: yes."""
        self._opened().rollback()

    def close(self) -> None:
        """Close every connection; `putconn` gives those of pools back open.

        Switches: yes, but over psycopg2.
        """
        with self._changed():
            if not self._end:
                (self._logical or Threads(self._connections)).close()
                self._end, self._last = "closed", None

    def putconn(self, pools: Iterable[Any]) -> None:
        """Roll back and give each connection to its pool; afterwards this object is of no use.

        Args:
            pools: One for each connection, in the same order, each with a method ``putconn``.

        Raises:
            greenshard.ProgrammingError: There is not one for each, or a connection is busy; then
                none is given back.
            Exception: What a pool raised, after all connections were given back.

        Switches: yes. After a ``gevent.Timeout`` or kill, too, the connections are given back.
        """
        pools = list(pools)
        if len(pools) != len(self._connections):
            raise _unusable(f"{len(pools)} pools for {len(self._connections)} connections")
        with self._changed():
            self._check(but="closed")
            try:
                self._let_go()
            finally:
                if self._end == "given back":
                    self._give_back(pools)

    def _let_go(self) -> None:
        """Roll back, and end the use of the connections without closing them."""
        logical = self._logical
        try:
            if logical is not None:
                # A pool sees for itself that a connection is broken. Rolling back here keeps it
                # from waiting for the server while it holds its lock.
                with suppress(Exception):
                    logical.rollback()
        finally:
            if logical is not None:
                logical.release()
            self._end, self._last = "given back", None

    def _give_back(self, pools: Sequence[Any]) -> None:
        failures = []
        for pool, connection in zip(pools, self._connections, strict=True):
            try:
                pool.putconn(connection)
            except Exception as exc:
                failures.append(exc)
        if failures:
            raise failures[0]

    def _opened(self) -> Connection | Threads:
        if self._logical is None or self._end:
            with self._changed():
                self._check()
                green = all(isinstance(raw, RawConnection) for raw in self._connections)
                self._logical = (connect if green else Threads)(self._connections)
        return self._logical

    def _last_cursor(self) -> Any:
        self._check()
        if self._last is None:
            raise errors.ProgrammingError("there is no cursor yet: call cursor() first")
        return self._last

    def _check(self, but: str = "") -> None:
        if self._end not in ("", but):
            raise errors.InterfaceError(
                f"the connections of this ParallelConnection are {self._end} already",
                hint="Make another one of open connections.",
            )

    @contextmanager
    def _changed(self) -> Iterator[None]:
        """Keep other greenlets out while the connections are opened, closed or given back."""
        if not self._changing.acquire(False):
            raise busy("the connections are being opened, closed or given back elsewhere")
        try:
            yield
        finally:
            self._changing.release()


def _unusable(message: str) -> errors.ProgrammingError:
    return errors.ProgrammingError(message, code="GS104")
