"""Arrays as PostgreSQL writes and reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SPECIAL = re.compile(r'["\\]')


def array_text(values: Sequence[str | None]) -> str:
    r"""An array of texts, as its input function reads it.

    Cost: 0.03 us a value if none is NULL and none must be escaped; else 0.3 us.

    >>> print(array_text(["a", None, 'say "b\\c"']))
    {"a",NULL,"say \"b\\c\""}
    """
    if None not in values:
        joined = '","'.join(values)  # type: ignore[arg-type]  # without NULL
        # Any quote that is not a separator's stands in a value, which must then be escaped.
        if "\\" not in joined and joined.count('"') == 2 * (len(values) - 1):
            return f'{{"{joined}"}}'
    # Quoted also where it need not be: an unquoted NULL, in any case of letters, would be no text.
    return "{" + ",".join(["NULL" if v is None else _quoted(v) for v in values]) + "}"


def _quoted(value: str) -> str:
    if '"' in value or "\\" in value:
        value = _SPECIAL.sub(r"\\\g<0>", value)
    return f'"{value}"'


def integers(text: str) -> list[int]:
    """The elements of an array of integers, which has no NULL.

    >>> integers("{3,1,2}")
    [3, 1, 2]
    """
    inner = text[1:-1]
    return [int(each) for each in inner.split(",")] if inner else []


def joined_arrays(pieces: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """For each column one array of all its elements; none of the arrays is empty.

    Args:
        pieces: At least one: for each column an array, whose elements are separated by commas.

    >>> joined_arrays([("{1,2}", "{a,b}"), ("{3}", "{c}")])
    ('{1,2,3}', '{a,b,c}')
    """
    if len(pieces) == 1:
        return pieces[0]
    columns = zip(*pieces, strict=True)
    return tuple("{" + ",".join([array[1:-1] for array in column]) + "}" for column in columns)
