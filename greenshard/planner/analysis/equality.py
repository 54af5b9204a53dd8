"""Which columns are equal in every row, by the conditions that the rows have met."""

from __future__ import annotations

from collections.abc import Iterable

from greenshard.planner.binding.query import Condition, Join
from greenshard.planner.binding.scope import BoundColumn, ColumnId

Pair = tuple[ColumnId, ColumnId]


class Classes:
    """Classes of equal columns.

    >>> classes = Classes([((0, 1), (1, 1)), ((1, 1), (2, 5))])
    >>> classes.same((0, 1), (2, 5)), classes.same((0, 1), (2, 4))
    (True, False)
    """

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._parents: dict[ColumnId, ColumnId] = {}
        for one, other in pairs:
            # No ranks: a statement has a handful of equalities, and chains stay short.
            self._parents[self.find(one)] = self.find(other)

    def find(self, column: ColumnId) -> ColumnId:
        """The column that stands for the class."""
        while (parent := self._parents.get(column, column)) != column:
            column = parent
        return column

    def same(self, one: ColumnId, other: ColumnId) -> bool:
        return self.find(one) == self.find(other)

    def meet(self, some: Iterable[ColumnId], others: Iterable[ColumnId]) -> bool:
        """Whether one of `some` is equal to one of `others`."""
        return not {self.find(one) for one in some}.isdisjoint(self.find(one) for one in others)


def pairs(conditions: Iterable[Condition]) -> list[Pair]:
    """The columns that conditions equate, where equal values hash alike."""
    found = []
    for condition in conditions:
        columns = condition.equal_columns
        # numeric = int may hold for a pair that two hash functions put on different shards.
        if columns is not None and alike(*columns):
            found.append((columns[0].id, columns[1].id))
    return found


def using_pairs(join: Join) -> list[Pair]:
    """The columns that USING equates, likewise."""
    return [(one.id, other.id) for one, other in join.using if alike(one, other)]


def alike(one: BoundColumn, other: BoundColumn) -> bool:
    """Whether equal values of two columns hash alike."""
    return one.family is not None and one.family == other.family
