"""With each adapter of the program's own, keys go where the server puts what was written."""

from __future__ import annotations

import datetime as dt
import os
import uuid
from random import Random

import pytest
from psycopg2.extensions import ISQLQuote, adapters, register_adapter

import greenshard
from tests.fuzz.keys import COUNT, TABLES, Keys
from tests.fuzz.own_adapters import ADAPTERS

SEED = os.environ["GREENSHARD_SEED"]
EACH = int(os.environ.get("GREENSHARD_OWN_ADAPTER_KEYS", "60"))
TYPES = {
    str: ("text", "varchar"),
    int: ("int2", "int4", "int8", "oid"),
    bool: ("bool",),
    bytes: ("bytea",),
    uuid.UUID: ("uuid",),
    dt.date: ("date",),
    dt.datetime: ("timestamp", "timestamptz"),
}
MAKE = {
    str: lambda pick: "".join(
        pick.choice("ab\u00e9e\u0301\\'% ") for _ in range(pick.randrange(9))
    ),
    int: lambda pick: pick.randrange(30_000),
    bool: lambda pick: pick.random() < 0.5,
    bytes: lambda pick: pick.randbytes(pick.randrange(20)),
    uuid.UUID: lambda pick: uuid.UUID(int=pick.randrange(2**128)),
    dt.date: lambda pick: dt.date.fromordinal(pick.randrange(1, 3_652_059)),
    dt.datetime: lambda pick: (
        dt.datetime(1, 1, 2) + dt.timedelta(microseconds=pick.randrange(10**17))  # noqa: DTZ001
    ),
}
CASES = [
    (kind, number, type_name)
    for kind, types in TYPES.items()
    for number in range(len(ADAPTERS[kind]))
    for type_name in types
]
#: What is written is no literal of the key's type, as greenshard reads them.
NEVER = {
    *((int, number, type_name) for number in (4, 5, 6) for type_name in TYPES[int]),
    *((dt.datetime, 4, type_name) for type_name in TYPES[dt.datetime]),
    *((str, 4, type_name) for type_name in TYPES[str]),
    (dt.datetime, 2, "timestamptz"),
    (dt.datetime, 3, "timestamp"),
    (int, 2, "oid"),
    (bool, 0, "bool"),
    (bool, 2, "bool"),
    (dt.date, 1, "date"),
    (uuid.UUID, 3, "uuid"),
}


@pytest.fixture(scope="module")
def keys(greenshard_shards):
    keys = Keys([greenshard_shards["s0"]], SEED)
    yield keys
    keys.close()


@pytest.fixture
def adapted(request):
    kind, number, _ = request.param
    before = adapters.get((kind, ISQLQuote))
    register_adapter(kind, ADAPTERS[kind][number])
    yield request.param
    if before is None:
        del adapters[kind, ISQLQuote]
    else:
        register_adapter(kind, before)


@pytest.mark.parametrize(
    "adapted", CASES, indirect=True, ids=lambda case: f"{case[0].__name__}-{case[1]}-{case[2]}"
)
def test_keys_go_where_the_server_puts_what_was_written(keys, adapted):
    kind, _, type_name = adapted
    pick = Random(f"{SEED}/{adapted}")
    table = f'"{TABLES[type_name]}"'
    given = [MAKE[kind](pick) for _ in range(EACH)]
    if type_name == "timestamptz":
        given = [value.replace(tzinfo=dt.timezone.utc) for value in given]
    told = {}
    for at, value in enumerate(given):
        try:
            with keys.many.on(key=value, table=table) as one:
                told[at] = one._statements.target.shards
        except greenshard.ProgrammingError as error:
            assert error.code == "GS103"  # noqa: PT017  # most can be told
    keys.many.rollback()
    place = (
        f"SELECT number FROM (SELECT %s::{type_name} AS k) AS one, generate_series(0, 3) AS number"
        f" WHERE satisfies_hash_partition('{table}'::regclass, {COUNT}, number, k)"
    )
    try:
        for at, shards in told.items():
            cur = keys.one.cursor()
            cur.execute(place, (given[at],))
            assert [(f"s{number}",) for (number,) in cur.fetchall()] == [shards], given[at]
    finally:
        keys.one.rollback()
    assert told or adapted in NEVER
