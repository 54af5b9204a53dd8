"""Goal: resolve the names of a query, as PostgreSQL's parse analysis does.

    WITH big AS (SELECT o_orderkey FROM orders WHERE o_totalprice > 100)
    SELECT l.* FROM lineitem l JOIN big ON l_orderkey = o_orderkey

1. `orders` and `lineitem` are sharded tables of the cluster; `big` is a WITH query.
2. `l_orderkey` is a column of `l` and `o_orderkey` one of `big`, which shows that of `orders`.

What cannot be resolved stays unresolved, and no rule then uses it. A table that the cluster does
not declare is a problem that no strategy gets round: it is noted in `Binder.problems`.

Source: PostgreSQL's parse_relation.c, parse_clause.c and parse_cte.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from greenshard.cluster import Cluster, Sharded
from greenshard.planner._parser import (
    ANY_SUBLINK,
    JOIN_FULL,
    JOIN_INNER,
    JOIN_LEFT,
    JOIN_RIGHT,
    SETOP_NONE,
    Message,
    ParserError,
    parse,
    type_name,
    walk,
)
from greenshard.planner.catalog import Catalog, Relation
from greenshard.planner.naming import column_name
from greenshard.planner.query import (
    BoundColumn,
    Condition,
    Cte,
    CteScan,
    Derived,
    FunctionScan,
    Item,
    Join,
    Level,
    Query,
    Source,
    Sublink,
    Table,
    is_star,
)
from greenshard.planner.tree import conjuncts, names_of, unwrap, walk_level

_SYSTEM_SCHEMAS = ("pg_catalog", "information_schema", "pg_toast")
_ONE_COLUMN = frozenset(
    {"generate_series", "unnest", "generate_subscripts", "regexp_split_to_table", "string_to_table"}
)

Ctes = Mapping[str, Cte]
Columns = tuple[BoundColumn, ...] | None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the text that no strategy gets round.

    Attributes:
        reason: What it is.
        offset: Where, in bytes; None if it is not known.
        code, hint: Of the error.
        pgcode: The server's code for it, if it would report it.
    """

    reason: str
    offset: int | None
    code: str
    hint: str | None = None
    pgcode: str | None = None


