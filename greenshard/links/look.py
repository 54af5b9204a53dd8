"""One look at a declared cluster, when its shards are first connected to: is it what it seems?

What differs among the shards, or is not as declared, may make answers wrong without an error:

- encodings and collations: keys are hashed by their bytes, and rows of several shards are merged in
  the servers' order;
- the types of shard keys: the same value need not have the same hash;
- the order of columns: INSERT without their names would write others on some shards;
- shards that were exchanged: each key is then looked for where it is not. Of a few rows on each
  shard one at least must belong there; and a stamp, if there is one, must be the shard's;
- a shard key that is not the one by which the rows were placed: of a few rows of each table on all
  shards nearly all must be where it says. One row that is misplaced is no such thing.

A process looks at each shard once. What cannot be asked is not looked at: `greenshard check`
compares everything.
"""

from __future__ import annotations

import json
import weakref
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from greenshard import errors
from greenshard._driver import Attribute, DriverError, RawConnection
from greenshard.cluster import HASHED_TYPES, Cluster, Hash, Sharded, TableName, Unknown
from greenshard.links.outside import SETTINGS, end_block, read_outside, understood, value
from greenshard.links.physical import Physical
from greenshard.planner.pins import Unplaceable, key_value
from greenshard.sql.nodes import quoted

_server_version = Attribute(RawConnection, "server_version")
#: How many tables are looked into, and how many of their rows. Those that come first may have one
#: key, as the lines of an order: a few more cost nothing.
_TABLES, _ROWS = 32, 8
#: So many rows that are not where they belong, and one of so many, tell of a wrong key. By chance
#: one of two belongs where it is, if there are two shards.
_MISFITS, _SHARE = 2, 4
#: How many looks are kept of one cluster, which may be connected to many databases.
_MOST_LOOKS = 64

_LIMITS = """
SET LOCAL statement_timeout = '2s';
SET LOCAL lock_timeout = '100ms';
SET LOCAL TimeZone = 'UTC';
SET LOCAL bytea_output = hex;
"""
#: The database's row is read through JSON: its columns differ from version to version.
_FACTS = """
SELECT convert_to(json_build_array(
    (SELECT json_build_array(pg_encoding_to_char(encoding), to_jsonb(d)->>'datlocprovider',
        datcollate, datctype, to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale',
        to_jsonb(d)->>'daticurules', {version})
     FROM pg_database AS d WHERE datname = current_database()),
    (SELECT json_agg(json_build_array(n.nspname, c.relname, a.attname,
        format_type(a.atttypid, a.atttypmod), b.typname, l.collname,
        has_schema_privilege(n.oid, 'USAGE') AND has_column_privilege(c.oid, a.attnum, 'SELECT')
            AND NOT row_security_active(c.oid) AND NOT (c.relkind = 'p' AND EXISTS (
                SELECT FROM pg_partition_tree(c.oid) AS p JOIN pg_class AS f ON f.oid = p.relid
                WHERE f.relkind = 'f')),
        c.relkind)
        ORDER BY n.nspname, c.relname)
     FROM json_array_elements(%(tables)s::json) AS j
     JOIN pg_class AS c ON c.relname = j->>1 AND c.relkind IN ('r', 'p')
     JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = coalesce(j->>0, n.nspname)
     JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = j->>2 AND NOT a.attisdropped
     JOIN pg_type AS t ON t.oid = a.atttypid
     JOIN pg_type AS b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
     LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
     WHERE n.nspname !~ '^pg_'),
    (SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
     FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname = 'greenshard' AND c.relname = 'shard' AND c.relkind = 'r'),
    (SELECT json_agg(json_build_array(n.nspname, c.relname, ARRAY(
        SELECT a.attname FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)))
     FROM json_array_elements(%(declared)s::json) AS j
     JOIN pg_class AS c ON c.relname = j->>1 AND c.relkind IN ('r', 'p')
     JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = coalesce(j->>0, n.nspname)
     WHERE n.nspname !~ '^pg_')
)::text, 'UTF8')
"""
#: What `greenshard init` has written there. Stamps of before have no column `id`.
_STAMP = """(SELECT pg_catalog.json_build_array(s.cluster, s.name, s.position, s.shards, s.slots,
        pg_catalog.to_jsonb(s) OPERATOR(pg_catalog.->>) 'id')
    FROM greenshard.shard AS s LIMIT 1)"""
