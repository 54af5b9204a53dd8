"""Goal: refuse what tells of one shard's part as if it were the whole.

    SELECT reltuples FROM pg_class WHERE relname = 'orders'      the rows that one shard estimates
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
        column = None if told is None else _named(roots, told)
        if column is not None:
            reason = f"{column} of {name} tells of one shard's part only"
            yield Problem(reason, table.node.location, "GS410", f"Name other columns. {EACH}")


def _named(roots: Iterable[Message], columns: frozenset[str]) -> str | None:
    """One of some columns that is named, or a star, which stands for all."""
    for root in roots:
        for message in walk(root):
            if type_name(message) == "ColumnRef":
                last: Any = getattr(message, "fields")[-1]  # noqa: B009
                if last.HasField("a_star"):
                    return "*"
                if last.string.sval in columns:
                    return str(last.string.sval)
    return None
