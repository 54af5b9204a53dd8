"""Goal: let a statement for named shards put each row where it belongs, or nothing.

    with conn.on("s1"):
        INSERT INTO orders (o_orderkey, ...) VALUES (7, ...)    if s1 is the shard of key 7
        INSERT INTO orders (o_custkey) VALUES (1)               refused: it may belong anywhere
        UPDATE orders SET o_comment = 'late'                    the rows that s1 has stay there
        UPDATE orders SET o_orderkey = 8                        if s1 is the shard of key 8
        UPDATE nation SET n_name = 'x'                          refused: the copies would differ
        ALTER TABLE nation ADD n_code int DEFAULT 5             refused: likewise

1. Each INSERT, UPDATE, DELETE, MERGE, COPY FROM and TRUNCATE in the text is looked at, also those
   in WITH, of EXPLAIN ANALYZE, of PREPARE.
2. What it writes to a sharded table must have its key as a value, which is a pin; rows that come
   from the key of a colocated table are where they belong.
3. What it writes to a reference table must run on all shards.
4. So must DDL that changes a table's columns, or the rows of a reference table.
5. When the parameters are known, the pins' shards are compared with those that were named.

DDL that touches a key is refused as it is over all shards (`key_changes`). What changes no row and
no column, an index or a constraint, each shard may have for itself.

What a function or a trigger writes is not seen, nor what a placement does not tell (`Unknown`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from greenshard.cluster import Cluster, OneShard, Reference, Sharded, Single, Unknown
from greenshard.cluster import Table as Declared
from greenshard.planner.analysis.consequences import Consequences, defaulted
from greenshard.planner.analysis.restriction import Restrictions, home_pin
from greenshard.planner.binding.binder import Binder
from greenshard.planner.binding.query import Table, tables
from greenshard.planner.binding.relations import Relations
from greenshard.planner.binding.scope import BoundColumn
from greenshard.planner.calls import Functions
from greenshard.planner.catalog import TEMPORARY, Catalog, Relation
from greenshard.planner.key_changes import COLUMN_NAMES, key_change
from greenshard.planner.pins import Unplaceable, homes, kept_by
from greenshard.planner.plan import Pin, Refused, Value
from greenshard.planner.strategies.candidate import Unplannable
from greenshard.planner.strategies.completing import counted_targets, is_counted
from greenshard.planner.strategies.insert import GIVE_KEY, key_of_row
from greenshard.planner.strategies.insert_select import is_key_of_colocated
from greenshard.planner.strategies.write import CODE, MOVE
from greenshard.sql.insertion import analyzes
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import type_name, walk
from greenshard.sql.placeholders import Translation
from greenshard.sql.tree import enum_name, names_of, unwrap

EVERYWHERE = "Write to it without conn.on(...): then all shards do the same."
_WITHOUT = "Write without conn.on(...): then the rows go where they belong."
_UNDECLARED = (
    "What must be as it is can be written over a connection without the declaration: "
    "greenshard.connect({...})."
)
_ALIKE = (
    "Do it without conn.on(...): then all shards do the same. Where the shards differ already, "
    "mend one over a connection without the declaration, greenshard.connect({...}); "
    "`greenshard check` compares."
)
_VIEW = "Write to its tables."
#: Actions of ALTER TABLE after which a row has other columns, or a new row other values.
_OF_COLUMNS = frozenset({
    "AT_AddColumn", "AT_DropColumn", "AT_AlterColumnType", "AT_ColumnDefault", "AT_SetExpression",
    "AT_DropExpression", "AT_AddIdentity", "AT_DropIdentity",
})  # fmt: skip
#: Those after which a table has other rows.
_OF_ROWS = frozenset({
    "AT_AttachPartition", "AT_DetachPartition", "AT_DetachPartitionFinalize", "AT_AddInherit",
    "AT_DropInherit",
})  # fmt: skip
_TABLES = frozenset({"OBJECT_TABLE", "OBJECT_FOREIGN_TABLE", "OBJECT_MATVIEW"})
#: Statements that only store what is in them.
_STORING = frozenset({"create_function_stmt", "rule_stmt", "view_stmt"})


@dataclass(frozen=True, slots=True)
class NamedWrites:
    """What a text writes.

    Attributes:
        pins: Keys of rows that are written, each with the name of its table.
        everywhere: Reference tables that are written.
        counted: Columns that a sequence fills, each with the name of its table.
        altered: What would be done to declared tables, and all shards must do, in words.
        refused: Why it may run on no shard; None if it may.
    """

    pins: tuple[tuple[Pin, str], ...] = ()
    everywhere: tuple[str, ...] = ()
    counted: tuple[tuple[str, str], ...] = ()
    altered: tuple[str, ...] = ()
    refused: Refused | None = None

    @property
    def are_any(self) -> bool:
        """Whether anything is written that not every shard may."""
        alike = self.everywhere or self.counted or self.altered
        return bool(self.pins or alike or self.refused)


def objection(
    writes: NamedWrites, named: Sequence[str], shards: tuple[str, ...], given: Any
) -> Refused | None:
    """Why a text may not run on the shards that are named; None if it may.

    Args:
        writes: What it writes.
        named: The shards.
        shards: All, in order.
        given: Its parameters.

    Raises:
        LookupError, TypeError: A parameter is not there.
    """
    if writes.refused is not None:
        return writes.refused
    if writes.counted and tuple(named) != shards[:1]:
        column, table = writes.counted[0]
        where = _listed(named)
        reason = f"{column} of {table} would be counted on {where}, and all count on {shards[0]}"
        return Refused(reason, CODE, _WITHOUT)
    # conn.on() with all shards is as good as no conn.on().
    if (writes.everywhere or writes.altered) and len(named) < len(shards):
        written = [f"reference table {table} is written" for table in writes.everywhere]
        reason = f"{[*writes.altered, *written][0]} on {_listed(named)} alone"
        return Refused(reason, CODE, _ALIKE if writes.altered else EVERYWHERE)
    for pin, table in writes.pins:
        try:
            found = homes(pin, shards, given)
        except Unplaceable:
            reason = f"the type of a row's shard key does not tell its shard, of table {table}"
            return Refused(reason, CODE, "Give the key in its column's type.")
        for home in found:
            # None: the placement does not tell (`Unknown`), so the user knows better.
            if home is not None and tuple(named) != (home,):
                where = _listed(named)
                if isinstance(pin.placement, OneShard):
                    belongs = f"table {table} is on {home} alone"
                else:
                    belongs = f"a row of {table} belongs on {home}"
                reason = f"{belongs}, and would be written on {where}"
                return Refused(reason, CODE, f"{_WITHOUT} conn.on(key=...) names the shard of one.")
    return None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def named_writes(
    statements: Sequence[Any],
    cluster: Cluster,
    catalog: Catalog,
    translation: Translation,
    path: Sequence[str],
) -> NamedWrites:
    """What the statements of a text write.

    Args:
        statements: As parsed.
        cluster: What is declared.
        catalog: The tables that there are.
        translation: Where parameters come from.
        path: ``current_schemas(true)``.
    """
    reader = _Reader(cluster, catalog, translation, path)
    try:
        for statement in statements:
            reader.read(statement.stmt)
        # SET search_path = b; INSERT INTO orders ...: which `orders` is meant, the path before does
        # not tell.
        if reader.found and any(unwrap(each.stmt)[0] == "variable_set_stmt" for each in statements):
            raise Unplannable("a text sets something and writes", None, "Execute one at a time.")
    except Unplannable as unplannable:
        position = translation.old_position_of(unplannable.offset)
        hint, code = unplannable.hint or _UNDECLARED, unplannable.code
        return NamedWrites(refused=Refused(unplannable.reason, code, hint, position))
    return NamedWrites(
        tuple(reader.pins), tuple(reader.everywhere), tuple(reader.counted), tuple(reader.altered)
    )


@dataclass
class _Reader:
    """Collects what is written."""

    cluster: Cluster
    catalog: Catalog
    translation: Translation
    path: Sequence[str]
    pins: list[tuple[Pin, str]] = field(default_factory=list)
    everywhere: list[str] = field(default_factory=list)
    counted: list[tuple[str, str]] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    found: bool = False

    def __post_init__(self) -> None:
        self._functions = Functions(self.catalog, tuple(self.path))
        self._relations = Relations(self.cluster, self.catalog, self.path, count())

    def read(self, node: Any) -> None:
        kind, inner = unwrap(node)
        change = key_change(node, self.cluster, self.catalog, self.path, everywhere=False)
        if change is not None:
            raise Unplannable(change.reason, change.offset, change.hint, change.code)
        # EXPLAIN ANALYZE does what it explains.
        if kind in _STORING or (kind == "explain_stmt" and not analyzes(inner)):
            return
        for message in walk(node):
            write = _WRITES.get(type_name(message))
            if write is not None:
                write(self, message)

    # The tables -----------------------------------------------------------------------------

    def _table(self, node: Any) -> Table | None:
        """The declared table that is written; None if it is another one, or the server's error."""
        # Temporary tables are the session's own.
        if node.schemaname == "pg_temp":
            return None
        # A relation that is not there is the server's to complain about; but the catalog may be one
        # of a shard that does not have what another has alone.
        relation = self.catalog.relation(node.schemaname or None, node.relname, self.path)
        if relation is None:
            self._note_alone(node)
            return None
        if relation.kind == "v":
            self._refuse_view(node, relation)
            return None
        declared = self._declared(relation)
        if declared is None:
            return None
        self.found = True
        table = self._relations.table(node, relation, relation.name)
        if isinstance(declared, Sharded) and table.columns is not None:
            table.placement = self.cluster.placement_of(declared).in_encoding(self.catalog.encoding)
            table.key = next((c for c in table.columns if c.name == declared.column), None)
        if not isinstance(declared, Sharded):
            if isinstance(declared, Single):
                self.pins.append((home_pin(declared.on), relation.name))
            else:
                self.everywhere.append(relation.name)
            return None
        if table.key is None or table.key.column is None:
            reason = f"table {relation.name} has no column {declared.column}, its shard key"
            raise Unplannable(reason, node.location, "Correct the declaration.")
        return None if isinstance(table.placement, Unknown) else table

    def _note_alone(self, node: Any) -> None:
        """Note a table that is declared to be on one shard alone."""
        for schema in (node.schemaname,) if node.schemaname else self.path:
            declared = self.cluster.table(schema, node.relname)
            if isinstance(declared, Single):
                self.found = True
                self.pins.append((home_pin(declared.on), node.relname))
                return

    def _declared(self, relation: Relation) -> Declared | None:
        """What is declared of a table, or of one whose rows are among its own, or the other way."""
        name, inheritance = (relation.schema, relation.name), self.catalog.inheritance
        for one in (name, *inheritance.above(name), *inheritance.below(name)):
            declared = self.cluster.table(*one)
            if declared is not None:
                return declared
        return None

    def _refuse_view(self, node: Any, relation: Relation) -> None:
        """Refuse a view over declared tables: it is not known what is written to which."""
        made = parse_select("SELECT")
        made.from_clause.add().range_var.CopyFrom(node)
        query = Binder(self.cluster, self.catalog, self.path).bind(made)
        for table in tables(query):
            one = table.relation
            if self.cluster.table(one.schema, one.name) is not None:
                reason = f"the view {relation.name} of declared tables is written to"
                raise Unplannable(reason, node.location, _VIEW)

    # The kinds of writes --------------------------------------------------------------------

    def _follow_keys(self, node: Any, letter: str, targets: Sequence[Any] = ()) -> None:
        """Refuse what foreign keys would do to rows that are on other shards, too.

        Args:
            node: The `RangeVar` of what is written.
            letter: See `Consequences.of_keys`.
            targets: What SET names.
        """
        relation = self.catalog.relation(node.schemaname or None, node.relname, self.path)
        if relation is None or isinstance(self._declared(relation), Reference):
            return
        columns = frozenset(each.res_target.name for each in targets) if letter == "u" else None
        problem = Consequences(self.cluster, self.catalog).of_keys(
            (relation.schema, relation.name), letter, columns, node.location, only=not node.inh
        )
        if problem is not None:
            raise Unplannable(problem.reason, problem.offset, problem.hint, problem.code)

    def insert(self, node: Any) -> None:
        if node.HasField("on_conflict_clause"):
            self._follow_keys(node.relation, "u", node.on_conflict_clause.target_list)
        table = self._table(node.relation)
        self._note_counted(node)
        if table is None:
            return
        self._set(table, node.on_conflict_clause.target_list)
        # The values that are given for identity columns are then ignored (manual, INSERT).
        if enum_name(node, "override") == "OVERRIDING_USER_VALUE":
            raise Unplannable("OVERRIDING USER VALUE may not take the shard key that is given")
        key = _key(table)
        select = node.select_stmt.select_stmt
        at = self._place_of(table, node.cols, node.relation.location)
        # INSERT ... DEFAULT VALUES
        if not node.HasField("select_stmt"):
            reason = f"the rows to be inserted have no {key.name}, their shard key"
            raise Unplannable(reason, node.relation.location, GIVE_KEY)
        if not select.values_lists:
            self._check_selected(table, select, at)
            return
        rows = [row.list.items for row in select.values_lists]
        self._pin(table, [key_of_row(r, at, self._functions, self.translation, key) for r in rows])

    def _note_counted(self, node: Any) -> None:
        """Note the columns of a declared table that a sequence fills."""
        named = node.relation
        relation = self.catalog.relation(named.schemaname or None, named.relname, self.path)
        if relation is None or named.schemaname == "pg_temp":
            return
        # Of a table that is on one shard, they count where it is.
        if not isinstance(self._declared(relation), (Sharded, Reference)):
            return
        default = defaulted(node, [column.name for column in relation.columns])
        self.counted += [
            (column.name, relation.name)
            for column in relation.columns
            if column.name in default and is_counted(column)
        ]

    def _place_of(self, table: Table, columns: Sequence[Any], offset: int) -> int:
        """Which value of a row is its key."""
        names = [column.res_target.name for column in columns]
        # Without a list, VALUES has the columns in the table's order.
        names = names or [column.name for column in table.relation.columns]
        key = _key(table).name
        if key not in names:
            reason = f"the rows to be inserted have no {key}, their shard key"
            raise Unplannable(reason, offset, GIVE_KEY)
        return names.index(key)

    def _check_selected(self, table: Table, select: Any, at: int) -> None:
        """Refuse INSERT ... SELECT, unless the key is that of a colocated table's rows."""
        query = Binder(self.cluster, self.catalog, self.path).bind(select)
        if is_key_of_colocated(query, at, table):
            return
        reason = "the shard key of the rows to be inserted is not a colocated table's"
        hint = "Read the rows first, and insert them with VALUES, without conn.on(...)."
        raise Unplannable(reason, None, hint)

    def update(self, node: Any) -> None:
        self._follow_keys(node.relation, "u", node.target_list)
        table = self._table(node.relation)
        if table is not None:
            names = counted_targets(table.relation, node.target_list)
            self.counted += [(name, table.relation.name) for name in names]
        if table is not None:
            self._set(table, node.target_list)

    def _set(self, table: Table, targets: Sequence[Any]) -> None:
        """Look at what UPDATE sets, or ON CONFLICT."""
        key = _key(table)
        for each in targets:
            target = each.res_target
            if target.name != key.name:
                # Whether it is computed from this column is not known.
                if key.column is not None and key.column.generated:
                    reason = f"the shard key {key.name} is computed from columns that may change"
                    raise Unplannable(reason, target.location, MOVE)
                continue
            value = Restrictions(self._functions, self.translation).value(target.val, key)
            # SET key[1] = 5, SET key = key + 1
            if value is None or target.indirection:
                reason = f"the shard key {key.name} is changed, and the row may have to move"
                raise Unplannable(reason, target.location, MOVE)
            self._pin(table, [value])

    def delete(self, node: Any) -> None:
        self._follow_keys(node.relation, "d")
        self._table(node.relation)

    def merge(self, node: Any) -> None:
        for each in node.merge_when_clauses:
            when = each.merge_when_clause
            if enum_name(when, "command_type") == "CMD_UPDATE":
                self._follow_keys(node.relation, "u", when.target_list)
            elif enum_name(when, "command_type") == "CMD_DELETE":
                self._follow_keys(node.relation, "d")
        table = self._table(node.relation)
        if table is None:
            return
        for each in node.merge_when_clauses:
            when = each.merge_when_clause
            action = enum_name(when, "command_type")
            if action == "CMD_UPDATE":
                self._set(table, when.target_list)
            elif action == "CMD_INSERT":
                at = self._place_of(table, when.target_list, node.relation.location)
                row = list(when.values)
                key = _key(table)
                value = key_of_row(row, at, self._functions, self.translation, key)
                self._pin(table, [value])

    def copy(self, node: Any) -> None:
        if node.is_from and self._table(node.relation) is not None:
            hint = "COPY without conn.on(...): then each row goes where it belongs."
            raise Unplannable(
                "COPY does not tell the rows' shard keys", node.relation.location, hint
            )

    def make(self, node: Any) -> None:
        """Look at the table that SELECT INTO makes, or CREATE TABLE AS."""
        named = node.rel
        visible = [schema for schema in self.path if schema != "pg_catalog"]
        schema = named.schemaname or next(iter(visible), "public")
        if named.relpersistence != "t" and self.cluster.table(schema, named.relname) is not None:
            reason = f"the declared table {named.relname} is made of the rows of some shards"
            hint = "Create it without conn.on(...), then insert its rows."
            raise Unplannable(reason, named.location, hint)

    def truncate(self, node: Any) -> None:
        for each in node.relations:
            if enum_name(node, "behavior") == "DROP_CASCADE":
                self._follow_keys(each.range_var, "t")
            self._table(each.range_var)

    # DDL ------------------------------------------------------------------------------------

    def alter(self, node: Any) -> None:
        commands = [each.alter_table_cmd for each in node.cmds]
        if enum_name(node, "objtype") == "OBJECT_TYPE":
            for command in commands:
                self._alter_type(node.relation, command)
            return
        actions = {enum_name(command, "subtype") for command in commands}
        if actions & _OF_COLUMNS:
            self._alter_columns(node.relation)
        schema, name = node.relation.schemaname, node.relation.relname
        if actions & _OF_ROWS and self._is_declared(schema, name, Reference):
            self.altered.append(f"reference table {name} would have other rows")

    def rename(self, node: Any) -> None:
        kind = enum_name(node, "rename_type")
        if kind in COLUMN_NAMES:
            self._alter_columns(node.relation)
        if kind == "OBJECT_ATTRIBUTE":
            self._alter_type(node.relation, node)

    def _alter_columns(self, node: Any) -> None:
        if self._is_declared(node.schemaname, node.relname, Sharded, Reference):
            self.altered.append(f"the columns of table {node.relname} would be changed")

    def _alter_type(self, composite: Any, change: Any) -> None:
        """Which tables are of a composite type, the catalog does not tell."""
        if enum_name(change, "behavior") == "DROP_CASCADE":
            self.altered.append(f"the columns of tables of type {composite.relname} may be changed")

    def drop(self, node: Any) -> None:
        """Look at what is dropped: the rows of a sharded table are the shard's own."""
        kind = enum_name(node, "remove_type")
        if kind == "OBJECT_SCHEMA":
            schemas = {each.string.sval for each in node.objects}
            for (schema, name), relation in self.catalog.relations.items():
                if schema in schemas and isinstance(self._declared(relation), Reference):
                    self.altered.append(f"reference table {name} would be dropped")
        elif kind in _TABLES:
            for each in node.objects:
                # A database's name may stand before the schema's.
                names = ("", *(names_of(each.list.items) or ("",)))
                if self._is_declared(names[-2], names[-1], Reference):
                    self.altered.append(f"reference table {names[-1]} would be dropped")

    def _is_declared(self, schema: str, name: str, *kinds: type[Declared]) -> bool:
        """Whether a name means a table that is declared so; the session's own are not."""
        relation = self.catalog.relation(schema or None, name, self.path)
        # DDL of a view changes no table.
        if relation is None or relation.kind == "v" or relation.schema == TEMPORARY:
            return False
        return isinstance(self._declared(relation), kinds)

    def _pin(self, table: Table, values: Sequence[Value]) -> None:
        column = _key(table).column
        assert table.placement is not None and column is not None  # noqa: S101, PT018  # `_table`
        kept = kept_by(column.type_sql)
        pin = Pin(table.placement, column.type_name, tuple(values), inserts=True, kept=kept)
        self.pins.append((pin, table.relation.name))


_WRITES: dict[str, Callable[[_Reader, Any], None]] = {
    "InsertStmt": _Reader.insert,
    "UpdateStmt": _Reader.update,
    "DeleteStmt": _Reader.delete,
    "MergeStmt": _Reader.merge,
    "CopyStmt": _Reader.copy,
    "IntoClause": _Reader.make,
    "TruncateStmt": _Reader.truncate,
    "AlterTableStmt": _Reader.alter,
    "RenameStmt": _Reader.rename,
    "DropStmt": _Reader.drop,
}


def _key(table: Table) -> BoundColumn:
    assert table.key is not None  # noqa: S101  # `_table` gives no other
    return table.key
