from __future__ import annotations

import pickle
import traceback

import pytest

from greenshard import errors
from greenshard.cluster import Cluster, Hash, Reference, Shard, Sharded, Single, TableName, Unknown

SECRET = "s3cr3t"
SHARDS = {"s0": "dbname=a", "s1": f"postgresql://app:{SECRET}@db1/app"}


def mistakes_of(*args, **kwargs):
    with pytest.raises(errors.ProgrammingError) as caught:
        Cluster(*args, **kwargs)
    assert caught.value.code == "GS105"
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    lines = str(caught.value).removesuffix(" [GS105]").splitlines()
    return [line.strip() for line in lines[1:]]


def test_shards_keep_their_order():
    cluster = Cluster({"b": "dbname=b", "a": "dbname=a"})
    assert cluster.names == ("b", "a")
    assert cluster.shards["b"] == Shard("b", "dbname=b")


def test_a_shard_may_be_written_with_its_primary():
    for given in ({"primary": "dbname=a"}, Shard("s0", "dbname=a")):
        assert Cluster({"s0": given}).shards["s0"] == Shard("s0", "dbname=a")


def test_no_connection_string_is_shown():
    shards = {**SHARDS, "s2": {"primary": f"password={SECRET}"}}
    cluster = Cluster(shards, {"orders": Sharded("id")})
    assert SECRET not in repr(cluster) + str(cluster) + repr(cluster.shards)
    assert "Shard(name='s1')" in repr(cluster)


def test_a_table_is_found_by_its_name_in_the_catalog():
    cluster = Cluster(SHARDS, {"Orders": Sharded("id"), '"Nation"': Reference()})
    assert cluster.table("public", "orders") == Sharded("id")
    assert cluster.table(None, "orders") == Sharded("id")
    assert cluster.table("public", "Nation") == Reference()
    assert cluster.table("public", "Orders") is None
    assert cluster.table("public", "nation") is None


def test_a_declaration_with_a_schema_wins():
    cluster = Cluster(SHARDS, {"orders": Sharded("id"), "sales.orders": Reference()})
    assert cluster.table("sales", "orders") == Reference()
    assert cluster.table("public", "orders") == Sharded("id")
    assert cluster.table(None, "orders") == Sharded("id")


def test_a_table_declared_with_a_schema_is_found_in_no_other():
    cluster = Cluster(SHARDS, {"sales.orders": Reference()})
    assert cluster.table("public", "orders") is None
    assert cluster.table(None, "orders") is None


def test_the_names_of_a_clusters_tables_declare_the_same_again():
    cluster = Cluster(SHARDS, {'Sales."Orders"': Reference(), 'O."a.""b"': Reference()})
    assert list(cluster.tables) == ['sales."Orders"', 'o."a.""b"']
    assert Cluster(SHARDS, cluster.tables).tables == cluster.tables


def test_a_sharded_table_has_the_clusters_placement_or_its_own():
    own = Sharded("id", Unknown("tenant"))
    cluster = Cluster(SHARDS, {"a": Sharded("id"), "b": own}, Hash(slots=8))
    assert cluster.placement_of(Sharded("id")) == Hash(slots=8)
    assert cluster.placement_of(own) == Unknown("tenant")
    assert Cluster(SHARDS).placement == Hash(slots=256)


def test_a_shard_key_is_folded_as_the_server_folds_it():
    assert Sharded("O_OrderKey").column == "o_orderkey"
    assert Sharded('"O_OrderKey"').column == "O_OrderKey"
    assert Sharded("ÄÖ").column == "ÄÖ"


def test_a_cluster_survives_pickling():
    cluster = Cluster(SHARDS, {"orders": Sharded("id"), "nation": Reference()})
    again = pickle.loads(pickle.dumps(cluster))
    assert (again.shards, again.tables, again.placement) == (
        cluster.shards, cluster.tables, cluster.placement,
    )  # fmt: skip
    assert again.table("public", "orders") == Sharded("id")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("orders", TableName(None, "orders")),
        (' "or""ders" ', TableName(None, 'or"ders')),
        ('sales . "a.b"', TableName("sales", "a.b")),
        ("_x$1", TableName(None, "_x$1")),
    ],
)
def test_names_are_read_as_in_sql(text, name):
    assert TableName.read(text) == name
    assert TableName.read(str(name)) == name


