"""Rows that the shards have sorted, as one answer in that order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from greenshard import errors
from greenshard._driver import RawConnection
from greenshard.executor.answer import Answer, Stages
from greenshard.executor.buffered import BufferedAnswer, BufferedRows, Row, all_of
from greenshard.executor.casting import Casting
from greenshard.executor.columns import check_columns
from greenshard.executor.planned import Planned
from greenshard.executor.ranking import rank
from greenshard.merge.ordering import comparable, cut, order, sorts_by_code_point
from greenshard.planner.plan import Constant, Scatter, SortKey, Value


def merge(e: Planned, step: Scatter, shards: tuple[str, ...]) -> Answer:
    """Merge the rows of some shards, take a slice of them, and cut hidden columns off.

    Values that Python can tell apart only as text (a date may be infinite) are known when they are
    there: then the shards are asked once more, and at once the next time.

    Switches: yes.
    """
    e.check_parameters()
    database, text = e.database, step.sql.text
    answer = None
    if text not in database.compared_as_text:
        answer = _merge(e, step, shards, as_text=False)
    if answer is None:
        database.remember_compared_as_text(text)
        e.stages = None
        answer = _merge(e, step, shards, as_text=True)
    if answer is None:
        raise errors.InternalError("rows cannot be ordered by text")
    return answer


def _merge(
    e: Planned, step: Scatter, shards: tuple[str, ...], *, as_text: bool
) -> BufferedAnswer | None:
    cursors = e.parts.plain(shards, e.timeout)
    zones = e.parts.own_time_zones
    castings = {shard: Casting(cursor, as_text, zones) for shard, cursor in cursors.items()}
    outcome = e.first_stage(shards, e.calls(step.sql, cursors), cursors)
    cursors = {shard: cursors[shard] for shard in outcome.jobs}
    check_columns(cursors, e.session, e.timeout)
    first = next(iter(cursors))
    description = cursors[first].description
    if description is None:
        raise errors.ProgrammingError("the statement gives no rows")
    casting = castings[first]
    try:
        rows: list[Row] | None = all_of(cursors)
    except (ValueError, OverflowError):
        return None  # a date beyond Python's; as text it fails when it is fetched, as it should
    if len(cursors) > 1 and step.sort:
        rows = _ordered(e, rows or [], step.sort, first, description, casting)
    if rows is None:
        return None
    count, offset = limit(step.slice.count, e.given), limit(step.slice.offset, e.given)
    visible = description[: len(description) - step.hidden]
    rows = cut(rows, count, offset, step.hidden)
    return buffered(e, rows, visible, casting.casting(column.type_code for column in visible))


def buffered(
    e: Planned,
    rows: Sequence[Row],
    description: Sequence[Any],
    cast: Callable[[Row], Row] | None = None,
) -> BufferedAnswer:
    """An answer of rows that are cast, and made for the user's cursor, when they are fetched."""
    shaped = e.parts.shaped
    made = shaped if cast is None else lambda row: shaped(cast(row))
    return BufferedAnswer(BufferedRows(rows, made), description, e.stages or Stages())


def _ordered(
    e: Planned,
    rows: list[Row],
    keys: Sequence[SortKey],
    shard: str,
    description: Sequence[Any],
    casting: Casting,
) -> list[Row] | None:
    """The rows in order; None if Python cannot tell which."""
    raw = e.session.physicals[shard].raw
    encoding = str(RawConnection.get_parameter_status(raw, "server_encoding"))
    c_collation = e.database.c_collation
    ranks = {}
    for position, key in enumerate(keys):
        oid = description[key.column].type_code
        code_point = sorts_by_code_point(key.collation, c_collation, encoding)
        if comparable(oid, code_point) and not casting.is_text(oid):
            continue
        if comparable(oid, code_point) and oid in _COMPARED_AS_TEXT:
            continue
        values = {row[key.column] for row in rows} - {None}
        ranks[position] = rank(e, shard, oid, values, key.collation)
    return order(rows, keys, ranks)


#: Types whose text has their order: name, text, varchar, uuid.
_COMPARED_AS_TEXT = frozenset({19, 25, 1043, 2950})


def limit(value: Value | None, given: Any) -> int | None:
    """What LIMIT or OFFSET says, as PostgreSQL reads it; None for none."""
    if value is None:
        return None
    said = value.value if isinstance(value, Constant) else given[value.source]
    if said is None or isinstance(said, int):
        return said
    return int(Decimal(str(said)).to_integral_value(ROUND_HALF_UP))
