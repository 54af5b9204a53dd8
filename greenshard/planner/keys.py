"""The shard of a key that the program names itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greenshard import errors
from greenshard.cluster import Cluster, Sharded, TableName
from greenshard.planner.catalog import Catalog, Column, Relation
from greenshard.planner.pins import Unplaceable, is_changed, kept_by, key_value, named_shards
from greenshard.planner.plan import Parameter, Pin


def shard_of_key(
    key: Any, table: str | None, cluster: Cluster, catalog: Catalog, path: Sequence[str]
) -> str:
    """The shard that has the rows of a key.

    Args:
        key: A value of the shard key's type, as `with_literals` gives it.
        table: Whose key, as it is written in SQL; None if that makes no difference.
        cluster: The declaration.
        catalog: The tables that there are.
        path: ``current_schemas(true)``.

    Raises:
        errors.ProgrammingError: It cannot be told, or is not the same for all tables.
    """
    found = set()
    for relation in _relations(table, cluster, catalog, path):
        found.add(_shard(key, relation, cluster, catalog.encoding))
    # Tables may be placed by different rules: without `table`, all must agree.
    if len(found) == 1 and (shard := found.pop()) is not None:
        return shard
    raise untold(key, table)


def untold(key: Any, table: str | None) -> errors.ProgrammingError:
    """The error of a key whose shard cannot be told."""
    whose = "" if table is None else f" of {table}"
    return errors.ProgrammingError(
        f"the shard of key {key!r}{whose} cannot be told",
        code="GS103",
        hint="Give a value of the key's type, and the table if the tables differ: "
        "conn.on(key=..., table='...').",
    )


def _relations(
    table: str | None, cluster: Cluster, catalog: Catalog, path: Sequence[str]
) -> list[Relation]:
    if table is None:
        return [
            relation
            for (schema, name), relation in catalog.relations.items()
            if isinstance(cluster.table(schema, name), Sharded)
        ]
    try:
        name = TableName.read(table)
    except ValueError as error:
        raise errors.ProgrammingError(f"{table!r} {error}", code="GS104") from None
    relation = catalog.relation(name.schema, name.name, path)
    if relation is None or not isinstance(cluster.table(relation.schema, relation.name), Sharded):
        raise errors.ProgrammingError(f"{table} is no sharded table", code="GS104")
    return [relation]


def _shard(key: Any, relation: Relation, cluster: Cluster, encoding: str) -> str | None:
    sharded = cluster.table(relation.schema, relation.name)
    assert isinstance(sharded, Sharded)  # noqa: S101  # `_relations` gives no other
    column = relation.column(sharded.column)
    # conn.on(key='ab  ') of a varchar(2): the row is stored as 'ab', on the shard of that key.
    if column is None or not _is_kept(key, column):
        return None
    placement = cluster.placement_of(sharded).in_encoding(encoding)
    pin = Pin(placement, column.type_name, (Parameter(0),))
    named = named_shards([pin], cluster.names, (key,))
    return next(iter(named)) if named else None


def _is_kept(key: Any, column: Column) -> bool:
    """Whether a row with this key would be stored with it, and not with a key cut or rounded."""
    # NULL is stored as NULL.
    if key is None:
        return True
    try:
        value = key_value(key, column.type_name)
        return not is_changed(value, column.type_name, kept_by(column.type_sql))
    except Unplaceable:
        return False
