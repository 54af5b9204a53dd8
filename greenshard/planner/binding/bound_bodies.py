"""Goal: see what a function in SQL reads, as if its query stood where it is called.

    SELECT id, spent(o.customer) FROM orders o
        -- spent(who bigint): SELECT sum(total) FROM orders WHERE customer = who

1. `who` is no column of what the query reads, so it is the argument, and that is `o.customer`.
2. The call is bound as the sublink (SELECT sum(total) FROM orders WHERE customer = o.customer).
3. `locality` and the others judge that. Nothing of it is sent.

Names in the query see nothing of the statement: an argument that is a column is a name of its own,
in a level around the query that holds nothing else. One that is a value stands for itself.

Source: sql_fn_post_column_ref in PostgreSQL's functions.c: columns go before arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from greenshard.planner.binding.query import Query, expressions, queries
from greenshard.planner.binding.scope import BoundColumn, Columns, Level, Source
from greenshard.planner.bodies import Argument, Body
from greenshard.planner.calls import Functions
from greenshard.planner.catalog import Column
from greenshard.sql.nodes import expression
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import SETOP_NONE, Message, type_name, walk
from greenshard.sql.tree import names_of, own_type, unwrap, walk_level
from greenshard.sql.types import FAMILIES

_COLLATED = frozenset({"text", "varchar", "bpchar", "name"})

#: The source of the arguments that are no values. No function's query can have it, for it is cut to
#: 63 bytes where it is written.
SOURCE = "gs arguments of a function that is called by a statement, and whose query is bound"


def arguments(
    body: Body, call: Any, level: Level, number: int
) -> tuple[dict[int, Message], Source]:
    """What a function is given.

    Args:
        body: The function.
        call: The call.
        level: What the names in it mean.
        number: Of the source.

    Returns:
        By their numbers, from 1 on, what stands for the arguments; and the source of those that are
        no values, or are left out.
    """
    given = dict(_given(body, call))
    nodes: dict[int, Message] = {}
    columns = []
    for at, argument in enumerate(body.arguments):
        # $2 of the function must be gone in any case: it would be taken for the statement's.
        node = given.get(at)
        value = _value(node, argument) if node is not None else None
        if value is None:
            column = level.resolve(node) if node is not None else None
            columns.append(_column(column, argument, f"a{at}", (number, at)))
            value = _named_column(f"a{at}")
        nodes[at + 1] = value
    return nodes, Source(SOURCE, tuple(columns))


def _column(
    column: BoundColumn | None, argument: Argument, name: str, number: tuple[int, int]
) -> BoundColumn:
    """An argument as a column: the one that is given, if it is still equal to what that is."""
    # In another type the same value may be equal to others.
    if column is None or column.family is None or column.family != _family(argument):
        return BoundColumn(name, number)
    return replace(column, name=name)


def _named_column(name: str) -> Message:
    node: Any = expression("x.y")
    for field, part in zip(node.column_ref.fields, (SOURCE, name), strict=True):
        field.string.sval = part
    made: Message = node
    return made


def _family(argument: Argument) -> str | None:
    return FAMILIES.get(argument.type_name or "")


def _given(body: Body, call: Any) -> Iterator[tuple[int, Message]]:
    """The arguments' places, and what is given for them."""
    names = [argument.name for argument in body.arguments]
    last = len(names) - 1
    for at, node in enumerate(call.args):
        kind, inner = unwrap(node)
        if kind == "named_arg_expr":
            if inner.name in names:
                yield names.index(inner.name), inner.arg
        # Of several that become one array nothing is known.
        elif at < last or (at == last and not body.variadic):
            yield at, node


def _value(node: Message, argument: Argument) -> Message | None:
    """A value as the function sees it, in the argument's type; None if it is none."""
    inner = node
    while inner.HasField("type_cast"):
        inner = inner.type_cast.arg
    if argument.type_name is None or unwrap(inner)[0] not in ("a_const", "param_ref"):
        return None
    # It has been given to another function before, which gives it on.
    if own_type(node.type_cast.type_name) == argument.type_name:
        return node
    made: Any = expression("x::pg_catalog.y")
    made.type_cast.arg.CopyFrom(node)
    made.type_cast.type_name.names[1].string.sval = argument.type_name
    cast: Message = made
    return cast


