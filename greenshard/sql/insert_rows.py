"""Goal: cut the rows of VALUES out of an INSERT, so that each shard can get its own.

    INSERT INTO orders (id, note) VALUES (%s, 'a'), (%s, 'b') RETURNING id

    head    INSERT INTO orders (id, note) VALUES
    rows    ((%(p1)s), 'a')          ((%(p2)s), 'b')
    tail    RETURNING id

The text is cut where the parser's own scanner sees brackets and commas, so what stands in literals
and comments is never taken for one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from greenshard.sql.deparsing import Unwritable, for_driver
from greenshard.sql.parser import COMMENTS, Token, TokenKind, scan
from greenshard.sql.placeholders import Translation
from greenshard.sql.text import Sql
from greenshard.sql.tree import location_of

_OPENING = frozenset({TokenKind.OPENING_PARENTHESIS, TokenKind.OPENING_BRACKET})
_CLOSING = frozenset({TokenKind.CLOSING_PARENTHESIS, TokenKind.CLOSING_BRACKET})
_BETWEEN = frozenset({TokenKind.COMMA, TokenKind.OPENING_PARENTHESIS})


@dataclass(frozen=True, slots=True)
class InsertRows:
    """An INSERT in parts; in all of them percent signs are doubled.

    Attributes:
        head: What stands before the rows.
        rows: The rows, each with its brackets.
        tail: What stands after them.
    """

    head: Sql
    rows: tuple[Sql, ...]
    tail: Sql

    def with_rows(self, numbers: Sequence[int]) -> Sql:
        """The statement with some of its rows only, in the order of their numbers."""
        rows = [self.rows[number] for number in numbers]
        text = "".join([self.head.text, ", ".join(row.text for row in rows), self.tail.text])
        parts = (self.head, *rows, self.tail)
        binds = {name: source for part in parts for name, source in part.binds or ()}
        # Without parameters psycopg2 leaves a text as it is.
        return Sql(text if binds else text.replace("%%", "%"), tuple(binds.items()))


def cut(text: str, insert: Any, translation: Translation) -> InsertRows:
    """Cut an INSERT with VALUES.

    Args:
        text: It alone, with the parser's placeholders.
        insert: Its `InsertStmt`, as parsed from that text.
        translation: Where the values of placeholders come from.

    Raises:
        Unwritable: It cannot be cut, or a placeholder stands for nothing.

    Cost: 2 us for each token.
    """
    tokens = [token for token in scan(text) if token.kind not in COMMENTS]
    lists = insert.select_stmt.select_stmt.values_lists
    within = location_of(lists[0])
    spans = [] if within is None else list(_spans(tokens, within))
    if len(spans) != len(lists):
        raise Unwritable("the rows of VALUES cannot be told apart")
    source = text.encode()
    parameters = [token for token in tokens if token.kind == TokenKind.PARAMETER]
    places = [token.start for token in parameters]

    def part(start: int, end: int) -> Sql:
        inside = parameters[bisect_left(places, start) : bisect_left(places, end)]
        return for_driver(source, start, end, inside, translation)

    head = part(0, spans[0][0])
    tail = part(spans[-1][1], len(source))
    return InsertRows(head, tuple(part(*span) for span in spans), tail)


def _spans(tokens: Sequence[Token], within: int) -> Iterator[tuple[int, int]]:
    """Where the rows of VALUES begin and end, of which the first is around a place."""
    depth, start, found = 0, 0, False
    for token in tokens:
        if found and not depth and token.kind not in _BETWEEN:
            return  # ON CONFLICT, RETURNING
        if token.kind in _OPENING:
            start = start if depth else token.start
            depth += 1
        elif token.kind in _CLOSING:
            depth -= 1
            if not depth and token.start >= within:
                found = True
                yield start, token.end
