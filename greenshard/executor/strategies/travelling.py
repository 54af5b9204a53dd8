"""Rows that travel from one server to another, whatever the client encoding can write.

A client encoding is for what the user sees. As text in KOI8R, an ``é`` would not get from a shard
to the server that gathers, though the query only counts it; as text in SQL_ASCII, psycopg2 could
not read it. There, arrays come as bytes in the servers' own encoding, and go on as bytes::

    SELECT convert_to(array_agg(c0)::text, 'UTF8') ...      on each shard
    ... unnest(convert_from(decode(%s, 'hex'), 'UTF8')::text[]) ...     where they are gathered

Where the client encoding is UTF8, as nearly always, text is as good, and half as large.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from greenshard._driver import RawConnection, ours
from greenshard.links.physical import Physical

_status = RawConnection.get_parameter_status

#: Their letters are not known: no text in another encoding can be made of them.
_UNKNOWN_LETTERS = frozenset({"SQL_ASCII", "MULE_INTERNAL"})
#: Bytes as letters, each the letter of its number. No server's encoding has an ASCII character
#: within a letter, so arrays can be taken apart and joined so.
_BYTES = "latin-1"


def travelling(physicals: Iterable[Physical]) -> str | None:
    """The encoding in which rows travel between some servers, as bytes; None if as text.

    Cost: nothing is asked of the servers, which report their encodings by themselves.
    """
    raws = [physical.raw for physical in physicals]
    # Behind a pooler that tells none, it is one that UTF8 can stand for, or the servers say so.
    servers = {_status(raw, "server_encoding") or "UTF8" for raw in raws}
    clients = {_status(raw, "client_encoding") for raw in raws}
    if clients == {"UTF8"} and servers.isdisjoint(_UNKNOWN_LETTERS):
        return None
    # The servers' own, if it is one: nothing is converted then, so nothing can fail to be.
    common = servers.pop() if len(servers) == 1 else "UTF8"
    # It goes into other servers' texts, and a server may say anything.
    return common if common.replace("_", "").isalnum() and common.isascii() else "UTF8"


def unwritable(physicals: Iterable[Physical]) -> str | None:
    """The same for what mostly stays text; None also if the client's encoding is the servers' own.

    Then all that a server has can be written.
    """
    alive = list(physicals)
    clients = {_status(physical.raw, "client_encoding") for physical in alive}
    # A session that is opened only now has the encoding of those that are there.
    if clients <= {"UTF8", None}:
        return None
    encoding = travelling(alive)
    return None if clients == {encoding} else encoding


def sending(text: str, encoding: str | None) -> str:
    """What a shard computes, of an expression of type text.

    >>> sending("v::text", "UTF8")
    "pg_catalog.convert_to(v::text, 'UTF8')"
    """
    return text if encoding is None else f"pg_catalog.convert_to({text}, '{encoding}')"


def letters(value: Any) -> str:
    """What came of `sending`, as text; of bytes, each byte is a letter."""
    return value if isinstance(value, str) else str(value, _BYTES)


def parameter(value: str, encoding: str | None) -> Any:
    """The parameter for `receiving` that such a text is passed on as.

    Not psycopg2's Binary, which would leave it to the search path what a ``bytea`` is.
    """
    return ours(value if encoding is None else value.encode(_BYTES).hex())


def sending_cell(text: str, encoding: str | None) -> str:
    """Like `sending`, as text that any client encoding can write."""
    return text if encoding is None else f"pg_catalog.encode({sending(text, encoding)}, 'hex')"


def receiving_cell(text: str, encoding: str | None) -> str:
    """What came of `sending_cell`, as an expression of type text."""
    if encoding is None:
        return text
    return f"pg_catalog.convert_from(pg_catalog.decode({text}, 'hex'), '{encoding}')"


def receiving(encoding: str | None) -> str:
    """The placeholder for it, a text to be cast.

    >>> receiving(None), receiving("UTF8")
    ('%s', "pg_catalog.convert_from(pg_catalog.decode(%s, 'hex'), 'UTF8')")
    """
    return receiving_cell("%s", encoding)