class Binder:
    """Resolves the names of one statement.

    Args:
        cluster: What is declared.
        catalog: What is there.
        path: ``current_schemas(true)``.
    """

    def __init__(self, cluster: Cluster, catalog: Catalog, path: Sequence[str]) -> None:
        self._cluster = cluster
        self._catalog = catalog
        self._path = path
        self._numbers = count()
        self.problems: list[Problem] = []

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
            if clause.recursive:
                self._refuse_forward(node, nodes[at + 1 :])
            cte = self._bind_cte(node, parent, visible, clause.recursive)
            visible[cte.name] = cte
            own.append(cte)
        return own

    def _bind_cte(self, node: Any, parent: Level | None, visible: Ctes, recursive: bool) -> Cte:
        name = node.ctename
        if not node.ctequery.HasField("select_stmt"):
            return Cte(name, node, None)
        select = node.ctequery.select_stmt
        if not (recursive and name in _relation_names(select)):
            return Cte(name, node, self.bind(select, parent, visible))
        start = select.larg if select.op != SETOP_NONE else select
        outputs = self._renamed(self.bind(start, parent, visible).outputs, node.aliascolnames)
        itself = Cte(name, node, Query(select, _nowhere(parent), outputs=outputs), True)
        query = self.bind(select, parent, {**visible, name: itself})
        return Cte(name, node, query, True)

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
                    one.name, (number, at), one.column if one.family == other.family else None
                )
                for at, (one, other) in enumerate(pairs)
            )
        query = Query(select, _nowhere(parent), outputs=outputs, branches=(left, right))
        self._bind_sublinks(query, _clauses(select), ctes)
        return query

    # SELECT ---------------------------------------------------------------------------------

    def _bind_simple(self, select: Any, parent: Level | None, ctes: Ctes) -> Query:
        items: list[Item] = []
        for node in select.from_clause:
            items.append(self._bind_item(node, items, parent, ctes))
        level = _level(items, parent)
        query = Query(select, level, items=items)
        if select.HasField("where_clause"):
            query.where = [Condition(part, level) for part in conjuncts(select.where_clause)]
        for condition in query.where:
            query.sublinks += self._sublinks(condition.node, level, ctes, conjunct=True)
        self._bind_sublinks(query, _clauses(select), ctes)
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
        found = []
        for message in walk_level(root):
            if type_name(message) != "SubLink":
                continue
            link: Any = message
            query = self.bind(link.subselect.select_stmt, level, ctes)
            sublink = Sublink(link, query, level, in_join=in_join)
            if conjunct and root.HasField("sub_link") and root.sub_link == link:
                sublink.matched = _matched(link, level)
            found.append(sublink)
        return found

    def _outputs(self, select: Any, level: Level) -> Columns:
        number = next(self._numbers)
        if select.values_lists:
            width = len(select.values_lists[0].list.items)
            return tuple(BoundColumn(f"column{at + 1}", (number, at)) for at in range(width))
        outputs: list[BoundColumn] = []
        for at, node in enumerate(select.target_list):
            target = node.res_target
            if is_star(target.val):
                expanded = level.expand(target.val)
                if expanded is None:
                    return None
                outputs += expanded
                continue
            found = level.resolve(target.val)
            name = column_name(target)
            outputs.append(replace(found, name=name) if found else BoundColumn(name, (number, at)))
        return tuple(outputs)

    # FROM -----------------------------------------------------------------------------------

    def _bind_item(
        self, node: Message, before: Sequence[Item], parent: Level | None, ctes: Ctes
    ) -> Item:
        kind, inner = unwrap(node)
        if kind == "range_var":
            return self._bind_name(inner, ctes)
        if kind == "range_subselect":
            around = _level(before, parent) if inner.lateral else parent
            query = self.bind(inner.subquery.select_stmt, around, ctes)
            columns = self._renamed(query.outputs, _column_aliases(inner))
            source = Source(inner.alias.aliasname, columns)
            return Derived((source,), columns, query, inner.lateral)
        if kind == "join_expr":
            return self._bind_join(inner, before, parent, ctes)
        if kind == "range_table_sample":
            item = self._bind_item(inner.relation, before, parent, ctes)
            if isinstance(item, Table):
                item.exact = False
            return item
        return self._bind_function(node, inner, before, parent, ctes)

    def _bind_name(self, node: Any, ctes: Ctes) -> Item:
        alias = node.alias.aliasname or node.relname
        if not node.schemaname and node.relname in ctes:
            cte = ctes[node.relname]
            outputs = cte.query.outputs if cte.query is not None else None
            named = self._renamed(outputs, cte.node.aliascolnames)
            columns = self._renamed(self._fresh(named), _column_aliases(node))
            return CteScan((Source(alias, columns),), columns, cte)
        relation = self._catalog.relation(node.schemaname or None, node.relname, self._path)
        if relation is None:
            return self._unknown(node, alias)
        if relation.kind == "v" and relation.schema not in _SYSTEM_SCHEMAS:
            return self._bind_view(node, relation, alias)
        return self._bind_table(node, relation, alias)

    def _bind_table(self, node: Any, relation: Relation, alias: str) -> Table:
        number = next(self._numbers)
        system = relation.schema in _SYSTEM_SCHEMAS
        columns: Columns = None
        if not system:
            plain = tuple(
                BoundColumn(column.name, (number, at), column)
                for at, column in enumerate(relation.columns)
            )
            columns = self._renamed(plain, _column_aliases(node))
        schema = None if node.alias.aliasname else relation.schema
        table = Table((Source(alias, columns, schema),), columns, node, relation, system=system)
        table.exact = node.inh
        declared = None if system else self._cluster.table(relation.schema, relation.name)
        if isinstance(declared, Sharded):
            self._place(table, declared)
        elif declared is None and not system:
            self._undeclared(node, relation)
        return table

    def _place(self, table: Table, declared: Sharded) -> None:
        """Note how the rows of a sharded table are placed."""
        table.sharded = True
        table.placement = self._cluster.placement_of(declared)
        places = [column.name for column in table.relation.columns]
        if declared.shard_key in places and table.columns is not None:
            table.key = table.columns[places.index(declared.shard_key)]
            return
        name = f"{table.relation.schema}.{table.relation.name}"
        self.problems.append(
            Problem(
                f"table {name} has no column {declared.shard_key}, its declared shard key",
                table.node.location,
                "GS409",
                "Correct the declaration; `greenshard check` compares it with the servers.",
            )
        )

    def _bind_view(self, node: Any, relation: Relation, alias: str) -> Item:
        try:
            (statement,) = parse(relation.definition or "")
        except (ParserError, ValueError):
            self.problems.append(
                Problem(
                    f"the definition of view {relation.name} cannot be read", node.location, "GS410"
                )
            )
            return self._unbound(alias)
        definition = statement.stmt.select_stmt
        before = len(self.problems)
        query = self.bind(definition)
        for at in range(before, len(self.problems)):  # offsets are those of the definition
            self.problems[at] = replace(
                self.problems[at],
                reason=f"{self.problems[at].reason} (in view {relation.name})",
                offset=node.location,
            )
        own = self._renamed(query.outputs, ())
        columns = self._named_as(own, [column.name for column in relation.columns])
        columns = self._renamed(columns, _column_aliases(node))
        schema = None if node.alias.aliasname else relation.schema
        source = Source(alias, columns, schema)
        return Derived((source,), columns, query, view=node, definition=definition)

    def _unknown(self, node: Any, alias: str) -> Item:
        name = f"{node.schemaname}.{node.relname}" if node.schemaname else node.relname
        self.problems.append(
            Problem(
                f'relation "{name}" does not exist',
                node.location,
                "GS408",
                "A table that was created a moment ago by another process is seen after a minute "
                "at the latest.",
                "42P01",
            )
        )
        return self._unbound(alias)

    def _undeclared(self, node: Any, relation: Relation) -> None:
        name = f"{relation.schema}.{relation.name}"
        self.problems.append(
            Problem(
                f"table {name} is not declared in the cluster, so nothing is known of where its "
                "rows are",
                node.location,
                "GS409",
                "Declare it as sharded or as a reference table, or run the statement on one shard "
                "with conn.on('...').",
            )
        )

    def _unbound(self, alias: str) -> Item:
        return FunctionScan((Source(alias, None),), None, _nothing(), [])

    def _bind_function(
        self,
        node: Message,
        inner: Any,
        before: Sequence[Item],
        parent: Level | None,
        ctes: Ctes,
    ) -> Item:
        level = _level(before, parent)
        sublinks = self._sublinks(node, level, ctes)
        columns = self._function_columns(inner)
        alias = inner.alias.aliasname or (columns[0].name if columns else "")
        return FunctionScan((Source(alias, columns),), columns, node, sublinks)

    def _function_columns(self, inner: Any) -> Columns:
        """The columns of a function in FROM, if they can be told from the text."""
        number = next(self._numbers)
        if type_name(inner) != "RangeFunction" or len(inner.functions) != 1 or inner.coldeflist:
            return None
        call = inner.functions[0].list.items[0]
        names = names_of(call.func_call.funcname) if call.HasField("func_call") else None
        if not names or names[-1] not in _ONE_COLUMN or len(call.func_call.args) > 3:
            return None
        if names[-1] == "unnest" and len(call.func_call.args) != 1:
            return None
        given = _column_aliases(inner)
        first = given[0].string.sval if given else inner.alias.aliasname or names[-1]
        columns = [BoundColumn(first, (number, 0))]
        if inner.ordinality:
            name = given[1].string.sval if len(given) > 1 else "ordinality"
            columns.append(BoundColumn(name, (number, 1)))
        return tuple(columns)

    # JOIN -----------------------------------------------------------------------------------

    def _bind_join(
        self, node: Any, before: Sequence[Item], parent: Level | None, ctes: Ctes
    ) -> Item:
        left = self._bind_item(node.larg, before, parent, ctes)
        right = self._bind_item(node.rarg, [*before, left], parent, ctes)
        names = [name.string.sval for name in node.using_clause]
        if node.is_natural:
            names = _common(left.columns, right.columns)
        kind = {JOIN_INNER: "inner", JOIN_LEFT: "left", JOIN_RIGHT: "left", JOIN_FULL: "full"}
        join = Join((), None, kind[node.jointype], left, right)
        using = self._using(join, names, node.jointype)
        join.sources = left.sources + right.sources
        join.columns = _joined(left.columns, right.columns, using, names)
        if node.is_natural and join.columns is None:
            self.problems.append(
                Problem("NATURAL JOIN of something whose columns are not known", None, "GS410")
            )
        if node.HasField("quals"):
            level = _level([left, right], parent)
            join.on = [Condition(part, level) for part in conjuncts(node.quals)]
            outer = join.kind != "inner"
            join.sublinks = self._sublinks(node.quals, level, ctes, in_join=outer)
        if node.jointype == JOIN_RIGHT:
            join.left, join.right = right, left
        return self._aliased(join, node)

    def _using(self, join: Join, names: Iterable[str], jointype: int) -> list[BoundColumn]:
        """Note what USING equates; returns the columns that it shows instead of the pairs."""
        shown = []
        number = next(self._numbers)
        for at, name in enumerate(names):
            one, other = _named(join.left.columns, name), _named(join.right.columns, name)
            if one is None or other is None:
                shown.append(BoundColumn(name, (number, at)))
                continue
            join.using.append((one, other))
            if jointype == JOIN_FULL:
                same = one.column if one.family == other.family else None
                merged = BoundColumn(name, (number, at), same)
                join.merged.append(merged)
                shown.append(merged)
            else:
                shown.append(other if jointype == JOIN_RIGHT else one)
        return shown

    def _aliased(self, join: Join, node: Any) -> Join:
        """An alias of a join hides the names in it."""
        if node.HasField("alias"):
            join.columns = self._renamed(join.columns, node.alias.colnames)
            join.sources = (Source(node.alias.aliasname, join.columns),)
        return join

    # Columns --------------------------------------------------------------------------------

    def _fresh(self, columns: Columns) -> Columns:
        if columns is None:
            return None
        number = next(self._numbers)
        return tuple(replace(column, id=(number, at)) for at, column in enumerate(columns))

    def _renamed(self, columns: Columns, aliases: Iterable[Any]) -> Columns:
        return self._named_as(columns, [alias.string.sval for alias in aliases])

    @staticmethod
    def _named_as(columns: Columns, names: Sequence[str]) -> Columns:
        """Rename the first columns."""
        if columns is None or not names:
            return columns
        renamed = [replace(column, name=name) for column, name in zip(columns, names, strict=False)]
        return (*renamed, *columns[len(renamed) :])


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


