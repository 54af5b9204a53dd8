"""Key values to shards, when a statement runs."""

from __future__ import annotations

import datetime as dt
import re
import sys
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from greenshard.planner.plan import Constant, Pin, Value
from greenshard.sql.parameters import Written
from greenshard.sql.text import Computed
from greenshard.sql.types import FAMILIES, Trait, by_family, names_with, read

#: Casts that leave a key's value as it is, if the key is of the same family.
CASTS = {name: FAMILIES[name] for name in names_with(Trait.CAST_KEEPS)}

#: ASCII: PostgreSQL does not take the digits of other scripts for numbers, but Python's \d and
#: int() do.
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,20}\s*", re.ASCII)
_HEX = re.compile(r"\\x((?:[0-9a-f]{2})*)", re.ASCII | re.IGNORECASE)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-5][0-9]:[0-5][0-9])(?:\.([0-9]{1,6}))?"
    r"([+-][0-9]{2}(?::?[0-5][0-9])?)?",
    re.ASCII,
)
_LIMIT = re.compile(r"\(([0-9]+)\)")
_UNLIMITED = sys.maxsize
_INT8 = range(-(2**63), 2**63)


class Unplaceable(Exception):
    """The value may be any shard's."""


def named_shards(pins: Iterable[Pin], shards: tuple[str, ...], given: Any) -> frozenset[str] | None:
    """The shards that `pins` name with these parameters; None: any shard may be meant.

    Args:
        pins: Of a plan.
        shards: All shards, in order.
        given: The user's parameters; whatever they are, psycopg2 has adapted them already.

    Cost: 2 to 5 us for one integer. Of a long list, only until all shards are named.
    """
    found: set[str] = set()
    try:
        for pin in pins:
            for value in pin.values:
                for shard in _shards_of(value, pin, shards, given):
                    found.add(shard)
                    # IN with a million keys: more of them cannot change the answer.
                    if len(found) == len(shards):
                        return frozenset(found)
    except Unplaceable:
        return None
    return frozenset(found)


def homes(pin: Pin, shards: tuple[str, ...], given: Any) -> frozenset[str | None]:
    """The shards on which rows with a pin's keys belong; None where the placement does not tell.

    Args:
        pin: Of rows that are written.
        shards: All shards, in order.
        given: The user's parameters.

    Raises:
        Unplaceable: A key is not certain.
        LookupError, TypeError: A parameter is not there.
    """
    return frozenset(home(value, pin, shards, given) for value in pin.values)


def home(
    value: Value | Computed,
    pin: Pin,
    shards: tuple[str, ...],
    given: Any,
    computed: Sequence[Any] = (),
) -> str | None:
    """The shard on which a row with a key belongs; None where the placement does not tell.

    Args:
        value: The key.
        pin: Of the rows that are written.
        shards: All shards, in order.
        given: The user's parameters.
        computed: What servers have computed.

    Raises:
        Unplaceable: The key is not certain.
        LookupError, TypeError: A parameter is not there.
    """
    argument = key_argument(value, given, computed)
    key = None if argument is None else _stored(argument, pin)
    return pin.placement.shards_for(key, pin.type_name, shards)


def key_argument(value: Value | Computed, given: Any, computed: Sequence[Any] = ()) -> Any:
    """What is given for a row's key; arguments and errors as of `home`."""
    if isinstance(value, Computed):
        return computed[value.number]
    if isinstance(value, Constant):
        return value.value
    argument = given[value.source]
    if value.item is None:
        return argument
    if type(argument) not in (list, tuple):
        raise Unplaceable
    return _item(argument, value.item)


def _stored(value: Any, pin: Pin) -> Any:
    """The key of a row that is written with a value, not None."""
    key = key_value(value, pin.type_name)
    if is_changed(key, pin.type_name, pin.kept):
        raise Unplaceable
    return key


def _shards_of(value: Value, pin: Pin, shards: tuple[str, ...], given: Any) -> Iterable[str]:
    if isinstance(value, Constant):
        return _shard_of(value.value, pin, shards)
    argument = given[value.source]
    if not value.several and value.item is None:
        return _shard_of(argument, pin, shards)
    if type(argument) not in (list, tuple):
        raise Unplaceable
    if value.item is not None:
        return _shard_of(_item(argument, value.item), pin, shards)
    return (shard for each in argument for shard in _shard_of(each, pin, shards))


def _item(argument: Sequence[Any], at: int) -> Any:
    if at >= len(argument):
        raise Unplaceable  # the server says that a value is missing
    return argument[at]


