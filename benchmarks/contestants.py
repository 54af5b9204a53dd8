"""The four ways to ask several shards, and the process that one of them runs in.

Each runs in a process of its own, because psycopg2's wait callback is one per process: greenshard
and the hand-written loop need it, the threads and the sequential loop must not have it. Each call
makes new cursors, executes, fetches all rows and gives them back as one list.

The process reads requests from its standard input, ``[method, argument, ...]`` in JSON, one a line,
and answers each on its standard output. It works only while it is asked, and ends with its input.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from typing import Any

import sampling

Rows = list[tuple[Any, ...]]
Ask = Callable[[str], Rows]
Way = Callable[[list[str]], AbstractContextManager[Ask]]

#: From this many calls in a block on, the first is dropped: it finds the processor's caches cold.
_WARM_FROM = 5


@contextmanager
def with_greenshard(dsns: list[str]) -> Iterator[Ask]:
    import greenshard  # noqa: PLC0415

    with closing(greenshard.connect(dsns)) as connection:
        connection.autocommit = True
        yield lambda query: _answer(connection, query)


@contextmanager
def by_hand(dsns: list[str]) -> Iterator[Ask]:
    import gevent  # noqa: PLC0415
    from psycogreen.gevent import patch_psycopg  # noqa: PLC0415

    patch_psycopg()
    with open_all(dsns) as connections:

        def ask(query: str) -> Rows:
            greenlets = [gevent.spawn(_answer, connection, query) for connection in connections]
            gevent.joinall(greenlets)
            rows: Rows = []
            for greenlet in greenlets:
                rows += greenlet.get()
            return rows

        yield ask


@contextmanager
def with_threads(dsns: list[str]) -> Iterator[Ask]:
    import threading  # noqa: PLC0415

    with open_all(dsns) as connections:

        def ask(query: str) -> Rows:
            answers: dict[int, Rows] = {}

            def answer(at: int) -> None:
                answers[at] = _answer(connections[at], query)

            running = [threading.Thread(target=answer, args=(at,)) for at in range(len(dsns))]
            for thread in running:
                thread.start()
            for thread in running:
                thread.join()
            rows: Rows = []
            for at in range(len(dsns)):
                rows += answers[at]
            return rows

        yield ask


@contextmanager
def one_by_one(dsns: list[str]) -> Iterator[Ask]:
    with open_all(dsns) as connections:

        def ask(query: str) -> Rows:
            rows: Rows = []
            for connection in connections:
                rows += _answer(connection, query)
            return rows

        yield ask


WAYS = {
    "greenshard": with_greenshard,
    "by hand": by_hand,
    "threads": with_threads,
    "sequential": one_by_one,
}


@contextmanager
def open_all(dsns: list[str]) -> Iterator[list[Any]]:
    import psycopg2  # noqa: PLC0415

    connections = [psycopg2.connect(dsn) for dsn in dsns]
    for connection in connections:
        connection.autocommit = True
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


def _answer(connection: Any, query: str) -> Rows:
    cursor = connection.cursor()
    cursor.execute(query)
    rows: Rows = cursor.fetchall()
    return rows


class Server:
    """Answers the requests of a `workers.Worker`; one way to ask, over the shards opened last."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._opened = ExitStack()
        self._ask: Ask

    def open(self, dsns: list[str]) -> None:
        """Connect to other shards."""
        self._opened.close()
        self._ask = self._opened.enter_context(self._way(dsns))

    def check(self, query: str) -> tuple[int, int]:
        """How many rows there are, and a checksum of them: the same for every contestant."""
        rows = self._ask(query)
        return len(rows), zlib.crc32(repr(rows).encode())

    def measure(self, query: str, seconds: float) -> list[float]:
        """Call for `seconds`, at least once; how many seconds each call took."""
        gc.collect()
        times = []
        now = time.perf_counter()
        end = now + seconds
        while now < end:
            started = time.perf_counter()
            self._ask(query)
            now = time.perf_counter()
            times.append(now - started)
        return times[len(times) >= _WARM_FROM :]

    def profile(self, query: str, seconds: float) -> dict[str, Any]:
        """Where the processor's time of the calls goes: see `sampling`."""
        return sampling.profile(lambda: self._ask(query), seconds)


def serve(server: object) -> None:
    """Let a `workers.Worker` call the methods of `server`, until the standard input ends."""
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        try:
            outcome = {"value": getattr(server, method)(*arguments)}
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            said = f"{type(error).__name__}: {error}".strip()
            outcome = {"error": f"{said} ({place.filename}:{place.lineno})"}
        print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    serve(Server(WAYS[sys.argv[1]]))
