"""Goal: say what a COPY copies, from where to where, and how its rows are written.

    COPY t (a, b) FROM STDIN WITH (FORMAT csv, HEADER, DELIMITER ';')
    COPY t FROM STDIN CSV HEADER DELIMITER AS ';'

    from the client, table t, columns a and b (or all), format csv, a header, ';' between values

The parser reads the older ways to write the options as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from greenshard.sql.parser import Message, ParserError, TooDeep, parse

_ON, _OFF = frozenset({"true", "on", "1"}), frozenset({"false", "off", "0"})


@dataclass(frozen=True, slots=True)
class CopyStatement:
    """One COPY.

    Attributes:
        node: Its tree.
        reads: Whether rows come in (COPY FROM).
        with_client: Whether they come from, or go to, the client.
        form: ``text``, ``csv`` or ``binary``; what else is written there the server refuses.
        header: Whether there is a line of names, or ``match``: it must be the columns' names.
        options: The others by name, as they are written: texts, ``True`` for one without a value,
            tuples of columns, ``*`` for all.
    """

    node: Any
    reads: bool
    with_client: bool
    form: str
    header: bool | str
    options: Mapping[str, Any]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are named; none if all are meant."""
        return tuple(each.string.sval for each in self.node.attlist)

    @property
    def query(self) -> Message | None:
        """What gives the rows; None of a table."""
        found: Message | None = self.node.query if self.node.HasField("query") else None
        return found

    @property
    def where(self) -> Message | None:
        """Which of the rows are taken; None: all."""
        found: Message | None = (
            self.node.where_clause if self.node.HasField("where_clause") else None
        )
        return found

    def text_option(self, name: str, default: str) -> str:
        """An option that is a text."""
        return str(self.options.get(name, default))


def read_copy(text: str) -> CopyStatement | None:
    """Read a text; None if it is not one COPY, and nothing else.

    >>> copy = read_copy("COPY t (a) FROM STDIN (FORMAT csv, NULL 'x', FORCE_NULL (a))")
    >>> copy.reads, copy.form, copy.columns, copy.options
    (True, 'csv', ('a',), {'null': 'x', 'force_null': ('a',)})
    """
    try:
        statements = parse(text)
    except (ParserError, TooDeep):
        return None
    if len(statements) != 1:
        return None
    made: Any = statements[0]
    return copy_of(made.stmt.copy_stmt) if made.stmt.HasField("copy_stmt") else None


def copy_of(node: Any) -> CopyStatement:
    """What a COPY's tree says."""
    options = {each.def_elem.defname: _value(each.def_elem) for each in node.options}
    form = str(options.pop("format", "text")).lower()
    header = _header(options.pop("header", False))
    with_client = not (node.filename or node.is_program)
    return CopyStatement(node, node.is_from, with_client, form, header, options)


def _value(option: Any) -> Any:
    if not option.HasField("arg"):
        return True
    kind = option.arg.WhichOneof("node")
    inner = getattr(option.arg, kind)
    if kind == "list":
        return tuple(each.string.sval for each in inner.items)
    if kind == "a_star":
        return "*"
    if kind == "boolean":
        return bool(inner.boolval)
    return {"string": "sval", "integer": "ival", "float": "fval"}.get(kind) and str(
        getattr(inner, {"string": "sval", "integer": "ival", "float": "fval"}[kind])
    )


def _header(value: Any) -> bool | str:
    word = str(value).lower()
    return word if word == "match" else word in _ON


def is_on(value: Any) -> bool:
    """Whether an option that is on or off is on."""
    return str(value).lower() not in _OFF
