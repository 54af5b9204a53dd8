"""The declaration of a cluster: shards, tables, placement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from greenshard.cluster.declared_functions import DeclaredFunction, read_functions
from greenshard.cluster.mistakes import Mistakes, kind, place, shown
from greenshard.cluster.names import BadName, TableName, column_name
from greenshard.cluster.placement import Placement, unknown_shards
from greenshard.cluster.slots import Hash
from greenshard.cluster.toml import DeclaredTable, read_document, read_file
from greenshard.secret import hidden_shards

#: What messages and `cursor.timings` call it.
COORDINATOR = "coordinator"
_ONLY_PRIMARY = "a shard has a primary only"


@dataclass(frozen=True)
class Shard:
    """One PostgreSQL database that holds a part of the rows.

    Attributes:
        name: Its name.
        primary: The connection string of its primary server.
    """

    name: str
    # Never shown: they may hold passwords.
    primary: str = field(repr=False)

    def __post_init__(self) -> None:
        # Wrapped as soon as it is here: a repr or a traceback of anything that holds it shows
        # nothing.
        object.__setattr__(self, "primary", hidden_shards(self.primary))


@dataclass(frozen=True)
class Sharded:
    """A table whose rows are split over the shards.

    Attributes:
        shard_key: The column that decides a row's shard, as it is written in SQL.
        placement: None for the cluster's.
        triggers: The names of triggers that are harmless though they touch other rows: those have
            the same shard key.
    """

    shard_key: str
    placement: Placement | None = None
    triggers: tuple[str, ...] = ()

    @property
    def column(self) -> str:
        """The shard key's name in the catalog: folded, without quotes."""
        return column_name(self.shard_key)


@dataclass(frozen=True)
class Reference:
    """A table of which every shard holds all rows.

    Attributes:
        triggers: The names of triggers that do the same on each shard.
    """

    triggers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Single:
    """A table that one shard has, and no other.

    Attributes:
        on: The name of that shard.
        triggers: The names of triggers that are harmless though they touch other rows: those are of
            tables that the same shard alone has.
    """

    on: str
    triggers: tuple[str, ...] = ()


Table = Sharded | Reference | Single


