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

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from greenshard.planner.analysis.equality import Classes
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
from greenshard.planner.binding.scope import BoundColumn, ColumnId
from greenshard.planner.calls import Functions, calls
from greenshard.planner.catalog import TEMPORARY
from greenshard.sql.nodes import copy, expression, quoted
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import Message, type_name
from greenshard.sql.tree import names_of, walk_level

#: Columns of the table, by name, with the types of its partners' columns; and the query that has
#: these.
SemiJoin = tuple[tuple[tuple[str, str], ...], Any]


def semi_joins(places: Sequence[Restriction], functions: Functions) -> Iterator[Message]:
    """What the rows of a table must meet that matter at one of some places.

    Args:
        places: All at which the table is named; its columns are named without it.
        functions: To know what is not the same when it is computed twice.
    """
    each = [dict(_of_place(place, functions)) for place in places]
    for columns, first in each[0].items():
        # A list, since messages cannot be hashed.
        found = [first]
        for other in each[1:]:
            if columns not in other:
                break
            if other[columns] not in found:
                found.append(other[columns])
        else:
            yield _in(columns, found)


def _in(columns: Sequence[tuple[str, str]], found: Sequence[Any]) -> Message:
    listed = ", ".join(quoted(name) for name, _ in columns)
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
        self._own = _columns([table])
        self._tables = [each for each in partners.tables if _is_everywhere(each)]
        self._columns = _columns(self._tables)
        self._conditions = [
            (each, names)
            for each in partners.conditions
            if (names := self._names_of_theirs(each)) is not None
        ]

    def groups(self) -> Iterator[list[Table]]:
        """The tables, those together of which something is said together."""
        classes = Classes(
            ((one[0], 0), (other[0], 0))
            for _, names in self._conditions
            for one, other in pairwise(sorted(names))
        )
        found: dict[ColumnId, list[Table]] = {}
        for table in self._tables:
            number = next(iter(_columns([table])), None)
            if number is not None:
                found.setdefault(classes.find((number[0], 0)), []).append(table)
        yield from found.values()

    def semi_join(self, tables: Sequence[Table]) -> SemiJoin | None:
        """What is said of the table's columns by some partners; None if they leave out nothing."""
        theirs = _columns(tables)
        links = dict(self._links(theirs))
        conditions = [each for each, names in self._conditions if names <= theirs.keys()]
        restricting = [each for each in conditions if not self._is_link(each)]
        if not links or not restricting:
            return None
        aliases = {number: f"gs{at}" for at, number in enumerate(sorted({n for n, _ in theirs}))}
        names = {
            each: (aliases[each[0]], column.column.name)
            for each, column in theirs.items()
            if column.column is not None  # so it is of tables
        }
        made: Any = parse_select("SELECT")
        for own in sorted(links):
            made.target_list.add().res_target.val.CopyFrom(_named(*names[links[own]]))
        for table in tables:
            relation = table.relation
            alias = aliases[next(iter(_columns([table])))[0]]
            item = f"SELECT FROM {quoted(relation.schema)}.{quoted(relation.name)} {alias}"
            made.from_clause.add().CopyFrom(parse_select(item).from_clause[0])
        made.where_clause.CopyFrom(_all([_renamed(each, names) for each in conditions]))
        types = {own: theirs[other].column for own, other in links.items()}
        columns = tuple((own, column.type_sql if column else "") for own, column in types.items())
        return tuple(sorted(columns)), made

    def _links(self, theirs: dict[ColumnId, BoundColumn]) -> Iterator[tuple[str, ColumnId]]:
        """The table's columns, by name, and partners' columns that are equal to them."""
        for pair in self._equal():
            for one, other in (pair, pair[::-1]):
                own = self._own.get(one)
                if own is not None and own.column is not None and other in theirs:
                    yield own.column.name, other

    def _equal(self) -> Iterator[tuple[ColumnId, ColumnId]]:
        yield from self._partners.equal
        for condition in self._partners.conditions:
            sides = [condition.level.resolve(side) for side in condition.equated or ()]
            if len(sides) == 2 and sides[0] is not None and sides[1] is not None:
                yield sides[0].id, sides[1].id

    def _is_link(self, condition: Condition) -> bool:
        """Whether a condition only says that columns are equal."""
        sides = [condition.level.resolve(side) for side in condition.equated or ()]
        return bool(sides) and None not in sides

    def _names_of_theirs(self, condition: Condition) -> set[ColumnId] | None:
        """The columns of a condition that is for partners' rows alone, on any shard; else None."""
        names = mentioned(condition)
        if not names or not names <= self._columns.keys():
            return None
        for call in calls(condition.node):
            if self._functions.is_volatile(call) or self._functions.reads_tables(call):
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
            else isinstance(item, Join)
            or (isinstance(item, Derived) and item.view is None and item.body is None)
            for item in items
        )


def _is_everywhere(table: Table) -> bool:
    """Whether a table is a reference table, which each shard has alike, and anybody may read so."""
    special = table.sharded or table.system or table.refreshed or table.sampled or table.only
    relation = table.relation
    own = relation.schema == TEMPORARY or relation.kind not in ("r", "p")
    # A policy that reads a sharded table finds each shard's part there.
    own = own or bool(relation.security.policies)
    return table.declared and table.home is None and not (special or own)


def _columns(tables: Iterable[Table]) -> dict[ColumnId, BoundColumn]:
    return {
        column.id: column
        for table in tables
        for source in table.sources
        for column in source.columns or ()
    }


def _named(*names: str) -> Message:
    return expression(".".join(map(quoted, names)))


def _renamed(condition: Condition, names: dict[ColumnId, tuple[str, str]]) -> Message:
    """A condition with the columns' names in the tables themselves."""
    made: Message = copy(condition.node)
    for message in list(walk_level(made)):
        if type_name(message) == "ColumnRef":
            column = condition.level.named(names_of(message.fields))
            assert column is not None  # noqa: S101  # all of them are partners'
            message.CopyFrom(_named(*names[column.id]).column_ref)
    return made


def _all(nodes: Sequence[Message]) -> Message:
    if len(nodes) == 1:
        return nodes[0]
    made = expression("a AND b")
    del made.bool_expr.args[:]
    made.bool_expr.args.extend(nodes)
    return made
