"""Read tables' rows on the shards, to bring them to one server.

On each shard, for each table::

    SELECT count(*), array_agg(c0)::text, array_agg(c1)::text FROM (the read) AS g (c0, c1)

No value of a cell is made in Python: a column of many rows is one text, an array's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from greenshard import errors
from greenshard._driver import RawCursor, own_cursor
from greenshard.executor.held import check_held
from greenshard.executor.planned import Planned
from greenshard.merge.arrays import joined_arrays
from greenshard.planner.plan import GatheredColumn, GatheredTable

AS_TEXT = "::pg_catalog.text"

#: So many rows are read as one value. The server's limit for that is 1 GB; values of some types
#: are small, and so are a million of them.
_CHUNK_ROWS = 1_000
_SMALL = re.compile(
    r"(bigint|integer|smallint|numeric|real|double precision|boolean|date|time|interval"
    r"|pg_catalog\.(uuid|date))\b"
)
#: Chunks are joined up to so many characters.
_PIECE_CHARACTERS = 16 * 1024 * 1024
#: The elements of these types' arrays are separated by a comma: all of PostgreSQL's own but one.
_COMMA = re.compile(r"[^.]*$|pg_catalog\.(?!box\b)")

#: The values of some rows of a table: for each column the text of an array.
Arrays = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a table that were read.

    Attributes:
        table: The table.
        count: How many.
        pieces: Their values, those of some rows in each.
    """

    table: GatheredTable
    count: int
    pieces: tuple[Arrays, ...]

    @property
    def characters(self) -> int:
        """How large they are as text."""
        return sum(map(_size, self.pieces))


@dataclass(slots=True)
class _Budget:
    """How many more rows may be read."""

    left: int


def read_tables(e: Planned, tables: Sequence[GatheredTable]) -> list[Rows]:
    """The rows of some tables.

    Raises:
        errors.NotSupportedError: They are too many. The transaction is as it was.

    Switches: yes.
    """
    budget = _Budget(e.limits.gather_limit)
    wanted: dict[str, list[GatheredTable]] = {}
    one = e.any_shard()
    for table in tables:
        for shard in (one,) if table.reference else e.targets(table.pins):
            wanted.setdefault(shard, []).append(table)
    shards = tuple(shard for shard in e.session.shards if shard in wanted)
    e.session.reach(shards, e.timeout)
    reads = {table.name: (_reading(table), e.parameters(table.read) or {}) for table in tables}
    calls = {
        physical.shard: partial(
            _read,
            own_cursor(physical.raw),
            {table.name: reads[table.name] for table in wanted[physical.shard]},
            budget,
        )
        for physical in e.session.alive
        if physical.shard in wanted
    }
    outcome = e.first_stage(shards, calls)
    if one in outcome.failures and any(table.reference for table in wanted[one]):
        raise outcome.failures[one]
    found: dict[str, list[tuple[str, ...]]] = {table.name: [] for table in tables}
    for shard, job in outcome.jobs.items():
        read: Any = job.result
        for name, chunks in read.items():
            found[name] += chunks
            e.count(shard, _count(chunks))
    rows = [_rows(table, found[table.name]) for table in tables]
    if budget.left < 0:
        raise _too_many(e.limits.gather_limit, rows)
    check_held(e, sum(each.characters for each in rows))
    return rows


def _read(
    cursor: RawCursor, reads: Mapping[str, tuple[str, Mapping[str, Any]]], budget: _Budget
) -> dict[str, list[tuple[str, ...]]]:
    """Read tables on one shard, one after the other; in a greenlet of the session's."""
    found = {}
    for name, (text, parameters) in reads.items():
        if budget.left < 0:
            break
        cursor.execute(text, {**parameters, "gs$limit": budget.left + 1})
        found[name] = [chunk for chunk in cursor.fetchall() if chunk[0] != "0"]
        budget.left -= _count(found[name])
    return found


def _reading(table: GatheredTable) -> str:
    """The text that reads a table's rows on a shard, in chunks if values may be large."""
    names = [f"c{n}" for n in range(len(table.columns))]
    arrays = ", ".join(
        f"pg_catalog.array_agg({name}{AS_TEXT if column.is_array else ''}){AS_TEXT}"
        for name, column in zip(names, table.columns, strict=True)
    )
    read = table.read.text if table.read.binds else table.read.text.replace("%", "%%")
    rows = f"(SELECT * FROM ({read}) AS g LIMIT %(gs$limit)s) AS g ({', '.join(names)})"
    if all(map(_is_small, table.columns)):
        return f"SELECT pg_catalog.count(*){AS_TEXT}, {arrays} FROM {rows}"
    number = "(pg_catalog.row_number() OVER () OPERATOR(pg_catalog.-) 1)"
    chunk = f"{number} OPERATOR(pg_catalog./) {_CHUNK_ROWS}"
    return (
        f"SELECT pg_catalog.count(*){AS_TEXT}, {arrays}"
        f" FROM (SELECT *, {chunk} AS chunk FROM {rows}) AS g GROUP BY chunk"
    )


def _is_small(column: GatheredColumn) -> bool:
    return not column.is_array and _SMALL.match(column.type_sql) is not None


def _count(chunks: Iterable[tuple[str, ...]]) -> int:
    return sum(int(chunk[0]) for chunk in chunks)


def _rows(table: GatheredTable, chunks: Sequence[tuple[str, ...]]) -> Rows:
    arrays = [chunk[1:] for chunk in chunks]
    # Arrays that came as arrays of text have commas in any case.
    if all(column.is_array or _COMMA.match(column.type_sql) for column in table.columns):
        arrays = [joined_arrays(group) for group in _groups(arrays)]
    return Rows(table, _count(chunks), tuple(arrays))


def _groups(pieces: Iterable[Arrays]) -> list[list[Arrays]]:
    """Pieces that can be one piece."""
    groups: list[list[Arrays]] = []
    room = 0
    for piece in pieces:
        size = _size(piece)
        if size > room:
            groups.append([])
            room = _PIECE_CHARACTERS
        groups[-1].append(piece)
        room -= size
    return groups


def _size(piece: Arrays) -> int:
    return sum(map(len, piece))


def _too_many(limit: int, rows: Sequence[Rows]) -> errors.NotSupportedError:
    largest = max(rows, key=lambda each: each.count).table.relation
    return errors.NotSupportedError(
        f"the query needs more than {limit} rows in one place, most of them of {largest}",
        code="GS405",
        hint="Restrict the rows, raise gather_limit, or run it on each shard with conn.on(...).",
    )
