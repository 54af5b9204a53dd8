"""`greenshard.sql.types` and the catalog of the server at hand say the same.

A type that a new version of PostgreSQL has, and the table does not, makes a test fail whose message
says where to add it.
"""

from __future__ import annotations

import contextlib

import psycopg2
import psycopg2.extras
import pytest

from greenshard.sql.types import BY_NAME, ELEMENTS, FAMILIES, TYPES, Trait, is_standard, read

WHERE = "greenshard/sql/types.py"
#: What only functions have, and the rows of the catalog.
_TYPES = """
SELECT t.typname, t.oid::int AS oid, t.typarray::int AS array, t.typdelim AS delimiter,
    t.typlen AS length, t.typcollation <> 0 AS collated, t.typcategory AS category,
    format_type(t.oid, NULL) AS written, format_type(t.oid, -1) AS bare,
    EXISTS (
        SELECT FROM pg_opclass c JOIN pg_am m ON m.oid = c.opcmethod
        WHERE m.amname = 'hash' AND c.opcdefault AND c.opcintype IN (
            t.oid, CASE t.typname WHEN 'varchar' THEN 'text'::regtype END)) AS hashed
FROM pg_type t
WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.oid < 16384 AND t.typrelid = 0
    AND (t.typtype <> 'p' OR t.typname IN ('record', 'anyarray'))
    AND t.oid NOT IN (SELECT typarray FROM pg_type)
    AND t.typname <> 'unknown'
"""


@pytest.fixture(scope="module")
def cursor(greenshard_shards):
    with contextlib.closing(psycopg2.connect(greenshard_shards[0].dsn)) as conn:
        conn.autocommit = True
        yield conn.cursor(cursor_factory=psycopg2.extras.NamedTupleCursor)


@pytest.fixture(scope="module")
def types(cursor):
    cursor.execute(_TYPES)
    return {row.typname: row for row in cursor.fetchall()}


def refused(cursor, text):
    """The code of the error that a statement ends with, and the message; None if with none."""
    try:
        cursor.execute(text)
    except psycopg2.Error as error:
        return error.pgcode, error.diag.message_primary
    return None, ""


def test_every_type_is_known(types):
    unknown = sorted(types.keys() - BY_NAME.keys())
    assert not unknown, (
        f"types that {WHERE} does not have: {', '.join(unknown)}. Add each to TYPES with its OIDs, "
        "and what its traits are; those that a server can tell are checked by the tests beside "
        "this one."
    )
    assert BY_NAME.keys() == types.keys()


def test_oids_names_and_lengths_agree(types):
    for each in TYPES:
        row = types[each.name]
        assert (each.oid, each.array_oid) == (row.oid, row.array), each.name
        assert (Trait.SEMICOLON in each.traits) == (row.delimiter == ";"), each.name
        assert (Trait.COLLATED in each.traits) == row.collated, each.name
        if Trait.SMALL in each.traits:
            assert 0 < row.length <= 16 or each.name == "numeric", each.name
        assert (each.sql is not None) == (is_standard(row.written)), each.name
        for written in {row.written, row.bare, f"{row.bare}[]"}:
            qualified = written if is_standard(written) else f"pg_catalog.{written}"
            assert read(qualified) is each, written
    assert {
        row.array: row.oid for row in types.values() if row.array and row.delimiter == ","
    } == ELEMENTS


def test_what_can_be_grouped_by_and_read_back_agrees(cursor, types):
    for each in TYPES:
        if each.name == "anyarray":
            continue
        written = f'pg_catalog."{each.name}"'
        grouped, _ = refused(cursor, f"SELECT FROM (SELECT NULL::{written} AS x) t GROUP BY x")
        assert (grouped == "42883") == (Trait.NO_EQUALITY in each.traits), (each.name, grouped)
        _, told = refused(cursor, f"SELECT v::{written} FROM (VALUES (''::text)) AS t (v)")
        unread = told.startswith("cannot accept a value of type")
        unread |= "not implemented" in told
        assert unread == (Trait.UNREADABLE in each.traits), (each.name, told)


def test_types_that_are_keys_are_hashed_by_the_server(cursor, types):
    for name in FAMILIES:
        assert types[name].hashed, name
        assert BY_NAME[name].traits & Trait.NO_EQUALITY == Trait(0)


def test_types_with_floats_and_zones_in_them(cursor, types):
    """A float is written with fewer digits, a time zone as an abbreviation, if settings say so."""
    samples = {
        "point": "(0.1,0.2)", "lseg": "[(0.1,0.2),(1,2)]", "path": "((0.1,0.2),(1,2))",
        "box": "(1,2),(0.1,0.2)", "polygon": "((0.1,0.2),(1,2))", "line": "{1,-1,0.1}",
        "circle": "<(0.1,0.2),1>", "float4": "0.1", "float8": "0.1", "numeric": "0.1",
        "money": "0.10", "jsonb": "0.1", "json": "0.1", "jsonpath": "0.1", "interval": "0.1 s",
        "numrange": "[0.1,1]", "nummultirange": "{[0.1,1]}", "text": "0.1",
        "timestamptz": "2024-01-01", "tstzrange": "[2024-01-01,]",
        "tstzmultirange": "{[2024-01-01,]}", "timestamp": "2024-01-01", "timetz": "12:00+01",
        "tsrange": "[2024-01-01,]", "tsmultirange": "{[2024-01-01,]}", "date": "2024-01-01",
        "daterange": "[2024-01-01,]", "datemultirange": "{[2024-01-01,]}", "time": "12:00",
    }  # fmt: skip
    # A type whose values look like numbers or times must be among the samples.
    assert samples.keys() >= {
        name for name, row in types.items() if row.category in "GD" or "range" in name
        if not name.startswith("int")
    } - {"int4range", "int8range"}  # fmt: skip
    cursor.execute("SET TimeZone = 'Europe/Berlin'")
    for name, sample in samples.items():
        cursor.execute("SET extra_float_digits = 0; SET DateStyle = 'SQL'")
        cursor.execute(f'SELECT (%s::text)::pg_catalog."{name}"::text', (f"{sample}",))
        ((written,),) = cursor.fetchall()
        assert ("CET" in written) == (Trait.ZONED in BY_NAME[name].traits), (name, written)
        if Trait.FLOATS in BY_NAME[name].traits or "0.1" in sample:
            fine = "0.12345679" if name == "float4" else "0.30000000000000004"
            shown = []
            for digits in (0, 1):
                cursor.execute(f"SET extra_float_digits = {digits}")
                value = sample.replace("0.1", fine)
                cursor.execute(f'SELECT (%s::text)::pg_catalog."{name}"::text', (value,))
                shown += cursor.fetchall()
            differ = shown[0] != shown[1]
            assert differ == (Trait.FLOATS in BY_NAME[name].traits), (name, shown)
    cursor.execute("RESET ALL")
