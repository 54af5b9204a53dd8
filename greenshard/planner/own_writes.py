"""Whether a statement writes nothing but temporary tables, which are one connection's own.

No other session sees them, and none misses them: nothing of such a statement can be half done, and
its shards need not commit together. They could not either: PostgreSQL does not prepare a
transaction that has touched a temporary table (manual, PREPARE TRANSACTION), and once the table is
dropped the server does not tell that this was all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from greenshard.planner.calls import Functions
from greenshard.planner.catalog import TEMPORARY, Catalog
from greenshard.planner.strategies.utility import is_temporary, temporary_table
from greenshard.sql.parser import Message, type_name, walk
from greenshard.sql.tree import enum_name, names_of, unwrap

_DML = frozenset({"insert_stmt", "update_stmt", "delete_stmt"})
#: They look at no value, so that no operator or cast runs; only event triggers do.
_EMPTYING = frozenset({"truncate_stmt", "drop_stmt"})
_WRITING = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})


def writes_own_only(node: Any, catalog: Catalog, functions: Functions) -> bool:
    """Whether all that a statement writes is temporary.

    Args:
        node: The statement's tree.
        catalog: Knows the session's temporary tables.
        functions: Knows what may write besides.
    """
    kind, inner = unwrap(node)
    if kind == "discard_stmt":
        return bool(enum_name(inner, "target") == "DISCARD_TEMP")
    targets = list(_targets(kind, inner))
    own = temporary_table(node) is not None or (
        bool(targets) and all((TEMPORARY, name) in catalog.relations for name in targets)
    )
    if kind in _EMPTYING:
        return own and not catalog.events
    return own and not catalog.runs_unseen and not _may_write_more(node, functions)


def _targets(kind: str, inner: Any) -> Iterator[str]:
    """The tables that a statement writes, without their schema; "" for what is in another one."""
    if kind in _DML:
        yield _own_name(inner.relation)
    elif kind == "truncate_stmt":
        yield from (_own_name(each.range_var) for each in inner.relations)
    elif kind == "drop_stmt" and enum_name(inner, "remove_type") == "OBJECT_TABLE":
        cascades = enum_name(inner, "behavior") == "DROP_CASCADE"
        for each in inner.objects:
            *schema, name = names_of(each.list.items) or ("",)
            yield "" if cascades or schema not in ([], ["pg_temp"]) else name


def _own_name(named: Any) -> str:
    own = not named.schemaname or is_temporary(named)
    return str(named.relname) if own else ""


def _may_write_more(node: Message, functions: Functions) -> bool:
    messages = list(walk(node))
    writes = sum(type_name(each) in _WRITING for each in messages)
    return writes > 1 or any(
        functions.is_volatile(each)
        if type_name(each) == "FuncCall"
        else bool(functions.reading_operator(each))
        for each in messages
    )
