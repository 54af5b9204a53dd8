"""Whether a table of the coordinator's is put together of what the shards have. Pure.

    orders, sharded by id over s0 and s1:   partitioned by HASH (id)
                                            greenshard_s0, remainder 0: public.orders there
                                            greenshard_s1, remainder 1: public.orders there

PostgreSQL believes what is declared of a foreign table: rows that a partition's bounds exclude are
not asked for, and NOT NULL is not tested. So all that must be true on the shards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from greenshard.cluster import Cluster, Sharded
from greenshard.cluster.partitions import Layout, layout_of
from greenshard.links.coordinator import server_of
from greenshard.links.description import Name

_AGAIN = "run greenshard coordinator again"


def unlike_tables(
    cluster: Cluster, name: Name, of: Mapping[str, Mapping[str, Any]], its: Mapping[str, Any] | None
) -> Iterator[str]:
    """In what a table there differs from what the shards have, as clauses about the coordinator.

    Args:
        cluster: The declaration.
        name: The table.
        of: What each shard that has it says of it; at least one does.
        its: What the coordinator says; None if it does not have it.
    """
    shown = ".".join(name)
    if its is None:
        yield f"it does not have the table {shown}: {_AGAIN}"
        return
    for shard, one in of.items():
        if one["security"]:
            yield f"policies of shard {shard} say who sees which rows of {shown}"
        if one["odd"] is not None:
            yield f"{shown}.{one['odd']} is of a type whose values may mean something else there"
        if columns_of(one) != columns_of(its):
            yield f"its {shown} has other columns than that of shard {shard}: {_AGAIN}"
        elif filled(its) - filled(one):
            yield f"its {shown} has no NULLs where shard {shard} may have some: {_AGAIN}"
    if not is_put_together(layout(cluster, name, next(iter(of.values()))), cluster, name, its):
        yield f"its {shown} is not put together as the tables are declared: {_AGAIN}"


def layout(cluster: Cluster, name: Name, one: Mapping[str, Any]) -> Layout:
    """How a table is to be put together, by what a shard says of it."""
    declared = cluster.table(*name)
    assert declared is not None  # noqa: S101  # statements over others are refused
    key = declared.column if isinstance(declared, Sharded) else None
    deterministic = all(column[5] for column in one["columns"] if column[0] == key)
    return layout_of(cluster, declared, deterministic=deterministic)


def is_put_together(wanted: Layout, cluster: Cluster, name: Name, its: Mapping[str, Any]) -> bool:
    """Whether a table there is of the shards' tables of that name, as it should be."""
    declared = cluster.table(*name)
    key = ["h", [declared.column]] if wanted.kind == "p" and isinstance(declared, Sharded) else None
    children: Sequence[Any] = its["children"] or ()
    source = {f"schema_name={name[0]}", f"table_name={name[1]}"}
    return (
        its["kind"] == wanted.kind
        and its["key"] == key
        and len(children) == len(wanted.bounds)
        and {child[0]: child[2] for child in children}
        == {server_of(shard): bound for shard, bound in wanted.bounds.items()}
        and all(source <= set(child[1] or ()) for child in children)
    )


def columns_of(one: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """What must be the same of columns: names, types and collations, in their order."""
    return [(column, type_, *rest) for column, type_, _, *rest in one["columns"]]


def filled(one: Mapping[str, Any]) -> set[str]:
    """The columns that have no NULL."""
    return {column[0] for column in one["columns"] if column[2]}
