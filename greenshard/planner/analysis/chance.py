"""Goal: find what each server may choose for itself, though all hold the same rows.

    SELECT * FROM orders
    WHERE o_custkey = (SELECT c_custkey FROM customer WHERE c_name = 'a' LIMIT 1)

Of two customers with that name, one shard may take the first and another one the second, for the
rows of a table lie in another order there. So may random() be another number on each shard, where
one PostgreSQL would have called it once for all rows. And a reference table must not be written by
such a choice: its rows would no longer be the same everywhere.

LIMIT, DISTINCT ON, window functions, and aggregates that list their rows leave no choice if the
rows are sorted by the primary keys of all tables, or if these are compared with values.

Nor is it one value everywhere if floats are added in another order, or if one of equal values is
taken that look different (1.0 and 1.00), see `likeness`. How a value looks is all the same where it
is only compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from greenshard.planner.analysis.likeness import (
    looks_different,
    may_be_float,
    may_look_different,
)
from greenshard.planner.analysis.select import (
    counts_rows,
    grouping_columns,
    grouping_expression,
    is_distinct,
    is_grouped,
    order_of_window,
    sort_expression,
)
from greenshard.planner.binding.query import (
    CteScan,
    Derived,
    Item,
    Join,
    Query,
    Sublink,
    Table,
    expressions,
    is_several,
    nested,
    queries,
    sublinks,
)
from greenshard.planner.binding.scope import BoundColumn, ColumnId, Columns, Level
from greenshard.planner.calls import Functions, name_of
from greenshard.sql.functions import AGGREGATES, WINDOW_FUNCTIONS
from greenshard.sql.parser import (
    AEXPR_OP,
    ALL_SUBLINK,
    ANY_SUBLINK,
    ARRAY_SUBLINK,
    EXISTS_SUBLINK,
    Message,
    type_name,
    walk,
)
from greenshard.sql.tree import enum_name, location_of, names_of, same_text, unwrap, walk_level

#: What may give rows in another order on each server.
_OF_TABLES = (CteScan, Derived, Join, Table)

#: Of a function that is not here nobody knows whether it gives a set.
_OF_ONE_VALUE = frozenset(
    {"abs", "ceil", "ceiling", "concat", "date_trunc", "floor", "length", "lower", "round",
     "substring", "to_char", "trim", "trunc", "upper"}
)  # fmt: skip

_COMPARING = frozenset({ALL_SUBLINK, ANY_SUBLINK, EXISTS_SUBLINK})
_COMPARISONS = frozenset({"=", "<>", "<", ">", "<=", ">="})
_ARITHMETIC = frozenset("+-*/")


@dataclass(frozen=True, slots=True)
class Choice:
    """Something that each server may choose for itself.

    Attributes:
        what: What chooses, as the subject of a sentence.
        offset: Where, in bytes; None if it is not known.
    """

    what: str
    offset: int | None


def first_choice(
    query: Query,
    functions: Functions,
    *,
    sublink_type: int | None = None,
    compared: bool = False,
) -> Choice | None:
    """The first choice in a query.

    Args:
        sublink_type: Of the sublink that the query is: EXISTS asks only whether it has rows, and
            ARRAY keeps their order.
        compared: Whether its value is compared, and used for nothing else.
    """
    found = choices(query, functions, sublink_type=sublink_type, compared=compared)
    return next(found, None)


def choices(
    query: Query,
    functions: Functions,
    *,
    sublink_type: int | None = None,
    compared: bool = False,
) -> Iterator[Choice]:
    """What a query, and those within it, may choose; see `first_choice`."""
    types = {id(query): sublink_type}
    # n = (SELECT max(n) ...): = takes 1.0 for 1.00, so it is all the same which of them max()
    # gives.
    unseen = {id(query)} if compared or sublink_type in _COMPARING else set()
    for one in queries(query):
        types |= {id(link.query): link.node.sub_link_type for link in sublinks(one)}
        unseen |= {id(link.query) for link in compared_sublinks(one)}
        yield from choosing_calls(one, functions)
        if id(one) not in unseen:
            yield from _of_equal_rows(one)
        yield from _of_equal_values(one, functions, shown=id(one) not in unseen)
        # EXISTS (SELECT ... LIMIT 1): any row will do.
        if one is not query or sublink_type != EXISTS_SUBLINK:
            yield from _of_limits(one, functions)
        if types.get(id(one)) == ARRAY_SUBLINK:
            yield from _of_array(one, functions)
        for clause in one.node.locking_clause:
            # Of two sessions each may have locked a row first, on another shard.
            if enum_name(clause.locking_clause, "wait_policy") == "LockWaitSkip":
                yield Choice("SKIP LOCKED", None)
        for item in nested(one.items):
            # REPEATABLE does not help: rows are chosen by the block that they are in, which each
            # copy of the table decides for itself (PostgreSQL's access/tablesample/).
            if isinstance(item, Table) and item.sampled:
                yield Choice("TABLESAMPLE", item.node.location)


def compared_sublinks(query: Query) -> Iterator[Sublink]:
    """The queries in a query's expressions whose value is compared, and used for nothing else."""
    # WHERE n = (SELECT ...): the only thing done with the value is to compare it. In WHERE n =
    # (SELECT ...) || '' it is written out first, so only direct sides count.
    sides = [
        side.sub_link
        for root, _ in expressions(query)
        for message in walk_level(root)
        if type_name(message) == "A_Expr" and _compares(message)
        for side in (message.lexpr, message.rexpr)
        if side.HasField("sub_link")
    ]
    for link in sublinks(query):
        if link.node.sub_link_type in _COMPARING or any(link.node is side for side in sides):
            yield link


