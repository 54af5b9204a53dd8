"""Whether two servers have given the same answer, as far as the query says what it is.

``ORDER BY a LIMIT 2`` of rows (1, 'x'), (2, 'y'), (2, 'z') is (1, 'x') and one of the others::

    >>> def answer(*rows):
    ...     return Answer([("a", 23), ("b", 25)], rows)
    >>> sql = "SELECT a, b FROM t ORDER BY a LIMIT 2"
    >>> compare(sql, answer((1, "x"), (2, "y")), answer((1, "x"), (2, "z"))).value
    'equal but for rows that are tied at the LIMIT'
    >>> compare(sql, answer((1, "x"), (2, "y")), answer((1, "z"), (2, "y"))).value
    'different'
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

#: So many digits of a float are compared: nothing says in which order floats are added.
_DIGITS = 12
#: The last ORDER BY, which is the statement's own if no bracket is closed after it.
_ORDER = re.compile(
    r".*\border\s+by\b(?P<items>.*?)(?:\blimit\s+(?P<limit>\d+))?\s*\Z", re.IGNORECASE | re.DOTALL
)
_DIRECTION = re.compile(r"\s+(?:asc|desc|nulls\s+(?:first|last))\b", re.IGNORECASE)


class Likeness(Enum):
    """How alike two answers are."""

    EQUAL = "equal"
    TIED = "equal but for rows that are tied at the LIMIT"
    DIFFERENT = "different"


@dataclass(frozen=True)
class Answer:
    """What a query gave.

    Attributes:
        columns: Their names and the OIDs of their types.
        rows: Their values.
    """

    columns: Sequence[tuple[str, int]]
    rows: Sequence[tuple[Any, ...]]


def compare(sql: str, one: Answer, other: Answer) -> Likeness:
    """Compare columns, how many rows there are, their order and their values.

    Values are compared by their texts, which tell 1.0 from 1.00; floats by their first digits.
    """
    rows, others = _texts(one), _texts(other)
    if (one.columns, len(rows)) != (other.columns, len(others)):
        return Likeness.DIFFERENT
    if rows == others:
        return Likeness.EQUAL
    places, limit = _sorted_by(sql, [name for name, _ in one.columns])
    keys, other_keys = ([[row[at] for at in places] for row in each] for each in (rows, others))
    if keys == other_keys and Counter(rows) == Counter(others):
        return Likeness.EQUAL
    # Of the rows that sort like the last one, there may have been more than the limit lets through.
    whole = keys.index(keys[-1]) if len(rows) == limit else len(rows)
    if keys == other_keys and Counter(rows[:whole]) == Counter(others[:whole]):
        return Likeness.TIED
    return Likeness.DIFFERENT


def _texts(answer: Answer) -> list[tuple[str, ...]]:
    return [tuple(map(_text, row)) for row in answer.rows]


def _text(value: Any) -> str:
    return f"{value:.{_DIGITS}g}" if isinstance(value, float) else repr(value)


def _sorted_by(sql: str, names: Sequence[str]) -> tuple[list[int], int | None]:
    """The columns that a statement's ORDER BY begins with, and its LIMIT."""
    found = _ORDER.fullmatch(sql)
    if found is None or found["items"].count(")") > found["items"].count("("):
        return [], None
    places = []
    for item in _items(found["items"]):
        name = _DIRECTION.sub("", item).strip().rpartition(".")[2].lower()
        if name.isdigit():
            places.append(int(name) - 1)
        elif name in names:
            places.append(names.index(name))
        else:
            break
    return places, found["limit"] and int(found["limit"])


def _items(text: str) -> list[str]:
    """What commas separate that are in no bracket."""
    items, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            items.append("")
        else:
            items[-1] += character
    return items
