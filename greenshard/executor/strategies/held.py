"""How much a statement holds in this process of rows that are on their way to its answer.

What counts is told in the documentation ("Limits"): the memory that libpq takes for the shards'
partial rows, for rows that are merged here, and for a named cursor's pages; the text of rows that
travel to one server. Python's values of them take as much again, or several times. Rows that are
themselves an ordinary cursor's answer do not count: psycopg2 would hold them, too.
"""

from __future__ import annotations

from collections.abc import Iterable

from greenshard import errors
from greenshard._driver import RawCursor
from greenshard._libpq import result_bytes
from greenshard.executor.planned import Planned


def check_held(e: Planned, held_bytes: int) -> None:
    """Refuse to hold more than is allowed.

    Raises:
        errors.NotSupportedError: It is more.
    """
    most = e.limits.max_held_bytes
    if held_bytes > most:
        raise errors.NotSupportedError(
            f"the rows on their way to the answer take {held_bytes:,} bytes in this process,"
            f" and max_held_bytes is {most:,}",
            code="GS414",
            hint="Use a named cursor, with a smaller itersize if it is one; restrict the rows; "
            "or raise max_held_bytes.",
        )


def check_page(e: Planned, cursors: Iterable[RawCursor]) -> None:
    """Refuse cursors that hold more than is allowed; see `check_held`."""
    check_held(e, sum(map(result_bytes, cursors)))


def check_rows(e: Planned, rows: int, of: str) -> None:
    """Refuse to bring more rows to one place than is allowed.

    Args:
        e: The execution.
        rows: How many.
        of: What they are, for the message.

    Raises:
        errors.NotSupportedError: They are too many.
    """
    limit = e.limits.gather_limit
    if rows > limit:
        raise errors.NotSupportedError(
            f"the query needs more than {limit} rows in one place, {of}",
            code="GS405",
            hint="Restrict them, raise gather_limit, or run it on each shard with conn.on(...).",
        )
