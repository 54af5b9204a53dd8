"""Parameters that are no plain values, and texts that cannot be planned without them."""

from __future__ import annotations

import datetime as dt
import enum
from collections import UserList, defaultdict

import pytest
from psycopg2.extensions import AsIs
from psycopg2.extras import Json, NumericRange


class Colour(enum.IntEnum):
    RED = 3


class Answering(dict):
    """A mapping that answers otherwise than it lists."""

    def __init__(self, listed, value):
        super().__init__(listed)
        self._value = value

    def __getitem__(self, key):
        return self._value


class Listing(list):
    """A list likewise."""

    def __init__(self, listed, value):
        super().__init__(listed)
        self._value = value

    def __getitem__(self, at):
        return self._value


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
        ("SELECT id FROM orders WHERE id > %s", (AsIs("'1'::int8 ORDER BY id DESC LIMIT 1"),)),
        ("SELECT count(*) FROM orders WHERE note > %s", (AsIs("'a'::text GROUP BY customer"),)),
        ("SELECT %s FROM orders", (AsIs("'a'::text, count(*)"),)),
        ("SELECT count(*) FROM orders WHERE note > %s", (AsIs("'a'::text OR id > 3"),)),
        ("SELECT count(*) FROM orders WHERE day < %s", (AsIs("'2020-01-05'::timestamp (0)"),)),
        (
            "SELECT count(*) FROM orders WHERE day < %s",
            (AsIs("'2020-01-05'::timestamp (3) with time zone"),),
        ),
        (
            "SELECT count(*) FROM orders WHERE id > %(n)s",
            defaultdict(lambda: AsIs("'1'::int8 OR id = 0 HAVING count(*) > 70")),
        ),
        ("SELECT count(*) FROM orders WHERE id > %(n)s", Answering({"n": 50}, AsIs("1 OR id = 0"))),
        ("SELECT id FROM orders WHERE id = %s", Listing([7], 9)),
        ("SELECT id FROM orders WHERE id = %s", UserList([7])),
        ("SELECT %s FROM orders", Listing([7], AsIs("count(*)"))),
        ("SELECT count(*) FROM orders WHERE id < %(n)s", {"n": 9, "self": object()}),
        ("SELECT count(*) FROM orders WHERE id < %(n)s", {"n": AsIs("9"), "self": object()}),
        ("SELECT 1 + count(*) FROM orders WHERE id > %s", (AsIs("'3'"),)),
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


def test_parameters_are_read_once_and_a_negative_number_begins_no_comment(conn, shop):
    read = []

    class Counting(dict):
        def __missing__(self, key):
            read.append(key)
            return len(read)

    with conn.cursor() as cursor:
        cursor.execute("SELECT id FROM orders WHERE id = %(a)s", Counting())
        assert cursor.fetchall() == [(1,)]
        cursor.executemany("SELECT 1 FROM orders WHERE id = %(a)s", [Counting(), Counting()])
        cursor.execute("SELECT 5 -%s FROM orders WHERE id = 4\nOR id = 5", (AsIs("-3"),))
        assert cursor.fetchall() == [(8,), (8,)]
        assert "shard" in conn.explain("SELECT id FROM orders WHERE id = %(a)s", Counting())
    assert read == ["a"] * 4
