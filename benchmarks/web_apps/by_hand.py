"""What one would write by hand: psycopg2 patched by psycogreen, and a greenlet for each shard."""

from __future__ import annotations

from functools import partial
from typing import Any

import gevent
from gevent.queue import LifoQueue
from psycogreen.gevent import patch_psycopg

from web_apps.connections import Connections
from web_apps.view import DSNS, Rows, wsgi

patch_psycopg()
shards = [Connections(dsn, LifoQueue()) for dsn in DSNS]


def ask(statement: str, values: tuple[int, int], *, autocommit: bool) -> Rows:
    greenlets = [
        gevent.spawn(shard.ask, statement, values, autocommit=autocommit) for shard in shards
    ]
    gevent.joinall(greenlets)
    rows: list[Any] = []
    for greenlet in greenlets:
        rows += greenlet.get()
    return rows


autocommit, transaction = wsgi(partial(ask, autocommit=True)), wsgi(partial(ask, autocommit=False))
