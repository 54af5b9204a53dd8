"""TPC-H: its tables, its rows, and its 22 queries with the parameters that validate an answer.

The queries are those of the specification, section 2.4. orders and lineitem are split over the
shards by the order's key, as greenshard's `Hash` does by default; every shard has all of the six
others. ``benchmarks/tpch.py`` and ``tests/postgres/tpch`` use this.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from greenshard import Cluster, Reference, Sharded
from greenshard.cli.demo.loading import run_scripts
from greenshard.testing.installation import find_bin_dir

HERE = Path(__file__).resolve().parent
#: Each sharded table, and the column that decides a row's shard.
SHARD_KEYS = {"orders": "o_orderkey", "lineitem": "l_orderkey"}
REFERENCE_TABLES = ("region", "nation", "supplier", "customer", "part", "partsupp")

#: A shard takes from the whole file what PostgreSQL's own hash partitioning would give it. The
#: remainder of a slot is that of the hash, because the number of shards divides that of the slots.
_SPLIT = " WHERE satisfies_hash_partition('keys'::regclass, {count}, {number}, {shard_key})"
_KEYS = "CREATE TABLE keys (key bigint) PARTITION BY HASH (key);"
_DROP_KEYS = "DROP TABLE keys;"
_ANALYZE = "VACUUM (ANALYZE);"


@dataclass(frozen=True)
class Query:
    """One of the 22.

    Attributes:
        number: From 1.
        text: Its SQL; ``{fraction}`` stands for a number that depends on the scale.
    """

    number: int
    text: str

    @property
    def name(self) -> str:
        return f"Q{self.number}"

    def sql(self, scale: float) -> str:
        return self.text.format(fraction=f"{0.0001 / scale:.10f}")


QUERIES = tuple(
    Query(number, (HERE / "queries" / f"q{number:02}.sql").read_text(encoding="utf-8"))
    for number in range(1, 23)
)


def cluster(dsns: Sequence[str]) -> Cluster:
    """Declare shards that `load` filled, in the same order."""
    return Cluster(
        shards={f"s{number}": dsn for number, dsn in enumerate(dsns)},
        tables={
            **{table: Sharded(shard_key) for table, shard_key in SHARD_KEYS.items()},
            **{table: Reference() for table in REFERENCE_TABLES},
        },
    )


def generate(scale: float, directory: Path) -> None:
    """Write a file of each table, always with the same rows.

    Args:
        scale: 1 is a gigabyte.
        directory: Where to.

    Cost: 2 s at scale 0.1.
    """
    scripts = sysconfig.get_path("scripts")
    program = shutil.which("tpchgen-cli", path=scripts) or "tpchgen-cli"
    command = [program, "csv", "--quiet", "--scale-factor", str(scale), "--output-dir", directory]
    subprocess.run(command, check=True)


def load(directory: Path, single: str, shards: Sequence[str], *, indexes: bool = False) -> None:
    """Fill empty databases, all at the same time: tables, rows, primary keys, statistics.

    Args:
        directory: What `generate` wrote.
        single: The DSN of the database that gets every row.
        shards: The DSNs of the shards: 1, 2, 4, 8, ... of them.
        indexes: Whether to index the foreign keys too.

    Cost: 6 s at scale 0.1 with four shards, on 2 cores.
    """
    dsns = {"single": single, **{f"s{number}": dsn for number, dsn in enumerate(shards)}}
    copies = [_copies(directory)]
    copies += [_copies(directory, _SPLIT, number, len(shards)) for number in range(len(shards))]
    after = ["keys", "indexes"] if indexes else ["keys"]
    scripts = [
        "\n".join([_script("tables"), _KEYS, *rows, _DROP_KEYS, *map(_script, after), _ANALYZE])
        for rows in copies
    ]
    run_scripts(find_bin_dir() / "psql", dsns, scripts)


def _copies(directory: Path, condition: str = "", number: int = 0, count: int = 1) -> list[str]:
    """psql's commands that copy every table; the condition chooses rows of the sharded ones."""
    copies = []
    for table in (*REFERENCE_TABLES, *SHARD_KEYS):
        copy = rf"\copy {table} FROM '{directory / table}.csv' WITH (FORMAT csv, HEADER)"
        if table in SHARD_KEYS:
            copy += condition.format(count=count, number=number, shard_key=SHARD_KEYS[table])
        copies.append(copy)
    return copies


def _script(name: str) -> str:
    return (HERE / f"{name}.sql").read_text(encoding="utf-8")
