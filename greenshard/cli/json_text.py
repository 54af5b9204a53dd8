"""PostgreSQL's text of a value as JSON, nothing lost on the way.

Pure. What JSON has a type for becomes it: booleans, integers, floats, json and jsonb (embedded as
they are), arrays. Everything else stays PostgreSQL's own text in a string: dates, intervals,
bytea, and numeric too, whose digits most readers of JSON would round. ``NaN`` and ``Infinity``,
which JSON numbers cannot say, are strings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

Literal = Callable[[str], str]

NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


def json_text(text: str | None, oid: int) -> str:
    """Write one value.

    Args:
        text: PostgreSQL's text, or None for NULL.
        oid: the OID of its type.

    Returns:
        One JSON value.

    >>> json_text("t", 16), json_text("NaN", 701), json_text("0.10", 1700), json_text(None, 25)
    ('true', '"NaN"', '"0.10"', 'null')
    >>> json_text('{1,NULL,3}', 1007)
    '[1, null, 3]'
    """
    if text is None:
        return "null"
    element = ELEMENTS.get(oid)
    if element is None:
        return LITERALS.get(oid, _string)(text)
    return _array(text, LITERALS.get(element, _string))


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _number(text: str) -> str:
    return text if NUMBER.fullmatch(text) else _string(text)


def _boolean(text: str) -> str:
    return "true" if text == "t" else "false"


def _embedded(text: str) -> str:
    # Outside of strings, where json keeps line ends as they were written; inside there are none.
    return text.replace("\n", " ").replace("\r", " ")


BOOL, INT8, INT2, INT4, OID, FLOAT4, FLOAT8, JSON, JSONB = 16, 20, 21, 23, 26, 700, 701, 114, 3802

LITERALS: dict[int, Literal] = {
    BOOL: _boolean,
    JSON: _embedded,
    JSONB: _embedded,
    **dict.fromkeys((INT2, INT4, INT8, OID, FLOAT4, FLOAT8), _number),
}

ELEMENTS = {
    1000: BOOL,
    1005: INT2,
    1007: INT4,
    1016: INT8,
    1028: OID,
    1021: FLOAT4,
    1022: FLOAT8,
    199: JSON,
    3807: JSONB,
    # Their elements are written as strings:
    1002: 18,  # "char"
    1003: 19,  # name
    1009: 25,  # text
    1014: 1042,  # bpchar
    1015: 1043,  # varchar
    1231: 1700,  # numeric
    2951: 2950,  # uuid
    1001: 17,  # bytea
    1182: 1082,  # date
    1183: 1083,  # time
    1270: 1266,  # timetz
    1115: 1114,  # timestamp
    1185: 1184,  # timestamptz
    1187: 1186,  # interval
}
"""The OID of an array type, and that of its elements."""

TOKEN = re.compile(r'[{},]|"([^"\\]*(?:\\.[^"\\]*)*)"|[^{},"]+', re.DOTALL)
ESCAPE = re.compile(r"\\(.)", re.DOTALL)
PUNCTUATION = {"{": "[", "}": "]", ",": ", "}


def _array(text: str, element: Literal) -> str:
    # An array that does not start at 1 carries its bounds in front: [0:1]={1,2}
    body = text[text.index("=") + 1 :] if text.startswith("[") else text
    return "".join(_array_parts(body, element))


def _array_parts(body: str, element: Literal) -> Iterator[str]:
    for token in TOKEN.finditer(body):
        quoted, bare = token[1], token[0]
        if quoted is not None:
            yield element(ESCAPE.sub(r"\1", quoted))
        elif bare in PUNCTUATION:
            yield PUNCTUATION[bare]
        else:
            yield "null" if bare == "NULL" else element(bare)
