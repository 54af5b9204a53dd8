from __future__ import annotations

import json
from dataclasses import replace

import pytest

from greenshard.checking.findings import Finding
from greenshard.checking.references import Content, compare_contents
from greenshard.checking.rows import (
    Key,
    Remainders,
    Share,
    misplaced,
    placing_statement,
    remainders_of,
    rows_by_shard,
)
from greenshard.checking.servers import SETTINGS, compare_servers, minor_versions, server_of
from greenshard.checking.tables import (
    Column,
    Relation,
    check_shard_key,
    compare_relation,
    missing_tables,
    undeclared,
)
from greenshard.cluster import (
    Cluster,
    Hash,
    List,
    Reference,
    Sharded,
    Single,
    TableName,
    Unknown,
)

SHARDS = {"s0": "dbname=a", "s1": "dbname=b"}
NAMES = tuple(SHARDS)
ID = Column("id", "integer", "int4", None, True, True)
NOTE = Column("note", "text", "text", None, True, False)


def said(findings):
    return [(finding.shards, finding.message) for finding in findings]


# Servers ------------------------------------------------------------------------------------


def server(version="18.1", number=180001, encoding="UTF8", actual=None, settings=(), **database):
    row = {"datcollate": "C", "datctype": "C", **database}
    return server_of(version, number, encoding, json.dumps(row), actual, json.dumps(dict(settings)))


def test_equal_servers_are_well():
    assert list(compare_servers({"s0": server(), "s1": server()})) == []


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"version": "17.2", "number": 170002},
            "the major versions differ: PostgreSQL 18 on s0; PostgreSQL 17 on s1",
        ),
        ({"encoding": "LATIN1"}, "the encodings differ: UTF8 on s0; LATIN1 on s1"),
        (
            {"datcollate": "de_DE"},
            "the collations differ: libc collation C on s0; libc collation de_DE and C on s1",
        ),
        (
            {"settings": {"TimeZone": "UTC"}},
            "the settings of TimeZone differ: None on s0; 'UTC' on s1",
        ),
        (
            {"datcollversion": "2.36"},
            "the collations' versions differ: no version on s0; 2.36 on s1",
        ),
    ],
)
def test_what_differs_among_servers_is_told(other, message):
    found = list(compare_servers({"s0": server(), "s1": server(**other)}))
    assert said(found) == [((), message)]


def test_the_version_that_the_library_has_now_is_what_counts():
    old = server(datcollversion="2.31", actual="2.36")
    new = server(datcollversion="2.36", actual="2.36")
    ((shards, message),) = said(compare_servers({"s0": old, "s1": new}))
    assert shards == ("s0",)
    assert (
        "made with version 2.31 of its collation, and the server's library now has 2.36" in message
    )


@pytest.mark.parametrize(
    ("database", "collation"),
    [
        ({}, "libc collation C"),
        ({"datlocprovider": "c"}, "libc collation C"),
        ({"datlocprovider": "i", "daticulocale": "en-US"}, "icu collation en-US (C)"),
        ({"datlocprovider": "b", "datlocale": "C.UTF-8"}, "builtin collation C.UTF-8 (C)"),
        (
            {"datlocprovider": "i", "datlocale": "de", "daticurules": "&a < b"},
            "icu collation de with rules '&a < b' (C)",
        ),
    ],
)
def test_the_catalogs_of_all_versions_are_understood(database, collation):
    assert server(**database).collation == collation


def test_minor_versions_are_a_note():
    older = replace(server(), version="18.0", number=180000)
    assert list(compare_servers({"s0": server(), "s1": older})) == []
    assert minor_versions({"s0": server(), "s1": older}) == (
        "the minor versions differ: 18.1 on s0; 18.0 on s1"
    )
    assert minor_versions({"s0": server(), "s1": server()}) is None
    assert minor_versions({"s0": server(), "s1": server("17.1", 170001)}) is None


def test_the_time_zone_is_compared():
    assert "TimeZone" in SETTINGS


# Tables -------------------------------------------------------------------------------------


def table(*columns, kind="r"):
    return Relation(kind, columns)


def test_equal_tables_are_well():
    assert list(compare_relation("t", {"s0": table(ID), "s1": table(ID)}, NAMES)) == []


def test_a_missing_table_is_told():
    found = compare_relation("t", {"s0": table(ID)}, NAMES)
    assert said(found) == [(("s1",), "the table is missing")]


def test_a_view_is_no_table():
    views = {"s0": table(ID, kind="v"), "s1": table(ID, kind="v")}
    assert said(compare_relation("t", views, NAMES)) == [(NAMES, "is a view, not a table")]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(ID, type="bigint", base="int8"),
         "column id differs: integer NOT NULL on s0; bigint NOT NULL on s1"),
        (replace(ID, not_null=False), "column id differs: integer NOT NULL on s0; integer on s1"),
        (replace(ID, collation='"C"'),
         'column id differs: integer NOT NULL on s0; integer COLLATE "C" NOT NULL on s1'),
    ],
)  # fmt: skip
def test_a_column_that_differs_is_told(other, message):
    found = compare_relation("t", {"s0": table(ID), "s1": table(other)}, NAMES)
    assert said(found) == [((), message)]


def test_a_missing_column_is_told_and_no_order():
    found = compare_relation("t", {"s0": table(NOTE, ID), "s1": table(ID)}, NAMES)
    assert said(found) == [((), "column note differs: text on s0; missing on s1")]


def test_another_order_of_columns_is_told():
    found = compare_relation("t", {"s0": table(ID, NOTE), "s1": table(NOTE, ID)}, NAMES)
    assert said(found) == [((), "the columns' order differs: id, note on s0; note, id on s1")]


