"""The writes, the tables that they change, and the databases of each contestant on four servers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

import psycopg2

import greenshard
from greenshard import Cluster, Sharded
from greenshard.cluster import Hash
from greenshard.testing import Shards

SHARDS = 4
ROWS = 20_000
CUSTOMERS = 400
#: The first id that no row has.
NEW = 1_000_000
MANY, SOME = 1_000, 10

STATEMENTS = {
    "insert one row": "INSERT INTO booking (id, customer, note) VALUES (%s, %s, %s)",
    "insert 1,000 rows": "INSERT INTO booking (id, customer, note) VALUES {}",
    "execute_values, 1,000 rows": "INSERT INTO booking (id, customer, note) VALUES %s",
    "insert 10 rows, numbered": "INSERT INTO ticket (title) VALUES {} RETURNING id",
    "upsert": "INSERT INTO booking (id, customer, note) VALUES (%s, %s, %s)"
    " ON CONFLICT (id) DO UPDATE SET note = excluded.note RETURNING customer",
    "update one row": "UPDATE booking SET note = %s WHERE id = %s",
    "update everywhere": "UPDATE booking SET note = %s WHERE customer = %s",
    "insert-select": "INSERT INTO archive SELECT id, note FROM booking WHERE customer = %s",
}
#: What by hand inserts the tickets that have their numbers.
NUMBERED = "INSERT INTO ticket (id, title) VALUES {} RETURNING id"

_FILL = """
CREATE TABLE keys (key bigint) PARTITION BY HASH (key);
CREATE TABLE booking (id bigint PRIMARY KEY, customer int, note text);
INSERT INTO booking SELECT id, id * 7919 % {customers}, 'booking no. ' || id
FROM generate_series(0::bigint, {rows} - 1) AS id
WHERE satisfies_hash_partition('keys'::regclass, {count}, {number}, id);
CREATE INDEX ON booking (customer);
CREATE TABLE ticket (id bigserial PRIMARY KEY, title text);
CREATE TABLE archive (id bigint, note text);
"""


def cluster(dsns: Sequence[str]) -> Cluster:
    return Cluster(
        shards={f"s{number}": dsn for number, dsn in enumerate(dsns)},
        tables={name: Sharded("id") for name in ("booking", "ticket", "archive")},
    )


def shard_of(key: int) -> int:
    """The number of a key's shard."""
    names = tuple(f"s{number}" for number in range(SHARDS))
    return names.index(str(Hash().shards_for(key, "int8", names)))


@contextmanager
def databases(contestants: Sequence[str]) -> Iterator[dict[str, list[str]]]:
    """For each contestant the DSNs of its own four databases, all with the same rows."""
    with Shards(SHARDS) as servers, ExitStack() as opened:
        made = [list(opened.enter_context(servers.databases()).values()) for _ in contestants]
        for dsns in made:
            for number, dsn in enumerate(dsns):
                _fill(dsn, number)
            greenshard.init(cluster(dsns))
        yield dict(zip(contestants, made, strict=True))


def _fill(dsn: str, number: int) -> None:
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(_FILL.format(rows=ROWS, customers=CUSTOMERS, count=SHARDS, number=number))
        cursor.execute("VACUUM (ANALYZE) booking")
