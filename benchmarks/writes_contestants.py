"""What one would write by hand for each write, and greenshard.

Each is a process of its own, see `contestants`, and has databases of its own. By hand means:
psycopg2 patched by psycogreen, a greenlet for each shard that is written, and where that are
several, a transaction on each, and a greenlet for each COMMIT after all have done their part. It
knows which shard has a key from a dictionary, so that finding it costs nothing.

That is less than greenshard does: if somebody dies between two COMMITs, the write is half done. So
by hand there is a second way, as safe as greenshard's, whose messages are the same.
"""

from __future__ import annotations

import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import count, cycle
from typing import Any

from commit_contestants import CHECK, DECIDE, LOCK, WROTE
from contestants import Ask, Rows, Server, open_all, serve
from writes_scene import (
    CUSTOMERS,
    MANY,
    NEW,
    NUMBERED,
    ROWS,
    SOME,
    STATEMENTS,
    cluster,
    shard_of,
)

Row = tuple[Any, ...]
#: Rows that are written in turn, if there are that many: by hand must know where each belongs.
_KNOWN = 700_000


def _new_rows() -> Iterator[Row]:
    """Another row at each call, the same ones for every contestant."""
    return ((NEW + number, CUSTOMERS + number % 9, f"note {number}") for number in count())


def _old_rows() -> Iterator[Row]:
    pick = random.Random(1)
    return cycle([(pick.randrange(ROWS), 1, f"note {number}") for number in range(2000)])


def _customers() -> Iterator[Row]:
    return cycle([(f"note {number}", number) for number in range(CUSTOMERS)])


def _titles() -> list[str]:
    return [f"ticket {number}" for number in range(SOME)]


def _take(rows: Iterator[Row], many: int) -> list[Row]:
    return [next(rows) for _ in range(many)]


def _places(rows: Sequence[Row]) -> str:
    """A placeholder for each value."""
    row = f"({', '.join('%s' for _ in rows[0])})"
    return ", ".join(row for _ in rows)


def _flat(rows: Sequence[Row]) -> list[Any]:
    return [value for row in rows for value in row]


def _run(connection: Any, text: str, values: Sequence[Any] | None) -> Rows:
    """The rows, or how many were written."""
    cursor = connection.cursor()
    cursor.execute(text, values)
    rows: Rows = [(cursor.rowcount,)] if cursor.description is None else cursor.fetchall()
    return rows


def _run_values(connection: Any, text: str, rows: Sequence[Row]) -> Rows:
    from psycopg2.extras import execute_values  # noqa: PLC0415

    cursor = connection.cursor()
    execute_values(cursor, text, rows, page_size=len(rows))
    return [(cursor.rowcount,)]


@contextmanager
def with_greenshard(dsns: list[str]) -> Iterator[Ask]:
    import greenshard  # noqa: PLC0415

    new, old, customers = _new_rows(), _old_rows(), _customers()
    with closing(greenshard.connect(cluster(dsns))) as connection:
        connection.autocommit = True

        def several(name: str, rows: Sequence[Row]) -> Rows:
            return _run(connection, STATEMENTS[name].format(_places(rows)), _flat(rows))

        calls: dict[str, Callable[[str], Rows]] = {
            "insert one row": lambda name: _run(connection, STATEMENTS[name], next(new)),
            "insert 1,000 rows": lambda name: several(name, _take(new, MANY)),
            "execute_values, 1,000 rows": lambda name: _run_values(
                connection, STATEMENTS[name], _take(new, MANY)
            ),
            "insert 10 rows, numbered": lambda name: several(name, [(t,) for t in _titles()]),
            "upsert": lambda name: _run(connection, STATEMENTS[name], next(old)),
            "update one row": lambda name: _run(connection, STATEMENTS[name], next(old)[2::-2]),
            "update everywhere": lambda name: _run(connection, STATEMENTS[name], next(customers)),
            "insert-select": lambda name: _run(connection, STATEMENTS[name], next(customers)[1:]),
        }
        yield lambda name: calls[name](name)


