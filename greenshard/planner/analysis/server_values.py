"""Goal: find what a write to a reference table would put into each copy as its server has it.

    UPDATE nation SET n_comment = version()             another one after an update of one server
    UPDATE nation SET n_number = 'nation'::regclass::oid

Over several shards such things are told by one of them or by each for its own rows, and that is as
good as by one PostgreSQL. Copies must be equal. What has another value on each server anyway is an
`objection` to any statement over several, and what is left to the server a `Choice`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from greenshard.planner.binding.query import Query, tables
from greenshard.planner.calls import Functions, name_of
from greenshard.sql.functions import OF_USERS, Fact, facts_of
from greenshard.sql.parser import VALUE_FUNCTIONS, Message, type_name, walk
from greenshard.sql.tree import names_of, own_type
from greenshard.sql.types import BY_NAME

#: The types that name what has an OID: of these the servers keep the OID.
_NUMBERED = frozenset(name for name in BY_NAME if name.startswith("reg"))
_TEXTS = frozenset({"text", "varchar", "name"})
_COMPARING = frozenset({"=", "<>"})


def of_server(
    query: Query, roots: Iterable[Message], functions: Functions
) -> Iterator[tuple[str, int | None]]:
    """What a query tells of the server that runs it: as the subject of a sentence, and where.

    Args:
        query: It.
        roots: Its tree, and those of the views in it.
        functions: To know PostgreSQL's own.
    """
    for table in tables(query):
        if table.system:
            yield f"{table.relation.name}, of PostgreSQL's own catalog,", table.node.location
        elif table.refreshed:
            yield f"what materialized view {table.relation.name} holds", table.node.location
    for root in roots:
        yield from of_tree(root, functions)


def of_tree(root: Message, functions: Functions) -> Iterator[tuple[str, int | None]]:
    """The same of what a tree calls and casts to."""
    by_name = list(_by_name(root))
    for message in walk(root):
        yield from _of(message, functions, by_name)


def is_numbered(root: Message) -> bool:
    """Whether a tree has the number that a server knows something by."""
    by_name = list(_by_name(root))
    casts = (message for message in walk(root) if type_name(message) == "TypeCast")
    return any(_is_numbered(each, by_name) for each in casts)


def _of(
    message: Any, functions: Functions, by_name: Iterable[Any]
) -> Iterator[tuple[str, int | None]]:
    kind = type_name(message)
    if kind == "SQLValueFunction" and (name := VALUE_FUNCTIONS[message.op]) in OF_USERS:
        yield name.upper(), message.location
    elif kind == "FuncCall":
        name = name_of(message)
        numbered = name in _NUMBERED or name.startswith("to_reg") or name == "pg_typeof"
        own = Fact.OF_INSTALLATION in facts_of(name) and functions.is_own(message)
        if own or functions.is_of_installation(message):
            yield f"{name}()", message.location
        elif numbered and not any(message is each for each in by_name):
            yield f"{name}(), a number on each server,", message.location
    elif kind == "TypeCast" and _is_numbered(message, by_name):
        what = f"a value of type {own_type(message.type_name)}"
        yield f"{what}, a number on each server,", message.location


def _is_numbered(cast: Any, by_name: Iterable[Any]) -> bool:
    name = own_type(cast.type_name)
    if name in _NUMBERED:
        return not any(cast is each for each in by_name)
    # n_table::oid, of a column of type regclass.
    return name == "oid" and not (cast.arg.HasField("a_const") or cast.arg.HasField("param_ref"))


def _by_name(root: Message) -> Iterator[Any]:
    """What gives such a number, where only the name counts: it is made a text, or compared."""
    for each in walk(root):
        message: Any = each
        kind = type_name(message)
        inner: list[Any] = []
        if kind == "TypeCast" and own_type(message.type_name) in _TEXTS:
            inner = [message.arg]
        elif kind == "A_Expr" and (names_of(message.name) or ("",))[-1] in _COMPARING:
            inner = [message.lexpr, message.rexpr]
        for node in inner:
            yield from (node.type_cast, node.func_call)