def _compares(expression: Any) -> bool:
    return expression.kind == AEXPR_OP and (names_of(expression.name) or ("",))[-1] in _COMPARISONS


def _of_equal_rows(query: Query) -> Iterator[Choice]:
    """DISTINCT, GROUP BY and UNION take one of equal rows."""
    node, what = query.node, "GROUP BY"
    values = [grouping_expression(each, node, query.level) for each in node.group_clause]
    # SELECT n FROM t GROUP BY n: 1.0 and 1.00 are one group, shown as whichever was met first.
    loose = any(may_look_different(each, query) for each in values)
    # UNION ALL shows every row as it is.
    if _is_plain_distinct(node) or (query.branches and not node.all):
        what = "DISTINCT" if node.distinct_clause else "a set operation"
        loose = _shows_loose_values(query)
    if loose:
        yield Choice(f"{what} of values that are equal and look different", location_of(node))


def _is_plain_distinct(node: Any) -> bool:
    # The parser's list for a plain DISTINCT holds one empty node (gram.y: distinct_clause).
    return is_distinct(node) and not node.distinct_clause[0].WhichOneof("node")


def _shows_loose_values(query: Query) -> bool:
    if any(column.column and looks_different(column.column) for column in query.outputs or ()):
        return True
    targets = [each.res_target.val for each in query.node.target_list]
    if any(not is_several(each) and may_look_different(each, query) for each in targets):
        return True
    return any(map(_shows_loose_values, query.branches or ()))


def _of_equal_values(query: Query, functions: Functions, *, shown: bool) -> Iterator[Choice]:
    """Aggregates that give one of their values.

    Args:
        shown: Whether it matters how the query's own columns look.
    """
    targets = [] if shown else [each.res_target.val for each in query.node.target_list]
    # `shown` is false where only equality counts: there max(n) may be 1.0 or 1.00, but max(n)::text
    # may not, so calls below a cast or a function stay on the list.
    hidden = [call for target in targets for call in _passed_on(target)]
    for root, _ in expressions(query):
        for message in walk_level(root):
            call: Any = message
            if type_name(message) != "FuncCall" or any(call is each for each in hidden):
                continue
            known = AGGREGATES.get(name_of(call)) if functions.is_own(call) else None
            values = [*call.args, *(item.sort_by.node for item in call.agg_order)]
            if known and known.picks and any(may_look_different(each, query) for each in values):
                what = f"{name_of(call)}() of values that are equal and look different"
                yield Choice(what, call.location)


def _passed_on(node: Message) -> Iterator[Any]:
    """The calls of an expression that is equal to itself however their values look."""
    pending = [node]
    while pending:
        kind, inner = unwrap(pending.pop())
        if kind == "func_call":
            yield inner
        elif kind in ("coalesce_expr", "min_max_expr"):
            pending += inner.args
        # 1.0 + 1 and 1.00 + 1 are equal again.
        elif kind == "a_expr" and (names_of(inner.name) or ("",))[-1] in _ARITHMETIC:
            pending += [inner.lexpr, inner.rexpr]


def _of_limits(query: Query, functions: Functions) -> Iterator[Choice]:
    """LIMIT and DISTINCT ON."""
    node = query.node
    limits = [
        getattr(node, name)
        for name in ("limit_count", "limit_offset")
        if node.HasField(name) and not _is_all(getattr(node, name))
    ]
    # OFFSET alone chooses as well: it leaves out rows by their order.
    if not limits and not (node.distinct_clause and node.distinct_clause[0].WhichOneof("node")):
        return
    if not _is_total(query, _sort_keys(query), functions):
        what = "LIMIT" if limits else "DISTINCT ON"
        at = location_of(limits[0] if limits else node.distinct_clause[0])
        yield Choice(f"{what} without an order of all rows", at)


