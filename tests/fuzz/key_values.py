"""Values that a program may give for a shard key of each type, and how it may write them."""

# ruff: noqa: DTZ001, DTZ901  # PostgreSQL's timestamp has no time zone

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Callable, Mapping
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
from psycopg2.extensions import AsIs
from psycopg2.extras import Json


class Number(enum.IntEnum):
    ONE = 1
    SEVEN = 7


class Word(str):
    __slots__ = ()


class Count(int):
    pass


_LETTERS = ("a", "Z", "é", "e\u0301", "ß", "İ", "\U0001f600", "\u200b", "\u00a0", "ﬁ", "Å", "中")
_MARKS = ("'", '"', "\\", "%", "$1", "$$", "--", "/*", ";", "\n", "\t", " ", "  ", "\x7f", "{", ",")
_ZONES = (
    dt.timezone.utc,
    dt.timezone(dt.timedelta(hours=14)),
    dt.timezone(dt.timedelta(hours=-11, minutes=-30)),
    dt.timezone(dt.timedelta(minutes=19, seconds=32)),
    ZoneInfo("Europe/Berlin"),
    ZoneInfo("America/New_York"),
)


def integer(pick: Random) -> int:
    bits = pick.choice((4, 8, 15, 16, 31, 32, 33, 62, 63, 64, 70))
    edge = 2**bits + pick.choice((-1, 0, 1))
    return pick.choice((-1, 1)) * pick.choice((edge, pick.randrange(2**bits), pick.randrange(12)))


def text(pick: Random) -> str:
    parts = [pick.choice(_LETTERS + _MARKS) for _ in range(pick.choice((0, 1, 2, 3, 5, 12, 40)))]
    return "".join(parts) + pick.choice(("", "", " ", "   ", "\0" if pick.random() < 0.1 else ""))


def moment(pick: Random) -> dt.datetime:
    edges = (dt.datetime.min, dt.datetime.max, dt.datetime(2000, 1, 1), dt.datetime(1969, 12, 31))
    made = dt.datetime(
        *(pick.randrange(1, 9999), pick.randrange(1, 13), pick.randrange(1, 29)),
        *(pick.randrange(24), pick.randrange(60), pick.randrange(60), pick.randrange(10**6)),
        fold=pick.randrange(2),
    )
    made = pick.choice(
        (*edges, made, made.replace(microsecond=0), dt.datetime(2021, 10, 31, 2, 30))
    )
    return made.replace(tzinfo=pick.choice(_ZONES)) if pick.random() < 0.4 else made


def _uuid(pick: Random) -> uuid.UUID:
    return pick.choice((uuid.UUID(int=pick.getrandbits(128)), uuid.UUID(int=0), uuid.UUID(int=7)))


def _strange(pick: Random) -> Any:
    """A value of any type."""
    number = integer(pick)
    return pick.choice(
        (
            *(None, True, False, number, text(pick), moment(pick), moment(pick).date()),
            *(float(number), -0.0, float("nan"), float("inf"), 7.0, 0.1, moment(pick).time()),
            *(decimal.Decimal(x) for x in ("NaN", "7.0", "-0", "1e3", "Infinity", str(number))),
            *(Number.SEVEN, Word("7"), Count(7), Word(text(pick)), dt.timedelta(days=1)),
            *(
                text(pick).encode(),
                bytearray(b"\0\xff"),
                memoryview(b"ab"),
                psycopg2.Binary(b"a\\"),
            ),
            *(_uuid(pick), AsIs("7"), AsIs("'7'"), Json(7), Json("x"), [], [7], (7,), "\ud800", {}),
        )
    )


def _written(pick: Random, value: Any) -> str:
    """A value as text, in one of the ways that a server may read."""
    plain = str(value)
    return pick.choice(
        (
            *(
                plain,
                f" {plain}",
                f"{plain} ",
                f"+{plain}",
                f"0{plain}",
                f"{plain}.0",
                plain.upper(),
            ),
            *(f"{{{plain}}}", plain.replace("-", ""), f"{plain} BC", f"{plain}Z", f"{plain}+02"),
            *(
                "infinity",
                "-infinity",
                " Infinity",
                "epoch",
                "t",
                "yes",
                "off",
                "1",
                "0x7",
                "1_0",
                "",
            ),
            *("5874897-12-31", "4714-11-24 BC", "294276-12-31 23:59:59.999999", "01/02/2020", "-0"),
            *("2020-1-2", "20200102", "2020-01-02T03:04:05", "J2451545", "2020-02-30", "24:00:00"),
            *(
                "\\x0061",
                "\\001",
                "x\\'y",
                "2020-01-02 24:00",
                "2020-01-02 03:04:05.0000005",
                "7e0",
            ),
        )
    )


_BASE: Mapping[str, Callable[[Random], Any]] = {
    "integer": integer,
    "text": text,
    "uuid": _uuid,
    "bytes": lambda pick: bytes(pick.randrange(256) for _ in range(pick.choice((0, 1, 3, 20)))),
    "bool": lambda pick: pick.random() < 0.5,
    "date": lambda pick: moment(pick).date(),
    "naive": lambda pick: moment(pick).replace(tzinfo=None),
    "aware": lambda pick: moment(pick).replace(tzinfo=pick.choice(_ZONES)),
    "number": lambda pick: decimal.Decimal(integer(pick)).scaleb(-pick.randrange(3)),
}

#: The types of the keys, and what their values are.
TYPES: Mapping[str, str] = {
    "int2": "integer",
    "int4": "integer",
    "int8": "integer",
    "oid": "integer",
    "text": "text",
    "varchar": "text",
    "varchar(3)": "text",
    "char(4)": "text",
    "name": "text",
    'text COLLATE "C"': "text",
    "char": "text",
    '"char"': "text",
    "uuid": "uuid",
    "bytea": "bytes",
    "bool": "bool",
    "date": "date",
    "timestamp": "naive",
    "timestamp(0)": "naive",
    "timestamptz": "aware",
    "timestamptz(3)": "aware",
    "whole": "integer",
    "words": "text",
    "numeric": "number",
    "float8": "number",
    "time": "naive",
    "interval": "text",
    "inet": "text",
}


def value(pick: Random, type_name: str) -> Any:
    """A value for a key: of its type mostly, as text, or of any type."""
    made = _BASE[TYPES[type_name]](pick)
    roll = pick.random()
    if isinstance(made, int) and roll < 0.5:
        made %= 50
    if roll < 0.7:
        return made
    return _written(pick, made) if roll < 0.9 else _strange(pick)


def own(pick: Random, type_name: str) -> Any:
    """A value of the key's type, most likely."""
    return _BASE[TYPES[type_name]](pick)
