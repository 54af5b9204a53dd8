"""A PEP 249 cursor over connections that run in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, Protocol

from greenshard import errors
from greenshard.parallel.insert_refusal import refuse_insert


class Runner(Protocol):
    """The connections, and what runs their calls, each in a thread; see `threads.Threads`."""

    connections: Sequence[Any]
    closed: bool

    @property
    def running(self) -> bool:
        """Whether a call waits, or has left a thread behind."""

    def run(self, calls: Sequence[Callable[[], Any]]) -> Sequence[Any]:
        """The results of one call for each connection."""


class ThreadsCursor:
    """The drivers' own cursors, and all rows of the last statement, in the connections' order."""

    commit: Callable[[], None]
    rollback: Callable[[], None]
    putconn: Callable[[Iterable[Any]], None]

    def __init__(self, threads: Runner, cursors: Sequence[Any]) -> None:
        self._threads = threads
        self._cursors = cursors
        self._rows: Iterator[Any] | None = None
        self.arraysize = 1
        self.rowcount = -1
        self.description: Any = None
        self.closed = False

    def execute(self, query: Any, args: Any = None) -> None:
        """Run a statement on every connection and fetch its rows. Switches: yes."""
        given = (query,) if args is None else (query, args)
        self._execute(query, [partial(cursor.execute, *given) for cursor in self._cursors])

    def executemany(self, query: Any, args_list: Iterable[Any]) -> None:
        """Run a statement once for each set of parameters. Switches: yes."""
        given = (query, list(args_list))
        self._execute(query, [partial(cursor.executemany, *given) for cursor in self._cursors])

    def _execute(self, query: Any, calls: Sequence[Callable[[], object]]) -> None:
        self._check()
        refuse_insert(query, self._threads.connections)
        self._rows, self.rowcount, self.description = None, -1, None
        pairs = zip(self._cursors, calls, strict=True)
        parts = self._threads.run([partial(_rows, cursor, call) for cursor, call in pairs])
        _check_columns([cursor.description for cursor in self._cursors])
        self.description = self._cursors[0].description
        if self.description is None:
            counts = [cursor.rowcount for cursor in self._cursors]
            self.rowcount = -1 if -1 in counts else sum(counts)
        else:
            self.rowcount = sum(map(len, parts))
            self._rows = chain.from_iterable(parts)

    def fetchone(self) -> Any:
        """The next row of the first connection, then of the second, ...; None after the last."""
        return next(self._left(), None)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """At most `size` rows (default: ``arraysize``)."""
        return list(islice(self._left(), self.arraysize if size is None else size))

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        return list(self._left())

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._left())

    def mogrify(self, query: Any, args: Any = None) -> Any:
        """The statement as the first connection's cursor would send it, if its driver can tell."""
        self._check()
        return self._cursors[0].mogrify(query, args)

    def close(self) -> None:
        """Close the cursors. What a thread still uses is left to the driver. Switches: yes."""
        if not (self.closed or self._threads.closed or self._threads.running):
            self._threads.run([cursor.close for cursor in self._cursors])
        self.closed, self._rows = True, None

    def __enter__(self) -> ThreadsCursor:
        self._check()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _left(self) -> Iterator[Any]:
        self._check()
        if self._rows is None:
            raise errors.ProgrammingError("no results to fetch")
        return self._rows

    def _check(self) -> None:
        if self.closed or self._threads.closed:
            raise errors.InterfaceError("cursor already closed")


def _rows(cursor: Any, call: Callable[[], object]) -> Sequence[Any]:
    call()
    return () if cursor.description is None else cursor.fetchall()


def _check_columns(descriptions: Sequence[Any]) -> None:
    """Compare the columns' names; type codes mean nothing across drivers."""
    first, *others = ([column[0] for column in columns or ()] for columns in descriptions)
    for number, names in enumerate(others, 1):
        if [name.casefold() for name in names] != [name.casefold() for name in first]:
            raise errors.ProgrammingError(
                f"the columns are {', '.join(first)} on s0 and {', '.join(names)} on s{number}",
                code="GS202",
                shard=f"s{number}",
                hint="Name the columns instead of *, or bring the tables into line.",
            )
