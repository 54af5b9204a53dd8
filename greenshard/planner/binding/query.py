"""A statement's queries with their names resolved: what the rules of the planner look at.

Expressions stay messages of the parser's tree; a `Level` says what a column reference means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from greenshard.cluster import Placement
from greenshard.planner.binding.scope import BoundColumn, ColumnId, Columns, Level, Source
from greenshard.planner.bodies import Body
from greenshard.planner.catalog import Relation
from greenshard.planner.plan import Pin
from greenshard.sql.parser import Message, type_name
from greenshard.sql.tree import equated, names_equality, names_of, unwrap, walk_level

_Item = TypeVar("_Item", bound="Item")


@dataclass(slots=True)
class Condition:
    """A conjunct, and what its names mean.

    Attributes:
        own_equality: Whether `=` without a schema is PostgreSQL's own.
    """

    node: Message
    level: Level
    own_equality: bool

    @property
    def equated(self) -> tuple[Message, Message] | None:
        """The two sides of ``a = b`` under PostgreSQL's own operator."""
        return equated(self.node, bare=self.own_equality)

    @property
    def equal_columns(self) -> tuple[BoundColumn, BoundColumn] | None:
        """The two columns of such an ``a = b``; None if one side is something else."""
        sides = self.equated
        if sides is None:
            return None
        one, other = map(self.level.resolve, sides)
        return None if one is None or other is None else (one, other)

    @property
    def by_equality(self) -> bool:
        """Whether it is an expression with PostgreSQL's own `=`: IN and ANY are such, too."""
        node: Any = self.node
        return node.HasField("a_expr") and names_equality(node.a_expr.name, bare=self.own_equality)


@dataclass(slots=True)
class Item:
    """Something in FROM.

    Attributes:
        sources: For qualified names of its columns.
        columns: In the order of ``*``; None if they are not known.
    """

    sources: tuple[Source, ...]
    columns: Columns


@dataclass(slots=True)
class Table(Item):
    """A relation.

    Attributes:
        node: Its `RangeVar`.
        relation: What the catalog says.
        sharded: Whether not every shard has all of it: it is a sharded table, or on one shard.
        system: Whether it belongs to PostgreSQL.
        declared: Whether the cluster says where its rows are.
        placement, key: Of a sharded table; one that is on one shard has no key.
        home: The only shard that has the table; None if all have it.
        only: Whether it is read without the tables that inherit from it.
        refreshed: Whether it is a materialized view over reference tables that is not declared:
            each shard has one, which holds what it held when it was refreshed there.
        sampled: The method by which TABLESAMPLE takes some of its rows; empty if none does.
        pins: Of a view that is read as it is: the shards that its own conditions name; None: any.
    """

    node: Any
    relation: Relation
    sharded: bool = False
    system: bool = False
    declared: bool = True
    placement: Placement | None = None
    key: BoundColumn | None = None
    home: str | None = None
    only: bool = False
    refreshed: bool = False
    sampled: str = ""
    pins: tuple[Pin, ...] | None = None


@dataclass(slots=True)
class Derived(Item):
    """A query in FROM, or a view's.

    Attributes:
        query: The query.
        lateral: Whether it sees what is before it in FROM.
        view: The `RangeVar` that names the view, if it is one's.
        definition: And the query's tree, a `SelectStmt`.
        relation: And what the catalog says of the view.
        body: If it is the query of a function in SQL, which the text calls, that one.
    """

    query: Query
    lateral: bool = False
    view: Any = None
    definition: Any = None
    relation: Relation | None = None
    body: Body | None = None


@dataclass(slots=True)
class CteScan(Item):
    """A WITH query, named in FROM."""

    cte: Cte


@dataclass(slots=True)
class FunctionScan(Item):
    """A function, or anything else that is computed, in FROM."""

    node: Message
    sublinks: list[Sublink]
    level: Level


@dataclass(slots=True)
class Join(Item):
    """A JOIN; a right join is written as a left one.

    Attributes:
        kind: "inner", "left" or "full".
        on: Its conditions.
        using: The pairs of columns that USING or NATURAL equates.
        merged: For a full join the columns that USING made of the pairs.
    """

    kind: str
    left: Item
    right: Item
    on: list[Condition] = field(default_factory=list)
    using: list[tuple[BoundColumn, BoundColumn]] = field(default_factory=list)
    merged: list[BoundColumn] = field(default_factory=list)
    sublinks: list[Sublink] = field(default_factory=list)


@dataclass(slots=True)
class Cte:
    """A WITH query.

    Attributes:
        name: Its name.
        node: Its `CommonTableExpr`.
        query: For a recursive query's reference to itself one that reads nothing.
        recursive: Whether it refers to itself.
    """

    name: str
    node: Any
    query: Query
    recursive: bool = False


@dataclass(slots=True)
class Sublink:
    """A query in an expression.

    Attributes:
        node: The `SubLink`.
        level: What the names around it mean.
        matched: For ``x IN (SELECT ...)`` as a conjunct of WHERE the columns to the left, None for
            what is no column; for any other sublink empty.
        in_join: Whether it stands in the condition of an outer join.
        body: The function in SQL whose query it is; then the text has a call where it would stand.
    """

    node: Any
    query: Query
    level: Level
    matched: tuple[BoundColumn | None, ...] = ()
    in_join: bool = False
    body: Body | None = None


