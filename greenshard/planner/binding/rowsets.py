"""The names that a function in FROM gives, as far as they can be told from the text."""

from __future__ import annotations

from typing import Any

from greenshard.planner.binding.relations import renamed
from greenshard.planner.binding.scope import BoundColumn, Columns, Level
from greenshard.planner.calls import Functions
from greenshard.sql.functions import SET_COLUMNS
from greenshard.sql.parser import Message, type_name
from greenshard.sql.tree import names_of, own_type, unwrap
from greenshard.sql.types import Trait, names_with

#: Element types of arrays, by the names of `Column.type_name` and of casts, that are no rows.
_SCALARS = names_with(Trait.SCALAR)


def function_alias(inner: Any) -> str:
    """The name by which the columns are qualified.

    Args:
        inner: A `RangeFunction`, or whatever else is computed in FROM.
    """
    if inner.alias.aliasname or type_name(inner) != "RangeFunction":
        return str(inner.alias.aliasname)
    call = inner.functions[0].list.items[0]
    names = names_of(call.func_call.funcname) if call.HasField("func_call") else None
    return names[-1] if names else ""


def function_columns(inner: Any, level: Level, number: int, functions: Functions) -> Columns:
    """The columns; None if they are not known.

    Args:
        inner: As above.
        level: What the names in it mean.
        number: Of the source.
        functions: To know PostgreSQL's own.
    """
    # ROWS FROM (f(), g()), and f() AS (a int): how many columns each gives is not known here.
    if type_name(inner) != "RangeFunction" or len(inner.functions) != 1 or inner.coldeflist:
        return None
    call = inner.functions[0].list.items[0]
    own = call.HasField("func_call") and functions.is_own(call.func_call)
    names = _names(call.func_call, level) if own else None
    if names is None:
        return None
    made = [name or function_alias(inner) for name in names]
    if inner.ordinality:
        made.append("ordinality")
    return renamed(
        tuple(BoundColumn(name, (number, at)) for at, name in enumerate(made)), inner.alias.colnames
    )


def _names(call: Any, level: Level) -> tuple[str, ...] | None:
    """The columns that a function gives; None if they are not known."""
    name = (names_of(call.funcname) or ("",))[-1]
    if name == "unnest":
        # unnest() of rows gives a column for each field; of several arrays, one for each array.
        return ("",) if len(call.args) == 1 and _is_of_scalars(call.args[0], level) else None
    return SET_COLUMNS.get(name)


def _is_of_scalars(node: Message, level: Level) -> bool:
    """Whether an array's elements are certainly no rows, which would give several columns."""
    kind, inner = unwrap(node)
    if kind == "type_cast":
        return own_type(inner.type_name) in _SCALARS
    if kind == "a_array_expr":
        return all(each.HasField("a_const") for each in inner.elements)
    column = level.resolve(node)
    # psycopg2 writes lists of numbers, texts and the like; of rows only with a type of the user's.
    if column is None or column.column is None:
        return kind == "param_ref"
    return column.column.type_name.removeprefix("_") in _SCALARS
