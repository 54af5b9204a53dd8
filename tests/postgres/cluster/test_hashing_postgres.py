"""Our hash of a key against PostgreSQL's own: ``satisfies_hash_partition`` is the judge."""

from __future__ import annotations

import contextlib
from collections import Counter
from datetime import date, datetime, timedelta, timezone
from uuid import UUID

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2 import sql

from greenshard.cluster import HASHED_TYPES, Hash
from greenshard.cluster.hashing import row_hash

INFINITIES = st.sampled_from(["infinity", "-infinity"])
# What a server of UTF-8 can store.
CHARACTERS = st.characters(exclude_characters="\0", codec="utf-8")
TEXTS = st.text(CHARACTERS, max_size=40)
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))

VALUES = {
    "int2": st.integers(-(2**15), 2**15 - 1),
    "int4": st.integers(-(2**31), 2**31 - 1),
    "int8": st.integers(-(2**63), 2**63 - 1),
    "oid": st.integers(0, 2**32 - 1),
    "text": TEXTS,
    "varchar": TEXTS,
    "bpchar": st.tuples(TEXTS, st.sampled_from(["", " ", "   "])).map("".join),
    "uuid": st.uuids(),
    "bytea": st.binary(max_size=40),
    "bool": st.booleans(),
    "date": st.dates() | INFINITIES,
    "timestamp": st.datetimes() | INFINITIES,
    "timestamptz": st.datetimes(timezones=OFFSETS) | INFINITIES,
}
LARGEST_MODULUS = 2**31 - 1
# The first is there where PostgreSQL is built with ICU.
COLLATIONS = ["en-x-icu", "pg_unicode_fast", "C.utf8", "POSIX"]
MODULI = st.sampled_from([LARGEST_MODULUS, 1, 2, 3, 256, 1000])

COLUMNS = {
    **{name: name for name in VALUES},
    "collated text": 'text COLLATE "{}"',
    "char(50)": "char(50)",
}


@pytest.fixture(scope="module")
def cursor(greenshard_shards):
    """A cursor on a server with a hash partitioned table for each kind of column."""
    with contextlib.closing(psycopg2.connect(greenshard_shards[0].dsn)) as conn:
        conn.autocommit = True
        cur = conn.cursor()
        cur.execute("SELECT collname FROM pg_collation WHERE collname = ANY (%s)", (COLLATIONS,))
        collation = min((row[0] for row in cur.fetchall()), key=COLLATIONS.index)
        # Not by the types' names alone: a table is a type too, and pg_temp is searched first.
        for name, column in COLUMNS.items():
            cur.execute(
                sql.SQL("CREATE TEMP TABLE {} (k {}) PARTITION BY HASH (k)").format(
                    sql.Identifier(f"of {name}"), sql.SQL(column.format(collation))
                )
            )
        yield cur


def on_server(cursor, table, type_name, values, modulus, remainders):
    """Which of the values the server puts at the remainder that is said for it."""
    rows = sql.SQL(", ").join(
        sql.SQL("({}, CAST ({} AS {}))").format(
            sql.Literal(remainder),
            sql.Literal(str(value) if isinstance(value, UUID) else value),
            sql.Identifier(type_name),
        )
        for value, remainder in zip(values, remainders, strict=True)
    )
    cursor.execute(
        sql.SQL(
            "SELECT satisfies_hash_partition({}::regclass, {}, remainder, key)"
            " FROM (VALUES {}) AS v (remainder, key)"
        ).format(sql.Literal(f'"of {table}"'), sql.Literal(modulus), rows)
    )
    return [row[0] for row in cursor.fetchall()]


def agree(cursor, table, type_name, values, modulus):
    remainders = [row_hash(value, type_name) % modulus for value in values]
    return all(on_server(cursor, table, type_name, values, modulus, remainders))


def test_every_hashed_type_is_tested():
    assert set(VALUES) == HASHED_TYPES


@pytest.mark.parametrize("type_name", VALUES)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_keys_are_placed_as_the_server_places_them(cursor, type_name, data):
    values = data.draw(st.lists(st.none() | VALUES[type_name], min_size=1, max_size=30))
    assert agree(cursor, type_name, type_name, values, data.draw(MODULI))


@settings(max_examples=20, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=30))
def test_text_is_placed_alike_under_another_deterministic_collation(cursor, texts):
    assert agree(cursor, "collated text", "text", texts, LARGEST_MODULUS)


@settings(max_examples=20, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=30))
def test_padded_text_is_placed_alike(cursor, texts):
    assert agree(cursor, "char(50)", "bpchar", [f"{text:50}" for text in texts], LARGEST_MODULUS)


@pytest.mark.parametrize("length", range(40))
def test_texts_of_every_length_are_placed_as_the_server_places_them(cursor, length):
    texts = ["x" * length, "é" * length, "\U0001f600" * length]
    assert agree(cursor, "text", "text", texts, LARGEST_MODULUS)


@pytest.mark.parametrize(
    ("type_name", "values"),
    [
        ("int2", [-(2**15), -1, 0, 1, 2**15 - 1]),
        ("int4", [-(2**31), -(2**31) + 1, -1, 0, 1, 2**31 - 1]),
        ("int8", [-(2**63), -(2**32) - 1, -(2**32), -(2**31) - 1, -1, 2**31, 2**32, 2**63 - 1]),
        ("oid", [0, 2**31, 2**32 - 1]),
        ("date", [date.min, date.max, date(2000, 1, 1), date(1999, 12, 31), "infinity"]),
        ("timestamp", [datetime.min, datetime.max, "-infinity"]),  # noqa: DTZ901
        (
            "timestamptz",
            [
                datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
                datetime.max.replace(tzinfo=timezone(-timedelta(hours=14))),
                datetime(1890, 1, 1, tzinfo=timezone(timedelta(minutes=19, seconds=32))),
                "infinity",
            ],
        ),
    ],
)
def test_extreme_keys_are_placed_as_the_server_places_them(cursor, type_name, values):
    assert agree(cursor, type_name, type_name, values, LARGEST_MODULUS)


def test_null_is_at_remainder_zero(cursor):
    assert on_server(cursor, "text", "text", [None], 256, [0]) == [True]
    assert Hash(256).shards_for(None, "text", ("s0", "s1")) == "s0"


def test_rows_of_a_partitioned_table_are_in_the_partition_of_their_slot(cursor):
    cursor.execute("CREATE TEMP TABLE parted (k int8) PARTITION BY HASH (k)")
    for slot in range(8):
        cursor.execute(
            f"CREATE TEMP TABLE parted_{slot} PARTITION OF parted"
            f" FOR VALUES WITH (MODULUS 8, REMAINDER {slot})"
        )
    cursor.execute("INSERT INTO parted SELECT 7919 * i FROM generate_series(-500, 500) AS i")
    cursor.execute("SELECT k, tableoid::regclass::text FROM parted")
    rows = cursor.fetchall()
    slots = tuple(f"parted_{slot}" for slot in range(8))
    assert all(Hash(8).shards_for(key, "int8", slots) == partition for key, partition in rows)
    assert len(Counter(partition for _, partition in rows)) == 8
