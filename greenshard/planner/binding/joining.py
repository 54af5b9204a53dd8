"""The columns that a JOIN gives.

Source: transformFromClauseItem in PostgreSQL's parse_clause.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from greenshard.planner.binding.query import Join
from greenshard.planner.binding.scope import BoundColumn, Columns
from greenshard.sql.parser import JOIN_FULL, JOIN_INNER, JOIN_LEFT, JOIN_RIGHT

#: How a `Join` names the kinds; a right join is turned round.
JOIN_KINDS = {JOIN_INNER: "inner", JOIN_LEFT: "left", JOIN_RIGHT: "left", JOIN_FULL: "full"}


def use(
    join: Join, names: Iterable[str], jointype: int, number: int, *, own_equality: bool
) -> list[BoundColumn]:
    """Note what USING equates; returns the columns that it shows instead of the pairs.

    Args:
        join: Before it is turned round.
        names: Those in USING.
        jointype: The parser's.
        number: Of a source of columns: for those that neither side has.
        own_equality: Whether they are equal as PostgreSQL's own `=` says; else nothing is noted.
    """
    shown = []
    for at, name in enumerate(names):
        one, other = _named(join.left.columns, name), _named(join.right.columns, name)
        if one is None or other is None:
            shown.append(BoundColumn(name, (number, at)))
            continue
        if own_equality:
            join.using.append((one, other))
        # USING shows COALESCE(left, right) there, which is neither side's column (manual, 7.2.1.1).
        if jointype == JOIN_FULL:
            same = one.column if one.family == other.family else None
            merged = BoundColumn(name, (number, at), same)
            if own_equality:
                join.merged.append(merged)
            shown.append(merged)
        else:
            # The side that is kept: the other one's column is NULL in rows that found nothing.
            shown.append(other if jointype == JOIN_RIGHT else one)
    return shown


def joined(
    left: Columns, right: Columns, using: Sequence[BoundColumn], names: Sequence[str]
) -> Columns:
    """The columns of a join: those of USING first, and once."""
    if left is None or right is None:
        return None
    rest = [column for column in (*left, *right) if column.name not in names]
    return (*using, *rest)


def _named(columns: Columns, name: str) -> BoundColumn | None:
    found = [column for column in columns or () if column.name == name]
    # PostgreSQL raises an error for two of one name, and says it better.
    return found[0] if len(found) == 1 else None