@dataclass(frozen=True, init=False, eq=False)
class Cluster:
    """What is where: the shards, and how each table's rows lie on them.

    Args:
        shards: By name, in shard order: a connection string, a `Shard`, or
            ``{"primary": ...}``.
        tables: `Sharded`, `Reference` or `Single` by name, written as in SQL: "orders",
            "sales.orders", '"Orders"'. A name without a schema stands for such a table in any
            schema.
        placement: Of every sharded table that has none of its own.
        functions: What functions of yours read, by name, or by name and types of arguments, as in
            ``DROP FUNCTION``: ``{"reads": "nothing"}`` for one whose value depends on its arguments
            only, ``{"reads": "shard"}`` for one that reads rows of its row's shard only.
        two_phase: Whether a transaction that writes on several shards is committed on all of them
            or on none, whatever fails; see `greenshard.connect`. None: yes, if there are tables.
        coordinator: The connection string of the PostgreSQL that ``greenshard coordinator`` has
            made to read all shards, as the role that reads there. It runs what would pass
            ``gather_limit``; None: nothing does.

    Attributes:
        shards: Each `Shard` by its name.
        tables: `Sharded`, `Reference` or `Single` by the table's name.
        placement: The placement of sharded tables that have none of their own.
        functions: What is declared of functions.
        two_phase: Whether transactions are committed in two phases, if a connection does not say.
        coordinator: The connection string of the coordinator; None if there is none.
        homes: The shards that have a table alone, in shard order.

    Raises:
        greenshard.ProgrammingError: Mistakes; the message has all of them, each with its place.

    >>> cluster = Cluster({"s0": "dbname=a", "s1": "dbname=b"}, {"orders": Sharded("id")})
    >>> cluster.names, cluster.table("public", "orders")
    (('s0', 's1'), Sharded(shard_key='id', placement=None, triggers=()))
    """

    shards: Mapping[str, Shard]
    tables: Mapping[str, Table]
    placement: Placement
    functions: tuple[DeclaredFunction, ...]
    two_phase: bool
    coordinator: str | None = field(repr=False)
    homes: tuple[str, ...]
    _declared: Mapping[tuple[str | None, str], Table] = field(repr=False)

    def __init__(
        self,
        shards: Mapping[str, Any],
        tables: Mapping[str, Table] | None = None,
        placement: Placement | None = None,
        functions: Mapping[str, Mapping[str, str]] | None = None,
        two_phase: bool | None = None,
        coordinator: str | None = None,
    ) -> None:
        mistakes, shards = Mistakes(), hidden_shards(shards)
        coordinator = None if coordinator is None else hidden_shards(coordinator)
        tables, functions = {} if tables is None else tables, {} if functions is None else functions
        self._declare(shards, tables, placement, functions, two_phase, coordinator, mistakes)
        mistakes.raise_any()

    @classmethod
    def from_toml(cls, path: str | PathLike[str]) -> Cluster:
        """Read a cluster from a TOML file.

        Raises:
            greenshard.ProgrammingError: The file cannot be read (GS106), or has mistakes (GS105).
        """
        mistakes = Mistakes(str(path))
        document = read_document(read_file(path), mistakes)
        tables = {name: _of_document(table) for name, table in document.tables.items()}
        cluster = cls.__new__(cls)
        cluster._declare(
            document.shards,
            tables,
            document.placement,
            document.functions,
            document.two_phase,
            document.coordinator,
            mistakes,
        )
        mistakes.raise_any()
        return cluster

    def _declare(
        self,
        shards: Any,
        tables: Any,
        placement: Placement | None,
        functions: Any,
        two_phase: Any,
        coordinator: Any,
        mistakes: Mistakes,
    ) -> None:
        if two_phase is not None and not isinstance(two_phase, bool):
            mistakes.add("two_phase", f"must be true or false, not {kind(two_phase)}")
        placement = Hash() if placement is None else placement
        read = read_shards(shards, mistakes)
        named = read_tables(tables, mistakes)
        check_placements(placement, tables, tuple(read), mistakes)
        check_coordinator(coordinator, read, mistakes)
        alone = _homes(named, tuple(read), mistakes)
        declared = {(name.schema, name.name): table for name, table in named.items()}
        for attribute, value in {
            "shards": read,
            "tables": {str(name): table for name, table in named.items()},
            "placement": placement,
            "functions": read_functions(functions, mistakes),
            "two_phase": bool(named) if two_phase is None else two_phase,
            "coordinator": coordinator,
            "homes": alone,
            "_declared": declared,
        }.items():
            object.__setattr__(self, attribute, value)

    @property
    def names(self) -> tuple[str, ...]:
        """The shards' names, in shard order."""
        return tuple(self.shards)

    def table(self, schema: str | None, name: str) -> Table | None:
        """What is declared of a table; None if nothing is.

        Args:
            schema: Its schema; with None, only a declaration without a schema is found.
            name: Its name in the catalog, without quotes.
        """
        # A declaration with a schema goes before one for any schema; a temporary table that hides a
        # declared one is another one.
        found = self._declared.get((schema, name))
        if found is not None or schema == "pg_temp":
            return found
        return self._declared.get((None, name))

    def with_temporary(self, names: Iterable[str]) -> Cluster:
        """The same, with the temporary tables of a session, which are reference tables."""
        made = copy(self)
        temporary = {("pg_temp", name): Reference() for name in names}
        object.__setattr__(made, "_declared", {**self._declared, **temporary})
        return made

    def with_tables(self, tables: Mapping[str, Table]) -> Cluster:
        """The same, with some more tables, whose names have no schema."""
        made = copy(self)
        declared = {(None, name): table for name, table in tables.items()}
        object.__setattr__(made, "tables", {**self.tables, **tables})
        object.__setattr__(made, "_declared", {**self._declared, **declared})
        return made

    def placement_of(self, sharded: Sharded) -> Placement:
        """A sharded table's placement: its own, or the cluster's."""
        return self.placement if sharded.placement is None else sharded.placement


def read_shards(given: Any, mistakes: Mistakes) -> dict[str, Shard]:
    """The shards of a declaration, as far as they can be read."""
    if not isinstance(given, Mapping):
        mistakes.add("shards", f"must be a mapping of names, not {kind(given)}")
        return {}
    if not given:
        mistakes.add("shards", "there are none")
    shards = {name: _shard(name, shard, mistakes) for name, shard in given.items()}
    by_dsn: dict[str, str] = {}
    for name, shard in shards.items():
        # The same text; two texts of one database are found when they are connected to
        # (`identity`).
        first = by_dsn.setdefault(shard.primary, name)
        if shard.primary and first != name:
            mistakes.add(place("shards", name), f"is the same database as shard {first}")
    return shards


