"""The queries that functions in SQL are made of.

    CREATE FUNCTION spent(who bigint) RETURNS numeric LANGUAGE sql
        AS 'SELECT sum(total) FROM orders WHERE customer = who'

Most functions are VOLATILE only because that is the default, so the catalog does not say what they
read; but the text of one in SQL does. One that is a single SELECT is planned as what it calls and
reads: `binding.bound_bodies`. The statement's text stays as it is, and each server runs its own
function.

Source: PostgreSQL manual, 38.5 "Query Language (SQL) Functions"; fmgr_sql in functions.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from greenshard.sql.parser import ParserError, parse, type_name, walk
from greenshard.sql.read_only import WRITING_PARTS


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument that is given to a function.

    Attributes:
        name: Empty if it has none.
        type_name: ``pg_type.typname``, if that is one of PostgreSQL's own base types; None for any
            other, and for one that is polymorphic.
    """

    name: str
    type_name: str | None


@dataclass(frozen=True, slots=True)
class Body:
    """A function in SQL, which runs as whoever calls it, under the session's settings.

    Attributes:
        schema, name: Its.
        text: As the catalog has it.
        atomic: Whether its names mean what they meant when it was made: ``BEGIN ATOMIC`` and
            ``RETURN``. Else they are looked up when it runs, by the session's search path.
        arguments: Those that it is given.
        defaults: How many of them, the last ones, may be left out.
        variadic: Whether the last one may be several.
        returns_set: Whether it gives all rows of its query, and not the first one only.
        volatile: Whether it is VOLATILE, and so sees what the statement that calls it has written.
        columns: Names and types, as in `Argument`, of its rows' columns; None if it gives values.
        type_name: The type of these; as in `Argument`.
    """

    schema: str
    name: str
    text: str
    atomic: bool
    arguments: tuple[Argument, ...] = ()
    defaults: int = 0
    variadic: bool = False
    returns_set: bool = False
    volatile: bool = True
    columns: tuple[tuple[str, str | None], ...] | None = None
    type_name: str | None = None

    def takes(self, call: Any) -> bool:
        """Whether it may be what a call means, by the number of arguments."""
        given, most = len(call.args), len(self.arguments)
        if self.variadic:
            return given >= most - 1 - self.defaults
        return most - self.defaults <= given <= most

    @property
    def query(self) -> Any:
        """Its `SelectStmt`, for reading only; None if it is not a single one that only reads."""
        return _query(self.text, atomic=self.atomic)

    @property
    def reads(self) -> bool:
        """Whether it names a table itself."""
        return any(type_name(each) == "RangeVar" for each in walk(self.query))


@lru_cache(maxsize=1000)
def _query(text: str, *, atomic: bool) -> Any:
    try:
        found = _of_atomic(text) if atomic else [each.stmt for each in parse(text)]
    except (ParserError, ValueError, RecursionError):
        return None
    if len(found) != 1 or not found[0].HasField("select_stmt"):
        return None
    select = found[0].select_stmt
    writes = any(type_name(message) in WRITING_PARTS for message in walk(select))
    return None if writes else select


def _of_atomic(text: str) -> list[Any]:
    """The statements of what pg_get_function_sqlbody() gives."""
    (made,) = parse(f"CREATE FUNCTION f() RETURNS int LANGUAGE sql {text}")
    body = made.stmt.create_function_stmt.sql_body
    if body.HasField("return_stmt"):
        (whole,) = parse("SELECT 1")
        target = whole.stmt.select_stmt.target_list[0].res_target
        target.val.CopyFrom(body.return_stmt.returnval)
        return [whole.stmt]
    return [each for block in body.list.items for each in block.list.items]
