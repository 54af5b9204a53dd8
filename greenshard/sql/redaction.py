"""What a log may show of a statement: its shape, not its values.

Literals become `?`, comments go, white space folds, placeholders stay::

    ALTER ROLE app PASSWORD 'secret'  -- for the demo
    ALTER ROLE app PASSWORD ?

What is given to a setting, or to a role as its password, may be a bare word, and is a value too::

    SET app.token = sesame
    SET app.token = ?

The scanner tells what is a literal. A text that it cannot read is shown by its first
keyword only: an unterminated string must not come out as if it were code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import Enum

from greenshard.sql.parser import COMMENTS, ParserError, Token, TokenKind, scan

MAX_CHARACTERS = 500
"""The most characters of a redacted statement; a longer one ends in `...`."""

_LITERALS = frozenset(
    {
        TokenKind.STRING,
        TokenKind.UNICODE_STRING,
        TokenKind.BIT_STRING,
        TokenKind.HEX_STRING,
        TokenKind.INTEGER,
        TokenKind.NUMBER,
    }
)
_FIRST_WORD = re.compile(r"\s*([a-z]+)(?![\w$])", re.IGNORECASE | re.ASCII)
_ELLIPSIS = "..."

#: How statements begin that give values to settings or passwords to roles.
_SETTING = frozenset({b"SET", b"ALTER", b"CREATE"})
_ROLES = frozenset({b"ROLE", b"USER", b"GROUP"})
_NAME = re.compile(rb'[\w".$\x80-\xff]')


class _Ambiguous(Exception):
    """Where a literal ends depends on the server's `standard_conforming_strings`."""


def redact(sql: str) -> str:
    """Return `sql` without its literals and comments, on one line, cut to `MAX_CHARACTERS`.

    Cost: 70 us for a statement of 40 tokens, 20 ms for 1 MB.

    >>> redact("SELECT * FROM users WHERE mail = 'ann@example.org' /* mine */ LIMIT %s")
    'SELECT * FROM users WHERE mail = ? LIMIT %s'
    """
    try:
        tokens = scan(sql)
        return _join(_shapes(sql.encode(), tokens))
    except (ParserError, _Ambiguous):
        return _first_keyword(sql)


def _shapes(source: bytes, tokens: Iterable[Token]) -> Iterator[str]:
    end, values = 0, _Values()
    for token in tokens:
        if token.kind in COMMENTS:
            continue
        text = source[token.start : token.end]
        is_value = values.follow(text)
        if values.goes_on:
            end = token.end
            continue
        if end and token.start > end:
            yield " "
        yield "?" if is_value else _shape(text, token.kind)
        end = token.end


class _Seen(Enum):
    """What was read last, as far as it tells what the next token is."""

    NOTHING = 0
    SETTING = 1  # SET, maybe with a part of the setting's name
    SIGN = 2  # what gives a setting its value
    VALUE = 3  # a part of that value
    PASSWORD = 4  # the word for it


class _Values:
    """Follows a text's tokens, to tell which are values although they may look like names.

    Attributes:
        goes_on: Whether the last token belongs to the same value as the one before.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        """A statement begins."""
        self.goes_on = False
        self._first = self._second = b""  # of its words
        self._seen = _Seen.NOTHING

    def follow(self, token: bytes) -> bool:
        """Take the next token; returns whether it is a value's, or a part of one."""
        word = token.upper()
        if word == b";":
            self._begin()
            return False
        if not self._first:
            self._first = word
        elif not self._second:
            self._second = word
        if self._first not in _SETTING:
            return False
        before = self._seen
        self.goes_on = before is _Seen.VALUE
        if before is _Seen.SIGN or before is _Seen.VALUE:
            # Up to the statement's end: of a function's, what follows is not told apart.
            self._seen = _Seen.VALUE
            return True
        self._seen = self._next(word)
        return before is _Seen.PASSWORD and word != b"NULL"

    def _next(self, word: bytes) -> _Seen:
        if self._seen is _Seen.SETTING and word in {b"=", b"TO"}:
            return _Seen.SIGN
        if word == b"SET" or (self._seen is _Seen.SETTING and _NAME.match(word)):
            return _Seen.SETTING
        if word == b"PASSWORD" and self._second in _ROLES:
            return _Seen.PASSWORD
        return _Seen.NOTHING


def _shape(token: bytes, kind: int) -> str:
    if kind not in _LITERALS:
        return token.decode()
    if token.startswith(b"'") and b"\\'" in token:
        raise _Ambiguous
    return "?"


def _join(shapes: Iterator[str]) -> str:
    redacted = ""
    for shape in shapes:
        redacted += shape
        if len(redacted) > MAX_CHARACTERS:
            return redacted[: MAX_CHARACTERS - len(_ELLIPSIS)] + _ELLIPSIS
    return redacted


def _first_keyword(sql: str) -> str:
    first = _FIRST_WORD.match(sql)
    if first is None or not scan(first[1])[0].is_keyword:
        return _ELLIPSIS
    return f"{first[1]} {_ELLIPSIS}"
