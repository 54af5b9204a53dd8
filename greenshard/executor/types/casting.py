"""Values as text now, and as what the user's typecasters make of them later.

To order rows, or to send them to PostgreSQL again, a value is needed as the server wrote it, or as
psycopg2's own typecaster reads it. The program may have put another in its place (decimals as
floats), and for some types psycopg2's own loses something (an interval of a month).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any

from greenshard._driver import (
    UNICODE,
    Attribute,
    RawCursor,
    global_typecasters,
    own_typecasters,
)
from greenshard.executor.types.typecasters import registered_globally
from greenshard.links.physical import string_types
from greenshard.merge.ordering import comparable
from greenshard.sql.types import Trait, oid_of, oids_with

DATES = oids_with(Trait.CALENDAR)
_TIMESTAMPTZ, _TEXT = oid_of("timestamptz"), oid_of("text")


_zones = Attribute(RawCursor, "tzinfo_factory")


class AsText(Enum):
    """Which values are fetched as text."""

    #: Those that Python does not compare as PostgreSQL does, once psycopg2 has read them.
    INCOMPARABLE = "incomparable"
    #: And dates and timestamps, which may be infinite.
    DATES = "dates"
    ALL = "all"


class Casting:
    """The typecasters of one shard's cursor, put aside.

    Args:
        cursor: With the typecasters that the user wants; before it is executed.
        as_text: Which values are fetched as text.
        own_time_zones: Whether the user has set ``tzinfo_factory``.
    """

    __slots__ = ("_cursor", "_given", "_put_aside")

    def __init__(self, cursor: RawCursor, as_text: AsText, own_time_zones: bool) -> None:
        self._cursor = cursor
        # A typecaster asks the cursor that it is given for those of a range's bounds and of a
        # composite value's fields: `cursor.string_types` would make texts of them now.
        self._given = RawCursor(cursor.connection)
        self._given.string_types = cursor.string_types
        registered = _registered(cursor)
        # Only then a table of this cursor's own; for all others one is cached.
        if registered:
            self._put_aside = _put_aside(
                {**global_typecasters, **registered}, as_text, own_time_zones
            )
            kept = {oid: c for oid, c in registered.items() if oid not in self._put_aside}
            cursor.string_types = {**kept, **dict.fromkeys(self._put_aside, UNICODE)}
        else:
            self._put_aside, cursor.string_types = _put_aside_globally(
                registered_globally(), as_text, own_time_zones
            )

    def is_text(self, type_oid: int) -> bool:
        """Whether values of a type come as the server writes them."""
        # A type that psycopg2 does not know comes as text in any case.
        return type_oid in self._put_aside or type_oid not in own_typecasters

    def is_own(self, type_oid: int) -> bool:
        """Whether the user would get what psycopg2's own typecaster gives."""
        caster = self._put_aside.get(type_oid)
        return caster is None or is_own(type_oid, caster)

    def cast(self, type_oid: int, text: str | None) -> Any:
        """What the user's typecaster makes of a value that was fetched as text."""
        caster = self._put_aside.get(type_oid)
        return text if caster is None else caster(text, self._cursor_as_given())

    def own(self, type_oid: int, text: str) -> Any:
        """What psycopg2's own typecaster makes of a value."""
        return own_typecasters[type_oid][0](text, self._cursor)

    def casting(
        self, type_oids: Iterable[int]
    ) -> Callable[[tuple[Any, ...]], tuple[Any, ...]] | None:
        """What makes of a row fetched as text what the user's typecasters would; None: nothing.

        Args:
            type_oids: The columns' types.
        """
        found: list[tuple[int, Any]] = [
            (at, self._put_aside.get(oid)) for at, oid in enumerate(type_oids)
        ]
        casters = [(at, caster) for at, caster in found if not _gives_text(caster)]
        if not casters:
            return None

        def cast(row: tuple[Any, ...]) -> tuple[Any, ...]:
            cursor = self._cursor_as_given()
            values = list(row)
            for at, caster in casters:
                values[at] = caster(values[at], cursor)
            return tuple(values)

        return cast

    def _cursor_as_given(self) -> RawCursor:
        """A cursor with the user's typecasters and, as it is now, time zone factory."""
        _zones.write(self._given, _zones.read(self._cursor))
        return self._given


def _gives_text(caster: Any) -> bool:
    # psycopg2's typecasters are equal to some numbers, and cannot be compared with other things.
    return caster is None or any(caster is text for text in own_typecasters[_TEXT])


def _registered(cursor: RawCursor) -> dict[int, Any] | None:
    of_connection = string_types.read(cursor.connection)
    of_cursor = cursor.string_types
    if of_connection and of_cursor:
        return {**of_connection, **of_cursor}
    return of_cursor or of_connection or None


def is_own(type_oid: int, caster: Any) -> bool:
    """Whether a typecaster is psycopg2's own of a type."""
    return any(caster is own for own in own_typecasters.get(type_oid, ()))


def _put_aside(casters: Mapping[int, Any], as_text: AsText, own_time_zones: bool) -> dict[int, Any]:
    def keeps(oid: int, caster: Any) -> bool:
        # comparable(..., True): whether Python sorts text so is asked later; it comes as text in
        # both cases.
        if as_text is AsText.ALL or not comparable(oid, True) or not is_own(oid, caster):
            return False
        if oid in DATES:
            # tzinfo_factory makes of one moment whatever it wants, and that may compare otherwise.
            return as_text is AsText.INCOMPARABLE and not (oid == _TIMESTAMPTZ and own_time_zones)
        return True

    return {oid: caster for oid, caster in casters.items() if not keeps(oid, caster)}


@lru_cache(maxsize=8)
def _put_aside_globally(
    _registered: tuple[int, ...], as_text: AsText, own_time_zones: bool
) -> tuple[dict[int, Any], dict[int, Any]]:
    """What is put aside where nothing is registered but globally, and what takes its place."""
    put_aside = _put_aside(global_typecasters, as_text, own_time_zones)
    return put_aside, dict.fromkeys(put_aside, UNICODE)
