"""The small statements, the table that they ask, and the four servers that hold it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import psycopg2

from greenshard import Cluster, Sharded
from greenshard.testing import Shards

SHARDS = 4
ROWS = 100_000
CUSTOMERS = 2_000

STATEMENTS = {
    "key lookup": "SELECT id, customer, state, price, booked_at, note FROM booking WHERE id = %s",
    "count": "SELECT count(*) FROM booking",
    "group by": "SELECT state, count(*), sum(price) FROM booking GROUP BY state ORDER BY state",
    "top 10": "SELECT id, price, note FROM booking ORDER BY price DESC, id LIMIT 10",
    "filter": "SELECT id, customer, state, price, booked_at FROM booking WHERE customer = %s",
}

# A shard takes the rows that PostgreSQL's own hash partitioning gives it, as greenshard's Hash does
# where the number of shards divides that of its slots.
_FILL = """
CREATE TABLE keys (key bigint) PARTITION BY HASH (key);
CREATE TABLE booking AS
SELECT id, customer, state, price, booked_at, 'booking no. ' || id AS note
FROM generate_series(0::bigint, {rows} - 1) AS id,
     LATERAL (SELECT (id * 7919 % {customers})::integer AS customer,
                     (ARRAY['new', 'paid', 'sent', 'back', 'done'])[id % 5 + 1] AS state,
                     (id * 104729 % 999983 * 0.01)::numeric(10, 2) AS price,
                     timestamp '2013-01-01' + id * interval '1 minute' AS booked_at) AS made
WHERE satisfies_hash_partition('keys'::regclass, {count}, {number}, id);
ALTER TABLE booking ADD PRIMARY KEY (id);
CREATE INDEX ON booking (customer);
CREATE INDEX ON booking (price DESC, id);
DROP TABLE keys;
"""


def cluster(dsns: Sequence[str]) -> Cluster:
    return Cluster(
        shards={f"s{number}": dsn for number, dsn in enumerate(dsns)},
        tables={"booking": Sharded("id")},
    )


@contextmanager
def databases() -> Iterator[list[str]]:
    """The DSNs of the shards, each with its part of the rows."""
    with Shards(SHARDS) as servers:
        dsns = list(servers.dsns.values())
        for number, dsn in enumerate(dsns):
            fill(dsn, number)
        yield dsns


def fill(dsn: str, number: int) -> None:
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(_FILL.format(rows=ROWS, customers=CUSTOMERS, count=SHARDS, number=number))
        cursor.execute("VACUUM (ANALYZE) booking")
