"""A tree to the text that is sent: the parser's placeholders to psycopg2's.

    SELECT sum(x) FROM t WHERE a LIKE 'b%' AND k IN ($1) AND n = $2
    SELECT sum(x) FROM t WHERE a LIKE 'b%%' AND k IN %(p1)s AND n = (%(p2)s)

psycopg2 writes a value where the placeholder is, so it gets brackets: `(-1)::int2` is not
`-1::int2`.
"""

from __future__ import annotations

from greenshard.planner._parser import Message, ParserError, TokenKind, deparse, scan
from greenshard.planner.placeholders import Translation
from greenshard.planner.plan import Now, Source, Sql


class Unwritable(Exception):
    """A tree cannot be sent as text."""


def now_number(translation: Translation) -> int:
    """The number of the placeholder that stands for the time the transaction began."""
    return len(translation.parameters) + 1


def write(statement: Message, translation: Translation) -> Sql:
    """The text of a statement, and where its values come from.

    Raises:
        Unwritable: The tree cannot be written, or a placeholder stands for nothing.
    """
    try:
        text = deparse(statement)
        tokens = [token for token in scan(text) if token.kind == TokenKind.PARAMETER]
    except ParserError as error:
        raise Unwritable(error.message) from None
    if not tokens:
        return Sql(text, ())
    source = text.encode()
    pieces: list[str] = []
    binds: dict[str, Source] = {}
    done = 0
    for token in tokens:
        number = int(source[token.start + 1 : token.end])
        start, end = token.start, token.end
        if number in translation.bracketed:
            start, end = start - 1, end + 1
            if source[start:end] != f"(${number})".encode():
                raise Unwritable("a list stands in a place of its own")
        name, value = _bind(number, translation)
        binds[name] = value
        pieces.append(source[done:start].decode().replace("%", "%%"))
        pieces.append(f"%({name})s" if number in translation.bracketed else f"(%({name})s)")
        done = end
    pieces.append(source[done:].decode().replace("%", "%%"))
    return Sql("".join(pieces), tuple(binds.items()))


def _bind(number: int, translation: Translation) -> tuple[str, Source]:
    if number == now_number(translation):
        return "now", Now.NOW
    if not 0 < number <= len(translation.parameters):
        raise Unwritable(f"there is no parameter ${number}")
    return f"p{number}", translation.parameters[number - 1]
