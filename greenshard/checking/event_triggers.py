"""Compares event triggers, which each shard fires beside DDL, and tells which there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from greenshard.checking.findings import Finding, compare_by_name, listed
from greenshard.checking.probe import SHARD, read_by_name
from greenshard.cluster import Cluster
from greenshard.connection import Connection
from greenshard.planner.catalog import Catalog
from greenshard.planner.ddl_events import written_by

#: Their function's text counts, too: it is all that they do. Not those of extensions.
_EVENT_TRIGGERS = f"""
SELECT {SHARD}, evtname::text, concat_ws(' ', evtevent, evttags::text, evtenabled, proname,
    CASE WHEN prosqlbody IS NULL THEN prosrc ELSE pg_get_function_sqlbody(p.oid) END, probin)
FROM pg_event_trigger AS e JOIN pg_proc AS p ON p.oid = evtfoid
WHERE NOT EXISTS (
    SELECT FROM pg_depend AS d WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid
    AND d.deptype = 'e')
ORDER BY evtname
"""


def read_event_triggers(conn: Connection) -> dict[str, dict[str, str]]:
    """Read what each shard has under each event trigger's name.

    Switches: yes.
    """
    return read_by_name(conn, _EVENT_TRIGGERS)


def compare_event_triggers(
    found: Mapping[str, Mapping[str, str]], shards: Sequence[str]
) -> Iterator[Finding]:
    """What differs among the shards."""
    return compare_by_name("definitions", "event trigger", found, shards)


def noted_event_triggers(
    found: Mapping[str, Mapping[str, str]], cluster: Cluster, catalogs: Mapping[str, Catalog]
) -> Iterator[str]:
    """Notes on which there are, and what is refused for them."""
    if found:
        yield f"event triggers are fired by DDL on each shard: {listed(found)}"
    refused: dict[str, None] = {}
    for catalog in catalogs.values():
        for event in catalog.events:
            if (what := written_by(event, cluster, catalog)) is not None:
                refused[f"DDL is refused: event trigger {event.name} may write to {what}"] = None
    yield from refused
