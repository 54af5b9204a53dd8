"""Finds rows that are on another shard than the one that their key belongs on.

For `Hash` each server says so itself, of all its rows in one statement, by PostgreSQL's own
``satisfies_hash_partition``. That function needs a table that is partitioned by such a key: a
temporary one is made, and rolled back. For other placements the keys are read and placed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from greenshard.checking.findings import Finding, counted
from greenshard.checking.probe import SHARD, escaped, transaction
from greenshard.cluster import Hash, Placement
from greenshard.connection import Connection

MOST_REMAINDERS = 1024
"""Of more than so many slots the statement would be too long; then keys are placed here."""

_SHOWN = 40
"""How many characters of a key a finding shows."""

# psycopg2 gives the last and the first day of Python for them.
_INFINITIES = ("infinity", "-infinity")

_BATCH = 10_000
"""How many keys are fetched at a time."""

_PARENT = "CREATE TEMPORARY TABLE greenshard_key (key pg_catalog.{type}) PARTITION BY HASH (key)"


@dataclass(frozen=True)
class Key:
    """A sharded table and its shard key.

    Attributes:
        table: The table as SQL.
        column: The key as SQL.
        type_name: ``pg_type.typname`` of the key's type, or of a domain's base type.
    """

    table: str
    column: str
    type_name: str


@dataclass
class Share:
    """The rows that one shard has of those that belong on another, or the same.

    Attributes:
        shard: Where they are.
        belongs: Where they belong; None if the placement does not say.
        rows: How many.
        example: The key of one, as PostgreSQL's text.
    """

    shard: str
    belongs: str | None
    rows: int
    example: str | None = None


def read_shares(
    conn: Connection, key: Key, placement: Placement, shards: Sequence[str], names: tuple[str, ...]
) -> list[Share]:
    """Read how many rows each shard has, and where they belong.

    Args:
        conn: A connection to the cluster's shards.
        key: The table and its key.
        placement: The table's.
        shards: Which ones have the table.
        names: All shards of the cluster.

    Raises:
        errors.DatabaseError: The table cannot be read.

    Switches: yes.

    Cost: reads the table, on all shards at once.
    """
    if isinstance(placement, Hash):
        remainders = remainders_of(placement, names)
        # One comparison for each remainder stands in the statement.
        if remainders.modulus <= MOST_REMAINDERS:
            return _shares_by_server(conn, key, remainders, shards)
    return _shares_by_keys(conn, key, placement, shards, names)


@dataclass(frozen=True)
class Remainders:
    """Which remainders of a key's hash are on which shard."""

    modulus: int
    of: Mapping[str, tuple[int, ...]]


def remainders_of(placement: Hash, shards: tuple[str, ...]) -> Remainders:
    """The smallest modulus that says the same as the slots.

    >>> remainders_of(Hash(slots=256), ("s0", "s1"))
    Remainders(modulus=2, of={'s0': (0,), 's1': (1,)})
    """
    slots = placement.slots
    if placement.assignment is None:
        # 256 slots on 2 shards in turn: the remainder by 2 says as much as that by 256.
        modulus = len(shards) if slots % len(shards) == 0 else slots
        if modulus > MOST_REMAINDERS:
            return Remainders(modulus, {})
        owners = [placement.shard_of(slot, shards) for slot in range(modulus)]
    else:
        owners = [placement.shard_of(slot, shards) for slot in range(slots)]
        modulus = next(m for m in range(1, slots + 1) if slots % m == 0 and _repeats(owners, m))
    of = {shard: tuple(r for r in range(modulus) if owners[r] == shard) for shard in shards}
    return Remainders(modulus, of)


def _repeats(owners: Sequence[str], period: int) -> bool:
    return owners[period:] == owners[:-period]


def _shares_by_server(
    conn: Connection, key: Key, remainders: Remainders, shards: Sequence[str]
) -> list[Share]:
    statement, parameters = placing_statement(key, remainders)
    with transaction(conn, shards) as cursor:
        # The base type of a domain: satisfies_hash_partition() wants the very type of the partition
        # key.
        cursor.execute(_PARENT.format(type=key.type_name))
        cursor.execute(statement, parameters)
        return [Share(*row) for row in cursor.fetchall()]


def placing_statement(key: Key, remainders: Remainders) -> tuple[str, list[object]]:
    """The statement that counts a shard's rows by the shard that they belong on: see `placed`."""
    rows, values = placed(key, remainders)
    statement = f"""
        SELECT {SHARD}, belongs, count(*),
            min(CASE WHEN belongs <> {SHARD} THEN key::text END COLLATE "C")
        FROM {rows} AS placed
        GROUP BY belongs ORDER BY belongs
    """
    return statement, values


def strangers_statement(key: Key, remainders: Remainders) -> tuple[str, list[object]]:
    """The statement that gives the keys of a shard's rows that belong on other ones.

    Of each key: the key as text, the shard that it belongs on, how many rows have it.
    """
    rows, values = placed(key, remainders)
    statement = f"""
        SELECT key::text, belongs, count(*)
        FROM {rows} AS placed WHERE belongs <> {SHARD} GROUP BY key, belongs
    """
    return statement, values


