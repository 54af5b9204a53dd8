"""Rows that were read, put before a query: as temporary tables, or in its own text.

A few rows go with the query, whose text then begins so::

    WITH orders (id, note) AS (SELECT unnest(%s::bigint[]), unnest(%s::text[])) SELECT ...

Of these PostgreSQL knows no more than how many there are. That is enough to sort them; to join a
thousand of them in the right way, it must know more. These, and many rows in any case, go into
temporary tables first, which can be analyzed, and whose transaction is rolled back::

    CREATE TEMP TABLE orders (id bigint, note text)
    INSERT INTO orders SELECT unnest(%s::bigint[]), unnest(%s::text[])
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

from greenshard._driver import RawCursor
from greenshard.executor.strategies.table_rows import AS_TEXT, Arrays, Rows, is_small
from greenshard.executor.strategies.travelling import parameter, receiving, receiving_cell
from greenshard.links.session_settings import (
    READ_ONLY,
    Settings,
    applying,
    beginning,
    others_than_transactions,
    reads_only,
)
from greenshard.planner.plan import GatheredColumn, GatheredTable
from greenshard.sql import nodes

#: Statements are sent together as long as their parameters have no more characters than this.
_BATCH_CHARACTERS = 1_000_000
#: So many rows of a table are put into a temporary one if PostgreSQL must choose how to join them.
#: It is indexed where that helps, and analyzed (3,000 rows of it).
ANALYZED_ROWS = 1_000
SAMPLE = "SET LOCAL default_statistics_target = 10"
#: As many pieces of a table go with a query.
_MOST_PIECES = 16

#: Temporary tables are found first, unless somebody has said otherwise.
_FIND_THEM_FIRST = (
    "SELECT pg_catalog.set_config('search_path', pg_catalog.concat('pg_temp, ', path), true)"
    " FROM pg_catalog.current_setting('search_path') AS path"
    " WHERE path OPERATOR(pg_catalog.~) 'pg_temp'"
)
#: How a query begins: comments, and then a word before which, or after which, WITH can be put.
_QUERY = re.compile(
    rb"(?P<before>(?:\s|--[^\n]*\n|/\*(?:(?!/\*|\*/).)*\*/)*)"
    rb"(?:(?P<with>with\s+(?P<recursive>recursive\s+)?)|(?=select\b|values\b|table\b|\())",
    re.IGNORECASE | re.DOTALL,
)


class Batch:
    """Statements that are sent together, as far as they are not too large."""

    def __init__(self, *first: str) -> None:
        self._sendings: list[tuple[list[str], list[Any]]] = [([*first], [])]
        self._characters = 0

    def add(self, text: str, parameters: Sequence[str] = (), encoding: str | None = None) -> None:
        """Add a statement with psycopg2's placeholders; its parameters travel (`travelling`)."""
        self._characters += sum(map(len, parameters))
        # The first statement may be too large by itself: an empty sending would be an error.
        if self._characters > _BATCH_CHARACTERS and self._sendings[-1][0]:
            self._sendings.append(([], []))
            self._characters = 0
        texts, values = self._sendings[-1]
        texts.append(text)
        values.extend(parameter(each, encoding) for each in parameters)

    def send(self, cursor: RawCursor) -> None:
        """Send all; in a greenlet of the session's."""
        for texts, values in self._sendings:
            text = "; ".join(texts)
            # psycopg2 leaves a text alone in which there is no placeholder.
            cursor.execute(*(text, values) if values else (text.replace("%%", "%"),))


def filling(rows: Sequence[Rows], settings: Settings) -> Batch:
    """What begins a transaction, makes the temporary tables, and fills them."""
    batch = begin(settings)
    add_tables(batch, [each.table for each in rows])
    for each in rows:
        for piece in each.pieces:
            add_rows(batch, each.table, piece, each.encoding)
    add_end(batch, {each.table: each.count for each in rows}, settings)
    return batch


def begin(settings: Settings) -> Batch:
    """What begins a transaction with these settings, but that tables can still be made in it."""
    batch = Batch(beginning(settings))
    if others := others_than_transactions(settings):
        batch.add(*applying(others))
    return batch


def add_read_only(batch: Batch, settings: Settings) -> None:
    """Add what forbids a transaction to write, if these settings do, once all tables are made."""
    if reads_only(settings):
        batch.add(READ_ONLY)


def add_tables(batch: Batch, tables: Iterable[GatheredTable]) -> None:
    """Add what makes the temporary tables."""
    for table in tables:
        columns = ", ".join(map(_declared, table.columns))
        batch.add(f"CREATE TEMP TABLE {quoted(table.name)} ({columns})")


def add_rows(batch: Batch, table: GatheredTable, piece: Arrays, encoding: str | None) -> None:
    """Add what puts rows into a temporary table."""
    # Not in FROM, where a composite value would be unnested into its fields.
    text = receiving(encoding)
    values = ", ".join(_unnested(column, text) for column in table.columns)
    batch.add(f"INSERT INTO pg_temp.{quoted(table.name)} SELECT {values}", piece, encoding)


def inserting(table: GatheredTable, encoding: str | None) -> str:
    """The text that puts rows into a table itself, with placeholders for their columns' arrays."""
    text = receiving(encoding)
    names = ", ".join(quoted(column.name) for column in table.columns)
    values = ", ".join(_unnested(column, text) for column in table.columns)
    name = table.relation.replace("%", "%%")
    # What an identity column has counted moves along.
    return f"INSERT INTO {name} ({names}) OVERRIDING SYSTEM VALUE SELECT {values}"