class _ByHand:
    """Connections to the shards, one set in autocommit and one that is not."""

    def __init__(self, alone: Sequence[Any], together: Sequence[Any]) -> None:
        self.alone, self.together = alone, together
        for connection in together:
            connection.autocommit = False
        self.shards = {key: shard_of(key) for key in (*range(ROWS), *range(NEW, NEW + _KNOWN))}

    def on_one(self, shard: int, text: str, values: Sequence[Any]) -> Rows:
        import gevent  # noqa: PLC0415

        greenlet = gevent.spawn(_run, self.alone[shard], text, values)
        greenlet.join()
        rows: Rows = greenlet.get()
        return rows

    #: What goes before the statements of several shards.
    prefix = ""

    def on_several(self, calls: dict[int, tuple[Any, ...]]) -> dict[int, Rows]:
        """Call what each shard's connection is to do, and commit on all."""
        import gevent  # noqa: PLC0415

        greenlets = {
            shard: gevent.spawn(function, self.together[shard], *rest)
            for shard, (function, *rest) in calls.items()
        }
        gevent.joinall(list(greenlets.values()))
        found = {shard: greenlet.get() for shard, greenlet in greenlets.items()}
        self.commit(list(calls))
        return found

    def commit(self, shards: Sequence[int]) -> None:
        """Commit on all of them."""
        import gevent  # noqa: PLC0415

        commits = [gevent.spawn(self.together[shard].commit) for shard in shards]
        gevent.joinall(commits)
        for commit in commits:
            commit.get()

    def everywhere(self, text: str, values: Sequence[Any]) -> Rows:
        calls = dict.fromkeys(range(len(self.together)), (_run, self.prefix + text, values))
        return [(sum(rows[0][0] for rows in self.on_several(calls).values()),)]

    def split(self, rows: Sequence[Row]) -> dict[int, list[Row]]:
        parts: defaultdict[int, list[Row]] = defaultdict(list)
        for row in rows:
            parts[self.shard(row[0])].append(row)
        return parts

    def insert(self, text: str, rows: Sequence[Row]) -> Rows:
        calls = {
            shard: (_run, self.prefix + text.format(_places(part)), _flat(part))
            for shard, part in self.split(rows).items()
        }
        return [(sum(found[0][0] for found in self.on_several(calls).values()),)]

    def insert_values(self, text: str, rows: Sequence[Row]) -> Rows:
        calls = {
            shard: (_run_values, self.prefix + text, part)
            for shard, part in self.split(rows).items()
        }
        return [(sum(found[0][0] for found in self.on_several(calls).values()),)]

    def insert_numbered(self) -> Rows:
        count = "SELECT nextval('ticket_id_seq') FROM generate_series(1, %s)"
        ids = [number for (number,) in self.on_one(0, count, (SOME,))]
        parts: defaultdict[int, list[Row]] = defaultdict(list)
        for row in zip(ids, _titles(), strict=True):
            parts[self.shard(row[0])].append(row)
        self.on_several(
            {
                shard: (_run, self.prefix + NUMBERED.format(_places(part)), _flat(part))
                for shard, part in parts.items()
            }
        )
        return [(number,) for number in ids]

    def shard(self, key: int) -> int:
        if key not in self.shards:
            self.shards[key] = shard_of(key)
        return self.shards[key]


class _ByHandSafely(_ByHand):
    """The first of the shards decides for all; see `commit_contestants.Decided`."""

    prefix = "BEGIN; "

    def __init__(self, alone: Sequence[Any], together: Sequence[Any]) -> None:
        super().__init__(alone, together)
        self._numbers = count()
        for connection in together:
            connection.autocommit = True

    def commit(self, shards: Sequence[int]) -> None:
        gid = f"by hand {time.time_ns()} {next(self._numbers)}"
        first, *others = shards
        last = f"{LOCK}; {DECIDE.format(gid)}; {WROTE}"
        texts = {
            shard: f"{CHECK}; {last if shard == first else f'{LOCK}; {WROTE}'}" for shard in shards
        }
        self._on(texts)
        self._on({shard: f"PREPARE TRANSACTION '{gid} {shard}'" for shard in others})
        self._on({first: "COMMIT"})
        self._on({shard: f"COMMIT PREPARED '{gid} {shard}'" for shard in others})

    def _on(self, texts: dict[int, str]) -> None:
        import gevent  # noqa: PLC0415

        greenlets = [gevent.spawn(_run, self.together[s], text, None) for s, text in texts.items()]
        gevent.joinall(greenlets)
        for greenlet in greenlets:
            greenlet.get()


@contextmanager
def by_hand(dsns: list[str], way: type[_ByHand] = _ByHand) -> Iterator[Ask]:
    from psycogreen.gevent import patch_psycopg  # noqa: PLC0415

    patch_psycopg()
    new, old, customers = _new_rows(), _old_rows(), _customers()
    with open_all(dsns) as alone, open_all(dsns) as together:
        hand = way(alone, together)

        def one(name: str, row: Row, values: Sequence[Any]) -> Rows:
            return hand.on_one(hand.shard(row[0]), STATEMENTS[name], values)

        def of_row(name: str, rows: Iterator[Row], places: slice = slice(None)) -> Rows:
            row = next(rows)
            return one(name, row, row[places])

        calls: dict[str, Callable[[str], Rows]] = {
            "insert one row": lambda name: of_row(name, new),
            "insert 1,000 rows": lambda name: hand.insert(STATEMENTS[name], _take(new, MANY)),
            "execute_values, 1,000 rows": lambda name: hand.insert_values(
                STATEMENTS[name], _take(new, MANY)
            ),
            "insert 10 rows, numbered": lambda _: hand.insert_numbered(),
            "upsert": lambda name: of_row(name, old),
            "update one row": lambda name: of_row(name, old, slice(2, None, -2)),
            "update everywhere": lambda name: hand.everywhere(STATEMENTS[name], next(customers)),
            "insert-select": lambda name: hand.everywhere(STATEMENTS[name], next(customers)[1:]),
        }
        yield lambda name: calls[name](name)


WAYS = {
    "greenshard": with_greenshard,
    "by hand": by_hand,
    "by hand, as safe": partial(by_hand, way=_ByHandSafely),
}


if __name__ == "__main__":
    serve(Server(WAYS[sys.argv[1]]))
