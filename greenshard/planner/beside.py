"""What a server does beside a statement: triggers, rules, foreign keys, functions of its tables.

A statement's text names none of them. Most are harmless: a sequence's default, CHECK (x > 0), a
trigger that sets ``updated_at``. Which ones are not, `analysis.consequences` tells.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from greenshard.cluster import Cluster, Reference, Sharded, Single

Name = tuple[str, str]
"""A relation: schema and name."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger whose function is not PostgreSQL's own.

    Attributes:
        name: Its name.
        table: Where it was made: of a partition's the partitioned table.
        events: When it is fired: letters as in `code.Code.relations`, and "t" for TRUNCATE.
        each_row: Whether it is fired for each row.
        before: Whether that is before the row is written, so that it may change it.
        columns: Those of UPDATE OF; empty: any.
        clean: Whether its function is known to touch no table.
        steady: Whether, besides, it does the same on every server, whenever it is fired.
        placed: Whether it tells of its server, or of what is there.
        sets: The row's columns that it may change; None: any.
    """

    name: str
    table: Name
    events: str
    each_row: bool = True
    before: bool = False
    columns: frozenset[str] = frozenset()
    clean: bool = False
    steady: bool = False
    placed: bool = False
    sets: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """An event trigger that is fired by DDL, and whose function may write to tables.

    Attributes:
        name: Its name.
        words: The words of its function's text, names of tables among them; None if these do not
            tell what it writes to.
        tags: The commands that fire it, as ``WHEN TAG IN ('DROP TABLE')`` has them; empty: any.
    """

    name: str
    words: frozenset[str] | None
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a table: ON INSERT ("i"), UPDATE ("u") or DELETE ("d")."""

    name: str
    event: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function that may read tables, and is called where no text names it.

    Attributes:
        kind: By what: "default", "generated", "check", "index", "trigger" (its WHEN), "view" (its
            query), "domain", "type": an operator or cast of a column's type, or "operator class":
            that of an index or partition key with the column.
        name: Of the constraint, the index, the trigger; else of the column.
        function: The function's name.
    """

    kind: str
    name: str
    function: str


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key.

    Attributes:
        child, parent: The table that has it, and the one that it references.
        columns, referenced: Their columns.
        on_update, on_delete: As in ``pg_constraint``: "c" CASCADE, "n" SET NULL, "d" SET DEFAULT;
            anything else changes no row.
        set: The columns that ON DELETE sets.
        references: For each of its columns the one that it references.
    """

    name: str
    child: Name
    parent: Name
    columns: frozenset[str]
    referenced: frozenset[str]
    on_update: str = "a"
    on_delete: str = "a"
    set: frozenset[str] = frozenset()
    references: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Beside:
    """What happens beside writes to a relation.

    Attributes:
        keys: The foreign keys that reference it.
        computed: For each generated column the columns that it is computed from.
        clocks: For each CHECK that tells the time the columns that it looks at; one of a domain
            has the name of its column.
    """

    triggers: list[Trigger] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    keys: list[ForeignKey] = field(default_factory=list)
    computed: dict[str, frozenset[str]] = field(default_factory=dict)
    clocks: dict[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inheritance:
    """Which tables inherit from which, partitions too."""

    children: Mapping[Name, tuple[Name, ...]] = field(default_factory=dict)
    parents: Mapping[Name, tuple[Name, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, pairs: Iterable[tuple[Name, Name]]) -> Inheritance:
        """Make it of pairs of a child and a parent."""
        children: defaultdict[Name, list[Name]] = defaultdict(list)
        parents: defaultdict[Name, list[Name]] = defaultdict(list)
        for child, parent in pairs:
            children[parent].append(child)
            parents[child].append(parent)
        return cls(
            {name: tuple(found) for name, found in children.items()},
            {name: tuple(found) for name, found in parents.items()},
        )

    def declared_otherwise(self, name: Name, cluster: Cluster) -> Name | None:
        """A table that inherits from one, or the other way, whose rows are placed otherwise.

        Its rows are among those of the parent: these would be on other shards than they should, or
        on several.
        """
        # Most databases have no inheritance at all, and this is asked for each table of each
        # statement.
        if not self.children:
            return None
        own = _placed(name, cluster)
        for other in (*self.below(name), *self.above(name)):
            found = _placed(other, cluster)
            # One that is not declared is refused by itself, where it is named.
            if None not in (own, found) and own != found:
                return other
        return None

    def below(self, name: Name) -> Iterator[Name]:
        """The tables that inherit from one, at any depth."""
        return _reached(name, self.children)

    def above(self, name: Name) -> Iterator[Name]:
        """The tables that one inherits from, at any depth."""
        return _reached(name, self.parents)


def _placed(name: Name, cluster: Cluster) -> object:
    """What decides where a table's rows are; None if nothing is declared."""
    declared = cluster.table(*name)
    if isinstance(declared, Sharded):
        return declared.column, cluster.placement_of(declared)
    # All reference tables are placed alike: everywhere.
    return declared.on if isinstance(declared, Single) else declared and Reference


def _reached(name: Name, steps: Mapping[Name, tuple[Name, ...]]) -> Iterator[Name]:
    pending, seen = list(steps.get(name, ())), {name}
    while pending:
        found = pending.pop()
        # A table may inherit from two that have a parent in common.
        if found not in seen:
            seen.add(found)
            yield found
            pending.extend(steps.get(found, ()))
