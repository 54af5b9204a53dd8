r"""Tables of which some are split over shards, and how they are loaded.

One script of psql's loads a server. For TPC-H's ``orders`` on the second of four shards::

    CREATE TABLE orders (...)
    \copy orders FROM 'orders.csv' WITH (FORMAT csv, HEADER)
        WHERE satisfies_hash_partition('keys'::regclass, 4, 1, o_orderkey)
    ALTER TABLE orders ADD PRIMARY KEY (o_orderkey)
    VACUUM (ANALYZE)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenshard import Cluster, Reference, Sharded
from greenshard.cli.demo.loading import run_scripts
from greenshard.testing.installation import find_bin_dir

#: What `Dataset.generate` writes beside the rows: the tables.
TABLES = "tables.sql"

#: A shard takes from the whole file what PostgreSQL's own hash partitioning would give it. The
#: remainder of a slot is that of the hash, because the number of shards divides that of the slots.
_SPLIT = " WHERE satisfies_hash_partition('keys'::regclass, {count}, {number}, {shard_key})"
_KEYS = "CREATE TABLE keys (key bigint) PARTITION BY HASH (key);"
_DROP_KEYS = "DROP TABLE keys;"
_ANALYZE = "VACUUM (ANALYZE);"


@dataclass(frozen=True)
class Query:
    """One query.

    Attributes:
        number: From 1.
        text: Its SQL; ``{fraction}`` in it stands for a number that depends on the scale.
    """

    number: int
    text: str

    @property
    def name(self) -> str:
        return f"Q{self.number}"

    def sql(self, scale: float) -> str:
        return self.text.replace("{fraction}", f"{0.0001 / scale:.10f}")


@dataclass(frozen=True)
class Dataset:
    """Tables, their rows, and queries.

    Attributes:
        name: How it is called.
        directory: Where ``keys.sql`` and ``indexes.sql`` are, which make primary keys, and indexes
            of the foreign ones.
        shard_keys: Each sharded table, and the column that decides a row's shard.
        reference_tables: Those of which every shard has all rows.
        queries: Reads the queries.
        generate: Writes, for a scale and to a directory, ``tables.sql`` and a file of each table's
            rows, always the same ones.
    """

    name: str
    directory: Path
    shard_keys: Mapping[str, str]
    reference_tables: Sequence[str]
    queries: Callable[[], Sequence[Query]]
    generate: Callable[[float, Path], None]

    def cluster(self, dsns: Sequence[str]) -> Cluster:
        """Declare shards that `load` filled, in the same order."""
        return Cluster(
            shards={f"s{number}": dsn for number, dsn in enumerate(dsns)},
            tables={
                **{table: Sharded(shard_key) for table, shard_key in self.shard_keys.items()},
                **{table: Reference() for table in self.reference_tables},
            },
        )

    def load(
        self, rows: Path, single: str, shards: Sequence[str], *, indexes: bool = False
    ) -> None:
        """Fill empty databases, all at the same time: tables, rows, primary keys, statistics.

        Args:
            rows: The directory that `generate` wrote to.
            single: The DSN of the database that gets every row.
            shards: The DSNs of the shards: 1, 2, 4, 8, ... of them.
            indexes: Whether to index the foreign keys too.

        Cost: 6 s for TPC-H at scale 0.1 with four shards, on 2 cores.
        """
        dsns = {"single": single, **{f"s{number}": dsn for number, dsn in enumerate(shards)}}
        copies = [self._copies(rows)]
        copies += [self._copies(rows, _SPLIT, number, len(shards)) for number in range(len(shards))]
        before = [_read(rows / TABLES), _KEYS]
        after = [_DROP_KEYS, _read(self.directory / "keys.sql")]
        if indexes:
            after.append(_read(self.directory / "indexes.sql"))
        scripts = ["\n".join([*before, *copied, *after, _ANALYZE]) for copied in copies]
        run_scripts(find_bin_dir() / "psql", dsns, scripts)

    def _copies(
        self, rows: Path, condition: str = "", number: int = 0, count: int = 1
    ) -> list[str]:
        """psql's commands that copy every table; the condition chooses rows of the sharded ones."""
        copies = []
        for table in (*self.reference_tables, *self.shard_keys):
            copy = rf"\copy {table} FROM '{rows / table}.csv' WITH (FORMAT csv, HEADER)"
            if table in self.shard_keys:
                shard_key = self.shard_keys[table]
                copy += condition.format(count=count, number=number, shard_key=shard_key)
            copies.append(copy)
        return copies


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
