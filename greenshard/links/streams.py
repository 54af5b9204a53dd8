"""The rows of the shards' server-side cursors, fetched as they are needed.

The rows of the shards follow one another, but their servers shall not: the first fetch goes to all
of them at once, so that each server's time to its first row is spent in parallel. The pages of the
later shards wait here; that bounds the memory by shards x page.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from greenshard._driver import RawCursor

Calls = Mapping[str, Callable[[], Any]]


def streams(
    cursors: Mapping[str, RawCursor], run: Callable[[Calls], Mapping[str, Any]], itersize: int
) -> tuple[Stream, ...]:
    """The rows of a statement's named cursors.

    Args:
        cursors: psycopg2's named cursors by shard, executed.
        run: Runs calls that talk to the servers, at once, under the timeout; gives their results.
        itersize: How many rows iteration fetches from a shard at once.
    """
    made: tuple[Stream, ...] = ()
    # From the last one on: each knows those after it, whose first pages it fetches with its own.
    for shard, raw in reversed(list(cursors.items())):
        made = (Stream(shard, raw, run, itersize, made), *made)
    return made


def fetch_together(streams: Sequence[Stream]) -> None:
    """Fetch a page of each stream, at the same time.

    Switches: yes.
    """
    if streams:
        size = streams[0].itersize
        fetched = streams[0].run({stream.shard: stream.fetching(size) for stream in streams})
        for stream in streams:
            rows = fetched[stream.shard]
            # A page that is not full is the last.
            stream.keep(rows, every=len(rows) < size)


class Stream:
    """The rows of one shard's named cursor.

    Args:
        later: The streams of the shards after this one.

    Attributes:
        run: Runs calls that talk to the servers.
        itersize: How many rows iteration fetches at once.
        started: Whether rows were asked for.
        rownumber: How many rows were given out.
    """

    __slots__ = (
        "_ahead", "_every", "_later", "itersize", "raw", "rownumber", "run", "shard", "started",
    )  # fmt: skip

    def __init__(
        self,
        shard: str,
        raw: RawCursor,
        run: Callable[[Calls], Mapping[str, Any]],
        itersize: int,
        later: tuple[Stream, ...],
    ) -> None:
        self.shard = shard
        self.raw = raw
        self.started = False
        self.rownumber = 0
        self.run = run
        self.itersize = itersize
        self._later = later
        self._ahead: deque[Any] = deque()
        self._every = False  # whether all rows that are left are in _ahead

    @property
    def rowcount(self) -> int:
        """Rows of the last fetch, as psycopg2 counts them."""
        return self.raw.rowcount

    @property
    def page_rownumber(self) -> int:
        """How many rows of the last fetch were given out: psycopg2's ``rownumber``."""
        return self.raw.rownumber - len(self._ahead)

    def fetching(self, size: int | None) -> Callable[[], Any]:
        """The call that fetches `size` rows, or all."""
        self.started = True
        return self.raw.fetchall if size is None else partial(self.raw.fetchmany, size)

    def keep(self, rows: list[Any], *, every: bool) -> None:
        """Take rows that were fetched ahead."""
        self._ahead.extend(rows)
        self._every = every

    @property
    def ended(self) -> bool:
        """Whether the server has no more rows, as far as is known."""
        return self._every

    @property
    def has_ahead(self) -> bool:
        """Whether there are rows that were fetched and not given out yet."""
        return bool(self._ahead)

    def take_ahead(self) -> list[Any]:
        """The rows that were fetched and not given out yet."""
        rows = list(self._ahead)
        self._ahead.clear()
        self.rownumber += len(rows)
        return rows

    def fetchone(self) -> Any:
        rows = self._take(1)
        return rows[0] if rows else None

    def fetchmany(self, size: int) -> list[Any]:
        return self._take(size)

    def fetchall(self) -> list[Any]:
        return self._take(None)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        if not self._ahead:
            self._ahead.extend(self._fetch(self.itersize))
        if not self._ahead:
            raise StopIteration
        self.rownumber += 1
        return self._ahead.popleft()

    def _take(self, size: int | None) -> list[Any]:
        there = len(self._ahead) if size is None else min(size, len(self._ahead))
        rows = [self._ahead.popleft() for _ in range(there)]
        if size is None or there < size:
            try:
                rows += self._fetch(None if size is None else size - there)
            except BaseException:
                # A page that could not be fetched must not cost the rows that were here: the next
                # call gives them.
                self._ahead.extendleft(reversed(rows))
                raise
        self.rownumber += len(rows)
        return rows

    def _fetch(self, size: int | None) -> list[Any]:
        """Fetch `size` rows (None: all), and likewise of later shards that were not read yet."""
        if self._every:
            return []
        # All of them only for fetchall(); else their first pages, so that their servers work
        # meanwhile.
        later = [part for part in self._later if size is None or not part.started]
        fetched = self.run({part.shard: part.fetching(size) for part in (self, *later)})
        for part in later:
            part.keep(fetched[part.shard], every=size is None)
        rows: list[Any] = fetched[self.shard]
        return rows

    def scroll(self, value: int, mode: Any) -> None:
        """Move the server's cursor, which is ahead by the rows that were not given out yet."""
        # The server's cursor is ahead of the user by those.
        moved = value - len(self._ahead) if mode == "relative" else value
        self.run({self.shard: partial(self.raw.scroll, moved, mode)})
        self._ahead.clear()
        self.started, self._every = True, False
        self.rownumber = value + (self.rownumber if mode == "relative" else 0)
