"""Goal: refuse DDL beside which an event trigger would write to declared tables.

    CREATE EVENT TRIGGER logs ON ddl_command_end EXECUTE FUNCTION log_ddl()
    log_ddl() has INSERT INTO ddl_log ...     goes on, if ddl_log is not declared: each shard's own
    log_ddl() has INSERT INTO nation ...      refused: every shard would do so for itself
    log_ddl() has EXECUTE ...                 refused: its text does not show what it writes to
    ... WHEN TAG IN ('DROP TABLE') ...        refuses DROP TABLE only, and what may run others

DDL runs on every shard, and so does an event trigger. What it does to tables, functions and the
like it does everywhere alike; rows of a sharded table would come to every shard, whatever their
keys are, and those of a reference table be other ones in each copy.

Source: PostgreSQL manual, 38.2 "Event Trigger Firing Matrix".
"""

from __future__ import annotations

from typing import Any

from greenshard.cluster import Cluster
from greenshard.planner.analysis.traces import keeps_catalog
from greenshard.planner.beside import EventTrigger
from greenshard.planner.catalog import Catalog
from greenshard.planner.code import SYSTEM_SCHEMAS
from greenshard.planner.problem import Problem
from greenshard.sql.tree import enum_name, unwrap

#: What fires none: the cluster's own objects, and event triggers themselves.
_SILENT = frozenset(
    {
        "create_event_trig_stmt", "alter_event_trig_stmt", "createdb_stmt", "dropdb_stmt",
        "alter_database_stmt", "alter_database_set_stmt", "alter_database_refresh_coll_stmt",
        "create_role_stmt", "alter_role_stmt", "drop_role_stmt", "grant_role_stmt",
        "create_table_space_stmt", "drop_table_space_stmt", "alter_table_space_options_stmt",
        "alter_system_stmt", "notify_stmt",
    }
)  # fmt: skip
_SILENT_OBJECTS = frozenset(
    {"OBJECT_EVENT_TRIGGER", "OBJECT_DATABASE", "OBJECT_ROLE", "OBJECT_TABLESPACE"}
)
#: These are DDL to an event trigger, and no other table or function than before to a catalog.
_FIRING = frozenset({"refresh_mat_view_stmt", "reindex_stmt"})
#: Of the commonest commands their tags (38.2).
_TAGS = {
    "comment_stmt": "COMMENT",
    "create_domain_stmt": "CREATE DOMAIN",
    "create_policy_stmt": "CREATE POLICY",
    "create_seq_stmt": "CREATE SEQUENCE",
    "create_stmt": "CREATE TABLE",
    "create_trig_stmt": "CREATE TRIGGER",
    "index_stmt": "CREATE INDEX",
    "view_stmt": "CREATE VIEW",
}
#: Those that tell of what they are by a field.
_TAGS_BY_OBJECT = {"alter_table_stmt": ("ALTER", "objtype"), "drop_stmt": ("DROP", "remove_type")}
_OBJECTS = {
    "OBJECT_INDEX": "INDEX",
    "OBJECT_SEQUENCE": "SEQUENCE",
    "OBJECT_TABLE": "TABLE",
    "OBJECT_VIEW": "VIEW",
}
_OBJECT_FIELDS = {
    "drop_stmt": "remove_type",
    "rename_stmt": "rename_type",
    "alter_owner_stmt": "object_type",
    "comment_stmt": "objtype",
    "sec_label_stmt": "objtype",
    "grant_stmt": "objtype",
}


def fired(node: Any, cluster: Cluster, catalog: Catalog) -> Problem | None:
    """What is wrong with a utility statement that runs on all shards; None if nothing is.

    Args:
        node: The statement's `Node`.
        cluster: What is declared.
        catalog: The event triggers that there are.

    Cost: nothing where there is no event trigger.
    """
    if not catalog.events or not _fires(node):
        return None
    tag = _tag(node)
    for event in catalog.events:
        if event.tags and tag is not None and tag not in event.tags:
            continue
        if (what := written_by(event, cluster, catalog)) is not None:
            return Problem(
                f'it fires event trigger "{event.name}" on each shard, which may write to {what}',
                None,
                "GS415",
                "If all that it does may be done on each shard, run the statement with "
                "conn.broadcast().",
            )
    return None


def _tag(node: Any) -> str | None:
    """The command's name, as WHEN TAG has it; None of what may run others, or is not known."""
    kind, inner = unwrap(node)
    if kind in _TAGS:
        return _TAGS[kind]
    field = _TAGS_BY_OBJECT.get(kind)
    object_ = None if field is None else _OBJECTS.get(enum_name(inner, field[1]))
    return None if field is None or object_ is None else f"{field[0]} {object_}"


def written_by(event: EventTrigger, cluster: Cluster, catalog: Catalog) -> str | None:
    """What an event trigger may write to that is declared; None if nothing."""
    if event.words is None or "execute" in event.words:
        return "any table"
    return _touched(event.words, cluster, catalog)


def _fires(node: Any) -> bool:
    kind, inner = unwrap(node)
    if kind in _SILENT or (keeps_catalog(node) and kind not in _FIRING):
        return False
    field = _OBJECT_FIELDS.get(kind)
    return field is None or enum_name(inner, field) not in _SILENT_OBJECTS


def _touched(words: frozenset[str], cluster: Cluster, catalog: Catalog) -> str | None:
    """A relation that a text names, through which it may write to a declared table."""
    for (schema, name), relation in catalog.relations.items():
        if name not in words or schema in SYSTEM_SCHEMAS:
            continue
        beside = catalog.besides.get((schema, name))
        if (
            cluster.table(schema, name) is not None
            or relation.kind in "vmf"
            or (beside is not None and (beside.triggers or beside.rules or beside.keys))
            or any(catalog.inheritance.above((schema, name)))
        ):
            return name if schema == "public" else f"{schema}.{name}"
    return None
