"""Runs one statement for ``greenshard query`` and gives its rows as PostgreSQL's own text.

As text, because Python's types lose some of it: ``interval '1 month'`` would become 30 days,
``timestamp 'infinity'`` the year 9999, and a date before Christ an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import greenshard
from greenshard._driver import global_typecasters, new_type, register_type
from greenshard.cli.formats import Column, Row
from greenshard.sql.statement import Statement, read_statement

STREAM_NAME = "greenshard_query"
_TEXT = 25  # pg_type.oid of text
CURSOR_STATEMENT = re.compile(r"[\s(]*(select|values|table)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        sql: the statement; with ``parameters``, psycopg2's ``%s`` stand for them.
        parameters: texts, whose type PostgreSQL infers; none leaves every ``%`` as it is.
        on: the shards to run on; empty means all.
        broadcast: whether an INSERT may put its rows on each of them.
        stream: whether rows may be printed before all have come.
        autocommit: whether each shard commits by itself.
        each: whether each row begins with its shard's name, over a union that only reads.
    """

    sql: str
    parameters: tuple[str, ...] = ()
    on: tuple[str, ...] = ()
    broadcast: bool = False
    stream: bool = False
    autocommit: bool = False
    each: bool = False


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        columns: the columns; empty if the statement gives no rows.
        rows: the rows, as text; they may still be on the servers.
        status: PostgreSQL's word for what was done, with the row count of all shards.
        failures: why some shards gave nothing (``--on-error partial``).
    """

    columns: tuple[Column, ...]
    rows: Iterable[Row]
    status: str
    failures: Mapping[str, BaseException]


@contextmanager
def answered(conn: greenshard.Connection, request: Request) -> Iterator[Answer]:
    """Run a statement; what it changed is committed at the end.

    With all rows at hand the commit comes first, so that nothing is printed that did not happen.
    Streamed rows come before it: such a statement only reads.

    Raises:
        errors.Error: a shard failed, or the statement is refused; nothing was committed.

    Switches: yes.
    """
    conn.autocommit = request.autocommit
    if request.each:
        conn.readonly = True
    give_text(conn)
    with _targeted(conn, request):
        if request.stream and is_streamable(request):
            with conn.cursor(STREAM_NAME) as cursor:
                cursor.execute(request.sql, request.parameters or None)
                first = cursor.fetchmany(cursor.itersize)
                yield Answer(_columns(cursor), chain(first, cursor), "", {})
            # After the cursor: its closing fails in a transaction that has ended.
            conn.commit()
            return
        with conn.cursor() as cursor:
            cursor.execute(request.sql, request.parameters or None)
            rows: Sequence[Row] = cursor.fetchall() if cursor.description else ()
            columns = _columns(cursor)
            if request.each and columns:
                columns, rows = (Column("shard", _TEXT), *columns), [*_named(cursor, rows)]
            _end(conn, cursor)
            status = cursor.statusmessage or ""
            yield Answer(columns, rows, status, cursor.failures)


def _named(cursor: Any, rows: Iterable[Row]) -> Iterator[Row]:
    """The rows of a union, each with its shard's name: they come in shard order."""
    left = iter(rows)
    for shard, timing in cursor.timings.items():
        yield from ((shard, *row) for row in islice(left, timing.rows))


def is_streamable(request: Request) -> bool:
    """Say whether a server-side cursor can run the statement: one that certainly only reads.

    >>> is_streamable(Request("SELECT 1;")), is_streamable(Request("SELECT 1; SELECT 2"))
    (True, False)
    """
    if request.autocommit or not CURSOR_STATEMENT.match(request.sql):
        return False
    if ";" in request.sql.rstrip().rstrip(";"):
        return False
    statement = read_statement(request.sql, bool(request.parameters))
    return isinstance(statement, Statement) and statement.reads


def give_text(conn: greenshard.Connection) -> None:
    """Let a connection give PostgreSQL's own text of every value, and None for NULL."""
    # Types that psycopg2 does not know come as text anyway.
    known = tuple(global_typecasters)
    register_type(new_type(known, "TEXT", lambda value, _cursor: value), conn)


@contextmanager
def _targeted(conn: greenshard.Connection, request: Request) -> Iterator[None]:
    with ExitStack() as stack:
        if request.on:
            stack.enter_context(conn.on(request.on))
        if request.broadcast:
            stack.enter_context(conn.broadcast())
        yield


def _end(conn: greenshard.Connection, cursor: Any) -> None:
    # Partial answers are of statements that read; where one failed there is nothing to commit.
    if cursor.failures:
        conn.rollback()
    else:
        conn.commit()


def _columns(cursor: Any) -> tuple[Column, ...]:
    return tuple(Column(column[0], column[1]) for column in cursor.description or ())
