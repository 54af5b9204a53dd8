from __future__ import annotations

import math
from datetime import date, datetime, timezone
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenshard.merge.reduction import reduce, reducible
from greenshard.planner.plan import REDUCERS, Reduction, SortKey

BOOL, BYTEA, INT8, INT4, TEXT, FLOAT8, BPCHAR, DATE, NUMERIC = (
    16,
    17,
    20,
    23,
    25,
    701,
    1042,
    1082,
    1700,
)


class Total(NamedTuple):
    value: Fraction
    scale: int


def reduction(*outputs, keys=(), sort=()):
    """One output for each function named, each of the partial column at its place."""
    pairs = tuple((function, at) for at, function in enumerate(outputs))
    return Reduction(tuple(keys), pairs, tuple(outputs), tuple(sort))


FOREVER = datetime.max.replace(tzinfo=timezone.utc)
GROUPED = reduction(
    "key", "count", "sum", "sum", "min", "max", "bool_and", "bool_or", keys=[0], sort=[SortKey(0)]
)
NUMERICS = st.decimals(-(10**30), 10**30, places=2) | st.decimals(-9, 9, places=5)
ROW = st.tuples(
    st.one_of(st.none(), st.integers(0, 3)),
    st.integers(0, 9),
    st.one_of(st.none(), st.integers(-(2**40), 2**40)),
    st.one_of(st.none(), NUMERICS),
    st.one_of(st.none(), st.text(max_size=2)),
    st.one_of(st.none(), st.dates(date(2000, 1, 1), date(2000, 1, 5))),
    st.one_of(st.none(), st.booleans()),
    st.one_of(st.none(), st.booleans()),
)


def numeric_sum(values):
    """The sum of numerics; its scale is the greatest of theirs."""
    return Total(sum(map(Fraction, values)), max(-value.as_tuple().exponent for value in values))


def model(rows):
    """What PostgreSQL gives for a group."""
    functions = [None, sum, sum, numeric_sum, min, max, all, any]
    answer = [rows[0][0]]
    for function, column in zip(functions[1:], list(zip(*rows, strict=True))[1:], strict=True):
        values = [value for value in column if value is not None]
        answer.append(function(values) if values else None)
    return answer


def comparable_row(row):
    """A row with numerics by value and scale."""
    return [numeric_sum([v]) if isinstance(v, Decimal) else v for v in row]


@given(st.lists(st.lists(ROW, max_size=8), max_size=4))
def test_groups_are_reduced_as_postgresql_does(parts):
    rows = [row for part in parts for row in part]
    keys = sorted({row[0] for row in rows}, key=lambda key: (key is None, key))
    expected = [model([row for row in rows if row[0] == key]) for key in keys]
    got = [comparable_row(row) for row in reduce(GROUPED, parts)]
    assert got == expected
    assert [list(map(type, row)) for row in got] == [list(map(type, row)) for row in expected]


def test_without_keys_there_is_one_row():
    assert reduce(reduction("count", "sum"), [[(2, 5)], [(0, None)], [(1, 4)]]) == [(3, 9)]


def test_without_rows_counts_are_zero_and_the_rest_null():
    every = reduction(*[name for name in REDUCERS if name != "key"])
    assert reduce(every, [[], []]) == [(0, None, None, None, None, None)]
    assert reduce(GROUPED, [[], []]) == []


def test_column_of_nulls_gives_null():
    assert reduce(reduction("sum", "max"), [[(None, None)], [(None, None)]]) == [(None, None)]


def test_columns_may_be_taken_twice_or_not_at_all():
    plan = Reduction((1,), (("sum", 0), ("max", 0), ("sum", 0)), ("a", "b", "c"))
    assert reduce(plan, [[(1, "x")], [(2, "x")]]) == [(3, 2, 3)]


def test_answer_is_sorted_and_cut():
    plan = reduction("key", "sum", keys=[0], sort=[SortKey(1, descending=True), SortKey(0)])
    parts = [[("a", 1), ("b", 2)], [("a", 3), ("c", 4)]]
    assert reduce(plan, parts) == [("a", 4), ("c", 4), ("b", 2)]
    assert reduce(plan, parts, count=1, offset=1) == [("c", 4)]


