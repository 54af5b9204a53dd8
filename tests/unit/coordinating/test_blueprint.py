"""What there is to be on a coordinator, as SQL; and what is not as it is to be."""

from __future__ import annotations

from typing import Any

import pytest

from greenshard.cluster import Cluster, Hash, List, Reference, Sharded
from greenshard.coordinating.blueprint import (
    LONGEST_NAME,
    is_made,
    mapping_made,
    part_name,
    server_changed,
    table_made,
    wanted,
)
from greenshard.links.put_together import unlike_tables

CLUSTER = Cluster(
    {"s0": "dbname=a", "s1": "dbname=b"},
    {"orders": Sharded("id"), "codes": Sharded("id", List({1: "s0"})), "nation": Reference()},
    Hash(),
)
ORDERS = ("public", "orders")


def facts(**changed: Any) -> dict[str, Any]:
    """What a shard says of a table."""
    columns = [
        ["id", "bigint", True, None, None, True],
        ['no"te', "text", False, '"C"', None, True],
    ]
    said = {"kind": "r", "security": False, "odd": None, "types": None, "key": None}
    return {**said, "columns": columns, "children": None, **changed}


def there(**changed: Any) -> dict[str, Any]:
    """What the coordinator says of orders, as it is to be."""
    source = ["schema_name=public", "table_name=orders"]
    children = [
        [f"greenshard_s{n}", source, f"FOR VALUES WITH (modulus 2, remainder {n})", "x", "y"]
        for n in range(2)
    ]
    return facts(kind="p", key=["h", ["id"]], children=children) | changed


def test_a_partitioned_table() -> None:
    made = list(table_made(CLUSTER, wanted(ORDERS, [facts(), facts()])))
    table, comment, *parts = made
    columns = '"id" bigint NOT NULL, "no""te" text COLLATE "C"'
    assert table == f'CREATE TABLE "public"."orders" ({columns}) PARTITION BY HASH ("id")'
    assert comment == 'COMMENT ON TABLE "public"."orders" IS \'made by greenshard coordinator\''
    options = "OPTIONS (schema_name 'public', table_name 'orders')"
    assert parts == [
        f'CREATE FOREIGN TABLE "greenshard_s{n}"."public.orders" PARTITION OF "public"."orders"'
        f' FOR VALUES WITH (modulus 2, remainder {n}) SERVER "greenshard_s{n}" {options}'
        for n in range(2)
    ]


def test_a_table_whose_shards_are_no_partitions() -> None:
    made = list(table_made(CLUSTER, wanted(("public", "codes"), [facts(), facts()])))
    assert "CHECK (false) NO INHERIT" in made[0]
    assert '"greenshard_s0"."public.codes" () INHERITS ("public"."codes")' in made[2]
    assert len(made) == 4


def test_a_reference_table_is_read_on_the_first_shard() -> None:
    (made,) = table_made(CLUSTER, wanted(("public", "nation"), [facts(), facts()]))
    assert made.startswith('CREATE FOREIGN TABLE "public"."nation"')
    assert 'SERVER "greenshard_s0"' in made


def test_a_column_has_no_nulls_only_if_it_has_none_on_any_shard() -> None:
    other = facts()
    other["columns"][0] = ["id", "bigint", False, None, None, True]
    assert wanted(ORDERS, [facts(), other]).columns[0] == '"id" bigint'


def test_names_that_are_too_long_stay_apart() -> None:
    long = ["a" * 40, "b" * 40]
    names = {part_name((long[0], f"{long[1]}{end}")) for end in "xy"}
    assert len(names) == 2
    assert all(len(name.encode()) <= LONGEST_NAME for name in names)


def test_options_of_a_server_that_changed() -> None:
    (change,) = server_changed("s0", {"host": "b'c", "port": "1"}, {"host": "a", "sslmode": "x"})
    assert change == (
        "ALTER SERVER \"greenshard_s0\" OPTIONS (DROP sslmode, SET host 'b''c', ADD port '1')"
    )
    assert list(server_changed("s0", {"host": "a"}, {"host": "a"})) == []


def test_no_password_is_in_a_statement_s_text() -> None:
    assert "password %s" in mapping_made("s0", '"r"', secret=True)
    assert "password_required 'false'" in mapping_made("s0", '"r"', secret=False)


def test_what_is_as_it_is_to_be() -> None:
    table = wanted(ORDERS, [facts(), facts()])
    assert is_made(CLUSTER, table, there())
    assert list(unlike_tables(CLUSTER, ORDERS, {"s0": facts(), "s1": facts()}, there())) == []


OTHERWISE = {
    "no partition": {"kind": "r"},
    "by another column": {"key": ["h", ["customer"]]},
    "by its values": {"key": ["l", ["id"]]},
    "one part": {"children": there()["children"][:1]},
    "parts exchanged": {
        "children": [
            [other[0], *one[1:]]
            for one, other in zip(there()["children"], there()["children"][::-1], strict=True)
        ]
    },
    "a part of another table": {
        "children": [
            there()["children"][0],
            ["greenshard_s1", ["schema_name=public", "table_name=x"], *there()["children"][1][2:]],
        ]
    },
    "a part that is on two servers": {"children": [*there()["children"], there()["children"][0]]},
    "columns": {"columns": facts()["columns"][:1]},
    "NOT NULL": {"columns": [[*each[:2], True, *each[3:]] for each in facts()["columns"]]},
    "a collation": {"columns": [[*each[:3], None, *each[4:]] for each in facts()["columns"]]},
}


@pytest.mark.parametrize("kind", OTHERWISE)
def test_what_is_otherwise_is_found(kind: str) -> None:
    its = there(**OTHERWISE[kind])
    assert not is_made(CLUSTER, wanted(ORDERS, [facts(), facts()]), its)
    assert list(unlike_tables(CLUSTER, ORDERS, {"s0": facts(), "s1": facts()}, its))


@pytest.mark.parametrize("change", [{"security": True}, {"odd": "price"}])
def test_what_only_the_shards_say(change: dict[str, Any]) -> None:
    of = {"s0": facts(), "s1": facts(**change)}
    assert list(unlike_tables(CLUSTER, ORDERS, of, there()))
