from __future__ import annotations

import pytest

from greenshard import errors
from greenshard.executor.answers.answer import Stages
from greenshard.executor.answers.buffered import BufferedAnswer, BufferedRows
from greenshard.executor.strategies.streamed_merge import StreamedRows

ROWS = [(1,), (2,), (3,), (4,), (5,)]


@pytest.fixture(params=["as they are", "shaped"])
def rows(request):
    if request.param == "shaped":
        return BufferedRows([(value / 2,) for (value,) in ROWS], lambda: lambda row: (2 * row[0],))
    return BufferedRows(ROWS, lambda: None)


def test_rows_come_in_order_however_they_are_fetched(rows):
    assert rows.rowcount == 5
    assert rows.fetchone() == (1,)
    assert rows.fetchmany(2) == [(2,), (3,)]
    assert rows.rownumber == 3
    assert next(rows) == (4,)
    assert list(rows) == [(5,)]
    assert rows.fetchone() is None
    assert rows.fetchmany(3) == rows.fetchall() == []
    assert rows.rownumber == 5


def test_all_rows_are_a_list_of_its_own(rows):
    fetched = rows.fetchall()
    fetched.clear()
    rows.scroll(0, "absolute")
    assert rows.fetchmany(-1) == ROWS


def test_scrolling_stays_within_the_rows(rows):
    rows.scroll(3)
    assert rows.fetchone() == (4,)
    rows.scroll(-2)
    assert rows.fetchone() == (3,)
    rows.scroll(4, "absolute")
    assert rows.fetchone() == (5,)
    for value, mode in [(5, "absolute"), (-1, "absolute"), (1, "relative"), (-6, "relative")]:
        with pytest.raises(errors.ProgrammingError, match="out of bounds"):
            rows.scroll(value, mode)
    with pytest.raises(errors.ProgrammingError, match="mode"):
        rows.scroll(0, "sideways")


def test_rows_are_shaped_when_they_are_fetched():
    shaped = []

    def shape(row):
        shaped.append(row)
        return row

    rows = BufferedRows(ROWS, lambda: shape)
    assert shaped == []
    rows.fetchmany(2)
    assert shaped == ROWS[:2]


def test_answer_counts_its_rows_as_a_select_does(rows):
    answer = BufferedAnswer(rows, ("columns",), "s0", Stages())
    assert answer.rowcount == 5
    assert answer.statusmessage == "SELECT 5"
    assert answer.description == ("columns",)
    assert answer.timings == answer.failures == {}
    assert answer.lastrowid == 0


def test_streamed_rows_begin_with_the_first_fetch():
    begun = []

    def begin():
        begun.append(True)
        yield from ROWS

    rows = StreamedRows(begin())
    assert not begun
    assert not rows.begun
    assert rows.fetchone() == (1,)
    assert rows.fetchmany(2) == [(2,), (3,)]
    assert rows.rownumber == 3
    assert rows.fetchall() == [(4,), (5,)]
    assert rows.fetchone() is None
    assert rows.fetchall() == []
    assert rows.rowcount == -1
    assert begun == [True]
    assert rows.begun


def test_streamed_rows_that_broke_off_have_no_end():
    def begin():
        yield (1,)
        raise errors.OperationalError("gone")

    rows = StreamedRows(begin())
    with pytest.raises(errors.OperationalError):
        rows.fetchall()
    for fetch in (rows.fetchone, rows.fetchall, lambda: rows.fetchmany(2), lambda: next(rows)):
        with pytest.raises(errors.ProgrammingError, match="lost"):
            fetch()


def test_streamed_rows_cannot_be_scrolled():
    with pytest.raises(errors.NotSupportedError):
        StreamedRows(iter(ROWS)).scroll(1)