def _of_array(query: Query, functions: Functions) -> Iterator[Choice]:
    """ARRAY(SELECT ...): the order of its elements, unless equal ones are all that changes places.

    A function's rows, and those of VALUES, come in an order of their own.
    """
    if not query.branches and not any(isinstance(item, _OF_TABLES) for item in query.items):
        return
    keys = _sort_keys(query)
    shown = {
        column.id
        for column in query.outputs or ()
        if column.family is not None and column.column and not looks_different(column.column)
    }
    # ARRAY(SELECT a FROM t ORDER BY a): rows that change places have equal elements.
    columns = map(query.level.resolve, keys)
    if any(column is not None and column.id in shown for column in columns):
        return
    if not _is_total(query, keys, functions):
        yield Choice("ARRAY() without an order of all rows", location_of(query.node))


def _sort_keys(query: Query) -> list[Message]:
    return [sort_expression(item.sort_by.node, query.node) for item in query.node.sort_clause]


def _is_all(limit: Message) -> bool:
    # LIMIT ALL is parsed as LIMIT NULL (gram.y: select_limit_value).
    return bool(limit.a_const.isnull)


def choosing_calls(query: Query, functions: Functions) -> Iterator[Choice]:
    """The calls of a query, not of those within it, that see its rows one after the other."""
    for root, _ in expressions(query):
        for message in walk_level(root):
            if type_name(message) == "FuncCall":
                yield from _of_call(message, query, functions)
            elif type_name(message) in ("JsonArrayAgg", "JsonObjectAgg"):
                yield Choice("an aggregate that keeps the order of its rows", None)


def _of_call(call: Any, query: Query, functions: Functions) -> Iterator[Choice]:
    name = name_of(call)
    if functions.is_volatile(call):
        yield Choice(f"{name}()", call.location)
    elif _adds_floats(call, query, functions):
        yield Choice(f"{name}() of floats, which rounds in the order of the rows,", call.location)
    elif call.HasField("over"):
        keys = order_of_window(call, query.node)
        # rank() is equal for peers, row_number() is not; of a user's function nobody knows.
        by_place = not functions.is_own(call) or _tells_place(name)
        # sum(x) OVER (ORDER BY d ROWS ...) counts rows, so peers get different sums. RANGE, which
        # is the default, gives all peers the same one (PostgreSQL manual, 4.2.8).
        by_place |= name not in WINDOW_FUNCTIONS and counts_rows(call, query.node)
        if by_place and not _is_total(query, keys, functions):
            yield Choice(f"{name}() without an order of all rows", call.location)
    elif functions.is_aggregate(call):
        # count(), min() and the like: the order in which they see their rows makes no difference.
        if functions.is_own(call) and name in AGGREGATES and AGGREGATES[name].unordered:
            return
        yield from _of_list(call, query)


def _of_list(call: Any, query: Query) -> Iterator[Choice]:
    """An aggregate that keeps the order of its rows."""
    keys = [item.sort_by.node for item in call.agg_order]
    if not keys and not call.agg_distinct:
        yield Choice(f"{name_of(call)}() without ORDER BY", call.location)
    # Within a group the grouping columns are equal, so they count as sorted by: string_agg(product,
    # ',' ORDER BY line) ... GROUP BY order_id has the whole key (order_id, line).
    elif not _are_told_apart(query, [*keys, *query.node.group_clause]):
        # Of rows that are equal in what is listed it is all the same which comes first.
        texts = {same_text(each) for each in (keys or call.args)}
        for value in call.args:
            # The ',' of string_agg(x, ',' ORDER BY x).
            if value.HasField("a_const") or value.HasField("param_ref"):
                continue
            if same_text(value) not in texts or may_look_different(value, query):
                yield Choice(f"{name_of(call)}() without an order of all rows", call.location)
                return


def _adds_floats(call: Any, query: Query, functions: Functions) -> bool:
    known = AGGREGATES.get(name_of(call))
    if known is None or not known.adds or not functions.is_own(call):
        return False
    return known.floats or any(may_be_float(each, query) for each in call.args)


def _tells_place(name: str) -> bool:
    """Whether a window function of that name gives peers different values, or lists them."""
    if name in WINDOW_FUNCTIONS:
        return WINDOW_FUNCTIONS[name]
    return name not in AGGREGATES or not AGGREGATES[name].unordered


def _is_total(query: Query, keys: Iterable[Message], functions: Functions) -> bool:
    """Whether rows that are equal in some expressions are one row."""
    # The rows of a UNION have no primary key to be told apart by.
    if query.branches:
        return False
    if is_grouped(query.node, functions):
        fixed = _fixed(query, keys)
        # There is one row for each group, so all grouping columns together tell the rows apart.
        groups = grouping_columns(query.node, query.level)
        return all(column is not None and column.id in fixed for column in groups)
    return _are_told_apart(query, keys)


