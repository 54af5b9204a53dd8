"""Compares the rows of a reference table on all shards, by checksum.

Each server adds up the hashes of its rows' texts: the order of the rows is of no matter, and no
row leaves the server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from greenshard.checking.findings import Finding, counted, differing
from greenshard.checking.probe import SHARD, transaction
from greenshard.connection import Connection


@dataclass(frozen=True)
class Content:
    """A table's rows: how many, and their checksum."""

    rows: int
    checksum: str


def read_contents(conn: Connection, table: str, shards: Sequence[str]) -> dict[str, Content]:
    """Read what each shard has of a table.

    Args:
        conn: A connection to the shards.
        table: The table as SQL.
        shards: Which ones have it.

    Raises:
        errors.DatabaseError: The table cannot be read.

    Switches: yes.

    Cost: reads the table, on all shards at once.
    """
    with transaction(conn, shards) as cursor:
        cursor.execute(
            # Not t alone, which might be a column.
            f"SELECT {SHARD}, count(*), coalesce(sum({hash_of('t.*')}::numeric), 0)::text"
            f" FROM {table} AS t"
        )
        return {shard: Content(rows, checksum) for shard, rows, checksum in cursor.fetchall()}


def hash_of(value: str, seed: int = 0) -> str:
    """SQL for a hash of a value's text."""
    # COLLATE "C": texts are hashed by their bytes, whatever the database's collation is.
    return f'hashtextextended({value}::text COLLATE "C", {seed})'


def compare_contents(table: str, contents: Mapping[str, Content]) -> Iterator[Finding]:
    """What differs among the shards."""
    if difference := differing({s: counted(c.rows, "row") for s, c in contents.items()}):
        yield Finding("reference", f"the shards have different rows: {difference}", table)
        return
    numbers = {checksum: n for n, checksum in enumerate(_checksums(contents), 1)}
    versions = {shard: f"version {numbers[c.checksum]}" for shard, c in contents.items()}
    if difference := differing(versions):
        message = f"the shards have as many rows, but different ones: {difference}"
        yield Finding("reference", message, table)


def _checksums(contents: Mapping[str, Content]) -> list[str]:
    return list(dict.fromkeys(content.checksum for content in contents.values()))
