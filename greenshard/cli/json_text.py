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

from greenshard.sql.types import ELEMENTS, Trait, oid_of, oids_with

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


LITERALS: dict[int, Literal] = {
    oid_of("bool"): _boolean,
    **dict.fromkeys(map(oid_of, ("json", "jsonb")), _embedded),
    **dict.fromkeys(oids_with(Trait.JSON_NUMBER), _number),
}

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
