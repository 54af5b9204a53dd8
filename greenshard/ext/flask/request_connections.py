"""The connections of one request, or of one application context."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

from greenshard import errors
from greenshard._driver import TRANSACTION_FAILED, TRANSACTION_OPEN, DriverError
from greenshard.pool.pool import Pool
from greenshard.pool.pooled import PooledConnection

logger = logging.getLogger("greenshard")


class Scope:
    """The connections that one request has taken, one of each pool.

    Attributes:
        streams: Whether the response's body is still to be sent, and keeps the connections.
        failure: Why the commit for the response failed, if it did.
    """

    def __init__(self) -> None:
        self._taken: dict[str, Any] = {}
        self.streams = False
        self.failure: BaseException | None = None

    def connection(self, name: str, pool: Pool) -> PooledConnection:
        """The connection of a pool, taken when it is first asked for.

        Switches: then.
        """
        connection = self._taken.get(name)
        if connection is None or connection._given_back:
            self._taken.pop(name, None)
            mine = pool.getconn()
            # Another greenlet of the request may have come first; they share one.
            connection = self._taken.setdefault(name, mine)
            if connection is not mine:
                mine.close()
        return connection

    @property
    def in_use(self) -> bool:
        """Whether a connection was taken that was not given back."""
        return any(not connection._given_back for connection in self._taken.values())

    def settle(self, *, good: bool) -> None:
        """Commit on each connection, or roll back; an error leaves those after it uncommitted.

        Raises:
            errors.Error: It was not committed.

        Switches: if a transaction is open.
        """
        if not good:
            self.roll_back()
            return
        for connection in tuple(self._taken.values()):
            if not connection._given_back:
                _commit(connection)

    def roll_back(self) -> None:
        """Roll back on each connection. One that cannot be rolled back is given back.

        Switches: if a transaction is open.
        """
        for name, connection in tuple(self._taken.items()):
            try:
                connection.rollback()
            except DriverError:
                # What it holds must not be committed by a later call.
                self._taken.pop(name, None)
                with suppress(DriverError):
                    connection.close()

    def end(self, *, told: bool = False) -> None:
        """Roll back what is not committed, and give all connections back.

        Args:
            told: Whether an exception tells already that something went wrong.

        Switches: if a transaction is open.
        """
        taken, self._taken = self._taken, {}
        self.streams, self.failure = False, None
        with ExitStack() as stack:  # calls all of them, also if the greenlet is killed meanwhile
            for connection in taken.values():
                stack.callback(_give_back, connection, told=told)


class Stream:
    """The body of a response that is sent bit by bit; the connections stay until it ends.

    Args:
        body: The body.
        end: Called at its end, also if the client is gone.
    """

    def __init__(self, body: Iterable[Any], end: Callable[[], None]) -> None:
        self._body = body
        self._bits = iter(body)
        self._end = end

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._bits)
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        """End it early; the server calls this in any case."""
        try:
            close: Callable[[], None] | None = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._end()


def _commit(connection: Any) -> None:
    # PostgreSQL answers COMMIT in a failed transaction by rolling back, without an error.
    failed = connection.get_transaction_status() == TRANSACTION_FAILED
    if failed and (connection._statements.transaction.wrote or _is_one_server(connection)):
        raise errors.refused(
            "a statement of the transaction has failed, and it cannot be committed",
            code="GS501",
            pgcode="25P02",
            hint="After catching the error of a statement, call rollback(), or go back to a "
            "savepoint.",
        )
    connection.commit()


def _is_one_server(connection: Any) -> bool:
    """Whether statements go to one server as they are, and nobody looks whether they write."""
    return connection.cluster is None and len(connection.shards) == 1


def _give_back(connection: Any, *, told: bool) -> None:
    if not told and _holds_writes(connection):
        logger.warning(
            "what was written since the last commit is rolled back: outside of views "
            "nothing commits by itself; call db.connection.commit()"
        )
    try:
        connection.close()
    except DriverError:
        logger.exception("a connection could not be given back to its pool")


def _holds_writes(connection: Any) -> bool:
    if connection._given_back or not connection._statements.transaction.wrote:
        return False
    with suppress(DriverError):
        return bool(connection.get_transaction_status() == TRANSACTION_OPEN)
    return False