def _shard(name: Any, given: Any, mistakes: Mistakes) -> Shard:
    at = place("shards", name)
    if not isinstance(name, str) or not name:
        mistakes.add("shards", f"a shard's name must be text, not {shown(name)}")
    if isinstance(given, Shard) and given.name != name:
        mistakes.add(at, f"has the name {given.name} of its own")
    primary: Any
    if isinstance(given, Shard):
        primary = given.primary
    elif isinstance(given, Mapping):
        for key in given.keys() - {"primary"}:
            what = "are not read from yet: leave them out" if key == "replicas" else _ONLY_PRIMARY
            mistakes.add(place("shards", name, key), what)
        primary = given.get("primary")
        at = place("shards", name, "primary")
    else:
        primary = given
    if not _is_dsn(primary):
        mistakes.add(at, f"must be a connection string, not {_shape(primary)}")
        primary = ""
    return Shard(name, primary)


def _is_dsn(given: object) -> bool:
    return isinstance(given, str) and bool(given.strip())


def _shape(given: object) -> str:
    return "empty" if isinstance(given, str) else kind(given)


def read_tables(given: Any, mistakes: Mistakes) -> dict[TableName, Table]:
    """The tables of a declaration, as far as they can be read."""
    if not isinstance(given, Mapping):
        mistakes.add("tables", f"must be a mapping of names, not {kind(given)}")
        return {}
    tables: dict[TableName, Table] = {}
    for text, table in given.items():
        at = place("tables", text)
        if isinstance(table, Sharded):
            _check_shard_key(at, table, mistakes)
        elif not isinstance(table, (Reference, Single)):
            what = "must be Sharded(...), Reference() or Single(...)"
            mistakes.add(at, f"{what}, not {kind(table)}")
        if isinstance(table, (Sharded, Reference, Single)):
            _check_triggers(at, table, mistakes)
        try:
            name = TableName.read(str(text))
        except BadName as error:
            mistakes.add(at, str(error))
            continue
        if name in tables:
            mistakes.add(at, f"the table {name} is declared twice")
        tables[name] = table
    return tables


def _of_document(declared: DeclaredTable) -> Table:
    if declared.on is not None:
        return Single(declared.on, declared.triggers)
    if declared.shard_key is None:
        return Reference(declared.triggers)
    return Sharded(declared.shard_key, declared.placement, declared.triggers)


def _homes(
    tables: Mapping[TableName, Table], shards: tuple[str, ...], mistakes: Mistakes
) -> tuple[str, ...]:
    """The shards that have a table alone."""
    named = set()
    for name, table in tables.items():
        if not isinstance(table, Single):
            continue
        at = place("tables", str(name), "on")
        on: object = table.on
        if not isinstance(on, str):
            mistakes.add(at, f"must be the name of a shard, not {kind(on)}")
            continue
        named.add(on)
        for where, what in unknown_shards(at, [on], shards):
            mistakes.add(where, what)
    return tuple(shard for shard in shards if shard in named)


def _check_shard_key(at: str, table: Sharded, mistakes: Mistakes) -> None:
    try:
        if not isinstance(table.shard_key, str):
            raise BadName(f"must be the name of a column, not {kind(table.shard_key)}")
        column_name(table.shard_key)
    except BadName as error:
        mistakes.add(f"{at}.shard_key", str(error))


def _check_triggers(at: str, table: Table, mistakes: Mistakes) -> None:
    given: object = table.triggers
    if not isinstance(given, tuple) or not all(isinstance(each, str) for each in given):
        mistakes.add(f"{at}.triggers", "must be names of triggers")


def check_coordinator(given: Any, shards: Mapping[str, Shard], mistakes: Mistakes) -> None:
    """Note what is wrong with where the coordinator is."""
    if given is None:
        return
    if not _is_dsn(given):
        mistakes.add("coordinator", f"must be a connection string, not {_shape(given)}")
    elif same := [name for name, shard in shards.items() if shard.primary == given]:
        # It has tables of the same names.
        mistakes.add("coordinator", f"is the same database as shard {same[0]}")
    if COORDINATOR in shards:
        mistakes.add(place("shards", COORDINATOR), "is what the coordinator is called")


def check_placements(
    placement: Any, tables: Any, shards: tuple[str, ...], mistakes: Mistakes
) -> None:
    """Note what is wrong with the cluster's placement and the tables' own."""
    placements = {"placement": placement}
    if isinstance(tables, Mapping):
        placements |= {
            place("tables", name, "placement"): table.placement
            for name, table in tables.items()
            if isinstance(table, Sharded) and table.placement is not None
        }
    for at, each in placements.items():
        if not isinstance(each, Placement):
            mistakes.add(at, f"must be a placement, as Hash() is, not {kind(each)}")
            continue
        for where, what in each.mistakes(shards):
            mistakes.add(f"{at}.{where}" if where else at, what)
