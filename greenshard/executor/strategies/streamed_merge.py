"""Rows that the shards have sorted, merged while they are fetched from named cursors.

Never more than a page of each shard is held, if Python can compare the rows; one and a half, if
PostgreSQL ranks them (`ranked_merge`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from greenshard import errors
from greenshard._driver import RawCursor
from greenshard.executor.answers.answer import Answer
from greenshard.executor.answers.buffered import Row
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.comparing import Comparison
from greenshard.executor.strategies.exactness import date_style
from greenshard.executor.strategies.ranked_merge import merge_pages
from greenshard.executor.strategies.slicing import read_slice
from greenshard.executor.types.casting import DATES, AsText, Casting
from greenshard.links.session import Outcome
from greenshard.links.streams import Stream, fetch_together
from greenshard.merge.ordering import merge_streams
from greenshard.planner.plan import Scatter, SortKey
from greenshard.planner.tasks import Stage

#: What psycopg2 would give as the first and last day of Python's calendar.
_INFINITE = {"-infinity": (-1, None), "infinity": (1, None)}


class StreamedRows:
    """Rows that are fetched as they are needed.

    Args:
        rows: What iterates over all, and fetches nothing before.
        check: Refuses to give out rows that are over; called before each.

    Attributes:
        begun: Whether rows were asked for.
        rownumber: How many rows were given out.
    """

    def __init__(self, rows: Iterator[Any], check: Callable[[], None] = lambda: None) -> None:
        self._rows, self._check = rows, check
        self._broken = False
        self.begun = False
        self.rownumber = 0

    @property
    def rowcount(self) -> int:
        return -1

    def fetchone(self) -> Any:
        return next(self, None)

    def fetchmany(self, size: int) -> list[Any]:
        return list(self if size < 0 else islice(self, size))

    def fetchall(self) -> list[Any]:
        return list(self)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._broken:
            raise errors.ProgrammingError(
                "the rows that are left were lost with a fetch that failed"
            )
        self._check()
        # An iterator that raised is at its end, which must not look like the end of the rows.
        self._broken = self.begun = True
        row = next(self._rows, self)
        self._broken = False
        if row is self:
            raise StopIteration
        self.rownumber += 1
        return row

    def scroll(self, value: int, mode: str = "relative") -> None:
        """Not possible.

        Raises:
            errors.NotSupportedError: Always.
        """
        raise errors.NotSupportedError(
            "a named cursor over several shards cannot be scrolled", code="GS403"
        )


class StreamedAnswer(Answer):
    """The answer of named cursors whose rows are merged.

    Args:
        cursors: The shards' named cursors.
        streams: The rows of each.
        rows: Those of the answer.
        hidden: How many columns at the end are cut off.
        outcome: How executing them ended.
    """

    def __init__(
        self,
        cursors: Mapping[str, RawCursor],
        streams: Sequence[Stream],
        rows: StreamedRows,
        hidden: int,
        outcome: Outcome,
    ) -> None:
        super().__init__(cursors, streams, outcome)
        self.rows = rows
        self._hidden = hidden

    @property
    def rowcount(self) -> int:
        return -1

    @property
    def rownumber(self) -> int:
        return self.rows.rownumber

    @property
    def description(self) -> Any:
        """The columns, from the first fetch on."""
        columns = super().description
        return columns and columns[: len(columns) - self._hidden]


def stream(e: Planned, step: Scatter, tasks: Stage) -> Answer:
    """Open named cursors on the shards; their rows are merged while they are fetched.

    Switches: yes.
    """
    shards = [task.place.shard for task in tasks]
    cursors = e.parts.unshaped(shards, e.timeout)
    zones = e.parts.own_time_zones
    castings = {shard: Casting(cursor, AsText.DATES, zones) for shard, cursor in cursors.items()}
    outcome = e.run(shards, e.calls(tasks, cursors))
    cursors = {shard: cursors[shard] for shard in outcome.jobs}
    streams = e.streaming(cursors) if e.streaming is not None else ()
    # Not with the cursor's own method, which would keep the cursor alive from within.
    merging = _Merging(replace(e, streaming=None), step, streams, castings)
    rows = StreamedRows(merging.rows())
    return StreamedAnswer(cursors, streams, rows, step.hidden, outcome)


@dataclass(slots=True, eq=False)
class _Merging:
    """Merges the rows of some streams."""

    e: Planned
    step: Scatter
    streams: Sequence[Stream]
    castings: Mapping[str, Casting]

    def rows(self) -> Iterator[Any]:
        """The rows of the answer, as the user wants them."""
        e, step = self.e, self.step
        # Not when the cursor is executed: psycopg2 fetches nothing then either.
        fetch_together(self.streams)
        first = self.streams[0]
        casting, description = self.castings[first.shard], first.raw.description or ()
        ordered = self._ordered(Comparison(e, first.shard, description, casting))
        count, offset = read_slice(step.slice, e.given)
        end = None if count is None else count + (offset or 0)
        width = len(description) - step.hidden
        cast = casting.casting(column.type_code for column in description[:width])
        for row in islice(ordered, offset or 0, end):
            # For each row anew: the user may set the row factory between two fetches.
            shape = e.parts.shaping(cast)
            yield row[:width] if shape is None else shape(row[:width])

    def _ordered(self, comparison: Comparison) -> Iterator[Row]:
        keys = self.step.sort
        if len(self.streams) == 1 or not keys:
            return chain.from_iterable(self.streams)
        comparison.check(keys)
        if all(self._is_pythons(comparison, key) for key in keys):
            return _merged(self.streams, keys, comparison, self.castings)
        return merge_pages(self.streams, lambda rows: self._ranked(comparison, rows))

    def _ranked(self, comparison: Comparison, rows: list[Row]) -> list[Row]:
        """Some rows in their order. Switches: yes, where PostgreSQL ranks them."""
        e = self.e
        e.timeout = e.parts.fetch_timeout
        # A cursor WITH HOLD may have outlived its transaction.
        with e.session.taken(), e.session.physical(comparison.shard).beginning_nothing():
            ordered = comparison.ordered(rows, self.step.sort)
        if ordered is None:
            raise errors.InternalError("rows cannot be ordered by text")
        return ordered

    def _is_pythons(self, comparison: Comparison, key: SortKey) -> bool:
        """Whether Python can compare what `_merged` makes of the values."""
        # As text, for psycopg2 gives infinity as the last day of Python's calendar; ISO can be read
        # back.
        if comparison.type_of(key) in DATES:
            return date_style(self.e).startswith("ISO") and not self.e.parts.own_time_zones
        return comparison.is_pythons(key)


def _merged(
    streams: Sequence[Stream],
    keys: Sequence[SortKey],
    comparison: Comparison,
    castings: Mapping[str, Casting],
) -> Iterator[Row]:
    """The rows of some streams, with the values that they are merged by put behind them."""

    def extended(stream: Stream) -> Iterator[Row]:
        casting = castings[stream.shard]
        dates = [comparison.type_of(key) in DATES for key in keys]
        oids = [comparison.type_of(key) for key in keys]
        for row in stream:
            values = [
                _moment(casting, oid, row[key.column]) if date else row[key.column]
                for key, oid, date in zip(keys, oids, dates, strict=True)
            ]
            yield (*row, *values)

    behind = [replace(key, column=at - len(keys)) for at, key in enumerate(keys)]
    return merge_streams([extended(stream) for stream in streams], behind)


def _moment(casting: Casting, type_oid: int, text: str | None) -> Any:
    """What a date or timestamp is compared by."""
    if text is None:
        return None
    infinite = _INFINITE.get(text)
    return (0, casting.own(type_oid, text)) if infinite is None else infinite
