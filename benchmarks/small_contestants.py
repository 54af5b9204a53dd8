"""What one would write by hand for each small statement, and greenshard.

Each is a process of its own, see `contestants`. By hand means: psycopg2 patched by psycogreen, a
greenlet for each shard that is asked, and the obvious fast way to make one answer of several. It
knows which shard has a key from a dictionary, so that finding it costs nothing.
"""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import cycle
from typing import Any

from contestants import Ask, Rows, Server, open_all, serve
from small_scene import CUSTOMERS, ROWS, STATEMENTS, cluster


def _parameters() -> dict[str, Iterator[tuple[int, ...]]]:
    """Another value at each call, the same ones for every contestant."""
    pick = random.Random(1)
    return {
        "key lookup": cycle([(pick.randrange(ROWS),) for _ in range(2000)]),
        "filter": cycle([(pick.randrange(CUSTOMERS),) for _ in range(2000)]),
    }


def answer(connection: Any, statement: str, parameters: Sequence[int] | None = None) -> Rows:
    cursor = connection.cursor()
    cursor.execute(statement, parameters)
    rows: Rows = cursor.fetchall()
    return rows


@contextmanager
def with_greenshard(dsns: list[str]) -> Iterator[Ask]:
    import greenshard  # noqa: PLC0415

    parameters = _parameters()
    with closing(greenshard.connect(cluster(dsns))) as connection:
        connection.autocommit = True

        def ask(name: str) -> Rows:
            values = next(parameters[name]) if name in parameters else None
            return answer(connection, STATEMENTS[name], values)

        yield ask


@contextmanager
def by_hand(dsns: list[str]) -> Iterator[Ask]:
    import gevent  # noqa: PLC0415
    from psycogreen.gevent import patch_psycopg  # noqa: PLC0415

    patch_psycopg()
    parameters = _parameters()
    with open_all(dsns) as connections:
        shard_of = _shard_of(connections)

        def gather(name: str, values: Sequence[int] | None = None) -> list[Rows]:
            greenlets = [
                gevent.spawn(answer, connection, STATEMENTS[name], values)
                for connection in connections
            ]
            gevent.joinall(greenlets)
            return [greenlet.get() for greenlet in greenlets]

        def key_lookup() -> Rows:
            values = next(parameters["key lookup"])
            connection = connections[shard_of[values[0]]]
            greenlet = gevent.spawn(answer, connection, STATEMENTS["key lookup"], values)
            greenlet.join()
            rows: Rows = greenlet.get()
            return rows

        asked: dict[str, Callable[[], Rows]] = {
            "key lookup": key_lookup,
            "count": lambda: [(sum(part[0][0] for part in gather("count")),)],
            "group by": lambda: merge_groups(gather("group by")),
            "top 10": lambda: merge_top(gather("top 10")),
            "filter": lambda: concatenate(gather("filter", next(parameters["filter"]))),
        }
        yield lambda name: asked[name]()


def concatenate(parts: list[Rows]) -> Rows:
    rows: Rows = []
    for part in parts:
        rows += part
    return rows


def merge_groups(parts: list[Rows]) -> Rows:
    """Add the counts and the sums of each state."""
    groups: defaultdict[str, list[Any]] = defaultdict(lambda: [0, 0])
    for part in parts:
        for state, count, total in part:
            group = groups[state]
            group[0] += count
            group[1] += total
    return [(state, count, total) for state, (count, total) in sorted(groups.items())]


def merge_top(parts: list[Rows]) -> Rows:
    """The first ten of the shards' first ten."""
    return sorted(concatenate(parts), key=lambda row: (-row[1], row[0]))[:10]


@contextmanager
def raw(dsns: list[str]) -> Iterator[Ask]:
    """psycopg2 as it is, asked for keys; it blocks the process."""
    values = _parameters()["key lookup"]
    with open_all(dsns) as connections:
        shard_of = _shard_of(connections)

        def ask(name: str) -> Rows:
            key = next(values)
            return answer(connections[shard_of[key[0]]], STATEMENTS[name], key)

        yield ask


@contextmanager
def raw_green(dsns: list[str]) -> Iterator[Ask]:
    """As `raw`, patched by psycogreen: other greenlets run while it waits."""
    from psycogreen.gevent import patch_psycopg  # noqa: PLC0415

    patch_psycopg()
    with raw(dsns) as ask:
        yield ask


WAYS = {
    "greenshard": with_greenshard,
    "by hand": by_hand,
    "psycopg2": raw,
    "green psycopg2": raw_green,
}


def _shard_of(connections: Sequence[Any]) -> dict[int, int]:
    return {
        key: number
        for number, connection in enumerate(connections)
        for (key,) in answer(connection, "SELECT id FROM booking")
    }


if __name__ == "__main__":
    serve(Server(WAYS[sys.argv[1]]))
