"""Goal: say what rows stand beside those of a table, at one place in the text, if they matter.

    SELECT sum(l_extendedprice) FROM part JOIN lineitem ON p_partkey = l_partkey
    WHERE p_brand = 'Brand#23' AND l_quantity < (
        SELECT 0.2 * avg(l_quantity) FROM lineitem WHERE l_partkey = p_partkey)

Both rows of `lineitem` matter only beside a row of `part` that meets p_brand = 'Brand#23', and
p_partkey = l_partkey.

A row beside which an outer join may put NULLs is no partner; nor is one that a view or a function
in SQL names, which the user may have no right to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from greenshard.planner.analysis.equality import Pair, using_pairs
from greenshard.planner.binding.query import Condition, Item, Join, Query, Sublink, Table, nested
from greenshard.planner.binding.scope import BoundColumn, ColumnId
from greenshard.sql.parser import type_name
from greenshard.sql.tree import names_of, walk_level


@dataclass(frozen=True, slots=True)
class Partners:
    """Tables a row of each of which stands beside the rows of a place, and what all of these meet.

    Attributes:
        tables: The tables.
        conditions: What the rows meet, together with that of the place.
        equal: Columns that are equal besides, by USING or IN.
        sublinks: The queries in the conditions.
    """

    tables: tuple[Table, ...] = ()
    conditions: tuple[Condition, ...] = ()
    equal: tuple[Pair, ...] = ()
    sublinks: tuple[Sublink, ...] = ()

    def and_(self, other: Partners) -> Partners:
        return Partners(
            (*self.tables, *other.tables),
            (*self.conditions, *other.conditions),
            (*self.equal, *other.equal),
            (*self.sublinks, *other.sublinks),
        )

    def without(self, columns: Iterable[BoundColumn]) -> Partners:
        """The same, but for what is said of some columns."""
        gone = {column.id for column in columns}
        kept = [each for each in self.conditions if gone.isdisjoint(mentioned(each) or gone)]
        equal = [pair for pair in self.equal if gone.isdisjoint(pair)]
        return Partners(self.tables, tuple(kept), tuple(equal), self.sublinks)


ALONE = Partners()


def partners_in(query: Query) -> Partners:
    """Those of the rows of a query's FROM."""
    own = Partners(conditions=tuple(query.where), sublinks=tuple(query.sublinks))
    return own.and_(partners_of(query.items))


def partners_of(items: Iterable[Item]) -> Partners:
    """Those of what stands in FROM; beside each there is a row of every other one."""
    found = Partners()
    for item in items:
        if isinstance(item, Table):
            found = found.and_(Partners((item,)))
        elif isinstance(item, Join) and item.kind == "inner":
            found = found.and_(_on(item)).and_(partners_of([item.left, item.right]))
        elif isinstance(item, Join) and item.kind == "left":
            found = found.and_(partners_of([item.left]))
    return found


def beside_right(join: Join, beside: Partners) -> Partners:
    """Those of the rows to the right of a left join: what is said of these outside of it, is not.

    Args:
        join: The join.
        beside: Those of what stands to its left.
    """
    right = [column for item in nested([join.right]) for column in item.columns or ()]
    return beside.without(right).and_(_on(join)).and_(partners_of([join.right]))


def _on(join: Join) -> Partners:
    """What a join says of the rows of both its sides."""
    return Partners((), tuple(join.on), tuple(using_pairs(join)), tuple(join.sublinks))


def matching(sublink: Sublink) -> Partners:
    """What ``x IN (SELECT ...)`` says of the query's rows."""
    sides = zip(sublink.matched, sublink.query.outputs or (), strict=False)
    return Partners(equal=tuple((one.id, other.id) for one, other in sides if one is not None))


def mentioned(condition: Condition) -> set[ColumnId] | None:
    """The columns that a condition names, not in its sublinks; None if one is not known."""
    found = set()
    for name in _names(condition):
        column = condition.level.named(name)
        if column is None:
            return None
        found.add(column.id)
    return found


def _names(condition: Condition) -> Iterator[tuple[str, ...] | None]:
    for message in walk_level(condition.node):
        if type_name(message) == "ColumnRef":
            yield names_of(message.fields)
