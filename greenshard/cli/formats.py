"""How ``greenshard query`` prints rows: as a table, as CSV, as JSON.

Pure: rows of PostgreSQL's own text in (None for NULL), lines out. CSV and JSON give each line as
its row comes, so that a result of any size can pass through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from greenshard.cli.json_text import json_text
from greenshard.cli.table import table_lines
from greenshard.sql.types import Trait, oids_with

Row = Sequence[str | None]

NUMBERS = oids_with(Trait.NUMBER)


@dataclass(frozen=True)
class Column:
    """A column of the answer: its name, and the OID of its type."""

    name: str
    oid: int


class SameName(Exception):
    """JSON objects cannot hold two columns of one name."""


Format = Callable[[Sequence[Column], Iterable[Row], str], Iterator[str]]


def table(columns: Sequence[Column], rows: Iterable[Row], null: str) -> Iterator[str]:
    """Give an aligned table; needs all rows first.

    Args:
        columns: the columns.
        rows: the rows.
        null: how NULL prints.
    """
    cells = [[null if cell is None else cell for cell in row] for row in rows]
    names = [column.name for column in columns]
    yield from table_lines(names, cells, right=[column.oid in NUMBERS for column in columns])


def csv(columns: Sequence[Column], rows: Iterable[Row], null: str) -> Iterator[str]:
    """Give CSV with a heading, as ``COPY ... WITH (FORMAT csv, HEADER, NULL null)`` writes it.

    A text equal to ``null`` is quoted, NULL is not: COPY reads back exactly what was there.

    Args:
        columns: the columns.
        rows: the rows.
        null: how NULL prints; must hold no comma, quote or line end.

    >>> list(csv([Column("a", 25), Column("b", 25)], [["x,y", None], ["", "z"]], ""))
    ['a,b', '"x,y",', '"",z']
    """
    yield ",".join(_csv_field(column.name, null) for column in columns)
    for row in rows:
        yield ",".join(null if cell is None else _csv_field(cell, null) for cell in row)


def _csv_field(text: str, null: str) -> str:
    # A line that is \. and nothing else ends the data for COPY.
    if text in (null, "\\.") or any(mark in text for mark in ',"\n\r'):
        return '"' + text.replace('"', '""') + '"'
    return text


def json(columns: Sequence[Column], rows: Iterable[Row], null: str) -> Iterator[str]:
    """Give a JSON array of one object per row, each on its own line.

    Args:
        columns: the columns.
        rows: the rows.
        null: not used: JSON has a null.

    Raises:
        SameName: two columns have the same name.

    >>> list(json([Column("n", 23), Column("d", 1082)], [["1", "2013-01-01"], ["2", None]], ""))
    ['[', '{"n": 1, "d": "2013-01-01"},', '{"n": 2, "d": null}', ']']
    """
    del null
    doubled = [name for name, n in Counter(column.name for column in columns).items() if n > 1]
    if doubled:
        raise SameName(f"several columns are called {', '.join(map(repr, doubled))}")
    keys = [json_text(column.name, 25) for column in columns]
    yield "["
    pending = None
    for row in rows:
        if pending is not None:
            yield pending + ","
        values = (json_text(cell, column.oid) for cell, column in zip(row, columns, strict=True))
        pending = "{" + ", ".join(f"{k}: {v}" for k, v in zip(keys, values, strict=True)) + "}"
    if pending is not None:
        yield pending
    yield "]"


FORMATS: dict[str, Format] = {"table": table, "csv": csv, "json": json}
