"""Goal: say what the coordinator runs in the place of a gather of too many rows.

    SELECT o.id, i.price FROM orders o JOIN items i ON i.word = o.note

There each table is one of foreign tables, so that it is the query itself, its tables with their
schemas, for the coordinator may have others of the same names::

    SELECT o.id, i.price FROM public.orders o JOIN public.items i ON i.word = o.note

A view's query stands in the place of its name.

Refuses what another server, or another user there, would say otherwise: names of users and
databases, settings, catalogs, what has an OID; ONLY, for the rows are in the children there;
temporary tables; functions that read tables, or are neither PostgreSQL's own nor IMMUTABLE.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from greenshard.planner.analysis.rights import readings_of_user
from greenshard.planner.analysis.server_values import of_server
from greenshard.planner.binding.query import tables
from greenshard.planner.binding.views import PathBound, put_views, unqualify_columns
from greenshard.planner.calls import calls, name_of
from greenshard.planner.catalog import TEMPORARY
from greenshard.planner.plan import Elsewhere, Refusal
from greenshard.planner.strategies.brought import check_names
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.sql.deparsing import Unwritable
from greenshard.sql.functions import OF_PATH, Fact, facts_of
from greenshard.sql.nodes import copy
from greenshard.sql.parser import VALUE_FUNCTIONS, Message, type_name, walk
from greenshard.sql.tree import own_type

STRATEGY = "coordinator"


def plan_elsewhere(candidate: Candidate) -> Elsewhere | Refusal:
    """The text that the coordinator runs, or why it cannot."""
    try:
        _check(candidate)
        named = {(one.relation.schema, one.relation.name) for one in candidate.tables}
        rights = tuple(dict.fromkeys(readings_of_user(candidate.query, candidate.mentions)))
        made = _qualified(candidate)
        return Elsewhere(
            candidate.write(made), tuple(sorted(named)), _names(candidate, made), rights
        )
    except Unplannable as unplannable:
        return candidate.refusal(STRATEGY, unplannable.reason, unplannable.offset)
    except PathBound as bound:
        return candidate.refusal(STRATEGY, bound.reason, bound.offset)
    except Unwritable as unwritable:
        return candidate.refusal(STRATEGY, str(unwritable))


def _check(candidate: Candidate) -> None:
    """Refuse what would be otherwise there.

    Raises:
        Unplannable: There is such a thing.
    """
    for table in candidate.tables:
        if table.only:
            raise Unplannable("ONLY would leave out the rows there", table.node.location)
        if table.relation.schema == TEMPORARY:
            raise Unplannable(f"{table.relation.name} is a temporary table", table.node.location)
    told = of_server(candidate.query, candidate.roots, candidate.functions)
    if (found := next(told, None)) is not None:
        what, offset = found
        raise Unplannable(f"{what} is another one there", offset)
    for root in candidate.roots:
        for what, offset in _by_names(root):
            raise Unplannable(f"{what} looks a name up, which may mean another thing there", offset)
        for call in calls(root):
            _check_call(candidate, call)


def _by_names(root: Message) -> Iterator[tuple[str, int]]:
    """What looks names up, or shows them as the search path makes them."""
    for each in walk(root):
        message: Any = each
        kind = type_name(message)
        if kind == "SQLValueFunction" and VALUE_FUNCTIONS[message.op] in OF_PATH:
            yield VALUE_FUNCTIONS[message.op].upper(), message.location
        elif kind == "FuncCall":
            name = name_of(message)
            if name in OF_PATH or name.startswith(("to_reg", "reg")):
                yield f"{name}()", message.location
        elif kind == "TypeCast" and (own_type(message.type_name) or "").startswith("reg"):
            yield f"a value of type {own_type(message.type_name)}", message.location


def _check_call(candidate: Candidate, call: Any) -> None:
    functions = candidate.functions
    name = name_of(call)
    if functions.is_of_shard(call):
        raise Unplannable(f"{name}() reads rows of each shard", call.location)
    if functions.reads_tables(call):
        raise Unplannable(f"{name}() reads tables by its own text", call.location)
    # What a function of PostgreSQL's own that is not in the table tells, nobody knows.
    if Fact.PLACE_BOUND in facts_of(name) or functions.is_place_bound(call):
        raise Unplannable(f"{name}() tells of its server", call.location)
    if not functions.is_own(call) and not functions.is_immutable(call):
        raise Unplannable(f"{name}() is neither PostgreSQL's own nor IMMUTABLE", call.location)


def _names(candidate: Candidate, made: Message) -> frozenset[str]:
    """Whatever may be the name of a function, an operator, a type: also each literal."""
    columns = {column.name for table in candidate.tables for column in table.relation.columns}
    # A dot stands before a column, or before a function of the row.
    names: Counter[str] = Counter()
    for each in walk(made):
        message: Any = each
        kind = type_name(message)
        if kind == "String":
            names[message.sval] += 1
        elif kind in {"ColumnRef", "A_Indirection"}:
            parts = message.fields if kind == "ColumnRef" else message.indirection
            texts = (part.string.sval for part in parts if part.HasField("string"))
            names.subtract(text for text in texts if text in columns)
    return frozenset(+names)


def _qualified(candidate: Candidate) -> Any:
    """The query with its tables' schemas, and views as their queries."""
    check_names(candidate)
    made = copy(candidate.select)
    query = candidate.bind(made)
    for table in tables(query):
        node = table.node
        if not node.alias.aliasname:
            # Columns may be qualified with the table's name, which goes on meaning it.
            node.alias.aliasname = node.relname
        node.relname, node.schemaname = table.relation.name, table.relation.schema
    put_views(made, query, lambda _: True)
    unqualify_columns(made)
    return made
