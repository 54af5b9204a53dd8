"""Rows that were put together here, behind one cursor's fetch methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from greenshard import errors
from greenshard.executor.answers.answer import Answer, Stages

Row = tuple[Any, ...]


class BufferedRows:
    """Rows in their order, each made when it is fetched.

    Args:
        rows: The values.
        shaping: Gives what makes of a row what the user wants now; None if that is the row.
    """

    __slots__ = ("_rows", "_shaping", "rownumber")

    def __init__(
        self, rows: Sequence[Row], shaping: Callable[[], Callable[[Row], Any] | None]
    ) -> None:
        self._rows = rows
        self._shaping = shaping
        self.rownumber = 0

    @property
    def rowcount(self) -> int:
        return len(self._rows)

    def fetchone(self) -> Any:
        return next(self, None)

    def fetchmany(self, size: int) -> list[Any]:
        end = len(self._rows) if size < 0 else min(self.rownumber + size, len(self._rows))
        # Now, and not when the rows came: the row factory may be set between execute and fetch.
        rows, shape = self._rows[self.rownumber : end], self._shaping()
        shaped = list(rows if shape is None else map(shape, rows))
        self.rownumber = end
        return shaped

    def fetchall(self) -> list[Any]:
        return self.fetchmany(-1)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.rownumber >= len(self._rows):
            raise StopIteration
        row, shape = self._rows[self.rownumber], self._shaping()
        shaped = row if shape is None else shape(row)
        # After the row was made: if a typecaster raises, the next fetch tries the same row.
        self.rownumber += 1
        return shaped

    def scroll(self, value: int, mode: str = "relative") -> None:
        """Move to a row.

        Raises:
            errors.ProgrammingError: There is no such row, or no such mode.
        """
        if mode not in ("relative", "absolute"):
            raise errors.ProgrammingError("scroll mode must be 'relative' or 'absolute'")
        to = value + (self.rownumber if mode == "relative" else 0)
        if not 0 <= to < len(self._rows):
            raise errors.ProgrammingError("scroll destination out of bounds")
        self.rownumber = to


class BufferedAnswer(Answer):
    """An answer that no shard gave as it is.

    Args:
        rows: Its rows.
        description: Its columns.
        shard: The one whose types they have.
        stages: What went before.
        status: The command tag; None: a query's.
    """

    def __init__(
        self,
        rows: BufferedRows,
        description: Any,
        shard: str,
        stages: Stages,
        status: str | None = None,
    ) -> None:
        super().__init__({}, (), None, stages)
        self.rows = rows
        self._shard = shard
        self._description = description
        self._status = status or f"SELECT {rows.rowcount}"

    @property
    def description(self) -> Any:
        """The columns."""
        return self._description

    @property
    def described_on(self) -> str:
        """The shard whose types they have."""
        return self._shard

    @property
    def statusmessage(self) -> str | None:
        """The command tag."""
        return self._status


def all_of(cursors: Mapping[str, Any]) -> list[Row]:
    """The rows of some cursors, one shard after the other."""
    return [row for cursor in cursors.values() for row in cursor.fetchall()]
