"""Where rows are, said by the models: the cluster that they declare, and what is wrong with it.

::

    class Order(Base):
        __tablename__ = "orders"
        __table_args__ = {"info": {"greenshard": Sharded("id")}}

    cluster = cluster_from(Base.metadata, shards={"s0": "dbname=a", "s1": "dbname=b"})

1. ``orders`` has a word of its own.
2. ``items`` has none, but its primary key holds ``order_id``, which references ``orders.id``: its
   rows are where those of their orders are.
3. ``audits`` has none, and nothing fits: an error names it.

PostgreSQL looks at one shard's rows when it checks a key. So the primary key and what else is
unique must hold the shard key; what is referenced must be on every shard, or on the same one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Column, ForeignKeyConstraint, MetaData, Table, UniqueConstraint

from greenshard.cluster import Cluster, Reference, Sharded, Single
from greenshard.cluster import Table as Placed
from greenshard.cluster.mistakes import Mistakes, kind, place
from greenshard.cluster.names import BadName, TableName, quoted

#: The key of ``Table.info`` that says how a table's rows are placed.
INFO = "greenshard"
_WORDS = (Sharded, Reference, Single)
#: How a table's word is given, for messages.
_SAY = 'info={"greenshard": '
#: What PostgreSQL puts where no other session sees it.
_TEMPORARY = frozenset({"TEMP", "TEMPORARY"})


def cluster_from(metadata: MetaData, shards: Mapping[str, Any], **arguments: Any) -> Cluster:
    """The cluster that models declare.

    Args:
        metadata: The models' tables. Each has a word, ``info={"greenshard": Sharded("id")}``
            (`Reference`, `Single`), or references a sharded table by a column of its primary key.
        shards: As for `greenshard.Cluster`, by name.
        arguments: Its further ones.

    Raises:
        greenshard.ProgrammingError: Tables without a word, or constraints that a cluster cannot
            keep; the message has all of them, each with what to change.
    """
    mistakes = Mistakes("the metadata")
    tables = list(metadata.tables.values())
    declared = _words(tables, mistakes)
    _infer(tables, declared)
    for table in tables:
        if name_of(table) not in declared:
            mistakes.add(
                _at(table),
                "nothing says where its rows are: give the Table "
                f'{_SAY}Sharded("...")}}, or Reference(), or Single("...")',
            )
    mistakes.raise_any()
    cluster = Cluster(shards, declared, **arguments)
    check(cluster, tables)
    return cluster


def check(cluster: Cluster, tables: Collection[Table]) -> None:
    """See that a cluster can keep what tables say of their rows.

    Raises:
        greenshard.ProgrammingError: It cannot; the message has every reason.
    """
    if not cluster.tables:
        return
    mistakes = Mistakes("the metadata")
    for table in tables:
        if _TEMPORARY.isdisjoint(map(str.upper, table._prefixes)):
            for what in _mistakes_of(table, cluster):
                mistakes.add(_at(table), what)
    mistakes.raise_any()


def name_of(table: Table) -> str:
    """A table's name as it is declared: with quotes where SQL needs them."""
    return str(TableName(table.schema, table.name))


def _at(table: Table) -> str:
    return place("tables", name_of(table))


# What the models say --------------------------------------------------------------------------


def _words(tables: Iterable[Table], mistakes: Mistakes) -> dict[str, Placed]:
    found: dict[str, Placed] = {}
    for table in tables:
        word = table.info.get(INFO)
        if isinstance(word, _WORDS):
            found[name_of(table)] = word
        elif word is not None:
            what = "Sharded(...), Reference() or Single(...)"
            mistakes.add(_at(table), f"{_SAY}...}} must be {what}, not {kind(word)}")
    return found


def _infer(tables: Collection[Table], declared: dict[str, Placed]) -> None:
    """Add the tables that go where the rows are which they reference; one may lead to another."""
    known = -1
    while known != len(declared):
        known = len(declared)
        for table in tables:
            fitting = set(_following(table, declared)) if name_of(table) not in declared else ()
            if len(fitting) == 1:  # else it is not known which
                declared[name_of(table)] = next(iter(fitting))


