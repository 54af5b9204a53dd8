"""Goal: resolve the names of a query, as PostgreSQL's parse analysis does.

    WITH big AS (SELECT o_orderkey FROM orders WHERE o_totalprice > 100)
    SELECT l.* FROM lineitem l JOIN big ON l_orderkey = o_orderkey

1. `orders` and `lineitem` are sharded tables of the cluster; `big` is a WITH query.
2. `l_orderkey` is a column of `l` and `o_orderkey` one of `big`, which shows that of `orders`.

What cannot be resolved stays unresolved, and no rule then uses it. What no strategy gets round,
such as a table that the cluster does not declare, is noted in `Binder.problems`.

Source: PostgreSQL's parse_relation.c, parse_clause.c and parse_cte.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from greenshard.cluster import Cluster
from greenshard.planner.binding.bound_bodies import (
    arguments,
    called_alone,
    gives_rows,
    put_arguments,
    row_columns,
    sublink_of,
    take_first,
)
from greenshard.planner.binding.bound_views import WholeViews, views_in
from greenshard.planner.binding.joining import JOIN_KINDS, joined, use
from greenshard.planner.binding.namesakes import resolve_types
from greenshard.planner.binding.qualifying import path_bound, qualify, use_on
from greenshard.planner.binding.query import (
    Condition,
    Cte,
    CteScan,
    Derived,
    FunctionScan,
    Item,
    Join,
    Query,
    Sublink,
    Table,
    clauses,
    is_several,
    is_star,
    tables,
)
from greenshard.planner.binding.relations import Relations, named_as, renamed
from greenshard.planner.binding.rowsets import function_alias, function_columns
from greenshard.planner.binding.scope import BoundColumn, Columns, Level, Source
from greenshard.planner.bodies import Body
from greenshard.planner.calls import Functions, calls, name_of
from greenshard.planner.catalog import Catalog, Relation
from greenshard.planner.code import SYSTEM_SCHEMAS
from greenshard.planner.problem import Problem
from greenshard.sql.column_names import column_name
from greenshard.sql.functions import SETTING
from greenshard.sql.nodes import copy
from greenshard.sql.now import tells_time
from greenshard.sql.parser import (
    ANY_SUBLINK,
    JOIN_RIGHT,
    SETOP_NONE,
    Message,
    ParserError,
    parse,
    type_name,
    walk,
)
from greenshard.sql.tree import (
    conjuncts,
    names_equality,
    names_of,
    place,
    unwrap,
    walk_level,
)

Ctes = Mapping[str, Cte]

#: Of functions in SQL that call each other: how deep, and how many in one statement. Each is bound
#: anew wherever it is called.
_MOST_WITHIN = 8
_MOST_BODIES = 100


class Binder:
    """Resolves the names of one statement.

    Args:
        cluster: What is declared.
        catalog: What is there.
        path: ``current_schemas(true)``.
        whole: Views that are to be read like tables, by schema and name.
        rows: Makes a SELECT of the rows of a WITH query that writes; None: such are a problem.
    """

    def __init__(
        self,
        cluster: Cluster,
        catalog: Catalog,
        path: Sequence[str],
        whole: WholeViews | None = None,
        rows: Callable[[str, Any], Any] | None = None,
    ) -> None:
        self._rows = rows
        self._whole = whole or {}
        self._numbers = count()
        self._relations = Relations(cluster, catalog, path, self._numbers)
        self._functions = Functions(catalog, path)
        self._own_equality = catalog.equality_beside(path) is None
        # USING in a view compares by the path of whoever made the view.
        self._own_using = catalog.equality_beside(None) is None
        self._joins: list[tuple[Any, Join]] = []
        self._open: list[Body] = []
        self._bodies = 0
        self._in_view = 0
        self.problems: list[Problem] = self._relations.problems

    def bind(self, select: Message, parent: Level | None = None, ctes: Ctes | None = None) -> Query:
        """Resolve a `SelectStmt`."""
        visible = dict(ctes or {})
        own = self._bind_ctes(select, parent, visible)
        if select.op != SETOP_NONE:
            query = self._bind_branches(select, parent, visible)
        else:
            query = self._bind_simple(select, parent, visible)
        query.ctes = own
        return query

    # WITH -----------------------------------------------------------------------------------

    def _bind_ctes(self, select: Any, parent: Level | None, visible: dict[str, Cte]) -> list[Cte]:
        clause = select.with_clause
        nodes = [each.common_table_expr for each in clause.ctes]
        own = []
        for at, node in enumerate(nodes):
            # Only WITH RECURSIVE may name what comes later; PostgreSQL then sorts them
            # (parse_cte.c).
            if clause.recursive:
                self._refuse_forward(node, nodes[at + 1 :])
            cte = self._bind_cte(node, parent, visible, clause.recursive)
            visible[cte.name] = cte
            own.append(cte)
        return own

    def _bind_cte(self, node: Any, parent: Level | None, visible: Ctes, recursive: bool) -> Cte:
        name = node.ctename
        select = node.ctequery.select_stmt
        if not node.ctequery.HasField("select_stmt"):
            if self._rows is None or parent is not None:
                self._refuse_writing(node)
                return Cte(name, node, Query(select, _nowhere(parent)))
            return Cte(name, node, self._bind_writing(node, self._rows, visible))
        # WITH RECURSIVE allows recursion; each of its queries need not be recursive.
        if not (recursive and name in _relation_names(select)):
            return Cte(name, node, self.bind(select, parent, visible))
        # start UNION ALL step: the first branch gives names and types of the columns (parse_cte.c).
        outputs = renamed(self._start(select, parent, visible), node.aliascolnames)
        itself = Cte(name, node, Query(select, _nowhere(parent), outputs=outputs), True)
        query = self.bind(select, parent, {**visible, name: itself})
        return Cte(name, node, query, True)

    def _bind_writing(self, node: Any, rows: Callable[[str, Any], Any], visible: Ctes) -> Query:
        """A WITH query that writes, as one of its rows: those that RETURNING shows."""
        kind, inner = unwrap(node.ctequery)
        made = rows(kind, inner)
        query = self.bind(made, None, visible)
        shown = copy(made)
        del shown.target_list[:]
        shown.target_list.extend(inner.returning_clause.exprs)
        query.outputs = self._outputs(shown, query.level)
        return query

    def _start(self, select: Any, parent: Level | None, visible: Ctes) -> Columns:
        """The columns of the first branch of a recursive query.

        What is wrong with it is found when the whole is bound. If it refers to the query itself, or
        a WITH query of it does, the server says that this is no recursion.
        """
        problems = len(self.problems)
        own = dict(visible)
        if select.op != SETOP_NONE:
            self._bind_ctes(select, parent, own)
        start = select.larg if select.op != SETOP_NONE else select
        found = self.bind(start, parent, own).outputs
        del self.problems[problems:]
        return found

    def _refuse_writing(self, node: Any) -> None:
        self.problems.append(
            Problem(
                f"WITH query {node.ctename} writes",
                node.location,
                "GS412",
                "Execute it as a statement of its own, or run the whole on one shard with "
                "conn.on(...).",
            )
        )

    def _refuse_forward(self, node: Any, later: Iterable[Any]) -> None:
        mentioned = _relation_names(node.ctequery)
        for other in later:
            if other.ctename in mentioned:
                self.problems.append(
                    Problem(
                        f"WITH query {node.ctename} refers to {other.ctename}, which comes later",
                        node.location,
                        "GS410",
                        "Put the WITH queries into the order in which they use each other.",
                    )
                )

    # Set operations -------------------------------------------------------------------------

    def _bind_branches(self, select: Any, parent: Level | None, ctes: Ctes) -> Query:
        left = self.bind(select.larg, parent, ctes)
        right = self.bind(select.rarg, parent, ctes)
        outputs: Columns = None
        if left.outputs is not None and right.outputs is not None:
            number = next(self._numbers)
            pairs = zip(left.outputs, right.outputs, strict=False)
            outputs = tuple(
                BoundColumn(
                    # Names are those of the first branch. The ids are new: a row may be of either
                    # one.
                    one.name,
                    (number, at),
                    one.column if one.family == other.family else None,
                )
                for at, (one, other) in enumerate(pairs)
            )
        query = Query(select, _nowhere(parent), outputs=outputs, branches=(left, right))
        self._bind_sublinks(query, clauses(select), ctes)
        return query

    # SELECT ---------------------------------------------------------------------------------

    def _bind_simple(self, select: Any, parent: Level | None, ctes: Ctes) -> Query:
        items: list[Item] = []
        for node in select.from_clause:
            items.append(self._bind_item(node, items, parent, ctes))
        level = _level(items, parent)
        query = Query(select, level, items=items)
        if select.HasField("where_clause"):
            query.where = self._conditions(select.where_clause, level)
        for condition in query.where:
            query.sublinks += self._sublinks(condition.node, level, ctes, conjunct=True)
        self._bind_sublinks(query, clauses(select), ctes)
        query.outputs = self._outputs(select, level)
        return query

    def _bind_sublinks(self, query: Query, clauses: Iterable[Message], ctes: Ctes) -> None:
        for clause in clauses:
            query.sublinks += self._sublinks(clause, query.level, ctes)

    def _sublinks(
        self,
        root: Message,
        level: Level,
        ctes: Ctes,
        *,
        conjunct: bool = False,
        in_join: bool = False,
    ) -> list[Sublink]:
        found: list[Sublink] = []
        for message in walk_level(root):
            if type_name(message) == "FuncCall":
                found += self._called(message, level, in_join=in_join)
            if type_name(message) != "SubLink":
                continue
            link: Any = message
            query = self.bind(link.subselect.select_stmt, level, ctes)
            sublink = Sublink(link, query, level, in_join=in_join)
            # WHERE id IN (SELECT ...) AND ...: under NOT or OR, rows that do not match count as
            # well.
            if conjunct and root.HasField("sub_link") and root.sub_link == link:
                sublink.matched = self._matched(link, level)
            found.append(sublink)
        return found

    # Functions in SQL -----------------------------------------------------------------------

    def _called(self, call: Any, level: Level, *, in_join: bool) -> Iterator[Sublink]:
        """The queries of the functions in SQL that a call may mean, as sublinks."""
        for body in self._functions.bodies(call):
            query = self._bind_body(body, call, level)
            if query is not None:
                link = sublink_of(body)
                place(link, call.location)
                yield Sublink(link, query, level, in_join=in_join, body=body)

    def _bind_body(self, body: Body, call: Any, level: Level) -> Query | None:
        """Resolve the names of a function's query; None, and a problem, if that cannot be done."""
        if body.query is None:
            return None  # `Functions.may_read_tables` says so
        problem = None
        if body in self._open:
            problem = "calls itself"
        elif len(self._open) >= _MOST_WITHIN or self._bodies >= _MOST_BODIES:
            problem = "calls too many others"
        if problem is not None:
            self._blame_body(call, problem)
            return None
        self._bodies += 1
        self._open.append(body)
        before = len(self.problems)
        query = self._bind_open(body, call, level)
        self._open.pop()
        found = [each.reason for each in self.problems[before:]]
        del self.problems[before:]
        if any(name_of(each) == SETTING for each in calls(query.node)):
            found = ["sets what each shard has for itself: call set_config() in the statement"]
        if not found and self._in_view and any(True for _ in tables(query)):
            found = ["reads tables, and a view calls it"]
        if not found and body.atomic and not self._own_using and path_bound(query.node):
            found = ["compares by an operator that its text does not name"]
        if any(tells_time(view.definition) for view in views_in(query)):
            found = ["reads a view that tells the time"]
        if found:
            self._blame_body(call, found[0])
        return query

    def _bind_open(self, body: Body, call: Any, level: Level) -> Query:
        select, joins = copy(body.query), len(self._joins)
        if body.atomic:
            qualify(select, self._functions)
        else:
            resolve_types(select, self._functions)
        place(select, call.location)
        if not body.returns_set:
            take_first(select, self._functions)
        # Once alone: only then is it known which names are arguments.
        alone = self.bind(select)
        nodes, source = arguments(body, call, level, next(self._numbers))
        put_arguments(select, alone, body, nodes)
        query = self.bind(select, Level((source,), ()))
        del self._joins[joins:]
        return query

    def _blame_body(self, call: Any, problem: str) -> None:
        # Of a function within it, the problem tells the name.
        told = problem.startswith("function ")
        self.problems.append(
            Problem(
                problem if told else f"function {name_of(call)}() {problem}",
                call.location,
                "GS410",
                self._functions.ways_out(call),
            )
        )

    def _matched(self, link: Any, level: Level) -> tuple[BoundColumn | None, ...]:
        """What stands to the left of IN (SELECT ...), if that is what the sublink is."""
        if link.sub_link_type != ANY_SUBLINK:
            return ()
        if not names_equality(link.oper_name, bare=self._own_equality):
            return ()
        kind, inner = unwrap(link.testexpr)
        # (a, b) IN (SELECT x, y ...)
        nodes = inner.args if kind == "row_expr" else [link.testexpr]
        return tuple(level.resolve(node) for node in nodes)

    def _conditions(self, node: Message, level: Level) -> list[Condition]:
        return [Condition(part, level, self._own_equality) for part in conjuncts(node)]

    def _outputs(self, select: Any, level: Level) -> Columns:
        number = next(self._numbers)
        if select.values_lists:
            width = len(select.values_lists[0].list.items)
            return tuple(BoundColumn(f"column{at + 1}", (number, at)) for at in range(width))
        outputs: list[BoundColumn] = []
        for node in select.target_list:
            shown = _shown(node.res_target, level)
            if shown is None:
                return None
            outputs += shown
        # GROUPING SETS ((k), ()) show NULL for k in some rows, so the column shown is not that of
        # FROM.
        changed = _has_grouping_sets(select)
        return tuple(
            # SELECT o.id in a sublink of `o` shows a column of the query around it: computed, to
            # this one.
            column if level.owns(column) and not changed else replace(column, id=(number, at))
            for at, column in enumerate(outputs)
        )

    # FROM -----------------------------------------------------------------------------------

    def _bind_item(
        self, node: Message, before: Sequence[Item], parent: Level | None, ctes: Ctes
    ) -> Item:
        kind, inner = unwrap(node)
        if kind == "range_var":
            return self._bind_name(inner, ctes)
        if kind == "range_subselect":
            # Without LATERAL it sees nothing of what stands before it in FROM.
            around = _level(before, parent) if inner.lateral else parent
            query = self.bind(inner.subquery.select_stmt, around, ctes)
            columns = renamed(query.outputs, inner.alias.colnames)
            return Derived((Source(inner.alias.aliasname, columns),), columns, query, inner.lateral)
        if kind == "join_expr":
            return self._bind_join(inner, before, parent, ctes)
        if kind == "range_table_sample":
            item = self._bind_item(inner.relation, before, parent, ctes)
            if isinstance(item, Table):
                item.sampled = (names_of(inner.method) or ("unknown",))[-1]
            return item
        return self._bind_function(node, inner, _level(before, parent), ctes)

    def _bind_name(self, node: Any, ctes: Ctes) -> Item:
        alias = node.alias.aliasname or node.relname
        # A WITH query hides a table of its name; public.orders still means the table.
        if not node.schemaname and node.relname in ctes:
            return self._bind_cte_scan(node, ctes[node.relname], alias)
        relation = self._relations.find(node)
        if relation is None:
            return self._unbound(alias)
        if relation.kind == "v" and relation.schema not in SYSTEM_SCHEMAS:
            # See `analysis.whole_views`: its own rows are gathered, and what it reads does not
            # matter.
            whole = self._whole.get((relation.schema, relation.name))
            if whole is not None:
                return self._relations.whole_view(node, relation, alias, whole)
            return self._bind_view(node, relation, alias)
        if relation.kind == "m" and self._is_of_references(relation):
            return self._relations.refreshed(node, relation, alias)
        return self._relations.table(node, relation, alias)

    def _is_of_references(self, relation: Relation) -> bool:
        """Whether a materialized view reads reference tables only, and needs no declaration."""
        if self._relations.is_declared(relation):
            return False
        try:
            (statement,) = parse(relation.definition or "")
        except (ParserError, ValueError):
            return False
        problems, joins = len(self.problems), len(self._joins)
        query = self.bind(statement.stmt.select_stmt)
        found = self.problems[problems:]
        # What is wrong with it is no matter: then it is a table that is not declared.
        del self.problems[problems:], self._joins[joins:]
        return not found and not any(table.sharded or table.system for table in tables(query))

    def _bind_cte_scan(self, node: Any, cte: Cte, alias: str) -> CteScan:
        named = renamed(cte.query.outputs, cte.node.aliascolnames)
        if cte.node.HasField("search_clause") or cte.node.HasField("cycle_clause"):
            named = None  # they add columns
        columns = renamed(self._fresh(named), node.alias.colnames)
        return CteScan((Source(alias, columns),), columns, cte)

    def _bind_view(self, node: Any, relation: Relation, alias: str) -> Item:
        try:
            (statement,) = parse(relation.definition or "")
        except (ParserError, ValueError):
            self._relations.note_unreadable(node, relation)
            return self._unbound(alias)
        definition = statement.stmt.select_stmt
        qualify(definition, self._functions)
        # Positions in messages are those of the user's text, which names the view there.
        place(definition, node.location)
        before = len(self.problems)
        joins = len(self._joins)
        # Neither the levels around nor the WITH queries: a view sees nothing of the statement.
        self._in_view += 1
        query = self.bind(definition)
        self._in_view -= 1
        # After binding: only then is it known which columns USING equates.
        use_on(definition, self._joins[joins:])
        self._relations.blame_view(before, relation)
        columns = named_as(query.outputs, [column.name for column in relation.columns])
        columns = renamed(columns, node.alias.colnames)
        # FROM sales.orders may be called sales.orders.id, FROM sales.orders o only o.id.
        schema = None if node.alias.aliasname else relation.schema
        source = Source(alias, columns, schema)
        return Derived(
            (source,), columns, query, view=node, definition=definition, relation=relation
        )

    def _unbound(self, alias: str) -> Item:
        (nothing,) = parse("SELECT")
        return FunctionScan((Source(alias, None),), None, nothing.stmt, [], _nowhere(None))

    def _bind_function(self, node: Message, inner: Any, level: Level, ctes: Ctes) -> Item:
        problems = len(self.problems)
        if (derived := self._bind_rows(inner, level)) is not None:
            return derived
        del self.problems[problems:]
        sublinks = self._sublinks(node, level, ctes)
        columns = function_columns(inner, level, next(self._numbers), self._functions)
        source = Source(function_alias(inner), columns)
        return FunctionScan((source,), columns, node, sublinks, level)

    def _bind_rows(self, inner: Any, level: Level) -> Derived | None:
        """The rows of a function in SQL as those of a subquery; None if they cannot be taken so."""
        call = called_alone(inner)
        bodies = [] if call is None else self._functions.bodies(call)
        if len(bodies) != 1 or not gives_rows(bodies[0], call):
            return None
        known = self._functions.of(call)
        if len(known) != 1 or not all(each.has_body for each in known):
            return None
        query = self._bind_body(bodies[0], call, level)
        if query is None:
            return None
        alias = function_alias(inner)
        columns = row_columns(bodies[0], query, alias, next(self._numbers))
        columns = renamed(columns, inner.alias.colnames)
        source = Source(alias, columns)
        return Derived((source,), columns, query, lateral=True, body=bodies[0])

    # JOIN -----------------------------------------------------------------------------------

    def _bind_join(
        self, node: Any, before: Sequence[Item], parent: Level | None, ctes: Ctes
    ) -> Item:
        left = self._bind_item(node.larg, before, parent, ctes)
        right = self._bind_item(node.rarg, [*before, left], parent, ctes)
        names = [name.string.sval for name in node.using_clause]
        if node.is_natural:
            names = self._natural(left, right)
        join = Join((), None, JOIN_KINDS[node.jointype], left, right)
        using = use(join, names, node.jointype, next(self._numbers), own_equality=self._own_using)
        join.sources = left.sources + right.sources
        if node.HasField("join_using_alias"):
            join.sources += (Source(node.join_using_alias.aliasname, tuple(using)),)
        join.columns = joined(left.columns, right.columns, using, names)
        self._joins.append((node, join))
        if node.HasField("quals"):
            self._bind_condition(join, node, parent, ctes)
        # Not before: `*` shows the columns in the order of the text.
        if node.jointype == JOIN_RIGHT:
            join.left, join.right = right, left
        if node.HasField("alias"):  # it hides the names in it
            join.columns = renamed(join.columns, node.alias.colnames)
            join.sources = (Source(node.alias.aliasname, join.columns),)
        return join

    def _bind_condition(self, join: Join, node: Any, parent: Level | None, ctes: Ctes) -> None:
        # ON sees the join's two sides, not what else stands in FROM.
        level = _level([join.left, join.right], parent)
        join.on = self._conditions(node.quals, level)
        outer = join.kind != "inner"
        join.sublinks = self._sublinks(node.quals, level, ctes, in_join=outer)

    def _natural(self, left: Item, right: Item) -> list[str]:
        """The names that NATURAL JOIN joins by."""
        if left.columns is None or right.columns is None:
            self.problems.append(
                Problem("NATURAL JOIN of something whose columns are not known", None, "GS410")
            )
        there = {column.name for column in right.columns or ()}
        return [column.name for column in left.columns or () if column.name in there]

    def _fresh(self, columns: Columns) -> Columns:
        if columns is None:
            return None
        number = next(self._numbers)
        # FROM big a JOIN big b: one WITH query, but a.id and b.id are two columns.
        return tuple(replace(column, id=(number, at)) for at, column in enumerate(columns))


def _level(items: Sequence[Item], parent: Level | None) -> Level:
    columns: list[BoundColumn] = []
    known = True
    for item in items:
        if item.columns is None:
            known = False
        else:
            columns += item.columns
    sources = tuple(source for item in items for source in item.sources)
    return Level(sources, tuple(columns) if known else None, parent)


def _nowhere(parent: Level | None) -> Level:
    return Level((), (), parent)


def _shown(target: Any, level: Level) -> Columns:
    """The columns that one item of a target list gives.

    One that is computed has the id of no column.
    """
    if is_star(target.val):
        return level.expand(target.val)
    if is_several(target.val):
        return None
    found = level.resolve(target.val)
    name = column_name(target)
    return (replace(found, name=name) if found else BoundColumn(name, (-1, 0)),)


def _has_grouping_sets(select: Any) -> bool:
    """Whether GROUP BY puts NULL in the place of columns."""
    return any(unwrap(node)[0] == "grouping_set" for node in select.group_clause)


def _relation_names(root: Message) -> set[str]:
    return {
        str(message.relname)
        for message in walk(root)
        if type_name(message) == "RangeVar" and not message.schemaname
    }
