"""What one session has set, for another one that shall behave alike."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from greenshard._driver import RawCursor, ours
from greenshard.merge.arrays import array_text

#: Settings of a transaction, those that psycopg2 looks after itself, one that cannot be changed
#: after its first use, and one that must be as it is where literals are written already.
_NOT_COPIED = (
    "transaction_isolation", "transaction_read_only", "transaction_deferrable",
    "default_transaction_isolation", "default_transaction_read_only",
    "default_transaction_deferrable", "client_encoding",
    "temp_buffers", "standard_conforming_strings",
)  # fmt: skip

#: Of the transaction. Only a statement that asks for them can tell: what another one sees is not
#: changed by them, for all that it needs is there when it begins.
OF_TRANSACTION = frozenset(
    {"transaction_isolation", "transaction_read_only", "transaction_deferrable"}
)
#: No setting: by what the transaction joins another one's snapshot.
_JOINED = "transaction_snapshot"
#: When the temporary tables are made.
READ_ONLY = "SET TRANSACTION READ ONLY"

#: pg_settings does not show settings that an application has made up, nor who the session acts as.
_READ = """
SELECT
    pg_catalog.json_agg(pg_catalog.json_build_array(name, setting) ORDER BY number)::pg_catalog.text
FROM (
    SELECT 1 AS number, name, setting FROM pg_catalog.pg_settings
    WHERE source OPERATOR(pg_catalog.=) 'session'
        AND name OPERATOR(pg_catalog.<>) ALL (%(not_copied)s::pg_catalog.text[])
    UNION ALL
    SELECT 2, name, pg_catalog.current_setting(name, true)
    FROM pg_catalog.unnest(%(asked)s::pg_catalog.text[]) AS name
    WHERE pg_catalog.current_setting(name, true) IS NOT NULL
    UNION ALL
    SELECT 3, 'session_authorization', SESSION_USER::pg_catalog.text
    UNION ALL
    SELECT 4, 'role', pg_catalog.current_setting('role')
) AS settings
"""
Settings = tuple[tuple[str, str], ...]


def read_settings(cursor: RawCursor, asked: Iterable[str]) -> Settings:
    """What the session of `cursor` has set, SET LOCAL included; in the order to apply it.

    Args:
        cursor: One for our own queries.
        asked: Names of settings that the statement asks for: PostgreSQL may not know them
            (``app.tenant``), and does not list those then.

    Switches: yes; call it in a greenlet of the session's.
    """
    cursor.execute(
        _READ, {"not_copied": ours(array_text(_NOT_COPIED)), "asked": ours(array_text(list(asked)))}
    )
    row: Any = cursor.fetchone()
    return tuple((name, value) for name, value in json.loads(row[0]))


def joining(snapshot: str) -> Settings:
    """The settings of a transaction that sees what another one sees, and only reads.

    >>> beginning(joining("03-02-1"))
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE; SET TRANSACTION SNAPSHOT '03-02-1'"
    """
    return (
        ("transaction_isolation", "repeatable read"),
        ("transaction_read_only", "on"),
        (_JOINED, snapshot),
    )


def beginning(settings: Settings) -> str:
    """What begins a transaction with those of its settings that must be told at once.

    >>> beginning((("transaction_isolation", "serializable"),))
    'BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE'
    """
    # current_setting('Transaction_Isolation') finds it, too.
    found = {name.lower(): value for name, value in settings}
    level = found.get("transaction_isolation", "read committed").upper()
    deferrable = " DEFERRABLE" if found.get("transaction_deferrable") == "on" else ""
    # READ WRITE: temporary tables are made first (`READ_ONLY`).
    begins = f"BEGIN ISOLATION LEVEL {level} READ WRITE{deferrable}"
    if (snapshot := found.get(_JOINED)) is not None:
        begins += f"; SET TRANSACTION SNAPSHOT '{snapshot}'"
    return begins


def reads_only(settings: Settings) -> bool:
    """Whether the transaction is to be set so, as soon as it has what it needs."""
    return any((name.lower(), value) == ("transaction_read_only", "on") for name, value in settings)


def others_than_transactions(settings: Settings) -> Settings:
    """The settings that are no transaction's."""
    apart = OF_TRANSACTION | {_JOINED}
    return tuple(each for each in settings if each[0].lower() not in apart)


def sets_nothing(settings: Settings, user: str) -> bool:
    """Whether a session has set nothing.

    Args:
        settings: What `read_settings` has found.
        user: Who has connected.
    """
    return settings == (("session_authorization", user), ("role", "none"))


def applying(settings: Settings) -> tuple[str, list[str]]:
    """A statement that gives a transaction these settings, and its parameters.

    >>> applying((("work_mem", "64"),))
    ('SELECT pg_catalog.set_config(%s, %s, true)', ['work_mem', '64'])
    """
    calls = ["pg_catalog.set_config(%s, %s, true)"] * len(settings)
    return f"SELECT {', '.join(calls)}", [text for setting in settings for text in setting]
