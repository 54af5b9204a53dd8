"""The shards' partial rows become the answer: in Python where that is exact, else in PostgreSQL.

The rows come as text and go on as text, one array for each column, so that nothing is lost between
the servers. ``"gs$partial"`` in the combine query becomes::

    (SELECT x0::pg_catalog.int8 AS c0, x1::pg_catalog.text AS c1
     FROM ROWS FROM (unnest(%(gs$0)s::text[]), unnest(%(gs$1)s::text[])) AS u (x0, x1))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any

from greenshard._driver import Column
from greenshard.executor.answer import Answer
from greenshard.executor.buffered import BufferedAnswer, Row
from greenshard.executor.casting import AsText, Casting
from greenshard.executor.columns import check_columns
from greenshard.executor.exactness import check_types
from greenshard.executor.merging import buffered
from greenshard.executor.planned import Planned, limit
from greenshard.executor.ranking import UNNAMED
from greenshard.executor.types import type_names
from greenshard.merge.arrays import array_text
from greenshard.merge.reduction import reduce, reducible
from greenshard.planner.plan import PARTIAL, TYPE_OF, Combine, Reduction, Sql

_FLOAT4 = 700


def combine(e: Planned, step: Combine, shards: tuple[str, ...]) -> Answer | None:
    """Run the partial query on some shards, and make the answer of what they give.

    Returns:
        None if a partial column is of a type that does not allow it.

    Switches: yes.
    """
    e.check_parameters()
    cursors = e.parts.plain(shards, e.timeout)
    zones = e.parts.own_time_zones
    castings = {shard: Casting(cursor, AsText.ALL, zones) for shard, cursor in cursors.items()}
    outcome = e.first_stage(shards, e.calls(step.partial, cursors), cursors)
    cursors = {shard: cursors[shard] for shard in outcome.jobs}
    check_columns(cursors, e.session, e.timeout)
    first = next(iter(cursors))
    columns = cursors[first].description or ()
    if any(columns[at].type_code == _FLOAT4 for at in step.averaged):
        return None
    parts = [cursor.fetchall() for cursor in cursors.values()]
    if step.reduction is not None:
        answer = _reduced(e, step.reduction, columns, parts, castings[first])
        if answer is not None:
            return answer
    oids = [column.type_code for column in columns]
    known = type_names(e.session, {first: oids}, e.timeout)
    names = [known[first, oid] for oid in oids]
    if not UNNAMED.isdisjoint(names):
        return None
    check_types(e, oids)
    return _combined(e, step.combine, names, parts, first)


# In PostgreSQL ------------------------------------------------------------------------------


def _combined(
    e: Planned, sql: Sql, names: Sequence[str], parts: Sequence[Sequence[Row]], shard: str
) -> Answer:
    rows = list(chain.from_iterable(parts))
    columns = [list(map(itemgetter(at), rows)) for at in range(len(names))]
    arrays = {f"gs${at}": array_text(column) for at, column in enumerate(columns)}
    text = sql.text if sql.binds else sql.text.replace("%", "%%")
    for at, name in enumerate(names):
        text = text.replace(f'"{TYPE_OF.format(at)}"', name.replace("%", "%%"))
    text = text.replace(f'"{PARTIAL}"', _partial_rows(names))
    return e.last_stage(shard, text, {**(e.parameters(sql) or {}), **arrays})


def _partial_rows(names: Sequence[str]) -> str:
    """The partial rows as a table."""
    numbers = range(len(names))
    cast = ", ".join(f"x{n}::{name} AS c{n}" for n, name in enumerate(names)).replace("%", "%%")
    arrays = ", ".join(f"pg_catalog.unnest(%(gs${n})s::pg_catalog.text[])" for n in numbers)
    columns = ", ".join(f"x{n}" for n in numbers)
    return f"(SELECT {cast} FROM ROWS FROM ({arrays}) AS u ({columns}))"


# In Python ----------------------------------------------------------------------------------


def _reduced(
    e: Planned,
    reduction: Reduction,
    columns: Sequence[Any],
    parts: Sequence[Sequence[Row]],
    casting: Casting,
) -> BufferedAnswer | None:
    oids = [column.type_code for column in columns]
    if not reducible(reduction, oids, e.database.c_collation):
        return None
    if not all(casting.is_own(oid) for oid in oids) or e.parts.own_time_zones:
        return None
    try:
        readers = [_python(casting, oid) for oid in oids]
        rows = [list(_read(part, readers)) for part in parts]
    except (ValueError, OverflowError):
        return None  # a date beyond Python's
    count, offset = (limit(v, e.given) for v in (reduction.slice.count, reduction.slice.offset))
    if min(count or 0, offset or 0) < 0:
        return None  # which PostgreSQL then refuses
    answer = reduce(reduction, rows, count, offset)
    if answer is None:
        return None
    described = [
        _renamed(columns[at], name)
        for (_, at), name in zip(reduction.outputs, reduction.names, strict=True)
    ]
    return buffered(e, answer, tuple(described))


def _python(casting: Casting, type_oid: int) -> Callable[[str], Any] | None:
    """What reads a value from its text; None for text itself."""
    if type_oid in _TEXTS:
        return None
    return _READERS.get(type_oid) or partial(casting.cast, type_oid)


def _read(part: Sequence[Row], readers: Sequence[Callable[[str], Any] | None]) -> Iterable[Row]:
    """The rows of a part, their values read from text."""
    columns: list[Iterable[Any]] = []
    for at, read in enumerate(readers):
        texts = list(map(itemgetter(at), part))
        columns.append(texts if read is None else _each(read, texts))
    return zip(*columns, strict=True)


def _each(read: Callable[[str], Any], texts: list[str | None]) -> Iterable[Any]:
    if None in texts:
        return [None if text is None else read(text) for text in texts]
    return map(read, texts)  # type: ignore[arg-type]  # there is no None


def _renamed(column: Any, name: str) -> Any:
    """The description of a column, with the answer's name for it."""
    return Column(name, *column[1:])


_TEXTS = frozenset({19, 25, 1043, 2950})
_READERS: Mapping[int, Callable[[str], Any]] = {
    16: "t".__eq__,
    **dict.fromkeys((20, 21, 23, 26), int),
    1700: Decimal,
}
