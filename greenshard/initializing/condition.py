"""What a database has of the schema greenshard, and what keeps it from being a shard. Pure.

Whoever may create schemas may have made it first; who must own it, `links.owners` tells. Others are
refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenshard.initializing.schema import TABLES
from greenshard.links.owners import TRUSTED

#: Runs with pg_catalog for a search path. Parameters: the sharded tables, as JSON; names; roles.
FACTS = f"""
SELECT current_setting('greenshard.shard'), json_build_object(
    'user', current_user,
    'standby', pg_is_in_recovery(),
    'prepared', current_setting('max_prepared_transactions')::int,
    'connections', current_setting('max_connections')::int,
    'database', current_database(),
    'may_create', has_database_privilege(current_database(), 'CREATE'),
    'unknown', (SELECT json_agg(r) FROM unnest(%(roles)s::text[]) AS r
        WHERE r NOT IN (SELECT rolname FROM pg_roles)),
    'schema', (SELECT json_build_object('owner', pg_get_userbyid(nspowner),
            'ours', pg_has_role(nspowner, 'USAGE'),
            'trusted', {TRUSTED.format(owner="nspowner")})
        FROM pg_namespace WHERE nspname = 'greenshard'),
    'tables', (SELECT json_object_agg(relname, json_build_object(
            'owner', pg_get_userbyid(relowner),
            'ours', pg_has_role(relowner, 'USAGE'),
            'trusted', {TRUSTED.format(owner="relowner")},
            'plain', relkind = 'r' AND relpersistence = 'p' AND NOT relrowsecurity,
            'columns', (SELECT json_object_agg(attname, format_type(atttypid, atttypmod))
                FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
            'added', (SELECT json_agg(what ORDER BY what) FROM (
                SELECT 'the trigger ' || tgname FROM pg_trigger
                WHERE tgrelid = c.oid AND NOT tgisinternal
                UNION ALL SELECT 'the rule ' || rulename FROM pg_rewrite WHERE ev_class = c.oid
                UNION ALL SELECT 'the constraint ' || conname FROM pg_constraint
                WHERE conrelid = c.oid AND contype <> 'n'
                    AND NOT (contype = 'p' AND relname = 'decision')
                UNION ALL SELECT 'the default of ' || attname FROM pg_attrdef
                JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
                WHERE adrelid = c.oid AND NOT (relname = 'decision' AND attname = 'decided')
                UNION ALL SELECT 'the table ' || inhrelid::regclass || ' that inherits from it'
                FROM pg_inherits WHERE inhparent = c.oid) AS added(what))))
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
        WHERE nspname = 'greenshard' AND relname = ANY (%(names)s::text[])))::text
"""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps a shard from being initialised, or commits over several shards from working.

    Attributes:
        shard: The shard.
        message: What is there, and what is wrong about it.
        hint: What to do.
        of_setting: Whether it is a setting of the server only: the rest can be done.
        of_rights: Whether it is in the way of this user only.
        planted: Whether somebody else has made what is there, or made it otherwise.
    """

    shard: str
    message: str
    hint: str
    of_setting: bool = False
    of_rights: bool = False
    planted: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """What was found on a shard.

    Attributes:
        shard: Its name.
        facts: As `FACTS` gives them.
    """

    shard: str
    facts: Mapping[str, Any]

    @property
    def has_schema(self) -> bool:
        """Whether there is a schema greenshard."""
        return self.facts["schema"] is not None

    @property
    def tables(self) -> Mapping[str, Sequence[str]]:
        """The columns of each of our tables that is there."""
        tables = self.facts["tables"] or {}
        return {name: tuple(table["columns"] or ()) for name, table in tables.items()}

    def obstacles(self, several: bool) -> Iterator[Obstacle]:
        """What is in the way; first what must not be touched.

        Args:
            several: Whether the cluster has several shards.
        """
        yield from self._planted()
        yield from self._forbidden()
        for role in self.facts["unknown"] or ():
            yield Obstacle(self.shard, f"there is no role {role}", "CREATE ROLE first.")
        if several and not self.facts["prepared"]:
            yield Obstacle(
                self.shard,
                "max_prepared_transactions is 0, so that no transaction can be prepared",
                f"Add `max_prepared_transactions = {self.facts['connections']}` (at least "
                "max_connections) to postgresql.conf, and restart the server.",
                of_setting=True,
            )

    def _planted(self) -> Iterator[Obstacle]:
        """What somebody else has made, or made otherwise."""
        found = {"the schema greenshard": self.facts["schema"]} if self.has_schema else {}
        tables = self.facts["tables"] or {}
        for name in tables:
            found[f"the table greenshard.{name}"] = tables[name]
        for what, owned in found.items():
            if not owned["trusted"]:
                yield Obstacle(
                    self.shard,
                    f"{what} belongs to {owned['owner']}, who is neither a superuser nor the "
                    "owner of the database",
                    "What is in it may run with the rights of whoever commits. Look at it, then "
                    "DROP SCHEMA greenshard CASCADE; or ALTER ... OWNER TO, if it is right.",
                    planted=True,
                )
        for name, table in tables.items():
            for what in _differences(name, table):
                yield Obstacle(
                    self.shard,
                    f"the table greenshard.{name} is not as it was made: {what}",
                    f"Undo that, or DROP TABLE greenshard.{name} CASCADE, if nothing is in doubt.",
                    planted=True,
                )

    def _forbidden(self) -> Iterator[Obstacle]:
        """What this server, or this user, cannot do."""
        user, database, schema = (self.facts[name] for name in ("user", "database", "schema"))
        if self.facts["standby"]:
            yield Obstacle(self.shard, "the server is a standby", "Declare the primary.")
        if schema is None and not self.facts["may_create"]:
            yield Obstacle(
                self.shard,
                f"{user} may not create a schema in database {database}",
                f"Let the owner of the database do it, with --role {user}; or GRANT CREATE ON "
                f"DATABASE {database} TO {user}.",
                of_rights=True,
            )
        for owned in (schema, *(self.facts["tables"] or {}).values()):
            if owned is not None and owned["trusted"] and not owned["ours"]:
                yield Obstacle(
                    self.shard,
                    f"the schema greenshard belongs to {owned['owner']}, and {user} may not "
                    "change it",
                    f"Let {owned['owner']} do it, or a superuser, with --role {user}.",
                    of_rights=True,
                )
                return


def _differences(name: str, table: Mapping[str, Any]) -> Iterator[str]:
    if not table["plain"]:
        yield "it is no plain table without policies"
    columns, wanted = dict(table["columns"] or {}), dict(TABLES[name])
    if name == "shard":
        # Not there before ids were given.
        columns.setdefault("id", wanted["id"])
    for column in columns.keys() | wanted.keys():
        if columns.get(column) != wanted.get(column):
            yield f"column {column} is {columns.get(column, 'not there')}"
    yield from (f"it has {what}" for what in table["added"] or ())
