"""Goal: refuse DDL that has each shard check its own rows for what is to be true of all.

    ALTER TABLE orders ADD CHECK (among_few(o_custkey))      reads one shard's part
    ALTER TABLE orders ADD o_token token                     so may the CHECK of a domain
    ALTER TABLE orders ADD UNIQUE (o_custkey)                equal ones may be on two shards
    CREATE TABLE orders (id int PRIMARY KEY, tenant int)     likewise, if tenant is the shard key
    ALTER TABLE lineitem ADD FOREIGN KEY (l_partkey) REFERENCES part    a part may be elsewhere
    ALTER TABLE orders ADD CHECK (o_day <= CURRENT_DATE)     each shard's time

1. Of a declared table each constraint that is made, or validated, is looked at; so is what a new
   column, or a new type of one, brings with it.
2. A CHECK may call what an expression over several shards may. NOT VALID looks at no row yet: what
   it will do beside a write, `analysis.consequences` tells.
3. What must be unique must have the shard key in it: equal rows are then on one shard. So must a
   foreign key between sharded tables compare their keys.

Source: PostgreSQL manual, 5.12.2.3 "Limitations", which says the same of partitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from greenshard.cluster import Cluster, Reference, Sharded
from greenshard.planner.analysis.consequences import called
from greenshard.planner.analysis.objections import objections, scattered_objection
from greenshard.planner.beside import Beside, Name
from greenshard.planner.calls import Functions, calls, name_of, ways_out
from greenshard.planner.catalog import TEMPORARY, Catalog
from greenshard.planner.code import SYSTEM_SCHEMAS
from greenshard.planner.problem import Problem
from greenshard.sql.now import tells_time
from greenshard.sql.parser import Message
from greenshard.sql.tree import enum_name, names_of, unwrap

CODE = "GS415"

_ANYWAY = "If it is enough that each shard checks its own rows, run it with conn.broadcast()."
_UNIQUE = f"Add the shard key to it, as PostgreSQL asks of partitioned tables. {_ANYWAY}"
_FOREIGN = (
    f"Let it compare the shard keys of both tables, or reference a reference table. {_ANYWAY}"
)
_UNIQUE_KINDS = {"CONSTR_PRIMARY": "a primary key", "CONSTR_UNIQUE": "a unique constraint"}
_FILLED = frozenset({"AT_AddColumn", "AT_AlterColumnType"})
#: CREATE TABLE ... (LIKE ... INCLUDING INDEXES), a bit of the options.
_INDEXES = 1 << 6


def split_check(
    node: Any, cluster: Cluster, catalog: Catalog, path: Sequence[str]
) -> Problem | None:
    """What is wrong with a utility statement that runs on all shards; None if nothing is.

    Args:
        node: The statement's `Node`.
        cluster: What is declared.
        catalog: What there is.
        path: ``current_schemas(true)``.
    """
    kind, inner = unwrap(node)
    find = _FINDERS.get(kind)
    if find is None:
        return None
    finder = _Checks(cluster, catalog, path, Functions(catalog, tuple(path)))
    return next(find(finder, inner), None)


@dataclass(frozen=True)
class _Checks:
    """Finds what a statement lets shards check."""

    cluster: Cluster
    catalog: Catalog
    path: Sequence[str]
    functions: Functions

    def altered(self, node: Any) -> Iterator[Problem]:
        relation = self._found(node.relation)
        if relation is None:
            return
        at = node.relation.location
        for table in (relation, *self.catalog.inheritance.below(relation)):
            for each in node.cmds:
                yield from self._of_action(table, each.alter_table_cmd, at)

    def _of_action(self, table: Name, command: Any, at: int) -> Iterator[Problem]:
        declared = self.cluster.table(*table)
        if not isinstance(declared, (Sharded, Reference)):
            return
        action, told = enum_name(command, "subtype"), getattr(command, "def")
        if action in _FILLED:
            yield from self._of_values([told])
            yield from self._of_column(table, told.column_def)
        elif action == "AT_AddConstraint":
            yield from self._of_constraint(table, told.constraint, ())
        elif action == "AT_ValidateConstraint":
            yield from self._validated(table, command.name, at)

    def created(self, node: Any) -> Iterator[Problem]:
        table = self._new(node.relation)
        exists = node.if_not_exists and table in self.catalog.relations  # it does nothing
        if exists or not isinstance(self.cluster.table(*table), (Sharded, Reference)):
            return
        for element in node.table_elts:
            kind, inner = unwrap(element)
            if kind == "column_def":
                yield from self._of_column(table, inner)
            elif kind == "constraint":
                yield from self._of_constraint(table, inner, ())
            elif kind == "table_like_clause" and inner.options & _INDEXES:
                yield from self._of_likeness(table, inner.relation)

    def indexed(self, node: Any) -> Iterator[Problem]:
        table = self._found(node.relation)
        if table is not None and node.unique:
            # Under another collation, or operators, keys of several shards may be equal.
            items = [each.index_elem for each in node.index_params]
            columns = [each.name for each in items if not (each.collation or each.opclass)]
            yield from self._unique(table, columns, "a unique index", node.relation.location)

    def domain_altered(self, node: Any) -> Iterator[Problem]:
        if node.subtype == "C" and not getattr(node, "def").constraint.skip_validation:
            yield from self._of_check(getattr(node, "def").constraint.raw_expr)
        elif node.subtype == "V":
            names = names_of(node.type_name) or ("",)
            function = self.functions.tainted_type(names)
            if function is not None:
                reason = f"the check of domain {names[-1]} calls {function}(), which may read "
                reason += "tables, of which each shard has a part only"
                yield Problem(reason, None, CODE, ways_out(function, row=False))

    # What is checked ------------------------------------------------------------------------

    def _of_column(self, table: Name, column: Any) -> Iterator[Problem]:
        for each in column.constraints:
            yield from self._of_constraint(table, each.constraint, (column.colname,))

    def _of_constraint(self, table: Name, constraint: Any, own: Sequence[str]) -> Iterator[Problem]:
        """What is wrong with a constraint.

        Args:
            table: Whose it is.
            constraint: The `Constraint`.
            own: The column that it stands behind; empty if it is the table's.
        """
        kind, at = enum_name(constraint, "contype"), constraint.location
        if kind in _UNIQUE_KINDS:
            # Of USING INDEX the index has been looked at when it was made.
            if not constraint.indexname:
                columns = own or names_of(constraint.keys) or ()
                yield from self._unique(table, columns, _UNIQUE_KINDS[kind], at)
        elif kind == "CONSTR_EXCLUSION":
            columns = [*_compared_equal(constraint)]
            yield from self._unique(table, columns, "an exclusion constraint", at)
        elif kind == "CONSTR_FOREIGN":
            columns = own or names_of(constraint.fk_attrs) or ()
            yield from self._foreign(table, columns, constraint)
        # A table that is created has no rows yet.
        elif kind == "CONSTR_CHECK" and not constraint.skip_validation and self._has_rows(table):
            yield from self._of_check(constraint.raw_expr)

    def _has_rows(self, table: Name) -> bool:
        return table in self.catalog.relations

    def _of_check(self, condition: Message) -> Iterator[Problem]:
        yield from self._of_values([condition])
        if tells_time(condition):
            reason = "the rows would be checked by each shard's own time"
            yield Problem(reason, None, CODE, f"Add it NOT VALID. {_ANYWAY}")

    def _of_values(self, roots: Sequence[Message]) -> Iterator[Problem]:
        """What an expression for each row would find another one on each shard."""
        yield from objections(roots, self.functions, sharded=True)
        for call in chain.from_iterable(map(calls, roots)):
            if self.functions.reads_tables(call):
                name = name_of(call)
                reason = f"function {name}() reads tables, of which each shard has a part only"
                yield Problem(reason, call.location, CODE, ways_out(name, row=False))
        scattered = scattered_objection(roots, self.functions)
        if scattered is not None:
            yield scattered

    def _validated(self, table: Name, name: str, at: int) -> Iterator[Problem]:
        for call in self.catalog.besides.get(table, Beside()).calls:
            if (call.kind, call.name) == ("check", name):
                yield called(call, table, at, CODE)
        for parent, beside in self.catalog.besides.items():
            for key in beside.keys:
                if (key.child, key.name) == (table, name):
                    pairs = key.references.items()
                    yield from self._separate(table, parent, pairs, at)

    # What is unique, or must be there -------------------------------------------------------

    def _unique(self, table: Name, columns: Sequence[str], what: str, at: int) -> Iterator[Problem]:
        declared = self.cluster.table(*table)
        if isinstance(declared, Sharded) and declared.column not in columns:
            reason = f"{what} of {table[1]} without its shard key {declared.column}, of which each "
            yield Problem(f"{reason}shard looks at its own rows only", at, CODE, _UNIQUE)

    def _of_likeness(self, table: Name, node: Any) -> Iterator[Problem]:
        model = self._found(node)
        if model is not None and (key := self.catalog.relations[model].primary_key):
            yield from self._unique(table, key, "a primary key", node.location)

    def _foreign(self, table: Name, columns: Sequence[str], constraint: Any) -> Iterator[Problem]:
        named = constraint.pktable
        parent = self._found(named) or self._new(named)
        known = self.catalog.relations.get(parent)
        referenced = names_of(constraint.pk_attrs) or (() if known is None else known.primary_key)
        pairs = zip(columns, referenced, strict=False)
        yield from self._separate(table, parent, pairs, constraint.location)

    def _separate(
        self, table: Name, parent: Name, pairs: Iterable[tuple[str, str]], at: int
    ) -> Iterator[Problem]:
        """The problem of a foreign key whose rows may be on other shards than what they reference.

        Args:
            table: Which has it.
            parent: What it references.
            pairs: Its columns, each with the one that it is compared with.
            at: Where it is named.
        """
        own, other = self.cluster.table(*table), self.cluster.table(*parent)
        if not isinstance(other, Sharded) or not isinstance(own, (Sharded, Reference)):
            return
        together = isinstance(own, Sharded) and (
            self.cluster.placement_of(own) == self.cluster.placement_of(other)
            and (own.column, other.column) in pairs
        )
        if not together:
            reason = f"a foreign key of {table[1]} to {parent[1]}, whose rows may be on other "
            yield Problem(f"{reason}shards", at, CODE, _FOREIGN)

    # Names ----------------------------------------------------------------------------------

    def _found(self, node: Any) -> Name | None:
        relation = self.catalog.relation(node.schemaname or None, node.relname, self.path)
        return None if relation is None else (relation.schema, relation.name)

    def _new(self, node: Any) -> Name:
        """What a table is called that is made."""
        schemas = (each for each in self.path if each not in (*SYSTEM_SCHEMAS, TEMPORARY))
        own = TEMPORARY if node.relpersistence == "t" else node.schemaname
        return own or next(schemas, ""), node.relname


def _compared_equal(constraint: Any) -> Iterator[str]:
    """The columns of an exclusion constraint that are equal in rows which it keeps apart."""
    for each in constraint.exclusions:
        element, operator = each.list.items
        if (names_of(operator.list.items) or ("",))[-1] == "=":
            yield element.index_elem.name


_FINDERS = {
    "alter_table_stmt": _Checks.altered,
    "create_stmt": _Checks.created,
    "index_stmt": _Checks.indexed,
    "alter_domain_stmt": _Checks.domain_altered,
}