def test_a_table_that_no_shard_has_is_told():
    relations = {TableName("public", "a"): {}, TableName("sales", "b"): {}}
    tables = {"a": Reference(), "sales.b": Reference(), "public.b": Reference(), "C": Reference()}
    found = missing_tables(Cluster(SHARDS, tables), relations, ())
    assert [finding.table for finding in found] == ["public.b", "c"]


def test_what_a_shard_has_alone_is_not_missing_while_it_cannot_be_asked():
    cluster = Cluster(SHARDS, {"a": Single("s0"), "b": Single("s1")})
    assert [finding.table for finding in missing_tables(cluster, {}, ("s0",))] == ["b"]


def test_undeclared_tables_are_a_note():
    relations = {
        TableName("public", "a"): {"s0": table(ID)},
        TableName("public", "b"): {"s1": table(ID, kind="p")},
        TableName("sales", "C"): {"s0": table(ID)},
        TableName("public", "v"): {"s0": table(ID, kind="v")},
    }
    assert undeclared(relations, Cluster(SHARDS, {"a": Reference()})) == (
        'not declared: b, sales."C"'
    )
    declared = Cluster(SHARDS, {"a": Reference(), "b": Reference(), '"C"': Reference()})
    assert undeclared(relations, declared) is None


# Shard keys ---------------------------------------------------------------------------------


def key_findings(column, placement=None, encoding="UTF8", key="id"):
    cluster = Cluster(SHARDS, {"t": Sharded(key)}, placement)
    found = {"s0": table(column), "s1": table(column)}
    encodings = {"s0": "UTF8", "s1": encoding}
    return said(check_shard_key(cluster, "t", Sharded(key), found, encodings))


def test_a_fitting_shard_key_is_well():
    assert key_findings(ID) == []
    assert key_findings(replace(ID, name="ID"), key='"ID"') == []
    assert key_findings(replace(ID, base="numeric"), Unknown()) == []


def test_a_shard_key_that_is_not_there_is_told():
    assert key_findings(NOTE) == [(NAMES, "there is no column id, the shard key")]


def test_a_shard_key_of_an_unfitting_type_is_told():
    ((shards, message),) = key_findings(replace(ID, base="numeric"))
    assert shards == NAMES
    assert message.startswith("id: keys of type numeric cannot be hashed")
    assert key_findings(ID, List({"a": "s0"})) == [
        (NAMES, "id: the placement's value 'a' is no int4")
    ]


def test_a_shard_key_whose_equal_texts_differ_is_told():
    ((_, message),) = key_findings(replace(NOTE, name="id", deterministic=False))
    assert message == "id has a collation under which texts that differ can be equal"


def test_text_that_is_hashed_must_be_in_an_encoding_that_python_has():
    text = replace(NOTE, name="id")
    assert key_findings(text, encoding="EUC_JP") == [
        (("s1",), "id: in EUC_JP, only keys in ASCII can be placed")
    ]
    assert key_findings(text, encoding="LATIN1") == []
    assert key_findings(text, Unknown(), encoding="EUC_JP") == []
    assert key_findings(ID, encoding="EUC_JP") == []


# Rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("placement", "shards", "remainders"),
    [
        (Hash(8), ("a", "b"), Remainders(2, {"a": (0,), "b": (1,)})),
        (Hash(4), ("a", "b", "c"), Remainders(4, {"a": (0, 3), "b": (1,), "c": (2,)})),
        (Hash(4, {0: "b", 1: "a", 2: "b", 3: "a"}), ("a", "b"),
         Remainders(2, {"a": (1,), "b": (0,)})),
        (Hash(4, {0: "b", 1: "b", 2: "b", 3: "a"}), ("a", "b"),
         Remainders(4, {"a": (3,), "b": (0, 1, 2)})),
        (Hash(4, dict.fromkeys(range(4), "a")), ("a", "b"), Remainders(1, {"a": (0,), "b": ()})),
        (Hash(2**31 - 1), ("a", "b"), Remainders(2**31 - 1, {})),
    ],
)  # fmt: skip
def test_slots_become_the_fewest_remainders(placement, shards, remainders):
    assert remainders_of(placement, shards) == remainders


def test_names_with_percent_signs_are_no_placeholders():
    key = Key('"t%s"', '"k%"', "int4")
    statement, parameters = placing_statement(key, Remainders(1, {"a": (0,), "b": ()}))
    assert '"t%%s"' in statement
    assert statement.count("%s") - statement.count("%%s") == len(parameters)


def test_misplaced_rows_are_told_with_one_key():
    shares = [
        Share("s0", "s0", 5),
        Share("s0", "s1", 2, "x" * 50),
        Share("s1", "s0", 1, None),
        Share("s1", None, 1000, "7"),
    ]
    assert said(misplaced("t", "k", shares)) == [
        (("s0",), f"2 rows that belong on s1, for example k = '{'x' * 40}...'"),
        (("s1",), "1 row that belongs on s0, k is NULL"),
        (("s1",), "1,000 rows that the placement does not place, for example k = '7'"),
    ]
    assert rows_by_shard(shares, ["s0", "s1", "s2"]) == {"s0": 7, "s1": 1001, "s2": 0}


# Reference tables ---------------------------------------------------------------------------


def test_equal_reference_tables_are_well():
    assert list(compare_contents("t", {"s0": Content(2, "7"), "s1": Content(2, "7")})) == []


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Content(1, "3"), "the shards have different rows: 2 rows on s0; 1 row on s1"),
        (Content(2, "3"),
         "the shards have as many rows, but different ones: version 1 on s0; version 2 on s1"),
    ],
)  # fmt: skip
def test_reference_tables_that_differ_are_told(other, message):
    (finding,) = compare_contents("t", {"s0": Content(2, "7"), "s1": other})
    assert finding == Finding("reference", message, "t")
