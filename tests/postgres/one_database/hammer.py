"""One of several processes that write the same reference tables at the same time.

    python -m tests.postgres.one_database.hammer cluster.toml SEED

It prints how many of its transactions were committed.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Sequence
from typing import Any

import psycopg2

import greenshard

TRANSACTIONS = 30
STEPS = [
    "INSERT INTO r VALUES ({k}, {n}) ON CONFLICT (id) DO UPDATE SET n = excluded.n",
    "INSERT INTO r VALUES ({k}, {n}) ON CONFLICT DO NOTHING",
    "UPDATE r SET n = n + 1 WHERE id = {k}",
    "UPDATE r SET n = n + 1 WHERE n > {n}",
    "UPDATE r SET c = (SELECT max(n) FROM other)::text WHERE id = {k}",
    "UPDATE other SET n = n + 1 WHERE id = {k}",
    "DELETE FROM r WHERE id = {k}",
    "DELETE FROM r WHERE n = {n}",
    "UPDATE r SET n = random() * 5 WHERE n < {n}",
    "INSERT INTO r (id, n) SELECT id + {k} * 10, n FROM other ON CONFLICT (id) DO NOTHING",
    "UPDATE keyless SET n = n + 1 WHERE n < {n}",
    "INSERT INTO keyless VALUES ({k}, {n})",
]
MORE = [
    "UPDATE r SET n = {n} WHERE id = {k} AND n > {n}",
    "UPDATE doubled SET n = {n} WHERE n > {n}",
    "INSERT INTO numbered (n) VALUES ({n}), ({k})",
    "UPDATE numbered SET n = n - 1 WHERE n > {n}",
]
MERGES = [
    (
        "MERGE INTO r USING (VALUES ({k}, {n})) v (i, m) ON r.id = v.i"
        " WHEN MATCHED AND r.n > 5 THEN DELETE WHEN MATCHED THEN UPDATE SET n = v.m"
        " WHEN NOT MATCHED THEN INSERT (id, n) VALUES (v.i, v.m)"
    ),
    (
        "MERGE INTO numbered USING (VALUES ({k})) v (m) ON numbered.n = v.m"
        " WHEN MATCHED THEN UPDATE SET n = numbered.n + 1"
        " WHEN NOT MATCHED THEN INSERT (n) VALUES (v.m)"
    ),
]
#: What a writer that meets another one may be told.
MEETING = (
    psycopg2.errors.SerializationFailure,
    psycopg2.errors.DeadlockDetected,
    psycopg2.errors.UniqueViolation,
)


def hammer(
    conn: Any,
    pick: random.Random,
    steps: Sequence[str],
    transactions: int,
    failing: tuple[type[Exception], ...] = MEETING,
) -> int:
    """Run transactions of one or two steps each; how many were committed."""
    done = 0
    for _ in range(transactions):
        try:
            for _ in range(pick.choice((1, 1, 2))):
                text = pick.choice(steps).format(k=pick.randrange(9), n=pick.randrange(9))
                conn.cursor().execute(text)
            conn.commit()
            done += 1
        except failing:
            conn.rollback()
    return done


def main(path: str, seed: str) -> int:
    pick = random.Random(seed)
    with contextlib.closing(greenshard.connect(path, timeout=60.0)) as conn:
        conn.autocommit = pick.random() < 0.3
        steps = [*STEPS, *MORE, *(MERGES if conn.info.server_version >= 150000 else ())]
        failing = (*MEETING, psycopg2.errors.CardinalityViolation)
        return hammer(conn, pick, steps, TRANSACTIONS, failing)


if __name__ == "__main__":
    print(main(*sys.argv[1:]))  # noqa: T201  # it is a program
