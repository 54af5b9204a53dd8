"""The rows of every shard, one shard after the other, behind one cursor's fetch methods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from greenshard import errors


class Rows(Protocol):
    """The fetch methods of a DB-API cursor: the rows of one shard."""

    @property
    def rowcount(self) -> int: ...
    @property
    def rownumber(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchmany(self, size: int) -> list[Any]: ...
    def fetchall(self) -> list[Any]: ...
    def scroll(self, value: int, mode: str = ...) -> None: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...


def destination(value: int, mode: str, rownumber: int, rowcount: int) -> int:
    """The number of the row that scrolling goes to, as PEP 249 has it.

    Raises:
        errors.ProgrammingError: There is no such row, or no such mode.
    """
    if mode not in ("relative", "absolute"):
        raise errors.ProgrammingError(f"unrecognized scroll mode {mode!r}")
    to = value + (rownumber if mode == "relative" else 0)
    if not 0 <= to < rowcount:
        raise errors.ProgrammingError("scroll destination out of bounds")
    return to


class Concatenation:
    """The rows of `parts` in their order, each as its part gives it.

    >>> rows = Concatenation([])
    >>> rows.rowcount
    -1
    """

    __slots__ = ("_at", "_before", "_parts")

    def __init__(self, parts: Sequence[Rows]) -> None:
        self._parts = tuple(parts)
        self._at = 0
        self._before = 0  # rows in the parts before that one

    @property
    def rowcount(self) -> int:
        """Rows of all parts together; -1 if one does not know."""
        counts = [part.rowcount for part in self._parts]
        return -1 if not counts or -1 in counts else sum(counts)

    @property
    def rownumber(self) -> int:
        """How many rows were fetched."""
        return self._before + self._parts[self._at].rownumber if self._parts else 0

    def fetchone(self) -> Any:
        """The next row, or None after the last row of the last part."""
        parts = self._readable()
        while True:
            row = parts[self._at].fetchone()
            if row is not None or not self._advance():
                return row

    def fetchmany(self, size: int) -> list[Any]:
        """At most `size` rows, of as many parts as it takes; a negative `size` means all."""
        if size < 0:
            return self.fetchall()
        parts = self._readable()
        rows: list[Any] = parts[self._at].fetchmany(size)
        # A part that gives fewer than asked for is at its end.
        while len(rows) < size and self._advance():
            rows += parts[self._at].fetchmany(size - len(rows))
        return rows

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        parts = self._readable()
        rows: list[Any] = parts[self._at].fetchall()
        while self._advance():
            rows += parts[self._at].fetchall()
        return rows

    def __next__(self) -> Any:
        parts = self._readable()
        while True:
            try:
                return next(parts[self._at])
            except StopIteration:
                if not self._advance():
                    raise

    def scroll(self, value: int, mode: str) -> None:
        """Move to a row of all parts, as PEP 249 has it.

        Raises:
            errors.ProgrammingError: There is no such row, or no such mode.
        """
        parts = self._readable()
        # psycopg2 raises its own errors, and knows scrollable cursors.
        if len(parts) == 1:
            parts[0].scroll(value, mode)
            return
        to = destination(value, mode, self.rownumber, self.rowcount)
        self._at, self._before = 0, 0
        while to - self._before >= parts[self._at].rowcount:
            self._before += parts[self._at].rowcount
            self._at += 1
        parts[self._at].scroll(to - self._before, "absolute")
        # They may have been read already, before scrolling back.
        for part in parts[self._at + 1 :]:
            if part.rowcount:
                part.scroll(0, "absolute")

    def _readable(self) -> tuple[Rows, ...]:
        if not self._parts:
            raise errors.ProgrammingError("no results to fetch")
        return self._parts

    def _advance(self) -> bool:
        """Go to the next part; stays at the last, which then says that it is at its end."""
        if self._at + 1 >= len(self._parts):
            return False
        self._before += self._parts[self._at].rownumber
        self._at += 1
        return True
