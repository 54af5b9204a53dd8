"""Key values to shards, when a statement runs."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from greenshard.planner.plan import Constant, Pin, Value

_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,20}\s*", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_INT8 = range(-(2**63), 2**63)


class _Unplaceable(Exception):
    """The value may be any shard's."""


def named_shards(pins: Iterable[Pin], shards: tuple[str, ...], given: Any) -> frozenset[str] | None:
    """The shards that `pins` name with these parameters; None: any shard may be meant.

    Args:
        pins: Of a plan.
        shards: All shards, in order.
        given: The user's parameters; whatever they are, psycopg2 has adapted them already.

    Cost: 2 to 5 us for one integer.
    """
    found: set[str] = set()
    try:
        for pin in pins:
            for value in pin.values:
                found.update(_shards_of(value, pin, shards, given))
    except _Unplaceable:
        return None
    return frozenset(found)


def _shards_of(value: Value, pin: Pin, shards: tuple[str, ...], given: Any) -> Iterable[str]:
    if isinstance(value, Constant):
        return _shard_of(value.value, pin, shards)
    argument = given[value.source]
    if not value.several and value.item is None:
        return _shard_of(argument, pin, shards)
    if type(argument) not in (list, tuple):
        raise _Unplaceable
    if value.item is not None:
        return _shard_of(_item(argument, value.item), pin, shards)
    return [shard for each in argument for shard in _shard_of(each, pin, shards)]


def _item(argument: Sequence[Any], at: int) -> Any:
    if at >= len(argument):
        raise _Unplaceable  # the server says that a value is missing
    return argument[at]


def _shard_of(value: Any, pin: Pin, shards: tuple[str, ...]) -> Sequence[str]:
    """The shard of a key's value; none for NULL, unless it is inserted."""
    if value is None:
        return (_placed(None, pin, shards),) if pin.inserts else ()
    convert = _CONVERSIONS.get(pin.type_name)
    if convert is None or (pin.inserts and is_changed(value, pin.type_name)):
        raise _Unplaceable
    return (_placed(convert(value), pin, shards),)


def is_changed(value: Any, type_name: str) -> bool:
    """Whether a column may store less than it is given.

    varchar(3) cuts blanks off that are too many, timestamp(0) rounds.
    """
    if type_name == "varchar":
        return isinstance(value, str) and value.endswith(" ")
    return isinstance(value, dt.datetime) and value.microsecond > 0


def _placed(value: Any, pin: Pin, shards: tuple[str, ...]) -> str:
    shard = pin.placement.shards_for(value, pin.type_name, shards)
    if shard is None:
        raise _Unplaceable
    return shard


def _integer(value: Any) -> int:
    if type(value) is str and _INTEGER.fullmatch(value):
        value = int(value)
    if type(value) is not int or value not in _INT8:
        raise _Unplaceable
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _Unplaceable
    return value


def _uuid(value: Any) -> uuid.UUID:
    if type(value) is uuid.UUID:
        return value
    try:
        return uuid.UUID(_text(value))
    except ValueError:
        raise _Unplaceable from None


def _bytes(value: Any) -> bytes:
    if type(value) not in (bytes, bytearray, memoryview):
        raise _Unplaceable
    return bytes(value)


def _date(value: Any) -> dt.date:
    if type(value) is str and _DATE.fullmatch(value):
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            raise _Unplaceable from None
    if type(value) is not dt.date:
        raise _Unplaceable
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise _Unplaceable
    return value


def _moment(aware: bool) -> Callable[[Any], dt.datetime]:
    """A timestamp, with or without a time zone as the key has it: else the session's counts."""

    def convert(value: Any) -> dt.datetime:
        if type(value) is not dt.datetime or (value.tzinfo is not None) is not aware:
            raise _Unplaceable
        return value

    return convert


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), _integer),
    **dict.fromkeys(("text", "varchar", "bpchar"), _text),
    "uuid": _uuid,
    "bytea": _bytes,
    "bool": _bool,
    "date": _date,
    "timestamp": _moment(False),
    "timestamptz": _moment(True),
}
