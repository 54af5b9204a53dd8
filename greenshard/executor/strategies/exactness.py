"""Values that go from server to server as text must come out as they went in.

They do, but for two settings: with ``extra_float_digits`` below 1 the servers round floats, and
with a ``DateStyle`` other than ISO a timestamp has the abbreviation of its time zone, which another
zone may have too. Then what would go as text is refused; and what would be compared so, for rows
that a server tells apart would be equal here, and stand in the order of the next sort key.
"""

from __future__ import annotations

from collections.abc import Iterable

from greenshard import errors
from greenshard._driver import RawConnection
from greenshard.executor.planned import Planned
from greenshard.sql.types import FIRST_USER_OID, Trait, oids_with, read

_FLOATS = oids_with(Trait.FLOATS, arrays=True)
_ZONED = oids_with(Trait.ZONED, arrays=True)


def check_types(e: Planned, type_oids: Iterable[int]) -> None:
    """Make sure that values of some types survive as text.

    Raises:
        errors.NotSupportedError: A setting of the session is in the way.

    Switches: if the setting must be asked for.
    """
    # Users' types may have either in them.
    oids = [oid for oid in type_oids if oid in _FLOATS | _ZONED or oid >= FIRST_USER_OID]
    # A user's type counts as both: what is in it is not known.
    _check(e, any(oid not in _ZONED for oid in oids), any(oid not in _FLOATS for oid in oids))


def check_type_names(e: Planned, types_sql: Iterable[str]) -> None:
    """Like `check_types`, of types as a cast names them."""
    known = [read(written) for written in types_sql]
    traits = [Trait.FLOATS | Trait.ZONED if each is None else each.traits for each in known]
    _check(e, any(Trait.FLOATS in t for t in traits), any(Trait.ZONED in t for t in traits))


def date_style(e: Planned) -> str:
    """How the sessions write dates: ``ISO, MDY``, if they can be read without knowing how."""
    return RawConnection.get_parameter_status(e.parts.quoting(), "DateStyle") or ""


def _check(e: Planned, floats: bool, zoned: bool) -> None:
    # 'SQL' and 'German' write 01.02.2024 CEST; other servers may read CEST as another zone.
    if zoned and not (style := date_style(e)).startswith("ISO"):
        raise _refused(f"timestamps would lose their time zone: DateStyle is {style}")
    # From 1 on, PostgreSQL writes the shortest text that is read as the same float (since version
    # 12).
    if floats and (digits := e.database.bearings.float_digits) < 1:
        raise _refused(f"floats would lose digits: extra_float_digits is {digits}")


def _refused(reason: str) -> errors.NotSupportedError:
    return errors.NotSupportedError(
        f"the values cannot be brought from one shard to another: {reason}",
        code="GS410",
        hint="Leave that setting as it is by default, or set it where the values are shown.",
    )
