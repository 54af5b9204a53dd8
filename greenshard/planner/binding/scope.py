"""What the names of columns can mean: the columns that FROM gives, level by level."""

from __future__ import annotations

from dataclasses import dataclass, replace

from greenshard.planner.catalog import Column
from greenshard.sql.parser import Message
from greenshard.sql.tree import names_of
from greenshard.sql.types import FAMILIES

ColumnId = tuple[int, int]
"""A column of a source: the source's number, and the column's place in it."""


@dataclass(frozen=True, slots=True)
class BoundColumn:
    """A column that FROM gives.

    Attributes:
        name: Its name there.
        id: Which one it is.
        column: What the catalog says of it; None for what is computed.
    """

    name: str
    id: ColumnId
    column: Column | None = None

    @property
    def family(self) -> str | None:
        """The type, if equal values of it hash alike; types of one family do so together."""
        column = self.column
        # Equal strings with different bytes have different hashes.
        if column is None or not column.deterministic:
            return None
        return FAMILIES.get(column.type_name)


Columns = tuple[BoundColumn, ...] | None
"""Columns in their order; None if they are not known."""


@dataclass(slots=True)
class Source:
    """What a name in FROM stands for.

    Attributes:
        alias: The name by which columns are qualified.
        columns: None if they are not known.
        schema: With which the alias may be qualified again, if it is a table's own name.
    """

    alias: str
    columns: Columns
    schema: str | None = None


@dataclass(slots=True)
class Level:
    """What the names in an expression can mean.

    Attributes:
        sources: For qualified names.
        columns: For names alone; None if they are not all known.
        parent: The level around it.
    """

    sources: tuple[Source, ...]
    columns: Columns
    parent: Level | None = None

    def resolve(self, node: Message) -> BoundColumn | None:
        """The column that an expression is; None if it is none, or that is not known."""
        if not node.HasField("column_ref"):
            return None
        return self.named(names_of(node.column_ref.fields))

    def resolve_here(self, node: Message) -> BoundColumn | None:
        """Likewise, but not of the levels around."""
        return replace(self, parent=None).resolve(node)

    def owns(self, column: BoundColumn) -> bool:
        """Whether a column is one of this level's, and not of those around."""
        known = [self.columns, *(source.columns for source in self.sources)]
        return any(column.id == own.id for columns in known for own in columns or ())

    def named(self, names: tuple[str, ...] | None) -> BoundColumn | None:
        """The column that a name, qualified or not, means."""
        level: Level | None = self
        while level is not None and names:
            found = level._alone(names[0]) if len(names) == 1 else level._qualified(names)
            if found is not None:
                return found[0]
            level = level.parent
        return None

    def _alone(self, name: str) -> tuple[BoundColumn | None] | None:
        """The column of that name here; None if the level around it is to be asked."""
        # Some item's columns are not known: the name may be one of them, so no outer level may take
        # it.
        if self.columns is None:
            return (None,)
        found = [column for column in self.columns if column.name == name]
        if found:
            return (found[0] if len(found) == 1 else None,)
        # An alias alone may be the whole row.
        return (None,) if any(source.alias == name for source in self.sources) else None

    def _qualified(self, names: tuple[str, ...]) -> tuple[BoundColumn | None] | None:
        *schema, alias, name = names
        for source in self.sources:
            if source.alias == alias and schema in ([], [source.schema]):
                # An alias hides the same one further out, whether or not it has the column.
                return (_only(name, source.columns),)
        return None

    def expand(self, node: Message) -> Columns:
        """The columns of ``*`` or ``t.*``; None if they are not known."""
        if len(node.column_ref.fields) == 1:
            return self.columns
        source = self.source_of(node)
        return source.columns if source is not None else None

    def source_of(self, node: Message) -> Source | None:
        """What `t` is in ``t.*``."""
        *schema, alias = names_of(node.column_ref.fields[:-1]) or ("",)
        level: Level | None = self
        while level is not None:
            for source in level.sources:
                if source.alias == alias and schema in ([], [source.schema]):
                    return source
            level = level.parent
        return None


def _only(name: str, columns: Columns) -> BoundColumn | None:
    found = [column for column in columns or () if column.name == name]
    return found[0] if len(found) == 1 else None
