"""Statements that neither read nor write rows of tables: where they run.

Settings, DDL and savepoints go to every shard, and the answer is one shard's. What keeps something
on a server that another statement then uses (PREPARE, DECLARE, FETCH) is refused: the client has
something better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenshard.planner.analysis.traces import keeps_catalog
from greenshard.planner.plan import Anywhere, Broadcast, Closed, Executed, Fetched, Refused, Step
from greenshard.planner.union import PREPARE_ON_ONE, TWO_PHASE
from greenshard.sql.declaring import read_fetch
from greenshard.sql.text import Sql
from greenshard.sql.tree import enum_name, unwrap

#: Statements that make what may be temporary: its kind, and the field that names it.
_MADE = {
    "create_stmt": ("TABLE", "relation"),
    "view_stmt": ("VIEW", "view"),
    "create_seq_stmt": ("SEQUENCE", "sequence"),
}
_TWO_PHASE = frozenset(
    {"TRANS_STMT_PREPARE", "TRANS_STMT_COMMIT_PREPARED", "TRANS_STMT_ROLLBACK_PREPARED"}
)
_ON_ONE = "Use it on one shard, with conn.on('...')."
_REFUSED = {
    "copy_stmt": (
        "COPY",
        (
            "Use cursor.copy_expert(sql, file), copy_from or copy_to with a file of the program's: "
            "one of the servers' is another one on each."
        ),
    ),
    "do_stmt": ("DO", "It may read or write any table: name the shards with conn.on(...)."),
    "create_table_as_stmt": (
        "CREATE TABLE AS",
        (
            "Each shard would make a table of its own rows. Declare the table; or create it "
            "WITH NO DATA."
        ),
    ),
}
#: What is planned by the tables that it names.
_PLANNED = frozenset(
    {"select_stmt", "insert_stmt", "update_stmt", "delete_stmt", "merge_stmt", "explain_stmt",
     "declare_cursor_stmt", "call_stmt"}
)  # fmt: skip


#: What other statements do, or the connection itself.
_OTHERS: dict[str, Callable[[Any], Step]] = {
    "execute_stmt": lambda _: Executed(),
    "fetch_stmt": lambda inner: Fetched(read_fetch(inner)),
    "close_portal_stmt": lambda inner: Closed(inner.portalname or None),
}


def plan_utility(text: str, node: Any) -> Step | None:
    """Plan a utility statement; None if it is none.

    Args:
        text: The user's text, which holds this statement alone.
        node: The statement's `Node`.
    """
    kind, inner = unwrap(node)
    if kind in _PLANNED:
        return None
    if (refused := _refused(kind, inner) or _seeding(kind, inner)) is not None:
        return refused
    if (made := _OTHERS.get(kind)) is not None:
        return made(inner)
    if kind == "variable_show_stmt":
        return Anywhere(Sql(text))
    if kind == "notify_stmt":
        # NOTIFY from each shard would reach a session that listens on all of them once for each.
        return Anywhere(Sql(text), first=True)
    return Broadcast(
        Sql(text),
        answer_of_one=True,
        # What is temporary is no other session's.
        resets_catalog=not keeps_catalog(node) and temporary_table(node) is None,
    )


def _refused(kind: str, inner: Any) -> Refused | None:
    # CREATE TABLE ... AS ... WITH NO DATA: there are no rows that would be each shard's own.
    empty = kind == "create_table_as_stmt" and inner.into.skip_data
    if empty and enum_name(inner, "objtype") == "OBJECT_TABLE":
        return None
    if kind in _REFUSED:
        name, hint = _REFUSED[kind]
        return Refused(f"{name} over several shards", "GS410", hint)
    if kind == "transaction_stmt" and enum_name(inner, "kind") in _TWO_PHASE:
        return Refused(TWO_PHASE, "GS410", PREPARE_ON_ONE)
    named = _MADE.get(kind)
    if named is None or not is_temporary(getattr(inner, named[1])):
        return None
    what, hint = f"CREATE TEMPORARY {named[0]}", _ON_ONE
    if kind == "create_stmt":
        if not (inner.inh_relations or inner.HasField("partspec")):
            return None
        # Rows of a temporary child would be among those of the declared parent.
        what, hint = f"{what} that inherits or is partitioned,", "Make it with columns of its own."
    return Refused(f"{what} over several shards", "GS410", hint)


def _seeding(kind: str, inner: Any) -> Refused | None:
    if kind != "variable_set_stmt" or inner.name != "seed" or not inner.args:
        return None
    reason = "SET seed, after which each shard would give its rows the same random numbers"
    return Refused(reason, "GS410", "SELECT setseed(...), for what reads no sharded table.")


def temporary_table(node: Any) -> str | None:
    """The name of the temporary table that a statement makes; None if it makes none."""
    kind, inner = unwrap(node)
    if kind == "create_stmt":
        made = inner.relation
    elif kind == "create_table_as_stmt" and enum_name(inner, "objtype") == "OBJECT_TABLE":
        made = inner.into.rel
    else:
        return None
    return str(made.relname) if is_temporary(made) else None


def is_temporary(named: Any) -> bool:
    """Whether a name is that of a temporary relation."""
    # pg_class.relpersistence: t is temporary.
    return bool(named.relpersistence == "t" or named.schemaname == "pg_temp")
