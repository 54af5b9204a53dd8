"""What a database has of a coordinator, and what keeps it from being one. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenshard.cluster import Cluster, Single
from greenshard.coordinating.blueprint import LONGEST_NAME, MARK, Wanted, is_made, wanted
from greenshard.links.coordinator import STAMP, server_of
from greenshard.links.description import Described, Name, unlike_code, unlike_databases
from greenshard.links.put_together import columns_of
from greenshard.sql.nodes import quoted

#: In a transaction. Parameter: the role that is to read.
FACTS = f"""
SET LOCAL search_path = pg_catalog, pg_temp;
SELECT json_build_object(
    'user', current_user, 'database', current_database(),
    'super', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
    'may_make_roles', (
        SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user),
    'may_create', has_database_privilege(current_database(), 'CREATE'),
    'standby', pg_is_in_recovery(),
    'extension', EXISTS (SELECT FROM pg_extension WHERE extname = 'postgres_fdw'),
    'may_use', (SELECT has_foreign_data_wrapper_privilege(oid, 'USAGE')
        FROM pg_foreign_data_wrapper WHERE fdwname = 'postgres_fdw'),
    'available', EXISTS (SELECT FROM pg_available_extensions WHERE name = 'postgres_fdw'),
    'reader', (SELECT json_build_object('super', rolsuper, 'bypass', rolbypassrls,
            'made', coalesce(shobj_description(oid, 'pg_authid') = '{MARK}', false))
        FROM pg_roles WHERE rolname = %(reader)s),
    'servers', (SELECT json_object_agg(srvname, json_build_object(
            'options', (SELECT json_object_agg(option_name, option_value)
                FROM pg_options_to_table(srvoptions)),
            'made', coalesce(obj_description(s.oid, 'pg_foreign_server') = '{MARK}', false)))
        FROM pg_foreign_server AS s WHERE srvname ~ '^greenshard_'),
    'mappings', (SELECT json_agg(json_build_array(srvname, usename,
            (SELECT option_value FROM pg_options_to_table(umoptions) WHERE option_name = 'user')))
        FROM pg_user_mappings WHERE srvname ~ '^greenshard_'),
    'schemas', (SELECT json_object_agg(nspname,
            coalesce(obj_description(oid, 'pg_namespace') = '{MARK}', false)) FROM pg_namespace),
    'foreign', (SELECT json_agg(json_build_array(nspname, relname, srvname))
        FROM pg_foreign_table JOIN pg_foreign_server AS s ON s.oid = ftserver
        JOIN pg_class AS c ON c.oid = ftrelid JOIN pg_namespace AS n ON n.oid = relnamespace
        WHERE obj_description(s.oid, 'pg_foreign_server') = '{MARK}'),
    'parents', (SELECT json_agg(json_build_array(nspname, relname))
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
        WHERE relkind IN ('r', 'p') AND obj_description(c.oid, 'pg_class') = '{MARK}')
)::text
"""


@dataclass(frozen=True, slots=True)
class Condition:
    """What was found on the coordinator.

    Attributes:
        facts: As `FACTS` gives them.
        described: What it says of itself.
    """

    facts: Mapping[str, Any]
    described: Described

    @property
    def servers(self) -> Mapping[str, Mapping[str, Any]]:
        """Its foreign servers that are called as one of ours."""
        return self.facts["servers"] or {}

    @property
    def foreign(self) -> Sequence[tuple[str, str, str]]:
        """The foreign tables that were made here: schema, name and server."""
        return [(schema, name, server) for schema, name, server in self.facts["foreign"] or ()]

    @property
    def parents(self) -> Sequence[Name]:
        """The tables that were made here and are no foreign ones."""
        return [(schema, name) for schema, name in self.facts["parents"] or ()]

    def is_ours(self, name: Name) -> bool:
        """Whether a table was made here."""
        return name in self.parents or name in {each[:2] for each in self.foreign}

    def former(self, cluster: Cluster) -> Sequence[str]:
        """Its foreign servers that were made here, of what are shards no more."""
        now = {server_of(shard) for shard in cluster.names}
        return [name for name, each in self.servers.items() if each["made"] and name not in now]

    def has_stamp(self, shard: str) -> bool:
        """Whether the schema of a shard, and its stamp, are there."""
        return (server_of(shard), STAMP, server_of(shard)) in self.foreign


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of the coordinator that there are to be.

    Attributes:
        wanted: Those.
        left_out: Why others cannot be among them.
    """

    wanted: Sequence[Wanted]
    left_out: Sequence[str]