_VERSION = "pg_database_collation_actual_version(oid)"
_FIRST_WITH_VERSION = 150000
_WORDS = (
    "encoding", "collation provider", "collation", "character classification", "locale",
    "locale", "collation rules", "collation version",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stamp:
    """What `greenshard init` has written on a shard: which one of which cluster it is.

    Attributes:
        cluster: The same on all shards of a cluster.
        name: The shard's.
        position: Among the shards, from 0.
        shards: How many there are.
        slots: Of the cluster's placement; None if it has none.
        id: The shard's own, whatever it is declared as; None before it was given one, by an `init`
            that also makes what transactions over several shards need.
    """

    cluster: str
    name: str
    position: int
    shards: int
    slots: int | None
    id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Sample:
    """A few rows of a table on one shard.

    Attributes:
        table: Its schema and name.
        column: Its shard key.
        fits: How many keys belong on the shard.
        misfits: How many belong elsewhere.
        example: One of these, and the shard that it belongs on.
    """

    table: tuple[str, str]
    column: str
    fits: int
    misfits: int
    example: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a look at one shard has found.

    Attributes:
        database: Of each of `_WORDS` what it is.
        keys: The type and collation of each declared shard key, by schema and table.
        samples: A few rows of some tables.
        stamp: None if it has none.
        columns: The names of each declared table's columns, in order.
    """

    database: tuple[str | None, ...]
    keys: Mapping[tuple[str, str], str]
    samples: tuple[Sample, ...]
    stamp: Stamp | None
    columns: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)


class Look:
    """What was found of one cluster's databases; threads may share one."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = weakref.ref(cluster)
        self._found: dict[str, Facts] = {}

    def at(self, physical: Physical) -> None:
        """Look at a shard, unless that was done before, or its connection is in a transaction.

        Switches: the first time. Cost: two round trips.
        """
        cluster = self._cluster()
        if cluster is None or physical.shard in self._found or physical.in_transaction:
            return
        if physical.alive and not physical.idle:
            return  # SQL has begun one: settings of ours would stay in it
        try:
            self._found[physical.shard] = read_outside(physical, partial(_facts, cluster))
        except DriverError:
            # Nothing was asked for yet that this would be the answer to.
            if not physical.alive:
                raise

    def refuse(self) -> None:
        """Refuse a cluster that is not what it seems.

        Raises:
            errors.ProgrammingError: It is not. The next connection looks anew.
        """
        cluster, found = self._cluster(), dict(self._found)
        if cluster is None:
            return
        facts = {name: found[name] for name in cluster.names if name in found}
        stamps = {name: facts[name].stamp for name in facts}
        wrong = (*wrong_stamps(stamps, cluster), *_differences(facts), *_wrong_keys(facts))
        for shard, what in wrong:
            self._found.clear()
            raise errors.ProgrammingError(
                what,
                code="GS110",
                shard=shard,
                hint="Statements over the shards would give wrong answers. `greenshard check` "
                "compares everything; check=False lets it be.",
            )


_looks: weakref.WeakKeyDictionary[Cluster, dict[Hashable, Look]] = weakref.WeakKeyDictionary()


def look_of(cluster: Cluster, databases: Hashable) -> Look:
    """The look at a cluster, the same for all connections that go to the same databases."""
    looks = _looks.setdefault(cluster, {})
    if databases not in looks:
        if len(looks) >= _MOST_LOOKS:
            looks.clear()
        looks[databases] = Look(cluster)
    return looks[databases]


def wrong_stamps(found: Mapping[str, Stamp | None], cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Which shards are stamped as others.

    Args:
        found: The stamps, in shard order.
        cluster: The declaration.

    Yields:
        A shard, and what is wrong about it.
    """
    first: Stamp | None = None
    owners: dict[str, str] = {}
    for shard, stamp in found.items():
        if stamp is None:
            continue
        first = first or stamp
        if stamp.id is not None and (owner := owners.setdefault(stamp.id, shard)) != shard:
            yield shard, f"shard {shard} has the same id as {owner}: is one a copy of the other?"
        ours = stamp_of(cluster, shard, first.cluster)
        if stamp.name != shard:
            yield shard, f"the database of shard {shard} is stamped as shard {stamp.name}"
        elif stamp.cluster != first.cluster:
            yield shard, f"shard {shard} is stamped as one of another cluster than {first.name}"
        elif stamp != ours:
            was = f"number {stamp.position} of {stamp.shards}, with {stamp.slots} slots"
            now = f"number {ours.position} of {ours.shards}, with {ours.slots}"
            yield shard, f"shard {shard} is stamped as {was}, and declared as {now}"


def stamp_of(cluster: Cluster, shard: str, name: str) -> Stamp:
    """The stamp of a shard as it is declared.

    Args:
        cluster: The declaration.
        shard: The shard's name.
        name: The cluster's.
    """
    slots = cluster.placement.slots if isinstance(cluster.placement, Hash) else None
    return Stamp(name, shard, cluster.names.index(shard), len(cluster.names), slots)


def _differences(found: Mapping[str, Facts]) -> Iterator[tuple[str, str]]:
    """What is wrong with which shard."""
    first, ours = next(iter(found.items()), (None, None))
    for shard, facts in found.items():
        if ours is None or first is None:
            return
        for word, one, other in zip(_WORDS, ours.database, facts.database, strict=True):
            if one != other:
                yield shard, f"the {word} of shard {first} is {one}, that of {shard} is {other}"
        for table, one in ours.keys.items():
            if (other := facts.keys.get(table, one)) != one:
                name = ".".join(table)
                yield shard, f"the shard key of {name} is {one} on {first}, and {other} on {shard}"
        for table, columns in ours.columns.items():
            # One that is not everywhere yet, or not any more, moves no other.
            there = facts.columns.get(table, columns)
            both = [name for name in columns if name in set(there)]
            order = [name for name in there if name in set(both)]
            if both != order:
                name = ".".join(table)
                lists = f"{', '.join(both)} on {first}, and {', '.join(order)} on {shard}"
                yield shard, f"the columns of {name} are in another order: {lists}"
        if (strangers := _strangers(shard, facts.samples)) is not None:
            yield shard, strangers


def _facts(cluster: Cluster, physical: Physical) -> Facts:
    sharded = {name: table for name, table in cluster.tables.items() if isinstance(table, Sharded)}
    names = [(TableName.read(name), table) for name, table in sharded.items()]
    tables = json.dumps([[name.schema, name.name, table.column] for name, table in names])
    versioned = _server_version.read(physical.raw) >= _FIRST_WITH_VERSION
    query = _FACTS.replace("{version}", _VERSION if versioned else "NULL")
    every = json.dumps([[name.schema, name.name] for name in map(TableName.read, cluster.tables)])
    given = {"tables": tables, "declared": every}
    found = value(physical, SETTINGS + _LIMITS + query, given)
    with understood(physical.shard):
        database, keys, stamped, columns = json.loads(bytes(found))
        database = tuple(each and each.replace(".utf8", ".UTF-8") for each in database)
        keys = [key for key in keys or () if _is_meant(cluster, *key[:3])]
        types = {(s, n): " ".join(filter(None, (t, c))) for s, n, _, t, _, c, *_ in keys}
    stamp, samples = _looked_into(cluster, physical, database[0], keys, stamped=bool(stamped))
    return Facts(database, types, samples, stamp, _by_table(cluster, columns or ()))


def _by_table(cluster: Cluster, columns: Sequence[Any]) -> dict[tuple[str, str], Sequence[str]]:
    declared = ((s, name, each) for s, name, each in columns if cluster.table(s, name) is not None)
    return {(schema, name): each for schema, name, each in declared}


def _is_meant(cluster: Cluster, schema: str, name: str, column: str) -> bool:
    declared = cluster.table(schema, name)
    return isinstance(declared, Sharded) and declared.column == column


def _looked_into(
    cluster: Cluster, physical: Physical, encoding: str, keys: Sequence[Any], *, stamped: bool
) -> tuple[Stamp | None, tuple[Sample, ...]]:
    """The shard's stamp, and a few rows of its tables."""
    read = [key for key in keys if key[6] and key[4] in HASHED_TYPES][:_TABLES]
    read = [key for key in read if not isinstance(_placement(cluster, key), Unknown)]
    # A table may be locked, or its rows be anything: the stamp is asked for without them then.
    for tables in (read, []) if read else ([],):
        parts = [_STAMP if stamped else "NULL", *map(_reading, tables)]
        if not tables and not stamped:
            continue
        query = f"SELECT convert_to(json_build_array({', '.join(parts)})::text, 'UTF8')"
        try:
            found = value(physical, SETTINGS + _LIMITS + query)
        except DriverError:
            if not physical.alive:
                raise
            end_block(physical)
            continue
        with understood(physical.shard):
            stamp, *texts = json.loads(bytes(found))
            given = None if stamp is None else Stamp(*stamp)
        samples = zip(tables, texts, strict=True)
        shard = physical.shard
        return given, tuple(_sample(cluster, shard, encoding, k, t or ()) for k, t in samples)
    return None, ()


def _reading(key: Sequence[Any]) -> str:
    """What reads a few keys of a table; not of those that inherit from it, which may be foreign."""
    schema, table, column, *_, kind = key
    only = "" if kind == "p" else "ONLY "
    return (
        f"(SELECT json_agg(DISTINCT k) FROM (SELECT {quoted(column)}::text AS k"
        f" FROM {only}{quoted(schema)}.{quoted(table)} LIMIT {_ROWS}) AS rows)"
    )


def _sample(
    cluster: Cluster, shard: str, encoding: str, key: Sequence[Any], texts: Sequence[str | None]
) -> Sample:
    homes = [(text, home) for text in texts if (home := _home(cluster, key, text, encoding))]
    misfits = [(text or "", home) for text, home in homes if home != shard]
    fits, example = len(homes) - len(misfits), next(iter(misfits), None)
    return Sample((key[0], key[1]), key[2], fits, len(misfits), example)


def _strangers(shard: str, samples: Sequence[Sample]) -> str | None:
    """What to say if no row belongs on a shard of those that were read."""
    told = next((sample for sample in samples if sample.example is not None), None)
    if told is None or told.example is None or any(sample.fits for sample in samples):
        return None
    text, home = told.example
    return (
        f"shard {shard} has rows that belong elsewhere, as one of {told.table[1]} "
        f"with {told.column} = {text[:40]!r}, which belongs on {home}, and none was found "
        "that belongs there: were shards exchanged in the declaration?"
    )


def _wrong_keys(found: Mapping[str, Facts]) -> Iterator[tuple[str, str]]:
    """Tables whose rows lie by another key than the declared one."""
    of_table: defaultdict[tuple[str, str], dict[str, Sample]] = defaultdict(dict)
    for shard, facts in found.items():
        for sample in facts.samples:
            of_table[sample.table][shard] = sample
    for table, samples in of_table.items():
        misfits = sum(sample.misfits for sample in samples.values())
        total = misfits + sum(sample.fits for sample in samples.values())
        if misfits < _MISFITS or misfits * _SHARE < total:
            continue
        shard, told = next((s, each) for s, each in samples.items() if each.example)
        text, home = told.example or ("", "")
        what = (
            f"{misfits} of {total} keys of {table[1]} that were looked at are not on the shard "
            f"that {told.column} tells, as {text[:40]!r} on {shard}, which belongs on {home}: were "
            "the rows placed by that column?"
        )
        yield shard, what


def _placement(cluster: Cluster, key: Sequence[Any]) -> Any:
    declared = cluster.table(key[0], key[1])
    assert isinstance(declared, Sharded)  # noqa: S101  # `_is_meant`
    return cluster.placement_of(declared)


def _home(cluster: Cluster, key: Sequence[Any], text: str | None, encoding: str) -> str | None:
    """The shard that a key belongs on; None if it is not known."""
    if text is None:
        return None
    try:
        placement = _placement(cluster, key).in_encoding(encoding)
        home: str | None = placement.shards_for(key_value(text, key[4]), key[4], cluster.names)
    except (Unplaceable, errors.Error):
        return None
    return home