@dataclass(slots=True)
class Query:
    """A SELECT, VALUES, or set operation.

    Attributes:
        node: Its `SelectStmt`.
        ctes: Its WITH queries.
        level: What the names in its expressions mean.
        items: FROM.
        where: The conjuncts of WHERE.
        sublinks: All queries in its expressions, WHERE's included, FROM's not.
        outputs: Its columns, with the ids of the columns of FROM that they show, and ids of their
            own where they are computed; None if they are not known.
        branches: The two sides of a set operation; FROM and the like are then empty.
    """

    node: Any
    level: Level
    ctes: list[Cte] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    where: list[Condition] = field(default_factory=list)
    sublinks: list[Sublink] = field(default_factory=list)
    outputs: Columns = None
    branches: tuple[Query, Query] | None = None

    def items_of(self, kind: type[_Item]) -> Iterator[_Item]:
        """What FROM names of a kind, also in joins."""
        return (item for item in nested(self.items) if isinstance(item, kind))


def tables(query: Query) -> Iterator[Table]:
    """Every table that a query reads, at any depth."""
    for one in queries(query):
        for item in nested(one.items):
            if isinstance(item, Table):
                yield item


def queries(query: Query, *, into_views: bool = True) -> Iterator[Query]:
    """The query and every one within it, those of views too."""
    pending = [query]
    while pending:
        one = pending.pop()
        yield one
        pending.extend(one.branches or ())
        pending.extend(cte.query for cte in one.ctes)
        pending.extend(sublink.query for sublink in sublinks(one))
        pending.extend(
            item.query
            for item in nested(one.items)
            if isinstance(item, Derived) and (into_views or item.view is None)
        )


def written_in_from(query: Query) -> list[Query]:
    """The queries that stand in FROM; those behind views and functions do not stand there."""
    return [
        item.query for item in query.items_of(Derived) if item.view is None and item.body is None
    ]


def bodies(query: Query) -> Iterator[tuple[Body, Query]]:
    """The functions in SQL that a query calls at any depth, and what their queries mean there."""
    for one in queries(query):
        for link in sublinks(one):
            if link.body is not None:
                yield link.body, link.query
        for item in one.items_of(Derived):
            if item.body is not None:
                yield item.body, item.query


def sublinks(query: Query) -> Iterator[Sublink]:
    """All queries in a query's expressions, FROM's included."""
    yield from query.sublinks
    for item in nested(query.items):
        if isinstance(item, (FunctionScan, Join)):
            yield from item.sublinks


def expressions(query: Query) -> Iterator[tuple[Message, Level]]:
    """The expressions of a query, with what their names mean; sublinks belong to them."""
    for clause in clauses(query.node):
        yield clause, query.level
    for condition in query.where:
        yield condition.node, condition.level
    yield from expressions_in_from(query)


def expressions_in_from(query: Query) -> Iterator[tuple[Message, Level]]:
    """Those of joins' conditions, and of functions in FROM."""
    for item in nested(query.items):
        if isinstance(item, Join):
            for condition in item.on:
                yield condition.node, condition.level
        elif isinstance(item, FunctionScan):
            yield item.node, item.level


def clauses(select: Any) -> list[Message]:
    """The parts of a SELECT, beside FROM and WHERE, that hold expressions."""
    found = [
        *select.target_list,
        *select.distinct_clause,
        *select.group_clause,
        *select.window_clause,
        *select.sort_clause,
        *select.values_lists,
    ]
    found += [
        getattr(select, name)
        for name in ("having_clause", "limit_count", "limit_offset")
        if select.HasField(name)
    ]
    return found


def is_correlated(query: Query) -> bool:
    """Whether a query names a column of those around it."""
    return names_around(query, (each for one in queries(query) for each in expressions(one)))


def names_around(query: Query, parts: Iterable[tuple[Message, Level]]) -> bool:
    """Whether some expressions in a query name a column of the queries around it."""
    around: set[ColumnId] = set()
    level = query.level.parent
    while level is not None:
        for source in level.sources:
            around |= {column.id for column in source.columns or ()}
        around |= {column.id for column in level.columns or ()}
        level = level.parent
    return any(
        column is not None and column.id in around
        for root, level in parts
        for message in walk_level(root)
        if type_name(message) == "ColumnRef"
        for column in [level.named(names_of(message.fields))]
    )


def nested(items: list[Item]) -> Iterator[Item]:
    """The items of FROM, joins and what they join."""
    pending = list(items)
    while pending:
        item = pending.pop()
        yield item
        if isinstance(item, Join):
            pending += [item.left, item.right]


def is_star(node: Message) -> bool:
    """Whether an expression is ``*`` or ``t.*``."""
    kind, inner = unwrap(node)
    return kind == "column_ref" and inner.fields[-1].HasField("a_star")


def is_several(node: Message) -> bool:
    """Whether an expression stands for several columns of an answer: a star, or ``(row).*``."""
    kind, inner = unwrap(node)
    if kind == "a_indirection":
        return bool(inner.indirection[-1].HasField("a_star"))
    return is_star(node)
