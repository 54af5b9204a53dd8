"""Are the parameters of a statement values, as its plan takes them to be?

A plan is made for a text with placeholders, before it is known what stands for them. psycopg2
writes nearly every parameter as a literal. `AsIs("count(*)")` and adapters of the user's own may
write anything: such a statement is planned by its text with the parameters in it.
"""

from __future__ import annotations

import datetime as dt
import decimal
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

_SCALARS = frozenset(
    {
        bool, bytearray, bytes, decimal.Decimal, dt.date, dt.datetime, dt.time, dt.timedelta,
        float, int, memoryview, str, type(None), uuid.UUID,
    }
)  # fmt: skip
_LISTS = frozenset({list, tuple})

_LITERAL = re.compile(
    r"""
      \s*[+-]?[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?\s*
    | E?'(?:[^'\\]|'')*'(?:::["\w. ]+(?:\[\])?)?
    | true | false | null
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


def odd_parameters(given: Any) -> Iterator[Any]:
    """Yield the parameters that psycopg2 may write as something else than a value.

    Args:
        given: A sequence or mapping of parameters, as `execute` takes them, or None.

    Cost: 0.1 us a parameter.
    """
    if given is None:
        return
    pending = list(given.values()) if isinstance(given, Mapping) else list(given)
    while pending:
        value = pending.pop()
        kind = type(value)
        if kind in _LISTS:
            pending.extend(value)
        elif kind not in _SCALARS:
            yield value


def is_literal(written: str) -> bool:
    r"""Whether what psycopg2 wrote for a parameter is a value, and nothing but that.

    >>> is_literal("-5"), is_literal("'{\"a\": 1}'"), is_literal("count(*)")
    (True, True, False)
    """
    return _LITERAL.fullmatch(written) is not None
