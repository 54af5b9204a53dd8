"""The rows of several shards, each in its turn, behind one cursor's fetch methods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from greenshard.merge.concatenation import Rows, destination


class Weaving:
    """The rows of `parts`, as many as there are turns; each part's are in their own order.

    Args:
        parts: The rows of the shards.
        turns: For each row of all the number of its part.

    >>> Weaving([], []).rowcount
    0
    """

    __slots__ = ("_parts", "_turns", "rownumber")

    def __init__(self, parts: Sequence[Rows], turns: Sequence[int]) -> None:
        self._parts = parts
        self._turns = turns
        self.rownumber = 0

    @property
    def rowcount(self) -> int:
        return len(self._turns)

    def fetchone(self) -> Any:
        """The next row, or None after the last one."""
        return next(self, None)

    def fetchmany(self, size: int) -> list[Any]:
        """At most `size` rows; a negative `size` means all."""
        left = self.rowcount - self.rownumber
        return [next(self) for _ in range(left if size < 0 else min(size, left))]

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        return self.fetchmany(-1)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.rownumber >= len(self._turns):
            raise StopIteration
        row = self._parts[self._turns[self.rownumber]].fetchone()
        # After the row was made: if a typecaster raises, the next fetch tries the same row.
        self.rownumber += 1
        return row

    def scroll(self, value: int, mode: str = "relative") -> None:
        """Move to a row, as PEP 249 has it.

        Raises:
            errors.ProgrammingError: There is no such row, or no such mode.
        """
        to = destination(value, mode, self.rownumber, self.rowcount)
        for number, part in enumerate(self._parts):
            before = self._turns[:to].count(number)
            if before < part.rowcount:  # else nothing of it comes any more
                part.scroll(before, "absolute")
        self.rownumber = to
