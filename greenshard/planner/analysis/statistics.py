"""Goal: refuse what tells of one shard's part as if it were the whole.

    SELECT reltuples FROM pg_class WHERE relname = 'orders'      the rows that one shard estimates
    SELECT to_jsonb(c) FROM pg_class c                           they are in its whole rows
    SELECT n_live_tup FROM pg_stat_user_tables                   likewise
    SELECT last_value FROM pg_sequences                          what one shard has counted
    SELECT count(*) FROM pg_stat_activity                        goes on: sessions are a server's

What PostgreSQL's catalog says of names and types is the same on all shards, and its views of a
server's sessions are of one server to everybody. But statistics are of the rows that are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from greenshard.planner.analysis.objections import EACH
from greenshard.planner.binding.query import Table
from greenshard.planner.problem import Problem
from greenshard.sql.parser import Message, type_name, walk

#: Columns of PostgreSQL's own relations that tell of the rows there.
_COLUMNS = {
    "pg_class": frozenset({"relallfrozen", "relallvisible", "relpages", "reltuples"}),
    "pg_sequences": frozenset({"last_value"}),
}
#: Of the relations pg_stat..., those about sessions and other servers.
_OF_SESSIONS = (
    "pg_stat_activity",
    "pg_stat_gssapi",
    "pg_stat_progress_",
    "pg_stat_recovery_",
    "pg_stat_replication",
    "pg_stat_ssl",
    "pg_stat_subscription",
    "pg_stat_wal_receiver",
)


def statistics(tables: Iterable[Table], roots: Iterable[Message]) -> Iterator[Problem]:
    """What is read of one shard's part alone.

    Args:
        tables: What the statement reads.
        roots: Its tree, and those of its views.
    """
    roots = list(roots)
    for table in tables:
        name = table.relation.name
        if not table.system:
            continue
        if name.startswith("pg_stat") and not name.startswith(_OF_SESSIONS):
            yield Problem(
                f"{name} tells of one shard's part only", table.node.location, "GS410", EACH
            )
        told = _COLUMNS.get(name)
        found = None if told is None else _told(roots, table, told)
        if found is not None:
            reason = f"{found} of {name} tells of one shard's part only"
            yield Problem(reason, table.node.location, "GS410", f"Name other columns. {EACH}")


def _told(roots: Iterable[Message], table: Table, columns: frozenset[str]) -> str | None:
    """One of some columns of a table that may be read, or what may stand for them; None if none.

    The columns are not in our catalog: so a whole row is told by the name of its table or JOIN.
    NATURAL JOIN, and c.to_jsonb for to_jsonb(c), are refused where names are resolved.
    """
    messages: list[Any] = [each for root in roots for each in walk(root)]
    joins = [each for each in messages if type_name(each) == "JoinExpr"]
    references = (each for each in messages if type_name(each) == "ColumnRef")
    if any(each.alias.colnames for each in (table.node, *joins)):
        return "a column under another name"
    rows = {each.alias.aliasname for each in joins if each.HasField("alias")}
    rows.update(source.alias for source in table.sources)
    using = {each.string.sval for join in joins for each in join.using_clause}
    named = (_of_reference(each, columns, rows) for each in references)
    return next(filter(None, named), None) or min(columns & using, default=None)


def _of_reference(reference: Any, columns: frozenset[str], rows: set[str]) -> str | None:
    *before, last = reference.fields
    if last.HasField("a_star"):
        return "*"
    name: str = last.string.sval
    if name in columns:
        return name
    return "a whole row" if name in rows and not before else None
