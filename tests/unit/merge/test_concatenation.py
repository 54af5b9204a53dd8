from __future__ import annotations

import itertools

import pytest

from greenshard import errors
from greenshard.merge.concatenation import Concatenation


class ShardRows:
    """A peer of psycopg2's client-side cursor, over a list of rows."""

    def __init__(self, rows):
        self._rows = list(rows)
        self.rowcount = len(self._rows)
        self.rownumber = 0

    def fetchmany(self, size):
        left = self.rowcount - self.rownumber
        taken = left if size < 0 else min(size, left)
        rows = self._rows[self.rownumber : self.rownumber + taken]
        self.rownumber += taken
        return rows

    def fetchone(self):
        return next(iter(self.fetchmany(1)), None)

    def fetchall(self):
        return self.fetchmany(-1)

    def __iter__(self):
        return self

    def __next__(self):
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    def scroll(self, value, mode="relative"):
        to = value + (self.rownumber if mode == "relative" else 0)
        if mode not in {"relative", "absolute"} or not 0 <= to < self.rowcount:
            raise errors.ProgrammingError("scroll destination out of bounds")
        self.rownumber = to


#: How many rows each shard has.
LAYOUTS = [shape for count in (1, 2, 3) for shape in itertools.product(range(3), repeat=count)]
STEPS = [
    ("fetchone",),
    ("fetchall",),
    ("next",),
    *(("fetchmany", size) for size in (-1, 0, 1, 2, 4)),
    *(("scroll", to, "absolute") for to in (-1, 0, 1, 3, 4)),
    *(("scroll", by, "relative") for by in (-2, -1, 0, 1, 2)),
    ("scroll", 0, "x"),
]


def parts_of(shape):
    """Rows that tell where they come from; None where a program may take it for the end."""
    return [
        [(shard, row) if row else (None,) for row in range(rows)]
        for shard, rows in enumerate(shape)
    ]


def take(rows, step):
    """What a step gives: a value, or the kind of exception."""
    name, *args = step
    try:
        return next(rows) if name == "next" else getattr(rows, name)(*args)
    except StopIteration:
        return StopIteration
    except errors.ProgrammingError:
        return errors.ProgrammingError


@pytest.mark.parametrize("shape", LAYOUTS, ids=str)
def test_rows_of_several_shards_are_fetched_like_those_of_one(shape):
    parts = parts_of(shape)
    for steps in itertools.product(STEPS, repeat=3):
        several = Concatenation([ShardRows(part) for part in parts])
        one = ShardRows([row for part in parts for row in part])
        assert several.rowcount == one.rowcount
        for step in steps:
            assert take(several, step) == take(one, step), steps
            assert several.rownumber == one.rownumber, steps


@pytest.mark.parametrize("shape", LAYOUTS, ids=str)
def test_every_row_is_given_once_and_then_none_for_ever(shape):
    parts = parts_of(shape)
    rows = Concatenation([ShardRows(part) for part in parts])
    expected = [row for part in parts for row in part]
    assert [rows.fetchone() for _ in expected] == expected
    assert [rows.fetchone() for _ in range(3)] == [None] * 3
    assert rows.fetchall() == rows.fetchmany(5) == []


def test_without_an_answer_there_is_nothing_to_fetch():
    rows = Concatenation([])
    assert (rows.rowcount, rows.rownumber) == (-1, 0)
    for step in [("fetchone",), ("fetchmany", 2), ("fetchall",), ("next",), ("scroll", 0, "x")]:
        with pytest.raises(errors.ProgrammingError, match="no results to fetch"):
            next(rows) if step == ("next",) else getattr(rows, step[0])(*step[1:])


@pytest.mark.parametrize("unknown", [0, 1, 2])
def test_rowcount_is_unknown_if_that_of_one_shard_is(unknown):
    parts = [ShardRows([(1,)]) for _ in range(3)]
    parts[unknown].rowcount = -1
    assert Concatenation(parts).rowcount == -1


def test_negative_size_means_the_rows_of_all_shards():
    rows = Concatenation([ShardRows([(1,)]), ShardRows([(2,), (3,)])])
    assert rows.fetchmany(-1) == [(1,), (2,), (3,)]


def test_scrolling_over_several_shards_knows_two_modes():
    rows = Concatenation([ShardRows([(1,)]), ShardRows([(2,)])])
    rows.scroll(1, "absolute")
    assert rows.fetchone() == (2,)
    rows.scroll(-2, "relative")
    assert rows.fetchone() == (1,)
    with pytest.raises(errors.ProgrammingError, match="unrecognized scroll mode 'x'"):
        rows.scroll(0, "x")


def test_rows_of_one_shard_scroll_as_its_driver_does():
    class Streamed(ShardRows):
        def scroll(self, *args):
            self.scrolled = args

    part = Streamed([])
    Concatenation([part]).scroll(7, "any")
    assert part.scrolled == (7, "any")


def test_a_part_is_not_asked_before_the_one_in_front_of_it_is_at_its_end():
    class Unwanted(ShardRows):
        def fetchmany(self, size):
            raise AssertionError("asked too early")

    rows = Concatenation([ShardRows([(1,), (2,), (3,)]), Unwanted([(4,)])])
    assert rows.fetchone() == (1,)
    assert rows.fetchmany(2) == [(2,), (3,)]


def test_error_of_a_shard_keeps_the_place_so_that_fetching_can_go_on():
    class Failing(ShardRows):
        failures = 1

        def fetchone(self):
            if self.failures:
                self.failures -= 1
                raise errors.OperationalError("gone")
            return super().fetchone()

    rows = Concatenation([ShardRows([(1,)]), Failing([(2,)])])
    assert rows.fetchone() == (1,)
    with pytest.raises(errors.OperationalError):
        rows.fetchone()
    assert rows.fetchone() == (2,)
    assert rows.rownumber == 2
