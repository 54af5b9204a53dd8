"""Four servers that keep what is committed, and a slow way to them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import psycopg2
from commit_contestants import WAYS, WRITERS
from psycopg2.extensions import make_dsn, parse_dsn
from workers import HERE

import greenshard
from greenshard import Cluster
from greenshard.testing import Shards

SHARDS = 4
#: What `Shards` makes fast is safe here, as it is where commits count.
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_prepared_transactions": 20,
}

_TABLE = "CREATE TABLE account (owner text PRIMARY KEY, balance int NOT NULL)"


@contextmanager
def servers() -> Iterator[list[str]]:
    """The DSNs of the shards, initialised, with an account of each contestant on each."""
    with Shards(SHARDS, settings=SETTINGS) as shards:
        dsns = list(shards.dsns.values())
        greenshard.init(Cluster(shards=shards.dsns))
        for dsn in dsns:
            with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
                cursor.execute(_TABLE)
                cursor.executemany(
                    "INSERT INTO account VALUES (%s, 0)", [(name,) for name in (*WAYS, *WRITERS)]
                )
                connection.commit()
        yield dsns


@contextmanager
def slowed(dsns: Sequence[str], delay_s: float) -> Iterator[list[str]]:
    """The DSNs of the same shards, where each message is some seconds on its way."""
    sockets = [f"{_word(dsn, 'host')}/.s.PGSQL.{_word(dsn, 'port')}" for dsn in dsns]
    script = [sys.executable, str(HERE / "slow_wire.py"), str(delay_s), *sockets]
    with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as wire:
        assert wire.stdin is not None
        assert wire.stdout is not None
        try:
            directories = json.loads(wire.stdout.readline())
            yield [
                make_dsn(dsn, host=directory, port=5432)
                for directory, dsn in zip(directories, dsns, strict=True)
            ]
        finally:
            wire.stdin.close()


def _word(dsn: str, key: str) -> str:
    words: dict[str, str] = parse_dsn(dsn)
    return words[key]
