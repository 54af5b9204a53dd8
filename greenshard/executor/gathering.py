"""The needed rows come to one PostgreSQL, into temporary tables, and the query runs there.

On each shard, for each table::

    SELECT count(*), array_agg(c0)::text, array_agg(c1)::text FROM (the read) AS g (c0, c1)

and then on a connection of its own to the home's database, in a transaction that is rolled back::

    CREATE TEMP TABLE orders (id bigint, note text)
    INSERT INTO orders SELECT unnest(%s::bigint[]), unnest(%s::text[])

No value of a cell is made in Python: each column of a shard's rows is one text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from greenshard import errors
from greenshard._driver import RawCursor, own_cursor
from greenshard.executor.answer import Answer
from greenshard.executor.exactness import check_type_names
from greenshard.executor.gatherer import end, execute, gatherer
from greenshard.executor.physical import Physical
from greenshard.executor.planned import Planned
from greenshard.executor.session_settings import Settings, applying, read_settings
from greenshard.planner.plan import Gather, GatheredColumn, GatheredTable, Sql

_AS_TEXT = "::pg_catalog.text"
_GROUPING_ERROR = "42803"

#: Statements are sent together as long as their parameters have no more characters than this.
_BATCH_CHARACTERS = 1_000_000
#: A temporary table of so many rows is analyzed before the query, a sample of 3,000 of them.
_ANALYZED_ROWS = 1_000
_SAMPLE = "SET LOCAL default_statistics_target = 10"
#: So much of the columns goes into one value, before the server's limit of 1 GB is near: text may
#: be some times as long as what it stands for, and as what it is compressed to.
_CHUNK_BYTES = 16 * 1024 * 1024
#: Types whose values are small, whatever is in them.
_SMALL = re.compile(
    r"(bigint|integer|smallint|numeric|real|double precision|boolean|date|time|interval"
    r"|pg_catalog\.(uuid|date))\b"
)
#: Types whose values say how long they are even where they are stored compressed.
_MEASURED = re.compile(r"((pg_catalog\.)?(text|bytea)|character varying|character)(\(\d+\))?$")

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
#: Temporary tables are found first, unless somebody has said otherwise.
_FIND_THEM_FIRST = (
    "SELECT pg_catalog.set_config('search_path', 'pg_temp, ' || path, true)"
    " FROM pg_catalog.current_setting('search_path') AS path WHERE path ~ 'pg_temp'"
)

#: A chunk of a table's rows: how many, and each column's values as the text of an array.
Chunk = tuple[str, ...]


def gather(e: Planned, step: Gather) -> Answer:
    """Run a query where the rows that it needs have been brought.

    Raises:
        errors.NotSupportedError: They are more than ``gather_limit``.

    Switches: yes.
    """
    e.check_parameters()
    every = e.gathers_references
    tables = [table for table in step.tables if every or not table.reference]
    check_type_names(e, [column.type_sql for table in tables for column in table.columns])
    brought = _read(e, tables)
    home = e.database.home if e.database.home not in e.session.broken else e.any_shard()
    settings = _settings(e, home)
    physical = gatherer(e.session, home, e.database.connect_timeout_s, e.timeout)
    at_once = True
    try:
        batch = _filling(tables, brought, settings)
        execute(e.session, physical, batch.send, e.timeout)
        answer = _answer(e, step.complete if every else step.sql, tables, home, physical)
        at_once = False
    except errors.Error as error:
        at_once = False
        if error.shard == physical.shard:
            error.shard = home
        raise
    finally:
        end(e.session, physical, at_once=at_once)
    return answer


def _answer(
    e: Planned, sql: Sql, tables: Sequence[GatheredTable], home: str, physical: Physical
) -> Answer:
    parameters = e.parameters(sql)
    try:
        return e.last_stage(home, sql.text, parameters, physical.shard)
    except errors.Error as error:
        keys = [table for table in tables if table.primary_key]
        if error.pgcode != _GROUPING_ERROR or not keys:
            raise
    # A column that is not grouped by, of a table whose primary key is.
    batch = _Batch("ROLLBACK TO SAVEPOINT gathered")
    for table in keys:
        columns = ", ".join(map(_quoted, table.primary_key))
        batch.add(f"ALTER TABLE pg_temp.{_quoted(table.name)} ADD PRIMARY KEY ({columns})")
    execute(e.session, physical, batch.send, e.timeout)
    return e.last_stage(home, sql.text, parameters, physical.shard)


def _settings(e: Planned, home: str) -> Settings:
    """What the home's session has set, and the gathering one has not."""
    if not e.database.may_have_set:
        return ()
    cursor = own_cursor(e.session.physical(home).raw)
    call = partial(read_settings, cursor, e.database.made_up_settings)
    found: Any = e.session.run({home: call}, e.timeout).jobs[home].result
    return tuple(found)


