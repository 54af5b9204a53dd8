"""Goal: run DDL about tables that one shard alone has on that shard, and nowhere else.

    CREATE TABLE jobs (id serial PRIMARY KEY, ...)          jobs = Single("s1"): s1
    CREATE INDEX ON jobs (taken); TRUNCATE jobs             likewise
    CREATE VIEW open_jobs AS SELECT ... FROM jobs           likewise: no other shard could make it
    ALTER TABLE jobs ADD FOREIGN KEY (n) REFERENCES nation  likewise: s1 has all rows of nation

1. A statement's targets are what it makes, changes or drops; other names are only mentioned.
2. Of what is on one shard alone some is declared; its sequences, indexes, partitions, and the views
   over it are found in the catalog.

Refused is what has targets on several shards, or mentions beside its target what cannot be there: a
foreign key to a sharded table would look for its rows on one shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from greenshard.cluster import Reference
from greenshard.planner.analysis.homes import Homes, Reader
from greenshard.planner.analysis.traces import keeps_catalog
from greenshard.planner.calls import Functions
from greenshard.planner.catalog import TEMPORARY
from greenshard.planner.code import SYSTEM_SCHEMAS
from greenshard.planner.plan import Broadcast, Refused, Step
from greenshard.planner.problem import Problem
from greenshard.planner.strategies.at_home import lacking_homes
from greenshard.sql.parser import type_name, walk
from greenshard.sql.text import Sql
from greenshard.sql.tree import enum_name, names_of, unwrap

CODE = "GS416"
_ONE = "Write a statement for each of them."
_FOREIGN = (
    "Let it reference a reference table, or one that is on the same shard; or look for the row in "
    "the application."
)


class _Named(NamedTuple):
    """A name in a statement, and the byte where it stands, if that is known."""

    schema: str | None
    name: str
    at: int | None = None


def plan_ddl_at_home(
    text: str, node: Any, homes: Homes, functions: Functions, path: Sequence[str]
) -> Step | Problem | None:
    """The step of a utility statement about tables that one shard alone has; None of others.

    Args:
        text: The user's.
        node: The statement's `Node`.
        homes: Where tables are.
        functions: What is known of those.
        path: ``current_schemas(true)``.
    """
    kind, inner = unwrap(node)
    find = _TARGETS.get(kind)
    if find is None:
        return None
    finder = _Finder(homes, functions, path)
    targets = [each for each in find(inner) if each.schema != TEMPORARY]
    named = {(each.schema, each.name) for each in targets}
    ranges = (_of_range(m) for m in walk(node) if type_name(m) == "RangeVar")
    mentioned = [
        each
        for each in ranges
        # What is temporary is not what is declared under that name.
        if each.schema != TEMPORARY and (each.schema, each.name) not in named
    ]
    found = [(each, finder.home(each)) for each in (*targets, *mentioned)]
    if (lacking := finder.lacking()) is not None:
        return lacking
    at_home = {home: each for each, home in found if home}
    if not at_home:
        return None
    beside = [each for each, where in found if where == _ELSEWHERE]
    if kind in ("create_stmt", "alter_table_stmt"):
        beside = [each for each in beside if each in targets or not finder.is_reference(each)]
    else:
        beside = [each for each in beside if each in targets]
    return _mixed(at_home, beside, targets) or Broadcast(
        Sql(text),
        answer_of_one=True,
        resets_catalog=not keeps_catalog(node),
        on=next(iter(at_home)),
    )


def _mixed(
    at_home: Mapping[str, _Named], beside: Sequence[_Named], targets: Sequence[_Named]
) -> Problem | None:
    """What is wrong with a statement about tables that are on different shards.

    Args:
        at_home: Homes, each with one of its tables.
        beside: What is there that is on no shard alone.
        targets: What the statement makes, changes or drops.
    """
    (home, own), *others = at_home.items()
    if others:
        other, second = others[0]
        reason = f"{own.name} is on {home} alone, and {second.name} on {other}"
        return Problem(reason, second.at, CODE, _ONE)
    for each in beside:
        if each in targets:
            reason = f"{own.name} is on {home} alone, and {each.name} is not"
            return Problem(reason, each.at, CODE, _ONE if own in targets else _FOREIGN)
        reason = f"{own.name} is on {home} alone, which has not all rows of {each.name}"
        return Problem(reason, each.at, CODE, _FOREIGN)
    return None


#: Where something is that is there, but on no shard alone. No shard has an empty name.
_ELSEWHERE = ""


class _Finder:
    """Finds the homes of names."""

    def __init__(self, homes: Homes, functions: Functions, path: Sequence[str]) -> None:
        self._homes = homes
        self._path = path
        self._functions = functions
        self._reader = Reader(homes, functions, path)

    def lacking(self) -> Refused | None:
        """See `lacking_homes`."""
        return lacking_homes(self._reader.found, self._homes)

    def home(self, named: _Named) -> str | None:
        """Where something is: its home, or `_ELSEWHERE`; None if it is not there yet."""
        catalog, cluster = self._homes.catalog, self._homes.cluster
        schemas = [s for s in self._path if s not in SYSTEM_SCHEMAS]
        schema = named.schema or next(iter(schemas), None)
        relation = catalog.relation(named.schema, named.name, self._path)
        if relation is None:
            for where in schemas if named.schema is None else (named.schema,):
                table = catalog.indexes.get((where, named.name))
                if table is not None:
                    return self.home(_Named(*table))
            home = self._homes.of_name(schema, named.name)
            if home is not None:
                self._reader.found.homes.add(home)
                return home
            self._reader.found.unknown = True
            return None if cluster.table(schema, named.name) is None else _ELSEWHERE
        home = self._homes.of_relation(relation)
        if home is None and relation.kind in ("v", "m"):
            reader = Reader(self._homes, self._functions, self._path)
            reader.touch(relation)
            home = next(iter(sorted(reader.found.homes)), None)
        if home is not None:
            self._reader.found.homes.add(home)
        return _ELSEWHERE if home is None else home

    def is_reference(self, named: _Named) -> bool:
        """Whether it is a reference table."""
        relation = self._homes.catalog.relation(named.schema, named.name, self._path)
        if relation is None:
            return False
        return isinstance(self._homes.cluster.table(relation.schema, relation.name), Reference)


def _of_range(node: Any) -> _Named:
    schema = TEMPORARY if node.relpersistence == "t" else node.schemaname or None
    return _Named(schema, node.relname, node.location)


def _of_names(names: Sequence[str] | None) -> Iterator[_Named]:
    if names:
        yield _Named(names[-2] if len(names) > 1 else None, names[-1])


def _of_relation(inner: Any) -> Iterator[_Named]:
    yield _of_range(inner.relation)


def _of_relations(inner: Any) -> Iterator[_Named]:
    for each in inner.relations:
        yield _of_range(each.range_var)


def _of_table(inner: Any) -> Iterator[_Named]:
    yield _of_range(inner.table)


def _if_there(inner: Any) -> Iterator[_Named]:
    """Of what may be about something else than a relation, too."""
    if inner.HasField("relation"):
        yield _of_range(inner.relation)


def _of_sequence(inner: Any) -> Iterator[_Named]:
    yield _of_range(inner.sequence)
    for option in inner.options:
        if option.def_elem.defname == "owned_by":
            names = names_of(option.def_elem.arg.list.items)
            yield from _of_names(names and names[:-1])


def _of_vacuum(inner: Any) -> Iterator[_Named]:
    for each in inner.rels:
        if each.vacuum_relation.HasField("relation"):
            yield _of_range(each.vacuum_relation.relation)


def _of_grant(inner: Any) -> Iterator[_Named]:
    for each in inner.objects:
        if each.HasField("range_var"):
            yield _of_range(each.range_var)


def _of_drop(inner: Any) -> Iterator[_Named]:
    for each in inner.objects:
        yield from _of_object(enum_name(inner, "remove_type"), each)


def _of_comment(inner: Any) -> Iterator[_Named]:
    yield from _of_object(enum_name(inner, "objtype"), inner.object)


def _of_object(kind: str, node: Any) -> Iterator[_Named]:
    if kind in _RELATIONS or kind in _PARTS:
        names = names_of(node.list.items)
        yield from _of_names(names and (names[:-1] if kind in _PARTS else names))


_RELATIONS = frozenset(
    {
        "OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_INDEX", "OBJECT_SEQUENCE",
        "OBJECT_FOREIGN_TABLE",
    }
)  # fmt: skip
#: What is named by its table and a name of its own.
_PARTS = frozenset(
    {"OBJECT_COLUMN", "OBJECT_TRIGGER", "OBJECT_POLICY", "OBJECT_RULE", "OBJECT_TABCONSTRAINT"}
)
_TARGETS: dict[str, Callable[[Any], Iterator[_Named]]] = {
    "alter_object_schema_stmt": _if_there,
    "alter_policy_stmt": _of_table,
    "alter_seq_stmt": _of_sequence,
    "alter_table_stmt": _of_relation,
    "cluster_stmt": _if_there,
    "comment_stmt": _of_comment,
    "create_policy_stmt": _of_table,
    "create_seq_stmt": _of_sequence,
    "create_stats_stmt": _of_relations,
    "create_stmt": _of_relation,
    "create_trig_stmt": _of_relation,
    "drop_stmt": _of_drop,
    "grant_stmt": _of_grant,
    "index_stmt": _of_relation,
    "lock_stmt": _of_relations,
    "refresh_mat_view_stmt": _of_relation,
    "reindex_stmt": _if_there,
    "rename_stmt": _if_there,
    "rule_stmt": _of_relation,
    "truncate_stmt": _of_relations,
    "vacuum_stmt": _of_vacuum,
    "view_stmt": lambda inner: iter([_of_range(inner.view)]),
}
