"""Rows that never change, and questions whose answers are known."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from psycopg2.extras import execute_values

_COUNT, _OWNERS = 400, 8
IDS = range(1, _COUNT + 1)
NAMES = {number: f"owner {number}" for number in range(_OWNERS)}


def owner(item):
    return item % _OWNERS


def price(item):
    return Decimal(item * 37 % 1000) + Decimal("0.25")


def amount(item, line):
    return item % 7 + line


def load(cur, ids):
    """Fill the tables of a shard that has some of the items."""
    execute_values(cur, "INSERT INTO owner VALUES %s", list(NAMES.items()))
    execute_values(cur, "INSERT INTO item VALUES %s", [(i, owner(i), price(i)) for i in ids])
    details = [(i, line, amount(i, line)) for i in ids for line in (1, 2)]
    execute_values(cur, "INSERT INTO detail VALUES %s", details)


def one(rand):
    """Runs on one shard."""
    item = rand.choice(IDS)
    return "SELECT owner, price FROM item WHERE id = %s", (item,), [(owner(item), price(item))]


def reference(rand):
    """Runs on any shard."""
    number = rand.choice(list(NAMES))
    return "SELECT name FROM owner WHERE id = %s", (number,), [(NAMES[number],)]


def concatenated(rand):
    """Rows of all shards, in no order."""
    number = rand.choice(list(NAMES))
    expected = [(i, amount(i, 2)) for i in IDS if owner(i) == number]
    asked = (
        "SELECT i.id, d.amount FROM item i JOIN detail d ON d.item = i.id"
        " JOIN owner o ON o.id = i.owner WHERE o.name = %s AND d.line = 2"
    )
    return asked, (NAMES[number],), expected


def merged(rand):
    """The first rows of all shards."""
    limit = rand.randrange(1, 50)
    expected = sorted(((price(i), i) for i in IDS), key=lambda row: (-row[0], row[1]))
    return (
        "SELECT price, id FROM item ORDER BY price DESC, id LIMIT %s",
        (limit,),
        expected[:limit],
    )


def combined(rand):
    """Aggregates over all shards."""
    most = rand.choice(IDS)
    counts, sums = Counter(), Counter()
    for i in range(1, most + 1):
        counts[owner(i)] += 1
        sums[owner(i)] += price(i)
    expected = [(o, counts[o], sums[o]) for o in sorted(counts)]
    return (
        "SELECT owner, count(*), sum(price) FROM item WHERE id <= %s GROUP BY owner ORDER BY owner",
        (most,),
        expected,
    )


def gathered(rand):
    """What needs the rows in one place: a join that is not on the key."""
    most = rand.choice(IDS)
    chosen = range(1, most + 1)
    count = sum(
        price(a) < price(b) for a in chosen if owner(a) == 1 for b in chosen if owner(b) == 2
    )
    asked = (
        "SELECT count(*) FROM item a JOIN item b ON a.price < b.price"
        " WHERE a.owner = 1 AND b.owner = 2 AND a.id <= %s AND b.id <= %s"
    )
    return asked, (most, most), [(count,)]


READS = (one, one, reference, concatenated, merged, combined, gathered)
