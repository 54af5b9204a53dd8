"""Values of each kind: the same few for rows and for conditions, so that conditions hold often."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from decimal import Decimal
from random import Random

#: The ids of accounts; most entries belong to the first three.
ACCOUNTS = [1, 2, 3, 0, -7, 4, 5, 6, 8, 13, 21, 1000, 2**31 - 1, *range(40, 64)]
#: They fit into a bigint only.
BIG_ACCOUNTS = [2**31, 2**40 + 5, -(2**33)]
REGIONS = [1, 2, 3, 4, 5, 6, 7]
CURRENCIES = ["EUR", "USD", "chf", "Ægg", "jpy"]
DEVICES = ["", "a1", "A1", "b2", "é3", "zz", "x-9", "pump", "Pump", "fan", "FAN", "Øl", "q", "lamp"]
#: Days, and moments of which some are their beginnings.
DAYS = [dt.date(2020, 1, day) for day in range(1, 13)]
MOMENTS = [dt.datetime(2020, 1, day, hour) for day in range(1, 10) for hour in (0, 0, 7)]  # noqa: DTZ001
TAGS = [str(uuid.UUID(int=number * 2**120 + 99)) for number in (1, 7, 9, 128, 255)]

_FIXED = ["0.00", "-12.50", "0.01", "3.10", "99.99", "1000.00", "20.00"]
_NUMERICS = ["0", "0.0", "1", "1.0", "1.00", "-2.5", "-2.50", "3.14159", "20", "20.0", "NaN"]
_FAR_NUMERICS = ["0.000000000000000000001", "123456789012345678901234567890.5"]
_LETTERS = ["", " ", "a", "A", "b", "B", "é", "É", "e", "ß", "日本", "a-b", "ab", "a b"]
_WORDS = ["Zoë", "zoe", "ångström", "Ångström", "apple", "Apple"]
_ODD_WORDS = ["o'neil", "50%", "back\\slash", "NULL", "10"]
_DOCUMENTS = ['{"a": 1, "n": 1.50}', '{"a": 1, "n": 1.5, "t": "x"}', '{"t": "É", "n": null}']
_DATES = [dt.date(2020, 1, 1), dt.date(2020, 2, 29), dt.date(1999, 12, 31), dt.date(2010, 6, 15)]
_MOMENTS = [
    dt.datetime(2020, 1, 1),  # noqa: DTZ001  # a timestamp without a zone
    dt.datetime(2020, 2, 29, 12, 30, 0, 250000),  # noqa: DTZ001
    dt.datetime(1999, 12, 31, 23, 59, 59),  # noqa: DTZ001
    dt.datetime(2021, 7, 4, 6),  # noqa: DTZ001
]
_INDIA = dt.timezone(dt.timedelta(hours=5, minutes=30))
_ZONED = [moment.replace(tzinfo=zone) for moment in _MOMENTS for zone in (dt.timezone.utc, _INDIA)]
_SPANS = [dt.timedelta(days=30), dt.timedelta(hours=36), dt.timedelta(seconds=-90, microseconds=5)]

CONSTANTS: dict[str, list[object]] = {
    "int": [-3, -1, 0, 1, 2, 3, 5, 7, 12, 100],
    "big": [*ACCOUNTS, *BIG_ACCOUNTS],
    "fix": [*map(Decimal, _FIXED)],
    "num": [*map(Decimal, [*_NUMERICS, *_FAR_NUMERICS])],
    # Sums of these are exact in any order.
    "float": [0.0, 0.5, -1.25, 3.0, 3 + 2**-16, 1024.0, 0.5, 3.0, math.nan, math.inf, -math.inf],
    "text": [*_LETTERS, *_WORDS, *_ODD_WORDS],
    "char": ["", "ab", "AB", "é", "abcde"],
    "date": [*_DATES, "infinity", "-infinity"],
    "ts": list(_MOMENTS),
    "tstz": [*_ZONED, "infinity"],
    "iv": [*_SPANS, "1 month", "30 days", "1 year 2 days", "24:00:00"],
    "mood": ["sad", "ok", "happy", "Angry"],
    "bool": [True, False],
    "uuid": list(TAGS),
    "bytea": [b"", b"\x00\xff", b"abc", "é".encode(), b"\\"],
    "jsonb": [*_DOCUMENTS, '["a", 1]', "null", '"x"', "{}", "1.0"],
    "iarr": [[], [1], [1, 2, 2], [None, 7], [3, -1]],
    "tarr": [[], ["a"], ["é", 'q"t', "NULL"], [None, "{}"], ["Apple", "a"]],
    "grid": [[[1, 2], [3, 4]], [[1, None]], []],
    "ci": ["a", "A", "b", "ab", "aB", "AB", "", "É", "x"],
    "words": [*_LETTERS, *_WORDS],
    "range": ["empty", "[2020-01-01 00:00+00, 2020-07-01 12:30+05:30)", "(, 2021-01-01 00:00+00]"],
    "floats": [[], [0.1, 1 / 3], [2 / 3, None], [1e-7, 16777216.0]],
}


def constant(pick: Random, kind: str) -> object:
    return pick.choice(CONSTANTS[kind])


def literal(value: object) -> str:
    """A value as SQL writes it, without a cast."""
    if value is None or isinstance(value, bool | int):
        return "NULL" if value is None else str(value)
    if isinstance(value, Decimal):
        return f"{value:f}" if value.is_finite() else f"'{value}'"
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'"
    if isinstance(value, list):
        return quoted(array(value))
    if isinstance(value, dt.timedelta):
        return f"'{value.days} days {value.seconds}.{value.microseconds:06} seconds'"
    return quoted(str(value))


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def array(value: object) -> str:
    """A list as PostgreSQL's array text."""
    if isinstance(value, list):
        return "{" + ",".join(array(item) for item in value) + "}"
    if value is None:
        return "NULL"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
