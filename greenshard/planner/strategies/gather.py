"""Goal: bring the rows that matter to one PostgreSQL, and run the query there.

    SELECT c_custkey, count(o_orderkey) FROM customer
    LEFT JOIN orders ON o_custkey = c_custkey AND o_comment NOT LIKE '%%x%%'
    GROUP BY c_custkey

1. What the text says of rows of `orders` alone is said to the shards. Of the columns that it
   names, o_comment is needed for nothing else, and need not come, see `shortening`:
       SELECT o_orderkey, o_custkey FROM orders WHERE o_comment NOT LIKE '%%x%%'
2. These rows go into a temporary table called orders, which PostgreSQL finds before any other of
   that name, and the text runs beside it, without that condition.

A view is gathered like a table if each shard can make its rows, see `whole_views`; else its query
stands in the place of its name. The order of its rows is said again: see `kept_order`.

Functions in SQL that read tables find the temporary ones, if their texts name them without a
schema: such rows are never put into the query's text.

It is the user's own text if no column is spared so, no name is qualified or that of such a view,
and no two tables have the same one.

Refuses TABLESAMPLE; a table that is read with ONLY and without; row locks; `tableoid`, and
functions that tell of a server, a table (`has_table_privilege`) or how a value is stored
(`pg_column_size`): they would tell of the temporary table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from greenshard.planner.analysis.objections import tableoids
from greenshard.planner.analysis.rights import readings
from greenshard.planner.analysis.whole_rows import telling_row
from greenshard.planner.binding.bound_views import views_in
from greenshard.planner.binding.query import Join, Query, queries, sublinks, tables
from greenshard.planner.binding.views import PathBound, put_views, unqualify_columns
from greenshard.planner.calls import calls, name_of
from greenshard.planner.catalog import TEMPORARY, Relation
from greenshard.planner.plan import Gather, GatheredTable, Refusal
from greenshard.planner.strategies.brought import check_names, gathered, needed_columns
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.planner.strategies.kept_order import with_ordered_aggregates, with_ordered_views
from greenshard.planner.strategies.shortening import shortened
from greenshard.sql.deparsing import Unwritable
from greenshard.sql.functions import Fact, facts_of
from greenshard.sql.nodes import copy
from greenshard.sql.parser import Message
from greenshard.sql.text import Sql

STRATEGY = "gather"
#: NAMEDATALEN - 1 bytes: PostgreSQL cuts off what is longer.
LONGEST_NAME = 63


def plan_gather(candidate: Candidate) -> Gather | Refusal:
    """Run the query in one place."""
    try:
        candidate, lost = with_ordered_views(with_ordered_aggregates(candidate))
        candidate = candidate.with_whole_views(lost)
        # The text of a function stays whole, and names the columns of all its conditions.
        shorter = None if _read_by_bodies(candidate) else shortened(candidate)
        if shorter is not None:
            # The tree without the conditions cannot be written as text: then with them, as the
            # user's own.
            with suppress(Unwritable):
                return _Gathering(candidate, shorter).plan()
        return _Gathering(candidate, candidate).plan()
    except Unplannable as unplannable:
        return candidate.refusal(STRATEGY, unplannable.reason, unplannable.offset)


class _Gathering:
    """A query.

    Args:
        candidate: As the user wrote it.
        final: As it runs over the gathered rows.
    """

    def __init__(self, candidate: Candidate, final: Candidate) -> None:
        self._candidate = candidate
        self._final = final

    def plan(self) -> Gather:
        candidate = self._candidate
        for query in queries(candidate.query):
            # FOR UPDATE would lock the copies in the temporary table.
            if query.node.locking_clause:
                raise Unplannable("rows are locked")
        for table in candidate.tables:
            # The copy has its rows in another order of pages.
            if table.sampled:
                raise Unplannable("TABLESAMPLE", table.node.location)
        check_calls(candidate, self._final.roots)
        row = telling_row(candidate.query, candidate.functions)
        if row is not None:
            raise Unplannable("a whole row would be of the gathered table's type", row)
        # A table that is named twice is gathered once.
        relations = {_where(each): each for each in self._relations()}
        names = self._names(list(relations.values()))
        gathered = tuple(
            self._table(relation, names[where]) for where, relation in relations.items()
        )
        rights = (
            *candidate.readings,
            *readings(candidate.query, candidate.mentions, lambda _: True),
        )
        in_tables = self._bodies_read(names)
        return Gather(
            gathered,
            self._sql(names, every=False),
            self._sql(names, every=True),
            rights,
            in_tables,
            _joins(self._final.query),
        )

    def _bodies_read(self, names: dict[tuple[str, str], str]) -> bool:
        """Whether functions in SQL read tables: then their texts must mean the gathered ones.

        Raises:
            Unplannable: They mean others.
        """
        for body, query in self._candidate.bodies:
            for table in tables(query):
                relation = table.relation
                shared = not table.system and names[_where(relation)] != relation.name
                if body.atomic:
                    why = "has its names bound (BEGIN ATOMIC, RETURN)"
                elif table.node.schemaname:
                    why = f"names {relation.name} with its schema"
                elif table.system or shared or _views(query):
                    why = "names a view, or what others are called, too"
                else:
                    continue
                reason = f"{body.name}() {why}, and would read one shard's {relation.name}"
                raise Unplannable(reason, table.node.location)
        return _read_by_bodies(self._candidate)

    def _relations(self) -> list[Relation]:
        return [table.relation for table in self._candidate.tables if not table.system]

    def _names(self, relations: Sequence[Relation]) -> dict[tuple[str, str], str]:
        """A name for each table: its own, if that names nothing else in the text."""
        taken = (
            set()
            if self._is_plain
            else {cte.name for query in queries(self._candidate.query) for cte in query.ctes}
        )
        names: dict[tuple[str, str], str] = {}
        for number, relation in enumerate(relations):
            name = relation.name
            if name in taken:
                name = f"gs{number} {relation.name}"[:LONGEST_NAME]
            taken.add(name)
            names[_where(relation)] = name
        return names

    @cached_property
    def _is_plain(self) -> bool:
        """Whether the user's own text means the temporary tables."""
        unqualified = all(
            not table.node.schemaname for table in self._candidate.tables if not table.system
        )
        names = {(_where(each), each.name) for each in self._relations()}
        return (
            unqualified
            and not self._candidate.views
            and len({name for _, name in names}) == len(names)
        )

    def _table(self, relation: Relation, name: str) -> GatheredTable:
        # All places at which it is named: the rows that matter at any of them have to come.
        final = [table for table in self._final.tables if table.relation is relation]
        columns = needed_columns(self._final, final)
        places = [table for table in self._candidate.tables if table.relation is relation]
        return gathered(self._candidate, places, columns, name)

    # The text -------------------------------------------------------------------------------

    def _sql(self, names: dict[tuple[str, str], str], *, every: bool) -> Sql:
        """The query over the temporary tables.

        Args:
            names: Theirs.
            every: Whether reference tables are among them.
        """
        if self._is_plain:
            return self._plain_sql
        return self._candidate.write(self._renamed(names, every))

    @cached_property
    def _plain_sql(self) -> Sql:
        final = self._final
        return final.own_sql if final is self._candidate else final.write(final.select)

    def _renamed(self, names: dict[tuple[str, str], str], every: bool) -> Any:
        """The query with the temporary tables' names, and views as their queries."""
        check_names(self._candidate)
        made = copy(self._final.select)
        query = self._candidate.bind(made)
        for table in tables(query):
            if table.system:
                continue
            node = table.node
            if not node.alias.aliasname:
                # Columns may be qualified with the table's name, which goes on meaning it.
                node.alias.aliasname = node.relname
            # Reference tables are there already, unless this transaction has changed them on its
            # own connection: then the gathering one does not see it, and their rows are gathered,
            # too.
            if table.sharded or every or table.relation.schema == TEMPORARY:
                node.relname = names[_where(table.relation)]
                node.ClearField("schemaname")
        try:
            put_views(made, query, lambda _: True)
            unqualify_columns(made)
        except PathBound as bound:
            raise Unplannable(bound.reason, bound.offset) from None
        return made


