"""Where the rows of a COPY go, by their keys as they are written.

What a key's text means as a value of its column, and so on which shard its row is, is told as for
the literals of an INSERT. What PostgreSQL certainly refuses goes to the first shard, which says so;
what it may read and this cannot is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from greenshard.cluster import Hash
from greenshard.merge.copied_lines import MISSING
from greenshard.planner.plan import Keys
from greenshard.planner.tasks import home_of_value
from greenshard.sql.types import FAMILIES

#: So many keys are remembered; then they are forgotten.
_REMEMBERED = 100_000
_INT8 = 1 << 63
#: What may be an integer in one version of PostgreSQL or another.
_MAY_BE_INTEGER = re.compile(r"\s*[+-]?0?[xXoObB]?[0-9a-fA-F_]+\s*", re.ASCII)
_DIGITS = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001  (PostgreSQL's timestamp has no time zone)
_EPOCH_UTC = datetime(2000, 1, 1, tzinfo=timezone.utc)

#: A key as it is written, or `MISSING`: the value as text (bytes), None for NULL; whether escapes
#: have made bytes of it.
Read = Callable[[bytes], tuple[bytes | None, bool]]


class UntoldKey(Exception):
    """It is not certain what PostgreSQL reads there."""


class Routing:
    """Tells the shards of keys.

    Args:
        keys: Of the rows.
        shards: All shards, in order.
        value_of: What a key that is not NULL is, as a placement takes it, given what is written
            without quotes, and whether escapes have made bytes of it.
        read: Reads what is written; None where it is the value itself.
    """

    def __init__(
        self,
        keys: Keys,
        shards: tuple[str, ...],
        value_of: Callable[[bytes, bool], Any],
        read: Read,
    ) -> None:
        self._keys = keys
        self._shards = shards
        self._numbers = {shard: number for number, shard in enumerate(shards)}
        self._value_of = value_of
        self._read = read
        self._known: dict[object, int] = {}
        hashed = isinstance(keys.pin.placement, Hash)
        self._plain = hashed and FAMILIES.get(keys.pin.type_name) == "int"
        #: How many rows PostgreSQL must refuse.
        self.doomed = 0

    def homes(self, raws: Sequence[object]) -> list[int]:
        """The number of each row's shard.

        Args:
            raws: Their keys as they are written, or `MISSING`.

        Raises:
            UntoldKey: Its argument is the number of the row.
        """
        if self._plain and (found := self._of_digits(raws)) is not None:
            return found
        known, homes = self._known, []
        if len(known) > _REMEMBERED:
            known.clear()
        for number, raw in enumerate(raws):
            home = known.get(raw)
            if home is None:
                try:
                    home = self._home(raw)
                except UntoldKey:
                    raise UntoldKey(number) from None
                if home < 0:
                    self.doomed += 1
                    home = 0
                else:
                    known[raw] = home
            homes.append(home)
        return homes

    def _of_digits(self, raws: Sequence[Any]) -> list[int] | None:
        """Of keys that are all written in digits; None if they are not."""
        if MISSING in raws or not all(raws) or not b"".join(raws).isdigit():
            return None
        numbers = list(map(int, raws))
        if not numbers or max(numbers) >= _INT8:
            return None
        placement: Any = self._keys.pin.placement
        found = placement.shards_of_integers(numbers, self._shards)
        return list(map(self._numbers.__getitem__, found))

    def _home(self, raw: object) -> int:
        """The number of a shard; negative for what PostgreSQL refuses."""
        if raw is MISSING or not isinstance(raw, bytes):
            return -1
        value, escaped = self._read(raw)
        return self.home_of(value, escaped=escaped)

    def home_of(self, value: bytes | None, *, escaped: bool = False) -> int:
        """The number of the shard of a value; negative if PostgreSQL refuses it.

        Raises:
            UntoldKey: It cannot be told.
        """
        try:
            read = None if value is None else self._value_of(value, escaped)
        except UnicodeDecodeError:
            return -1
        found = home_of_value(self._keys, self._shards, read)
        if found is not None:
            return self._numbers[found]
        if isinstance(read, str) and _is_refused(read, FAMILIES.get(self._keys.pin.type_name)):
            return -1
        raise UntoldKey


def _is_refused(text: str, family: str | None) -> bool:
    """Whether PostgreSQL certainly does not take a text for a value of a type."""
    if family == "int":
        # Digits whose number is too large, too: else its shard was told.
        return _DIGITS.fullmatch(text) is not None or _MAY_BE_INTEGER.fullmatch(text) is None
    # Python reads more kinds of them than PostgreSQL does.
    return family == "uuid"


def text_value(codec: str, *, exact: bool) -> Callable[[bytes, bool], str]:
    """What gives the value of a key in COPY's text and CSV.

    Args:
        codec: Python's name of the file's encoding.
        exact: Whether Python's letters of that encoding are PostgreSQL's, and are those of escapes.
    """

    def value_of(written: bytes, escaped: bool) -> str:
        if not exact and (escaped or not written.isascii()):
            raise UntoldKey
        return written.decode(codec)

    return value_of


def binary_value(type_name: str, codec: str, *, exact: bool) -> Callable[[bytes, bool], Any] | None:
    """What gives the value of a key in COPY's binary format; None for types that it is not told of.

    Args:
        type_name: The key's.
        codec, exact: See `text_value`.
    """
    text = text_value(codec, exact=exact)
    sizes = {"int2": 2, "int4": 4, "int8": 8, "oid": 4}

    def sized(written: bytes, size: int) -> bytes:
        if len(written) != size:
            raise UnicodeDecodeError("binary", written, 0, 1, "incorrect binary data format")
        return written

    def day(written: bytes, _: bool) -> date:
        days = int.from_bytes(sized(written, 4), "big", signed=True)
        try:
            return date(2000, 1, 1) + timedelta(days=days)
        except OverflowError:
            raise UntoldKey from None

    def moment(epoch: datetime) -> Callable[[bytes, bool], datetime]:
        def read(written: bytes, _: bool) -> datetime:
            since = int.from_bytes(sized(written, 8), "big", signed=True)
            try:
                return epoch + timedelta(microseconds=since)
            except OverflowError:
                raise UntoldKey from None

        return read

    family = FAMILIES.get(type_name)
    if type_name in sizes:
        size, signed = sizes[type_name], type_name != "oid"
        return lambda written, _: int.from_bytes(sized(written, size), "big", signed=signed)
    found: dict[str | None, Callable[[bytes, bool], Any]] = {
        "text": text,
        "bpchar": text,
        "uuid": lambda written, _: UUID(bytes=sized(written, 16)),
        "bytea": lambda written, _: written,
        "date": day,
        "timestamp": moment(_EPOCH),
        "timestamptz": moment(_EPOCH_UTC),
    }
    return found.get(family)
