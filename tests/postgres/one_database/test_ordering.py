"""Python's order, and its sums, are PostgreSQL's: the server is asked.

``GREENSHARD_SEED`` sets the seed that is shown when they differ.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
from decimal import Decimal

import psycopg2
import pytest

from greenshard.merge.ordering import comparable, merge_streams, order
from greenshard.merge.reduction import reduce, reducible
from greenshard.planner.plan import Reduction, SortKey

SEED = os.environ["GREENSHARD_SEED"]
SHARDS = 3
ROWS = 60

#: Values, as PostgreSQL reads them, and what makes more of them.
TYPES = {
    "bool": (["t", "f"], None),
    "int2": (["-32768", "32767", "0"], lambda r: r.randint(-9, 9)),
    "int4": (["-2147483648", "2147483647"], lambda r: r.randint(-(10**9), 10**9)),
    "int8": (["-9223372036854775808", "9223372036854775807"], lambda r: r.randint(-9, 9)),
    "oid": (["0", "4294967295"], lambda r: r.randint(0, 2**32 - 1)),
    "float4": (["NaN", "Infinity", "-Infinity", "0", "-0", "1e-45"], lambda r: r.gauss(0, 9)),
    "float8": (["NaN", "Infinity", "-Infinity", "0", "-0", "5e-324"], lambda r: r.gauss(0, 1)),
    "numeric": (
        ["NaN", "Infinity", "-Infinity", "0", "0.00", "1e-30", "-1e40", "1e40"],
        lambda r: Decimal(r.randint(-(10**6), 10**6)).scaleb(-r.randint(0, 9)),
    ),
    "date": (
        ["0001-01-02", "9999-12-30", "2000-02-29"],
        lambda r: f"{r.randint(1, 9999):04}-{r.randint(1, 12)}-{r.randint(1, 28)}",
    ),
    "timestamp": (
        ["0001-01-02", "9999-12-30 23:59:59.999999"],
        lambda r: f"2000-01-0{r.randint(1, 3)} {r.randint(0, 23)}:00:00.{r.randint(0, 999999):06}",
    ),
    "timestamptz": (
        ["1883-01-01 00:00:00 Europe/Amsterdam", "2000-10-29 02:30 CET", "2000-10-29 02:30 CEST"],
        lambda r: f"2000-10-29 0{r.randint(0, 4)}:{r.randint(10, 59)} +0{r.randint(0, 3)}",
    ),
    "uuid": (
        ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
        lambda r: f"{r.getrandbits(128):032x}",
    ),
    "bytea": (["", "\\x00", "\\xff", "\\x00ff", "\\x27"], lambda r: f"\\x{r.getrandbits(16):04x}"),
    **dict.fromkeys(
        ["text", "varchar", "name"],
        (
            ["", " ", "a", "A", "b", "B", "é", "e\u0301", "ﬃ", "\uffff", "\U0001f600", "a b", "ab"],
            lambda r: "".join(r.choices("aAbBzZéÉ ._-'\"\\\t\u00df\u20ac\U0001f600", k=3)),
        ),
    ),
}  # fmt: skip
TEXT = ("text", "varchar", "name")
COLLATE = ' COLLATE "C"'
FORMS = [
    (descending, first, f"{'DESC' if descending else 'ASC'} NULLS {'FIRST' if first else 'LAST'}")
    for descending, first in itertools.product([False, True], repeat=2)
]


def values_of(name):
    edges, more = TYPES[name]
    generator = random.Random(f"{SEED}/{name}")
    values = edges + [str(more(generator)) for _ in range(20 if more else 0)] + [None, None]
    return generator.choices(values, k=ROWS)


@pytest.fixture(scope="module")
def cur(greenshard_shards):
    """A cursor over a table ``t`` with a column of each type, and the shard of each row."""
    with (
        greenshard_shards.databases() as dsns,
        contextlib.closing(psycopg2.connect(dsns["s0"])) as connection,
    ):
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("SET TimeZone = 'Europe/Amsterdam'")
        columns = ", ".join(f"{name} {name}{COLLATE * (name in TEXT)}" for name in TYPES)
        cursor.execute(f"CREATE TABLE t (shard int, {columns})")
        generator = random.Random(SEED)
        shards = [generator.randrange(SHARDS) for _ in range(ROWS)]
        marks = ", ".join(f"%s::{name}" for name in TYPES)
        for row in zip(shards, *(values_of(name) for name in TYPES), strict=True):
            cursor.execute(f"INSERT INTO t VALUES (%s, {marks})", row)
        yield cursor


def rows_of(cur, columns, order_by, shard=None):
    cur.execute(
        f"SELECT {columns} FROM t WHERE %(shard)s IS NULL OR shard = %(shard)s ORDER BY {order_by}",
        {"shard": shard},
    )
    return cur.fetchall()


def shown(rows):
    """Rows that can be compared: NaN is equal to itself, and equal numbers look the same."""
    return [
        tuple("NaN" if value != value else value for value in row)  # noqa: PLR0124
        for row in rows
    ]


@pytest.mark.parametrize(("descending", "first", "form"), FORMS)
@pytest.mark.parametrize("name", TYPES)
def test_one_column_is_ordered_as_the_server_orders_it(cur, name, descending, first, form):
    key = SortKey(0, descending, first)
    expected = rows_of(cur, name, f"{name} {form}")
    assert comparable(cur.description[0].type_code, code_point=True)
    shuffled = random.Random(SEED).sample(expected, len(expected))
    assert shown(order(shuffled, [key])) == shown(expected), SEED
    parts = [rows_of(cur, name, f"{name} {form}", shard) for shard in range(SHARDS)]
    assert shown(order(itertools.chain(*parts), [key])) == shown(expected), SEED
    assert shown(merge_streams(parts, [key])) == shown(expected), SEED


@pytest.mark.parametrize("number", range(30))
def test_several_columns_are_ordered_as_the_server_orders_them(cur, number):
    generator = random.Random(f"{SEED}/{number}")
    names = ["bool", *generator.sample(list(TYPES), 3)]
    generator.shuffle(names)
    forms = [generator.choice(FORMS) for _ in names]
    keys = [SortKey(at, form[0], form[1]) for at, form in enumerate(forms)]
    columns = ", ".join(names)
    order_by = ", ".join(f"{name} {form[2]}" for name, form in zip(names, forms, strict=True))
    expected = rows_of(cur, columns, order_by)
    parts = [rows_of(cur, columns, order_by, shard) for shard in range(SHARDS)]
    assert shown(order(itertools.chain(*parts), keys)) == shown(expected), SEED
    assert shown(merge_streams(parts, keys)) == shown(expected), SEED


def test_infinite_dates_are_left_to_the_server(cur):
    """psycopg2 gives the same for them as for the ends of Python's calendar."""
    for kind in ("date", "timestamp", "timestamptz"):
        for value in ("infinity", "-infinity"):
            cur.execute(f"SELECT %s::{kind}", (value,))
            assert order(cur.fetchall() * 2, [SortKey(0)]) is None


