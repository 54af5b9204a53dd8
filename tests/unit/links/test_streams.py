from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenshard import errors
from greenshard.links.streams import streams


class ServerSide:
    """A peer of psycopg2's named cursor over the rows 0, 1, ..."""

    def __init__(self, count):
        self.count = count
        self.at = 0
        self.rowcount = -1
        self.sizes = []

    def fetchmany(self, size):
        rows = list(range(self.at, min(self.at + size, self.count)))
        self.at += len(rows)
        self.rowcount = len(rows)
        self.sizes.append(size)
        return rows

    def fetchone(self):
        return next(iter(self.fetchmany(1)), None)

    def fetchall(self):
        return self.fetchmany(self.count)

    def scroll(self, value, mode):
        to = self.at + value if mode == "relative" else value
        if not 0 <= to <= self.count:
            raise errors.ProgrammingError("scroll destination out of bounds")
        self.at = to


def stream(count, itersize=3):
    raw = ServerSide(count)
    (only,) = streams({"s0": raw}, lambda calls: {s: call() for s, call in calls.items()}, itersize)
    return only, raw


STEPS = st.lists(
    st.one_of(
        st.just(("fetchone",)),
        st.just(("next",)),
        st.tuples(st.just("fetchmany"), st.integers(0, 8)),
        st.tuples(st.just("scroll"), st.integers(-5, 5), st.just("relative")),
        st.tuples(st.just("scroll"), st.integers(-1, 12), st.just("absolute")),
    ),
    max_size=20,
)


@given(st.integers(0, 10), st.integers(1, 4), STEPS)
def test_mixed_fetching_gives_what_fetching_without_reading_ahead_gives(count, itersize, steps):
    ahead, _ = stream(count, itersize)
    plain = ServerSide(count)
    for name, *args in steps:
        if name == "scroll":
            assert outcome(ahead.scroll, *args) == outcome(plain.scroll, *args)
        elif name == "next":
            assert next(ahead, None) == plain.fetchone()
        else:
            assert getattr(ahead, name)(*args) == getattr(plain, name)(*args)
        assert ahead.rownumber == plain.at
    assert ahead.fetchall() == plain.fetchall()


def outcome(call, *args):
    try:
        return call(*args)
    except errors.ProgrammingError:
        return "out of bounds"


def test_iteration_asks_for_itersize_rows_at_once_and_holds_no_more():
    rows, raw = stream(10, itersize=4)
    assert [next(rows) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert raw.sizes == [4, 4]
    assert list(rows) == [5, 6, 7, 8, 9]
    assert rows.rownumber == 10


def test_rows_read_ahead_are_given_before_others_are_asked_for():
    rows, raw = stream(10, itersize=4)
    assert next(rows) == 0
    assert rows.fetchmany(2) == [1, 2]
    assert raw.sizes == [4]
    assert rows.fetchmany(4) == [3, 4, 5, 6]
    assert raw.sizes == [4, 3]


def test_scrolling_that_fails_leaves_the_place():
    rows, _ = stream(3, itersize=2)
    assert next(rows) == 0
    with pytest.raises(errors.ProgrammingError):
        rows.scroll(9, "relative")
    assert rows.fetchall() == [1, 2]


def two_streams(itersize=3):
    raws, batches = {"s0": ServerSide(5), "s1": ServerSide(5)}, []

    def run(calls):
        batches.append(list(calls))
        return {shard: call() for shard, call in calls.items()}

    return streams(raws, run, itersize), batches


def test_first_fetch_goes_to_all_shards_at_once_and_the_next_to_the_one_read():
    (first, second), batches = two_streams()
    assert [*first, *second] == [0, 1, 2, 3, 4] * 2
    assert batches[0] == ["s0", "s1"]
    assert all(len(batch) == 1 for batch in batches[1:])


def test_later_shard_holds_one_page():
    (first, second), _ = two_streams()
    next(first)
    assert [len(first._ahead), len(second._ahead)] == [2, 3]
    assert second.rownumber == 0


def test_fetchall_goes_to_all_shards_at_once_and_only_once():
    (first, second), batches = two_streams()
    next(first)
    assert first.fetchall() + second.fetchall() == [1, 2, 3, 4, 0, 1, 2, 3, 4]
    assert batches == [["s0", "s1"], ["s0", "s1"]]


def test_rows_taken_are_not_lost_when_the_fetch_of_the_rest_fails():
    (first, _), _ = two_streams()
    assert next(first) == 0
    first.raw.fetchmany = lambda size: 1 / 0
    with pytest.raises(ZeroDivisionError):
        first.fetchmany(5)
    assert first.fetchmany(2) == [1, 2]