def _nothing() -> Message:
    (statement,) = parse("SELECT")
    node: Message = statement.stmt
    return node


def _clauses(select: Any) -> list[Message]:
    """The parts of a SELECT beside FROM and WHERE that may hold sublinks."""
    clauses = [
        *select.target_list,
        *select.distinct_clause,
        *select.group_clause,
        *select.window_clause,
        *select.sort_clause,
        *select.values_lists,
    ]
    clauses += [
        getattr(select, name)
        for name in ("having_clause", "limit_count", "limit_offset")
        if select.HasField(name)
    ]
    return clauses


def _matched(link: Any, level: Level) -> tuple[BoundColumn | None, ...]:
    """What stands to the left of IN (SELECT ...), if that is what the sublink is."""
    if link.sub_link_type != ANY_SUBLINK:
        return ()
    if names_of(link.oper_name) not in {(), ("=",)}:
        return ()
    kind, inner = unwrap(link.testexpr)
    nodes = inner.args if kind == "row_expr" else [link.testexpr]
    return tuple(level.resolve(node) for node in nodes)


def _column_aliases(node: Any) -> Any:
    return node.alias.colnames


def _named(columns: Columns, name: str) -> BoundColumn | None:
    found = [column for column in columns or () if column.name == name]
    return found[0] if len(found) == 1 else None


def _common(left: Columns, right: Columns) -> list[str]:
    there = {column.name for column in right or ()}
    return [column.name for column in left or () if column.name in there]


def _joined(
    left: Columns, right: Columns, using: list[BoundColumn], names: Sequence[str]
) -> Columns:
    """The columns of a join: those of USING first, and once."""
    if left is None or right is None:
        return None
    rest = [column for column in (*left, *right) if column.name not in names]
    return (*using, *rest)


def _relation_names(root: Message) -> set[str]:
    return {
        str(message.relname)
        for message in walk(root)
        if type_name(message) == "RangeVar" and not message.schemaname
    }
