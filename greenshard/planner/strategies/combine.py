"""Goal: let each shard aggregate its rows, and PostgreSQL aggregate what they give.

    SELECT o_orderpriority, avg(o_totalprice) FROM orders
    GROUP BY 1 HAVING count(*) > 10 ORDER BY 2 LIMIT 5

1. Each shard runs
       SELECT o_orderpriority AS c0, sum(o_totalprice) AS c1, count(o_totalprice) AS c2,
              count(*) AS c3
       FROM orders GROUP BY 1
2. One PostgreSQL runs, over the rows that they give,
       SELECT gs.c0 AS o_orderpriority, sum(gs.c1) / sum(gs.c2) AS avg
       FROM (...) gs GROUP BY gs.c0
       HAVING coalesce(sum(gs.c3), 0)::int8 > 10 ORDER BY 2 LIMIT 5

Of grouping sets the shards give the finest groups, those by all that is grouped by.

So every number, collation, HAVING and window over groups is PostgreSQL's own. If the answer's
columns are but groups and simple aggregates, it is reduced in Python, without the second step.

DISTINCT and UNION are likewise done once more over the shards' rows. So is DISTINCT in an
aggregate, see `distinct_first`.

Refuses what crosses shards before grouping, aggregates that cannot be computed from parts, and
subqueries beside aggregates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from typing import Any

from greenshard.planner.analysis.chance import compared_sublinks, first_choice
from greenshard.planner.analysis.equality import Classes
from greenshard.planner.analysis.select import grouping_expression
from greenshard.planner.analysis.shape import Where
from greenshard.planner.binding.query import (
    Derived,
    Table,
    is_several,
    queries,
    sublinks,
    tables,
)
from greenshard.planner.binding.scope import BoundColumn, Level
from greenshard.planner.calls import name_of
from greenshard.planner.plan import PARTIAL, TYPE_OF, Combine, Reduction, Refusal, SortKey
from greenshard.planner.strategies.aggregates import crosses_distinct, split
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.planner.strategies.concatenate import check_inner_locks
from greenshard.planner.strategies.distinct import plan_distinct
from greenshard.planner.strategies.distinct_first import distinct_first
from greenshard.planner.strategies.kept_order import order_of_rows
from greenshard.planner.strategies.merge import read_slice
from greenshard.planner.strategies.sort_keys import direction
from greenshard.sql.column_names import column_name, is_named_by_value
from greenshard.sql.functions import Fact, facts_of
from greenshard.sql.nodes import (
    ROWS,
    add_target,
    clear,
    copy,
    expression,
    partial_column,
    quoted,
)
from greenshard.sql.nodes import (
    select as parse_select,
)
from greenshard.sql.parser import IMPLICIT_ROW, Message, type_name, walk
from greenshard.sql.tree import location_of, names_of, same_text, unwrap, walk_level
from greenshard.sql.types import Trait, names_with

STRATEGY = "combine"
_AFTER_GROUPING = (
    "target_list", "distinct_clause", "having_clause", "sort_clause", "limit_count",
    "limit_offset", "window_clause", "locking_clause", "limit_option", "group_clause",
    "group_distinct",
)  # fmt: skip

_NOT_COMPARED = names_with(Trait.NO_EQUALITY, arrays=True)
#: In whose place the executor puts something else, wherever they are.
_PUT_IN = (PARTIAL.encode(), TYPE_OF.format("").encode())


def plan_combine(candidate: Candidate) -> Combine | Refusal:
    """Aggregate in two steps."""
    try:
        crossing = candidate.analysis.crossing
        if candidate.analysis.rows.where is not Where.SPLIT:
            raise Unplannable("no sharded rows are aggregated")
        if candidate.select.locking_clause:
            raise Unplannable("rows are locked")
        check_inner_locks(candidate)
        _check_choices(candidate)
        # A user's table called "greenshard partial rows" would be taken for the partial rows.
        written = candidate.select.SerializeToString()
        if any(name in written for name in _PUT_IN):
            raise Unplannable("the statement has a name in it that stands for something else here")
        # The partial rows travel without their columns' collations, and would be compared by the
        # default.
        if candidate.has_collations:
            raise Unplannable("a column or expression has a collation of its own")
        # The combine query has no WITH and no tables, which such a subquery may name.
        if any(_has_sublink(candidate.select, name) for name in ("limit_count", "limit_offset")):
            raise Unplannable("LIMIT or OFFSET holds a subquery")
        if "group" in crossing:
            return _Grouping(candidate).plan()
        # A window under DISTINCT would have to be computed over all rows before they are made
        # distinct.
        if crossing.keys() <= {"distinct", "limit"} and "distinct" in crossing:
            return plan_distinct(candidate)
        for crosses in crossing.values():
            raise Unplannable(crosses.reason, crosses.offset)
        raise Unplannable("nothing is aggregated over shards")
    except Unplannable as unplannable:
        return candidate.refusal(STRATEGY, unplannable.reason, unplannable.offset)


def _check_choices(candidate: Candidate) -> None:
    """Refuse to compare what each shard chooses for its own rows among those of a reference table.

    One server would choose the same for equal rows; `locality` has looked at what is chosen for all
    rows at once. What decides in WHERE about one row is compared with that of no other.

    Raises:
        Unplannable: A subquery of a reference table may choose.
    """
    for query in queries(candidate.query):
        filters = {id(each) for one in query.where for each in walk_level(one.node)}
        inner = [
            (link.query, link.node.sub_link_type)
            for link in sublinks(query)
            if id(link.node) not in filters
        ]
        # Without LATERAL it is computed once, for all rows: `locality` has seen it.
        inner += [(each.query, None) for each in query.items_of(Derived) if each.lateral]
        compared = {id(link.query) for link in compared_sublinks(query)}
        for each, kind in inner:
            if any(table.sharded for table in tables(each)):
                continue
            choice = first_choice(
                each, candidate.functions, sublink_type=kind, compared=id(each) in compared
            )
            if choice is not None:
                reason = f"{choice.what} may choose otherwise on each shard"
                raise Unplannable(reason, choice.offset)


class _Grouping:
    """Plans one SELECT whose groups cross shards."""

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = candidate
        self._select = candidate.select
        self._level = candidate.query.level
        items = (unwrap(item)[0] for item in candidate.select.group_clause)
        self._has_sets = "grouping_set" in items
        self._columns: list[Message] = []
        self._groups: dict[bytes, int] = {}
        #: What the shards group by, too: see `distinct_first`.
        self._finer: dict[bytes, int] = {}
        self._partials: dict[bytes, int] = {}
        self._reducers: dict[bytes, tuple[str, int]] = {}
        self._averaged: list[int] = []

    def plan(self) -> Combine:
        self._add_groups()
        combine = self._combine()
        # SELECT 1 FROM orders HAVING true: one row, though no shard need give one.
        if not self._columns:
            raise Unplannable("HAVING without a group or an aggregate")
        rows = self._partial()
        candidate = self._candidate
        return Combine(
            candidate.write(rows),
            candidate.write(combine),
            len(self._columns),
            candidate.pins,
            tuple(self._averaged),
            self._reduction(),
        )

    # The partial query ----------------------------------------------------------------------

    def _add_groups(self) -> None:
        for item in grouped_by(self._select.group_clause):
            node = grouping_expression(item, self._select, self._level)
            kind, _ = unwrap(node)
            # ROW(a, b) is of no type that could travel; and which column GROUP BY 1 means after a
            # star is not known.
            if kind == "row_expr" or (kind == "a_const" and node is item):
                raise Unplannable("GROUP BY something else than columns and expressions")
            self._add_group(node)

    def _add_group(self, node: Message) -> int:
        wanted = canonical(node, self._level)
        if wanted not in self._groups:
            self._groups[wanted] = len(self._columns)
            self._columns.append(node)
        return self._groups[wanted]

    def _add_finer(self, node: Message) -> int:
        wanted = canonical(node, self._level)
        if (group := self._groups.get(wanted)) is not None:
            return group
        if wanted not in self._finer:
            self._finer[wanted] = len(self._columns)
            self._columns.append(node)
        return self._finer[wanted]

    def _add_partial(self, node: Message) -> int:
        wanted = canonical(node, self._level)
        # Not among the groups, for those are what the partial query groups by.
        if wanted not in self._partials:
            self._partials[wanted] = len(self._columns)
            self._columns.append(node)
        return self._partials[wanted]

    def _partial(self) -> Any:
        made = copy(self._select)
        clear(made, *_AFTER_GROUPING)
        made.limit_option = parse_select("SELECT").limit_option
        for number, node in enumerate(self._columns):
            add_target(made, node, f"c{number}")
        for number in sorted({*self._groups.values(), *self._finer.values()}):
            made.group_clause.add().CopyFrom(expression(str(number + 1)))
        return made

    # The combine query ----------------------------------------------------------------------

    def _combine(self) -> Any:
        made = copy(self._select)
        # All of that is done by the shards; what is left reads the partial rows.
        clear(made, "from_clause", "where_clause", "with_clause")
        self._name_targets(made)
        # Before anything is rewritten, for sum(x) then is sum(gs.c1), but still called `sum`.
        outputs = {column_name(target.res_target) for target in made.target_list}
        for target in made.target_list:
            self._rewrite(target.res_target.val)
        for clause in (made.sort_clause, made.distinct_clause):
            for item in clause:
                node = item.sort_by.node if item.HasField("sort_by") else item
                # ORDER BY 2 and ORDER BY sum mean columns of the answer, and stay.
                if not _names_output(node, outputs):
                    self._rewrite(node)
        if made.HasField("having_clause"):
            self._rewrite(made.having_clause)
        for window in made.window_clause:
            self._rewrite_below(window)
        made.from_clause.add().CopyFrom(
            parse_select(f"SELECT FROM {quoted(PARTIAL)} {ROWS}").from_clause[0]
        )
        self._regroup(made)
        return made

    def _regroup(self, made: Any) -> None:
        """Group by the partial columns."""
        if self._has_sets:
            for item in grouped_by(made.group_clause):
                node = grouping_expression(item, self._select, self._level)
                number = self._groups[canonical(node, self._level)]
                item.CopyFrom(expression(partial_column(number)))
            return
        clear(made, "group_clause")
        for number in sorted(self._groups.values()):
            made.group_clause.add().CopyFrom(expression(partial_column(number)))

    def _name_targets(self, made: Any) -> None:
        """Columns keep the names that they have of the expressions that are replaced now."""
        for each in made.target_list:
            target = each.res_target
            if is_several(target.val):
                raise Unplannable("* beside aggregates", target.location)
            # It is not replaced, and PostgreSQL 14 has another name for it than later ones.
            if _is_boolean(target.val):
                continue
            if not is_named_by_value(target):
                target.name = column_name(target)
            elif canonical(target.val, self._level) in self._groups:
                raise Unplannable("a column has the name of a parameter's value", target.location)

    def _rewrite(self, node: Message) -> None:
        """Put partial columns in the place of groups and aggregates."""
        kind, inner = unwrap(node)
        group = self._groups.get(canonical(node, self._level))
        if group is not None:
            node.CopyFrom(expression(partial_column(group)))
        elif kind == "func_call" and self._candidate.functions.is_aggregate(inner):
            self._rewrite_aggregate(node, inner)
        elif kind == "func_call" and Fact.OF_STORAGE in facts_of(name_of(inner)):
            raise Unplannable(f"{name_of(inner)}() would tell of a copy", inner.location)
        elif kind == "func_call" and self._reads(inner):
            raise Unplannable(f"{name_of(inner)}() reads rows of each shard", inner.location)
        elif kind == "column_ref":
            node.CopyFrom(expression(partial_column(self._dependent(node))))
        # A subquery would read tables where the partial rows are, and each shard has other rows
        # there.
        elif kind == "sub_link":
            raise Unplannable("a subquery beside aggregates", inner.location)
        elif inner is not None:
            self._rewrite_below(inner)

    def _reads(self, call: Any) -> bool:
        functions = self._candidate.functions
        return functions.is_of_shard(call) or functions.reads_tables(call)

    def _rewrite_below(self, message: Any) -> None:
        for field, value in message.ListFields():
            if field.message_type is None:
                continue
            for each in [value] if hasattr(value, "DESCRIPTOR") else list(value):
                if type_name(each) == "Node":
                    self._rewrite(each)
                elif type_name(each) != "TypeName":  # numeric(10,2) has constants of its own
                    self._rewrite_below(each)

    def _rewrite_aggregate(self, node: Any, call: Any) -> None:
        name = name_of(call)
        # Of rows in an order it takes the first one, in PostgreSQL; here the first of some shard.
        order = order_of_rows(self._candidate.query, self._candidate.functions)
        if name == "any_value" and order is not None and order.sure:
            raise Unplannable(f"{name} takes the first of ordered rows", call.location)
        wanted = canonical(node, self._level)
        if crosses_distinct(call, self._candidate.functions, self._is_key_of_groups):
            same = partial(canonical, level=self._level)
            distinct_first(node.func_call, self._level, self._add_finer, same)
            return
        made = split(copy(call), self._candidate.functions, self._add_partial)
        if made.reducer is not None:
            self._reducers[wanted] = made.reducer
        if made.averaged is not None and made.averaged not in self._averaged:
            self._averaged.append(made.averaged)
        node.CopyFrom(made.combined)

    def _is_key_of_groups(self, node: Message) -> bool:
        """Whether equal values of an expression are in one group of what the shards give."""
        # Not in finer ones: sum(DISTINCT id), count(DISTINCT x) meets an id with each of its x.
        return not self._has_finer and self._is_key(node)

    @cached_property
    def _has_finer(self) -> bool:
        """Whether the shards group by more than the query does."""
        select, functions = self._select, self._candidate.functions
        roots = [*select.target_list, *select.sort_clause, *select.distinct_clause]
        roots += [select.having_clause] if select.HasField("having_clause") else []
        return any(
            type_name(each) == "FuncCall" and crosses_distinct(each, functions, self._is_key)
            for root in (*roots, *select.window_clause)
            for each in walk_level(root)
        )

    def _is_key(self, node: Message) -> bool:
        column = self._level.resolve(node)
        rows = self._candidate.analysis.rows
        return column is not None and Classes(rows.equal).meet([column.id], rows.keys)

    def _dependent(self, node: Message) -> int:
        """The group of a column that is not grouped by, but depends on a primary key that is.

        Source: PostgreSQL manual, "GROUP BY Clause": functional dependency.
        """
        column = self._level.resolve(node)
        named = self._candidate.query.items_of(Table)
        # In grouping sets, the key must be in each of them.
        for table in named if column is not None and not self._has_sets else ():
            keys = _key_columns(table) if column in (table.columns or ()) else []
            # GROUP BY id ... name: PostgreSQL allows it if id is the primary key, so name is one
            # per group.
            if keys and all(_identity(key.id) in self._groups for key in keys):
                return self._add_dependent(copy(node), column)
        raise Unplannable("a column is neither grouped by nor aggregated", node.column_ref.location)

    def _add_dependent(self, node: Message, column: BoundColumn | None) -> int:
        # It becomes a column to group by, and json, say, cannot be grouped.
        if column is None or column.column is None or column.column.type_name in _NOT_COMPARED:
            raise Unplannable("a column is of a type that has no equality", location_of(node))
        return self._add_group(node)

    # In Python ------------------------------------------------------------------------------

    def _reduction(self) -> Reduction | None:
        """The same without PostgreSQL, if the columns are plain groups and aggregates."""
        select = self._select
        if (
            # HAVING and windows are PostgreSQL's to compute, and so is the division of an average.
            select.HasField("having_clause")
            or select.distinct_clause
            or select.window_clause
            or self._averaged
            or self._has_sets
        ):
            return None
        targets = [target.res_target for target in select.target_list]
        outputs = [self._reduced(target.val) for target in targets]
        try:
            sort = [self._sort_key(item.sort_by) for item in select.sort_clause]
            slice_ = read_slice(self._candidate)
        except Unplannable:
            return None
        if None in outputs or None in sort:
            return None
        return Reduction(
            tuple(sorted(self._groups.values())),
            tuple(output for output in outputs if output is not None),
            tuple(map(column_name, targets)),
            tuple(key for key in sort if key is not None),
            slice_,
        )

    def _reduced(self, node: Message) -> tuple[str, int] | None:
        wanted = canonical(node, self._level)
        if wanted in self._groups:
            return "key", self._groups[wanted]
        return self._reducers.get(wanted)

    def _sort_key(self, item: Any) -> SortKey | None:
        """A key of ORDER BY that is a column of the answer; None for any other."""
        targets = [target.res_target for target in self._select.target_list]
        kind, inner = unwrap(item.node)
        names = names_of(inner.fields) if kind == "column_ref" else None
        shown = [column_name(target) for target in targets]
        if kind == "a_const" and inner.HasField("ival"):
            at = inner.ival.ival - 1
        elif names and len(names) == 1 and names[0] in shown:
            at = shown.index(names[0])
        else:
            wanted = canonical(item.node, self._level)
            same = [canonical(target.val, self._level) == wanted for target in targets]
            at = same.index(True) if True in same else -1
        if not 0 <= at < len(targets):
            return None
        return SortKey(at, *direction(item))


def grouped_by(nodes: Iterable[Any]) -> Iterator[Any]:
    """What is grouped by in a GROUP BY clause, in its grouping sets, too.

    Source: transformGroupClause in PostgreSQL's parse_clause.c: ``(a, b)`` is a list, not a row.
    """
    for node in nodes:
        kind, inner = unwrap(node)
        if kind == "grouping_set":
            yield from grouped_by(inner.content)
        elif kind == "row_expr" and inner.row_format == IMPLICIT_ROW:
            yield from grouped_by(inner.args)
        else:
            yield node


def _has_sublink(select: Any, name: str) -> bool:
    """Whether a clause holds a subquery, which may name a WITH query."""
    if not select.HasField(name):
        return False
    return any(type_name(message) == "SubLink" for message in walk(getattr(select, name)))


def _is_boolean(node: Message) -> bool:
    """Whether an expression is ``true`` or ``false``."""
    return bool(node.HasField("a_const") and node.a_const.HasField("boolval"))


def _names_output(node: Message, outputs: set[str]) -> bool:
    """Whether an item of ORDER BY is a number or the name of a column of the answer."""
    kind, inner = unwrap(node)
    if kind == "a_const":
        return True
    names = names_of(inner.fields) if kind == "column_ref" else None
    return names is not None and len(names) == 1 and names[0] in outputs


def canonical(node: Message, level: Level) -> bytes:
    """Bytes that are equal for expressions that mean the same: `t.a` and `a`, say."""
    made = copy(node)
    messages = list(walk(made))
    if any(type_name(message) == "SubLink" for message in messages):
        return same_text(made)  # the names in it mean something else
    for message in messages:
        if type_name(message) == "ColumnRef":
            column = level.named(names_of(message.fields))
            if column is not None:
                message.ClearField("fields")
                message.fields.add().string.sval = f"\1{column.id}"
    return same_text(made)


def _identity(column: object) -> bytes:
    node = expression("x")
    node.column_ref.fields[0].string.sval = f"\1{column}"
    return same_text(node)


def _key_columns(table: Table) -> list[BoundColumn]:
    """The columns of a table's primary key."""
    names = table.relation.primary_key
    columns = table.columns or ()
    return [each for each in columns if each.column is not None and each.column.name in names]
