"""Ask a server for what is true whatever its session has set, and leave no transaction behind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from greenshard import errors
from greenshard._driver import RawConnection, ours, own_cursor
from greenshard.links.physical import Physical

_Found = TypeVar("_Found")

#: Whatever the session has set, for as long as the catalog is read: then every name outside of
#: pg_catalog comes qualified, and constants in a view's definition mean the same everywhere.
#: The compiler would take longer than the query. The lock timeout is below ``deadlock_timeout``'s
#: default, so that it is not the migration which holds the lock that PostgreSQL would cancel.
SETTINGS = """
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL DateStyle = ISO;
SET LOCAL IntervalStyle = postgres;
SET LOCAL extra_float_digits = 1;
SET LOCAL quote_all_identifiers = off;
SET LOCAL standard_conforming_strings = on;
SET LOCAL jit = off;
SET LOCAL lock_timeout = '500ms';
"""


_QUOTED = re.compile(r"'(?:[^']|'')*'")


def meant_alike(query: str) -> str:
    r"""A query whose backslashes mean the same whatever ``standard_conforming_strings`` is.

    That it is set on with the query comes too late: the server reads a message before it runs it.

    >>> print(meant_alike(r"SELECT 'a' ~ '\ma'"))
    SELECT 'a' ~ E'\\ma'
    """

    def escaped(match: re.Match[str]) -> str:
        literal = match[0]
        return "E" + literal.replace("\\", "\\\\") if "\\" in literal else literal

    return _QUOTED.sub(escaped, query)


def value(physical: Physical, query: str, parameters: Mapping[str, Any] | None = None) -> bytes:
    """The one value of a query's one row, a bytea. Switches: yes."""
    (found,) = row(physical, query, parameters)
    return found


def row(
    physical: Physical, query: str, parameters: Mapping[str, Any] | None = None
) -> tuple[bytes, ...]:
    """A query's one row, each value of it a bytea. Switches: yes."""
    cursor = own_cursor(physical.raw)
    given = None if parameters is None else {n: ours(v) for n, v in parameters.items()}
    cursor.execute(query, given)
    (found,) = cursor.fetchall()
    return found


@contextmanager
def understood(shard: str) -> Iterator[None]:
    """Reading an answer, which of a server that is no PostgreSQL, or corrupted, may be anything.

    Raises:
        errors.OperationalError: It cannot be read.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as exc:
        raise errors.OperationalError(
            f"shard {shard}: what it says of its catalog cannot be read ({type(exc).__name__})",
            shard=shard,
            hint="Is it PostgreSQL? Only sslmode=verify-full makes that sure.",
        ) from exc


def calls_outside(
    physicals: Iterable[Physical], read: Callable[[Physical], _Found]
) -> dict[str, Callable[[], _Found]]:
    """What `Session.run` calls to `read_outside` from each that answers.

    One whose transaction has failed answers nothing.
    """
    return {
        physical.shard: partial(read_outside, physical, read)
        for physical in physicals
        if not physical.failed
    }


def read_outside(physical: Physical, read: Callable[[Physical], _Found]) -> _Found:
    """Read, and leave no transaction behind if there is none.

    Switches: yes.
    """
    # Within the program's transaction: what it has done must be seen, and it goes on afterwards.
    if physical.in_transaction:
        return read(physical)
    # So it does if SQL has begun it in autocommit mode, which psycopg2 learns in a with block only.
    by_sql = not physical.idle
    with physical.beginning_nothing():
        try:
            return read(physical)
        finally:
            if physical.alive and not by_sql:
                end_block(physical)


def end_block(physical: Physical) -> None:
    """End the transaction that psycopg2 begins in a with block, even in autocommit mode."""
    if physical.in_transaction:
        RawConnection.rollback(physical.raw)
