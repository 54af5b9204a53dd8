"""The page docs/one-database.rst is true: its plans, and what it says beside its table."""

from __future__ import annotations

import re
import shlex
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from click.testing import CliRunner

import greenshard
from greenshard.cli import main
from greenshard.cluster import Cluster
from tests.postgres.docs.conftest import ORDERS, Shop
from tests.postgres.docs.kinds import KINDS
from tests.postgres.docs.page import PAGE, blocks

PLANS = [block.removeprefix("$ greenshard ").partition('"\n') for block in blocks("console")]


@pytest.mark.parametrize(("command", "quote", "output"), PLANS)
def test_each_plan_of_the_page_is_what_the_command_prints(
    shop: Shop, command: str, quote: str, output: str
) -> None:
    words = shlex.split(command + quote)
    args = [str(shop.path) if word == "cluster.toml" else word for word in words]
    result = CliRunner().invoke(main, args)
    assert (result.exit_code, result.stdout) == (0, output)


def test_the_page_has_a_plan_of_each_strategy_under_its_title() -> None:
    titles = re.findall(r"^(\w+)\n~+\n(?:.*\n)+?   strategy: (\w+)$", PAGE, re.MULTILINE)
    names = [
        "route", "reference", "concatenate", "merge", "combine", "gather", "subqueries", "carry",
        "move",
    ]  # fmt: skip
    assert titles == [(name.capitalize(), name) for name in names]


@pytest.mark.parametrize(
    ("sql", "args"),
    [
        ("SELECT * FROM (SELECT * FROM orders) AS o WHERE id = %s", (7,)),
        ("SELECT quantity FROM items JOIN orders ON id = order_id WHERE id = %s", (7,)),
        ("SELECT max(quantity) FROM items WHERE order_id IN (%s, %s)", (7, 7)),
        ("SELECT * FROM orders WHERE id = ANY(%s)", ([7],)),
        ("SELECT * FROM products WHERE code = (SELECT min(product) FROM items WHERE order_id = %s)",
         (7,)),
    ],
)  # fmt: skip
def test_a_key_is_found_where_the_page_says(conn: Any, sql: str, args: Any) -> None:
    assert conn.explain(sql, args).startswith("strategy: route\nshards: s1\n")


def test_several_keys_name_their_shards_only(greenshard_dsns: dict[str, str], shop: Shop) -> None:
    third = {**{name: shard.primary for name, shard in shop.cluster.shards.items()},
             "s2": greenshard_dsns["s0"]}  # fmt: skip
    with closing(greenshard.connect(Cluster(third, shop.cluster.tables), check=False)) as conn:
        for number in range(1, 100):
            shards = {f"s{number}" for number in range(3)}
            keys = (number, number + 1)
            plan = conn.explain("SELECT count(*) FROM orders WHERE id IN (%s, %s)", keys)
            named = set(plan.splitlines()[1].removeprefix("shards: ").split(", "))
            assert named < shards


def test_a_temporary_table_of_one_shard_is_there_on_that_shard(conn: Any) -> None:
    with conn.on("s1"), conn.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE mine AS SELECT 7 AS n")
        cursor.execute("SELECT n FROM mine")
        assert cursor.fetchall() == [(7,)]


def test_now_is_one_value_on_all_shards_and_in_the_whole_transaction(conn: Any) -> None:
    cursor = conn.cursor()
    times = set()
    for sql in ("SELECT now() FROM orders", "SELECT now()", "SELECT max(now()) FROM orders"):
        cursor.execute(sql)
        times |= set(cursor.fetchall())
    assert len(times) == 1


def test_search_path_is_followed(conn: Any) -> None:
    cursor = conn.cursor()
    cursor.execute("SET search_path = pg_catalog")
    with pytest.raises(psycopg2.errors.UndefinedTable):
        cursor.execute("SELECT * FROM orders")
    conn.rollback()
    cursor.execute("SET search_path = public")
    cursor.execute("SELECT count(*) FROM orders")
    assert cursor.fetchall() == [(len(ORDERS),)]


