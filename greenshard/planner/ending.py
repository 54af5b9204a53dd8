"""Goal: say that a text would commit a transaction.

`SELECT 1; /* done */ COMMIT` does: one of its statements begins with COMMIT, END or PREPARE
TRANSACTION. A text that the scanner cannot read counts as one that may.
"""

from __future__ import annotations

from collections.abc import Iterator

from greenshard.planner._parser import ParserError, TokenKind, scan

_BETWEEN = {TokenKind.LINE_COMMENT, TokenKind.BLOCK_COMMENT}


def commits(text: str) -> bool:
    """Whether running `text` would commit a transaction, or prepare it.

    >>> commits("/* all done */ COMMIT"), commits("SELECT CASE WHEN a THEN b END")
    (True, False)
    """
    try:
        return any(
            words[:1] in (["commit"], ["end"]) or words == ["prepare", "transaction"]
            for words in _beginnings(text)
        )
    except ParserError:
        return True


def _beginnings(text: str) -> Iterator[list[str]]:
    """The first two words of each statement."""
    source, words = text.encode(), list[str]()
    for token in scan(text):
        if token.kind == TokenKind.SEMICOLON:
            yield words
            words = []
        elif token.kind not in _BETWEEN and len(words) < 2:
            words.append(source[token.start : token.end].decode().lower())
    yield words
