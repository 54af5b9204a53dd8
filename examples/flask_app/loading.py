"""Makes the tables on empty servers, fills them with the flights, and declares the cluster.

The data and its schema are those of ``greenshard demo``; ``schema.sql`` adds the application's own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import greenshard
from greenshard import Cluster
from greenshard.cli.demo import flights
from greenshard.cli.demo.loading import copy_rows, run_scripts
from greenshard.testing.installation import find_bin_dir

HERE = Path(__file__).resolve().parent
COPY = f"COPY flights FROM STDIN WITH (FORMAT csv, NULL '{flights.NULL}')"


def load(dsns: Mapping[str, str], declaration: Path, every: int = 1) -> int:
    """Fill empty databases.

    Args:
        dsns: The databases, by shard.
        declaration: The TOML file to write.
        every: Take each flight, or each second one, and so on.

    Returns:
        How many flights there are.
    """
    declaration.write_text(declared(dsns), encoding="utf-8")
    psql, directory = find_bin_dir() / "psql", flights.data_directory()
    scripts = [flights.shard_script(directory, number, len(dsns)) for number in range(len(dsns))]
    run_scripts(psql, dsns, scripts)
    rows = placed(Cluster.from_toml(declaration), flights.flight_lines(directory)[::every])
    sent = copy_rows(psql, dsns, COPY, rows, on_progress=lambda _rows: None)
    schema = (HERE / "schema.sql").read_text(encoding="utf-8")
    run_scripts(psql, dsns, [f"{flights.FINISH}\n{schema}"] * len(dsns))
    for lacking in greenshard.init(declaration):
        print(lacking, file=sys.stderr)
    return sum(sent)


def declared(dsns: Mapping[str, str]) -> str:
    """The declaration of the cluster. The flights' partitions say how many slots there are."""
    shards = "".join(f"{name} = {json.dumps(dsn)}\n" for name, dsn in dsns.items())
    tables = (HERE / "tables.toml").read_text(encoding="utf-8")
    return f"[shards]\n{shards}\n{tables}\n[placement]\nslots = {len(dsns)}\n"


def placed(cluster: Cluster, lines: list[str]) -> Iterator[tuple[int, str]]:
    """Each line with the number of its shard."""
    numbers: dict[str | None, int] = {}
    for line in lines:
        key = flights.key_of(line)
        if key not in numbers:
            shard = cluster.placement.shards_for(key, "text", cluster.names)
            numbers[key] = cluster.names.index(shard or cluster.names[0])
        yield numbers[key], line