# Reading ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Budget:
    """How many more rows may be read."""

    left: int


def _read(e: Planned, tables: Sequence[GatheredTable]) -> dict[str, list[Chunk]]:
    """The rows of each table.

    Raises:
        errors.NotSupportedError: They are too many. The transaction is as it was.
    """
    budget = _Budget(e.limits.gather_limit)
    wanted: dict[str, list[GatheredTable]] = {}
    one = e.any_shard()
    for table in tables:
        for shard in (one,) if table.reference else e.targets(table.pins):
            wanted.setdefault(shard, []).append(table)
    shards = tuple(shard for shard in e.session.shards if shard in wanted)
    reads = {table.name: (_reading(table), e.parameters(table.read) or {}) for table in tables}
    calls = {
        physical.shard: partial(
            _read_tables,
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
    chunks: dict[str, list[Chunk]] = {table.name: [] for table in tables}
    for shard, job in outcome.jobs.items():
        found: Any = job.result
        for name, read in found.items():
            chunks[name] += read
            e.count(shard, _rows(read))
    if budget.left < 0:
        raise _too_many(e.limits.gather_limit, tables, chunks)
    return chunks


def _read_tables(
    cursor: RawCursor, reads: Mapping[str, tuple[str, Mapping[str, Any]]], budget: _Budget
) -> dict[str, list[Chunk]]:
    """Read tables on one shard, one after the other; in a greenlet of the session's."""
    chunks = {}
    for name, (text, parameters) in reads.items():
        if budget.left < 0:
            break
        cursor.execute(text, {**parameters, "gs$limit": budget.left + 1})
        chunks[name] = [chunk for chunk in cursor.fetchall() if chunk[0] != "0"]
        budget.left -= _rows(chunks[name])
    return chunks


def _rows(chunks: Sequence[Chunk]) -> int:
    return sum(int(chunk[0]) for chunk in chunks)


def _reading(table: GatheredTable) -> str:
    """The text that reads a table's rows on a shard, in chunks if values may be large."""
    names = [f"c{n}" for n in range(len(table.columns))]
    columns = list(zip(names, table.columns, strict=True))
    arrays = ", ".join(
        f"pg_catalog.array_agg({name}{_AS_TEXT if column.is_array else ''}){_AS_TEXT}"
        for name, column in columns
    )
    read = table.read.text if table.read.binds else table.read.text.replace("%", "%%")
    rows = f"(SELECT * FROM ({read}) AS g LIMIT %(gs$limit)s) AS g ({', '.join(names)})"
    sizes = [size for name, column in columns if (size := _size(name, column)) is not None]
    text = f"SELECT pg_catalog.count(*){_AS_TEXT}, {arrays} FROM "
    if not sizes:
        return text + rows
    before = f"pg_catalog.sum({' + '.join(sizes)}) OVER (ROWS UNBOUNDED PRECEDING)"
    chunk = f"SELECT *, {before} / {_CHUNK_BYTES} AS chunk FROM {rows}"
    return f"{text} ({chunk}) AS g GROUP BY chunk"


def _size(name: str, column: GatheredColumn) -> str | None:
    """How large a column's value is; None for types of small values."""
    if column.is_array or not _SMALL.match(column.type_sql):
        function = "octet_length" if _MEASURED.match(column.type_sql) else "pg_column_size"
        return f"COALESCE(pg_catalog.{function}({name}), 0)"
    return None


def _too_many(
    limit: int, tables: Sequence[GatheredTable], chunks: Mapping[str, Sequence[Chunk]]
) -> errors.NotSupportedError:
    counts = {table.relation: _rows(chunks[table.name]) for table in tables}
    largest = max(counts, key=lambda relation: counts[relation])
    return errors.NotSupportedError(
        f"the query needs more than {limit} rows in one place, most of them of {largest}",
        code="GS405",
        hint="Restrict the rows, raise gather_limit, or run it on each shard with conn.on(...).",
    )


# Filling ------------------------------------------------------------------------------------


class _Batch:
    """Statements that are sent together, as far as they are not too large."""

    def __init__(self, first: str) -> None:
        self._sendings: list[tuple[list[str], list[str]]] = [([first], [])]
        self._characters = 0

    def add(self, text: str, parameters: Sequence[str] = ()) -> None:
        """Add a statement with psycopg2's placeholders."""
        self._characters += sum(map(len, parameters))
        if self._characters > _BATCH_CHARACTERS:
            self._sendings.append(([], []))
            self._characters = 0
        texts, values = self._sendings[-1]
        texts.append(text)
        values.extend(parameters)

    def send(self, cursor: RawCursor) -> None:
        """Send all; in a greenlet of the session's."""
        for texts, values in self._sendings:
            text = "; ".join(texts)
            # psycopg2 leaves a text alone in which there is no placeholder.
            cursor.execute(*(text, values) if values else (text.replace("%%", "%"),))


def _filling(
    tables: Sequence[GatheredTable], chunks: Mapping[str, Sequence[Chunk]], settings: Settings
) -> _Batch:
    """What makes the temporary tables, and fills them."""
    batch = _Batch(_BEGIN)
    if settings:
        batch.add(*applying(settings))
    for table in tables:
        columns = ", ".join(map(_declared, table.columns))
        batch.add(f"CREATE TEMP TABLE {_quoted(table.name)} ({columns})")
        for _, *arrays in chunks[table.name]:
            batch.add(_insertion(table), arrays)
    large = [table for table in tables if _rows(chunks[table.name]) >= _ANALYZED_ROWS]
    if large:
        batch.add(_SAMPLE)
        batch.add(f"ANALYZE {', '.join('pg_temp.' + _quoted(table.name) for table in large)}")
    batch.add(_FIND_THEM_FIRST)
    batch.add("SAVEPOINT gathered")
    return batch


def _declared(column: GatheredColumn) -> str:
    collation = f" COLLATE {column.collation}" if column.collation else ""
    return f"{_quoted(column.name)} " + f"{column.type_sql}{collation}".replace("%", "%%")


def _insertion(table: GatheredTable) -> str:
    """The text that puts a chunk of rows into a table.

    Not in FROM, where a composite value would be unnested into its fields.
    """
    values = ", ".join(map(_unnested, table.columns))
    return f"INSERT INTO pg_temp.{_quoted(table.name)} SELECT {values}"


def _unnested(column: GatheredColumn) -> str:
    type_sql = column.type_sql.replace("%", "%%")
    if column.is_array:  # its values came as text, for they need not have the same dimensions
        return f"pg_catalog.unnest(%s{_AS_TEXT}[])::{type_sql}"
    return f"pg_catalog.unnest(%s::{type_sql}[])"


def _quoted(name: str) -> str:
    """An identifier, in a text with psycopg2's placeholders."""
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'
