"""Classes of equal columns, and the conditions that make them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenshard.planner.analysis.equality import Classes, pairs
from tests.unit.planner.test_binding import bound

columns = st.tuples(st.integers(0, 3), st.integers(0, 3))


@given(st.lists(st.tuples(columns, columns)), columns, columns)
def test_columns_are_the_same_if_a_chain_of_pairs_joins_them(made, one, other) -> None:
    reached = {one}
    for _ in made:
        for a, b in made:
            if a in reached or b in reached:
                reached |= {a, b}
    assert Classes(made).same(one, other) == (other in reached)


def test_classes_meet_if_one_of_some_is_one_of_others() -> None:
    classes = Classes([((0, 0), (1, 0)), ((2, 0), (3, 0))])
    assert classes.meet([(9, 9), (1, 0)], [(0, 0)])
    assert not classes.meet([(0, 0), (1, 0)], [(2, 0), (3, 0)])
    assert not classes.meet([], [(0, 0)])


@pytest.mark.parametrize(
    ("condition", "equates"),
    [
        ("o_orderkey = l_orderkey", True),
        ("l_orderkey = o_orderkey", True),
        ("o_orderkey = i_orderkey", True),
        ("o_orderkey OPERATOR(pg_catalog.=) l_orderkey", True),
        ("o_orderkey OPERATOR(public.=) l_orderkey", False),
        ("o_orderkey <> l_orderkey", False),
        ("o_orderkey IS NOT DISTINCT FROM l_orderkey", False),
        ("o_orderkey = ANY (ARRAY[l_orderkey])", False),
        ("o_orderkey + 0 = l_orderkey", False),
        ("o_orderkey::int = l_orderkey", False),
        ("o_orderkey = l_orderkey OR true", False),
        ("NOT o_orderkey = l_orderkey", False),
        ("o_orderkey = 5", False),
        ("o_totalprice = l_quantity", False),
        ("o_orderkey = o_totalprice", False),
        ("o_orderdate = at", False),
        ("p.name = o_comment", False),
        ("o_orderstatus = o_comment", False),
    ],
)
def test_a_condition_equates_columns_whose_equal_values_hash_alike(
    condition: str, equates: bool
) -> None:
    query, _ = bound(f"SELECT 1 FROM orders, lineitem, invoice, moment, person p WHERE {condition}")
    assert bool(pairs(query.where)) == equates
