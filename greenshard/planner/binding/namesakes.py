"""Goal: take nothing for PostgreSQL's own because of its name.

    SET search_path = mine, pg_catalog
    SELECT * FROM orders WHERE id = '5'::uuid       if mine has a type uuid:
    SELECT * FROM orders WHERE id = '5'::mine.uuid

A type means the first of its name on the search path, so its schema can be written down, and the
rules that know PostgreSQL's types then see that it is none. Of functions with one name the types of
the arguments choose, too: where the time of the transaction is told by a name that others have as
well (`now`, `age`), only a schema tells which is meant.
"""

from __future__ import annotations

from typing import Any

from greenshard.planner.calls import Functions, name_of
from greenshard.planner.problem import Problem
from greenshard.sql.now import is_telling
from greenshard.sql.parser import Message, type_name, walk


def resolve_types(root: Message, functions: Functions) -> None:
    """Give the types that are not PostgreSQL's own, but are called so, their schema.

    Args:
        root: A statement's tree; it is changed.
        functions: To know the types.
    """
    for each in walk(root) if functions.foreign_types else ():
        message: Any = each
        # With a schema it says itself which type it is.
        if type_name(message) == "TypeName" and len(message.names) == 1:
            schema = functions.foreign_types.get(message.names[0].string.sval)
            if schema is not None:
                message.names.add().CopyFrom(message.names[0])
                message.names[0].string.sval = schema


def doubtful_time(root: Message, functions: Functions) -> Problem | None:
    """A call that tells the time, unless a function of the user's own is meant."""
    for each in walk(root):
        call: Any = each
        if type_name(call) != "FuncCall" or len(call.funcname) > 1 or not is_telling(call):
            continue
        name = name_of(call)
        known = functions.of(call)
        if name in functions.foreign_types or (known and not functions.is_own(call)):
            return Problem(
                f"{name}() may be PostgreSQL's own, which tells the time, or another function",
                call.location,
                "GS410",
                f"Write its schema: pg_catalog.{name}(...) is PostgreSQL's.",
            )
    return None
