"""Small calls of greenshard, of an older greenshard, and by hand; each a process of its own.

By hand means what `small_contestants` and `contestants` do: psycopg2 patched by psycogreen, a
greenlet for each shard that is asked, and a queue of connections where there is a pool.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import cycle
from typing import Any

import contestants
from contestants import Ask, Rows, open_all, serve
from small_contestants import answer
from small_scene import ROWS, STATEMENTS, cluster

LOOKUP = STATEMENTS["key lookup"]
PART = "SELECT id, customer, state, price, booked_at FROM booking ORDER BY id LIMIT {}"
#: What all shards are asked, with nothing declared.
UNIONS = {
    "SELECT 1 on 4 shards": "SELECT 1",
    "1,000 rows of each shard": PART.format("1000"),
    "20,000 rows of each shard": PART.format("20000"),
}
QUESTIONS = ("key lookup", "transaction of a pool", "take and give back", *UNIONS)


def _keys() -> Iterator[tuple[int]]:
    pick = random.Random(1)
    return cycle([(pick.randrange(ROWS),) for _ in range(2000)])


@contextmanager
def with_greenshard(dsns: list[str]) -> Iterator[Ask]:
    import greenshard  # noqa: PLC0415

    keys, others = _keys(), _keys()
    declared = cluster(dsns)
    with (
        closing(greenshard.connect(declared)) as connection,
        closing(greenshard.connect(dsns)) as union,
        greenshard.Pool(declared) as pool,
    ):
        connection.autocommit = union.autocommit = True

        def in_transaction() -> Rows:
            with pool.connection() as taken:
                return answer(taken, LOOKUP, next(others))

        def take() -> Rows:
            with pool.connection():
                return []

        calls: dict[str, Callable[[], Rows]] = {
            "key lookup": lambda: answer(connection, LOOKUP, next(keys)),
            "transaction of a pool": in_transaction,
            "take and give back": take,
        }
        yield lambda name: calls[name]() if name in calls else answer(union, UNIONS[name])


@contextmanager
def by_hand(dsns: list[str]) -> Iterator[Ask]:
    import gevent  # noqa: PLC0415
    import psycopg2  # noqa: PLC0415
    from gevent.queue import LifoQueue  # noqa: PLC0415

    with contestants.by_hand(dsns) as ask_all, open_all(dsns) as connections, ExitStack() as opened:
        keys, others, shard_of = _keys(), _keys(), _shard_of(connections)
        taken = [opened.enter_context(closing(psycopg2.connect(dsn))) for dsn in dsns]
        queue = LifoQueue()
        queue.put(taken)

        def lookup() -> Rows:
            key = next(keys)
            greenlet = gevent.spawn(answer, connections[shard_of[key[0]]], LOOKUP, key)
            greenlet.join()
            rows: Rows = greenlet.get()
            return rows

        def in_transaction() -> Rows:
            every = queue.get()
            try:
                key = next(others)
                connection = every[shard_of[key[0]]]
                try:
                    rows = answer(connection, LOOKUP, key)
                    connection.commit()
                except BaseException:
                    connection.rollback()
                    raise
                return rows
            finally:
                queue.put(every)

        def take() -> Rows:
            queue.put(queue.get())
            return []

        calls: dict[str, Callable[[], Rows]] = {
            "key lookup": lookup,
            "transaction of a pool": in_transaction,
            "take and give back": take,
        }
        yield lambda name: calls[name]() if name in calls else ask_all(UNIONS[name])


@contextmanager
def green(dsns: list[str]) -> Iterator[Ask]:
    """psycopg2 alone, in the caller's greenlet; it can only look keys up."""
    from psycogreen.gevent import patch_psycopg  # noqa: PLC0415

    patch_psycopg()
    keys = _keys()
    with open_all(dsns) as connections:
        shard_of = _shard_of(connections)

        def ask(_: str) -> Rows:
            key = next(keys)
            return answer(connections[shard_of[key[0]]], LOOKUP, key)

        yield ask


def _shard_of(connections: list[Any]) -> dict[int, int]:
    return {
        key: number
        for number, connection in enumerate(connections)
        for (key,) in answer(connection, "SELECT id FROM booking")
    }


class Server(contestants.Server):
    """Measures processor time, where `contestants.Server` measures how long a call takes."""

    def measure(self, query: str, seconds: float) -> Any:
        """Microseconds of this process for one call."""
        gc.collect()
        self._ask(query)  # finds the processor's caches cold
        calls, end, used = 0, time.perf_counter() + seconds, time.process_time()
        while calls == 0 or time.perf_counter() < end:
            self._ask(query)
            calls += 1
        return (time.process_time() - used) / calls * 1e6


WAYS = {
    "greenshard": with_greenshard,
    "before": with_greenshard,
    "by hand": by_hand,
    "green psycopg2": green,
}


if __name__ == "__main__":
    serve(Server(WAYS[sys.argv[1]]))
