"""New parts for a tree, made by parsing text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from greenshard.sql.parser import Message, parse, type_name, walk

#: The alias of the partial rows in a combine query.
ROWS = "gs"


def quoted(name: str) -> str:
    """An identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def select(text: str) -> Any:
    """The `SelectStmt` of a text."""
    (statement,) = parse(text)
    return statement.stmt.select_stmt


def expression(text: str) -> Message:
    """The node of an expression."""
    node: Message = select(f"SELECT {text}").target_list[0].res_target.val
    return node


def with_names(text: str, names: Mapping[str, Message]) -> Message:
    """The node of an expression in which some names stand for other nodes."""
    made = expression(text)
    for message in list(walk(made)):
        if type_name(message) == "Node" and message.HasField("column_ref"):
            name = message.column_ref.fields[0].string.sval
            if name in names:
                message.CopyFrom(names[name])
    return made


def partial_column(number: int) -> str:
    """The text that names a column of the partial rows."""
    return f"{ROWS}.c{number}"


def add_target(statement: Any, value: Message, name: str) -> None:
    """Append a column to a SELECT."""
    target = statement.target_list.add().res_target
    target.val.CopyFrom(value)
    target.name = name


def clear(statement: Any, *fields: str) -> None:
    """Take clauses out of a SELECT."""
    for field in fields:
        statement.ClearField(field)


def copy(message: Message) -> Any:
    """A copy that can be changed."""
    made: Any = type(message)()
    made.CopyFrom(message)
    return made


def as_statement(statement: Any) -> Message:
    """A `SelectStmt` as a whole statement."""
    (made,) = parse("SELECT")
    made.stmt.select_stmt.CopyFrom(statement)
    whole: Message = made
    return whole
