"""Goal: let each shard write by rows of other shards, which are carried there first.

    UPDATE orders SET o_comment = 'x' WHERE o_totalprice > (SELECT avg(o_totalprice) FROM orders)

1. What the subquery needs of `orders` is read on all shards:
       SELECT o_totalprice FROM public.orders
2. Each shard is sent these rows with the statement, in which a WITH query of them stands in the
   place of the table:
       WITH "gs0 orders" (o_totalprice) AS (...)
       UPDATE orders SET o_comment = 'x'
       WHERE o_totalprice > (SELECT avg(o_totalprice) FROM "gs0 orders" orders)

So the rows that are written are found, locked and, if somebody else has changed them meanwhile,
looked at anew by PostgreSQL itself. A reference table is written on every shard by the same rows.

A table stays what it is where each shard has all that is needed of it: what is joined by the shard
key, and reference tables. Each one is tried.

Refuses what each shard may then choose otherwise (see `chance`); tables that only a function in SQL
or a view names which a shard cannot answer alone; row locks, and whatever else tells of a table,
see `gather`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from greenshard.planner.analysis.whole_rows import telling_row
from greenshard.planner.binding.query import Table, queries, tables
from greenshard.planner.binding.views import unqualify_columns
from greenshard.planner.plan import Carry, GatheredTable
from greenshard.planner.strategies.brought import check_names, gathered, needed_columns
from greenshard.planner.strategies.candidate import Candidate, Read, Unplannable
from greenshard.planner.strategies.carried_queries import with_carried_queries
from greenshard.planner.strategies.gather import LONGEST_NAME, check_calls
from greenshard.planner.strategies.kept_order import with_ordered_views
from greenshard.planner.strategies.stand_ins import put_names
from greenshard.sql.nodes import copy
from greenshard.sql.text import Sql

#: Whether the shards can run a write whose other tables are carried to them; it says why not.
Check = Callable[[Candidate], None]


def plan_carry(
    candidate: Candidate,
    checks: Sequence[Check],
    write: Callable[[Any], Sql],
    read: Read,
    *,
    reference: bool,
) -> Carry:
    """Plan a write by rows of other shards.

    Args:
        candidate: The SELECT that finds its rows, the written table first.
        checks: The first raises `Unplannable` if what is left in such a SELECT cannot be run by
            each shard; the others, if all of it cannot.
        write: The text of the write with the parts of such a SELECT.
        read: Plans a subquery as a statement of its own.
        reference: Whether it writes to a reference table, so that every shard does.

    Raises:
        Unplannable: It cannot be planned so.
    """
    # Before the views are looked into: the order of their rows would be lost.
    _, lost = with_ordered_views(candidate)
    candidate = candidate.with_whole_views(lost)
    check, *others = checks
    for each in others:
        each(_without(candidate, set(_movable(candidate))))
    candidate, queries_ = with_carried_queries(candidate, read)
    movable = _movable(candidate)
    if not movable and not queries_:
        _check_hidden(candidate)
        check(candidate)
        raise Unplannable("rows of other shards would have to be read")
    carried = set(movable)
    made = _without(candidate, carried)
    check(made)
    for at in movable:
        # Of several, as few as can be.
        fewer = _without(candidate, carried - {at})
        if (queries_ or len(carried) > 1) and _passes(check, fewer):
            carried.remove(at)
            made = fewer
    _check_readable(candidate)
    check_names(candidate)
    found = _tables(candidate, carried)
    pins = None if reference else made.pins
    select = _renamed(candidate, carried, found)
    put_names(select)
    return Carry(tuple(found.values()), write(select), pins, reference, queries_)


def _movable(candidate: Candidate) -> Sequence[int]:
    """The places of sharded tables whose rows can be carried, by number."""
    hidden, written = _hidden(candidate), candidate.query.items[0]
    return [
        at
        for at, table in enumerate(candidate.tables)
        if table.sharded and table is not written and id(table) not in hidden
    ]


def _check_hidden(candidate: Candidate) -> None:
    """Refuse tables whose rows cannot be put in their places: no text names them.

    Raises:
        Unplannable: There are some.
    """
    hidden = _hidden(candidate)
    for table in candidate.sharded:
        if id(table) in hidden:
            what = f"{hidden[id(table)]} reads {table.relation.name}"
            raise Unplannable(f"{what}, of which each shard has a part only", table.node.location)


def _hidden(candidate: Candidate) -> dict[int, str]:
    """What names the tables that are in functions and views, by their identities."""
    hidden = {
        id(table): f"function {body.name}()"
        for body, query in candidate.bodies
        for table in tables(query)
    }
    hidden |= {
        id(table): f"view {view.view.relname}"
        for view in candidate.views
        for table in tables(view.query)
    }
    return hidden


def _without(candidate: Candidate, carried: Collection[int]) -> Candidate:
    """The statement if every shard has all rows of the tables at some places."""
    made = replace(candidate, query=candidate.bind(candidate.select))
    for at, table in enumerate(made.tables):
        if at in carried:
            key = table.key.name if table.key is not None else None
            if table.home is None and key not in table.relation.primary_key:
                # Unique on each shard, and not over all.
                table.relation = replace(table.relation, primary_key=())
            table.sharded, table.key, table.placement, table.pins = False, None, None, None
    return made


def _passes(check: Check, candidate: Candidate) -> bool:
    try:
        check(candidate)
    except Unplannable:
        return False
    return True


def _check_readable(candidate: Candidate) -> None:
    """Refuse what would not mean the same of carried rows."""
    for query in queries(candidate.query):
        if query.node.locking_clause:
            raise Unplannable("rows are locked in a subquery")
    check_calls(candidate, candidate.roots)
    row = telling_row(candidate.query, candidate.functions)
    if row is not None:
        raise Unplannable("a whole row would be of another type", row)


def _tables(candidate: Candidate, carried: Collection[int]) -> dict[tuple[str, str], GatheredTable]:
    """What is read of each table."""
    places: dict[tuple[str, str], list[Table]] = {}
    for at, table in enumerate(candidate.tables):
        if at in carried:
            if table.sampled:
                raise Unplannable("TABLESAMPLE", table.node.location)
            places.setdefault((table.relation.schema, table.relation.name), []).append(table)
    return {
        where: gathered(
            candidate,
            several,
            needed_columns(candidate, several),
            f"gs{number} {where[1]}"[:LONGEST_NAME],
        )
        for number, (where, several) in enumerate(places.items())
    }


def _renamed(
    candidate: Candidate,
    carried: Collection[int],
    found: dict[tuple[str, str], GatheredTable],
) -> Any:
    """The SELECT with the names of carried rows."""
    made = copy(candidate.select)
    for at, table in enumerate(tables(candidate.bind(made))):
        if at in carried:
            node = table.node
            if not node.alias.aliasname:
                # Columns may be qualified with the table's name, which goes on meaning it.
                node.alias.aliasname = node.relname
            node.relname = found[table.relation.schema, table.relation.name].name
            node.ClearField("schemaname")
            node.ClearField("catalogname")
            node.inh = True
    unqualify_columns(made)
    return made
