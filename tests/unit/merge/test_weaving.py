from __future__ import annotations

import itertools

import pytest

from greenshard import errors
from greenshard.merge.weaving import Weaving
from tests.unit.merge.test_concatenation import STEPS, ShardRows, take

#: For each row whose turn it is, of up to three shards.
TURNS = [turns for count in range(5) for turns in itertools.product(range(3), repeat=count)]
#: Three steps of each kind are tried on fewer rows: it is one turn after the other anyway.
FEW = [turns for turns in TURNS if len(turns) == 3 and turns[0] == 0]


def woven(turns):
    """Rows in turns, and the same as the rows of one shard."""
    every = [(shard, number) for number, shard in enumerate(turns)]
    parts = [ShardRows([row for row in every if row[0] == shard]) for shard in range(3)]
    return Weaving(parts, turns), ShardRows(every)


@pytest.mark.parametrize("turns", TURNS, ids=str)
def test_rows_come_in_their_turns(turns):
    rows, one = woven(turns)
    assert rows.rowcount == one.rowcount
    assert rows.fetchall() == one.fetchall()
    assert (rows.fetchone(), rows.fetchmany(3), rows.fetchall()) == (None, [], [])
    assert list(woven(turns)[0]) == list(one._rows)


@pytest.mark.parametrize("turns", FEW, ids=str)
def test_rows_in_turns_are_fetched_like_those_of_one(turns):
    for steps in itertools.product(STEPS, repeat=3):
        several, one = woven(turns)
        for step in steps:
            assert take(several, step) == take(one, step), steps
            assert several.rownumber == one.rownumber, steps


def test_rows_in_turns_scroll_as_pep_249_has_it():
    rows, _ = woven((0, 1))
    with pytest.raises(errors.ProgrammingError, match="unrecognized scroll mode 'x'"):
        rows.scroll(0, "x")
    with pytest.raises(errors.ProgrammingError, match="out of bounds"):
        rows.scroll(2, "absolute")
    rows.scroll(1)
    assert rows.fetchone() == (1, 1)


def test_a_row_that_cannot_be_made_is_tried_again():
    class Failing(ShardRows):
        failures = 1

        def fetchone(self):
            if self.failures:
                self.failures -= 1
                raise ValueError("no such value")
            return super().fetchone()

    rows = Weaving([ShardRows([1]), Failing([2])], (0, 1))
    assert next(rows) == 1
    with pytest.raises(ValueError, match="no such value"):
        next(rows)
    assert (rows.rownumber, next(rows)) == (1, 2)
