"""Goal: let only those rows travel that can find partners in reference tables.

    SELECT sum(l_extendedprice) FROM part JOIN lineitem ON p_partkey = l_partkey
    WHERE p_brand = 'Brand#23' AND l_quantity < (
        SELECT 0.2 * avg(l_quantity) FROM lineitem WHERE l_partkey = p_partkey)

1. Each shard has all rows of `part`, and reads of its own lines
       SELECT l_extendedprice, l_partkey, l_quantity FROM public.lineitem
       WHERE l_partkey = ANY (
           SELECT gs0.p_partkey FROM public.part gs0 WHERE gs0.p_brand = 'Brand#23')
2. The text runs over them as it stands.

What the tables of one ANY must meet is said of them alone. Several that meet something together are
joined in it; others have an ANY of their own. A table that nothing restricts is left out: it would
be read in vain.

A table that is named several times needs the same columns in an ANY at each of its places: then the
rows come that find partners at one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from greenshard.planner.analysis.equality import Classes, Pair
from greenshard.planner.analysis.may_fail import computing_may_fail
from greenshard.planner.analysis.partners import Partners, mentioned
from greenshard.planner.analysis.restriction import Restriction
from greenshard.planner.binding.query import (
    Condition,
    Derived,
    Join,
    Sublink,
    Table,
    is_correlated,
    nested,
    queries,
)
from greenshard.planner.binding.scope import ColumnId, Source
from greenshard.planner.calls import Functions, calls
from greenshard.planner.catalog import TEMPORARY, Column
from greenshard.planner.strategies.conditions import columns_of, joined, renamed
from greenshard.planner.strategies.stand_ins import PREFIX
from greenshard.sql.nodes import expression, quoted
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import Message, type_name
from greenshard.sql.tree import same_text, walk_level

#: Columns of the table, by name, with the types of its partners' columns; and the query that has
#: these.
SemiJoin = tuple[tuple[tuple[str, str], ...], Any]


def semi_joins(
    places: Sequence[Restriction], functions: Functions, source: Source | None = None
) -> Iterator[Message]:
    """What the rows of a table must meet that matter at one of some places.

    Args:
        places: All at which the table is named.
        functions: To know what is not the same when it is computed twice.
        source: What names its columns; None: they are named alone, as the table has them.
    """
    each = [dict(_of_place(place, functions)) for place in places]
    for columns, first in each[0].items():
        # What two places say alike is asked once, wherever in the text it stands.
        found = {same_text(first): first}
        for other in each[1:]:
            if columns not in other:
                break
            found.setdefault(same_text(other[columns]), other[columns])
        else:
            yield _in([name for name, _ in columns], list(found.values()), source)


def _in(columns: Sequence[str], found: Sequence[Any], source: Source | None) -> Message:
    if source is None:
        shown = {name: quoted(name) for name in columns}
    else:
        shown = {
            each.column.name: f"{quoted(source.alias)}.{quoted(each.name)}"
            for each in source.columns or ()
            if each.column is not None
        }
    listed = ", ".join(shown[name] for name in columns)
    # IN, but by PostgreSQL's own operator.
    made = expression(f"({listed}) OPERATOR(pg_catalog.=) ANY (SELECT)")
    query = found[0]
    for other in found[1:]:
        both = parse_select("SELECT UNION ALL SELECT")
        both.larg.CopyFrom(query)
        both.rarg.CopyFrom(other)
        query = both
    made.sub_link.subselect.select_stmt.CopyFrom(query)
    return made


def _of_place(place: Restriction, functions: Functions) -> Iterator[SemiJoin]:
    if place.partners is None:
        return
    finder = _Finder(place.table, place.partners, functions)
    for group in finder.groups():
        made = finder.semi_join(group)
        if made is not None:
            yield made


class _Finder:
    """Finds those of one place.

    Args:
        table: The table.
        partners: What stands beside its rows.
        functions: See `semi_joins`.
    """

    def __init__(self, table: Table, partners: Partners, functions: Functions) -> None:
        self._partners, self._functions = partners, functions
        self._own = columns_of([table])
        self._tables = [
            each for each in partners.tables if _is_everywhere(each) and columns_of([each])
        ]
        self._columns = columns_of(self._tables)
        self._equal = list(_equal(partners))
        self._conditions = [
            (each, names)
            for each in partners.conditions
            if (names := self._names_of_theirs(each)) is not None
        ]

        #: WHERE 1 = 2 AND 1 / (n - n) > 0: what lets PostgreSQL look at no row.
        self._constants = [
            each
            for each in partners.conditions
            if mentioned(each) == set() and self._is_alike(each.node)
        ]

    def _is_alike(self, node: Message) -> bool:
        """Whether a condition that names no column is the same wherever it is computed."""
        if any(type_name(each) == "SubLink" for each in walk_level(node)):
            return False
        return all(map(self._functions.is_immutable, calls(node)))

    def groups(self) -> Iterator[list[Table]]:
        """The tables, those together of which something is said together."""
        classes = Classes(
            ((one[0], 0), (other[0], 0))
            for _, names in self._conditions
            for one, other in pairwise(sorted(names))
        )
        found: dict[ColumnId, list[Table]] = {}
        for table in self._tables:
            found.setdefault(classes.find((_number(table), 0)), []).append(table)
        yield from found.values()

    def semi_join(self, tables: Sequence[Table]) -> SemiJoin | None:
        """What is said of the table's columns by some partners; None if they leave out nothing."""
        theirs = columns_of(tables)
        links = dict(self._links(theirs))
        conditions = [each for each, names in self._conditions if names <= theirs.keys()]
        restricting = [each for each in conditions if each.equal_columns is None]
        if not links or not restricting:
            return None
        aliases = {number: f"gs{at}" for at, number in enumerate(sorted({n for n, _ in theirs}))}
        names = {each: (aliases[each[0]], column.name) for each, column in theirs.items()}
        made: Any = parse_select("SELECT")
        for own in sorted(links):
            column = expression(".".join(map(quoted, names[links[own]])))
            made.target_list.add().res_target.val.CopyFrom(column)
        for table in tables:
            relation = table.relation
            alias = aliases[_number(table)]
            item = f"SELECT FROM {quoted(relation.schema)}.{quoted(relation.name)} {alias}"
            made.from_clause.add().CopyFrom(parse_select(item).from_clause[0])
        if any(computing_may_fail(each.node) for each in conditions):
            conditions = [*self._constants, *conditions]
        made.where_clause.CopyFrom(joined("a AND b", [renamed(each, names) for each in conditions]))
        return tuple((own, theirs[links[own]].type_sql) for own in sorted(links)), made

    def _links(self, theirs: dict[ColumnId, Column]) -> Iterator[tuple[str, ColumnId]]:
        """The table's columns, by name, and partners' columns that are equal to them."""
        for pair in self._equal:
            for one, other in (pair, pair[::-1]):
                own = self._own.get(one)
                if own is not None and other in theirs:
                    yield own.name, other

    def _names_of_theirs(self, condition: Condition) -> set[ColumnId] | None:
        """The columns of a condition that is for partners' rows alone, on any shard; else None."""
        names = mentioned(condition)
        if not names or not names <= self._columns.keys():
            return None
        if any(map(self._functions.needs_its_place, calls(condition.node))):
            return None
        links = [each for each in walk_level(condition.node) if type_name(each) == "SubLink"]
        return names if all(map(self._is_theirs_alone, links)) else None

    def _is_theirs_alone(self, node: Message) -> bool:
        """Whether a query in a condition reads reference tables alone, and is for all rows."""
        known = (each for each in self._partners.sublinks if each.node == node)
        sublink: Sublink | None = next(known, None)
        if sublink is None or sublink.body is not None or is_correlated(sublink.query):
            return False
        items = [item for one in queries(sublink.query) for item in nested(one.items)]
        return all(
            _is_everywhere(item)
            if isinstance(item, Table)
            else isinstance(item, Join) or (isinstance(item, Derived) and _is_plain(item))
            for item in items
        )


def _is_plain(item: Derived) -> bool:
    """Whether any shard has the rows of a query in FROM that reads what every shard has."""
    # What was computed first is known where the whole is run, and not where a table is read.
    computed = item.sources[0].alias.startswith(PREFIX)
    return item.view is None and item.body is None and not computed


def _is_everywhere(table: Table) -> bool:
    """Whether a table is a reference table, which each shard has alike, and anybody may read so."""
    special = table.sharded or table.system or table.refreshed or table.sampled or table.only
    relation = table.relation
    own = relation.schema == TEMPORARY or relation.kind not in ("r", "p")
    # A policy that reads a sharded table finds each shard's part there.
    own = own or bool(relation.security.policies)
    return table.declared and table.home is None and not (special or own)


def _equal(partners: Partners) -> Iterator[Pair]:
    """The columns that are equal, whatever their types."""
    yield from partners.equal
    for condition in partners.conditions:
        columns = condition.equal_columns
        if columns is not None:
            yield columns[0].id, columns[1].id


def _number(table: Table) -> int:
    """The number of a table in its columns, of which it has some."""
    return next(iter(columns_of([table])))[0]
