"""The rows of one shard's server-side cursor, fetched as they are needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from greenshard._driver import RawCursor

T = TypeVar("T")


class Stream:
    """A named cursor on one shard; holds at most ``itersize`` rows.

    Args:
        raw: psycopg2's named cursor, executed.
        run: Runs a call that talks to the server, in a greenlet, under the timeout.
        itersize: How many rows iteration fetches at once.
    """

    __slots__ = ("_ahead", "_itersize", "_run", "raw", "rownumber")

    def __init__(
        self,
        raw: RawCursor,
        run: Callable[[Callable[[], Any]], Any],
        itersize: int,
    ) -> None:
        self.raw = raw
        self._run = run
        self._itersize = itersize
        self._ahead: deque[Any] = deque()
        #: How many rows were given out.
        self.rownumber = 0

    @property
    def rowcount(self) -> int:
        """Rows of the last fetch, as psycopg2 counts them."""
        return self.raw.rowcount

    @property
    def page_rownumber(self) -> int:
        """How many rows of the last fetch were given out: psycopg2's ``rownumber``."""
        return self.raw.rownumber - len(self._ahead)

    def fetchone(self) -> Any:
        row = self._ahead.popleft() if self._ahead else self._run(self.raw.fetchone)
        self.rownumber += row is not None
        return row

    def fetchmany(self, size: int) -> list[Any]:
        rows = [self._ahead.popleft() for _ in range(min(size, len(self._ahead)))]
        if len(rows) < size:
            left = size - len(rows)
            rows += self._run(lambda: self.raw.fetchmany(left))
        self.rownumber += len(rows)
        return rows

    def fetchall(self) -> list[Any]:
        rows = [*self._ahead, *self._run(self.raw.fetchall)]
        self._ahead.clear()
        self.rownumber += len(rows)
        return rows

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        if not self._ahead:
            self._ahead.extend(self._run(lambda: self.raw.fetchmany(self._itersize)))
        if not self._ahead:
            raise StopIteration
        self.rownumber += 1
        return self._ahead.popleft()

    def scroll(self, value: int, mode: Any) -> None:
        """Move the server's cursor, which is ahead by the rows that were not given out yet."""
        moved = value - len(self._ahead) if mode == "relative" else value
        self._run(lambda: self.raw.scroll(moved, mode))
        self._ahead.clear()
        self.rownumber = value + (self.rownumber if mode == "relative" else 0)