def test_settings_hold_where_rows_are_gathered(conn: Any) -> None:
    cursor = conn.cursor()
    cursor.execute("SET datestyle = 'German'")
    cursor.execute("SELECT DISTINCT min(placed) OVER ()::text FROM orders")
    assert cursor.fetchall() == [("01.01.2024",)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT customer FROM orders WHERE id = 7",
        "SELECT DISTINCT customer FROM orders",
        "SELECT customer FROM orders ORDER BY id",
        "SELECT customer FROM orders WHERE id IN (6, 7, 8) AND customer > 'f'",
        "SELECT min(customer), max(customer) FROM orders",
        "SELECT count(DISTINCT customer) FROM orders",
        "SELECT mode() WITHIN GROUP (ORDER BY customer DESC) FROM orders WHERE id IN (6, 7)",
    ],
)
def test_what_a_transaction_has_written_is_seen_by_every_strategy(conn: Any, sql: str) -> None:
    cursor = conn.cursor()
    cursor.execute(sql)
    before = cursor.fetchall()
    cursor.execute("UPDATE orders SET customer = 'zzz' WHERE id = 7")
    cursor.execute(sql)
    assert cursor.fetchall() != before


@pytest.mark.parametrize("strategy", ["route", "concatenate", "merge", "combine", "gather"])
def test_named_cursors_work_with_every_strategy(conn: Any, strategy: str) -> None:
    (sql,) = (sql for sql, outcome in KINDS["SELECT, VALUES, TABLE, WITH"][:6]
              if outcome == strategy)  # fmt: skip
    plain, named = conn.cursor(), conn.cursor("streamed")
    plain.execute(sql)
    named.execute(sql)
    assert sorted(map(repr, named)) == sorted(map(repr, plain))


def test_limits_raise_the_codes_that_the_page_names(conn: Any) -> None:
    def code_of(sql: str) -> str | None:
        with pytest.raises(greenshard.NotSupportedError) as raised:
            conn.cursor().execute(sql)
        return raised.value.code

    gathered = "SELECT mode() WITHIN GROUP (ORDER BY customer) FROM orders"
    conn.gather_limit = len(ORDERS) - 1
    assert code_of(gathered) == "GS405"
    conn.allow_gather = False
    assert code_of(gathered) == "GS407"
    conn.allow_scatter = False
    assert code_of("SELECT * FROM orders") == "GS406"
    assert code_of("UPDATE orders SET amount = 0") == "GS406"
    for sql in (
        "SELECT * FROM orders WHERE id = 7",
        "SELECT * FROM products",
        "UPDATE products SET price = 0",
        "SET work_mem = '5MB'",
        "CREATE TABLE more (n int)",
    ):
        conn.cursor().execute(sql)


def test_limits_are_arguments_of_connect(shop: Shop) -> None:
    limits = {"allow_scatter": False, "allow_gather": False, "gather_limit": 7}
    with closing(greenshard.connect(shop.path, **limits)) as conn:
        assert {name: getattr(conn, name) for name in limits} == limits


def test_a_refusal_tells_each_strategys_reason(conn: Any) -> None:
    with pytest.raises(greenshard.NotSupportedError) as raised:
        conn.cursor().execute("SELECT id FROM orders ORDER BY amount LIMIT 1 FOR UPDATE")
    strategies = [refusal.strategy for refusal in raised.value.refusals]
    assert strategies == ["route", "reference", "concatenate", "merge", "combine", "gather"]
    assert raised.value.hint


def test_sequences_count_on_the_first_shard(conn: Any) -> None:
    cursor = conn.cursor()
    cursor.execute("CREATE SEQUENCE numbers")
    cursor.execute("ALTER TABLE items ADD COLUMN number int")
    with pytest.raises(greenshard.NotSupportedError, match="filled with the numbers of a sequence"):
        cursor.execute("ALTER TABLE items ADD COLUMN other int GENERATED ALWAYS AS IDENTITY")
    cursor.execute("UPDATE items SET number = 0")
    cursor.execute("ALTER TABLE items ALTER number SET DEFAULT nextval('numbers')")
