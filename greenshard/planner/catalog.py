"""What the planner knows of the databases: relations, functions, the default collation.

A value, loaded from one shard by the executor and shared by the connections to a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from greenshard.cluster import Cluster, Single
from greenshard.planner.beside import Beside, EventTrigger, Inheritance
from greenshard.planner.bodies import Body
from greenshard.planner.code import Code, Function, Operator, code_of
from greenshard.sql.types import is_time, read

#: The schema of temporary tables, whatever its number is in a session.
TEMPORARY = "pg_temp"


def alone(type_: str) -> str:
    """The name of a type, or of its elements', as pg_type has it, without its schema."""
    known = read(type_)
    if known is not None:
        return known.name
    name = type_.removesuffix("[]").rpartition(".")[2].lstrip("_")
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a relation.

    Attributes:
        name: Its name.
        type_name: ``pg_type.typname`` of its type; of a domain, that of the base type.
        type_sql: Its type as a cast needs it, qualified, with the modifier (``format_type``).
        collation: Qualified and quoted name of its collation, None for the database's default
            or if its type has none.
        deterministic: Whether equal strings are equal bytes.
        is_array: Whether values are arrays (domains over arrays too).
        default: What a row gets that is inserted without a value: an expression whose names have
            their schemas; the column's own, or else that of its domain; of an identity column,
            what counts it. None if that is NULL, or the column is generated; empty if it could not
            be read.
        identity: "a" GENERATED ALWAYS AS IDENTITY, "d" BY DEFAULT; empty if it is no such column.
        generated: Whether it is computed from other columns of its row.
    """

    name: str
    type_name: str
    type_sql: str
    collation: str | None = None
    deterministic: bool = True
    is_array: bool = False
    default: str | None = None
    identity: str = ""
    generated: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """A row-level security policy whose condition reads another relation, or may.

    Attributes:
        command: ``pg_policy.polcmd``: "r" SELECT, "a" INSERT, "w" UPDATE, "d" DELETE, "*" all.
        conditions: USING and WITH CHECK, as ``pg_get_expr`` gives them; empty if they could not be
            read, because what they read is locked.
        function: One that it calls, and that may read tables; None: none.
    """

    name: str
    command: str
    conditions: tuple[str, ...]
    function: str | None = None


@dataclass(frozen=True, slots=True)
class Security:
    """What a relation says about the rights to its rows and columns.

    Owners and privileges are asked for when a statement runs: connections with different users
    share a catalog.

    Attributes:
        barrier: Whether a view's conditions are tested before those of the query that reads it.
        column_grants: Whether somebody may read some of the columns only.
        policies: Those that read other relations.
    """

    barrier: bool = False
    column_grants: bool = False
    policies: tuple[Policy, ...] = ()


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view, or anything else that FROM can name.

    Attributes:
        kind: ``pg_class.relkind``: "r" table, "p" partitioned table, "v" view, ...
        primary_key: Its columns' names; empty if there is none.
        definition: The query of a view, also a materialized one, from ``pg_get_viewdef``.
        security: Who may see what.
        runs: When it runs code that may leave something in a session; see `code.Code`.
    """

    schema: str
    name: str
    kind: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    definition: str | None = None
    security: Security = Security()
    runs: str = ""

    @property
    def qualified(self) -> str:
        """Schema and name, for messages, and as `Plan.tables` has them."""
        return f"{self.schema}.{self.name}"

    def column(self, name: str) -> Column | None:
        """The column of that name."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True)
class Catalog:
    """The catalog of one shard, the same on all of them.

    Attributes:
        relations: By schema and name; those of ``pg_catalog`` and ``information_schema`` too, but
            without their columns. No temporary ones.
        functions: By name, in every schema.
        c_collation: Whether the database's default collation sorts by code point.
        server_version: As in 180003.
        operators: Those that are not PostgreSQL's own, by name.
        runs_unseen: Whether casts, domains or the like, which no text needs to name, run code that
            may leave something in a session.
        composites: Types that have fields: for each its fields' types, all as `Column.type_sql` has
            them, without a modifier and the schema pg_catalog. Rows of tables only where a column
            is one.
        outputs: Names of the columns that functions of the user's own give.
        namesakes: Types of the user's own that are called as one of PostgreSQL's: name and schema.
        makes: See `code.Code`.
        encoding: The database's, by ``pg_encoding_to_char``.
        besides: What happens beside writes, by schema and name; only where anything may.
        inheritance: Which tables inherit from which.
        tainted: Types of which a check, a cast or the like may read tables, and functions that take
            or give them: by schema and name the function that may.
        bases: What each domain is over, and each range of the user's own is of, by their names
            alone; PostgreSQL's own as in `Column.type_name`.
        bodies: Functions in SQL, by schema and name, that are not IMMUTABLE.
        declared: The texts of the cluster's declarations of functions that are there.
        events: Event triggers that may write to tables.
        indexes: By schema and name the tables of indexes, if a shard has tables that no other has.
        whole_of: Shards of which it has the tables, too, that they alone have (`Cluster.homes`).
        taking_times: Functions and operators of the user's, by schema and name, that take what may
            be a time, or be one of which a time is a part.
        making_times: Functions that may make a time of what they are given. Of those in SQL their
            queries tell it, too.
        of_installation: Functions that tell of their server's user, version or the like.
        given: By schema and name what domains give a column that has no default of its own; as
            `Column.default`.
    """

    relations: Mapping[tuple[str, str], Relation] = field(default_factory=dict)
    functions: Mapping[str, frozenset[Function]] = field(default_factory=dict)
    c_collation: bool = False
    server_version: int = 0
    operators: Mapping[str, frozenset[Operator]] = field(default_factory=dict)
    runs_unseen: bool = False
    composites: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    outputs: frozenset[str] = frozenset()
    namesakes: tuple[tuple[str, str], ...] = ()
    makes: bool = False
    encoding: str = "UTF8"
    besides: Mapping[tuple[str, str], Beside] = field(default_factory=dict)
    inheritance: Inheritance = field(default_factory=Inheritance)
    tainted: Mapping[tuple[str, str], str] = field(default_factory=dict)
    declared: frozenset[str] = frozenset()
    bases: Mapping[str, str] = field(default_factory=dict)
    bodies: Mapping[tuple[str, str], tuple[Body, ...]] = field(default_factory=dict)
    events: tuple[EventTrigger, ...] = ()
    indexes: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    whole_of: frozenset[str] = frozenset()
    given: Mapping[tuple[str, str], str] = field(default_factory=dict)
    taking_times: frozenset[tuple[str, str]] = frozenset()
    making_times: frozenset[tuple[str, str]] = frozenset()
    of_installation: frozenset[tuple[str, str]] = frozenset()

    def with_tables_of(self, other: Catalog, cluster: Cluster) -> Catalog:
        """The same, with the tables that another shard alone has, and what belongs to them.

        Args:
            other: That shard's.
            cluster: What is declared.
        """

        def is_new(name: tuple[str, str]) -> bool:
            declared = cluster.table(*name)
            own = isinstance(declared, Single) and declared.on in other.whole_of
            return own or name not in self.relations

        new = {name: each for name, each in other.relations.items() if is_new(name)}
        besides = {**self.besides, **{n: b for n, b in other.besides.items() if n in new}}
        for name, beside in other.besides.items():
            # Foreign keys of new tables, on tables that all shards have.
            keys = [key for key in beside.keys if key.child in new]
            if name not in new and keys:
                besides[name] = replace(besides.get(name, Beside()), keys=keys)
        children, parents = other.inheritance.children, other.inheritance.parents
        return replace(
            self,
            relations={**self.relations, **new},
            functions={**other.functions, **self.functions},
            bodies={**other.bodies, **self.bodies},
            operators={**other.operators, **self.operators},
            runs_unseen=self.runs_unseen or other.runs_unseen,
            composites={**other.composites, **self.composites},
            outputs=self.outputs | other.outputs,
            makes=self.makes or other.makes,
            besides=besides,
            inheritance=Inheritance(
                {**children, **self.inheritance.children}, {**parents, **self.inheritance.parents}
            ),
            tainted={**other.tainted, **self.tainted},
            bases={**other.bases, **self.bases},
            given={**other.given, **self.given},
            taking_times=self.taking_times | other.taking_times,
            making_times=self.making_times | other.making_times,
            of_installation=self.of_installation | other.of_installation,
            indexes={**other.indexes, **self.indexes},
            whole_of=self.whole_of | other.whole_of,
        )

    def with_temporary(self, relations: Sequence[Relation]) -> Catalog:
        """The same, with the temporary tables of a session."""
        temporary = {(each.schema, each.name): each for each in relations}
        return replace(self, relations={**self.relations, **temporary})

    @cached_property
    def code(self) -> Code:
        """What a text may run."""
        relations = ((one.name, one.kind, one.schema, one.runs) for one in self.relations.values())
        return code_of(
            self.functions, relations, self.operators, unseen=self.runs_unseen, makes=self.makes
        )

    @cached_property
    def timed(self) -> frozenset[str]:
        """The names, alone, of users' types that have times in them: a row's type, too."""
        parts: dict[str, set[str]] = {}
        for name, base in self.bases.items():
            parts.setdefault(name, set()).add(base)
        for name, fields in self.composites.items():
            parts.setdefault(alone(name), set()).update(fields.values())
        for relation in self.relations.values():
            columns = {column.type_name for column in relation.columns}
            parts.setdefault(relation.name, set()).update(columns)
        found: set[str] = set()
        more = True
        while more:
            more = False
            for name in parts.keys() - found:
                if any(is_time(one) or one in found for one in map(alone, parts[name])):
                    found.add(name)
                    more = True
        return frozenset(found)

    @cached_property
    def has_of_shard(self) -> bool:
        """Whether a function is declared to read rows of its row's shard."""
        return any(each.of_shard for found in self.functions.values() for each in found)

    def relation(self, schema: str | None, name: str, path: Sequence[str]) -> Relation | None:
        """Find what a name in FROM means.

        Args:
            schema: The schema that was written, None if none was.
            name: The name, folded as PostgreSQL does.
            path: ``current_schemas(true)``.
        """
        # `path` has pg_catalog in its place: first, unless search_path names it.
        for where in path if schema is None else (schema,):
            found = self.relations.get((where, name))
            if found is not None:
                return found
        return None

    @cached_property
    def fields(self) -> frozenset[str]:
        """The names of all columns of tables, fields of types, and columns of functions."""
        columns = (column.name for one in self.relations.values() for column in one.columns)
        return self.outputs.union(columns, *self.composites.values())

    def namesakes_on(self, path: Sequence[str]) -> dict[str, str]:
        """The types that stand before PostgreSQL's own of that name, with their schemas.

        Args:
            path: ``current_schemas(true)``.
        """
        # Only a search_path that names pg_catalog after other schemas lets these come first.
        before = list(path[: path.index("pg_catalog")]) if "pg_catalog" in path else []
        found = [(name, schema) for name, schema in self.namesakes if schema in before]
        # In reverse, so that the schema which comes first on the path overwrites the others.
        return dict(sorted(found, key=lambda each: before.index(each[1]), reverse=True))

    def equality_beside(self, path: Sequence[str] | None) -> str | None:
        """A schema whose `=` may be taken for PostgreSQL's own types instead of PostgreSQL's.

        Not where a side is of a user's type: with those PostgreSQL's own are always better matches.

        Args:
            path: ``current_schemas(true)``; None for all schemas there are.
        """
        # Only = is asked about: it is what joins and pins go by.
        found = (one.schema for one in self.operators.get("=", ()) if one.takes_builtin)
        return min((each for each in found if path is None or each in path), default=None)