def _following(table: Table, declared: Mapping[str, Placed]) -> Iterator[Sharded]:
    """What a table is sharded by if it goes along its foreign keys."""
    for constraint in table.foreign_key_constraints:
        target = _target(constraint)
        placed = None if target is None else declared.get(name_of(target))
        if not isinstance(placed, Sharded):
            continue
        for column, referenced in _pairs(constraint):
            if referenced == _key_of(placed) and column in table.primary_key.columns:
                yield Sharded(quoted(column), placed.placement)


# What is wrong with it ------------------------------------------------------------------------


def _mistakes_of(table: Table, cluster: Cluster) -> Iterator[str]:
    placed = cluster.table(table.schema or "public", table.name)
    if placed is None:
        yield (
            f"the cluster does not declare it: add it, or make the cluster with cluster_from() and "
            f'{_SAY}Sharded("...")}} or Reference()'
        )
        return
    if isinstance(placed, Sharded):
        yield from _wrong_keys(table, _key_of(placed))
    for constraint in table.foreign_key_constraints:
        target = _target(constraint)
        if target is None:
            continue
        there = cluster.table(target.schema or "public", target.name)
        if there is None or isinstance(there, Reference):
            continue  # every shard has all of it; or it says so itself
        what = _crosses(constraint, placed, there, cluster)
        if what is not None:
            columns = ", ".join(constraint.column_keys)
            yield f"the foreign key ({columns}) to {name_of(target)} {what}"


def _wrong_keys(table: Table, key: str) -> Iterator[str]:
    if key not in table.columns:
        yield f"it is sharded by {key}, which is no column of it"
        return
    for what, columns in _unique(table):
        if key not in {column.name for column in columns}:
            yield (
                f"{what} does not hold the shard key, {key}, and no shard sees the others' rows: "
                f"add {key} to it, or shard by one of its columns, or make it a Reference()"
            )


def _unique(table: Table) -> Iterator[tuple[str, Iterable[Column[Any]]]]:
    """What the database keeps unique: a name for it, and the columns."""
    if table.primary_key.columns:
        yield _named("primary key", table.primary_key.columns), table.primary_key.columns
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield _named("unique constraint", constraint.columns), constraint.columns
    for index in table.indexes:
        if index.unique:
            yield _named(f"unique index {index.name}", index.columns), index.columns


def _named(what: str, columns: Iterable[Column[Any]]) -> str:
    return f"the {what} ({', '.join(column.name for column in columns)})"


def _crosses(
    constraint: ForeignKeyConstraint, placed: Placed, there: Placed, cluster: Cluster
) -> str | None:
    """Why a row's shard may not have the row that it references; None if it has."""
    if isinstance(there, Single):
        same = isinstance(placed, Single) and placed.on == there.on
        return None if same else f"references what only {there.on} has: make that a Reference()"
    if isinstance(there, Sharded) and isinstance(placed, Sharded):
        if cluster.placement_of(placed) != cluster.placement_of(there):
            return "references rows that are placed by another rule: give both tables the same one"
        if (_key_of(placed), _key_of(there)) in _pairs(constraint):
            return None
        return (
            f"references rows of other shards: let it hold {_key_of(placed)}, which references "
            f"{_key_of(there)}, or make what it references a Reference(), or leave it out"
        )
    return "references rows that are on one shard each: shard both tables, or leave it out"


def _pairs(constraint: ForeignKeyConstraint) -> list[tuple[str, str]]:
    """The names of its columns, each with that of the column that it references."""
    return [(each.parent.name, each.column.name) for each in constraint.elements]


def _target(constraint: ForeignKeyConstraint) -> Table | None:
    """The table that it references; None if that is not among the models."""
    try:
        return constraint.referred_table
    except Exception:  # SQLAlchemy's, of several kinds
        return None


def _key_of(sharded: Sharded) -> str:
    try:
        return sharded.column
    except BadName:  # which the cluster then says
        return sharded.shard_key