def _are_told_apart(query: Query, keys: Iterable[Message]) -> bool:
    """Whether rows of FROM that are equal in some expressions are one row."""
    fixed = _fixed(query, keys)
    return all(_is_fixed(item, fixed) for item in nested(query.items))


def _fixed(query: Query, keys: Iterable[Message]) -> set[ColumnId]:
    """The columns in which rows are equal that are equal in some expressions."""
    fixed = {column.id for node in keys if (column := query.level.resolve(node)) is not None}
    # WHERE order_id = 7 ORDER BY line: order_id is the same in all rows, and (order_id, line) a
    # key.
    return fixed | {column.id for column in _compared_with_values(query)}


def _is_fixed(item: Item, fixed: set[ColumnId]) -> bool:
    # `nested` yields what it joins, too.
    if isinstance(item, Join):
        return True
    # Functions and subqueries in FROM have no primary key.
    if not isinstance(item, Table):
        return False
    names = item.relation.primary_key
    own = {column.column.name: column.id for column in item.columns or () if column.column}
    # bool(): without a primary key two rows may be equal in everything, ORDER BY all columns or
    # not.
    return bool(names) and all(own[name] in fixed for name in names)


def is_one_row(query: Query) -> bool:
    """Whether WHERE gives the whole primary key of the first table in FROM one value."""
    return _is_fixed(query.items[0], {column.id for column in _compared_with_values(query)})


def matches_once(query: Query, functions: Functions) -> bool:
    """Whether each row of the first table in FROM is joined with one row of each other at most."""
    # UPDATE t SET x = s.x FROM s WHERE s.k = t.a: if a row of t finds several of s, PostgreSQL
    # takes any one of them (manual, UPDATE: "not readily predictable").
    first, *left = query.items
    known = {column.id for column in first.columns or ()}
    while left:
        found = next((item for item in left if _is_found(item, query, known, functions)), None)
        if found is None:
            return False
        left.remove(found)
        known |= {column.id for column in found.columns or ()}
    return True


def _is_found(item: Item, query: Query, known: set[ColumnId], functions: Functions) -> bool:
    """Whether it has one row, or what tells its rows apart is what WHERE compares with the known.

    That is a table's primary key, or the columns by which a query groups.
    """
    fixed = set()
    for condition in query.where:
        sides = condition.equated
        for one, other in (sides, sides[::-1]) if sides is not None else ():
            column = condition.level.resolve(one)
            if column is not None and _names_only(other, condition.level, known):
                fixed.add(column.id)
    inner = _rows_of(item)
    return _is_fixed(item, fixed) if inner is None else _has_one_row(*inner, fixed, functions)


def _rows_of(item: Item) -> tuple[Query, Columns] | None:
    """The query whose rows an item of FROM has, and their columns; None if it is none."""
    if isinstance(item, Derived):
        return (item.query, item.columns)
    return (item.cte.query, item.columns) if isinstance(item, CteScan) else None


def _has_one_row(
    query: Query, columns: Columns, fixed: set[ColumnId], functions: Functions
) -> bool:
    """Whether a query has one row at most in which some of its columns have some values."""
    node = query.node
    # generate_series() in the target list makes several rows of each.
    if query.branches or _makes_rows(query, functions):
        return False
    shown = zip(query.outputs or (), columns or (), strict=False)
    same = {own.id for own, column in shown if column.id in fixed}
    if is_grouped(node, functions):
        groups = grouping_columns(node, query.level)
        if any(unwrap(each)[0] == "grouping_set" for each in node.group_clause):
            return False
        return all(column is not None and column.id in same for column in groups)
    if not query.items:
        return len(node.values_lists) <= 1
    return False


def _makes_rows(query: Query, functions: Functions) -> bool:
    """Whether the target list may make several rows of one."""
    return any(
        type_name(message) == "FuncCall"
        and not functions.is_aggregate(message)
        and not (functions.is_own(message) and name_of(message) in _OF_ONE_VALUE)
        for target in query.node.target_list
        for message in walk_level(target)
    )


def _names_only(node: Message, level: Level, known: set[ColumnId]) -> bool:
    """Whether an expression is the same for all rows in which some columns are."""
    for message in walk(node):
        # id = random() is another value for each row; a sublink may name the row's own columns.
        if type_name(message) in ("FuncCall", "SubLink"):
            return False
        if type_name(message) == "ColumnRef":
            column = level.named(names_of(message.fields))
            if column is None or (level.owns(column) and column.id not in known):
                return False
    return True


def _compared_with_values(query: Query) -> Iterator[BoundColumn]:
    """The columns that WHERE says are equal to something that is the same for all rows."""
    for condition in query.where:
        sides = condition.equated
        for one, other in (sides, sides[::-1]) if sides is not None else ():
            column = condition.level.resolve(one)
            if column is not None and _names_only(other, condition.level, set()):
                yield column
