"""What ``greenshard init`` makes on each shard: the schema greenshard. Pure.

- ``shard``: one row, the stamp: which shard of which cluster the database is (`links.look`).
- ``decision``: of each transaction over several shards whether it was committed, on one of them.
- ``barrier``: nothing is ever in it. Whoever commits holds it, and who wants one snapshot of all
  shards waits for it.
- ``forgotten``: until when the rows of ``decision`` have been removed.

Every name is qualified, operators are PostgreSQL's own: a search path that somebody has set for a
role or a database changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from greenshard.sql.nodes import quoted

SCHEMA = "greenshard"

#: The tables, each with its columns as ``format_type`` writes their types.
TABLES: Mapping[str, Mapping[str, str]] = {
    "shard": {
        "cluster": "text",
        "name": "text",
        "position": "integer",
        "shards": "integer",
        "slots": "integer",
        "id": "text",
    },
    "decision": {
        "gid": "text",
        "committed": "boolean",
        "participants": "text[]",
        "decided": "timestamp with time zone",
    },
    "barrier": {},
    "forgotten": {"until": "timestamp with time zone"},
}

#: Where a publication is for all tables, PostgreSQL refuses to change a row of a table without a
#: key, unless replicas know it by all that is in it.
_MADE: Mapping[str, str] = {
    "shard": """
        CREATE TABLE greenshard.shard (cluster pg_catalog.text NOT NULL,
            name pg_catalog.text NOT NULL, position pg_catalog.int4 NOT NULL,
            shards pg_catalog.int4 NOT NULL, slots pg_catalog.int4, id pg_catalog.text);
        ALTER TABLE greenshard.shard REPLICA IDENTITY FULL""",
    "decision": """
        CREATE TABLE greenshard.decision (gid pg_catalog.text PRIMARY KEY,
            committed pg_catalog.bool NOT NULL, participants pg_catalog.text[] NOT NULL,
            decided pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp())""",
    "barrier": "CREATE TABLE greenshard.barrier ()",
    "forgotten": """
        CREATE TABLE greenshard.forgotten (until pg_catalog.timestamptz);
        ALTER TABLE greenshard.forgotten REPLICA IDENTITY FULL""",
}
#: Everybody who may connect may read which shard it is.
_FOR_ALL = (
    "GRANT USAGE ON SCHEMA greenshard TO PUBLIC",
    "GRANT SELECT ON greenshard.shard TO PUBLIC",
)
#: PostgreSQL asks for UPDATE of who locks a table in a mode that keeps writers out.
_FOR_ROLES = (
    "GRANT SELECT, INSERT, DELETE ON greenshard.decision TO ",
    "GRANT SELECT, UPDATE ON greenshard.barrier TO ",
    "GRANT SELECT, INSERT, UPDATE ON greenshard.forgotten TO ",
)


def made(schema: bool, tables: Mapping[str, Collection[str]]) -> Iterator[str]:
    """What makes of a database's schema greenshard the one there is to be.

    Nothing for what is there: this runs beside applications, and ALTER TABLE would wait for them.

    Args:
        schema: Whether it is there.
        tables: The columns of each table that is there.
    """
    if not schema:
        yield "CREATE SCHEMA greenshard"
    yield from (statements for name, statements in _MADE.items() if name not in tables)
    if "shard" in tables and "id" not in tables["shard"]:
        yield "ALTER TABLE greenshard.shard ADD COLUMN id pg_catalog.text, REPLICA IDENTITY FULL"


def granted(roles: Sequence[str]) -> Iterator[str]:
    """What gives everybody and some roles their rights; the user that runs it if there are none."""
    to = ", ".join(map(quoted, roles)) if roles else "CURRENT_USER"
    yield from _FOR_ALL
    for right in _FOR_ROLES:
        yield right + to
