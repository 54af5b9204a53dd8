from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenshard import errors
from greenshard.planner.target import Target, choose

KNOWN = ("b", "a", "c")


@given(st.lists(st.sampled_from(KNOWN), min_size=1))
def test_target_is_in_shard_order_and_holds_each_shard_once(names):
    target = choose(names, KNOWN)
    assert target.shards == tuple(name for name in KNOWN if name in names)
    assert not target.broadcast


@pytest.mark.parametrize(
    "shards", [{"c", "b"}, ("c", "b"), iter(["c", "b"]), {"c": 1, "b": 2}, ["c", "b", "c"]]
)
def test_any_iterable_of_names_will_do(shards):
    assert choose(shards, KNOWN).shards == ("b", "c")


def test_a_name_alone_is_not_read_as_its_letters():
    assert choose("ab", ("a", "b", "ab")).shards == ("ab",)


@pytest.mark.parametrize("shards", ["x", "", ["a", "x"], [0], [None], ["a,b"]])
def test_unknown_shard_is_named_with_those_that_there_are(shards):
    with pytest.raises(errors.ProgrammingError, match="no such shard") as caught:
        choose(shards, KNOWN)
    assert caught.value.code == "GS103"
    assert "b, a, c" in caught.value.hint


def test_no_shard_is_an_error_and_not_all_of_them():
    with pytest.raises(errors.ProgrammingError, match="no shard is named"):
        choose([], KNOWN)


def test_targets_are_values():
    assert Target(("a",)) == Target(("a",)) != Target(("a",), broadcast=True)
    assert len({Target(("a",)), Target(("a",))}) == 1