def check_calls(candidate: Candidate, roots: Iterable[Message]) -> None:
    """Refuse what would tell of copies, or read them.

    Args:
        candidate: The statement.
        roots: What is run beside them.

    Raises:
        Unplannable: There is such a call.
    """
    roots = list(roots)
    if (name := next(tableoids(roots), None)) is not None:
        raise Unplannable("tableoid would tell of a copy", name.location)
    for call in (call for root in roots for call in calls(root)):
        if facts_of(name_of(call)) & (Fact.OF_STORAGE | Fact.OF_TABLE):
            raise Unplannable(f"{name_of(call)}() would tell of a copy", call.location)
        if candidate.functions.is_of_shard(call):
            raise Unplannable(f"{name_of(call)}() reads rows of each shard", call.location)


def _read_by_bodies(candidate: Candidate) -> bool:
    return any(True for _, query in candidate.bodies for _ in tables(query))


def _joins(query: Query) -> bool:
    """Whether a query, or one within it, reads rows of one thing for those of another."""
    return any(
        len(one.items) > 1
        or any(True for _ in one.items_of(Join))
        or any(True for _ in sublinks(one))
        for one in queries(query)
    )


def _views(query: Query) -> bool:
    return any(True for _ in views_in(query))


def _where(relation: Relation) -> tuple[str, str]:
    return relation.schema, relation.name
