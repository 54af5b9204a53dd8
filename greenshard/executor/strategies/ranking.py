"""PostgreSQL ranks values that Python would sort in another way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from greenshard import errors
from greenshard._driver import ours, own_cursor
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.travelling import receiving_cell
from greenshard.executor.types.type_names import type_names
from greenshard.merge.arrays import array_text, integers
from greenshard.sql.types import Trait, names_with

_RANK = (
    "SELECT pg_catalog.array_agg(r ORDER BY n)::pg_catalog.text FROM ("
    "SELECT n, pg_catalog.dense_rank() OVER (ORDER BY {value}) AS r"
    " FROM pg_catalog.unnest(%(values)s::pg_catalog.text[]) WITH ORDINALITY AS u (v, n)) AS ranked"
)


def rank(
    e: Planned,
    shard: str,
    type_oid: int,
    values: Iterable[Any],
    collation: str | None,
    encoding: str | None = None,
) -> dict[Any, int]:
    """The place of each value among them; equal values have equal places.

    Args:
        e: The execution.
        shard: The shard that ranks.
        type_oid: The values' type there.
        values: As text, different from one another, no NULL.
        collation: As in `SortKey`.
        encoding: That of `sending_cell`, if they came of it.

    Raises:
        errors.NotSupportedError: Values of the type cannot be given as text.

    Switches: yes.
    Cost: one round trip, and one more for a type that is met for the first time.
    """
    listed = list(values)
    # One value needs no server to be the first.
    if len(listed) < 2:
        return dict.fromkeys(listed, 1)
    # By name: the type has another OID on the shard where the value comes from.
    name = type_names(e.session, {shard: [type_oid]}, e.timeout)[shard, type_oid]
    if name in UNNAMED:
        raise errors.NotSupportedError(
            f"rows of several shards cannot be sorted by a value of type {name}",
            code="GS403",
            hint="Sort by its fields, or by a value of a named type.",
        )
    value = f"({receiving_cell('v', encoding)}::{name})"
    if collation is not None:
        value += f" COLLATE {collation}"
    cursor = own_cursor(e.session.physicals[shard].raw)
    query = _RANK.format(value=value.replace("%", "%%"))
    parameters = {"values": ours(array_text(listed))}
    e.session.run({shard: lambda: cursor.execute(query, parameters)}, e.timeout)
    row: Any = cursor.fetchone()
    return dict(zip(listed, integers(row[0]), strict=True))


#: Types whose values PostgreSQL cannot read back from text.
UNNAMED = frozenset(f"pg_catalog.{name}" for name in names_with(Trait.UNREADABLE, arrays=True))
