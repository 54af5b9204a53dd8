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

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from greenshard.planner.analysis.objections import tableoids
from greenshard.planner.analysis.restriction import Restriction
from greenshard.planner.analysis.rights import readings
from greenshard.planner.analysis.whole_rows import telling_row
from greenshard.planner.binding.bound_views import views_in
from greenshard.planner.binding.query import Condition, Query, Table, queries, tables
from greenshard.planner.binding.views import PathBound, put_views, unqualify_columns
from greenshard.planner.calls import calls, name_of
from greenshard.planner.catalog import Relation
from greenshard.planner.plan import Gather, GatheredColumn, GatheredTable, Pin, Refusal
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.planner.strategies.kept_order import with_ordered_aggregates, with_ordered_views
from greenshard.planner.strategies.shortening import shortened
from greenshard.sql.deparsing import Unwritable
from greenshard.sql.functions import Fact, facts_of
from greenshard.sql.nodes import copy, expression, quoted
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import ARRAY_SUBLINK, EXPR_SUBLINK, type_name, walk
from greenshard.sql.text import Sql
from greenshard.sql.tree import names_of, unwrap

STRATEGY = "gather"
_NO_COLUMN = GatheredColumn("gs none", "integer")
#: NAMEDATALEN - 1 bytes: PostgreSQL cuts off what is longer.
_LONGEST_NAME = 63


def plan_gather(candidate: Candidate) -> Gather | Refusal:
    """Run the query in one place."""
    candidate, lost = with_ordered_views(with_ordered_aggregates(candidate))
    candidate = candidate.with_whole_views(lost)
    try:
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
        self._check_calls()
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
        )

    def _check_calls(self) -> None:
        """Refuse what would tell of copies, or read them."""
        if (name := next(tableoids(self._final.roots), None)) is not None:
            raise Unplannable("tableoid would tell of a copy", name.location)
        for call in (call for root in self._final.roots for call in calls(root)):
            if facts_of(name_of(call)) & (Fact.OF_STORAGE | Fact.OF_TABLE):
                raise Unplannable(f"{name_of(call)}() would tell of a copy", call.location)
            if self._candidate.functions.is_of_shard(call):
                raise Unplannable(f"{name_of(call)}() reads rows of each shard", call.location)

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
                name = f"gs{number} {relation.name}"[:_LONGEST_NAME]
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
        places = [each for each in self._candidate.restrictions if each.table.relation is relation]
        table = places[0].table
        columns = self._columns(relation)
        shown = ", ".join(quoted(column.name) for column in columns)
        if columns == (_NO_COLUMN,):  # who may read any column may count the rows
            shown = "NULL::pg_catalog.int4"
        qualified = f"{quoted(relation.schema)}.{quoted(relation.name)}"
        if len({each.table.only for each in places}) > 1:
            raise Unplannable("a table is read with ONLY and without", table.node.location)
        only = "ONLY " if table.only else ""
        read = parse_select(f"SELECT {shown} FROM {only}{qualified}")
        if table.sharded:
            _filter(read, places)
        known = {column.name for column in columns}
        return GatheredTable(
            name,
            qualified,
            columns,
            self._candidate.write(read),
            _pins(places),
            not table.sharded,
            relation.primary_key if known.issuperset(relation.primary_key) else (),
            tuple(sorted(_sought(self._candidate.query, [each.table for each in places]))),
        )

    def _columns(self, relation: Relation) -> tuple[GatheredColumn, ...]:
        """The columns that the text can mean; one at least, for the rows are to be counted."""
        places = [table for table in self._final.tables if table.relation is relation]
        names = set().union(*map(self._final.mentions.of, places))
        needed = [column for column in relation.columns if column.name in names]
        if not relation.columns and self._shows_star():
            raise Unplannable(f"table {relation.name} has no columns, and * would show one")
        if not relation.columns or (not needed and relation.security.column_grants):
            return (_NO_COLUMN,)
        return tuple(
            GatheredColumn(column.name, column.type_sql, column.collation, column.is_array)
            for column in needed or relation.columns[:1]
        )

    def _shows_star(self) -> bool:
        return any(type_name(each) == "A_Star" for root in self._final.roots for each in walk(root))

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
            if table.sharded or every:
                node.relname = names[_where(table.relation)]
                node.ClearField("schemaname")
        try:
            put_views(made, query, lambda _: True)
        except PathBound as bound:
            raise Unplannable(bound.reason, bound.offset) from None
        unqualify_columns(made)
        return made


