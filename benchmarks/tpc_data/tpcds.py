"""TPC-DS: tables, rows and its 99 queries, as duckdb's extension makes and writes them.

The seven tables of sales, returns and stocks are split over the shards by their item, as warehouses
split them: what joins a sale with its return, with another way to sell the same item, or with what
is in stock, is on one shard. Every shard has all of the others, the dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from .dataset import TABLES, Dataset, Query

_HERE = Path(__file__).resolve().parent / "ds"


@contextmanager
def _duckdb() -> Iterator[Any]:
    """A database of duckdb's, in memory, that knows TPC-DS."""
    import duckdb  # noqa: PLC0415

    version = f"v{duckdb.__version__}"
    extension = files("duckdb_extension_tpcds") / "extensions" / version / "tpcds.duckdb_extension"
    with duckdb.connect() as connection, as_file(extension) as file:
        connection.execute(f"LOAD '{file}'")
        yield connection


def _queries() -> Sequence[Query]:
    """The queries, which PostgreSQL reads as they are."""
    with _duckdb() as connection:
        connection.execute("SELECT query_nr, query FROM tpcds_queries() ORDER BY query_nr")
        return [Query(number, text.strip().rstrip(";")) for number, text in connection.fetchall()]


def _generate(scale: float, directory: Path) -> None:
    """Write the tables and their rows.

    Args:
        scale: 1 is a gigabyte.
        directory: Where to.

    Cost: 5 s at scale 0.05.
    """
    with _duckdb() as connection:
        connection.execute("CALL dsdgen(sf = ?)", [scale])
        # Its types are PostgreSQL's, too.
        made = connection.execute("SELECT table_name, sql FROM duckdb_tables()").fetchall()
        for table, _ in made:
            connection.execute(f"COPY {table} TO '{directory / table}.csv' (FORMAT csv, HEADER)")
    tables = "\n".join(sql for _, sql in made)
    (directory / TABLES).write_text(tables, encoding="utf-8")


TPC_DS = Dataset(
    name="TPC-DS",
    directory=_HERE,
    shard_keys={
        "store_sales": "ss_item_sk",
        "store_returns": "sr_item_sk",
        "catalog_sales": "cs_item_sk",
        "catalog_returns": "cr_item_sk",
        "web_sales": "ws_item_sk",
        "web_returns": "wr_item_sk",
        "inventory": "inv_item_sk",
    },
    reference_tables=(
        "call_center",
        "catalog_page",
        "customer",
        "customer_address",
        "customer_demographics",
        "date_dim",
        "household_demographics",
        "income_band",
        "item",
        "promotion",
        "reason",
        "ship_mode",
        "store",
        "time_dim",
        "warehouse",
        "web_page",
        "web_site",
    ),
    queries=_queries,
    generate=_generate,
)
