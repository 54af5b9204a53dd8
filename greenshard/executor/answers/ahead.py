"""The first rows of a shard, made while other shards have not answered yet.

psycopg2 makes a result's rows when they are fetched, so that all of that work would begin after the
last shard has answered. A hand-written loop of ``execute`` and ``fetchall`` in a greenlet for each
shard does it while it waits for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from greenshard._driver import RawCursor, global_typecasters
from greenshard._libpq import result_bytes
from greenshard.executor.answers.parts import row_factory, tzinfo_factory
from greenshard.executor.types.casting import is_own
from greenshard.links.physical import string_types

#: Fewer rows are made in no time. More stay as the server has sent them until they are fetched:
#: a program that reads a few of many must neither wait for all, nor hold them in memory twice.
_FEWEST, _MOST, _MOST_BYTES = 50, 10_000, 8 << 20


def reading_ahead(call: Callable[[], object], raw: RawCursor) -> list[Any] | None:
    """Run a call that executes a statement; returns the first rows, None if they are not made."""
    call()
    if raw.rowcount < _FEWEST or not _is_safe(raw):
        return None
    try:
        return raw.fetchmany(_MOST)
    except Exception:
        # A date beyond Python's, say: it is the fetch that fails, and as far as it gets there.
        # Back to the first row: the user's fetch shall fail as psycopg2's does, at the same row.
        raw.scroll(0, "absolute")
        return None


def _is_safe(raw: RawCursor) -> bool:
    """Whether nobody can tell when the rows are made: no code of the program makes them."""
    # Typecasters and row factories of the program may do anything, and must run when rows are
    # fetched.
    if raw.description is None or raw.string_types or row_factory.read(raw) is not None:
        return False
    if string_types.read(raw.connection) or result_bytes(raw) > _MOST_BYTES:
        return False
    for column in raw.description:
        caster = global_typecasters.get(column.type_code)
        if caster is not None and not is_own(column.type_code, caster):
            return False
    return True


class RowsAhead:
    """The rows of a shard, of which some are made already.

    Args:
        raw: The shard's cursor, which has given those.
        ahead: The rows.
    """

    __slots__ = ("_ahead", "_at", "_raw", "_zones")

    def __init__(self, raw: RawCursor, ahead: list[Any]) -> None:
        self._raw = raw
        self._ahead, self._at = ahead, 0
        self._zones = tzinfo_factory.read(raw)

    @property
    def rowcount(self) -> int:
        return self._raw.rowcount

    @property
    def rownumber(self) -> int:
        # The raw cursor is ahead of the user by those that are left here.
        return self._raw.rownumber - (len(self._ahead) - self._at)

    def fetchone(self) -> Any:
        for row in self._take(1):
            return row
        return self._raw.fetchone()

    def fetchmany(self, size: int) -> list[Any]:
        rows = self._take(size)
        return rows if len(rows) == size else rows + self._raw.fetchmany(size - len(rows))

    def fetchall(self) -> list[Any]:
        rows = self._take(None)
        if self._raw.rownumber < self._raw.rowcount:
            rows += self._raw.fetchall()
        return rows

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    def scroll(self, value: int, mode: Any = "relative") -> None:
        """Move to a row, as psycopg2 does."""
        self._put_back()
        self._raw.scroll(value, mode)

    def _take(self, size: int | None) -> list[Any]:
        """Take `size` of the rows that are left here; None for all."""
        if not self._ahead:
            return []
        if row_factory.read(self._raw) or tzinfo_factory.read(self._raw) is not self._zones:
            self._put_back()  # they are to be made otherwise now
            return []
        end = len(self._ahead) if size is None else min(self._at + size, len(self._ahead))
        rows = self._ahead[self._at : end]
        self._at = end
        if end == len(self._ahead):
            self._ahead, self._at = [], 0
        return rows

    def _put_back(self) -> None:
        """Let psycopg2 make the rows that are left once more."""
        if left := len(self._ahead) - self._at:
            self._raw.scroll(-left)
        self._ahead, self._at = [], 0
