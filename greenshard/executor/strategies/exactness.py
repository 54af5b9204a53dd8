"""Values that go from server to server as text must come out as they went in.

They do, but for two settings: with ``extra_float_digits`` below 1 the servers round floats, and
with a ``DateStyle`` other than ISO a timestamp has the abbreviation of its time zone, which another
zone may have too. Then what would go as text is refused; and what would be compared so, for rows
that a server tells apart would be equal here, and stand in the order of the next sort key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from greenshard import errors
from greenshard._driver import RawConnection
from greenshard.executor.planned import Planned
from greenshard.executor.types.type_names import FIRST_USER_OID

#: The OIDs of types with floats in them: float4, float8, the geometric types, arrays of them.
_FLOATS = frozenset({
    600, 601, 602, 603, 604, 628, 629, 700, 701, 718, 719, 1017, 1018, 1019, 1020, 1021, 1022, 1027,
})  # fmt: skip
#: timestamptz, tstzrange, tstzmultirange, and arrays of them.
_ZONED = frozenset({1184, 1185, 3910, 3911, 4534, 6153})
#: Types without either, as a cast names them.
_NEITHER = re.compile(
    r"(bigint|integer|smallint|numeric|boolean|date|interval|bit|character|time[ (]"
    r"|timestamp.* without"
    r"|pg_catalog\.(text|varchar|bpchar|name|date|uuid|bytea|json|jsonb|inet|cidr|bool|int[248]))\b"
)


def check_types(e: Planned, type_oids: Iterable[int]) -> None:
    """Make sure that values of some types survive as text.

    Raises:
        errors.NotSupportedError: A setting of the session is in the way.

    Switches: if the setting must be asked for.
    """
    # Users' types may have either in them.
    oids = [oid for oid in type_oids if oid in _FLOATS | _ZONED or oid >= FIRST_USER_OID]
    _check(e, any(oid not in _ZONED for oid in oids), any(oid not in _FLOATS for oid in oids))


def check_type_names(e: Planned, types_sql: Iterable[str]) -> None:
    """Like `check_types`, of types as a cast names them."""
    doubtful = not all(map(_NEITHER.match, types_sql))
    _check(e, doubtful, doubtful)


def date_style(e: Planned) -> str:
    """How the sessions write dates: ``ISO, MDY``, if they can be read without knowing how."""
    return RawConnection.get_parameter_status(e.parts.quoting(), "DateStyle") or ""


def _check(e: Planned, floats: bool, zoned: bool) -> None:
    if zoned and not (style := date_style(e)).startswith("ISO"):
        raise _refused(f"timestamps would lose their time zone: DateStyle is {style}")
    if floats and (digits := e.database.bearings.float_digits) < 1:
        raise _refused(f"floats would lose digits: extra_float_digits is {digits}")


def _refused(reason: str) -> errors.NotSupportedError:
    return errors.NotSupportedError(
        f"the values cannot be brought from one shard to another: {reason}",
        code="GS410",
        hint="Leave that setting as it is by default, or set it where the values are shown.",
    )
