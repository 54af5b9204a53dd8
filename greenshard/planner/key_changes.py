"""Goal: refuse DDL after which rows would not be where their keys say.

    ALTER TABLE orders ALTER o_orderkey TYPE text        the hash of each key would be another one
    ALTER TABLE orders RENAME o_orderkey TO id           the shard key would not be there
    ALTER TABLE orders RENAME o_custkey TO o_orderkey    another column would be taken for it
    ALTER TABLE orders DROP o_orderkey                   likewise
    ALTER TYPE line DROP ATTRIBUTE o_orderkey CASCADE    likewise, of tables of that type
    ALTER TABLE found RENAME TO orders                   its rows would be taken to be placed so
    ALTER TABLE orders ATTACH PARTITION found FOR ...    likewise
    ALTER TABLE orders ALTER o_orderkey TYPE bigint      goes on, from int: it has the same hash

1. The table is looked up as PostgreSQL does; what is not declared is left alone.
2. Each action of ALTER TABLE is looked at, and what a name would be declared as afterwards.
3. Which tables are of a composite type (CREATE TABLE ... OF) the catalog does not tell. So an
   attribute that is called as any declared shard key is not changed with CASCADE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from greenshard.cluster import Cluster, Function, Hash, List, Range, Sharded, Unknown
from greenshard.planner.binding.binder import Binder
from greenshard.planner.binding.query import Query
from greenshard.planner.calls import Functions
from greenshard.planner.catalog import TEMPORARY, Catalog, Relation
from greenshard.planner.ddl_values import filled_by
from greenshard.planner.problem import Problem
from greenshard.sql.nodes import add_target
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import Message
from greenshard.sql.tree import enum_name, own_type, unwrap
from greenshard.sql.types import FAMILIES

CODE = "GS416"

_ANEW = "Make a table with another name and declare it, insert the rows there, then drop this one."
_ALL = "Do it on all shards at once, without conn.on(...)."
_FILL = (
    "Add the column without it (of a domain that has it: DEFAULT NULL), fill it by UPDATE with "
    "values that you give, then SET DEFAULT."
)
_UNDECLARED = (
    "Where the rows are as they will be declared, do it over a connection without the "
    "declaration, greenshard.connect({...}), and change the declaration; `greenshard check` "
    "compares."
)
_TYPED = (
    "Where no table is of the type, leave CASCADE out. Else make a table of another type, with "
    "another name, declare it, insert the rows there, then drop this one."
)
_DECLARE = "Declare both in the same way, or insert the rows into the declared table."
#: Placements to which equal integers of any type are the same.
_BY_VALUE = (Function, Hash, List, Range, Unknown)


def key_change(
    node: Any, cluster: Cluster, catalog: Catalog, path: Sequence[str], *, everywhere: bool
) -> Problem | None:
    """What is wrong with a utility statement; None if it leaves keys and declarations alone.

    Args:
        node: The statement's `Node`.
        cluster: What is declared.
        catalog: The tables that there are.
        path: ``current_schemas(true)``.
        everywhere: Whether it runs on all shards.
    """
    kind, inner = unwrap(node)
    find = _FINDERS.get(kind)
    if find is None:
        return None
    return next(find(_Changes(cluster, catalog, path, everywhere), inner), None)


@dataclass(frozen=True)
class _Changes:
    """Finds what a statement changes."""

    cluster: Cluster
    catalog: Catalog
    path: Sequence[str]
    everywhere: bool

    def _relation(self, node: Any) -> Relation | None:
        return self.catalog.relation(node.schemaname or None, node.relname, self.path)

    def _sharded(self, relation: Relation) -> Sharded | None:
        declared = self.cluster.table(relation.schema, relation.name)
        return declared if isinstance(declared, Sharded) else None

    # ALTER TABLE ----------------------------------------------------------------------------

    def altered(self, node: Any) -> Iterator[Problem]:
        if enum_name(node, "objtype") == "OBJECT_TYPE":
            for each in node.cmds:
                command = each.alter_table_cmd
                # ADD ATTRIBUTE has its name in the definition.
                name = command.name or getattr(command, "def").column_def.colname
                yield from self._of_attribute(node.relation, name, command)
            return
        relation = self._relation(node.relation)
        if relation is None:
            return
        for each in node.cmds:
            command = each.alter_table_cmd
            action = enum_name(command, "subtype")
            if action in ("AT_AttachPartition", "AT_AddInherit"):
                yield from self._joined(relation, command, action, node.relation.location)
            for below in self._with_heirs(relation):
                yield from self._filled(below, command, node.relation.location)
                sharded = self._sharded(below)
                if sharded is not None:
                    yield from self._of_column(below, sharded, command, node.relation.location)

    def _of_attribute(self, composite: Any, name: str, change: Any) -> Iterator[Problem]:
        """What tables are of a composite type get with CASCADE; without, PostgreSQL refuses it."""
        if enum_name(change, "behavior") != "DROP_CASCADE":
            return
        for table, declared in self.cluster.tables.items():
            if isinstance(declared, Sharded) and declared.column == name:
                reason = f"an attribute {name} of the type {composite.relname} is changed with "
                reason += f"CASCADE, and {name} is the shard key of {table}"
                yield Problem(reason, composite.location, CODE, _TYPED)

    def _filled(self, relation: Relation, command: Any, at: int) -> Iterator[Problem]:
        """Rows are filled with what each shard chooses for itself."""
        declared = self.cluster.table(relation.schema, relation.name)
        if declared is None:
            return
        functions = Functions(self.catalog, tuple(self.path))

        def bind(value: Message) -> Query:
            select = parse_select("SELECT")
            named = select.from_clause.add().range_var
            named.schemaname, named.relname, named.inh = relation.schema, relation.name, True
            add_target(select, value, "value")
            return Binder(self.cluster, self.catalog, self.path).bind(select)

        chosen = filled_by(command, declared, functions, bind)
        if chosen is not None:
            reason = f"the rows of {relation.name} would be filled with {chosen}, which is another "
            yield Problem(f"{reason}one on each shard", at, "GS412", _FILL)

    def _with_heirs(self, relation: Relation) -> Iterator[Relation]:
        """A relation and those that inherit from it: they have its columns, and change with it."""
        yield relation
        for name in self.catalog.inheritance.below((relation.schema, relation.name)):
            if name in self.catalog.relations:
                yield self.catalog.relations[name]

    def _of_column(
        self, relation: Relation, sharded: Sharded, command: Any, at: int
    ) -> Iterator[Problem]:
        key, action = sharded.column, enum_name(command, "subtype")
        if action == "AT_AddColumn":
            added = getattr(command, "def").column_def
            # IF NOT EXISTS of a column that is there does nothing.
            if added.colname == key and relation.column(key) is None:
                reason = f"a column {key}, the declared shard key, is added to {relation.name}"
                yield Problem(reason, at, CODE, "Create the table with its key.")
        elif command.name != key:
            return
        elif action == "AT_AlterColumnType" and not self._keeps_places(relation, sharded, command):
            reason = f"the type or collation of the shard key {key} of {relation.name} is changed"
            alone = not self.everywhere and replace(self, everywhere=True)
            kept = alone and alone._keeps_places(relation, sharded, command)
            yield Problem(reason, at, CODE, _ALL if kept else _ANEW)
        elif action == "AT_DropColumn":
            reason = f"the shard key {key} of {relation.name} is dropped"
            yield Problem(reason, at, CODE, f"{_ANEW} Or: {_UNDECLARED}")
        elif action == "AT_SetExpression":
            reason = f"the shard key {key} of {relation.name} is computed anew"
            yield Problem(reason, at, CODE, _ANEW)

    def _keeps_places(self, relation: Relation, sharded: Sharded, command: Any) -> bool:
        """Whether a new type of the key leaves each row where it belongs: integer to integer."""
        column, new = relation.column(sharded.column), getattr(command, "def").column_def
        # USING id + 1 gives the rows other keys.
        plain = not new.HasField("raw_default") and not new.HasField("coll_clause")
        if column is None or not plain or not self.everywhere or new.type_name.array_bounds:
            return False
        families = {FAMILIES.get(column.type_name), FAMILIES.get(own_type(new.type_name))}
        return families == {"int"} and isinstance(self.cluster.placement_of(sharded), _BY_VALUE)

    def _joined(self, relation: Relation, command: Any, action: str, at: int) -> Iterator[Problem]:
        """Rows of a table become rows of another one."""
        told = getattr(command, "def")
        named = told.partition_cmd.name if action == "AT_AttachPartition" else told.range_var
        other = self._relation(named)
        if other is None:
            return
        parent, child = (relation, other) if action == "AT_AttachPartition" else (other, relation)
        above = [parent.schema, parent.name]
        parents = [tuple(above), *self.catalog.inheritance.above((parent.schema, parent.name))]
        inside = self.cluster.table(child.schema, child.name)
        for schema, name in parents:
            outside = self.cluster.table(schema, name)
            if outside is not None and outside != inside:
                reason = f"the rows of {child.name} become rows of {name}, which is declared, and "
                reason += "are not declared in the same way"
                yield Problem(reason, at, CODE, _DECLARE)

    # New names ------------------------------------------------------------------------------

    def renamed(self, node: Any) -> Iterator[Problem]:
        kind = enum_name(node, "rename_type")
        if kind == "OBJECT_SCHEMA":
            yield from self._schema_renamed(node.subname, node.newname)
            return
        if kind == "OBJECT_ATTRIBUTE":
            for name in (node.subname, node.newname):
                yield from self._of_attribute(node.relation, name, node)
        relation = self._relation(node.relation) if node.HasField("relation") else None
        if relation is None or kind not in _RENAMED:
            return
        if kind in COLUMN_NAMES:
            yield from self._column_renamed(relation, node)
        else:
            new = (relation.schema, node.newname)
            yield from self._named_anew(relation, new, node.relation.location)

    def _column_renamed(self, relation: Relation, node: Any) -> Iterator[Problem]:
        for below in self._with_heirs(relation):
            sharded = self._sharded(below)
            if sharded is not None and sharded.column in (node.subname, node.newname):
                way = "from" if node.subname == sharded.column else "to"
                reason = (
                    f"a column of {below.name} is renamed {way} {sharded.column}, its shard key"
                )
                yield Problem(reason, node.relation.location, CODE, _UNDECLARED)

    def moved(self, node: Any) -> Iterator[Problem]:
        relation = self._relation(node.relation) if node.HasField("relation") else None
        if relation is not None:
            new = (node.newschema, relation.name)
            yield from self._named_anew(relation, new, node.relation.location)

    def _schema_renamed(self, old: str, new: str) -> Iterator[Problem]:
        for (schema, name), relation in self.catalog.relations.items():
            if schema == old:
                yield from self._named_anew(relation, (new, name), None)

    def _named_anew(
        self, relation: Relation, new: tuple[str, str], at: int | None
    ) -> Iterator[Problem]:
        """A name under which a table is declared otherwise than under the old one, or not."""
        # Of views and sequences no rows are placed.
        if relation.kind not in "rpfm":
            return
        if relation.schema == TEMPORARY:
            reason = f"temporary table {relation.name}, which is known by its name, is renamed"
            yield Problem(reason, at, CODE, "Make one of the other name, and insert its rows.")
            return
        before = self.cluster.table(relation.schema, relation.name)
        after = self.cluster.table(*new)
        if before != after:
            declared = relation.name if before is not None else new[1]
            reason = f"{relation.qualified} becomes {'.'.join(new)}, and {declared} is "
            reason += "declared otherwise than the other name" if after and before else "declared"
            yield Problem(reason, at, CODE, _UNDECLARED)


#: What ALTER ... RENAME calls a column. ALTER TYPE t RENAME ATTRIBUTE renames that of a table, too.
COLUMN_NAMES = frozenset({"OBJECT_COLUMN", "OBJECT_ATTRIBUTE"})
#: ALTER INDEX t RENAME renames a table, too.
_RENAMED = COLUMN_NAMES | {"OBJECT_TABLE", "OBJECT_FOREIGN_TABLE", "OBJECT_MATVIEW", "OBJECT_INDEX"}
_FINDERS: dict[str, Callable[[_Changes, Any], Iterator[Problem]]] = {
    "alter_table_stmt": _Changes.altered,
    "rename_stmt": _Changes.renamed,
    "alter_object_schema_stmt": _Changes.moved,
}
