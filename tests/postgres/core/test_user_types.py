"""Types that users create have another OID on each shard, and an OID may be another type's."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import uuid

import psycopg2
import pytest
from psycopg2 import extensions, extras

import greenshard

FIRST = "CREATE TYPE card AS (suit text, value int)"
SECOND = "CREATE TYPE place AS (x int, y int)"
OTHERS = [
    "CREATE TYPE color AS ENUM ('red', 'green')",
    "CREATE DOMAIN positive AS int CHECK (value > 0)",
    "CREATE TYPE price AS RANGE (subtype = int)",
    "CREATE EXTENSION hstore",
]


@pytest.fixture(scope="module")
def typed(dsns):
    """The shards with the same types, of which ``card`` on s1 has the OID of ``place`` on s0."""
    with contextlib.ExitStack() as opened:
        plain = [opened.enter_context(contextlib.closing(psycopg2.connect(d))) for d in
                 dsns.values()]  # fmt: skip
        for connection in plain:
            connection.autocommit = True
        cursors = [connection.cursor() for connection in plain]
        align(cursors[0], cursors[1])
        for cursor, statements in zip(
            cursors,
            ([FIRST, SECOND, *OTHERS], [SECOND, FIRST, *OTHERS[::-1]], [*OTHERS, SECOND, FIRST]),
            strict=True,
        ):
            for statement in statements:
                cursor.execute(statement)
        oids = [types(cursor) for cursor in cursors]
    assert oids[0]["place"] == oids[1]["card"]
    assert all(oids[0][name] != oids[1][name] for name in oids[0])
    assert all(oids[0][name] != oids[2][name] for name in oids[0])
    return dsns


def align(first, second):
    """Let two servers give the same OID next."""
    take = "SELECT pg_nextoid('pg_type', 'oid', 'pg_type_oid_index')::bigint"
    at = []
    for cursor in (first, second):
        cursor.execute(take)
        at.append(cursor.fetchone()[0])
    behind = first if at[0] < at[1] else second
    while at[0] != at[1]:
        behind.execute(take)
        at[at.index(min(at))] = behind.fetchone()[0]


def types(cursor):
    cursor.execute("SELECT typname, oid::bigint FROM pg_type WHERE typname = ANY(%s)",
                   (["card", "place", "color", "price", "hstore"],))  # fmt: skip
    return dict(cursor.fetchall())


@pytest.fixture
def conn(typed):
    with contextlib.closing(greenshard.connect(typed)) as connection:
        yield connection


@pytest.fixture
def cur(conn):
    return conn.cursor()


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'red'::color", "red"),
        ("ARRAY['red','green']::color[]", "{red,green}"),
        ("ROW('heart', 3)::card", "(heart,3)"),
        ("5::positive", 5),
        ("'a=>1'::hstore", '"a"=>"1"'),
        ("'[1,5)'::price", "[1,5)"),
    ],
)
def test_same_type_by_name_agrees_whatever_its_oid(cur, expression, value):
    cur.execute(f"SELECT {expression} AS x")
    assert cur.fetchall() == [(value,)] * 3


def test_other_type_under_the_same_oid_does_not_agree(conn, cur):
    for name in conn.shards:
        with conn.on(name):
            kind = "card" if name == "s1" else "place"
            cur.execute(f"CREATE TEMP TABLE u (v {kind})")
    with conn.on(["s0", "s1"]), pytest.raises(greenshard.ProgrammingError, match=r"place.*card"):
        cur.execute("SELECT v FROM u")


def test_types_of_the_same_name_in_other_schemas_do_not_agree(conn, cur):
    cur.execute("CREATE SCHEMA other")
    with conn.on("s2"):
        cur.execute("CREATE TYPE other.color AS ENUM ('red')")
    with conn.on(["s0", "s1"]):
        cur.execute("CREATE DOMAIN other.color AS public.color")
    cur.execute("SET LOCAL search_path = other, public")
    with pytest.raises(greenshard.ProgrammingError, match="color"):
        cur.execute("SELECT 'red'::color AS c")


@pytest.fixture(params=["connection", "cursor"])
def register_on(request, conn, cur):
    return conn if request.param == "connection" else cur


@pytest.fixture(params=[None, "named"])
def read(request, conn, cur):
    """Reads rows, from an ordinary or from a named cursor of the connection."""

    def read(statement, parameters=None, registered=None):
        cursor = cur
        if request.param and registered is not cur:
            cursor = conn.cursor("named")
        cursor.execute(statement, parameters)
        return cursor.fetchall()

    return read


def test_composite_is_converted_equally_from_all_shards(register_on, read):
    caster = extras.register_composite("card", register_on)
    rows = read("SELECT ROW('heart', 3)::card, ROW(1, 2)::place", registered=register_on)
    assert rows == [(("heart", 3), "(1,2)")] * 3
    assert isinstance(rows[2][0], caster.type)


def test_array_of_composites(conn, cur):
    extras.register_composite("card", conn)
    extras.register_composite("place", conn)
    cur.execute("SELECT ARRAY[ROW('heart', 3)::card, NULL], ARRAY[ROW(1, 2)::place]")
    assert cur.fetchall() == [([("heart", 3), None], [(1, 2)])] * 3


def test_two_composites_whose_oids_cross(conn, cur):
    extras.register_composite("place", conn)
    cur.execute("SELECT ROW('heart', 3)::card AS c, ROW(1, 2)::place AS p")
    assert cur.fetchall() == [("(heart,3)", (1, 2))] * 3
    extras.register_composite("card", cur)
    cur.execute("SELECT ROW('heart', 3)::card AS c, ROW(1, 2)::place AS p")
    assert cur.fetchall() == [(("heart", 3), (1, 2))] * 3


def test_hstore_both_ways(register_on, read):
    extras.register_hstore(register_on)
    value = {"a": "1", "b": None, "c": 'with "quotes"'}
    rows = read("SELECT %s::hstore AS h", (value,), registered=register_on)
    assert rows == [(value,)] * 3


def test_hstore_arrays(conn, cur):
    extras.register_hstore(conn)
    cur.execute("SELECT ARRAY['a=>1', 'b=>2']::hstore[] AS h")
    assert cur.fetchall() == [([{"a": "1"}, {"b": "2"}],)] * 3


def test_range_both_ways(register_on, read):
    class PriceRange(extras.Range):
        pass

    extras.register_range("price", PriceRange, register_on)
    rows = read("SELECT %s::price AS r", (PriceRange(1, 5),), registered=register_on)
    assert rows == [(PriceRange(1, 5),)] * 3
    assert all(isinstance(row[0], PriceRange) for row in rows)


def test_enum_typecaster_and_its_array(conn, cur):
    cur.execute("SELECT NULL::color, NULL::color[]")
    oid, array_oid = (column.type_code for column in cur.description)
    color = extensions.new_type((oid,), "COLOR", lambda text, _: text and text.upper())
    extensions.register_type(color, conn)
    extensions.register_type(extensions.new_array_type((array_oid,), "COLORS", color), conn)
    cur.execute("SELECT 'red'::color, ARRAY['red', 'green']::color[]")
    assert cur.fetchall() == [("RED", ["RED", "GREEN"])] * 3


def test_builtin_types_registered_on_connection_and_cursor(conn, cur):
    extras.register_default_jsonb(conn, loads=lambda text: ("jsonb", json.loads(text)))
    extras.register_default_json(cur, loads=lambda text: ("json", json.loads(text)))
    extras.register_uuid(conn_or_curs=conn)
    with pytest.warns(DeprecationWarning, match="inet"):
        extras.register_inet(conn_or_curs=cur)
    key = uuid.uuid4()
    cur.execute("SELECT '[1]'::jsonb, '[2]'::json, %s::uuid, '10.0.0.1'::inet", (key,))
    for row in cur.fetchall():
        assert row[:3] == (("jsonb", [1]), ("json", [2]), key)
        assert str(row[3].addr) == "10.0.0.1"
    other = conn.cursor()
    other.execute("SELECT '[1]'::jsonb, '[2]'::json")
    assert other.fetchall() == [(("jsonb", [1]), [2])] * 3


def test_register_ipaddress(conn, cur):
    extras.register_ipaddress(conn)
    cur.execute("SELECT '10.0.0.0/8'::cidr, '10.0.0.1'::inet")
    network, address = ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_interface("10.0.0.1")
    assert cur.fetchall() == [(network, address)] * 3


def test_unicode_typecaster_on_the_cursor(cur):
    shout = extensions.new_type((25,), "SHOUT", lambda text, _: text and text + "!")
    extensions.register_type(shout, cur)
    cur.execute("SELECT 'hey'::text, NULL::text, 'name'::name")
    assert cur.fetchall() == [("hey!", None, "name")] * 3


def test_registering_after_the_first_statement_holds_from_the_next(conn, cur):
    cur.execute("SELECT ROW('heart', 3)::card AS c")
    extras.register_composite("card", conn)
    cur.execute("SELECT ROW('heart', 3)::card AS c")
    assert cur.fetchall() == [(("heart", 3),)] * 3
    extras.register_hstore(conn)
    cur.execute("SELECT ROW('heart', 3)::card AS c, 'a=>1'::hstore AS h")
    assert cur.fetchall() == [(("heart", 3), {"a": "1"})] * 3


def test_type_that_only_some_shards_have(conn, cur):
    with conn.on("s0"):
        cur.execute("CREATE TYPE only_here AS (a int)")
        extras.register_composite("only_here", conn)
        cur.execute("SELECT ROW(1)::only_here")
        assert cur.fetchall() == [((1,),)]
    cur.execute("SELECT 1")
    assert cur.fetchall() == [(1,)] * 3


def test_column_of_a_temporary_tables_row_type(conn, cur):
    cur.execute("CREATE TEMP TABLE r (a int, b text)")
    cur.execute("SELECT r FROM r")
    assert cur.fetchall() == []
