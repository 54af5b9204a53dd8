"""Adapters of the program's own: what is sent is not what was given."""

from __future__ import annotations

import contextlib
import datetime as dt
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

from psycopg2.extensions import (
    AsIs,
    DateFromPy,
    ISQLQuote,
    QuotedString,
    TimestampFromPy,
    adapters,
    register_adapter,
)
from psycopg2.extras import Json


class _Text:
    """Text that is changed before it is written."""

    def __init__(self, change: Callable[[str], str], value: str) -> None:
        self._quoted = QuotedString(change(value))

    def prepare(self, conn: Any) -> None:
        self._quoted.prepare(conn)

    def getquoted(self) -> bytes:
        quoted: bytes = self._quoted.getquoted()
        return quoted


def _composed(value: str) -> _Text:
    return _Text(lambda text: unicodedata.normalize("NFC", text), value)


def _upper(value: str) -> _Text:
    return _Text(str.upper, value)


def _cast(value: str) -> Any:
    return AsIs("'" + value.replace("'", "''").replace("\0", "") + "'::text")


def _varchar(value: str) -> Any:
    return AsIs("'" + value.replace("'", "''").replace("\0", "") + "'::varchar")


def _blank_padded(value: str) -> Any:
    return AsIs("'" + value.replace("'", "''").replace("\0", "") + "'::bpchar")


def _milliseconds(value: dt.datetime) -> Any:
    return TimestampFromPy(value.replace(microsecond=value.microsecond // 1000 * 1000))


def _earlier(value: dt.date) -> Any:
    return DateFromPy(value if value == dt.date.min else value - dt.timedelta(days=1))


#: For some types, adapters that write another literal, in other words, or none at all.
ADAPTERS: Mapping[type, tuple[Callable[[Any], Any], ...]] = {
    str: (_composed, _upper, _cast, _varchar, _blank_padded, Json),
    int: (
        lambda v: AsIs(str(v + 1)),
        lambda v: AsIs(f"'{v}'"),
        lambda v: AsIs(f"'{v}'::int8"),
        lambda v: AsIs(f" {v} "),
        lambda v: AsIs(f"({v})"),
        lambda v: AsIs(f"{v}.0"),
        lambda v: AsIs(f"{v // 10}e1"),
        lambda v: QuotedString(f" {v}"),
    ),
    bool: (lambda v: AsIs(f"'{str(v)[0]}'"), lambda v: AsIs(str(not v)), lambda v: AsIs(int(v))),
    bytes: (lambda v: AsIs(f"'\\x{v[::-1].hex()}'::bytea"), lambda v: AsIs(f"'\\x{v.hex()}'")),
    uuid.UUID: (
        lambda v: AsIs(f"'{v.hex.upper()}'"),
        lambda v: AsIs(f"'{{{v}}}'::uuid"),
        lambda v: AsIs(f"'{uuid.UUID(int=v.int ^ 1)}'::uuid"),
        lambda v: AsIs(f"'{v}'::text"),
    ),
    dt.date: (_earlier, lambda v: AsIs(f"'{v:%Y%m%d}'"), lambda v: AsIs(f"'{v}'")),
    dt.datetime: (
        _milliseconds,
        lambda v: AsIs(f"'{v.isoformat()}'"),
        lambda v: AsIs(f"'{v.isoformat(' ', 'seconds')}'::timestamp"),
        lambda v: AsIs(f"'{v.isoformat(' ', 'seconds')}'::timestamptz"),
        lambda v: QuotedString(f"{v:%d.%m.%Y %H:%M:%S}"),
    ),
    list: (Json,),
}


@contextlib.contextmanager
def own_adapters(pick: Random) -> Iterator[dict[type, Any]]:
    """Register adapters for some types; gives them."""
    chosen = {kind: pick.choice(ways) for kind, ways in ADAPTERS.items() if pick.random() < 0.7}
    before = {kind: adapters.get((kind, ISQLQuote)) for kind in chosen}
    for kind, adapter in chosen.items():
        register_adapter(kind, adapter)
    try:
        yield chosen
    finally:
        for kind, adapter in before.items():
            if adapter is None:
                del adapters[kind, ISQLQuote]
            else:
                register_adapter(kind, adapter)
