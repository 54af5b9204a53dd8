"""Asks all shards what they are doing, and goes without those that do not answer in time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from typing import Any

from greenshard import errors
from greenshard.cluster import Cluster, Sharded
from greenshard.connection import Connection
from greenshard.dbapi import connect
from greenshard.links.deadline import Deadline, within
from greenshard.links.outside import SETTINGS, calls_outside, understood, value
from greenshard.links.physical import Physical
from greenshard.watching.shard_status import ShardStatus, Status, label, read_status

_PING = "SELECT pg_catalog.convert_to('1', 'UTF8')"
#: Parameter: the declared tables, as JSON: [["public", "orders"], [null, "items"], ...]. How many
#: rows there are the statistics tell: to count them would take long.
_ASKED = """
SELECT convert_to(json_build_object(
    'version', current_setting('server_version'),
    'standby', pg_is_in_recovery(),
    'up', extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()),
    'size', pg_database_size(current_database()),
    'connections', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    'most', current_setting('max_connections')::int,
    'sessions', (SELECT json_agg(json_build_array(application_name, state, number)) FROM (
        SELECT coalesce(application_name, '') AS application_name, coalesce(state, '') AS state,
            count(*) AS number
        FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend'
            AND pid <> pg_backend_pid()
        GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2) AS s),
    'running', (SELECT json_agg(json_build_array(pid, usename, application_name, host(client_addr),
            state, extract(epoch FROM clock_timestamp() - xact_start),
            extract(epoch FROM clock_timestamp() - CASE state
                WHEN 'active' THEN query_start ELSE state_change END),
            CASE state WHEN 'active' THEN wait_event_type END, query) ORDER BY query_start)
        FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend'
            AND pid <> pg_backend_pid() AND xact_start IS NOT NULL),
    'waits', (SELECT json_agg(json_build_array(pid, blocker))
        FROM pg_stat_activity, unnest(pg_blocking_pids(pid)) AS blocker
        WHERE datname = current_database() AND wait_event_type = 'Lock'),
    'prepared', (SELECT json_agg(json_build_array(gid,
            extract(epoch FROM clock_timestamp() - prepared)) ORDER BY prepared)
        FROM pg_prepared_xacts WHERE database = current_database()),
    'tables', (SELECT json_agg(json_build_array(n.nspname, c.relname, CASE c.relkind
                WHEN 'p' THEN (SELECT coalesce(sum(pg_stat_get_live_tuples(relid)), 0)
                    FROM pg_partition_tree(c.oid) WHERE isleaf)
                ELSE pg_stat_get_live_tuples(c.oid) END) ORDER BY n.nspname, c.relname)
        FROM json_array_elements(%(tables)s) AS t
        JOIN pg_class AS c ON c.relname = t ->> 1 AND c.relkind IN ('r', 'p')
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = coalesce(t ->> 0, n.nspname) AND n.nspname !~ '^pg_')
)::text, 'UTF8')
"""


def look(cluster: Cluster, *, timeout: float = 5.0) -> Status:
    """Look at all shards at once.

    Args:
        cluster: The declaration.
        timeout: Seconds after which those that have not answered count as down.

    Raises:
        errors.ProgrammingError: A connection string cannot be read, or two lead to one database.

    Switches: yes.
    """
    deadline = within(timeout)
    dsns = {name: shard.primary for name, shard in cluster.shards.items()}
    try:
        conn = connect(
            dsns,
            on_error="partial",
            connect_timeout=timeout / 2,
            cancel_grace=min(1.0, timeout / 4),
            deadlock_timeout_s=None,
        )
    except errors.OperationalError as error:
        # None can be reached.
        why = error.failures or {error.shard or next(iter(dsns)): error}
        return Status(tuple(_unknown(name, why.get(name, error)) for name in dsns))
    with closing(conn):
        return _looked(conn, cluster, deadline)


def _looked(conn: Connection, cluster: Cluster, deadline: Deadline) -> Status:
    names = [*cluster._declared]
    pings, failures = _all(conn, partial(value, query=_PING), deadline.part(0.5))
    ask = partial(_ask, tables=json.dumps(names))
    asked, more = _all(conn, ask, deadline, only=pings)
    failures = {**conn._session.missing, **failures, **more}
    shards = [
        read_status(name, pings[name].seconds, asked[name].result)
        if name in asked
        else _unknown(name, failures.get(name))
        for name in conn.shards
    ]
    tables = [each for job in asked.values() for each in job.result["tables"] or ()]
    split = [
        label(schema, name)
        for schema, name, _ in tables
        if isinstance(cluster.table(schema, name), Sharded)
    ]
    return Status(tuple(shards), tuple(dict.fromkeys(split)))


def _ask(physical: Physical, *, tables: str) -> Mapping[str, Any]:
    found = value(physical, f"{SETTINGS}{_ASKED}", {"tables": tables})
    with understood(physical.shard):
        told: Mapping[str, Any] = json.loads(bytes(found))
        return told


def _all(
    conn: Connection, read: Any, deadline: Deadline, only: Mapping[str, Any] | None = None
) -> tuple[Mapping[str, Any], Mapping[str, BaseException]]:
    """What each shard answers, and why others do not."""
    session = conn._session
    alive = [each for each in session.alive if only is None or each.shard in only]
    if not alive:
        return {}, {}
    with session.taken():
        try:
            outcome = session.run(calls_outside(alive, read), deadline, tolerant=True)
        except errors.Error as error:
            return {}, error.failures or {each.shard: error for each in alive}
    return outcome.jobs, outcome.failures


def _unknown(shard: str, error: BaseException | None) -> ShardStatus:
    lines = str(error or "no answer").strip().splitlines()
    return ShardStatus(shard, lines[0].removeprefix(f"shard {shard}: ") if lines else "no answer")
