"""What a step answers, and how two answers differ.

What is volatile is compared by its kind: of times that are of this run, random numbers and UUIDs
only that they are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg2

from tests.differential.answers import rows_differ
from tests.differential.dml.steps import CALLS, Step

#: The types of volatile columns: timestamptz, float8, uuid.
TIME, _FLOAT, _UUID = 1184, 701, 2950
VOLATILE = "volatile"
#: Times before it are no statement's own.
_OLD = "2021"
_DETAILS = ("constraint_name", "column_name", "table_name", "schema_name")
#: Errors of values and of constraints: where several rows have one, either may be told.
_OF_ROWS = ("21", "22", "23")
_OF_ONE_ROW = ("INSERT VALUES, one row",)


@dataclass(frozen=True)
class Told:
    """What a step answers.

    Attributes:
        rows: Its rows, volatile values by their kind; None if it has none.
        columns: Their names and types.
        count: Of rows, that the cursor tells.
        status: The command's tag.
        error: What was raised instead.
    """

    rows: list[tuple[str, ...]] | None = None
    columns: list[tuple[str, object]] | None = None
    count: int = -1
    status: str | None = None
    error: psycopg2.Error | None = None


def perform(conn: Any, step: Step, types: Mapping[int, str]) -> Told:
    """Do a step over a connection.

    Args:
        conn: It, of psycopg2 or of greenshard.
        step: What to do.
        types: The names of own types, by OID.
    """
    with conn.cursor() as cur:
        try:
            given = CALLS[step.call](cur, step)
            if cur.description is None:
                return Told(None, None, cur.rowcount, cur.statusmessage)
            kinds = [column.type_code for column in cur.description]
            columns = [
                (each.name, types.get(each.type_code, each.type_code)) for each in cur.description
            ]
            rows = given if step.fetch else cur.fetchall()
            shown = [tuple(map(_masked, row, kinds)) for row in rows]
            return Told(shown, columns, cur.rowcount, cur.statusmessage)
        except psycopg2.Error as exc:
            return Told(error=exc)
        except Exception as exc:
            # A bug of ours must not end the run.
            return Told(error=psycopg2.InternalError(f"{type(exc).__name__}: {exc}"))


def _masked(value: object, kind: object) -> str:
    return repr(kind_of(value, kind))


def kind_of(value: object, kind: object) -> object:
    """The value, or that it is a volatile one."""
    volatile = kind in {_FLOAT, _UUID} or (kind == TIME and str(value) > _OLD)
    return VOLATILE if volatile and value is not None else value


def is_refusal(error: psycopg2.Error | None) -> bool:
    return isinstance(error, psycopg2.NotSupportedError) and not error.pgcode


def difference(expected: Told, got: Told, step: Step) -> str | None:
    """In what an answer differs from the one that is right; None if in nothing."""
    if expected.error or got.error:
        return _errors_differ(expected.error, got.error, step)
    right, ours = ([*_facts(told, step)] for told in (expected, got))
    different = next((pair for pair in zip(right, ours, strict=True) if pair[0] != pair[1]), None)
    if different:
        return f"{different[1]} instead of {different[0]}"
    first, second = expected.rows or [], got.rows or []
    if not step.numbers and sorted(first) != sorted(second):
        return rows_differ(first, second)
    if step.ordered and first != second:
        return f"order: {second} instead of {first}"
    return None


def _facts(told: Told, step: Step) -> Iterator[str]:
    yield f"columns: {told.columns}"
    yield f"count: {told.count}"
    # Of many calls in one, the tag is that of the last one, or of all.
    yield f"status: {told.status if step.call == 'execute' else None}"


def _errors_differ(
    right: psycopg2.Error | None, ours: psycopg2.Error | None, step: Step
) -> str | None:
    if right is None or ours is None:
        return f"{ours!r} instead of {right!r}"
    several = [*getattr(ours, "failures", {}).values()] or [ours]
    alike = [each for each in several if each.pgcode == right.pgcode]
    if not alike:
        codes = [str(each.pgcode)[:2] in _OF_ROWS for each in (right, *several)]
        return None if all(codes) else f"{ours.pgcode} {ours} instead of {right.pgcode} {right}"
    for name in _DETAILS:
        first = getattr(right.diag, name)
        others = [getattr(each.diag, name) for each in alike]
        if first not in others and (step.what in _OF_ONE_ROW or (first is None) is all(others)):
            return f"diag.{name}: {others} instead of {first} ({ours})"
    return None
