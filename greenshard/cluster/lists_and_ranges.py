"""Placement by the values of the keys themselves: listed, or in ranges."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from itertools import pairwise
from typing import Any
from uuid import UUID

from greenshard.cluster.mistakes import kind, shown
from greenshard.cluster.placement import Mistake, Placement, unknown_shards
from greenshard.cluster.slots import is_int
from greenshard.sql.types import Trait, by_family, names_with


@dataclass(frozen=True)
class List(Placement):
    """Each key value listed with its shard.

    Attributes:
        shard_of: The shard of each value; of NULL, if None is among them.
        default: The shard of every other value; None if there are no others.

    >>> List({"de": "s0", "fr": "s1"}).shards_for("fr", "text", ("s0", "s1"))
    's1'
    """

    shard_of: Mapping[Any, str] = field(hash=False)
    default: str | None = None

    @cached_property
    def _shards(self) -> Mapping[Any, str]:
        return {_comparable(value, ""): shard for value, shard in self.shard_of.items()}

    def shards_for(self, value: Any, type_name: str, shards: tuple[str, ...]) -> str | None:
        try:
            # A value that is equal in Python is equal in PostgreSQL: the types of keys were
            # checked.
            return self._shards.get(_comparable(value, type_name), self.default)
        except TypeError:  # it has no hash
            return None

    def mistakes(self, shards: Sequence[str]) -> Iterator[Mistake]:
        shard_of: Any = self.shard_of
        if not isinstance(shard_of, Mapping):
            yield "", f"must be a mapping of values to shards, not {kind(shard_of)}"
            return
        if not self.shard_of and self.default is None:
            yield "", "no values are listed"
        yield from unknown_shards("", self.shard_of.values(), shards)
        yield from unknown_default(self.default, shards)

    def objection(self, type_name: str) -> str | None:
        return _strange_values(self.shard_of, type_name)


@dataclass(frozen=True)
class Range(Placement):
    """Ranges of key values in ascending order, as PostgreSQL's ``FROM ... TO``: without the end.

    Text is compared by code point, which is the order of the "C" collation.

    Attributes:
        bounds: Pairs of an upper bound, itself not in the range, and a shard. A range begins
            where the one before it ends.
        default: The shard of values from the last bound on, and of NULL; None if there are none.

    >>> Range([(1000, "s0"), (2000, "s1")]).shards_for(1000, "int4", ("s0", "s1"))
    's1'
    """

    bounds: Sequence[tuple[Any, str]]
    default: str | None = None

    def __post_init__(self) -> None:
        # So that a list and a tuple of the same bounds are equal, and can be hashed.
        given: Any = self.bounds
        if isinstance(given, (list, tuple)):
            bounds = tuple(tuple(bound) if isinstance(bound, list) else bound for bound in given)
            object.__setattr__(self, "bounds", bounds)

    @cached_property
    def _uppers(self) -> list[Any]:
        return [_comparable(upper, "") for upper, _ in self.bounds]

    def shards_for(self, value: Any, type_name: str, shards: tuple[str, ...]) -> str | None:
        if value is None:
            return self.default
        try:
            at = self._position(value, type_name)
        except TypeError:
            return None
        return self.bounds[at][1] if at < len(self.bounds) else self.default

    def _position(self, value: Any, type_name: str) -> int:
        """Which range a value is in."""
        if type_name in _ENDLESS and value in _INFINITIES:
            # Before all bounds, or behind them.
            return _INFINITIES.index(value) * len(self.bounds)
        return bisect_right(self._uppers, _comparable(value, type_name))

    def mistakes(self, shards: Sequence[str]) -> Iterator[Mistake]:
        bounds: Any = self.bounds
        if not isinstance(bounds, tuple) or any(not _is_pair(bound) for bound in bounds):
            yield "bounds", "must be pairs of an upper bound and a shard"
            return
        if not bounds:
            yield "bounds", "there are none"
        try:
            if any(not low < high for low, high in pairwise(self._uppers)):
                yield "bounds", "must be in ascending order"
        except TypeError:
            yield "bounds", "are of types that cannot be compared"
        yield from unknown_shards("bounds", [shard for _, shard in bounds], shards)
        yield from unknown_default(self.default, shards)

    def objection(self, type_name: str) -> str | None:
        return _strange_values([upper for upper, _ in self.bounds], type_name)


def unknown_default(default: object, shards: Sequence[str]) -> Iterator[Mistake]:
    """The mistake of a default that is no shard."""
    if default is not None:
        yield from unknown_shards("default", [default], shards)


_ENDLESS = names_with(Trait.CALENDAR)
_INFINITIES = ("-infinity", "infinity")


def _is_pair(bound: object) -> bool:
    return isinstance(bound, tuple) and len(bound) == 2


def _comparable(value: Any, type_name: str) -> Any:
    """A key as it is compared: uuids as their text, which has their order, and blanks cut off."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    return value.rstrip(" ") if type_name == "bpchar" and isinstance(value, str) else value


def _strange_values(values: Iterable[Any], type_name: str) -> str | None:
    fits = _FITS.get(type_name)
    if fits is None:
        return None
    strange = next((v for v in values if v is not None and not fits(v)), None)
    return None if strange is None else f"the placement's value {shown(strange)} is no {type_name}"


def _is_uuid(value: Any) -> bool:
    if not isinstance(value, str):
        return isinstance(value, UUID)
    try:
        # Only in the form that `_comparable` makes of a UUID: others would never be found.
        return str(UUID(value)) == value
    except ValueError:
        return False


def _is_moment(value: Any, *, aware: bool) -> bool:
    return isinstance(value, datetime) and (value.utcoffset() is not None) == aware


_FITS: Mapping[str, Callable[[Any], bool]] = by_family(
    {
        **dict.fromkeys(("int", "oid"), is_int),
        "text": lambda value: isinstance(value, str),
        "bpchar": lambda value: isinstance(value, str) and not value.endswith(" "),
        "uuid": _is_uuid,
        "bytea": lambda value: isinstance(value, (bytes, bytearray, memoryview)),
        "bool": lambda value: isinstance(value, bool),
        "date": lambda value: isinstance(value, date) and not isinstance(value, datetime),
        "timestamp": lambda value: _is_moment(value, aware=False),
        "timestamptz": lambda value: _is_moment(value, aware=True),
    }
)
