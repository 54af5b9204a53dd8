"""Goal: write EXECUTE of a prepared statement as the statement that it runs.

    PREPARE late (int) AS SELECT id, $1 FROM orders WHERE day > $2
    EXECUTE late (5, 'today')

    SELECT id, '5'::pg_catalog.int4 AS "?column?" FROM orders WHERE day > 'today'::pg_catalog.date

PostgreSQL makes of each argument a value of the parameter's type, as in an assignment. A literal
becomes that by itself (`plain_argument`); of other arguments a server is asked.

Source: EvaluateParams in PostgreSQL's prepare.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from greenshard.sql.column_names import column_name
from greenshard.sql.deparsing import Unwritable, faithful
from greenshard.sql.nodes import as_statement, copy, expression, select, with_names
from greenshard.sql.parser import Message, ParserError, parse, type_name, walk
from greenshard.sql.tree import WRITES, own_type

_INTEGERS = frozenset({"int2", "int4", "int8"})
#: What an integer is assigned to, with the value that its digits have as text.
_FROM_INTEGERS = frozenset({*_INTEGERS, "numeric", "float4", "float8", "text", "varchar"})
_FROM_NUMBERS = frozenset({*_INTEGERS, "numeric", "float4", "float8"})


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared statement.

    Attributes:
        name: Its name.
        text: What has prepared it; it may hold other statements, too.
        types: Its parameters' types, with their schemas, as SQL writes them.
    """

    name: str
    text: str
    types: tuple[str, ...]

    @property
    def statement(self) -> Message:
        """The statement's tree.

        Raises:
            ParserError: It cannot be read.
        """
        for each in parse(self.text):
            node: Any = each.stmt
            if node.HasField("prepare_stmt") and node.prepare_stmt.name == self.name:
                made: Any = parse("SELECT 1")[0]
                made.stmt.CopyFrom(node.prepare_stmt.query)
                whole: Message = made
                return whole
        raise ParserError(f"nothing there prepares {self.name}", None)


def plain_argument(node: Any, target: str) -> Message | None:
    """An argument as a literal of its parameter's type; None if it takes a server to tell.

    Args:
        node: The argument.
        target: The type.
    """
    name = target.removeprefix("pg_catalog.")
    if node.HasField("type_cast"):
        # As psycopg2 writes dates and the like: '2024-01-01'::date.
        cast = node.type_cast
        same = own_type(cast.type_name) == name and not cast.type_name.typmods
        plain = same and not cast.type_name.array_bounds and cast.arg.HasField("a_const")
        return copy(node) if plain and cast.arg.a_const.HasField("sval") else None
    if not node.HasField("a_const"):
        return None
    constant = node.a_const
    if constant.isnull:
        return literal(None, target)
    if constant.HasField("sval"):
        return literal(constant.sval.sval, target)
    if constant.HasField("ival"):
        return literal(str(constant.ival.ival), target) if name in _FROM_INTEGERS else None
    fits = name in _FROM_NUMBERS if constant.HasField("fval") else name == "bool"
    return cast_to(node, target) if fits and not constant.HasField("bsval") else None


def literal(value: str | None, target: str) -> Message:
    """The node of a value of a type, from its text."""
    if value is None:
        return expression(f"CAST(NULL AS {target})")
    node: Any = expression(f"CAST('' AS {target})")
    node.type_cast.arg.a_const.sval.sval = value
    made: Message = node
    return made


def cast_to(node: Message, target: str) -> Message:
    """The node of an expression's value as one of a type."""
    return with_names(f"CAST(x AS {target})", {"x": node})


def is_computed(node: Message) -> bool:
    """Whether an argument may have another value each time that it is computed."""
    return any(type_name(each) in {"FuncCall", "SQLValueFunction"} for each in walk(node))


def computing(nodes: Sequence[tuple[Message, str]]) -> str:
    """A query for the values of some arguments, each with its parameter's type, as text.

    Raises:
        ParserError, Unwritable: It cannot be written.
    """
    statement = select("SELECT")
    for node, target in nodes:
        value = with_names("CAST(x AS pg_catalog.text)", {"x": cast_to(node, target)})
        statement.target_list.add().res_target.val.CopyFrom(value)
    return faithful(as_statement(statement))


def executed(prepared: Prepared, arguments: Sequence[Message]) -> str:
    """The text that a prepared statement is with its arguments.

    Args:
        prepared: The statement.
        arguments: One for each of its parameters.

    Raises:
        ParserError, Unwritable: It cannot be written.
    """
    statement = prepared.statement
    # An argument is not named like the literal in its place: SELECT $1 gives ?column?.
    for target in list(_targets(statement)):
        if any(type_name(each) == "ParamRef" for each in walk(target)):
            target.name = column_name(target)
    for message in list(walk(statement)):
        node: Any = message
        if type_name(message) == "Node" and node.HasField("param_ref"):
            number = node.param_ref.number
            if not 0 < number <= len(arguments):
                raise Unwritable(f"there is no parameter ${number}")
            node.CopyFrom(arguments[number - 1])
    return faithful(statement)


def _targets(statement: Message) -> Iterator[Any]:
    """The columns of all queries of a statement that have no names of their own."""
    for message in walk(statement):
        each: Any = message
        kind = type_name(message)
        if kind == "SelectStmt":
            targets = each.target_list
        elif kind in WRITES:
            targets = each.returning_clause.exprs
        else:
            continue
        for target in targets:
            if target.HasField("res_target") and not target.res_target.name:
                yield target.res_target
