"""BEGIN travels with the first statement of a transaction, which saves a round trip.

psycopg2 sends ``BEGIN`` by itself and waits for its answer. Here a statement is sent with it in one
message, to a connection in autocommit mode, so that psycopg2 begins nothing (`Physical.begun`)::

    BEGIN /* greenshard */; SELECT ...

The statement must not notice. An error's position counts from the beginning of the message, and
one of the parser lets nothing of it be run, BEGIN neither: such an error is not raised; the
transaction is rolled back, and the statement is sent as psycopg2 does it. Only if it has had no
effect, for a sequence that it advanced stays advanced: of a message with one statement, PostgreSQL
tells positions while it analyses it. What runs and parses, such as ``::regtype``, tells positions
too, but in a text of its own, and says in the error's context in which.

What only psycopg2 can do in a transaction (named cursors, two-phase commit) is done when it has
been told of it (`hand_over`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from greenshard import errors
from greenshard._driver import DriverError, QueryCanceled, RawCursor
from greenshard.links.physical import (
    Physical,
    autocommit,
    begins_by_itself,
    has_characteristics,
    notices,
)
from greenshard.sql.first_words import says_something

#: Nobody writes it like this: `without_begin` tells what was sent by it.
_BEGIN = b"BEGIN /* greenshard */; "
#: Takes no snapshot, so that the isolation level can still be set.
_HARMLESS = "SHOW server_version"


def executing(physical: Physical, cursor: RawCursor, *sent: Any) -> Callable[[], object]:
    """The call that executes a statement, and begins a transaction where psycopg2 would.

    Args:
        physical: The connection.
        cursor: Its cursor.
        sent: The arguments of ``execute``.
    """
    raw = physical.raw
    # psycopg2 declares a named cursor only in a transaction that it knows of.
    if cursor.name is not None:
        if physical.begun:
            return partial(_handed_over, physical, cursor, *sent)
    elif not (physical.begun or physical.entered or physical.given) and begins_by_itself(raw):
        return partial(_begin_with, physical, cursor, *sent)
    return partial(cursor.execute, *sent)


def begin_first(physical: Physical) -> None:
    """Begin a transaction where psycopg2 would with the next statement, which comes by itself then.

    Switches: if it must be begun. Cost: then a round trip.
    """
    if physical.would_begin:
        executing(physical, RawCursor(physical.raw), _HARMLESS)()


def begin_no_more(physical: Physical) -> bool:
    """Let the statements on a connection commit by themselves, until commit() or rollback().

    So they do with psycopg2 when it has executed COMMIT as a statement: it does not know that the
    transaction has ended. Here the others begin none either, to which nothing was sent.

    Returns:
        Whether they do; else psycopg2 must execute COMMIT.
    """
    raw = physical.raw
    if physical.late is not None:
        if physical.entered or physical.given or has_characteristics(raw):
            return False
        # psycopg2 cannot be told now. Nor is the shard waited for: it may be silent.
        physical.after_late = partial(begin_no_more, physical)
        return True
    if physical.in_transaction:
        return True
    if physical.entered or physical.given or not begins_by_itself(raw):
        return bool(autocommit.read(raw)) and not physical.entered
    # Else psycopg2 would send a BEGIN of its own with the next statement.
    autocommit.write(raw, True)
    physical.begun = True
    return True


def without_begin(query: bytes | None) -> bytes | None:
    """The statement, of what was sent to a server."""
    return query[len(_BEGIN) :] if query is not None and query.startswith(_BEGIN) else query


def hand_over(physical: Physical) -> None:
    """Let psycopg2 know of a transaction that it has not begun.

    Not of one that SQL has ended: psycopg2 says what cannot be done outside of one.

    Raises:
        DriverError: It has failed, as PostgreSQL says.

    Switches: if there is one. Cost: two round trips.
    """
    if not physical.begun or physical.idle:
        return
    raw = physical.raw
    # psycopg2 would send BEGIN into it, and then the error would be of that.
    if physical.failed:
        RawCursor(raw).execute(_HARMLESS)
    told = notices.read(raw)
    # It learns of it by sending BEGIN, of which PostgreSQL warns.
    # "there is already a transaction in progress" is ours, not the program's.
    notices.write(raw, [])
    try:
        physical.leave_to_psycopg2()
        RawCursor(raw).execute(_HARMLESS)
    finally:
        notices.write(raw, told)


def no_transaction() -> errors.Error:
    """PostgreSQL's error for a named cursor where SQL has ended the transaction."""
    return errors.refused("DECLARE CURSOR can only be used in transaction blocks", pgcode="25P01")


def _handed_over(physical: Physical, cursor: RawCursor, *sent: Any) -> None:
    if physical.idle and not cursor.withhold:
        raise no_transaction()  # psycopg2 takes it for autocommit mode, and would say so
    hand_over(physical)
    cursor.execute(*sent)


def _begin_with(physical: Physical, cursor: RawCursor, *sent: Any) -> None:
    # Adapters are asked once. What they raise begins no transaction with psycopg2 either.
    text = cursor.mogrify(*sent)
    # Several statements, or none: errors' positions and psycopg2's checks would not be the
    # statement's own. Or psycopg2 has begun one meanwhile: what goes before COMMIT was sent by it.
    if not text or not _is_single(text) or physical.in_transaction:
        cursor.execute(text)
        return
    begins = physical.idle
    autocommit.write(physical.raw, True)
    physical.begun, physical.begun_at = True, time.monotonic()
    # SQL has begun one in autocommit mode, which was switched off then. A second BEGIN would be
    # warned of, and not even ROLLBACK would get through behind it if the transaction has failed.
    if not begins:
        cursor.execute(text)
        return
    try:
        cursor.execute(_BEGIN + text)
    except DriverError as error:
        if not _is_to_be_repeated(physical, error):
            raise
    else:
        # A comment alone: PostgreSQL has run BEGIN, and psycopg2 raises "can't execute an empty
        # query".
        if cursor.statusmessage == "BEGIN" and not _says_something(text):
            cursor.execute(text)  # psycopg2 refuses it
        return
    # Outside of the handler: the error that follows has no other as its context.
    if physical.begun:
        physical.roll_back()
    cursor.execute(text)


def _says_something(text: bytes) -> bool:
    """Whether a text is a statement; libpq sends it up to the first NUL."""
    return says_something(text.partition(b"\0")[0].decode("latin-1"))


def _is_single(text: bytes) -> bool:
    """Whether a text is certainly one statement; a semicolon in it may be part of a literal.

    And no PREPARE, of which the server keeps and shows the whole message.
    """
    at = text.find(b";")
    if text[:7].lower() == b"prepare":
        return False
    return at < 0 or not text[at + 1 :].strip()


def _is_to_be_repeated(physical: Physical, error: DriverError) -> bool:
    """Whether a statement that has failed would have failed otherwise without BEGIN before it."""
    if not physical.alive:
        return False
    nothing_ran = physical.idle
    # A syntax error: the parser reads the whole message before any of it runs.
    if nothing_ran:
        physical.leave_to_psycopg2()
    # It was asked to stop, and must not begin again.
    if isinstance(error, QueryCanceled):
        return False
    position, context = error.diag.statement_position, error.diag.context
    analysed = position is not None and int(position) > len(_BEGIN) and context is None
    return nothing_ran or analysed
