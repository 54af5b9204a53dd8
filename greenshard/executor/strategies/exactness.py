"""Values that go from server to server as text must come out as they went in.

They do, but for two settings: with ``extra_float_digits`` below 1 the servers round floats, and
with a ``DateStyle`` other than ISO a timestamp has the abbreviation of its time zone, which another
zone may have too. Both are for whoever reads the answer. So the servers write what travels by other
ones, and only that: conditions are evaluated, and the answer is written, by the user's::

    SELECT s0, s1 FROM (
        SELECT CASE WHEN num_nulls(set_config('DateStyle', 'ISO', true), ...) = 0 THEN c0::text END,
            ..., set_config('DateStyle', was0, true), ...
        FROM (what is computed by the user's settings) AS g (c0, c1),
            (SELECT current_setting('DateStyle'), ... OFFSET 0) AS own (was0, was1)
    ) AS g (s0, s1, restored)

A server computes a row's columns from left to right, and a CASE only when it is met. Whatever ends
the statement in between undoes the settings with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from greenshard import errors
from greenshard._driver import RawConnection
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.travelling import unwritable
from greenshard.sql.types import FIRST_USER_OID, NOTHING, Trait, oids_with, read

_FLOATS = oids_with(Trait.FLOATS, arrays=True)
_ZONED = oids_with(Trait.ZONED, arrays=True)

#: By what values are written as they are. ISO leaves the order of day and month, in which the
#: user's literals are read.
# From 1 on, PostgreSQL writes the shortest text that is read as the same float (since version 12).
_EXACT = {"DateStyle": "ISO", "extra_float_digits": "1"}


def spoilt(e: Planned) -> Trait:
    """What of a value the sessions' settings spoil, if they write it.

    Cost: 4 us, where they spoil nothing.
    """
    found = NOTHING
    if e.database.bearings.float_digits < 1:
        found |= Trait.FLOATS
    # 'SQL' and 'German' write 01.02.2024 CEST; other servers may read CEST as another zone.
    if not date_style(e).startswith("ISO"):
        found |= Trait.ZONED
    return found


def date_style(e: Planned) -> str:
    """How the sessions write dates: ``ISO, MDY``, if they can be read without knowing how."""
    return RawConnection.get_parameter_status(e.parts.quoting(), "DateStyle") or ""


def travels_as_text(e: Planned) -> bool:
    """Whether values may come as they are sent to the user: nothing there spoils any."""
    return not spoilt(e) and unwritable(e.session.alive) is None


def any_spoilt(e: Planned, type_oids: Iterable[int]) -> bool:
    """Whether the sessions' settings spoil values of some types."""
    found = spoilt(e)
    # Flags are compared slowly, and this is asked for each statement.
    return bool(found) and any(_traits_of(oid) & found for oid in type_oids)


def is_spoilt(type_sql: str, found: Trait) -> bool:
    """Whether what `spoilt` has found spoils values of a type, as a cast names it."""
    known = read(type_sql)
    # What is in a user's type is not known.
    return bool(found) if known is None else bool(known.traits & found)


def _traits_of(type_oid: int) -> Trait:
    """Those of `spoilt` that a type may have in it."""
    if type_oid >= FIRST_USER_OID:
        return Trait.FLOATS | Trait.ZONED
    floats = Trait.FLOATS if type_oid in _FLOATS else NOTHING
    return floats | (Trait.ZONED if type_oid in _ZONED else NOTHING)


def check_types(e: Planned, type_oids: Iterable[int]) -> None:
    """Make sure that values of some types came as exact as the servers have them.

    Rows that a server tells apart would else be equal here, and stand in the order of the next sort
    key.

    Raises:
        errors.NotSupportedError: A setting of the session is in the way.

    Switches: if the setting must be asked for.
    """
    found = spoilt(e)
    spoils = NOTHING
    for oid in type_oids if found else ():
        spoils |= _traits_of(oid) & found
    if Trait.ZONED in spoils:
        raise _refused(f"timestamps would lose their time zone: DateStyle is {date_style(e)}")
    if Trait.FLOATS in spoils:
        digits = e.database.bearings.float_digits
        raise _refused(f"floats would lose digits: extra_float_digits is {digits}")


def written(rows: str, names: Sequence[str], shown: Sequence[str]) -> str:
    """A query whose columns are computed by the exact settings.

    Args:
        rows: A query, all of which is computed by the user's.
        names: For its columns.
        shown: What is made of them, columns of type text.
    """
    exact = _setting({name: f"'{value}'" for name, value in _EXACT.items()})
    made = ", ".join(f"CASE WHEN {exact} THEN {each} END" for each in shown)
    was = {name: f"was{at}" for at, name in enumerate(_EXACT)}
    asked = ", ".join(f"pg_catalog.current_setting('{name}')" for name in _EXACT)
    columns = ", ".join(f"s{at}" for at in range(len(shown)))
    # Neither OFFSET nor a volatile function lets the planner mix a subquery with what is around it.
    return (
        f"SELECT {columns} FROM (SELECT {made}, {_setting(was)} FROM ({rows}) AS g"
        f" ({', '.join(names)}), (SELECT {asked} OFFSET 0) AS own ({', '.join(was.values())}))"
        f" AS g ({columns}, restored)"
    )


def as_written(name: str) -> str:
    """A value as text as its type's output function writes it; a cast may be the user's own."""
    # Not IS NOT NULL, which is false of a row with a NULL in it.
    known = f"pg_catalog.num_nulls({name}) OPERATOR(pg_catalog.=) 0"
    return f"CASE WHEN {known} THEN pg_catalog.concat({name}) END"


def _setting(values: Mapping[str, str]) -> str:
    """A condition, always true, that gives some settings these values in the transaction."""
    calls = ", ".join(
        f"pg_catalog.set_config('{name}', {value}, true)" for name, value in values.items()
    )
    # All arguments of a function are computed; of a AND b, not always both.
    return f"pg_catalog.num_nulls({calls}) OPERATOR(pg_catalog.=) 0"


def _refused(reason: str) -> errors.NotSupportedError:
    return errors.NotSupportedError(
        f"the values cannot be brought from one shard to another: {reason}",
        code="GS410",
        hint="Leave that setting as it is by default, or set it where the values are shown.",
    )
