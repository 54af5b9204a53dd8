from __future__ import annotations

import datetime as dt
import logging
from decimal import Decimal

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import greenshard


@pytest.fixture
def single(plain):
    """psycopg2's own connection, for comparison."""
    return plain["s0"]


STRANGE = [None, 5, 1.5, object(), [], (), {}, True, "", b"", " ", ";", "--", "/* */", "%", "%%",
           "SELECT %s", "SELECT %", "SELECT '%s'", "SELECT \x00", b"SELECT \x00", "\ud800",
           "SELECT '\ud800'", b"SELECT '\xff'", "SELECT 'é'", "SELECT 'é'".encode(),
           "SELECT 1; SELECT 2", "(((", "SELECT '", "$$", bytearray(b"SELECT 1"),
           memoryview(b"SELECT 1"), ["SELECT 1"], "SELECT", "SELECT FROM generate_series(1, 2)",
           "insert", "\ufeffSELECT 1", "SELECT 1" + " " * 100_000]  # fmt: skip
PARAMETERS = [None, (), [], {}, (1,), [1], {"a": 1}, 1, "x", "", (None,), ("\ud800",), ("\x00",),
              (b"\x00\xff",), ((1, 2),), ([1, None],), (object(),), {1: 2}, ((),), ([],),
              (Decimal("NaN"),), (float("inf"),), (dt.date.max,)]  # fmt: skip


def what_happens(connection, query, parameters):
    """The rows that one statement gives, or the kind of its exception."""
    with connection.cursor() as cur:
        try:
            cur.execute(query, parameters)
            rows = None
            if cur.description is not None:
                rows = [tuple(map(comparable, row)) for row in cur.fetchall()]
        except psycopg2.Error as exc:
            return pep249(type(exc)), exc.pgcode
        except Exception as exc:
            return type(exc), None
        finally:
            connection.rollback()
    return rows, cur.statusmessage


def comparable(value):
    return bytes(value) if isinstance(value, memoryview) else value


def pep249(cls):
    return next(base for base in cls.__mro__ if base.__module__ == "psycopg2")


def same_as_psycopg2(conn, single, query, parameters):
    expected = what_happens(single, query, parameters)
    with conn.on("s0"):
        assert repr(what_happens(conn, query, parameters)) == repr(expected)
    several = what_happens(conn, query, parameters)
    if isinstance(expected[0], list):
        assert repr(several[0]) == repr(expected[0] * 3)
    elif isinstance(expected[0], type) and several[1] is not None:
        assert issubclass(several[0], psycopg2.Error)
    else:
        assert isinstance(several[0], type) == isinstance(expected[0], type)
    assert not conn.closed


def shown(value):
    """A name for a case, the same in each process."""
    return ascii(value).partition(" at 0x")[0][:25]


@pytest.mark.parametrize("query", STRANGE, ids=shown)
def test_strange_query_does_what_it_does_in_psycopg2(conn, single, query):
    same_as_psycopg2(conn, single, query, None)
    same_as_psycopg2(conn, single, query, (1,))


@pytest.mark.parametrize("parameters", PARAMETERS, ids=shown)
def test_strange_parameters_do_what_they_do_in_psycopg2(conn, single, parameters):
    same_as_psycopg2(conn, single, "SELECT %s", parameters)
    same_as_psycopg2(conn, single, "SELECT %(a)s", parameters)
    same_as_psycopg2(conn, single, "SELECT 1", parameters)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(st.sampled_from("SELECT inser'\"$%s();-/*\\é\x00 1,"), max_size=30), st.booleans())
def test_any_text_does_what_it_does_in_psycopg2(conn, single, query, given_parameters):
    same_as_psycopg2(conn, single, query, (1,) if given_parameters else None)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), st.binary()
)  # fmt: skip
def test_any_value_comes_back_from_every_shard(conn, text, data):
    cur = conn.cursor()
    cur.execute("SELECT %s AS t, %s AS b", (text, psycopg2.Binary(data)))
    assert [(t, bytes(b)) for t, b in cur.fetchall()] == [(text, data)] * 3
    conn.rollback()


def test_large_parameters_and_rows(conn):
    cur = conn.cursor()
    data = "x" * 2_000_000
    cur.execute("SELECT %s AS x", (data,))
    assert cur.fetchall() == [(data,)] * 3


def test_parameter_whose_adaptation_fails_leaves_the_connection_usable(conn):
    class Broken:
        def __conform__(self, protocol):
            raise ZeroDivisionError

    cur = conn.cursor()
    with pytest.raises(ZeroDivisionError):
        cur.execute("SELECT %s", (Broken(),))
    cur.execute("SELECT 1")
    assert len(cur.fetchall()) == 3


def test_typecaster_that_fails_raises_its_own_error(conn):
    def fail(text, cur):
        raise ZeroDivisionError

    cur = conn.cursor()
    psycopg2.extensions.register_type(psycopg2.extensions.new_type((23,), "FAIL", fail), cur)
    cur.execute("SELECT 1")
    with pytest.raises(ZeroDivisionError):
        cur.fetchone()
    named = conn.cursor("named")
    psycopg2.extensions.register_type(psycopg2.extensions.new_type((23,), "FAIL", fail), named)
    named.execute("SELECT 1")
    with pytest.raises(ZeroDivisionError):
        named.fetchone()


def test_log_tells_statement_shards_and_time_but_no_values(conn, caplog):
    caplog.set_level(logging.DEBUG, "greenshard")
    cur = conn.cursor()
    cur.execute("SELECT %s AS told, 'literal-s3cret', 4711", ("parameter-s3cret",))
    with conn.on("s1"):
        cur.executemany("SELECT %s", [("many-s3cret",)])
        cur.callproc("concat", ["proc-s3cret"])
    with pytest.raises(psycopg2.Error):
        cur.execute("SELECT * FROM nothing WHERE a = 'failed-s3cret'")
    assert "s3cret" not in caplog.text
    assert "4711" not in caplog.text
    assert "told" in caplog.text
    assert "s0, s1, s2" in caplog.text
    assert " ms" in caplog.text
    assert all(record.name == "greenshard" for record in caplog.records)


def test_nothing_is_logged_unless_asked_for(conn, caplog, capfd):
    caplog.set_level(logging.INFO, "greenshard")
    conn.cursor().execute("SELECT 1")
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_module_is_pep_249(conn):
    for name in ("apilevel", "threadsafety", "paramstyle"):
        assert getattr(greenshard, name) == getattr(psycopg2, name)
    cur = conn.cursor()
    cur.execute("SELECT %s, %s", (greenshard.Binary(b"\x00"), greenshard.Date(2020, 1, 2)))
    assert [(bytes(b), d) for b, d in cur.fetchall()] == [(b"\x00", dt.date(2020, 1, 2))] * 3
    assert [column.type_code for column in cur.description] == [17, 1082]
    assert cur.description[0].type_code == greenshard.BINARY
