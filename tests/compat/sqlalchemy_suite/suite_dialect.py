"""pytest's plugin in the process of SQLAlchemy's suite: its engines are over a cluster.

The suite makes tables as it goes, so the cluster is asked for each when it is made: as the mode
says, it is a reference table, or sharded by its primary key where its constraints allow that.

The environment: ``GREENSHARD_SUITE`` is JSON of "mode" and "shards" (connection strings by name).
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

import greenshard
from greenshard import Reference, Sharded
from greenshard.cluster.names import quoted

#: Schemas of PostgreSQL's own.
_SYSTEM = {"pg_catalog", "information_schema", "pg_toast", "pg_temp"}


class SuiteCluster(greenshard.Cluster):
    """A cluster that learns of tables while they are made."""

    def __init__(self, shards: dict[str, str], *, two_phase: bool) -> None:
        # One table, so that it is a cluster of declared tables.
        super().__init__(shards, {"greenshard_suite": Reference()}, two_phase=two_phase)
        object.__setattr__(self, "keys", {})

    def table(self, schema: str | None, name: str) -> Any:
        """What a table is: of which nothing is known, a reference table."""
        if schema in _SYSTEM or schema == "greenshard":
            return super().table(schema, name)
        keys: dict[tuple[str | None, str], str] = self.keys
        key = keys.get((schema, name))
        return Reference() if key is None else Sharded(quoted(key))

    def declare(self, table: Any) -> None:
        """Let a table be sharded that is about to be made, if it can be."""
        self.keys.pop(place_of(table), None)
        key = None if table._prefixes else shard_key(table)
        if key is not None:
            self.keys[place_of(table)] = key


def place_of(table: Any) -> tuple[str, str]:
    """A table's schema and name."""
    return table.schema or "public", table.name


def shard_key(table: Any) -> str | None:
    """By which column of its primary key a table can be sharded; None if by none."""
    from greenshard.ext.sqlalchemy.models import _unique

    related = [*table.foreign_key_constraints]
    for other in table.metadata.tables.values():
        related += [c for c in other.foreign_key_constraints if c.referred_table is table]
    unique = [{column.name for column in columns} for _, columns in _unique(table)]
    if related or not table.primary_key.columns:
        return None
    common = set.intersection(*unique)
    return next((c.name for c in table.primary_key.columns if c.name in common), None)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: Any) -> None:
    """Put the dialect in its place, before the suite makes its engine."""
    import sqlalchemy
    from sqlalchemy.dialects import registry

    from greenshard.ext.sqlalchemy.dialect import GreenshardDialect

    told = json.loads(os.environ["GREENSHARD_SUITE"])
    cluster: SuiteCluster | None = None
    if told["mode"] != "one":
        cluster = SuiteCluster(told["shards"], two_phase=told["mode"] == "two-phase")

    class Suite(GreenshardDialect):
        driver = "psycopg2"  # of which the suite knows what it can do
        supports_statement_cache = True

        def create_connect_args(self, url: Any) -> Any:
            if cluster is None:
                return (next(iter(told["shards"].values())),), {}
            self.cluster = cluster
            return (cluster,), {}

        @classmethod
        def load_provisioning(cls) -> None:
            from sqlalchemy.dialects.postgresql import provision  # noqa: F401

    registry.impls["postgresql.greenshard"] = lambda: Suite

    if cluster is not None and told["mode"] != "reference":
        # Before the dialect's own listeners, which look whether the tables fit the cluster.
        @sqlalchemy.event.listens_for(sqlalchemy.MetaData, "before_create", insert=True)
        def declare_all(metadata: Any, connection: Any, tables: Any = (), **_: Any) -> None:
            for table in tables:
                cluster.declare(table)

        @sqlalchemy.event.listens_for(sqlalchemy.Table, "before_create", insert=True)
        def declare(table: Any, connection: Any, **_: Any) -> None:
            cluster.declare(table)

        @sqlalchemy.event.listens_for(sqlalchemy.Table, "after_drop")
        def forget(table: Any, connection: Any, **_: Any) -> None:
            cluster.keys.pop(place_of(table), None)
