"""Transactions that ask all shards the same, each answering under its own name.

A statement runs on all shards at once, and ``current_setting('greenshard.shard')`` in it is the
name of the shard that answers. Names without a schema are pg_catalog's. What such a transaction
does is rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from greenshard import errors
from greenshard._driver import ours
from greenshard.connection import Connection
from greenshard.links.session_settings import applying

SHARD = "pg_catalog.current_setting('greenshard.shard')"
"""SQL for the name of the shard that answers."""

#: With these a value has one text, and a type one name, whatever the server is set to.
VALUES: Mapping[str, str] = {
    "search_path": "pg_catalog, pg_temp",
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "iso_8601",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
    # Rather an error than rows that the role does not see.
    "row_security": "off",
}


def reached(conn: Connection) -> tuple[str, ...]:
    """The shards that a connection could be opened to, in shard order."""
    return tuple(shard for shard in conn.shards if shard not in conn._session.missing)


def unreached(conn: Connection) -> dict[str, str]:
    """Of each other shard why not."""
    missing = conn._session.missing
    return {shard: first_line(missing[shard]) for shard in conn.shards if shard in missing}


@contextmanager
def transaction(
    conn: Connection,
    shards: Sequence[str],
    *,
    name: str | None = None,
    settings: Mapping[str, str] = VALUES,
) -> Iterator[Any]:
    """A transaction on some shards, rolled back at the end.

    Args:
        conn: A connection to the shards, not in a transaction.
        shards: On which ones.
        name: Of a server-side cursor.
        settings: What is set for the transaction.

    Yields:
        A cursor over these shards.

    Switches: yes.
    """
    try:
        # SET LOCAL, shard by shard, so that each has a name of its own; the statement then goes to
        # all.
        for shard in shards:
            of_shard = {"greenshard.shard": shard, **settings}
            statement, words = applying(tuple(of_shard.items()))
            with conn.on(shard).cursor() as cursor:
                cursor.execute(statement, [ours(word) for word in words])
        with conn.on(shards).cursor(name) as cursor:
            yield cursor
    finally:
        # It may have made a temporary table, and the settings are the transaction's.
        conn.rollback()


def read_by_name(conn: Connection, query: str) -> dict[str, dict[str, str]]:
    """Read under each name what each shard has.

    Args:
        conn: A connection to the shards, not in a transaction.
        query: It gives the shard, a name and a text.

    Switches: yes.
    """
    found: dict[str, dict[str, str]] = {}
    with transaction(conn, reached(conn)) as cursor:
        cursor.execute(query)
        for shard, name, text in cursor.fetchall():
            found.setdefault(name, {})[shard] = text
    return found


@contextmanager
def tolerating(leave: Callable[[str], None]) -> Iterator[None]:
    """Go on with the next table if one cannot be read.

    Args:
        leave: Called with the reason then.

    Raises:
        errors.OperationalError: A shard is gone: it would give the same error for each table.
    """
    try:
        yield
    except errors.DatabaseError as error:
        if not is_about_the_table(error):
            raise
        leave(reason(error))
    except (ValueError, OverflowError) as error:
        # A key that Python has no value for, as a date before Christ.
        leave(str(error))


def is_about_the_table(error: errors.DatabaseError) -> bool:
    """Whether an error is of one table, so that the check of the others can go on."""
    return not isinstance(error, errors.OperationalError)


def reason(error: errors.Error) -> str:
    """The line of an error that says what happened; of the first shard, if several failed."""
    first = next(iter(error.failures.values()), error)
    return first_line(first)


def first_line(error: BaseException) -> str:
    """The line of an error that says what happened."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def escaped(sql: str) -> str:
    """SQL as a part of a statement with parameters."""
    return sql.replace("%", "%%")
