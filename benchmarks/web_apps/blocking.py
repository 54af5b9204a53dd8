"""Plain psycopg2 under threads: a further thread for each shard, or one shard after the other."""

from __future__ import annotations

import threading
from queue import LifoQueue
from typing import Any

from web_apps.connections import Connections
from web_apps.view import DSNS, Rows, wsgi

shards = [Connections(dsn, LifoQueue()) for dsn in DSNS]


def in_sequence(statement: str, values: tuple[int, int]) -> Rows:
    rows: list[Any] = []
    for shard in shards:
        rows += shard.ask(statement, values)
    return rows


def in_threads(statement: str, values: tuple[int, int]) -> Rows:
    answers: dict[int, Rows] = {}

    def ask(number: int) -> None:
        answers[number] = shards[number].ask(statement, values)

    running = [threading.Thread(target=ask, args=(number,)) for number in range(len(shards))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    rows: list[Any] = []
    for number in range(len(shards)):
        rows += answers[number]
    return rows


sequential, threads = wsgi(in_sequence), wsgi(in_threads)
