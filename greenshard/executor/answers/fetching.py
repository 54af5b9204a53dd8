"""The fetch methods of a cursor."""

from __future__ import annotations

from typing import Any, NoReturn

from greenshard import errors
from greenshard._driver import DriverError
from greenshard.executor.answers.answer import Answer
from greenshard.merge.concatenation import Concatenation, Rows


class Fetching:
    """Fetches from the rows of the last answer."""

    name: Any
    arraysize: int
    _answer: Answer

    def _rows(self) -> Concatenation | Rows:
        """The rows to fetch from."""
        raise NotImplementedError

    def _fail(self, error: DriverError) -> NoReturn:
        """Raise our error for one of the driver's."""
        raise NotImplementedError

    def _check(self) -> None:
        """Refuse a cursor that is closed."""
        raise NotImplementedError

    def fetchone(self) -> Any:
        """The next row of the first shard, then of the second, ...; None after the last.

        Switches: only on a named cursor.
        """
        try:
            return self._rows().fetchone()
        except DriverError as exc:
            self._fail(exc)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """At most `size` rows (default: ``arraysize``), of as many shards as it takes.

        Switches: only on a named cursor.
        """
        try:
            return self._rows().fetchmany(self.arraysize if size is None else size)
        except DriverError as exc:
            self._fail(exc)

    def fetchall(self) -> list[Any]:
        """All rows that are left.

        Switches: only on a named cursor.
        """
        try:
            return self._rows().fetchall()
        except DriverError as exc:
            self._fail(exc)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._rows())
        except DriverError as exc:
            self._fail(exc)

    def scroll(self, value: int, mode: str = "relative") -> None:
        """Move to another row. A named cursor can only be moved over one shard.

        Switches: only on a named cursor.
        """
        self._check()
        # Each shard's cursor is somewhere else in its rows.
        if self.name is not None and self._answer.shard_count > 1:
            raise errors.NotSupportedError(
                "a named cursor over several shards cannot be scrolled",
                code="GS403",
                hint="Fetch the rows to be passed over, or restrict the cursor with conn.on(...).",
            )
        try:
            self._rows().scroll(value, mode)
        except DriverError as exc:
            self._fail(exc)
