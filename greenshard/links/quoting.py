r"""Literals mean the same where they are written, planned and run; or nothing is sent.

A literal is written for one session: with ``standard_conforming_strings = off`` a backslash in it
counts, and in GBK a quote may be the second byte of a letter. Several shards get the same text, and
the planner reads it too, as a session reads it that has what PostgreSQL and psycopg2 come with. In
another session a parameter could end its literal, and go on as SQL.

The settings may have been changed by anything: SET, a function, a role's defaults. The server
reports both of them by itself, so libpq knows them before the next statement is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from greenshard import errors
from greenshard._driver import QuotedString, RawConnection, RawCursor, codecs
from greenshard.links.physical import Physical, client_encoding

_status = RawConnection.get_parameter_status
#: How psycopg2 writes a backslash; the server's client encoding; what psycopg2 takes it for.
Quoting = tuple[bytes, str | None, str]

_BACKSLASH = b"'\\'"
#: Written for a connection that was opened with the setting off, and has it on: not a backslash.
_LOST = b"E'\\'"


def quoting(raw: RawConnection) -> Quoting:
    """How literals are written for a connection.

    psycopg2 looks at ``standard_conforming_strings`` when the connection is opened, to write
    ``E'...'`` or not, and libpq at each literal, to double backslashes or not. So it is not the
    setting that tells, but a literal.

    Cost: 0.7 us; nothing is asked of the server, which reports these settings by itself.
    """
    backslash = QuotedString("\\")
    backslash.prepare(raw)
    return backslash.getquoted(), _status(raw, "client_encoding"), client_encoding.read(raw)


def letters_of(encoding: str) -> str:
    """An encoding's name without what PostgreSQL and psycopg2 write differently.

    >>> letters_of("EUC_JP"), letters_of("utf-8")
    ('EUCJP', 'UTF8')
    """
    return "".join(filter(str.isalnum, encoding)).upper()


@lru_cache(maxsize=64)
def _same_encoding(reported: str | None, encoding: str) -> bool:
    """Whether psycopg2's name of an encoding means the one that a server reports."""
    letters = letters_of(reported or "")
    return letters == encoding or (letters in codecs and codecs[letters] == codecs.get(encoding))


def merged_once(
    query: str | bytes, parameters: Any, cursors: Sequence[RawCursor]
) -> tuple[Any, ...]:
    """The arguments of ``execute`` for each of `cursors`, adapted once where that is safe.

    Every shard then gets the same bytes, and large parameters are adapted once. Quoting depends
    on the connection, so this is done only among connections that quote alike.
    """
    if parameters is None:
        return (query,)
    # psycopg2 writes for one connection what another one might read otherwise.
    if len(cursors) < 2 or len({quoting(cursor.connection) for cursor in cursors}) > 1:
        return (query, parameters)
    return (cursors[0].mogrify(query, parameters),)


def is_plain(text: str | bytes) -> bool:
    r"""Whether a text means the same in every session: a backslash or letter could make it differ.

    >>> is_plain("SET standard_conforming_strings = on"), is_plain(r"SELECT 'a\'")
    (True, False)
    """
    if isinstance(text, bytes):
        return text.isascii() and b"\\" not in text
    return text.isascii() and "\\" not in text


def check_usual(physicals: Iterable[Physical]) -> None:
    """Refuse sessions that read literals otherwise than the planner does.

    Raises:
        errors.NotSupportedError: One does.

    Cost: 1 us for each.
    """
    for physical in physicals:
        # A handful of ways in a whole process: the set makes this a look-up for each statement.
        if physical.alive and (way := quoting(physical.raw)) not in _usual:
            if (reason := _objection(way)) is not None:
                raise _refusal(physical.shard, *reason)
            _usual.add(way)


def is_usual(physical: Physical) -> bool:
    """Whether a session, which is there, reads literals in a way that was looked at before.

    Cost: 1 us.
    """
    return quoting(physical.raw) in _usual


def are_usual(physicals: Iterable[Physical]) -> bool:
    """Whether all sessions read literals as the planner does.

    Cost: 1 us for each.
    """
    try:
        check_usual(physicals)
    except errors.NotSupportedError:
        return False
    return True


def check_alike(physicals: Iterable[Physical], *, plain: bool) -> None:
    """Refuse sessions of which one could read otherwise what is written for another.

    Args:
        physicals: Their connections.
        plain: Whether the text `is_plain`. Parameters are written for each, where they differ.

    Raises:
        errors.NotSupportedError: There are some.

    Cost: 1 us for each.
    """
    ways = {physical.shard: quoting(physical.raw) for physical in physicals if physical.alive}
    differ = len(set(ways.values())) > 1 and not plain
    for shard, way in ways.items():
        if (differ or way[0] == _LOST) and (reason := _objection(way)) is not None:
            raise _refusal(shard, *reason)


def check_written(raw: RawConnection, text: str | bytes) -> None:
    """Refuse a text that was written for a session, if another could read it otherwise.

    Raises:
        errors.NotSupportedError: It could be.
    """
    if not is_plain(text) and (reason := _objection(quoting(raw))) is not None:
        raise _refusal(None, *reason)


_SET_OFF = (
    "has standard_conforming_strings = off, and would read a backslash otherwise than others do",
    (
        "SET standard_conforming_strings = on, or name one shard: conn.on('...'). If the role, the"
        " database or the connection string sets it off, connect with"
        " options='-c standard_conforming_strings=on'."
    ),
)
#: The ways that there is no objection to: one for each encoding.
_usual: set[Quoting] = set()
_OPENED_OFF = (
    "was opened with standard_conforming_strings = off, and psycopg2 does not notice that it is on",
    "Connect with options='-c standard_conforming_strings=on'.",
)


def _objection(way: Quoting) -> tuple[str, str] | None:
    """Why a session is not one as the planner thinks it to be, and what to do; None if it is."""
    backslash, reported, encoding = way
    if backslash != _BACKSLASH:
        return _OPENED_OFF if backslash == _LOST else _SET_OFF
    if not _same_encoding(reported, encoding):
        return (
            f"has client_encoding {reported}, and psycopg2 writes {encoding}",
            "RESET client_encoding, and set it with conn.set_client_encoding, not with SQL.",
        )
    return None


def _refusal(shard: str | None, reason: str, hint: str) -> errors.NotSupportedError:
    whose = "a session" if shard is None else f"the session of shard {shard}"
    return errors.NotSupportedError(f"{whose} {reason}", code="GS413", shard=shard, hint=hint)
