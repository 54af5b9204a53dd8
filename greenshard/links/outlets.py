"""Cursors of our own on the shards, by which rows that travel come page by page.

They are declared in the shard's transaction; in autocommit mode WITH HOLD, for there is none. A
statement closes those that it has declared, however it ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

from greenshard._driver import TRANSACTION_IDLE, DriverError, RawConnection, RawCursor
from greenshard.links.deadline import within
from greenshard.links.physical import autocommit

if TYPE_CHECKING:
    from greenshard.links.session import Session

_numbers = count(1)


def new_name() -> str:
    """The name of a cursor of ours on a server, quoted; no other has it."""
    return f'"greenshard {next(_numbers)}"'


def declaring(name: str, text: str | bytes, *, hold: bool = False) -> Any:
    """What declares a cursor on a server.

    Args:
        name: The cursor's, quoted.
        text: The query.
        hold: Whether it outlives its transaction.
    """
    before = f"DECLARE {name} NO SCROLL CURSOR {'WITH' if hold else 'WITHOUT'} HOLD FOR "
    return before + text if isinstance(text, str) else before.encode() + text


def fetching(name: str, size: int | None) -> str:
    """What fetches so many rows, or all."""
    # `size` is a number of ours, and goes into the text as one.
    return f"FETCH FORWARD {'ALL' if size is None else int(size)} FROM {name}"


class Outlet:
    """The rows of a query on one shard. Its methods run in a greenlet of the session's.

    Args:
        shard: The shard.
        cursor: What runs the statements.

    Attributes:
        ended: Whether all rows were fetched.
    """

    def __init__(self, shard: str, cursor: RawCursor) -> None:
        self.shard, self.cursor = shard, cursor
        self.ended = False
        self._name: str | None = None

    def declare(self, text: str | bytes, parameters: Any = None) -> None:
        """Declare the cursor. Switches: yes."""
        raw = self.cursor.connection
        # In a transaction, too, psycopg2 may have been told that it is in autocommit mode.
        idle = RawConnection.get_transaction_status(raw) == TRANSACTION_IDLE
        hold = bool(autocommit.read(raw)) and idle
        name, given = new_name(), () if parameters is None else (parameters,)
        self.ended = False
        if hold:
            self._name = name  # it may be there, too, if the answer does not get here
        self.cursor.execute(declaring(name, text, hold=hold), *given)
        self._name = name

    def fetch(self, size: int | None) -> list[Any]:
        """Fetch so many rows, or all; the cursor is closed at its end. Switches: yes."""
        self.cursor.execute(fetching(str(self._name), size))
        rows = self.cursor.fetchall()
        # A page that is not full is the last: that saves the fetch that finds nothing.
        self.ended = size is None or len(rows) < size
        if self.ended:
            self._close()
        return rows

    @property
    def open(self) -> bool:
        """Whether there is a cursor to be closed, as far as is known."""
        return self._name is not None

    def _close(self) -> None:
        name, self._name = self._name, None
        # With another cursor: this one knows the columns.
        RawCursor(self.cursor.connection).execute(f"CLOSE {name}")

    def give_up(self) -> None:
        """Close the cursor, if it is there. Switches: yes."""
        with suppress(DriverError):
            self._close()


def close_outlets(session: Session, outlets: Iterable[Outlet]) -> None:
    """Close the cursors that there may still be, of a statement that ends early.

    Switches: if there are any.
    """
    physicals = session.physicals
    calls = {
        outlet.shard: outlet.give_up
        for outlet in outlets
        if outlet.open
        and (physical := physicals.get(outlet.shard)) is not None
        and physical.alive
        # A failed transaction takes its cursors with it.
        and not physical.failed
    }
    if calls:
        with suppress(DriverError):
            session.run(calls, within(session.grace_s), tolerant=True)