def _shard_of(value: Any, pin: Pin, shards: tuple[str, ...]) -> Sequence[str]:
    """The shard of a key's value; none for NULL, unless it is inserted."""
    if value is None:
        return (_placed(None, pin, shards),) if pin.inserts else ()
    key = _stored(value, pin) if pin.inserts else key_value(value, pin.type_name)
    return (_placed(key, pin, shards),)


def key_value(value: Any, type_name: str) -> Any:
    """A value as a placement takes it.

    Args:
        value: Of the text or a parameter, not None.
        type_name: The key's type.

    Raises:
        Unplaceable: It is not certain which value of that type it is.
    """
    if type(value) is Written:
        # '5'::text compared with an int key is an error in PostgreSQL, not key 5.
        if value.cast is not None and CASTS.get(value.cast, "") != CASTS.get(type_name):
            raise Unplaceable
        value = value.value
    convert = _CONVERSIONS.get(type_name)
    if convert is None:
        raise Unplaceable
    return convert(value)


def kept_by(type_sql: str) -> int:
    """How many letters of a text, or digits of a second, a column keeps for certain.

    Args:
        type_sql: See `Column.type_sql`.

    >>> kept_by("timestamp(3) without time zone"), kept_by("public.some_domain")
    (3, 0)
    """
    # A domain, say, whose base type's modifier is not in its name.
    if read(type_sql) is None:
        return 0
    limit = _LIMIT.search(type_sql)
    return _UNLIMITED if limit is None else int(limit[1])


def is_changed(value: Any, type_name: str, kept: int) -> bool:
    """Whether a column may store less than the `key_value` that it is given.

    varchar(3) cuts blanks off that are too many, timestamp(0) rounds.

    Args:
        value: Not None.
        type_name: The key's type.
        kept: See `kept_by`.
    """
    if type_name == "varchar":
        text = _text(value)
        return len(text) > kept and text.endswith(" ")
    return isinstance(value, dt.datetime) and value.microsecond % 10 ** max(0, 6 - kept) > 0


def _placed(value: Any, pin: Pin, shards: tuple[str, ...]) -> str:
    shard = pin.placement.shards_for(value, pin.type_name, shards)
    if shard is None:
        raise Unplaceable
    return shard


def _integer(value: Any) -> int:
    if type(value) is str and _INTEGER.fullmatch(value):
        value = int(value)
    # type(), for True is an int to Python and a boolean to PostgreSQL.
    if type(value) is not int or value not in _INT8:
        raise Unplaceable
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise Unplaceable
    return value


def _uuid(value: Any) -> uuid.UUID:
    if type(value) is uuid.UUID:
        return value
    try:
        return uuid.UUID(_text(value))
    except ValueError:
        raise Unplaceable from None


def _bytes(value: Any) -> bytes:
    if type(value) is str and (digits := _HEX.fullmatch(value)):
        return bytes.fromhex(digits[1])
    if type(value) not in (bytes, bytearray, memoryview):
        raise Unplaceable
    return bytes(value)


def _date(value: Any) -> dt.date:
    if type(value) is str and _DATE.fullmatch(value):
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            raise Unplaceable from None
    # A datetime is a date to Python; compared with one, PostgreSQL counts its time, too.
    if type(value) is not dt.date:
        raise Unplaceable
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise Unplaceable
    return value


def _moment(aware: bool) -> Callable[[Any], dt.datetime]:
    """A timestamp, with or without a time zone as the key has it: else the session's counts."""

    def convert(value: Any) -> dt.datetime:
        if type(value) is str:
            value = _read_moment(value)
        # With a zone against a timestamp without, or the other way round: TimeZone of the session
        # decides what is equal.
        if type(value) is not dt.datetime or (value.tzinfo is not None) is not aware:
            raise Unplaceable
        return value

    return convert


def _read_moment(text: str) -> dt.datetime:
    """A timestamp in ISO form, which means the same whatever the session's DateStyle."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise Unplaceable
    date, time, fraction, offset = match.groups()
    zone = "" if offset is None else f"{offset[:3]}:{offset[-2:] if len(offset) > 3 else '00'}"
    try:
        return dt.datetime.fromisoformat(f"{date} {time}.{(fraction or '').ljust(6, '0')}{zone}")
    except ValueError:
        raise Unplaceable from None


_CONVERSIONS: dict[str, Callable[[Any], Any]] = by_family(
    {
        **dict.fromkeys(("int", "oid"), _integer),
        **dict.fromkeys(("text", "bpchar"), _text),
        "uuid": _uuid,
        "bytea": _bytes,
        "bool": _bool,
        "date": _date,
        "timestamp": _moment(False),
        "timestamptz": _moment(True),
    }
)