TAKES = {
    "min": ["int2", "int4", "int8", "date", "timestamp", "timestamptz", "text", "varchar", "oid"],
    "sum": ["int2", "int4", "small", "precise"],
    "count": list(TYPES),
    "bool_and": ["bool"],
    "bool_or": ["bool"],
}
TAKES["max"] = [*TAKES["min"], "float8_finite"]
EXPRESSIONS = {
    "small": "(int8 / 10000000000)",
    "precise": "nullif(nullif(nullif(numeric, 'NaN'), 'Infinity'), '-Infinity')",
    "float8_finite": "nullif(float8, 'NaN') + 0",
}
KEYS = [
    "bool",
    "int2",
    "int4 % 5",
    "left(text, 1)",
    "date",
    "uuid",
    "least(oid, 9::oid)",
    "timestamptz",
]


@pytest.mark.parametrize("number", range(40))
def test_partial_rows_are_reduced_as_the_server_reduces_them(cur, number):
    generator = random.Random(f"{SEED}/{number}")
    keys = generator.sample(KEYS, generator.randint(0, 2))
    functions = [generator.choice(list(TAKES)) for _ in range(4)]
    names = [generator.choice(TAKES[function]) for function in functions]
    calls = [
        f"{function}({EXPRESSIONS.get(name, name)})"
        for function, name in zip(functions, names, strict=True)
    ]
    columns = ", ".join([*(f"({key})" for key in keys), *calls])
    group_by = f"GROUP BY {', '.join(str(at + 1) for at in range(len(keys)))}" if keys else ""
    parts = []
    for shard in range(SHARDS):
        cur.execute(f"SELECT {columns} FROM t WHERE shard = {shard} {group_by}")
        parts.append(cur.fetchall())
    reduction = Reduction(
        tuple(range(len(keys))),
        tuple((function, at) for at, function in enumerate(["key"] * len(keys) + functions)),
        tuple("c" * (len(keys) + 4)),
    )
    assert reducible(reduction, [column.type_code for column in cur.description], c_collation=True)
    cur.execute(f"SELECT {columns} FROM t {group_by}")
    expected = cur.fetchall()
    # As text too: the scale of a numeric is part of it.
    assert sorted(map(repr, reduce(reduction, parts))) == sorted(map(repr, expected)), SEED
