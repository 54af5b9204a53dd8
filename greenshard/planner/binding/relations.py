"""Goal: say what the name of a relation means, and where its rows are.

    SELECT * FROM orders o, sales.orders, pg_class

1. `orders` is found along the search path, `sales.orders` in its schema.
2. The cluster says that they are sharded, by which column, and how its values are placed; or on
   which shard alone they are.
3. `pg_class` belongs to PostgreSQL: each shard has its own.

A table that there is not, or that the cluster does not declare, is a problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from greenshard.cluster import Cluster, OneShard, Sharded, Single
from greenshard.planner.binding.bound_views import WholeView
from greenshard.planner.binding.query import Table
from greenshard.planner.binding.scope import BoundColumn, Columns, Source
from greenshard.planner.catalog import TEMPORARY, Catalog, Relation
from greenshard.planner.code import SYSTEM_SCHEMAS
from greenshard.planner.problem import Problem


class Relations:
    """The relations that a statement can name.

    Args:
        cluster: What is declared.
        catalog: What is there.
        path: ``current_schemas(true)``.
        numbers: Numbers for sources of columns, each once.
    """

    def __init__(
        self, cluster: Cluster, catalog: Catalog, path: Sequence[str], numbers: Iterator[int]
    ) -> None:
        self._cluster = cluster
        self._catalog = catalog
        self._path = path
        self._numbers = numbers
        self.problems: list[Problem] = []

    def find(self, node: Any) -> Relation | None:
        """What a `RangeVar` names; None, and a problem, if there is no such relation."""
        relation = self._catalog.relation(node.schemaname or None, node.relname, self._path)
        # PostgreSQL would say the same, but only the shards that are asked.
        if relation is None:
            self._note_unknown(node)
        return relation

    def table(self, node: Any, relation: Relation, alias: str) -> Table:
        """A relation that is no view, as an item of FROM."""
        table = self._item(node, relation, alias)
        table.only = not node.inh
        if not table.system:
            self._place(table)
        return table

    def is_declared(self, relation: Relation) -> bool:
        """Whether the cluster says where its rows are."""
        return self._cluster.table(relation.schema, relation.name) is not None

    def refreshed(self, node: Any, relation: Relation, alias: str) -> Table:
        """A materialized view over reference tables, as an item of FROM."""
        table = self._item(node, relation, alias)
        table.refreshed = True
        return table

    def whole_view(self, node: Any, relation: Relation, alias: str, whole: WholeView) -> Table:
        """A view that is read or written like a table; ONLY means nothing to a view."""
        table = self._item(node, whole.relation or relation, alias)
        table.sharded, table.placement, table.pins = whole.sharded, whole.placement, whole.pins
        if whole.key is not None and table.columns is not None:
            table.key = table.columns[whole.key]
        return table

    def _item(self, node: Any, relation: Relation, alias: str) -> Table:
        system = relation.schema in SYSTEM_SCHEMAS
        number = next(self._numbers)
        plain = tuple(
            BoundColumn(column.name, (number, at), column)
            for at, column in enumerate(relation.columns)
        )
        columns = None if system else renamed(plain, node.alias.colnames)
        schema = None if node.alias.aliasname else relation.schema
        return Table((Source(alias, columns, schema),), columns, node, relation, system=system)

    def _place(self, table: Table) -> None:
        """Note how the rows of a table are placed."""
        relation = table.relation
        declared = self._cluster.table(relation.schema, relation.name)
        table.declared = declared is not None
        if declared is None:
            self._note_undeclared(table.node, relation)
        # ONLY reads this table's own rows, wherever those of its relatives are.
        elif not table.only:
            self._check_relatives(table.node, relation)
        if isinstance(declared, Single):
            table.sharded, table.home, table.placement = True, declared.on, OneShard(declared.on)
        if not isinstance(declared, Sharded):
            return
        table.sharded = True
        # PostgreSQL hashes a text's bytes in the database's encoding.
        table.placement = self._cluster.placement_of(declared).in_encoding(self._catalog.encoding)
        # By place: an alias may have renamed the columns, as in FROM orders o (a, b).
        places = [column.name for column in relation.columns]
        if declared.column in places and table.columns is not None:
            table.key = table.columns[places.index(declared.column)]
        else:
            self._note_missing_key(table.node, relation, declared.column)

    # Problems -------------------------------------------------------------------------------

    def _note_unknown(self, node: Any) -> None:
        name = f"{node.schemaname}.{node.relname}" if node.schemaname else node.relname
        self.problems.append(
            Problem(
                f'relation "{name}" does not exist',
                node.location,
                "GS408",
                "Is the name right? A table that was created a moment ago by another process is "
                "seen after a minute at the latest.",
                "42P01",
            )
        )

    def _note_undeclared(self, node: Any, relation: Relation) -> None:
        if relation.schema == TEMPORARY:
            self.problems.append(
                Problem(
                    f"beside temporary table {relation.name} runs code of yours: a trigger, a "
                    "rule, a policy, or a function in a default or a check",
                    node.location,
                    "GS410",
                    "Make it without, and give such values in the statement; or use it on one "
                    "shard, with conn.on('...').",
                )
            )
            return
        self.problems.append(
            Problem(
                f"table {relation.qualified} is not declared in the cluster, so "
                "nothing is known of where its rows are",
                node.location,
                "GS409",
                "Declare it as sharded, as a reference table or on one shard, or run the statement "
                "on one shard with conn.on('...').",
            )
        )

    def _check_relatives(self, node: Any, relation: Relation) -> None:
        """Note a table that inherits, or is inherited from, and is declared otherwise."""
        name = (relation.schema, relation.name)
        other = self._catalog.inheritance.declared_otherwise(name, self._cluster)
        if other is not None:
            self.problems.append(
                Problem(
                    f"table {relation.qualified} and {'.'.join(other)}, of which "
                    "one inherits from the other, are declared in two ways",
                    node.location,
                    "GS409",
                    "Declare them alike: both as reference tables, or sharded by the same column "
                    "in the same placement.",
                )
            )

    def _note_missing_key(self, node: Any, relation: Relation, key: str) -> None:
        self.problems.append(
            Problem(
                f"table {relation.qualified} has no column {key}, its declared shard key",
                node.location,
                "GS409",
                "Correct the declaration; `greenshard check` compares it with the servers.",
            )
        )

    def note_unreadable(self, node: Any, relation: Relation) -> None:
        """Note that the definition of a view cannot be parsed."""
        self.problems.append(
            Problem(
                f"the definition of view {relation.name} cannot be read", node.location, "GS410"
            )
        )

    def blame_view(self, before: int, relation: Relation) -> None:
        """Say of the problems since `before` in which view they are."""
        for at in range(before, len(self.problems)):
            problem = self.problems[at]
            reason = f"{problem.reason} (in view {relation.name})"
            self.problems[at] = replace(problem, reason=reason)


def renamed(columns: Columns, aliases: Iterable[Any]) -> Columns:
    """Columns with the names of a list of column aliases."""
    return named_as(columns, [alias.string.sval for alias in aliases])


def named_as(columns: Columns, names: Sequence[str]) -> Columns:
    """Rename the first columns."""
    if columns is None or not names:
        return columns
    first = [replace(column, name=name) for column, name in zip(columns, names, strict=False)]
    return (*first, *columns[len(first) :])
