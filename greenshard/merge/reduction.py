"""The shards' partial rows become the answer in Python, where that is exact.

    SELECT n, count(*), sum(x) FROM t GROUP BY n        on each shard, gives
    [("a", 2, 5), ("b", 1, None)]  and  [("a", 1, 3)]   which become
    [("a", 3, 8), ("b", 1, None)]

That saves the round trip of a combine query. What PostgreSQL would compute in another way is left
to PostgreSQL: before the rows are there, by the columns' types (`reducible`); then, by a value
(`reduce` gives None).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Context, Decimal, Inexact, localcontext
from itertools import chain
from operator import itemgetter
from types import NoneType
from typing import Any
from uuid import UUID

from greenshard.merge.ordering import INFINITE, Row, Undecided, comparable, cut, order
from greenshard.planner.plan import Reduction
from greenshard.sql.types import Trait, oid_of, oids_with

_BOOL, _BYTEA, _INT8, _NUMERIC = map(oid_of, ("bool", "bytea", "int8", "numeric"))
_KEYS = oids_with(Trait.SAME_IF_EQUAL)
_KEY_KINDS = frozenset({bool, int, str, date, datetime, UUID})
_INT8_RANGE = range(-(2**63), 2**63)
#: More digits than a numeric can have (131072 before the point and 16383 after it).
_EXACT = Context(prec=150_000, traps=[Inexact])

_Compute = Callable[[Iterable[Any]], Any]


def reducible(reduction: Reduction, type_oids: Sequence[int], c_collation: bool) -> bool:
    """Whether Python computes what PostgreSQL would, as far as the types tell.

    The collations of the columns are not known here: those that are grouped by must be
    deterministic, and those that "min" or "max" takes must have the database's default.

    Args:
        type_oids: The partial columns' types, as in ``cursor.description``.
        c_collation: As in `Catalog`.
    """
    answer = [type_oids[column] for _, column in reduction.outputs]
    return (
        all(type_oids[column] in _KEYS for column in reduction.keys)
        and all(
            _reduces(function, type_oids[column], c_collation)
            for function, column in reduction.outputs
        )
        and all(
            key.collation is None and comparable(answer[key.column], c_collation)
            for key in reduction.sort
        )
    )


def _reduces(function: str, type_oid: int, c_collation: bool) -> bool:
    if function in {"min", "max"}:
        return type_oid not in {_BOOL, _BYTEA} and comparable(type_oid, c_collation)
    if function in {"bool_and", "bool_or"}:
        return type_oid == _BOOL
    if function == "count":
        return type_oid == _INT8
    # The sum of float8 depends on the order of the rows.
    # sum(int) is int8, sum(bigint) numeric. Other sums, of intervals or money, PostgreSQL adds up.
    return function == "key" or type_oid in {_INT8, _NUMERIC}


def reduce(
    reduction: Reduction,
    parts: Iterable[Iterable[Row]],
    count: int | None = None,
    offset: int | None = None,
) -> list[Row] | None:
    """Make the answer of the partial rows.

    Args:
        parts: The rows of each shard, in shard order.
        count: The value of LIMIT in ``reduction.slice``, None for none.
        offset: Likewise.

    Returns:
        None if a value is such that PostgreSQL must compute it: NaN, infinity, a sum that int8
        does not hold, or a value that is not as psycopg2's own typecasters give it.

    Cost: 10,000 rows of 4 columns, 7 ms.
    """
    # In shard order: a group stands where it was met first.
    rows = list(chain.from_iterable(parts))
    try:
        with localcontext(_EXACT):
            answer = _answer(reduction, rows)
    except (Undecided, Inexact):
        return None
    ordered = order(answer, reduction.sort)
    return None if ordered is None else cut(ordered, count, offset)


def _answer(reduction: Reduction, rows: list[Row]) -> list[Row]:
    """The rows of the answer, groups in the order in which they are met.

    Raises:
        Undecided: See `reduce`.
    """
    for column in reduction.keys:
        _check_key(list(map(itemgetter(column), rows)))
    computing = [_computing(function, column, rows) for function, column in reduction.outputs]
    # count(*) without GROUP BY is one row, also of no rows.
    if not reduction.keys:
        return [tuple([compute(rows) for compute in computing])]
    groups: defaultdict[Any, list[Row]] = defaultdict(list)
    by = itemgetter(*reduction.keys)
    for row in rows:
        groups[by(row)].append(row)
    columns = [column for _, column in reduction.outputs]
    return [
        tuple([compute(group) for compute in computing])
        # A group that one shard has is as that shard has computed it.
        if len(group) > 1
        else tuple([group[0][column] for column in columns])
        for group in groups.values()
    ]


def _check_key(values: list[Any]) -> None:
    kinds = set(map(type, values)) - {NoneType}
    if len(kinds) > 1 or not kinds <= _KEY_KINDS:
        raise Undecided
    # infinity and 9999-12-31 would be one group.
    if kinds & {date, datetime} and not INFINITE.isdisjoint(values):
        raise Undecided


def _computing(function: str, column: int, rows: list[Row]) -> Callable[[list[Row]], Any]:
    """What gives one column of the answer for the rows of a group."""
    value_of = itemgetter(column)
    if function == "key":
        return lambda group: value_of(group[0])
    values = list(map(value_of, rows))
    kinds = set(map(type, values))
    nothing = 0 if function == "count" else None
    compute = _COMPUTE[function]
    if NoneType in kinds or not rows:
        values = [value for value in values if value is not None]
        _check_values(function, kinds - {NoneType}, values)

        def over(group: list[Row]) -> Any:
            given = [value for value in map(value_of, group) if value is not None]
            return compute(given) if given else nothing

        return over
    _check_values(function, kinds, values)
    return lambda group: compute(map(value_of, group))


def _check_values(function: str, kinds: set[type], values: list[Any]) -> None:
    """Refuse what Python would compute in another way.

    Raises:
        Undecided: There is such a value.
    """
    if len(kinds) > 1 or not kinds <= _KINDS[function]:
        raise Undecided
    if Decimal in kinds and function == "sum":
        decided = all(map(Decimal.is_finite, values))
    elif kinds & {Decimal, float}:
        decided = all(value == value for value in values)  # noqa: PLR0124
    elif datetime in kinds:
        decided = INFINITE.isdisjoint(values)
    else:
        # psycopg2 gives 9999-12-31 for the date infinity: it is the greatest in either sense.
        decided = True
    if not decided:
        raise Undecided


def _sum(values: Iterable[Any]) -> Any:
    total = sum(values)
    # PostgreSQL raises "bigint out of range", in the cast of the sum of sums.
    if type(total) is int and total not in _INT8_RANGE:
        raise Undecided
    return total


_COMPUTE: dict[str, _Compute] = {
    "count": _sum,
    "sum": _sum,
    "min": min,
    "max": max,
    "bool_and": all,
    "bool_or": any,
}
_ORDERED = frozenset({int, float, Decimal, str, date, datetime, UUID})
_KINDS: dict[str, frozenset[type]] = {
    "count": frozenset({int}),
    "sum": frozenset({int, Decimal}),
    "min": _ORDERED,
    "max": _ORDERED,
    "bool_and": frozenset({bool}),
    "bool_or": frozenset({bool}),
}
