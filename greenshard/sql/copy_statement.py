"""Goal: say what a COPY copies, from where to where, and how its rows are written.

    COPY t (a, b) FROM STDIN WITH (FORMAT csv, HEADER, DELIMITER ';')
    COPY t FROM STDIN CSV HEADER DELIMITER AS ';'

    from the client, table t, columns a and b (or all), format csv, a header, ';' between values

The parser reads the older ways to write the options as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenshard.sql.deparsing import faithful
from greenshard.sql.nodes import copy as copy_message
from greenshard.sql.nodes import quoted
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

    def as_statement(self) -> Message:
        """The query, as a statement of its own."""
        (whole,) = parse("SELECT 1")
        statement: Any = whole
        statement.stmt.CopyFrom(self.node.query)
        made: Message = statement
        return made

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


def as_insert(copy: CopyStatement, columns: Sequence[str]) -> str:
    """The INSERT of two rows that does beside its rows what a COPY FROM does.

    A COPY takes what it is given for a column GENERATED ALWAYS AS IDENTITY, too.

    Args:
        copy: It.
        columns: The columns that it fills.

    >>> as_insert(read_copy('COPY s."T" FROM STDIN'), ["a", "b%"])
    'INSERT INTO "s"."T" ("a", "b%%") OVERRIDING SYSTEM VALUE VALUES (%s, %s), (%s, %s)'
    """
    relation = copy.node.relation
    names = [relation.schemaname, relation.relname] if relation.schemaname else [relation.relname]
    name = ".".join(map(quoted, names)).replace("%", "%%")
    listed = ", ".join(map(quoted, columns)).replace("%", "%%")
    row = f"({', '.join(['%s'] * len(columns))})"
    return f"INSERT INTO {name} ({listed}) OVERRIDING SYSTEM VALUE VALUES {row}, {row}"


def with_columns(copy: CopyStatement, columns: Sequence[str]) -> str:
    """The text of a COPY with other columns.

    Raises:
        Unwritable: It cannot be written.

    >>> with_columns(read_copy("COPY t FROM STDIN WITH (FORMAT csv, HEADER)"), ["a", "b"])
    'COPY t(a, b) FROM STDIN WITH (FORMAT CSV, HEADER)'
    """
    made = copy_message(copy.node)
    del made.attlist[:]
    for name in columns:
        made.attlist.add().string.sval = name
    _options(made)
    (whole,) = parse("SELECT 1")
    statement: Any = whole
    statement.stmt.copy_stmt.CopyFrom(made)
    return faithful(statement)


def _options(node: Any) -> Any:
    """The options, as they can be written: older ways to write them are read only."""
    for each in node.options:
        option = each.def_elem
        if option.arg.HasField("boolean"):
            option.arg.string.sval = "true" if option.arg.boolean.boolval else "false"
    return node.options


def around_query(copy: CopyStatement) -> tuple[str, str]:
    """What stands before and behind the query of a COPY TO.

    Raises:
        Unwritable: It cannot be written.

    >>> around_query(read_copy("COPY t TO STDOUT CSV HEADER"))
    ('COPY (', ') TO STDOUT WITH (FORMAT CSV, HEADER true)')
    """
    (whole,) = parse("COPY (SELECT 1) TO STDOUT")
    statement: Any = whole
    statement.stmt.copy_stmt.options.extend(_options(copy_message(copy.node)))
    before, query, behind = faithful(statement).partition("SELECT 1")
    assert query  # noqa: S101  # it is what was written
    return before, behind
