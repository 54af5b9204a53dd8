"""Goal: CREATE TABLE AS, and SELECT INTO, for a table that is declared, or temporary.

    CREATE TABLE totals AS SELECT customer, sum(amount) AS total FROM orders GROUP BY customer

    first, on every shard    CREATE TABLE totals AS SELECT ... WITH NO DATA
    then, as it would run    INSERT INTO totals SELECT ...

So PostgreSQL says which columns the table has, and each row goes where it belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greenshard.cluster import Cluster, Single
from greenshard.planner.plan import Created, Refused, Step
from greenshard.planner.strategies.utility import is_temporary
from greenshard.sql.deparsing import Unwritable, write
from greenshard.sql.nodes import clear, copy
from greenshard.sql.parser import parse
from greenshard.sql.placeholders import Translation
from greenshard.sql.tree import enum_name, unwrap


def plan_creation(
    node: Any, translation: Translation, cluster: Cluster, path: Sequence[str]
) -> Step | None:
    """Plan a statement that makes a table of a query's rows; None if it does not.

    Args:
        node: The statement's `Node`.
        translation: Its text for the parser.
        cluster: What is declared.
        path: ``current_schemas(true)``.
    """
    kind, inner = unwrap(node)
    if kind == "select_stmt" and inner.HasField("into_clause"):
        query = copy(node)
        clear(query.select_stmt, "into_clause")
        into = inner.into_clause
    elif kind == "create_table_as_stmt" and enum_name(inner, "objtype") == "OBJECT_TABLE":
        query, into = inner.query, inner.into
    else:
        return None
    table = into.rel
    if into.skip_data or unwrap(query)[0] != "select_stmt":
        return None
    schemas = (each for each in path if not each.startswith("pg_"))
    declared = cluster.table(table.schemaname or next(schemas, None), table.relname)
    # A temporary one is a reference table of the session, whatever it is called.
    if not is_temporary(table) and (declared is None or isinstance(declared, Single)):
        return None
    if kind == "create_table_as_stmt" and inner.if_not_exists:
        reason = "CREATE TABLE IF NOT EXISTS ... AS over several shards"
        return Refused(reason, "GS410", "Leave IF NOT EXISTS out, or create the table first.")
    try:
        return Created(
            write(_without_data(into, query), translation),
            write(_filling(table, query), translation),
        )
    except Unwritable as unwritable:
        return Refused(str(unwritable), "GS410", "Create the table, then insert into it.")


def created_temporary(node: Any) -> str | None:
    """The name of the temporary table that a statement makes of rows; None if it makes none."""
    kind, inner = unwrap(node)
    into = inner.into_clause if kind == "select_stmt" else inner.into
    return str(into.rel.relname) if is_temporary(into.rel) else None


def _without_data(into: Any, query: Any) -> Any:
    """The statement that makes the table, and no rows."""
    (made,) = parse("CREATE TABLE t AS SELECT WITH NO DATA")
    statement: Any = made.stmt
    statement.create_table_as_stmt.into.CopyFrom(into)
    statement.create_table_as_stmt.into.skip_data = True
    statement.create_table_as_stmt.query.CopyFrom(query)
    return made


def _filling(table: Any, query: Any) -> Any:
    """The statement that inserts the rows."""
    (made,) = parse("INSERT INTO t SELECT")
    statement: Any = made.stmt
    statement.insert_stmt.relation.CopyFrom(table)
    statement.insert_stmt.relation.relpersistence = "p"
    statement.insert_stmt.select_stmt.CopyFrom(query)
    return made
