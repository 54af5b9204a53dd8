"""Goal: tell the statement in an EXPLAIN from what stands before it.

    EXPLAIN (ANALYZE, FORMAT json) SELECT * FROM orders
    EXPLAIN (SELECT 1)
    EXPLAIN VERBOSE DELETE FROM orders

The parser does not say where the statement begins. Words and options in brackets are all that may
stand before it (PostgreSQL manual, "EXPLAIN").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from greenshard.sql.insertion import analyzes
from greenshard.sql.parser import COMMENTS, Token, TokenKind, char_offset, scan

_WORDS = frozenset({b"analyze", b"analyse", b"verbose"})


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an EXPLAIN asks for.

    Attributes:
        at: Where the statement begins, a character of the text.
        analyzes: Whether the statement runs.
        form: The FORMAT, in lower case.
    """

    at: int
    analyzes: bool = False
    form: str = "text"


def read_explanation(text: str, explain: Any) -> Explanation:
    """Read an EXPLAIN.

    Args:
        text: A text that holds it alone, with the parser's placeholders.
        explain: Its tree.

    >>> from greenshard.sql.parser import parse
    >>> text = "EXPLAIN (FORMAT json) SELECT 1"
    >>> read_explanation(text, parse(text)[0].stmt.explain_stmt)
    Explanation(at=22, analyzes=False, form='json')
    """
    form = "text"
    for option in explain.options:
        if option.def_elem.defname == "format":
            form = option.def_elem.arg.string.sval.lower()
    source = text.encode()
    tokens = (token for token in scan(text) if token.kind not in COMMENTS)
    next(tokens)
    token = next(tokens)
    start = token.start
    # EXPLAIN (SELECT 1) has no options: the bracket is the statement's.
    if token.kind == TokenKind.OPENING_PARENTHESIS and explain.options:
        start = _after_brackets(tokens)
    while source[token.start : token.end].lower() in _WORDS:
        token = next(tokens)
        start = token.start
    return Explanation(char_offset(text, start), analyzes(explain), form)


def _after_brackets(tokens: Iterator[Token]) -> int:
    """Where the token after the bracket begins that closes the one that was read."""
    depth = 1
    for token in tokens:
        if depth == 0:
            return token.start
        if token.kind == TokenKind.OPENING_PARENTHESIS:
            depth += 1
        elif token.kind == TokenKind.CLOSING_PARENTHESIS:
            depth -= 1
    raise AssertionError("an EXPLAIN that was parsed has a statement")
