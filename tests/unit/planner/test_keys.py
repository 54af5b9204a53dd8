from __future__ import annotations

from datetime import datetime

import pytest

from greenshard import errors
from greenshard.cluster import Cluster, Hash, List, Reference, Sharded
from greenshard.planner.catalog import Catalog, Column, Relation
from greenshard.planner.keys import shard_of_key

SHARDS = {"s0": "dbname=a", "s1": "dbname=b"}
PATH = ("pg_catalog", "public")


def relation(schema, name, type_name, type_sql=""):
    column = Column("id", type_name, type_sql or type_name)
    return (schema, name), Relation(schema, name, "r", (column,))


CATALOG = Catalog(
    dict([
        relation("public", "t", "int8"),
        relation("public", "u", "int4"),
        relation("public", "words", "text"),
        relation("public", "ref", "int4"),
        relation("public", "other", "int4"),
        relation("far", "t", "int8"),
        relation("public", "seconds", "timestamp", "timestamp(0) without time zone"),
        relation("public", "moments", "timestamp", "timestamp without time zone"),
        relation("public", "short", "varchar", "character varying(3)"),
        relation("public", "long", "varchar", "character varying"),
        relation("public", "domain", "varchar", "public.short_text"),
    ])
)  # fmt: skip


def place(key, table=None, **tables):
    cluster = Cluster(SHARDS, tables, Hash(slots=2))
    return shard_of_key(key, table, cluster, CATALOG, PATH)


def test_key_is_placed_as_rows_are():
    found = {key: place(key, t=Sharded("id"), u=Sharded("id")) for key in range(20)}
    assert set(found.values()) == {"s0", "s1"}
    placement = Hash(slots=2)
    assert found == {key: placement.shards_for(key, "int8", ("s0", "s1")) for key in range(20)}


def test_table_tells_which_placement_is_meant():
    tables = {
        "t": Sharded("id", List({1: "s0"})),
        "u": Sharded("id", List({1: "s1"})),
        "words": Sharded("id"),
    }
    assert place(1, "t", **tables) == "s0"
    assert place(1, '"u"', **tables) == "s1"
    assert place(1, "public.u", **tables) == "s1"
    with pytest.raises(errors.ProgrammingError, match="cannot be told"):
        place(1, **tables)


@pytest.mark.parametrize("key", [None, "x", 1.5, object()])
def test_keys_that_cannot_be_placed(key):
    with pytest.raises(errors.ProgrammingError, match="cannot be told"):
        place(key, t=Sharded("id"))


@pytest.mark.parametrize(
    ("key", "kept", "changed"),
    [
        (datetime(2020, 1, 1, 0, 0, 0, 5), ["moments"], ["seconds"]),  # noqa: DTZ001
        (datetime(2020, 1, 1), ["moments", "seconds"], []),  # noqa: DTZ001
        ("ab ", ["long", "short"], ["domain"]),
        ("abc ", ["long"], ["short", "domain"]),
        (" ab", ["long", "short", "domain"], []),
    ],
)
def test_keys_that_the_column_would_cut_or_round_cannot_be_placed(key, kept, changed):
    for table in kept:
        assert place(key, table, **{table: Sharded("id")}) in SHARDS
    for table in changed:
        with pytest.raises(errors.ProgrammingError, match="cannot be told"):
            place(key, table, **{table: Sharded("id")})


@pytest.mark.parametrize("table", ["ref", "other", "never_was", "far.nothing"])
def test_tables_that_have_no_shard_key(table):
    with pytest.raises(errors.ProgrammingError, match="no sharded table"):
        place(1, table, t=Sharded("id"), ref=Reference())


def test_names_that_are_none():
    with pytest.raises(errors.ProgrammingError, match="is not a table's name"):
        place(1, "a b", t=Sharded("id"))