def declared_tables(cluster: Cluster) -> list[tuple[str | None, str]]:
    """The names of all tables that a cluster declares, as `describe` asks for them."""
    return [*cluster._declared]


def tables_of(cluster: Cluster, shards: Mapping[str, Described]) -> Tables:
    """The tables that there are to be, of what the shards have."""
    found: list[Wanted] = []
    left: list[str] = []
    names = dict.fromkeys(name for one in shards.values() for name in one.relations)
    for name in names:
        declared = cluster.table(*name)
        homes = (declared.on,) if isinstance(declared, Single) else tuple(shards)
        of = {shard: shards[shard].relations.get(name) for shard in homes}
        why = None if declared is None else _left_out(of)
        if why is not None:
            left.append(f"{'.'.join(name)}: {why}")
        elif declared is not None:
            found.append(wanted(name, [one for one in of.values() if one is not None]))
    return Tables(found, left)


def _left_out(of: Mapping[str, Mapping[str, Any] | None]) -> str | None:
    """Why a table cannot be read from one place; None if it can."""
    first: Mapping[str, Any] | None = None
    for shard, one in of.items():
        if one is None:
            return f"shard {shard} does not have it"
        if one["kind"] not in "rpmf":
            return "it is no table"
        if one["odd"] is not None:
            return f"values of {one['odd']} are of a type that may mean something else elsewhere"
        first = first or one
        if columns_of(one) != columns_of(first):
            return f"its columns differ on shard {shard}: greenshard check"
    return None


def obstacles(
    cluster: Cluster, shards: Mapping[str, Described], there: Condition, tables: Tables
) -> Iterator[str]:
    """What is in the way, each with what to do."""
    first = next(iter(shards.values()))
    yield from _forbidden(there.facts)
    yield from unlike_databases(first, there.described)
    yield from _taken(cluster, there, tables)
    yield from _types_missing(first, there, tables)


def _forbidden(facts: Mapping[str, Any]) -> Iterator[str]:
    """What the server, or this user, cannot do."""
    user, database = quoted(facts["user"]), quoted(facts["database"])
    if facts["standby"]:
        yield "the server is a standby: name its primary"
    if facts["reader"] is None and not facts["may_make_roles"]:
        yield f"{facts['user']} may not make the role that is to read: ALTER ROLE {user} CREATEROLE"
    if not facts["may_create"]:
        yield (
            f"{facts['user']} may not create schemas in database {facts['database']}: "
            f"GRANT CREATE ON DATABASE {database} TO {user}"
        )
    if not facts["extension"] and not facts["available"]:
        yield "the server does not have the extension postgres_fdw: install PostgreSQL's contrib"
    elif not facts["extension"] and not facts["super"]:
        yield "the extension postgres_fdw is not there: let a superuser CREATE EXTENSION it"
    elif facts["may_use"] is False:
        yield (
            f"{facts['user']} may not make foreign servers: "
            f"GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO {user}"
        )
    reader = facts["reader"]
    if reader is not None and (reader["super"] or reader["bypass"]):
        yield "the role that is to read is a superuser, or bypasses policies: name another --reader"


