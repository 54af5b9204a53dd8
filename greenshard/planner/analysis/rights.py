"""Goal: say what is read as the user that PostgreSQL would read as somebody else.

    SELECT * FROM per_customer          -- SELECT o_custkey, count(*) FROM orders GROUP BY 1

1. PostgreSQL asks whether the user may read `per_customer`, and whether its owner may read
   `orders`, of which it counts the rows that the owner may see.
2. With the view's query in the place of its name, both are asked of the user.

That is right only if it makes no difference; the executor asks the server when the statement runs,
for rights are the session's. A policy that would need rows of other shards is found here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from greenshard.planner.analysis.locality import Locality
from greenshard.planner.analysis.needed_columns import Mentions
from greenshard.planner.analysis.shape import Crosses
from greenshard.planner.binding.bound_views import Name, name_of, views_in
from greenshard.planner.binding.qualifying import qualify
from greenshard.planner.binding.query import Derived, Item, Query, Table, nested, queries, tables
from greenshard.planner.calls import Functions
from greenshard.planner.catalog import Policy, Relation
from greenshard.planner.plan import Filtering, Reading
from greenshard.sql.nodes import quoted
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import ParserError

#: SELECT and ALL, as pg_policy.polcmd has them.
_READING = frozenset("r*")


def readings(query: Query, mentions: Mentions, put: Callable[[Derived], bool]) -> Iterator[Reading]:
    """What views read whose queries are put in the place of their names.

    Args:
        query: A statement.
        mentions: The names in it.
        put: Whether that is done with a view.
    """
    made = {
        (reading.relation, reading.view): reading
        for view in views_in(query)
        if put(view)
        for item in _items(view.query)
        for reading in _of_item(item, name_of(view), mentions, put)
    }
    yield from made.values()


def readings_of_user(query: Query, mentions: Mentions) -> Iterator[Reading]:
    """What a statement itself names, and reads as the user; views too.

    Args:
        query: A statement.
        mentions: The names in it.
    """
    for item in _items(query):
        if isinstance(item, Table) and not item.system:
            columns = mentions.of(item)
            named = [c.name for c in item.relation.columns if c.name in columns]
            yield _reading(item.relation, named, None)
        elif isinstance(item, Derived) and item.relation is not None:
            yield _reading(item.relation, (), None)


def _of_item(
    item: Item, view: Name, mentions: Mentions, put: Callable[[Derived], bool]
) -> Iterator[Reading]:
    if isinstance(item, Table) and not item.system:
        columns = mentions.of(item)
        yield _reading(
            item.relation, [c.name for c in item.relation.columns if c.name in columns], view
        )
    elif isinstance(item, Derived) and item.relation is not None and not put(item):
        yield _reading(item.relation, [column.name for column in item.relation.columns], view)


def _reading(relation: Relation, columns: Iterable[str], view: Name | None) -> Reading:
    return Reading((relation.schema, relation.name), tuple(columns), view)


def _items(query: Query) -> Iterator[Item]:
    """What a query names in FROM at any depth, but not within views."""
    for one in queries(query, into_views=False):
        yield from nested(one.items)


def filterings(
    query: Query, functions: Functions, bind: Callable[[object], Query], *, reads: bool
) -> Iterator[Filtering]:
    """The policies on what a statement names that read rows of other shards.

    Args:
        query: The statement.
        functions: What is known of those.
        bind: Resolves the names of a tree.
        reads: Whether it only reads.
    """
    pending: list[tuple[Query, Name | None]] = [(query, None)]
    seen: set[tuple[Name, Name | None]] = set()
    while pending:
        top, reader = pending.pop()
        # Policies are applied for whoever reads: the user, or the owner of the view in which it is
        # named.
        for view in (None, *views_in(top)):
            named = reader if view is None else name_of(view)
            for item in _items(top if view is None else view.query):
                # Policies may name each other's tables in a circle.
                if not isinstance(item, Table) or (_named(item.relation), named) in seen:
                    continue
                seen.add((_named(item.relation), named))
                for policy in item.relation.security.policies:
                    if reads and policy.command not in _READING:
                        continue
                    condition, reason = _applied(item.relation, policy, functions, bind)
                    if reason is not None:
                        reading = _reading(item.relation, (), named)
                        yield Filtering(reading, policy.name, reason)
                    elif condition is not None:
                        # A policy's subqueries run as its reader, and are filtered, too.
                        pending.append((condition, named))


def _named(relation: Relation) -> Name:
    return relation.schema, relation.name


def _applied(
    relation: Relation,
    policy: Policy,
    functions: Functions,
    bind: Callable[[object], Query],
) -> tuple[Query | None, str | None]:
    """The query that applies a policy's condition, and why a shard cannot do that alone."""
    if policy.function is not None:
        return (
            None,
            f"it calls {policy.function}(), which may read tables, or differs from shard to shard",
        )
    if not policy.conditions:
        return None, "its condition cannot be read, because a table in it is locked"
    condition = " AND ".join(f"({each})" for each in policy.conditions)
    where = f"{quoted(relation.schema)}.{quoted(relation.name)}"
    try:
        # Whether a shard can apply the condition alone is what `locality` tells of a WHERE.
        select = parse_select(f"SELECT FROM {where} WHERE {condition}")
        # pg_get_expr() leaves out pg_catalog, as in the text of a view.
        qualify(select, functions)
        query = bind(select)
        unknown = next((each for each in tables(query) if not each.declared), None)
        if unknown is not None:
            return None, f"it reads {unknown.relation.name}, which is not declared"
        Locality(functions).analyse(query)
    except ParserError:
        return None, "its condition cannot be read"
    except Crosses as crosses:
        return None, crosses.reason
    return query, None