def test_sum_of_numerics_keeps_the_greatest_scale_and_never_rounds():
    big = Decimal("9" * 60 + ".1")
    [(total,)] = reduce(reduction("sum"), [[(big,)], [(Decimal("0.000"),)], [(big.copy_negate(),)]])
    assert str(total) == "0.000"
    [(total,)] = reduce(reduction("sum"), [[(big,)], [(Decimal("1e-40"),)]])
    assert str(total) == "9" * 60 + ".1" + "0" * 38 + "1"


@pytest.mark.parametrize(
    ("function", "values"),
    [
        ("sum", [2**63 - 1, 1]),
        ("sum", [-(2**63), -1]),
        ("sum", [Decimal("NaN"), Decimal(1)]),
        ("sum", [Decimal("Infinity"), Decimal("-Infinity")]),
        ("sum", [1, Decimal(1)]),
        ("sum", [1.5, 2.5]),
        ("min", [math.nan, 1.0]),
        ("max", [Decimal("NaN"), Decimal(1)]),
        ("max", [FOREVER, datetime(2000, 1, 1, tzinfo=timezone.utc)]),
        ("min", [memoryview(b"a"), memoryview(b"b")]),
        ("bool_and", ["t", "f"]),
    ],
)  # fmt: skip
def test_declines_values_that_python_computes_otherwise(function, values):
    assert reduce(reduction(function), [[(value,)] for value in values]) is None


@pytest.mark.parametrize("key", [1.5, Decimal("1.0"), date.max, FOREVER, memoryview(b"a"), (1,)])
def test_declines_keys_whose_equality_is_another(key):
    assert reduce(reduction("key", "count", keys=[0]), [[(key, 1)]]) is None


def test_declines_what_cannot_be_sorted():
    plan = reduction("key", "max", keys=[0], sort=[SortKey(1)])
    assert reduce(plan, [[("a", date.max)], [("b", date.max)]]) is None


def test_infinite_date_is_the_greatest():
    assert reduce(reduction("max"), [[(date.max,)], [(date(2000, 1, 1),)]]) == [(date.max,)]


def test_null_keys_are_one_group():
    plan = reduction("key", "count", keys=[0])
    assert reduce(plan, [[(None, 1)], [(None, 2)]]) == [(None, 3)]


def test_uuid_objects_may_be_keys():
    plan = reduction("key", "count", keys=[0])
    assert reduce(plan, [[(UUID(int=1), 1)], [(UUID(int=1), 2)]]) == [(UUID(int=1), 3)]


def test_value_of_a_column_that_depends_on_the_key_may_be_anything():
    plan = reduction("key", "key", "count", keys=[0])
    assert reduce(plan, [[(1, {"a": [1]}, 1)], [(1, {"a": [1]}, 2)]]) == [(1, {"a": [1]}, 3)]
    assert reducible(plan, [INT4, 3802, INT8], c_collation=False)


@pytest.mark.parametrize("type_oid", [FLOAT8, NUMERIC, BPCHAR, BYTEA, 114, 18, 19, 16384])
def test_keys_of_such_types_are_not_reducible(type_oid):
    assert not reducible(reduction("key", keys=[0]), [type_oid], c_collation=True)


@pytest.mark.parametrize(
    ("function", "type_oid", "expected"),
    [
        ("count", INT8, True),
        ("sum", INT8, True),
        ("sum", NUMERIC, True),
        ("sum", FLOAT8, False),
        ("sum", 790, False),  # money
        ("sum", 1186, False),  # interval
        ("min", FLOAT8, True),
        ("max", DATE, True),
        ("max", TEXT, True),
        ("max", BPCHAR, False),
        ("max", BYTEA, False),
        ("max", 1009, False),  # text[]
        ("bool_or", BOOL, True),
    ],
)
def test_functions_are_reducible_over_some_types(function, type_oid, expected):
    assert reducible(reduction(function), [type_oid], c_collation=True) is expected


def test_text_is_reducible_as_a_key_but_not_sorted_unless_by_code_point():
    plain = reduction("key", "count", keys=[0])
    ordered = reduction("key", "count", keys=[0], sort=[SortKey(0)])
    assert reducible(plain, [TEXT, INT8], c_collation=False)
    assert reducible(ordered, [TEXT, INT8], c_collation=True)
    assert not reducible(ordered, [TEXT, INT8], c_collation=False)
    assert not reducible(reduction("min"), [TEXT], c_collation=False)


def test_sort_by_a_collation_of_its_own_is_not_reducible():
    plan = reduction("key", keys=[0], sort=[SortKey(0, collation='pg_catalog."C"')])
    assert not reducible(plan, [TEXT], c_collation=True)
