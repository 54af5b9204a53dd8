"""What models declare, and what is said of those that no cluster can keep."""

from __future__ import annotations

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

import greenshard
from greenshard.cluster import List
from greenshard.ext.sqlalchemy import Reference, Sharded, Single, cluster_from

SHARDS = {"s0": "dbname=a", "s1": "dbname=b"}


def key(name="id"):
    return Column(name, Integer, primary_key=True)


@pytest.fixture
def metadata():
    """Orders by their id, countries everywhere."""
    made = MetaData()
    Table("orders", made, key(), info={"greenshard": Sharded("id")})
    Table("country", made, key(), info={"greenshard": Reference()})
    return made


def wrong(metadata, **arguments):
    with pytest.raises(greenshard.ProgrammingError) as caught:
        cluster_from(metadata, SHARDS, **arguments)
    assert caught.value.code == "GS105"
    return str(caught.value)


def test_tables_have_the_places_that_they_say(metadata):
    Table("log", metadata, key(), info={"greenshard": Single("s1")})
    Table("Odd", metadata, key("Id"), schema="Sales", info={"greenshard": Sharded('"Id"')})
    cluster = cluster_from(metadata, SHARDS, two_phase=False)
    assert cluster.tables == {
        "orders": Sharded("id"),
        "country": Reference(),
        "log": Single("s1"),
        '"Sales"."Odd"': Sharded('"Id"'),
    }
    assert cluster.names == ("s0", "s1")
    assert not cluster.two_phase


def test_table_without_a_word_goes_along_its_key(metadata):
    # In whatever order: parts are of items, which are of orders.
    Table(
        "parts",
        metadata,
        *(key("order_id"), key("n"), key("m")),
        ForeignKeyConstraint(["order_id", "n"], ["items.order_id", "items.n"]),
    )
    Table(
        "items", metadata, Column("order_id", ForeignKey("orders.id"), primary_key=True), key("n")
    )
    tables = cluster_from(metadata, SHARDS).tables
    assert tables["items"] == tables["parts"] == Sharded("order_id")


def test_table_goes_along_its_key_by_the_same_rule():
    rule = List({1: "s0"})
    metadata = MetaData()
    Table("orders", metadata, key(), info={"greenshard": Sharded("id", placement=rule)})
    Table(
        "items", metadata, Column("order_id", ForeignKey("orders.id"), primary_key=True), key("n")
    )
    assert cluster_from(metadata, SHARDS).tables["items"] == Sharded("order_id", placement=rule)


@pytest.mark.parametrize(
    ("to", "in_key"),
    [((), True), (["orders.id"], False), (["country.id"], True), (["orders.id"] * 2, True)],
    ids=["alone", "not in the primary key", "of a reference table", "along which of two"],
)
def test_table_without_a_word_whose_key_does_not_fit_is_named(metadata, to, in_key):
    columns = [Column(f"to{n}", ForeignKey(at), primary_key=in_key) for n, at in enumerate(to)]
    Table("audits", metadata, key(), *columns)
    message = wrong(metadata)
    assert "tables.audits: nothing says where its rows are" in message
    assert "orders" not in message


def test_word_must_be_a_placement(metadata):
    Table("audits", metadata, key(), info={"greenshard": "id"})
    assert "must be Sharded(...), Reference() or Single(...), not str" in wrong(metadata)


def test_all_mistakes_are_told_at_once(metadata):
    metadata.tables["orders"].info.clear()
    Table("audits", metadata, key())
    assert "2 mistakes" in wrong(metadata)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((key(), Column("region", Integer)), "the primary key (id)"),
        (
            (Column("region", Integer), Column("a", String, unique=True)),
            "the unique constraint (a)",
        ),
        (
            (key("region"), Column("a", String), UniqueConstraint("a")),
            "the unique constraint (a)",
        ),
        (
            (key("region"), Column("a", String), Index("by_a", "a", unique=True)),
            "the unique index by_a (a)",
        ),
    ],
)
def test_what_is_unique_must_hold_the_shard_key(metadata, arguments, what):
    Table("shops", metadata, *arguments, info={"greenshard": Sharded("region")})
    message = wrong(metadata)
    assert f"tables.shops: {what} does not hold the shard key, region" in message
    assert "add region to it" in message


def test_what_is_unique_with_the_shard_key_is_right(metadata):
    Table(
        "shops",
        metadata,
        *(key("region"), key(), Column("a", String), Column("b", String)),
        UniqueConstraint("a", "region"),
        Index("by_region", "region", "b", unique=True),
        Index("by_b", "b"),
        info={"greenshard": Sharded("region")},
    )
    cluster_from(metadata, SHARDS)


def test_shard_key_must_be_a_column(metadata):
    Table("shops", metadata, key(), info={"greenshard": Sharded("Id")})
    cluster_from(metadata, SHARDS)  # it is id, as in SQL
    Table("malls", metadata, key(), info={"greenshard": Sharded('"Id"')})
    assert "tables.malls: it is sharded by Id, which is no column of it" in wrong(metadata)


@pytest.mark.parametrize(
    ("word", "column", "what"),
    [
        (Sharded("id"), "orders.id", "references rows of other shards: let it hold id"),
        (Reference(), "orders.id", "references rows that are on one shard each"),
        (Single("s0"), "orders.id", "references rows that are on one shard each"),
        (Sharded("id"), "log.id", "references what only s1 has"),
        (Reference(), "log.id", "references what only s1 has"),
        (Single("s0"), "log.id", "references what only s1 has"),
        (Sharded("id"), "listed.id", "references rows that are placed by another rule"),
    ],
)
def test_what_is_referenced_must_be_on_the_same_shard(metadata, word, column, what):
    Table("log", metadata, key(), info={"greenshard": Single("s1")})
    rule = List({1: "s0"})
    Table("listed", metadata, key(), info={"greenshard": Sharded("id", placement=rule)})
    Table("notes", metadata, key(), Column("of", ForeignKey(column)), info={"greenshard": word})
    assert f"the foreign key (of) to {column[:-3]} {what}" in wrong(metadata)


@pytest.mark.parametrize(
    ("word", "columns"),
    [
        (Sharded("order_id"), {"order_id": "orders.id", "n": None}),
        (Sharded("n"), {"n": None, "country": "country.id"}),
        (Reference(), {"n": None, "country": "country.id"}),
        (Single("s1"), {"n": None, "log": "log.id", "country": "country.id"}),
        (Sharded("n"), {"n": None, "elsewhere": "unknown.id"}),  # the database says so
    ],
)
def test_what_is_referenced_may_be_everywhere_or_on_the_same_shard(metadata, word, columns):
    Table("log", metadata, key(), info={"greenshard": Single("s1")})
    made = [
        Column(name, *([ForeignKey(to)] if to else []), type_=Integer, primary_key=True)
        for name, to in columns.items()
    ]
    Table("notes", metadata, *made, info={"greenshard": word})
    cluster_from(metadata, SHARDS)
