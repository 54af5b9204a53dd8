from __future__ import annotations

import math
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from functools import cmp_to_key
from itertools import chain, islice
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenshard.merge.ordering import (
    Undecided,
    comparable,
    cut,
    merge_streams,
    order,
    sorts_by_code_point,
)
from greenshard.planner.plan import SortKey

KINDS = [
    st.integers(-3, 3),
    st.sampled_from([0.0, 1.5, -1.5, math.inf, -math.inf, math.nan]),
    st.sampled_from([Decimal(text) for text in ("0", "0.0", "-1.50", "NaN", "Infinity")]),
    st.sampled_from(["", "a", "B", "b", "é", "\U0001f600", "\uffff"]),
    st.booleans(),
    st.dates(date(1999, 12, 30), date(2000, 1, 2)),
    st.sampled_from([b"", b"\x00", b"a", b"\xff"]).map(memoryview),
    st.sampled_from([UUID(int=n) for n in (0, 1, 2**127)]),
]


@st.composite
def tables(draw):
    """Rows whose last column is their number, and what to sort them by."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
    column = [st.one_of(st.none(), kind) for kind in kinds]
    rows = draw(st.lists(st.tuples(*column), max_size=12))
    numbered = [(*row, number) for number, row in enumerate(rows)]
    at = st.one_of(st.integers(0, len(kinds) - 1), st.integers(-1 - len(kinds), -2))
    key = st.builds(SortKey, at, st.booleans(), st.booleans())
    return numbered, draw(st.lists(key, min_size=1, max_size=3))


def rank(value):
    """Its place among values that are not NULL."""
    if isinstance(value, float | Decimal) and math.isnan(value):
        return (1, 0)
    return (0, bytes(value) if isinstance(value, memoryview) else value)


def model(rows, keys):
    def compare(one, other):
        for key in keys:
            a, b = one[key.column], other[key.column]
            if a is None or b is None:
                found = (a is None) - (b is None)
                found = -found if key.nulls_first else found
            else:
                found = (rank(a) > rank(b)) - (rank(a) < rank(b))
                found = -found if key.descending else found
            if found:
                return found
        return 0

    return sorted(rows, key=cmp_to_key(compare))


def numbers(rows):
    return [row[-1] for row in rows]


@given(tables())
def test_rows_are_ordered_as_postgresql_orders_them(table):
    rows, keys = table
    assert numbers(order(rows, keys)) == numbers(model(rows, keys))


@given(tables(), st.integers(1, 4))
def test_merged_streams_are_in_the_order_of_their_rows_together(table, count):
    rows, keys = table
    streams = [order(rows[at::count], keys) for at in range(count)]
    merged = merge_streams(map(iter, streams), keys)
    assert numbers(merged) == numbers(order(chain.from_iterable(streams), keys))


def test_merging_holds_one_row_of_each_stream():
    taken = []

    def stream(start):
        for number in range(start, 10**6, 2):
            taken.append(number)
            yield (number,)

    merged = merge_streams([stream(0), stream(1)], [SortKey(0)])
    assert list(islice(merged, 4)) == [(0,), (1,), (2,), (3,)]
    assert len(taken) <= 6


def test_ranked_column_is_ordered_by_rank():
    rows = [("Z", 1), (None, 2), ("a", 3), ("A", 4)]
    ranks = {0: {"a": 1, "A": 1, "Z": 2}}
    assert order(rows, [SortKey(0), SortKey(1, descending=True)], ranks) == [
        ("A", 4), ("a", 3), ("Z", 1), (None, 2),
    ]  # fmt: skip


def test_same_column_may_be_ranked_in_one_key_and_compared_in_another():
    rows = [("a",), ("B",), ("b",)]
    ranks = {0: {"a": 1, "b": 2, "B": 2}}
    keys = [SortKey(0, descending=True, collation="x"), SortKey(0, collation='pg_catalog."C"')]
    assert order(rows, keys, ranks) == [("B",), ("b",), ("a",)]


INFINITE = [
    date.max,
    date.min,
    *(
        end.replace(tzinfo=zone)
        for zone in (None, timezone.utc)
        for end in (datetime.max, datetime.min)  # noqa: DTZ901
    ),
]


@pytest.mark.parametrize("value", INFINITE)
def test_ends_of_the_calendar_are_undecided(value):
    """psycopg2 gives them for infinity and -infinity too."""
    rows = [(value,), (value,)]
    assert order(rows, [SortKey(0)]) is None
    with pytest.raises(Undecided):
        list(merge_streams([rows[:1], rows[1:]], [SortKey(0)]))


def test_times_of_several_zones_are_compared_as_instants():
    rows = [
        (datetime(2000, 1, 1, hour, tzinfo=timezone(timedelta(hours=offset))),)
        for hour, offset in ((12, 0), (12, 2), (12, -2))
    ]
    assert order(rows, [SortKey(0)]) == [rows[1], rows[0], rows[2]]


@pytest.mark.parametrize(
    "values", [(1, "a"), ([1], [2]), (1, Decimal(1)), (timedelta(1), timedelta(2)), ({}, {})]
)
def test_values_of_other_types_are_undecided(values):
    assert order([(value,) for value in values], [SortKey(0)]) is None


def test_only_nulls_are_in_order():
    assert order([(None, 1), (None, 0)], [SortKey(0)]) == [(None, 1), (None, 0)]


def test_order_leaves_its_argument_alone():
    rows = [(2,), (1,)]
    assert order(rows, [SortKey(0)]) == [(1,), (2,)]
    assert rows == [(2,), (1,)]


@pytest.mark.parametrize(
    ("count", "offset", "expected"),
    [
        (None, None, [1, 2, 3]),
        (2, None, [1, 2]),
        (0, None, []),
        (None, 1, [2, 3]),
        (1, 1, [2]),
        (5, 2, [3]),
        (1, 9, []),
    ],
)
def test_cut_takes_limit_and_offset(count, offset, expected):
    assert cut([(1,), (2,), (3,)], count, offset) == [(number,) for number in expected]


def test_cut_removes_hidden_columns():
    assert cut([(1, "a", "b")], None, None, hidden=2) == [(1,)]


def test_text_is_comparable_by_code_point_only():
    assert comparable(25, code_point=True)
    assert not comparable(25, code_point=False)


@pytest.mark.parametrize("type_oid", [1042, 1083, 1186, 114, 3802, 1007, 16384, 18, 869])
def test_types_that_python_orders_otherwise_are_not_comparable(type_oid):
    assert not comparable(type_oid, code_point=True)


@pytest.mark.parametrize("default", [True, False])
def test_collation_by_code_point(default):
    assert sorts_by_code_point(None, default, "UTF8") is default
    assert sorts_by_code_point('pg_catalog."default"', default, "UTF8") is default
    assert sorts_by_code_point('pg_catalog."C"', default, "UTF8")
    assert not sorts_by_code_point('pg_catalog."C"', default, "EUC_JP")
    assert not sorts_by_code_point('public."C"', default, "UTF8")
    assert not sorts_by_code_point('pg_catalog."en-x-icu"', default, "UTF8")