def _taken(cluster: Cluster, there: Condition, tables: Tables) -> Iterator[str]:
    """What is called as something that is to be made, and was not made here."""
    for shard in cluster.names:
        server = server_of(shard)
        if len(server.encode()) > LONGEST_NAME:
            yield f"the name of shard {shard} is too long for a server's"
        if server in there.servers and not there.servers[server]["made"]:
            yield f"there is another server {server}: drop it, or take another database"
        if (there.facts["schemas"] or {}).get(server) is False:
            yield f"there is another schema {server}: drop it, or take another database"
    for table in tables.wanted:
        if table.name in there.described.relations and not there.is_ours(table.name):
            yield (
                f"there is a table {'.'.join(table.name)} that was not made by this command: "
                "take a database of its own for the coordinator"
            )


def _types_missing(first: Described, there: Condition, tables: Tables) -> Iterator[str]:
    """The types of users that columns are of, and that are not there as the shards have them."""
    needed = {tuple(each) for table in tables.wanted for each in table.facts["types"] or ()}
    collations = {
        key: what
        for key, what in first.code.items()
        if key[0] == "collation" and _is_used(key, tables)
    }
    for key in [*collations, *sorted(("type", *each) for each in needed)]:
        kind, schema, name = key
        code = first.code.get((kind, schema, name))
        what = None if code is None else code.definition
        full = f"{kind} {schema}.{name}"
        its = there.described.code.get((kind, schema, name))
        if code is None or what is None:
            yield f"the {full} is a table's: columns of such types cannot be read elsewhere"
        elif its is None:
            yield f"the {full} is not there: {_line(kind, schema, name, what)}"
        elif its != code:
            yield f"its {full} is not as the shards' is ({what})"


def _is_used(key: tuple[str, str, str], tables: Tables) -> bool:
    full = f"{key[1]}.{key[2]}"
    return any(column[3] == full for table in tables.wanted for column in table.facts["columns"])


def _line(kind: str, schema: str, name: str, what: str) -> str:
    """What makes a type."""
    full = f"{quoted(schema)}.{name}"
    if kind == "collation":
        return f"CREATE COLLATION {full}, as the shards have it"
    if what.startswith("enum "):
        return f"CREATE TYPE {full} AS ENUM {what.removeprefix('enum ')}"
    if what.startswith("domain over "):
        return f"CREATE DOMAIN {full} AS {what.removeprefix('domain over ')}"
    if what.startswith("("):
        return f"CREATE TYPE {full} AS {what}"
    if what.startswith("of ") and len(words := what.split()) > 3:
        return f"CREATE EXTENSION {quoted(words[1])} SCHEMA {quoted(schema)} VERSION '{words[2]}'"
    return f"make the type {full}, as the shards have it ({what})"


def notes(first: Described, there: Condition, tables: Tables) -> Iterator[str]:
    """What is worth knowing, though it is not in the way."""
    yield from (f"left out: {why}" for why in tables.left_out)
    for table in tables.wanted:
        if table.facts["security"]:
            yield (
                f"{'.'.join(table.name)} has policies: the coordinator shows the rows that its "
                "user of the shards may see"
            )
    yield from (
        f"the coordinator: {what}" for what in unlike_code(first, there.described, ("public",))
    )


def faults(cluster: Cluster, there: Condition, tables: Tables) -> Iterator[tuple[Name | None, str]]:
    """What is not as it is to be, after it was made: the table, and what is wrong."""
    for shard in cluster.names:
        if server_of(shard) not in there.servers or not there.has_stamp(shard):
            yield None, f"the coordinator has no server for shard {shard}: greenshard coordinator"
    for shard in there.former(cluster):
        yield None, f"the coordinator reads {shard}, which is no shard: greenshard coordinator"
    for table in tables.wanted:
        its = there.described.relations.get(table.name)
        if its is None:
            yield table.name, "is not on the coordinator: greenshard coordinator"
        elif not is_made(cluster, table, its):
            yield table.name, "is not on the coordinator as it is to be: greenshard coordinator"
    names = {table.name for table in tables.wanted}
    for name in there.parents:
        if name not in names:
            yield name, "is on the coordinator, and not declared: greenshard coordinator"


def read_facts(found: str) -> Mapping[str, Any]:
    """What `FACTS` has given."""
    facts: Mapping[str, Any] = json.loads(found)
    return facts
