"""Where rows come about: of joins and of set operations."""

from __future__ import annotations

import pytest

from greenshard.cluster import Hash, Unknown
from greenshard.planner.analysis.equality import Classes
from greenshard.planner.analysis.shape import (
    NOTHING_AROUND,
    Around,
    Crosses,
    Shape,
    Where,
    anchored,
    connected,
    full_join,
    left_join,
    of_branches,
)
from greenshard.planner.binding.query import Join, Query
from greenshard.planner.binding.scope import BoundColumn
from tests.unit.planner import scene
from tests.unit.planner.test_binding import bound

A, B, C, OUTER = ((at, 0) for at in (90, 91, 92, 93))
EVERYWHERE, TIED = Shape(Where.EVERYWHERE), Shape(Where.TIED)
NOTHING_EQUAL = Classes(())


def split(*keys: tuple[int, int], rule: str = "", table: str = "t") -> Shape:
    placement = Unknown(rule) if rule else Hash()
    return Shape(Where.SPLIT, frozenset(keys), placement, (), (table,))


def test_shapes_are_connected_through_one_that_shows_two_keys() -> None:
    one, both, other = split(A), split(A, B), split(B)
    (group,) = connected([one, both, other], NOTHING_EQUAL)
    assert group == [other, both, one]
    assert len(connected([one, other, split(A, rule="x")], NOTHING_EQUAL)) == 3


def test_rows_are_anchored_by_a_key_that_is_placed_by_the_same_rule() -> None:
    around = NOTHING_AROUND.with_rows(split(OUTER))
    assert anchored([split(B), split(A)], around, Classes([(A, OUTER)]))
    assert not anchored([split(A, rule="x")], around, Classes([(A, OUTER)]))
    assert not anchored([split(A)], around, NOTHING_EQUAL)
    assert around.with_rows(EVERYWHERE) == around


def test_a_left_join_keeps_the_left_side_s_rows_where_they_are() -> None:
    left, right = split(A, table="l"), split(B, table="r")
    equal = Classes([(A, B)])
    joined = left_join(left, right, equal, NOTHING_AROUND)
    assert (joined.where, joined.keys, joined.tables) == (Where.SPLIT, {A}, ("l", "r"))
    for other in (EVERYWHERE, TIED):
        assert left_join(left, other, equal, NOTHING_AROUND) == left
    assert left_join(EVERYWHERE, EVERYWHERE, equal, NOTHING_AROUND) == EVERYWHERE
    assert left_join(EVERYWHERE, TIED, equal, NOTHING_AROUND) == TIED
    assert left_join(TIED, EVERYWHERE, equal, NOTHING_AROUND) == TIED
    with pytest.raises(Crosses, match="l and r are not joined by their shard keys"):
        left_join(left, right, NOTHING_EQUAL, NOTHING_AROUND)
    with pytest.raises(Crosses, match="keeps rows that every shard has, beside r"):
        left_join(EVERYWHERE, right, equal, NOTHING_AROUND)


def test_what_a_lateral_left_join_adds_may_be_tied_to_the_row_around_it() -> None:
    beside = Around(((frozenset({OUTER}), Hash()),))
    left, right = split(A, table="l"), split(B, table="r")
    tied = Classes([(B, OUTER)])
    assert left_join(EVERYWHERE, right, tied, beside) == Shape(Where.TIED, tables=("r",))
    joined = left_join(left, right, tied, beside)
    assert (joined.where, joined.keys, joined.tables) == (Where.SPLIT, {A}, ("l", "r"))
    assert left_join(EVERYWHERE, Shape(Where.TIED, tables=("x",)), tied, beside).tables == ("x",)


def full(*using: tuple[BoundColumn, BoundColumn], merged: list[BoundColumn]) -> Join:
    side = Join((), None, "inner", None, None)  # type: ignore[arg-type]
    return Join((), None, "full", side, side, [], list(using), merged)