@pytest.mark.parametrize("text", ["", "1a", "a b", "a.b.c", '""', '"a', "a;b", "x" * 64])
def test_other_texts_are_no_names(text):
    (told,) = mistakes_of(SHARDS, {text: Reference()})
    assert told.endswith(("is not a table's name, nor a schema's and a table's with a dot between",
                          "is longer than 63 bytes"))  # fmt: skip


def test_every_mistake_is_told_at_once_with_its_place():
    shards = {
        "s0": "dbname=a",
        "s1": " ",
        "s2": 5,
        "s3": {"primary": "dbname=d", "replica": "x"},
        "s4": {"replicas": ["dbname=e"]},
        "s5": Shard("other", "dbname=f"),
        "s6": f"password={SECRET}",
        "s7": {"primary": f"password={SECRET}"},
        "": "dbname=g",
    }
    tables = {
        "orders": Sharded("no column"),
        "Orders": Sharded(5),
        "a.b.c": Reference(),
        "x": "sharded",
        "y": Sharded("id", Hash(1)),
        "z": Sharded("id", "hash"),
    }
    assert mistakes_of(shards, tables, Hash(slots=0)) == [
        "shards.s1: must be a connection string, not empty",
        "shards.s2: must be a connection string, not int",
        "shards.s3.replica: a shard has a primary only",
        "shards.s4.replicas: are not read from yet: leave them out",
        "shards.s4.primary: must be a connection string, not nothing",
        "shards.s5: has the name other of its own",
        "shards: a shard's name must be text, not ''",
        "shards.s7: is the same database as shard s6",
        "tables.orders.shard_key: is not the name of a column",
        "tables.Orders.shard_key: must be the name of a column, not int",
        "tables.Orders: the table orders is declared twice",
        "tables.\"a.b.c\": is not a table's name, nor a schema's and a table's with a dot between",
        "tables.x: must be Sharded(...), Reference() or Single(...), not str",
        "placement.slots: must be from 1 to 2147483647, not 0",
        "tables.y.placement.slots: 1 slots leave some of the 9 shards without any",
        "tables.z.placement: must be a placement, as Hash() is, not str",
    ]


def test_things_of_the_wrong_shape_are_told():
    assert mistakes_of(["dbname=a"], ["orders"], "hash") == [
        "shards: must be a mapping of names, not list",
        "tables: must be a mapping of names, not list",
        "placement: must be a placement, as Hash() is, not str",
    ]
    assert mistakes_of({}) == ["shards: there are none"]


def test_one_mistake_is_not_several():
    with pytest.raises(errors.ProgrammingError, match="the cluster has a mistake:"):
        Cluster({})


def test_a_table_may_be_on_one_shard():
    tables = {"jobs": Single("s1"), "log": Single("s1"), "nation": Reference()}
    cluster = Cluster(SHARDS, tables)
    assert cluster.table("public", "jobs") == Single("s1")
    assert cluster.homes == ("s1",)
    assert Cluster(SHARDS, {"nation": Reference()}).homes == ()
    assert mistakes_of(SHARDS, {"jobs": Single("s7"), "x": Single(3)}) == [
        "tables.jobs.on: there is no shard s7",
        "tables.x.on: must be the name of a shard, not int",
    ]
    assert mistakes_of(SHARDS, {"x": Single("s0", triggers="t")}) == [
        "tables.x.triggers: must be names of triggers"
    ]


def test_a_coordinator_is_declared_and_its_password_shown_nowhere():
    cluster = Cluster(SHARDS, coordinator=f"host=db9 user=reader password={SECRET}")
    assert SECRET not in repr(cluster)
    assert SECRET not in f"{cluster.coordinator}"
    assert Cluster(SHARDS).coordinator is None


@pytest.mark.parametrize(
    ("shards", "coordinator", "mistake"),
    [
        (SHARDS, "", "coordinator: must be a connection string, not empty"),
        (SHARDS, 7, "coordinator: must be a connection string, not int"),
        (SHARDS, SHARDS["s1"], "coordinator: is the same database as shard s1"),
        (
            {"coordinator": "dbname=a"},
            "dbname=b",
            "shards.coordinator: is what the coordinator is called",
        ),
    ],
)
def test_mistakes_about_a_coordinator(shards, coordinator, mistake):
    assert mistakes_of(shards, coordinator=coordinator) == [mistake]
