"""Transactions that write on one server and on the shards, read, and roll back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.differential import rows, schema, values
from tests.differential.referee import Case, Referee
from tests.differential.schema import Table

WRITES = 6
STATEMENTS = 8

#: Keys that no row has yet.
_NEW_KEYS = {
    "account": {"id": [9001, 9002]},
    "entry": {"account_id": [1, 9001], "no": [9001, 9002]},
    "visit": {"id": [9001, 9002], "account_id": [2, 9001]},
    "device": {"serial": ["new 1", "new 2"]},
    "region": {"id": [9001, 9002]},
    "stock.currency": {"code": ["N1", "N2"]},
    '"Odd Table"': {'"Id"': [9001, 9002]},
    "badge": {"account_id": [1, 9001], "no": [9001, 9002]},
    "shift": {"day": [values.DAYS[0], dt.date(2021, 1, 1)], "no": [9001, 9002]},
    "alarm": {"moment": [values.MOMENTS[0], dt.datetime(2021, 1, 1)], "no": [9001, 9002]},  # noqa: DTZ001
    "rule": {"kind": [1, 9001], "no": [9001, 9002]},
    "remark": {"region": [1, 9001]},
}
#: What recursion follows; it has to end.
_CHAINS = ("boss", "parent")


@dataclass(frozen=True)
class Write:
    """One write of rows that are on one shard, or of a reference table.

    Attributes:
        table: Which table.
        key: The shard key of its rows.
        text: The statement.
    """

    table: Table
    key: object
    text: str


def block(referee: Referee, count: int, seed: str) -> Iterator[Case]:
    """Write, run statements on the one server and on a cluster, and roll back.

    Args:
        referee: With the connections.
        count: Of the cluster's shards.
        seed: Of the writes and the statements.
    """
    one, conn = referee.one, referee.clusters[count]
    inside = Referee(seed, one, {count: conn}, referee.types)
    referee.rollback()
    try:
        for write in _writes(Random(seed)):
            _on_one(one, write.text)
            _on_shards(conn, write)
        for number in range(STATEMENTS):
            case = inside.case(number)
            yield case
            # An error has ended the transaction on one side or on both.
            if case.expected.error or any(v.outcome != "equal" for v in case.verdicts):
                return
    finally:
        referee.rollback()


def _writes(pick: Random) -> list[Write]:
    tables = pick.sample(schema.TABLES, 4)
    inserted = [write for table in tables for write in _insertions(pick, table)]
    return [*inserted, *(_change(pick) for _ in range(WRITES))]


def _insertions(pick: Random, table: Table) -> Iterator[Write]:
    given = dict(_NEW_KEYS[table.name])
    if table is schema.REGION:
        given["parent"] = [1, None]
    if table is schema.ACCOUNT:
        given["boss"] = [1, 9001]
    for row in rows.rows(pick, table, given):
        yield Write(table, _key(table, row), rows.insertion(table, [row]))


def _key(table: Table, row: rows.Row) -> object:
    names = [field.name for field in table.fields]
    return row[names.index(table.shard_key)] if table.shard_key else None


def _change(pick: Random) -> Write:
    """An UPDATE or DELETE of the rows with one key."""
    table = pick.choice([schema.ACCOUNT, schema.ENTRY, schema.ENTRY, schema.DEVICE, schema.REGION])
    name = table.shard_key or table.key[0]
    field = next(field for field in table.fields if field.name == name)
    pools = {"account": values.ACCOUNTS[:6], "device": values.DEVICES, "region": values.REGIONS}
    key = pick.choice(pools[field.family])
    condition = f"WHERE {name} = {values.literal(key)}"
    if pick.random() < 0.3:
        return Write(table, key, f"DELETE FROM {table.name} {condition}")
    free = [field for field in table.fields if field.nullable and field.name not in _CHAINS]
    other = pick.choice(free)
    value = values.literal(rows.value(pick, other))
    return Write(table, key, f"UPDATE {table.name} SET {other.name} = {value} {condition}")


def _on_one(conn: Any, text: str) -> None:
    with conn.cursor() as cur:
        cur.execute(text)


def _on_shards(conn: Any, write: Write) -> None:
    if write.table.shard_key is None:
        scope = conn.broadcast()
    else:
        scope = conn.on(key=write.key, table=write.table.name)
    with scope, conn.cursor() as cur:
        cur.execute(write.text)