def _sought(query: Query, places: Sequence[Table]) -> set[tuple[str, ...]]:
    """The columns by which scalar subqueries find a table's rows for a row around them.

    EXISTS and IN become joins, which PostgreSQL does without an index.
    """
    numbers = {column.id[0] for table in places for column in table.columns or ()}
    scalar = (
        sublink.query
        for one in queries(query)
        for sublink in one.sublinks
        # (SELECT sum(x) FROM items WHERE order_id = o.id) runs once for each order: without an
        # index on order_id, it would read the whole temporary table each time.
        if sublink.node.sub_link_type in (EXPR_SUBLINK, ARRAY_SUBLINK)
    )
    found = {tuple(sorted(_compared(one, numbers))) for one in scalar}
    return {columns for columns in found if columns}


def _compared(query: Query, numbers: set[int]) -> set[str]:
    """The columns of some sources that WHERE compares with one of the rows around a query."""
    own = {column.id for column in query.level.columns or ()}
    found = set()
    for condition in query.where:
        sides = [condition.level.resolve(side) for side in condition.equated or ()]
        columns = [column for column in sides if column is not None and column.family is not None]
        inner = [column for column in columns if column.id in own and column.id[0] in numbers]
        if len(columns) == 2 and len(inner) == 1 and inner[0].column is not None:
            found.add(inner[0].column.name)
    return found


def _pins(places: Sequence[Restriction]) -> tuple[Pin, ...] | None:
    """The shards that have rows that matter at one of the places; None: any may."""
    pins: list[Pin] = []
    for each in places:
        known = each.table.pins if each.pin is None else (each.pin,)
        if known is None:
            return None
        pins += known
    return tuple(pins)


def _read_by_bodies(candidate: Candidate) -> bool:
    return any(True for _, query in candidate.bodies for _ in tables(query))


def _views(query: Query) -> bool:
    return any(True for _ in views_in(query))


def _where(relation: Relation) -> tuple[str, str]:
    return relation.schema, relation.name


def _filter(read: Any, places: Sequence[Restriction]) -> None:
    """Leave out the rows that matter at none of the places where the table is named."""
    # Named once without a condition, all rows matter.
    if not all(each.filters for each in places):
        return
    read.where_clause.CopyFrom(_joined("a OR b", [_all_of(each) for each in places]))


def _all_of(restriction: Restriction) -> Any:
    return _joined("a AND b", [_own_names(each) for each in restriction.filters])


def _joined(pattern: str, nodes: Sequence[Any]) -> Any:
    """Join conditions; those that are joined so themselves are taken apart, as the parser does."""
    if len(nodes) == 1:
        return nodes[0]
    made = expression(pattern)
    joined = made.bool_expr
    del joined.args[:]
    for node in nodes:
        kind, inner = unwrap(node)
        same = kind == "bool_expr" and inner.boolop == joined.boolop
        joined.args.extend(inner.args if same else [node])
    return made


def _own_names(condition: Condition) -> Any:
    """A condition with the columns' names in the table itself."""
    made = copy(condition.node)
    for message in list(walk(made)):
        if type_name(message) == "ColumnRef":
            column = condition.level.named(names_of(message.fields))
            if column is None or column.column is None:
                raise Unplannable("a condition is on something else than columns")
            message.ClearField("fields")
            # o.k in FROM orders o (k): the shard reads the table itself, where it has its own name.
            message.fields.add().string.sval = column.column.name
    return made