def test_a_full_join_by_the_keys_is_split_by_what_merges_them() -> None:
    number = scene.column("n bigint")
    numeric = scene.column("n numeric")
    a, b, c = (BoundColumn("n", each, number) for each in (A, B, C))
    merged = BoundColumn("n", (95, 0), number)
    on = [(A, B)]

    def keys(join: Join) -> object:
        shape = full_join(join, split(A, table="l"), split(B, table="r"), on)
        assert (shape.where, shape.placement, shape.tables) == (Where.SPLIT, Hash(), ("l", "r"))
        return shape.keys

    assert keys(full((a, b), merged=[merged])) == {(95, 0)}
    assert keys(full((a, c), merged=[merged])) == frozenset()
    assert keys(full((c, b), merged=[merged])) == frozenset()
    assert keys(full((a, b), merged=[BoundColumn("n", (95, 0), numeric)])) == frozenset()
    assert keys(full(merged=[])) == frozenset()


def test_a_full_join_of_what_is_not_split_alike_crosses_shards() -> None:
    join = full(merged=[])
    assert full_join(join, EVERYWHERE, EVERYWHERE, []) == EVERYWHERE
    for left, right in ((TIED, EVERYWHERE), (EVERYWHERE, TIED), (TIED, TIED)):
        assert full_join(join, left, right, []) == TIED
    for left, right in (
        (split(A), EVERYWHERE), (EVERYWHERE, split(A)), (TIED, split(A)), (split(A), split(B)),
        (split(A), split(B, rule="x")),
    ):  # fmt: skip
        with pytest.raises(Crosses, match="is not by their shard keys"):
            full_join(join, left, right, [] if right.placement == Hash() else [(A, B)])


def of_set(sql: str) -> tuple[Query, tuple[int, int], tuple[int, int]]:
    """A set operation, and the ids of its sides' first columns, if they are known."""
    query, _ = bound(sql)
    assert query.branches is not None
    first, second = (each.outputs[0].id if each.outputs else A for each in query.branches)
    return query, first, second


def test_rows_of_a_set_operation_stay_where_equal_ones_are() -> None:
    sql = "SELECT o_orderkey FROM orders {} SELECT l_orderkey FROM lineitem"
    for op, needs_keys in (("UNION", False), ("INTERSECT", True), ("EXCEPT", True)):
        query, one, other = of_set(sql.format(op))
        shape = of_branches(query, split(one), split(other))
        assert query.outputs is not None
        assert shape.keys == {query.outputs[0].id}
        for left, right in ((split(one), split(C)), (split(C), split(other))):
            if needs_keys:
                with pytest.raises(Crosses, match="equal rows on several shards"):
                    of_branches(query, left, right)
            else:
                assert of_branches(query, left, right).keys == frozenset()
        with pytest.raises(Crosses, match="placed by different rules"):
            of_branches(query, split(one), split(other, rule="x"))


def test_split_rows_meet_rows_that_every_shard_has() -> None:
    sql = "SELECT o_orderkey FROM orders {} SELECT n_nationkey FROM nation"
    query, one, other = of_set(sql.format("INTERSECT"))
    assert query.outputs is not None
    assert of_branches(query, split(one), EVERYWHERE).keys == {query.outputs[0].id}
    assert of_branches(query, EVERYWHERE, split(other)).keys == {query.outputs[0].id}
    with pytest.raises(Crosses, match="equal rows on several shards"):
        of_branches(query, split(C), EVERYWHERE)
    for left, right in ((split(one), TIED), (TIED, split(other))):
        with pytest.raises(Crosses, match="is the same on every shard"):
            of_branches(query, left, right)
    query, one, other = of_set(sql.format("EXCEPT"))
    assert of_branches(query, split(one), EVERYWHERE).where is Where.SPLIT
    with pytest.raises(Crosses, match="is the same on every shard"):
        of_branches(query, EVERYWHERE, split(other))
    query, one, _ = of_set(sql.format("UNION ALL"))
    with pytest.raises(Crosses, match="is the same on every shard"):
        of_branches(query, split(one), EVERYWHERE)


def test_columns_that_are_not_known_hold_no_key() -> None:
    query, one, _ = of_set("SELECT * FROM orders, json_to_record('{}') r INTERSECT SELECT 1")
    with pytest.raises(Crosses, match="equal rows on several shards"):
        of_branches(query, split(one), EVERYWHERE)
    query, _, other = of_set(
        "SELECT * FROM json_to_record('{}') r INTERSECT SELECT o_orderkey FROM orders"
    )
    assert of_branches(query, EVERYWHERE, split(other)).keys == frozenset()
