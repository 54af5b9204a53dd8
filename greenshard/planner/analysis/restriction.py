"""Goal: say for each table which of its rows can matter to the answer.

    SELECT * FROM orders LEFT JOIN lineitem ON l_orderkey = o_orderkey AND l_quantity > 5
    WHERE o_orderkey = 7 AND o_custkey < 100

1. Of `orders`: those with o_orderkey = 7 and o_custkey < 100; others fail in WHERE.
2. Of `lineitem`: by equality those with l_orderkey = 7; and those with l_quantity > 5, for others
   join with nothing. `l_quantity > 5` in WHERE could not be used so: it would be true of the
   order's row with NULLs in place of a line if it were, say, `l_quantity IS NULL`.

Conditions on a security_barrier view are not for its tables: they might tell of rows that the view
hides, by an error say. Nor are those of a query that PostgreSQL answers without a row:

    SELECT 1 FROM orders WHERE 1 / (o_orderkey - 1) = 1 HAVING 1 < 2
    SELECT count(*) FROM orders, part WHERE false AND 1 / o_orderkey = 1

In the second, `false` goes along with the other condition.

So equalities hold for both sides of an outer join, since NULL equals nothing; other conditions of
WHERE only for the side that is kept, and those of ON only for the other one.

A table that is named several times has a restriction for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from greenshard.cluster import OneShard
from greenshard.planner.analysis.equality import Classes, Pair, alike, pairs, using_pairs
from greenshard.planner.analysis.partners import (
    ALONE,
    Partners,
    beside_right,
    matching,
    partners_in,
)
from greenshard.planner.analysis.select import aggregates, window_partitions
from greenshard.planner.binding.query import (
    Condition,
    Derived,
    FunctionScan,
    Item,
    Join,
    Query,
    Sublink,
    Table,
)
from greenshard.planner.binding.scope import BoundColumn, ColumnId
from greenshard.planner.calls import Functions
from greenshard.planner.pins import CASTS
from greenshard.planner.plan import Constant, Parameter, Pin, Value
from greenshard.sql.parser import (
    AEXPR_IN,
    AEXPR_OP_ANY,
    Message,
    type_name,
    walk,
)
from greenshard.sql.placeholders import Translation
from greenshard.sql.tree import names_of, own_type, unwrap


@dataclass(frozen=True, slots=True)
class Facts:
    """What holds for every row that can matter.

    Attributes:
        equal: Columns that are equal.
        values: Columns that have one of some values.
    """

    equal: tuple[Pair, ...] = ()
    values: tuple[tuple[ColumnId, tuple[Value, ...]], ...] = ()

    def and_(self, other: Facts) -> Facts:
        return Facts((*self.equal, *other.equal), (*self.values, *other.values))

    def without(self, columns: Iterable[BoundColumn]) -> Facts:
        """The facts that do not speak of `columns`."""
        gone = {column.id for column in columns}
        return Facts(
            tuple(pair for pair in self.equal if gone.isdisjoint(pair)),
            tuple(each for each in self.values if each[0] not in gone),
        )


@dataclass(slots=True)
class Restriction:
    """The rows of a table, at one place in the text, that can matter.

    Attributes:
        table: The table.
        pin: The values of its key, if they are known.
        filters: Conditions on its columns alone.
        constants: Conditions beside these that name no column.
        partners: What stands beside the rows that matter; None where that is not asked.
    """

    table: Table
    pin: Pin | None = None
    filters: list[Condition] = field(default_factory=list)
    constants: list[Condition] = field(default_factory=list)
    partners: Partners | None = None


class Restrictions:
    """Finds the restrictions of a statement.

    Args:
        functions: To keep volatile conditions where they are.
        translation: Where parameters come from.
    """

    def __init__(self, functions: Functions, translation: Translation) -> None:
        self._functions = functions
        self._translation = translation
        self.found: list[Restriction] = []
        self._is_idle = False

    def visit(
        self,
        query: Query,
        around: Facts = Facts(),
        outside: Sequence[Condition] = (),
        beside: Partners | None = ALONE,
    ) -> None:
        """Note the restrictions of every table in a query.

        Args:
            around: What holds for the rows of the query, and those of the queries around it.
            outside: Conditions that its rows must meet.
            beside: What stands beside them; None if its tables have no partners.
        """
        was_idle = self._is_idle
        if _needs_no_rows(query, self._functions):
            self._is_idle, beside = True, None
        self._visit(query, around, outside, beside)
        self._is_idle = was_idle

    def _visit(
        self, query: Query, around: Facts, outside: Sequence[Condition], beside: Partners | None
    ) -> None:
        alone = None if beside is None else ALONE
        for cte in query.ctes:
            # Not what holds for those who read it: they are several.
            self.visit(cte.query, around, (), alone)
        for branch in query.branches or ():
            # A condition on the columns of a UNION holds for those of both branches, by place.
            same = zip(query.outputs or (), branch.outputs or (), strict=False)
            through = Facts(tuple((mine.id, theirs.id) for mine, theirs in same))
            self.visit(branch, around.and_(through), (), alone)
        facts = around.and_(self._facts(query.where)).and_(self._joined(query.items))
        conditions = [*outside, *query.where]
        here = None if beside is None else beside.and_(partners_in(query))
        for item in query.items:
            self._visit_item(item, facts, conditions, around, here)
        for sublink in query.sublinks:
            self._visit_sublink(sublink, facts, around, beside if sublink.in_join else here)

    def _joined(self, items: Sequence[Item]) -> Facts:
        """What the inner joins of FROM say."""
        facts = Facts()
        for item in items:
            if isinstance(item, Join) and item.kind == "inner":
                facts = facts.and_(self._of_join(item)).and_(self._joined([item.left, item.right]))
        return facts

    def _of_join(self, join: Join) -> Facts:
        return self._facts(join.on).and_(Facts(tuple(using_pairs(join))))

    def _visit_item(
        self,
        item: Item,
        facts: Facts,
        conditions: Sequence[Condition],
        around: Facts,
        beside: Partners | None,
    ) -> None:
        if isinstance(item, Table):
            self.found.append(self._restriction(item, facts, conditions, beside))
        elif isinstance(item, Join):
            self._visit_join(item, facts, conditions, around, beside)
        elif isinstance(item, Derived):
            # SELECT * FROM (SELECT * FROM orders LIMIT 5) o WHERE id = 7: the condition is not
            # LIMIT's. Nor is it a barrier view's, whose conditions must be tested first.
            if item.view is not None or item.body is not None:
                beside = None
            if _is_transparent(item.query):
                barrier = item.relation is not None and item.relation.security.barrier
                self.visit(item.query, facts, () if barrier else conditions, beside)
            else:
                shown = item.columns or ()
                beside = beside and beside.without(shown)
                self.visit(item.query, facts.without(shown), (), beside)
        elif isinstance(item, FunctionScan):
            for sublink in item.sublinks:
                self._visit_sublink(sublink, facts, around, beside)

    def _visit_join(
        self,
        join: Join,
        facts: Facts,
        conditions: Sequence[Condition],
        around: Facts,
        beside: Partners | None,
    ) -> None:
        alone = None if beside is None else ALONE
        for sublink in join.sublinks:
            inner = join.kind == "inner" and not sublink.in_join
            self._visit_sublink(sublink, facts, around, beside if inner else alone)
        if join.kind == "inner":
            for side in (join.left, join.right):
                self._visit_item(side, facts, [*conditions, *join.on], around, beside)
        elif join.kind == "left":
            # WHERE l.id IS NULL would be true of the rows that found nothing: so the right side
            # gets ON alone.
            inside = facts.and_(self._of_join(join))
            own = facts.and_(self._joined([join.left]))
            self._visit_item(join.left, own, conditions, around, beside)
            own = inside.and_(self._joined([join.right]))
            beside = beside and beside_right(join, beside)
            self._visit_item(join.right, own, join.on, around, beside)
        else:
            # FULL JOIN USING (k) WHERE k = 7: k is a.k or b.k, so each side's rows with another k
            # do not matter. But that a.k = b.k is not known: rows are kept that have only one of
            # the two.
            merged = zip(join.merged, join.using, strict=False)
            equal = [(mine.id, side.id) for mine, sides in merged for side in sides]
            for side, at in ((join.left, 0), (join.right, 1)):
                own = Facts(tuple(pair for number, pair in enumerate(equal) if number % 2 == at))
                known = facts.and_(own).and_(self._joined([side]))
                self._visit_item(side, known, (), around, alone)

    def _visit_sublink(
        self, sublink: Sublink, facts: Facts, around: Facts, beside: Partners | None
    ) -> None:
        # What WHERE says does not hold for all rows that ON is tested for.
        inside = around if sublink.in_join else facts
        if _is_transparent(sublink.query):
            sides = zip(sublink.matched, sublink.query.outputs or (), strict=False)
            same = ((one.id, other.id) for one, other in sides if one and alike(one, other))
            inside = inside.and_(Facts(tuple(same)))
            beside = beside and beside.and_(matching(sublink))
        self.visit(sublink.query, inside, (), None if sublink.body is not None else beside)

    def _restriction(
        self,
        table: Table,
        facts: Facts,
        conditions: Sequence[Condition],
        beside: Partners | None,
    ) -> Restriction:
        own = {column.id for source in table.sources for column in source.columns or ()}
        filters: list[Condition] = []
        constants: list[Condition] = []
        for condition in () if self._is_idle else conditions:
            names = self._names(condition, own)
            if names is not None:
                (filters if names else constants).append(condition)
        return Restriction(table, self._pin(table, facts), filters, constants, beside)

    def _names(self, condition: Condition, own: set[ColumnId]) -> bool | None:
        """Whether a condition names columns; None if more than a row of one table is needed."""
        # WHERE false names no column: it is true of no table in particular.
        found = False
        for message in walk(condition.node):
            kind = type_name(message)
            if kind in ("SubLink", "SetToDefault"):
                return None
            if kind == "FuncCall" and self._functions.needs_its_place(message):
                return None
            if kind == "ColumnRef":
                column = condition.level.named(names_of(message.fields))
                if column is None or column.id not in own:
                    return None
                found = True
        return found

    def _pin(self, table: Table, facts: Facts) -> Pin | None:
        if table.home is not None:
            return home_pin(table.home)
        key = table.key
        if key is None or key.column is None or table.placement is None:
            return None
        classes = Classes(facts.equal)
        # WHERE o.id = 7 AND l.order_id = o.id pins l, too.
        known = [values for column, values in facts.values if classes.same(column, key.id)]
        if not known:
            return None
        # k IN (1, 2, 3) AND k = 2: either list is right, the shorter one names fewer shards.
        return Pin(table.placement, key.column.type_name, min(known, key=_breadth))

    # Values ---------------------------------------------------------------------------------

    def _facts(self, conditions: Iterable[Condition]) -> Facts:
        values = []
        conditions = list(conditions)
        for condition in conditions:
            found = self._valued(condition)
            if found is not None:
                values.append(found)
        return Facts(tuple(pairs(conditions)), tuple(values))

    def _valued(self, condition: Condition) -> tuple[ColumnId, tuple[Value, ...]] | None:
        """The column, and its possible values, of ``k = 5``, ``k IN (...)``, ``k = ANY(...)``."""
        node = condition.node
        sides = condition.equated
        if sides is not None:
            for one, other in (sides, sides[::-1]):
                column = condition.level.resolve(one)
                value = self.value(other, column)
                if column is not None and value is not None:
                    return column.id, (value,)
            return None
        if not condition.by_equality:
            return None
        column = condition.level.resolve(node.a_expr.lexpr)
        if column is None:
            return None
        values = self._values(node.a_expr, column)
        return None if values is None else (column.id, values)

    def _values(self, expression: Any, column: BoundColumn) -> tuple[Value, ...] | None:
        if expression.kind == AEXPR_IN:
            nodes = expression.rexpr.list.items
        elif expression.kind == AEXPR_OP_ANY and expression.rexpr.HasField("a_array_expr"):
            nodes = expression.rexpr.a_array_expr.elements
        elif expression.kind == AEXPR_OP_ANY:
            node = _uncast_array(expression.rexpr, column)
            if node is None:
                return None
            # psycopg2's adapters write the elements with casts such as ::date; with a type of that
            # name on the path it would not be PostgreSQL's.
            if column.family in self._functions.foreign_types:
                return None
            source = self._source(node.param_ref.number)
            return None if source is None else (Parameter(source, several=True),)
        else:
            return None
        values = [self.value(node, column) for node in nodes]
        # k IN (1, f(2)): any shard may be meant.
        if any(value is None for value in values):
            return None
        return tuple(value for value in values if value is not None)

    def value(self, node: Message, column: BoundColumn | None) -> Value | None:
        """A constant or parameter, for comparison with a column."""
        if column is None or column.family is None:
            return None
        kind, inner = unwrap(node)
        if kind == "type_cast" and _keeps_value(inner.type_name, column):
            kind, inner = unwrap(inner.arg)
        if kind == "param_ref":
            if column.family in self._functions.foreign_types:
                return None  # psycopg2 writes a cast to a type of that name
            source = self._source(inner.number)
            several = inner.number in self._translation.bracketed
            return None if source is None else Parameter(source, several)
        if kind == "a_const":
            return _constant(inner)
        return None

    def _source(self, number: int) -> int | str | None:
        parameters = self._translation.parameters
        # 0 is that of what is no parameter.
        return parameters[number - 1] if 0 < number <= len(parameters) else None


def home_pin(shard: str) -> Pin:
    """The pin of the rows of tables that one shard alone has."""
    # Whatever the value, the placement tells that shard.
    return Pin(OneShard(shard), "int4", (Constant(0),))


def _constant(node: Any) -> Constant | None:
    if node.isnull:
        return Constant(None)
    kind = node.WhichOneof("val")
    if kind == "ival":
        return Constant(node.ival.ival)
    # The parser takes an integer beyond int4 for a float (PostgreSQL's scan.l:
    # process_integer_literal).
    if kind == "fval" and node.fval.fval.lstrip("-").isdigit():
        return Constant(int(node.fval.fval))
    if kind == "sval":
        return Constant(node.sval.sval)
    if kind == "boolval":
        return Constant(node.boolval.boolval)
    return None


def _keeps_value(target: Any, column: BoundColumn) -> bool:
    # 'abc'::varchar(2) is 'ab': with a modifier, a cast may change the value.
    plain = not target.array_bounds and not target.typmods and not target.setof
    return plain and CASTS.get(own_type(target)) == column.family


def _uncast_array(node: Message, column: BoundColumn) -> Message | None:
    """An array without its cast, ``%s::int[]``, if that changes nothing."""
    kind, inner = unwrap(node)
    if kind != "type_cast":
        return node
    plain = len(inner.type_name.array_bounds) == 1 and not inner.type_name.typmods
    if not plain or CASTS.get(own_type(inner.type_name)) != column.family:
        return None
    argument: Message = inner.arg
    return argument


def _breadth(values: tuple[Value, ...]) -> int:
    """How many shards values may name: fewer is better."""
    return sum(100 if isinstance(each, Parameter) and each.several else 1 for each in values)


def _needs_no_rows(query: Query, functions: Functions) -> bool:
    """Whether a query has HAVING, and neither GROUP BY nor aggregates: one row, or none."""
    node = query.node
    if type_name(node) != "SelectStmt" or not node.HasField("having_clause") or node.group_clause:
        return False
    return not any(True for _ in aggregates(node, functions))


def _is_transparent(query: Query) -> bool:
    """Whether conditions on the columns of a query are conditions on the rows of its FROM."""
    node = query.node
    if node.HasField("limit_count") or node.HasField("limit_offset"):
        return False
    if node.distinct_clause and node.distinct_clause[0].WhichOneof("node"):
        return False
    # row_number() counts the rows that a condition would leave out.
    if any(True for _ in window_partitions(node, query.level)):
        return False
    return all(map(_is_transparent, query.branches or ()))