def put_arguments(select: Any, alone: Query, body: Body, nodes: dict[int, Message]) -> None:
    """Put what a function is given in the place of its arguments.

    Args:
        select: The function's query; it is changed.
        alone: The same, with its names resolved.
        body: The function.
        nodes: What is given, see `arguments`.
    """
    numbers = _named(alone, body)
    for node in list(walk(select)):
        found: Any = node
        number = 0
        if type_name(node) == "Node" and found.HasField("param_ref"):
            number = found.param_ref.number
            if number not in nodes:  # an error of the function's
                found.CopyFrom(_named_column("none"))
        elif type_name(node) == "Node" and found.HasField("column_ref"):
            _, number = numbers.get(id(found.column_ref), (None, 0))
        if number in nodes:
            found.CopyFrom(nodes[number])


def _named(alone: Query, body: Body) -> dict[int, tuple[Any, int]]:
    """The names in a query that are arguments: by identity the message, and the number."""
    names = {argument.name: at for at, argument in enumerate(body.arguments, 1) if argument.name}
    # With the messages: an identity is one for as long as its message lives.
    found: dict[int, tuple[Any, int]] = {}
    for one in queries(alone, into_views=False):
        for root, level in expressions(one):
            for message in walk_level(root):
                if type_name(message) != "ColumnRef":
                    continue
                *qualifier, name = names_of(message.fields) or ("",)
                # FROM t AS f, WHERE f.x = 1: an alias goes before the function's name.
                if name in names and qualifier in ([], [body.name]) and _is_free(message, level):
                    found[id(message)] = message, names[name]
    return found


def _is_free(column: Any, level: Level) -> bool:
    """Whether nothing that the query reads has the name."""
    names = names_of(column.fields) or ("",)
    at: Level | None = level
    while at is not None:
        alone = len(names) == 1
        if alone and (at.columns is None or any(each.name == names[0] for each in at.columns)):
            return False
        if any(source.alias == names[0] for source in at.sources):
            return False
        at = at.parent
    return True


def sublink_of(body: Body) -> Any:
    """A sublink that gives what a function does: a value, or several in their order."""
    made: Any = expression("ARRAY(SELECT)" if body.returns_set else "(SELECT)")
    return made.sub_link


def take_first(select: Any, functions: Functions) -> None:
    """Take the first row only, unless there is one in any case."""
    alone = not (select.from_clause or select.values_lists or select.group_clause)
    aggregated = not select.group_clause and any(map(functions.is_aggregate, _calls(select)))
    if (alone or aggregated) and select.op == SETOP_NONE:
        return
    limited = parse_select("SELECT LIMIT 1")
    select.limit_count.CopyFrom(limited.limit_count)
    select.limit_option = limited.limit_option


def _calls(select: Any) -> Iterator[Any]:
    for target in select.target_list:
        for message in walk_level(target):
            if type_name(message) == "FuncCall":
                yield message


def called_alone(inner: Any) -> Any:
    """The one call that a `RangeFunction` is; None if it is anything else."""
    plain = type_name(inner) == "RangeFunction" and len(inner.functions) == 1
    if not plain or inner.coldeflist or inner.ordinality or inner.is_rowsfrom:
        return None
    call = inner.functions[0].list.items[0]
    return call.func_call if call.HasField("func_call") else None


def gives_rows(body: Body, call: Any) -> bool:
    """Whether what a function gives in FROM may be taken for the rows of a subquery."""
    query = body.query
    if query is None or not body.returns_set or query.sort_clause or query.op != SETOP_NONE:
        return False
    # Which rows it gives would depend on their order, and `kept_order` cannot change its text.
    if query.HasField("limit_count") or query.HasField("limit_offset"):
        return False
    # What its arguments call or read would be seen by nobody: a subquery has none.
    return not any(
        type_name(each) in ("FuncCall", "SubLink") for arg in call.args for each in walk(arg)
    )


def row_columns(body: Body, query: Query, alias: str, number: int) -> Columns:
    """The columns of a function's rows; None if they are not known.

    Args:
        body: The function.
        query: Its query.
        alias: What it is called in FROM: a value's column is called so, too.
        number: Of the source.
    """
    named = ((alias, body.type_name),) if body.columns is None else body.columns
    outputs = query.outputs
    # RETURNS SETOF orders AS 'SELECT o FROM orders o': one column, which is a whole row.
    if outputs is None or len(outputs) != len(named):
        return None
    made = []
    for at, ((name, type_name_), output) in enumerate(zip(named, outputs, strict=True)):
        kept = output.column is not None and _is_kept(output.column, body, type_name_)
        made.append(replace(output, name=name) if kept else BoundColumn(name, (number, at)))
    return tuple(made)


def _is_kept(column: Column, body: Body, type_name_: str | None) -> bool:
    """Whether a column of a function's query is one of its rows, and compares there as it did."""
    # The result has its type's collation; of one value, that of what the function is given.
    collated = column.type_name in _COLLATED and body.columns is None
    return column.type_name == type_name_ and column.collation is None and not collated
