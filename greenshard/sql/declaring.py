"""Goal: read the statements of cursors: DECLARE, FETCH, MOVE and CLOSE.

DECLARE c CURSOR FOR SELECT * FROM orders       the query begins behind FOR
FETCH 10 FROM c                                 forward, 10
MOVE LAST IN c                                  absolute, -1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from greenshard.sql.parser import COMMENTS, char_offset, scan
from greenshard.sql.tree import enum_name

ALL = 2**63 - 1
"""The count of FETCH ALL."""

#: Of `options`, as PostgreSQL's parsenodes.h has them.
_BINARY, _SCROLL, _HOLD = 0x1, 0x2, 0x20


@dataclass(frozen=True, slots=True)
class Declaration:
    """A DECLARE.

    Attributes:
        name: The cursor's.
        at: Where the query begins, a character of the text.
        holds: Whether the cursor outlives its transaction.
        scrolls: Whether it shall move backwards.
        is_binary: Whether its rows come in PostgreSQL's own format.
    """

    name: str
    at: int
    holds: bool = False
    scrolls: bool = False
    is_binary: bool = False


@dataclass(frozen=True, slots=True)
class Fetch:
    """A FETCH or a MOVE.

    Attributes:
        name: The cursor's.
        direction: "FORWARD", "BACKWARD", "ABSOLUTE" or "RELATIVE".
        count: How many rows, or which.
        moves: Whether it is a MOVE, which gives no rows.
    """

    name: str
    direction: str
    count: int
    moves: bool = False


def read_declaration(text: str, declare: Any) -> Declaration:
    """Read a DECLARE.

    Args:
        text: A text that holds it alone, with the parser's placeholders.
        declare: Its tree.

    >>> from greenshard.sql.parser import parse
    >>> text = 'DECLARE "for" SCROLL CURSOR WITH HOLD FOR SELECT 1'
    >>> read_declaration(text, parse(text)[0].stmt.declare_cursor_stmt)
    Declaration(name='for', at=42, holds=True, scrolls=True, is_binary=False)
    """
    source = text.encode()
    tokens = (token for token in scan(text) if token.kind not in COMMENTS)
    # FOR is a reserved word: unquoted, no cursor is called so.
    for token in tokens:
        if source[token.start : token.end].lower() == b"for":
            break
    at = char_offset(text, next(tokens).start)
    options = declare.options
    return Declaration(
        declare.portalname,
        at,
        bool(options & _HOLD),
        bool(options & _SCROLL),
        bool(options & _BINARY),
    )


def read_fetch(fetch: Any) -> Fetch:
    """Read a FETCH or MOVE."""
    direction = enum_name(fetch, "direction").removeprefix("FETCH_")
    return Fetch(fetch.portalname, direction, fetch.how_many, fetch.ismove)
