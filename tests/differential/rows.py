"""Random rows for the tables of `schema`, and how they get into a database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random

from tests.differential import schema, values
from tests.differential.schema import Field, Table

NULL_SHARE = 0.15
Row = tuple[object, ...]


def make(pick: Random) -> dict[str, list[Row]]:
    """The rows of every table, by its name: small, skewed, with keys that others do not have."""
    accounts = [*values.ACCOUNTS, *values.BIG_ACCOUNTS]
    present = pick.sample(accounts, len(accounts) - 6)
    busy = pick.choices(accounts[:3], k=45) + pick.choices(accounts, k=45)
    return {
        "account": rows(pick, schema.ACCOUNT, {"id": present, "boss": _bosses(pick, present)}),
        "entry": rows(pick, schema.ENTRY, {"account_id": busy, "no": range(1, len(busy) + 1)}),
        "visit": rows(pick, schema.VISIT, {"id": range(1, 41), "account_id": _visitors(pick)}),
        "device": rows(pick, schema.DEVICE, {"serial": values.DEVICES}),
        "region": rows(
            pick, schema.REGION, {"id": values.REGIONS, "parent": [None, 1, 1, 2, None, 4, 4]}
        ),
        "stock.currency": rows(pick, schema.CURRENCY, {"code": values.CURRENCIES}),
        '"Odd Table"': rows(pick, schema.ODD, {'"Id"': [0, 1, 2, 3, 9]}),
        "badge": rows(pick, schema.BADGE, _numbered("account_id", pick.choices(accounts, k=40))),
        "shift": rows(pick, schema.SHIFT, _numbered("day", pick.choices(values.DAYS, k=30))),
        "alarm": rows(pick, schema.ALARM, _numbered("moment", pick.choices(values.MOMENTS, k=30))),
        "rule": rows(pick, schema.RULE, {"kind": [1, 2, 3] * 3, "no": [1, 2, 3, 2, 3, 1, 3, 1, 2]}),
        "remark": rows(pick, schema.REMARK, {"region": [*values.REGIONS, 1]}),
    }


def _numbered(name: str, keys: list[object]) -> dict[str, Iterable[object]]:
    """A key of each row, which rows may share, and the number of the row."""
    return {name: keys, "no": range(1, len(keys) + 1)}


def _bosses(pick: Random, accounts: Sequence[int]) -> list[int | None]:
    """An account listed earlier, so that following bosses ends; or one that is not there."""
    return [
        None if place < 3 or pick.random() < 0.2 else pick.choice([*accounts[:place], -99])
        for place in range(len(accounts))
    ]


def _visitors(pick: Random) -> list[int | None]:
    """Accounts that fit into an int4, and NULL: its rows have a shard too."""
    return [None, None, None, *pick.choices(values.ACCOUNTS[:3], k=15)] + [
        pick.choice(values.ACCOUNTS) for _ in range(22)
    ]


_FAMILIES: dict[str, Callable[[Random], object]] = {
    "account": lambda pick: pick.choice([*values.ACCOUNTS, *values.BIG_ACCOUNTS, 77]),
    "region": lambda pick: pick.choice([*values.REGIONS[:5], 1, 11]),
    "currency": lambda pick: pick.choice([*values.CURRENCIES[:4], "EUR", "DEM"]),
    "device": lambda pick: pick.choice([*values.DEVICES, "none"]),
    "tag": lambda pick: pick.choice(values.TAGS),
}


def value(pick: Random, field: Field) -> object:
    if field.nullable and pick.random() < NULL_SHARE:
        return None
    if field.family in _FAMILIES:
        return _FAMILIES[field.family](pick)
    return values.constant(pick, field.kind)


def rows(pick: Random, table: Table, given: dict[str, Iterable[object]]) -> list[Row]:
    """Random rows, of which some columns are given."""
    columns = {name: list(column) for name, column in given.items()}
    count = len(next(iter(columns.values())))
    for field in table.fields:
        columns.setdefault(field.name, [value(pick, field) for _ in range(count)])
    return list(zip(*(columns[field.name] for field in table.fields), strict=True))


def insertion(table: Table, some: Sequence[Row]) -> str:
    """The INSERT of these rows as one text."""
    lines = (", ".join(map(values.literal, row)) for row in some)
    return f"INSERT INTO {table.name} VALUES " + ",\n".join(f"({line})" for line in lines)
