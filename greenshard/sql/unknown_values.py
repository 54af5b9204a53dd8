"""A statement as a log shows it: with placeholders, and without their values.

    SELECT * FROM orders WHERE id = $1 AND note LIKE 'a%' LIMIT $2     as PostgreSQL's log has it
    SELECT * FROM orders WHERE id = ? AND note LIKE ? LIMIT ?          as ours, and many others have
    SELECT * FROM orders WHERE id = %s AND note LIKE 'a%%' LIMIT %s    as the program has it

becomes a text with psycopg2's placeholders, which can be planned with values that are not known.
"""

from __future__ import annotations

import re

from greenshard.sql.parser import ParserError, parse, scan

_PSYCOPG2 = re.compile(rb"%(?:s(?![\w$])|\([^()%]*\)s)")
_NUMBERED = re.compile(rb"\$([0-9]+)")


def with_unknown_values(sql: str) -> str | None:
    """A text with psycopg2's placeholders; None if there is nothing in it that stands for a value.

    ``?`` is also an operator of jsonb: it stands for a value in a text that cannot be read else.

    >>> with_unknown_values("SELECT * FROM t WHERE id = ? AND note LIKE 'a%'")
    "SELECT * FROM t WHERE id = %s AND note LIKE 'a%%'"
    >>> with_unknown_values("SELECT * FROM t WHERE id = $1")
    'SELECT * FROM t WHERE id = %(1)s'
    >>> with_unknown_values("SELECT j ? 'a' FROM t WHERE note LIKE '%s'")
    """
    try:
        return _Text(sql, question_marks=not _is_readable(sql)).written()
    except ParserError:
        return None


def _is_readable(sql: str) -> bool:
    try:
        parse(sql)
    except ParserError:
        return False
    return True


class _Text:
    """A text, taken apart; offsets are of its bytes."""

    def __init__(self, sql: str, *, question_marks: bool) -> None:
        self._sql, self._source = sql, sql.encode()
        self._tokens = [(each.start, each.end) for each in scan(sql)]
        self._question_marks = question_marks

    def written(self) -> str | None:
        if any(_PSYCOPG2.match(self._source, at) for at in self._percent_signs()):
            return self._sql  # its other percent signs are written for psycopg2
        pieces, done, found = [], 0, False
        for start, end in self._tokens:
            replaced = self._replaced(self._source[start:end])
            if replaced is not None:
                pieces += [self._source[done:start].replace(b"%", b"%%"), replaced]
                done, found = end, True
        pieces.append(self._source[done:].replace(b"%", b"%%"))
        return b"".join(pieces).decode() if found else None

    def _percent_signs(self) -> list[int]:
        """Where operators end that end in one; not those in literals and names."""
        return [
            end - 1
            for start, end in self._tokens
            if self._source[end - 1 : end] == b"%" and self._source[start : start + 1] not in b"'\""
        ]

    def _replaced(self, token: bytes) -> bytes | None:
        if number := _NUMBERED.fullmatch(token):
            return b"%%(%s)s" % number[1]
        # "=?" is one operator to PostgreSQL.
        operator = token.rstrip(b"?")
        if self._question_marks and token.endswith(b"?") and not operator.strip(b"=<>!+-*/|"):
            return operator + b"%s" if len(token) - len(operator) == 1 else None
        return None
