"""The view that every contestant of web.py serves: what is asked, and of whom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import small_scene

from greenshard.testing import Shards

SHARDS = small_scene.SHARDS
#: Connections to each shard that a contestant may have; threads, where a request has one.
POOL_SIZE = 20
CLIENT_COUNTS = (1, 20, 200)
WAIT_S = 0.005

_COLUMNS = "SELECT id, customer, state, price, booked_at"
_ROWS = "booking WHERE customer IN (%s, %s) ORDER BY id"
#: What a path's first word asks: some 100 rows, a quarter of them on each shard.
STATEMENTS = {
    "at-once": f"{_COLUMNS} FROM {_ROWS}",
    "waiting": f"{_COLUMNS} FROM pg_sleep({WAIT_S}), {_ROWS}",
}
#: The path that asks for the processor time used.
USED = "/used"
CUSTOMERS = small_scene.CUSTOMERS

# All contestants keep their connections all the time.
_SETTINGS = {"max_connections": 15 * POOL_SIZE}


@contextmanager
def databases() -> Iterator[list[str]]:
    """The DSNs of the shards, each with its part of the rows."""
    with Shards(SHARDS, settings=_SETTINGS) as servers:
        dsns = list(servers.dsns.values())
        for number, dsn in enumerate(dsns):
            small_scene.fill(dsn, number)
        yield dsns
