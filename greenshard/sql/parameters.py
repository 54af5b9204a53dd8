"""Are the parameters of a statement values, as its plan takes them to be?

A plan is made for a text with placeholders, before it is known what stands for them. psycopg2
writes nearly every parameter as a literal. `AsIs("count(*)")` and adapters of the user's own may
write anything: such a statement is planned by its text with the parameters in it.

A literal that the program's own adapter has written need not say what the value says: a key goes
where the literal belongs. So the adapter is asked once, and what it wrote takes the value's place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from greenshard.sql.parser import ParserError, parse
from greenshard.sql.placeholders import translate

_LISTS = (list, tuple)
#: Of these psycopg2 reads what anybody else does, so `as_read` leaves them alone.
AS_THEY_ARE = frozenset({tuple, list, dict, type(None)})

#: Characters; of longer texts nothing is kept.
_MOST_KEPT = 10_000

_LITERAL = re.compile(
    r"""
      \s*(?P<number>[+-]?[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?)\s*
    | (?: '(?P<text>[^']*(?:''[^']*)*)' | E'(?P<escaped>[^'\\]*(?:''[^'\\]*)*)' )
      (?: ::(?P<cast>(?: [\w. ] | "(?:[^"]|"")+" | \([0-9]+(?:,\ ?[0-9]+)?\) | \[[0-9]*\] )+) )?
    | (?P<word> true | false | null )
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


class Written:
    """A parameter as an adapter has written it, once and for all; a literal.

    Attributes:
        value: What the literal says, as the planner reads it in a text: text, a number or a bool.
        cast: The type that it is cast to, as it is written; None if it is not.
    """

    __slots__ = ("_quoted", "cast", "value")

    def __init__(self, quoted: bytes, value: Any, cast: str | None) -> None:
        self._quoted, self.value, self.cast = quoted, value, cast

    def __repr__(self) -> str:
        return repr(self.value)

    def __str__(self) -> str:
        return str(self.value)

    def __conform__(self, protocol: object) -> Written:
        return self

    def getquoted(self) -> bytes:
        """What psycopg2 puts into the text."""
        return self._quoted


def as_read(given: Any, text: Callable[[], str]) -> Any:
    """Parameters as psycopg2 reads them for a statement: by name or by position, each once.

    A mapping may have values that it does not list (``__missing__``), and a list other ones than it
    lists (``__getitem__``): so all others look at what was read.

    Args:
        given: A sequence or mapping of parameters, as `execute` takes them, or None.
        text: Gives the statement, with psycopg2's placeholders.

    Returns:
        A tuple or a dict; the parameters themselves if they are a tuple, list, dict or None, or if
        psycopg2 is going to refuse them.

    Cost: 0.1 us for those; 1 us otherwise, and 3 us for each placeholder of a text that is new.
    """
    if type(given) in AS_THEY_ARE or not hasattr(given, "__getitem__"):
        return given
    keys = _placeholders(text())
    if all(isinstance(key, str) for key in keys):
        return {key: given[key] for key in dict.fromkeys(keys)} if keys else given
    if len(given) != len(keys) or any(isinstance(key, str) for key in keys):
        return given
    return tuple(given[at] for at in range(len(keys)))


def _placeholders(text: str) -> Sequence[int | str]:
    """The keys of a text's placeholders, in order."""
    read = _read_placeholders if len(text) <= _MOST_KEPT else _read_placeholders.__wrapped__
    return read(text)


@lru_cache(maxsize=512)
def _read_placeholders(text: str) -> Sequence[int | str]:
    return translate(text, True).parameters


def with_literals(
    given: Any,
    text: str,
    is_usual: Callable[[type], bool],
    write: Callable[[Any], tuple[bytes, str]],
) -> Any:
    """The parameters, with a literal in the place of each that psycopg2 does not write by itself.

    Args:
        given: The parameters, `as_read`.
        text: The statement, with psycopg2's placeholders.
        is_usual: Whether psycopg2 writes values of exactly this type, and with its own adapter.
        write: What the adapter writes, as bytes and as text.

    Returns:
        The parameters themselves, if all are usual; None if one is written as something else than a
        literal.

    Cost: 1 us, and 0.02 us a parameter; 5 us for one that is not usual.
    """
    if given is None or _all_usual(given, is_usual):
        return given
    if isinstance(given, Mapping):
        # Those that no placeholder names need not be what psycopg2 could write.
        used = dict.fromkeys(_placeholders(text))
        given = {name: given[name] for name in used if name in given}
    try:
        return _replaced(given, is_usual, write)
    except _NoLiteral:
        return None


def _all_usual(given: Any, is_usual: Callable[[type], bool]) -> bool:
    values = given.values() if isinstance(given, Mapping) else given
    kinds = set(map(type, values))
    for kind in kinds:
        if not is_usual(kind):
            return False
    return kinds.isdisjoint(_LISTS) or all(
        _all_usual(value, is_usual) for value in values if type(value) in _LISTS
    )


class _NoLiteral(Exception):
    """A parameter may be any SQL."""


def _replaced(
    given: Any, is_usual: Callable[[type], bool], write: Callable[[Any], tuple[bytes, str]]
) -> Any:
    def replace(value: Any) -> Any:
        kind = type(value)
        if kind in _LISTS and is_usual(kind):
            return kind(map(replace, value))
        return value if is_usual(kind) else _read(*write(value))

    if not isinstance(given, Mapping):
        return tuple(map(replace, given))
    return {name: replace(value) for name, value in given.items()}


def _read(quoted: bytes, written: str) -> Written | None:
    """A literal as it was written; None for NULL."""
    match = _LITERAL.fullmatch(written)
    if match is None:
        raise _NoLiteral
    if (word := match["word"]) is not None:
        return None if word.lower() == "null" else Written(quoted, word.lower() == "true", None)
    if (number := match["number"]) is not None:
        digits = number.lstrip("+-").isdigit()
        # As psycopg2 writes a negative number: "--" would begin a comment.
        quoted = b" " + quoted if quoted.startswith(b"-") else quoted
        return Written(quoted, int(number) if digits else Decimal(number), None)
    text, cast = match["text"] if match["text"] is not None else match["escaped"], match["cast"]
    if cast is not None and " " in cast and not _is_type(cast):
        raise _NoLiteral
    return Written(quoted, text.replace("''", "'"), cast)


@lru_cache(maxsize=256)
def _is_type(words: str) -> bool:
    """Whether words are the name of one type, with nothing after it.

    >>> _is_type("timestamp (0) with time zone"), _is_type("text GROUP BY who")
    (True, False)
    """
    try:
        parse(f"SELECT CAST('' AS {words})")
    except ParserError:
        return False
    return True
