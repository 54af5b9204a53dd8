"""Whether the first shard's sequences are beyond the numbers that are there.

All numbers of a cluster are counted on its first shard. Rows that were loaded otherwise, or were
numbered by each shard, may have larger ones, which would come a second time. And who inserts rows
must be allowed to count them: of an identity column, too, which one PostgreSQL does by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from greenshard import errors
from greenshard.checking.findings import Finding
from greenshard.checking.probe import SHARD, is_about_the_table, reason, transaction
from greenshard.checking.tables import label, sql_of
from greenshard.cluster import Cluster, Single, TableName
from greenshard.connection import Connection
from greenshard.planner.catalog import Catalog, Column, Relation
from greenshard.planner.strategies.completing import is_counted
from greenshard.sql.nodes import quoted

# A number as the sequence gives it, and not what is computed of one.
_NEXTVAL = re.compile(
    r"\(?nextval\('((?:[^']|'')+)'::regclass\)\)?(?:::(?:small|big)?int(?:eger)?)?"
)

#: What the role may do with a sequence, and whether it inserts what that counts.
_RIGHTS = """
SELECT has_sequence_privilege(%(sequence)s, 'SELECT'),
    has_sequence_privilege(%(sequence)s, 'USAGE, UPDATE'),
    has_any_column_privilege(%(table)s, 'INSERT')
"""
#: For who may use a sequence, but not read it: NULL as long as it has given no number.
_LAST = """
SELECT CASE WHEN has_sequence_privilege(c.oid, 'USAGE')
    THEN pg_sequence_last_value(c.oid) END
FROM pg_class AS c WHERE c.oid = (%(sequence)s)::regclass
"""


def sequences_behind(
    conn: Connection, cluster: Cluster, catalogs: Mapping[str, Catalog]
) -> Iterator[Finding]:
    """What sequences of the first shard would give a second time, or not give to this role.

    Args:
        conn: A connection to all shards.
        cluster: What is declared.
        catalogs: Each shard's.

    Raises:
        errors.OperationalError: A shard cannot be asked any more.

    Switches: yes.
    Cost: the largest number of each such column is read on all shards.
    """
    for where in dict.fromkeys((cluster.names[0], *cluster.homes)):
        catalog = catalogs.get(where)
        for relation in catalog.relations.values() if catalog else ():
            there = _rows_of(relation, cluster, catalogs, where)
            name = TableName(relation.schema, relation.name)
            for column in filter(is_counted, relation.columns if there else ()):
                yield from _told(conn, name, column, where, there)


def _rows_of(
    relation: Relation, cluster: Cluster, catalogs: Mapping[str, Catalog], where: str
) -> list[str]:
    """The shards that have rows of a table whose numbers one shard counts; none if it does not."""
    declared = cluster.table(relation.schema, relation.name)
    if isinstance(declared, Single):
        return [where] if declared.on == where else []
    if declared is None or where != cluster.names[0]:
        return []
    return [s for s, c in catalogs.items() if (relation.schema, relation.name) in c.relations]


def _told(
    conn: Connection, name: TableName, column: Column, where: str, there: list[str]
) -> Iterator[Finding]:
    """What `_behind` finds, or why nothing can be found."""
    try:
        yield from _behind(conn, name, column, where, there)
    except errors.DatabaseError as error:
        if not is_about_the_table(error):
            raise
        yield Finding("unchecked", f"{column.name}: {reason(error)}", label(name))


def _behind(
    conn: Connection, name: TableName, column: Column, first: str, shards: list[str]
) -> Iterator[Finding]:
    sequence = _NEXTVAL.fullmatch(column.default or "")
    if sequence is None:
        return
    # As text: the name of a regclass, quoted and with its schema.
    relation = sequence[1].replace("''", "'")
    with transaction(conn, shards) as cursor:
        with conn.on(first).cursor() as counting:
            counting.execute(_RIGHTS, {"sequence": relation, "table": sql_of(name)})
            ((readable, usable, inserts),) = counting.fetchall()
        if inserts and not usable:
            what = f"{column.name} is counted by {relation} on {first}, which this role may not use"
            yield Finding("rights", f"{what}: GRANT USAGE ON SEQUENCE {relation}", label(name))
        cursor.execute(f"SELECT {SHARD}, max({quoted(column.name)})::int8 FROM {sql_of(name)}")
        largest = {shard: number for shard, number in cursor.fetchall() if number is not None}
        if not largest:
            return
        # Afterwards: what is taken meanwhile is not found wrong.
        with conn.on(first).cursor() as counting:
            if readable:
                counting.execute(f"SELECT last_value - (NOT is_called)::int FROM {relation}")
            else:
                counting.execute(_LAST, {"sequence": relation})
            ((counted,),) = counting.fetchall()
    if counted is None:
        what = f"{column.name}: what {relation} has counted on {first} cannot be read"
        yield Finding("unchecked", f"{what}: GRANT SELECT ON SEQUENCE {relation}", label(name))
        return
    beyond = {shard: number for shard, number in largest.items() if number > counted}
    if beyond:
        shard = max(beyond, key=beyond.__getitem__)
        yield Finding(
            "sequences",
            f"{column.name} is counted on {first}, which has come to {counted}, and {shard} has "
            f"{beyond[shard]}: on {first}, SELECT setval('{sequence[1]}', {beyond[shard]})",
            label(name),
            tuple(beyond),
        )
