"""TPC-H: its tables, its rows, and its 22 queries with the parameters that validate an answer.

The queries are those of the specification, section 2.4. orders and lineitem are split over the
shards by the order's key, as greenshard's `Hash` does by default; every shard has all of the six
others.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from .dataset import TABLES, Dataset, Query

_HERE = Path(__file__).resolve().parent / "h"


def _queries() -> Sequence[Query]:
    texts = sorted((_HERE / "queries").glob("q*.sql"))
    return [Query(number, text.read_text(encoding="utf-8")) for number, text in enumerate(texts, 1)]


def _generate(scale: float, directory: Path) -> None:
    """Write the tables and their rows.

    Args:
        scale: 1 is a gigabyte.
        directory: Where to.

    Cost: 2 s at scale 0.1.
    """
    shutil.copy(_HERE / TABLES, directory)
    scripts = sysconfig.get_path("scripts")
    program = shutil.which("tpchgen-cli", path=scripts) or "tpchgen-cli"
    command = [program, "csv", "--quiet", "--scale-factor", str(scale), "--output-dir", directory]
    subprocess.run(command, check=True)


TPC_H = Dataset(
    name="TPC-H",
    directory=_HERE,
    shard_keys={"orders": "o_orderkey", "lineitem": "l_orderkey"},
    reference_tables=("region", "nation", "supplier", "customer", "part", "partsupp"),
    queries=_queries,
    generate=_generate,
)
