"""What a connection answers to a statement, and how two answers differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg2
from psycopg2 import extensions

from tests.differential.draft import Statement

#: The first OID of a type that a database has made.
_FIRST_OWN_TYPE = 16384
_SHOWN = 12
#: The types whose values are written as settings have it: bytea, float4, float8, date, timestamp,
#: timestamptz, and arrays of them; tstzrange. Not interval: psycopg2 tells which are equal.
_WRITTEN_BY_SETTINGS = (
    *(17, 700, 701, 1082, 1114, 1184),
    *(1001, 1021, 1022, 1182, 1115, 1185, 3910),
)

Rows = list[tuple[object, ...]]


@dataclass(frozen=True)
class Answer:
    """Rows and what they are, or an error.

    Attributes:
        rows: The rows in their order.
        columns: For each column its name and its type: the OID, or the name of an own type.
        modifiers: For each column the size, precision and scale that it declares.
        written: The number of rows that were written, of a statement without rows.
        error: What was raised instead.
    """

    rows: Rows
    columns: list[tuple[str, object]]
    modifiers: list[tuple[object, ...]]
    error: psycopg2.Error | None = None
    written: int | None = None

    @property
    def sqlstate(self) -> str | None:
        return self.error and self.error.pgcode


def answer(
    conn: Any,
    statement: Statement,
    types: Mapping[int, str],
    name: str | None = None,
    itersize: int = 7,
) -> Answer:
    """Run a statement.

    Args:
        conn: A connection, of psycopg2 or of greenshard.
        statement: What to run.
        types: The names of own types, by OID.
        name: Of a cursor on the server.
        itersize: How many rows such a cursor fetches at once.
    """
    with conn.cursor(name) as cur:
        if name:
            cur.itersize = itersize
        try:
            cur.execute(statement.text, statement.args)
            if name is None and cur.description is None:
                return Answer([], [], [], None, cur.rowcount)
            rows = [tuple(map(_plain, row)) for row in cur]
        except psycopg2.Error as exc:
            return Answer([], [], [], exc)
        except Exception as exc:
            # A bug of ours must not end the run.
            return Answer([], [], [], psycopg2.InternalError(f"{type(exc).__name__}: {exc}"))
        columns = [(column.name, _type(column.type_code, types)) for column in cur.description]
        modifiers = [tuple(column[3:6]) for column in cur.description]
        return Answer(rows, columns, modifiers)


def read_as_text(conn: Any) -> None:
    """Let a connection give dates, times and floats as the server writes them."""
    extensions.register_type(extensions.new_type(_WRITTEN_BY_SETTINGS, "WRITTEN", _as_it_is), conn)


def _as_it_is(text: str | None, _: object) -> str | None:
    return text


def _plain(value: object) -> object:
    if isinstance(value, list):
        return list(map(_plain, value))
    return bytes(value) if isinstance(value, memoryview) else value


def _type(oid: int, types: Mapping[int, str]) -> object:
    return oid if oid < _FIRST_OWN_TYPE else types.get(oid, oid)


def difference(expected: Answer, got: Answer, statement: Statement) -> str | None:
    """In what the answer differs from the one that is right; None if in nothing."""
    if expected.columns != got.columns:
        return f"columns: {got.columns} instead of {expected.columns}"
    if expected.written != got.written:
        return f"rows written: {got.written} instead of {expected.written}"
    right, ours = (shown(each, by_value=statement.by_value) for each in (expected, got))
    if Counter(right) != Counter(ours):
        return rows_differ(right, ours)
    if statement.order == "total" and right != ours:
        return f"order: {_first_difference(right, ours)}"
    if isinstance(statement.order, tuple):
        first, second = (_columns(each, statement.order) for each in (expected, got))
        if first != second:
            return f"order of columns {statement.order}: {_first_difference(first, second)}"
    return None


def _columns(answer: Answer, places: Sequence[int]) -> Rows:
    return [tuple(row[place] for place in places) for row in shown(answer, by_value=True)]


def shown(answer: Answer, *, by_value: bool) -> Rows:
    """The rows as what is compared: what values look like, or only what PostgreSQL compares."""
    if not by_value:
        return [tuple(map(repr, row)) for row in answer.rows]
    show = [_caseless if kind == "citext" else _by_value for _, kind in answer.columns]
    return [
        tuple(each(value) for each, value in zip(show, row, strict=True)) for row in answer.rows
    ]


def _caseless(value: object) -> object:
    return value if value is None else repr(str(value).lower())


def rows_differ(right: Rows, ours: Rows) -> str:
    """In what rows differ, whatever their order."""
    missing, extra = Counter(right) - Counter(ours), Counter(ours) - Counter(right)
    lines = [f"rows: {len(ours)} instead of {len(right)}"]
    for mark, rows in [("-", missing), ("+", extra)]:
        lines += [f"  {mark} {row}" for row in list(rows.elements())[:_SHOWN]]
    return "\n".join(lines)


def _first_difference(right: Rows, ours: Rows) -> str:
    place = next(i for i, (a, b) in enumerate(zip(right, ours, strict=True)) if a != b)
    return f"row {place} is {ours[place]} instead of {right[place]}"


def _by_value(value: object) -> object:
    """The same for all values that PostgreSQL holds for equal."""
    if isinstance(value, Decimal):
        if not value.is_finite():
            return str(value)
        return f"{value.normalize():f}" if value else "0"
    if isinstance(value, list):
        return tuple(_by_value(item) for item in value)
    if isinstance(value, dict):
        return tuple(sorted((key, _by_value(item)) for key, item in value.items()))
    if isinstance(value, float) and value.is_integer():
        return repr(int(value))
    return repr(value)
