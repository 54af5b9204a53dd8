"""Goal: leave conditions that the shards have tested out of the query over the gathered rows.

    SELECT c_custkey, count(o_orderkey) FROM customer
    LEFT JOIN orders ON o_custkey = c_custkey AND o_comment NOT LIKE '%x%'
    GROUP BY c_custkey

1. Of the rows of `orders` only those come that meet `o_comment NOT LIKE '%x%'`; it is true of each.
2. With `true` in its place nothing names o_comment, and that column need not come.

Only conditions go whose going spares a column: PostgreSQL may need the others to plan well. They
must

- stand in the query whose FROM names the table, and be what `restriction` calls a filter of it;
- be on a sharded table that is named nowhere else, for that place may need other rows;
- give on one server what they give on another: their functions are IMMUTABLE.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from greenshard.planner.binding.query import Condition, Join, Query, Table, queries
from greenshard.planner.calls import Functions, calls
from greenshard.planner.strategies.candidate import Candidate
from greenshard.sql.nodes import copy, expression
from greenshard.sql.parser import Message, type_name, walk


def shortened(candidate: Candidate) -> Candidate | None:
    """A query without what the shards have tested; None if that would spare no column."""
    tested = _names(condition.node for condition in _tested(candidate))
    spared = tested & _columns(candidate) if tested else set()
    # A column may be named by a condition that must stay; then another condition on it may as well
    # stay.
    while spared:
        made = _without(candidate, spared)
        needed = spared & _columns(made)
        if not needed:
            return made
        spared -= needed  # by something else
    return None


def _without(candidate: Candidate, columns: set[str]) -> Candidate:
    """The query without the tested conditions that name one of some columns."""
    made = copy(candidate.select)
    query = candidate.bind(made)
    for condition in list(_tested(replace(candidate, query=query))):
        if not columns.isdisjoint(_names([condition.node])):
            condition.node.CopyFrom(expression("true"))
    return replace(candidate, query=query)


def _columns(candidate: Candidate) -> set[str]:
    """The names of the columns that must come."""
    return set().union(*map(candidate.mentions.of, candidate.sharded))


def _tested(candidate: Candidate) -> Iterator[Condition]:
    """The conditions that are true of all rows that come."""
    named = Counter((each.relation.schema, each.relation.name) for each in candidate.tables)
    own = dict(_own_conditions(candidate.query))
    for each in candidate.restrictions:
        relation = each.table.relation
        # A reference table may be read where it is, with all its rows.
        if each.table.sharded and named[relation.schema, relation.name] == 1:
            for condition in each.filters:
                beside = id(condition) in own.get(id(each.table), ())
                if beside and _is_same_anywhere(condition, candidate.functions):
                    yield condition


def _own_conditions(query: Query) -> Iterator[tuple[int, set[int]]]:
    """For each table the conditions of its query; a view's text is not the user's."""
    for one in queries(query, into_views=False):
        conditions = [*one.where, *(on for join in one.items_of(Join) for on in join.on)]
        ids = {id(condition) for condition in conditions}
        for table in one.items_of(Table):
            yield id(table), ids


def _is_same_anywhere(condition: Condition, functions: Functions) -> bool:
    if not all(map(functions.is_immutable, calls(condition.node))):
        return False
    # Who is connected, and which schema is found first.
    return all(type_name(each) != "SQLValueFunction" for each in walk(condition.node))


def _names(roots: Iterable[Message]) -> set[str]:
    """What columns are called in expressions."""
    return {
        str(message.fields[-1].string.sval)
        for root in roots
        for message in walk(root)
        if type_name(message) == "ColumnRef"
    }
