"""Parameters that are no plain values, and texts that cannot be planned without them."""

from __future__ import annotations

import datetime as dt
import enum

import pytest
from psycopg2.extensions import AsIs
from psycopg2.extras import Json, NumericRange


class Colour(enum.IntEnum):
    RED = 3


def both(conn, single, statement, parameters):
    answers = []
    for connection in (conn, single):
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            answers.append((sorted(cursor.fetchall(), key=repr), cursor.description[0].name))
    return answers


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        ("SELECT %s FROM orders", (AsIs("count(*)"),)),
        ("SELECT %(what)s FROM orders WHERE id < %(n)s", {"what": AsIs("sum(total)"), "n": 50}),
        ("SELECT id FROM orders ORDER BY %s LIMIT 3", (AsIs("total DESC NULLS LAST, id"),)),
        ("SELECT id, total FROM orders WHERE total IS NOT NULL ORDER BY %s, id LIMIT 4", (2,)),
        ("SELECT customer, count(*) FROM orders GROUP BY %s", (1,)),
        ("SELECT count(*) FROM orders WHERE day > date %s", (dt.date(2020, 1, 5),)),
        ("SELECT count(*) FROM orders WHERE day > date %s", ("2020-01-05",)),
        ("SELECT count(*) FROM orders WHERE note = 'b%%' OR id = %s", (4,)),
        ("SELECT id FROM orders WHERE id IN %s", ((1, 2, 40),)),
        ("SELECT id FROM orders WHERE id = ANY(%s)", ([1, 2, None, 40],)),
        ("SELECT id FROM orders WHERE id = %s", (None,)),
        ("SELECT id FROM orders WHERE id = %s", (5.0,)),
        ("SELECT id FROM orders WHERE id = %s", (Colour.RED,)),
        ("SELECT count(*) FROM orders WHERE doc = %s", (Json({"n": 1, "t": ["é", None]}),)),
        ("SELECT count(*) FROM orders WHERE total <@ %s::numrange", (NumericRange(10, 20),)),
        ("SELECT count(*) FROM orders WHERE id > 3 -- %s", (7,)),
        ("SELECT id FROM orders ORDER BY id DESC LIMIT %s OFFSET %s", (None, 55)),
    ],
)
def test_answer_is_one_servers_whatever_the_parameters_are(conn, single, statement, parameters):
    ours, theirs = both(conn, single, statement, parameters)
    assert ours == theirs


def test_odd_parameters_of_executemany_are_written_into_each_text(conn):
    with conn.cursor() as cursor:
        cursor.executemany(
            "UPDATE orders SET note = %s WHERE id = %s",
            [(AsIs("'x' || id"), 1), ("plain", 2), (AsIs("upper('y')"), 3)],
        )
        cursor.execute("SELECT id, note FROM orders WHERE id IN (1, 2, 3) ORDER BY id")
        assert cursor.fetchall() == [(1, "x1"), (2, "plain"), (3, "Y")]
    conn.rollback()
