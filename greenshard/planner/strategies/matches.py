"""Goal: of what EXISTS looks for, let only the values travel by which a row around it is matched.

    SELECT c_custkey FROM customer WHERE EXISTS (
        SELECT FROM orders JOIN lineitem ON l_orderkey = o_orderkey
        WHERE o_custkey = c_custkey AND l_quantity > 40)

1. A row around it is matched by o_custkey alone. Each shard gives the values that there are, once:
       SELECT DISTINCT o_custkey FROM orders JOIN lineitem ON l_orderkey = o_orderkey
       WHERE l_quantity > 40
2. It does not matter how often a value comes, nor from how many shards:
       SELECT c_custkey FROM customer
       WHERE EXISTS (SELECT FROM "gs qe0" WHERE "gs qe0".o_custkey = c_custkey)

What the statement says of the rows from outside is said on the shards, see `semi_joins`.

The values are of types whose equal values are the same value: of 1.0 and 1.00 only one would come.
They are of one table, so that it is known what it calls them.

Left are queries in EXISTS that the shards cannot compute, that group, cut or lock rows, or compare
a row around them by another query; and those of a table that the statement names elsewhere, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from greenshard.planner.analysis.partners import mentioned
from greenshard.planner.analysis.select import is_distinct, is_grouped
from greenshard.planner.analysis.sought import sought
from greenshard.planner.binding.query import (
    Condition,
    Query,
    Sublink,
    Table,
    expressions,
    expressions_in_from,
    is_star,
    names_around,
    queries,
    tables,
)
from greenshard.planner.binding.scope import ColumnId
from greenshard.planner.catalog import Column
from greenshard.planner.plan import Constant, GatheredColumn, GatheredTable, Pin, Routed, Scatter
from greenshard.planner.strategies.candidate import Candidate, Read
from greenshard.planner.strategies.conditions import columns_of, joined
from greenshard.planner.strategies.said import Outside, kept, names_in
from greenshard.planner.strategies.stand_ins import PREFIX, may_stand, rows_called
from greenshard.sql.nodes import add_target, copy, expression, quoted
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import EXISTS_SUBLINK, Message, type_name
from greenshard.sql.text import Sql
from greenshard.sql.tree import names_of, unwrap, walk_level
from greenshard.sql.types import Trait
from greenshard.sql.types import read as read_type

#: Clauses of a query, beside FROM and WHERE, that decide which rows it has.
_DECIDING = ("with_clause", "limit_count", "limit_offset")


def with_matches(candidate: Candidate, read: Read) -> tuple[Candidate, tuple[GatheredTable, ...]]:
    """The query with stand-ins for what EXISTS looks for, and what is gathered of it.

    Args:
        candidate: A query.
        read: Plans another one.
    """
    # What is computed first is not in the user's text.
    known = candidate.stands_in or may_stand(candidate.select)
    if candidate.has_collations or candidate.bodies or not known:
        return candidate, ()
    made = copy(candidate.select)
    bound = replace(candidate, query=candidate.bind(made))
    outside = Outside(bound)
    found: list[GatheredTable] = []
    for link in list(_links(bound.query)):
        # Read twice, a table would be seen at two moments.
        inside = list(tables(link.query))
        around = [each for each in bound.sharded if not any(each is one for one in inside)]
        if any(each.relation is one.relation for each in around for one in inside):
            continue
        match = _Match(link.query, bound, outside)
        table = match.table(read, f"{PREFIX}e{len(found)}")
        if table is not None:
            found.append(table)
            link.query.node.CopyFrom(match.stand_in(table))
    if not found:
        return candidate, ()
    return candidate.stood_in(made), tuple(found)


def _links(query: Query) -> Iterator[Sublink]:
    """The EXISTS in a query, none within another."""
    within: set[int] = set()
    for one in queries(query, into_views=False):
        for link in one.sublinks:
            if link.node.sub_link_type == EXISTS_SUBLINK and link.body is None:
                if id(one) not in within:
                    yield link
                within.update(map(id, queries(link.query)))


class _Match:
    """What one EXISTS looks for.

    Args:
        query: The query in it.
        candidate: The whole.
        outside: What the whole says of it.
    """

    def __init__(self, query: Query, candidate: Candidate, outside: Outside) -> None:
        self._query, self._candidate, self._outside = query, candidate, outside
        known = [query.level.columns, *(source.columns for source in query.level.sources)]
        self._own = {column.id for columns in known for column in columns or ()}
        self._inside: list[Condition] = []
        self._across: list[Condition] = []

    def table(self, read: Read, name: str) -> GatheredTable | None:
        """What is gathered; None if it cannot be.

        Args:
            read: Plans another query.
            name: For it.
        """
        # The rows of what is computed first are where it gathers, and not on the shards.
        if not may_stand(self._query.node):
            return None
        if not self._is_simple() or not self._split() or self._is_correlated():
            return None
        found = self._compared()
        if found is None:
            return None
        table, columns = found
        names = names_in(table, self._query)
        # FROM orders AS o (k, c) WHERE c = o_custkey: by its own name, o_custkey is another one's.
        if names is None or any(names[at][1] != column.name for at, column in columns.items()):
            return None
        made = self._values(columns, names)
        sql, plan = read(made)
        step = plan.step.otherwise if isinstance(plan.step, Routed) else plan.step
        # Another text than that has parameters of its own.
        if not isinstance(step, Scatter) or step.sort or step.rights or step.sql.text != sql.text:
            return None
        relation = table.relation
        return GatheredTable(
            name,
            f"{quoted(relation.schema)}.{quoted(relation.name)}",
            tuple(GatheredColumn.of(column) for column in columns.values()),
            Sql(f"SELECT DISTINCT * FROM ({sql.text}) AS gs", sql.binds),
            _known(step.pins),
            sought=tuple(sorted(sought(self._candidate.query, [table]))),
        )

    def stand_in(self, table: GatheredTable) -> Any:
        """The query over what was gathered."""
        columns = columns_of(tables(self._query))
        made = parse_select("SELECT")
        shown = [column.name for column in table.columns]
        made.from_clause.add().CopyFrom(rows_called(table.name, shown))
        made.where_clause.CopyFrom(
            joined("a AND b", [self._over(each, table.name, columns) for each in self._across])
        )
        return made

    def _over(self, condition: Condition, name: str, columns: Mapping[ColumnId, Column]) -> Message:
        """A condition with the names of what was gathered."""
        made: Message = copy(condition.node)
        for message in list(walk_level(made)):
            reference: Any = message
            if type_name(message) != "ColumnRef":
                continue
            column = condition.level.named(names_of(reference.fields))
            if column is not None and column.id in self._own:
                own = expression(f"{quoted(name)}.{quoted(columns[column.id].name)}")
                reference.CopyFrom(unwrap(own)[1])
        return made

    def _is_simple(self) -> bool:
        """Whether FROM and WHERE say all."""
        query, functions = self._query, self._candidate.functions
        node = query.node
        if query.branches is not None or node.values_lists or node.locking_clause:
            return False
        if is_distinct(node) or is_grouped(node, functions) or node.window_clause:
            return False
        # SELECT * needs the right to all columns, though none is read.
        starred = any(is_star(each.res_target.val) for each in node.target_list)
        if starred and any(one.relation.security.column_grants for one in tables(query)):
            return False
        # SELECT unnest(x): rows, or none.
        kinds = {unwrap(each.res_target.val)[0] for each in node.target_list}
        plain = kinds <= {"column_ref", "a_const"}
        return plain and not any(map(node.HasField, _DECIDING))

    def _split(self) -> bool:
        """Tell conditions on the query's rows alone from others; whether that can be told."""
        for condition in self._query.where:
            names = mentioned(condition)
            links = any(type_name(each) == "SubLink" for each in walk_level(condition.node))
            if names is None or links:
                return False
            (self._inside if names <= self._own else self._across).append(condition)
        return bool(self._across)

    def _is_correlated(self) -> bool:
        """Whether more of the query than what is compared names a row around it."""
        query = self._query
        parts = [each for one in queries(query) if one is not query for each in expressions(one)]
        parts += [(each.node, each.level) for each in self._inside]
        return names_around(query, [*parts, *expressions_in_from(query)])

    def _compared(self) -> tuple[Table, dict[ColumnId, Column]] | None:
        """The sharded table whose columns are compared with rows around the query, and these."""
        wanted = set().union(*(mentioned(each) or () for each in self._across)) & self._own
        for table in kept(self._query.items):
            columns = columns_of([table])
            if not table.sharded or not wanted or not wanted <= columns.keys():
                continue
            found = {number: columns[number] for number in sorted(wanted)}
            return (table, found) if all(map(_is_same_if_equal, found.values())) else None
        return None

    def _values(
        self, columns: Mapping[ColumnId, Column], names: Mapping[ColumnId, tuple[str, str]]
    ) -> Any:
        """The query that gives them."""
        query = self._query
        made = copy(query.node)
        made.ClearField("target_list")
        made.ClearField("where_clause")
        made.ClearField("sort_clause")
        for number, column in columns.items():
            value = expression(".".join(map(quoted, names[number])))
            add_target(made, value, column.name)
        conditions = [copy(each.node) for each in self._inside]
        conditions += self._outside.said(query, self._outside.without(query))
        if conditions:
            made.where_clause.CopyFrom(joined("a AND b", conditions))
        return made


def _is_same_if_equal(column: Column) -> bool:
    # Of a domain it is not known which.
    known = read_type(column.type_sql)
    return column.deterministic and known is not None and Trait.SAME_IF_EQUAL in known.traits


def _known(pins: Sequence[Pin] | None) -> tuple[Pin, ...] | None:
    """Pins that are good for the whole statement, whose parameters have other names."""
    if pins is None or not all(isinstance(v, Constant) for pin in pins for v in pin.values):
        return None
    return tuple(pins)
