"""TPC-H: its tables, its rows, and its 22 queries with the parameters that validate an answer.

The queries are those of the specification, section 2.4. orders and lineitem are split over the
shards by the order's key, as greenshard's `Hash` does by default; every shard has all of the six
others. ``benchmarks/tpch.py`` and ``tests/postgres/tpch`` use this.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from greenshard.cli.loading import run_scripts
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


def load(directory: Path, single: Mapping[str, str], shards: Mapping[str, str]) -> None:
    """Fill empty databases, all at the same time: tables, rows, primary keys, statistics.

    Args:
        directory: What `generate` wrote.
        single: The DSN of the database that gets every row, by any name.
        shards: The DSNs of the shards, by name, 1, 2, 4, 8, ... of them.

    Cost: 8 s at scale 0.1, with one single database and four shards on 2 cores.
    """
    count = len(shards)
    whole = _script(directory, dict.fromkeys(SHARD_KEYS, ""))
    parts = [
        _script(
            directory,
            {
                table: _SPLIT.format(count=count, number=number, shard_key=shard_key)
                for table, shard_key in SHARD_KEYS.items()
            },
        )
        for number in range(count)
    ]
    psql = find_bin_dir() / "psql"
    run_scripts(psql, {**single, **shards}, [*[whole] * len(single), *parts])


def _script(directory: Path, conditions: Mapping[str, str]) -> str:
    """What psql runs in one database; `conditions` end the COPY of a sharded table."""
    rows = [
        rf"\copy {table} FROM '{directory / table}.csv' WITH (FORMAT csv, HEADER)"
        + conditions.get(table, "")
        for table in (*REFERENCE_TABLES, *SHARD_KEYS)
    ]
    tables, keys = (
        (HERE / f"{name}.sql").read_text(encoding="utf-8") for name in ("tables", "keys")
    )
    return "\n".join([tables, _KEYS, *rows, _DROP_KEYS, keys])
