"""The shards' partial rows become the answer: in Python where that is exact, else in PostgreSQL.

The rows come as text and go on as text, one array for each column, so that nothing is lost between
the servers. ``"gs$partial"`` in the combine query becomes::

    (SELECT x0::pg_catalog.int8 AS c0, x1::pg_catalog.text AS c1
     FROM ROWS FROM (unnest(%(gs$0)s::text[]), unnest(%(gs$1)s::text[])) AS u (x0, x1))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any

from greenshard._driver import UNREADABLE, Column, RawCursor, ours
from greenshard.executor.answers.answer import Answer
from greenshard.executor.answers.buffered import BufferedAnswer, Row
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.exactness import (
    any_spoilt,
    as_written,
    travels_as_text,
    written,
)
from greenshard.executor.strategies.held import check_page, check_rows
from greenshard.executor.strategies.merge import asked, buffered
from greenshard.executor.strategies.ranking import UNNAMED
from greenshard.executor.strategies.slicing import read_slice
from greenshard.executor.strategies.travelling import receiving_cell, sending_cell, unwritable
from greenshard.executor.types.casting import AsText, Casting
from greenshard.executor.types.type_names import type_names
from greenshard.merge.arrays import array_text
from greenshard.merge.reduction import reduce, reducible
from greenshard.planner.plan import PARTIAL, TYPE_OF, Combine, Reduction
from greenshard.planner.tasks import Stage
from greenshard.sql.text import Sql
from greenshard.sql.types import BY_NAME, Trait, oid_of, oids_with

#: Partial sums of float4, averaged in float8, and of money, of which PostgreSQL has no average.
_NOT_AVERAGED = frozenset(map(oid_of, ("float4", "money")))
#: What they are, for messages.
PARTIAL_ROWS = "one for each group and shard"


def combine(e: Planned, step: Combine, tasks: Stage) -> Answer | None:
    """Run the partial query, and make the answer of what the shards give.

    Returns:
        None if a partial column is of a type that does not allow it.

    Switches: yes.
    """
    e.check_parameters()
    # gather_limit + 1 rows of each: one row more tells that there were too many.
    limited = _limited(e, step, tasks)
    partial = _partial_rows(e, step, limited, exactly=not travels_as_text(e))
    if not partial.exact and any_spoilt(e, (column.type_code for column in partial.columns)):
        # Only with their first answer the sessions tell what they have set.
        e.stages = None
        partial = _partial_rows(e, step, limited, exactly=True)
    return combined(e, step, partial)


def _partial_rows(e: Planned, step: Combine, tasks: Stage, *, exactly: bool) -> PartialRows:
    """The rows that the shards give. Switches: yes."""
    encoding = unwritable(e.session.alive) if exactly else None
    if exactly:
        sql = exact(tasks[0].sql, step.columns, encoding)
        tasks = tuple(replace(task, sql=sql) for task in tasks)
    cursors, castings = asked(e, tasks, AsText.ALL)
    check_rows(e, sum(cursor.rowcount for cursor in cursors.values()), PARTIAL_ROWS)
    check_page(e, cursors.values())
    first = next(iter(cursors))
    columns = described(cursors[first], step)
    parts = [cursor.fetchall() for cursor in cursors.values()]
    return PartialRows(first, columns, parts, castings[first], exactly, encoding)


def exact(partial: Sql, width: int, encoding: str | None) -> Sql:
    """A partial query whose values come as text that is `written`, and behind them their types.

    Args:
        partial: The query.
        width: How many columns it has.
        encoding: As `unwritable` says.
    """
    names = [f"c{at}" for at in range(width)]
    texts = [sending_cell(as_written(name), encoding) for name in names]
    # NULL, of the column's type: for the description of the columns.
    types = [f"CASE WHEN false THEN {name} END" for name in names]
    return replace(partial, text=written(partial.text, names, [*texts, *types]))


def described(cursor: RawCursor, step: Combine) -> Sequence[Any]:
    """The partial columns: of what is `exact`, those that stand behind the texts."""
    return (cursor.description or ())[-step.columns :]


def _limited(e: Planned, step: Combine, tasks: Stage) -> Stage:
    """The partial query; no shard gives more rows than may come of all, and one that tells."""
    if step.reduction is not None and not step.reduction.keys:
        return tasks  # one row
    limit = int(e.limits.gather_limit) + 1
    text = f"SELECT * FROM ({step.partial.text}) AS gs LIMIT {limit}"
    sql = replace(step.partial, text=text)
    return tuple(replace(task, sql=sql) for task in tasks)


@dataclass(frozen=True, slots=True)
class PartialRows:
    """What the shards gave.

    Attributes:
        shard: The first that answered.
        columns: Its description of the columns.
        parts: The rows of each shard, their values as text.
        casting: The first shard's.
        exact: Whether the values are not as the user's settings write them.
        encoding: As `unwritable` says, if so.
    """

    shard: str
    columns: Sequence[Any]
    parts: Sequence[Sequence[Row]]
    casting: Casting
    exact: bool = False
    encoding: str | None = None


def combined(e: Planned, step: Combine, partial: PartialRows) -> Answer | None:
    """The answer, made of partial rows that are all here.

    Returns:
        None if a column is of a type that does not allow it.

    Switches: if PostgreSQL makes it, or types must be asked for.
    """
    if is_averaged_otherwise(step, partial.columns):
        return None
    # Where a setting decides how the answer is written, PostgreSQL writes it.
    plain = partial.encoding is None and not (
        partial.exact and any_spoilt(e, (column.type_code for column in partial.columns))
    )
    if step.reduction is not None and plain:
        answer = _reduced(e, step.reduction, partial)
        if answer is not None:
            return answer
    names = partial_types(e, partial.shard, partial.columns)
    if names is None:
        return None
    return _combined(e, step.combine, names, partial)


def is_averaged_otherwise(step: Combine, columns: Sequence[Any]) -> bool:
    """Whether an average is of a type that cannot be made of partial sums."""
    return any(columns[at].type_code in _NOT_AVERAGED for at in step.averaged)


def partial_types(e: Planned, shard: str, columns: Sequence[Any]) -> Sequence[str] | None:
    """The names of the columns' types; None if one's values cannot be read from text.

    Switches: if types must be asked for.
    """
    oids = [column.type_code for column in columns]
    known = type_names(e.session, {shard: oids}, e.timeout)
    names = [known[shard, oid] for oid in oids]
    # Values of record and the like: a server writes them, and none can read them.
    if not UNNAMED.isdisjoint(names):
        return None
    return [name + modifier_of(column) for name, column in zip(names, columns, strict=True)]


def modifier_of(column: Any) -> str:
    """What stands behind its type's name where a column was made: ``(10,2)`` of a numeric.

    The values are such ones already; with it the answer's columns are described as one server
    describes them.

    Args:
        column: As psycopg2 describes it, who takes 4 from each modifier.
    """
    oid, size = column.type_code, column.internal_size
    if oid in _NUMBERS:
        packed = size if column.precision is None else (column.precision << 16) + column.scale
        # A scale has 11 bits, with its sign; with all 32 set there is no modifier.
        precision, scale = packed >> 16 & 0xFFFF, (packed + 1024) % 2048 - 1024
        return "" if precision == 0xFFFF else f"({precision},{scale})"
    if size != -1 and oid in _LENGTHS:
        return f"({size + _LENGTHS[oid]})"
    return ""


# In PostgreSQL ------------------------------------------------------------------------------


def _combined(e: Planned, sql: Sql, names: Sequence[str], partial: PartialRows) -> Answer:
    text = with_rows(sql, names, partial.encoding)
    arrays = partial_arrays(partial.parts, len(names))
    return e.last_stage(partial.shard, text, {**(e.parameters(sql, e.given) or {}), **arrays})


def with_rows(sql: Sql, names: Sequence[str], encoding: str | None = None) -> str:
    """A text with rows in the place of `PARTIAL`, to be sent with `partial_arrays` of them.

    Args:
        sql: The text.
        names: The names of the columns' types.
        encoding: As `unwritable` says.
    """
    return combining(sql, names).replace(f'"{PARTIAL}"', partial_rows(names, encoding))


def combining(sql: Sql, names: Sequence[str]) -> str:
    """The combine query with the names of the partial columns' types, to be sent with parameters.

    `PARTIAL` in it still stands for the partial rows.
    """
    # Without binds it has gone through no placeholders yet.
    text = sql.text if sql.binds else sql.text.replace("%", "%%")
    for at, name in enumerate(names):
        text = text.replace(f'"{TYPE_OF.format(at)}"', name.replace("%", "%%"))
    return text


def partial_arrays(parts: Iterable[Sequence[Row]], width: int) -> dict[str, Any]:
    """The parameters of `partial_rows`."""
    rows = list(chain.from_iterable(parts))
    columns = [list(map(itemgetter(at), rows)) for at in range(width)]
    return {f"gs${at}": ours(array_text(column)) for at, column in enumerate(columns)}


def partial_rows(
    names: Sequence[str],
    encoding: str | None = None,
    parameters: Sequence[str] | None = None,
) -> str:
    """The partial rows as a table.

    Args:
        names: The names of the columns' types.
        encoding: As `unwritable` says.
        parameters: The arrays' names; None: those of `partial_arrays`.
    """
    numbers = range(len(names))
    parameters = parameters or [f"gs${n}" for n in numbers]
    cast = ", ".join(
        f"{receiving_cell(f'x{n}', encoding)}::{name} AS c{n}" for n, name in enumerate(names)
    ).replace("%", "%%")
    # ROWS FROM steps through all arrays together; unnest(a), unnest(b) in FROM would multiply them.
    arrays = ", ".join(f"pg_catalog.unnest(%({each})s::pg_catalog.text[])" for each in parameters)
    columns = ", ".join(f"x{n}" for n in numbers)
    return f"(SELECT {cast} FROM ROWS FROM ({arrays}) AS u ({columns}))"


# In Python ----------------------------------------------------------------------------------


def _reduced(e: Planned, reduction: Reduction, partial: PartialRows) -> BufferedAnswer | None:
    columns, casting = partial.columns, partial.casting
    oids = [column.type_code for column in columns]
    if not reducible(reduction, oids, e.database.c_collation):
        return None
    # The user's typecaster may make floats of decimals, and these add up otherwise.
    if not all(casting.is_own(oid) for oid in oids) or e.parts.own_time_zones:
        return None
    try:
        readers = [_python(casting, oid) for oid in oids]
        rows = [list(_read(part, readers)) for part in partial.parts]
    except UNREADABLE:
        return None  # a date beyond Python's
    count, offset = read_slice(reduction.slice, e.given)
    if min(count or 0, offset or 0) < 0:
        return None  # which PostgreSQL then refuses
    answer = reduce(reduction, rows, count, offset)
    if answer is None:
        return None
    described = [
        _renamed(columns[at], name)
        for (_, at), name in zip(reduction.outputs, reduction.names, strict=True)
    ]
    return buffered(e, answer, tuple(described), partial.shard)


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


_NUMBERS = frozenset({BY_NAME["numeric"].oid, BY_NAME["numeric"].array_oid})
#: What is to be added to the size that psycopg2 tells of a column, for the length of its texts or
#: bits; -1 there is none, or that of bit(3).
_LENGTHS = {
    **{oid: 0 for name in ("varchar", "bpchar") for oid in (oid_of(name), BY_NAME[name].array_oid)},
    **{oid_of(name): 4 for name in ("bit", "varbit")},
}
_TEXTS = oids_with(Trait.READ_AS_TEXT)
_READERS: Mapping[int, Callable[[str], Any]] = {
    oid_of("bool"): "t".__eq__,
    **dict.fromkeys(map(oid_of, ("int2", "int4", "int8", "oid")), int),
    oid_of("numeric"): Decimal,
}