def add_end(batch: Batch, counts: Mapping[GatheredTable, int], settings: Settings) -> None:
    """Add what is to be done when all rows are there."""
    for table, count in counts.items():
        for index in _indexes(table) if count >= ANALYZED_ROWS else ():
            batch.add(f"CREATE INDEX ON pg_temp.{quoted(table.name)} USING {index}")
    large = [table for table, count in counts.items() if count >= ANALYZED_ROWS]
    if large:
        batch.add(SAMPLE)
        batch.add(f"ANALYZE {', '.join('pg_temp.' + quoted(table.name) for table in large)}")
    # search_path = public, pg_temp would find the shard's own table of that name.
    batch.add(_FIND_THEM_FIRST)
    # A query that fails for want of a primary key is run again from here, see `keying`.
    batch.add("SAVEPOINT gathered")
    add_read_only(batch, settings)


def _indexes(table: GatheredTable) -> list[str]:
    """The methods and columns of the indexes by which subqueries find rows."""
    small = {column.name for column in table.columns if is_small(column)}
    indexes = []
    for sought in table.sought:
        if columns := [quoted(name) for name in sought if name in small]:
            indexes.append(f"btree ({', '.join(columns)})")
        # A value of more than 2,704 bytes cannot be in a btree; a hash index has no values.
        indexes += [f"hash ({quoted(name)})" for name in sought if name not in small]
    return list(dict.fromkeys(indexes))


def keying(tables: Iterable[GatheredTable]) -> Batch | None:
    """What adds the primary keys, after a query that failed; None if there are none."""
    batch = None
    for table in tables:
        if table.primary_key:
            batch = batch or Batch("ROLLBACK TO SAVEPOINT gathered")
            columns = ", ".join(map(quoted, table.primary_key))
            batch.add(f"ALTER TABLE pg_temp.{quoted(table.name)} ADD PRIMARY KEY ({columns})")
    return batch


def are_many(rows: Sequence[Rows]) -> bool:
    """Whether a wrong way to join them would take long."""
    return any(each.count >= ANALYZED_ROWS for each in rows)


def inlined(query: bytes, rows: Sequence[Rows], cursor: RawCursor) -> bytes | None:
    """A query with the rows in its text; None if tables are better, or it begins strangely.

    Args:
        query: Without placeholders.
        rows: Of each table.
        cursor: To quote with.
    """
    # The server would parse a megabyte of literals for one query; a table can be analyzed besides.
    if sum(each.characters for each in rows) > _BATCH_CHARACTERS:
        return None
    if any(len(each.pieces) > _MOST_PIECES for each in rows):
        return None
    begins = _QUERY.match(query)
    if begins is None:
        return None
    tables = ", ".join(map(common_table, rows))
    recursive = "RECURSIVE " if begins["recursive"] else ""
    text = f"WITH {recursive}{tables}{',' if begins['with'] else ''} "
    arrays = [
        parameter(array, each.encoding) for each in rows for piece in each.pieces for array in piece
    ]
    put = cursor.mogrify(text, arrays) if arrays else cursor.mogrify(text.replace("%%", "%"))
    # WITH RECURSIVE is said once, for all.
    return begins["before"] + put + query[begins.end() :]


def common_table(rows: Rows, placeholders: Iterable[str] = repeat("%s")) -> str:
    """A WITH query of some rows.

    Args:
        rows: The rows.
        placeholders: For the columns of the first piece of them, then for those of the next one.
    """
    columns, left = rows.table.columns, iter(placeholders)
    names = ", ".join(quoted(column.name) for column in columns)
    pieces = []
    for _ in rows.pieces:
        texts = [receiving_cell(next(left), rows.encoding) for _ in columns]
        values = [_typed(c, _unnested(c, text)) for c, text in zip(columns, texts, strict=True)]
        pieces.append("SELECT " + ", ".join(values))
    if not pieces:
        # No rows are a table, too, whose columns have types. Not NULL ... WHERE false: PostgreSQL
        # leaves out what it plans to be empty, and with it the question whether one may read what
        # it is joined with.
        nothing = ", ".join(_typed(column, _unnested(column, "'{}'")) for column in columns)
        pieces = [f"SELECT {nothing}" if columns else "SELECT WHERE false"]
    return f"{quoted(rows.table.name)} ({names}) AS ({' UNION ALL '.join(pieces)})"


def _typed(column: GatheredColumn, value: str) -> str:
    """A value with the column's whole type, its precision and its collation."""
    return f"{value}::{_type(column)}{_collation(column)}"


def _declared(column: GatheredColumn) -> str:
    return f"{quoted(column.name)} {_type(column)}{_collation(column)}"


def _unnested(column: GatheredColumn, text: str) -> str:
    """The values of a column.

    Args:
        column: The column.
        text: The text of an array of them, as an expression.
    """
    if column.is_array:  # its values came as text, for they need not have the same dimensions
        return f"pg_catalog.unnest({text}{AS_TEXT}[])::{_type(column)}"
    return f"pg_catalog.unnest({text}::{_type(column)}[])"


def _type(column: GatheredColumn) -> str:
    return column.type_sql.replace("%", "%%")


def _collation(column: GatheredColumn) -> str:
    return f" COLLATE {column.collation}".replace("%", "%%") if column.collation else ""


def quoted(name: str) -> str:
    """An identifier, in a text with psycopg2's placeholders."""
    return nodes.quoted(name).replace("%", "%%")
