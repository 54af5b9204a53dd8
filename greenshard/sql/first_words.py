"""Goal: say of the statements in a text how they begin, without parsing them.

`COPY t TO STDOUT` would send data outside of a result; `COPY t TO '/a/file'` would not. Only the
scanner is used, so that a text with an error in it is told too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeVar

from greenshard.sql.parser import COMMENTS, ParserError, TokenKind, scan

_Found = TypeVar("_Found")

#: Texts longer than this are read anew each time.
_LONGEST_CACHED = 10_000
_SET_TRANSACTION = re.compile(r"\bset\s+transaction\b", re.IGNORECASE | re.ASCII)
_COPY = re.compile(r"\bcopy\b.*\b(?:stdin|stdout)\b", re.IGNORECASE | re.ASCII | re.DOTALL)


def says_something(text: str) -> bool:
    """Whether there is more in a text than blanks and comments.

    >>> says_something("/* begin */ -- begin"), says_something("BEGIN")
    (False, True)
    """
    try:
        return any(statements_of(text))
    except ParserError:
        return True


def copies_with_client(text: str) -> bool:
    """Whether `text` has a COPY from or to the client.

    Cost: 1 us where the words are not there.

    >>> copies_with_client("COPY t TO STDOUT"), copies_with_client("SELECT 'copy stdout'")
    (True, False)
    """
    if not _COPY.search(text):
        return False
    try:
        return any(
            words[:1] == ["copy"] and not {"stdin", "stdout"}.isdisjoint(words)
            for words in statements_of(text)
        )
    except ParserError:
        return False


def sets_transaction(text: str) -> bool:
    """Whether a text is SET TRANSACTION, which PostgreSQL takes before the first query only.

    Cost: 0.2 us where the words are not there.

    >>> sets_transaction("/* now */ SET TRANSACTION READ ONLY"), sets_transaction("SET a = 1")
    (True, False)
    """
    if not _SET_TRANSACTION.search(text[:_LONGEST_CACHED]):
        return False
    try:
        return [words[:2] for words in statements_of(text)] == [["set", "transaction"]]
    except ParserError:
        return False


def statements_of(text: str) -> Iterator[list[str]]:
    """The tokens of each statement in lower case, without comments."""
    source, words = text.encode(), list[str]()
    for token in scan(text):
        if token.kind == TokenKind.SEMICOLON:
            yield words
            words = []
        elif token.kind not in COMMENTS:
            words.append(source[token.start : token.end].decode().lower())
    yield words


def remembering(read: Callable[[str], _Found]) -> Callable[[str], _Found]:
    """A reader of texts that remembers what it found in those that it has seen of late.

    Args:
        read: Reads a text, for some microseconds.
    """
    remembered = lru_cache(maxsize=1_024)(read)

    def recall(text: str) -> _Found:
        return read(text) if len(text) > _LONGEST_CACHED else remembered(text)

    return recall