def placed(key: Key, remainders: Remainders) -> tuple[str, list[object]]:
    """A subquery: of each row of a shard its key, and the shard that it belongs on.

    With it, for two shards::

        SELECT current_setting('greenshard.shard'), belongs, count(*), min(example of others)
        FROM (SELECT key, CASE
                WHEN current_setting('greenshard.shard') = 's0' AND (remainder 0) THEN 's0'
                WHEN current_setting('greenshard.shard') = 's1' AND (remainder 1) THEN 's1'
                WHEN (remainder 0) THEN 's0'
                WHEN (remainder 1) THEN 's1' END AS belongs FROM t) ...

    A shard's own remainders come first, since nearly all its rows have those.
    """
    own, others = [], []
    own_values: list[object] = []
    other_values: list[object] = []
    for shard, numbers in remainders.of.items():
        if not numbers:
            continue
        test = " OR ".join([_satisfies(key)] * len(numbers))
        values = [value for number in numbers for value in (remainders.modulus, number)]
        own.append(f"WHEN {SHARD} = %s AND ({test}) THEN %s")
        own_values += [shard, *values, shard]
        others.append(f"WHEN {test} THEN %s")
        other_values += [*values, shard]
    belongs = " ".join([*own, *others])
    # OFFSET 0 keeps the server from computing it twice for each row.
    rows = f"""(
            SELECT {escaped(key.column)} AS key, CASE {belongs} END AS belongs
            FROM {escaped(key.table)} OFFSET 0)"""
    return rows, own_values + other_values


def _satisfies(key: Key) -> str:
    parent = "'pg_temp.greenshard_key'::regclass"
    return f"satisfies_hash_partition({parent}, %s, %s, {escaped(key.column)})"


def _shares_by_keys(
    conn: Connection,
    key: Key,
    placement: Placement,
    shards: Sequence[str],
    names: tuple[str, ...],
) -> list[Share]:
    shares: dict[tuple[str, str | None], Share] = {}
    for shard, text, belongs, rows in _keys_placed_here(conn, key, placement, shards, names):
        share = shares.setdefault((shard, belongs), Share(shard, belongs, 0, text))
        share.rows += rows
    return sorted(shares.values(), key=lambda share: (share.shard, share.belongs or ""))


def _keys_placed_here(
    conn: Connection,
    key: Key,
    placement: Placement,
    shards: Sequence[str],
    names: tuple[str, ...],
) -> Iterator[tuple[str, str | None, str | None, int]]:
    """Every key that a shard has, as text; where it belongs, and how many rows have it."""
    with transaction(conn, shards, name="greenshard_keys") as cursor:
        cursor.itersize = _BATCH
        cursor.execute(
            f"SELECT {SHARD}, {key.column}, {key.column}::text, count(*)"
            f" FROM {key.table} GROUP BY {key.column}"
        )
        for shard, given, text, rows in cursor:
            # As text: psycopg2 reads infinity as the last day of Python's calendar.
            value = text if text in _INFINITIES else key_value(given, key.type_name)
            yield shard, text, placement.shards_for(value, key.type_name, names), rows


def strangers(
    conn: Connection, key: Key, placement: Placement, shard: str, names: tuple[str, ...]
) -> Iterator[tuple[str | None, str | None, int]]:
    """The keys of rows that are on a shard and belong on another one.

    Args:
        conn: A connection to the cluster's shards; it is in use until all were read.
        key: The table and its key.
        placement: The table's.
        shard: The shard.
        names: All shards of the cluster.

    Yields:
        A key as text, the shard that it belongs on (None: the placement does not say), and how
        many rows have it.

    Switches: yes. Cost: reads the table.
    """
    remainders = remainders_of(placement, names) if isinstance(placement, Hash) else None
    if remainders is None or remainders.modulus > MOST_REMAINDERS:
        for _, text, belongs, rows in _keys_placed_here(conn, key, placement, [shard], names):
            if belongs != shard:
                yield text, belongs, rows
        return
    with transaction(conn, [shard], name="greenshard_keys") as cursor:
        with conn.on(shard).cursor() as making:
            making.execute(_PARENT.format(type=key.type_name))
        cursor.itersize = _BATCH
        cursor.execute(*strangers_statement(key, remainders))
        yield from cursor


def key_value(value: Any, type_name: str) -> Any:
    """A key as placements take it, from what psycopg2 gives."""
    if isinstance(value, memoryview):
        return bytes(value)
    return UUID(value) if type_name == "uuid" and isinstance(value, str) else value


def misplaced(table: str, column: str, shares: Sequence[Share]) -> Iterator[Finding]:
    """The findings for rows that are not where they belong."""
    for share in shares:
        if share.belongs == share.shard:
            continue
        where = "that the placement does not place"
        if share.belongs is not None:
            where = f"that {'belongs' if share.rows == 1 else 'belong'} on {share.belongs}"
        example = f"{column} is NULL"
        if share.example is not None:
            example = f"for example {column} = {_shown(share.example)}"
        message = f"{counted(share.rows, 'row')} {where}, {example}"
        yield Finding("rows", message, table, (share.shard,))


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def rows_by_shard(shares: Sequence[Share], shards: Sequence[str]) -> dict[str, int]:
    """How many rows each shard has."""
    rows = dict.fromkeys(shards, 0)
    for share in shares:
        rows[share.shard] += share.rows
    return rows
