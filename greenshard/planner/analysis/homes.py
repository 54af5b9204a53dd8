"""Goal: say which tables that one shard alone has a statement touches, and what else.

    INSERT INTO jobs (item) SELECT n_name FROM nation RETURNING nextval('jobs_seq')

1. `jobs` is declared ``Single("s1")``: its *home* is s1. `nation` is a reference table, of which s1
   has all rows.
2. `jobs_seq` counts a column of `jobs`, so it is on s1, and counts there.
3. The whole statement is therefore s1's, as it is written.

Looked at are names, wherever they stand: in WITH, in subqueries, in what is written; and what
stands behind them: the queries of views, the texts of functions in SQL, the conditions of policies,
partitions. A WITH query that is called as a table counts as that table, too.

What touches anything else, such as a sharded table, has no home; nor has what calls a function that
may read tables, for nobody knows which.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from greenshard.cluster import Cluster, Reference, Single, TableName
from greenshard.planner.bodies import Body
from greenshard.planner.calls import Functions, calls, is_harmless, name_of
from greenshard.planner.catalog import Catalog, Relation
from greenshard.planner.code import SYSTEM_SCHEMAS
from greenshard.sql.functions import Fact, facts_of
from greenshard.sql.nodes import expression
from greenshard.sql.parser import Message, ParserError, parse, type_name
from greenshard.sql.tree import WRITES, names_of, own_type, unwrap, walk_some

Name = tuple[str, str]

#: Functions of PostgreSQL's own whose first argument names a sequence, or a table.
_OF_SEQUENCE = frozenset({"nextval", "currval", "setval"})
_NAMED = _OF_SEQUENCE | {"pg_get_serial_sequence", "to_regclass", "pg_sequence_last_value"}
#: It tells of the sequence that was counted last, wherever that is.
_LAST = "lastval"
_NEXTVAL = re.compile(r"nextval\('((?:[^']|'')+)'::regclass\)")


class Homes:
    """Where the tables are that one shard alone has, and their sequences.

    Args:
        cluster: What is declared.
        catalog: What is there.
    """

    def __init__(self, cluster: Cluster, catalog: Catalog) -> None:
        self.cluster = cluster
        self.catalog = catalog
        #: Homes whose own tables the catalog may lack.
        self.unknown = tuple(each for each in cluster.homes if each not in catalog.whole_of)

    def of_name(self, schema: str | None, name: str) -> str | None:
        """The home of a declared table, whether it is there or not; None if it has none."""
        declared = self.cluster.table(schema, name)
        return declared.on if isinstance(declared, Single) else None

    def of_relation(self, relation: Relation) -> str | None:
        """The home of a table, a partition of one, or a sequence; None if it has none."""
        name = (relation.schema, relation.name)
        for each in (name, *self.catalog.inheritance.above(name)):
            if (home := self.of_name(*each)) is not None:
                return home
        found = self.sequences.get(name, frozenset())
        return next(iter(found)) if len(found) == 1 else None

    @cached_property
    def sequences(self) -> Mapping[Name, frozenset[str]]:
        """For each sequence that counts a column of a declared table where it is counted."""
        found: dict[Name, set[str]] = {}
        first = self.cluster.names[0]
        for relation in self.catalog.relations.values():
            declared = self.cluster.table(relation.schema, relation.name)
            for column in relation.columns if declared is not None else ():
                where = declared.on if isinstance(declared, Single) else first
                for name in sequences_in(column.default or ""):
                    found.setdefault(name, set()).add(where)
        return {name: frozenset(where) for name, where in found.items()}

    @property
    def count_elsewhere(self) -> bool:
        """Whether a sequence counts on another shard than the first one."""
        first = self.cluster.names[0]
        return any(where != {first} for where in self.sequences.values())


def sequences_in(default: str) -> Iterator[Name]:
    """The sequences that a column's default counts with, whose names have their schemas."""
    for text in _NEXTVAL.findall(default):
        with_schema = _read_name(text.replace("''", "'"))
        if with_schema is not None and with_schema.schema is not None:
            yield with_schema.schema, with_schema.name


@dataclass(slots=True)
class Touched:
    """What a statement touches.

    Attributes:
        homes: Of its tables that one shard alone has.
        counted: Where the sequences are that it names.
        declared: The declared tables, for messages.
        references: Reference tables.
        elsewhere: Something that is on no home alone; None if there is nothing.
        system: What it reads of PostgreSQL's own catalog.
        named: Whether a function or a cast looks a table up by its name.
        unknown: Whether it names what the catalog does not have.
        computed: Whether it computes which sequence it means.
        last: Whether it asks for the number that was counted last.
        acts: Whether it changes something beside rows and sequences: a lock, say.
        views: The trees of the views that were read.
        bodies: Those of functions, and the conditions of policies.
        written: The messages in the statement that write, with what they write to: a table, or a
            view and what it reads; None if that is not on one shard alone.
        made: The homes of tables that SELECT INTO or CREATE TABLE AS makes; None of others.
        relations: Those that were read.
    """

    homes: set[str] = field(default_factory=set)
    counted: set[str] = field(default_factory=set)
    declared: set[str] = field(default_factory=set)
    references: set[str] = field(default_factory=set)
    elsewhere: str | None = None
    system: set[str] = field(default_factory=set)
    named: bool = False
    unknown: bool = False
    computed: bool = False
    last: bool = False
    acts: bool = False
    views: list[Message] = field(default_factory=list)
    bodies: list[Message] = field(default_factory=list)
    written: list[tuple[Any, Sequence[Relation] | None]] = field(default_factory=list)
    made: set[str | None] = field(default_factory=set)
    relations: dict[Name, Relation] = field(default_factory=dict)


class Reader:
    """Reads what statements touch.

    Args:
        homes: Where tables are.
        functions: What is known of those.
        path: ``current_schemas(true)``.
    """

    def __init__(self, homes: Homes, functions: Functions, path: Sequence[str]) -> None:
        self._homes = homes
        self._functions = functions
        self._path = path
        self.found = Touched()
        self._others: set[str] = set()
        self._bodies: set[Body] = set()

    def read(self, root: Message) -> Touched:
        """Note what a tree touches."""
        messages = list(walk_some(root, _but_locks))
        # Neither names what is there: a WITH query, and a table that is made.
        self._others.update(m.ctename for m in messages if type_name(m) == "CommonTableExpr")
        self._others.update(m.rel.relname for m in messages if type_name(m) == "IntoClause")
        for message in messages:
            self._of_message(message)
        return self.found

    def _of_message(self, message: Any) -> None:
        kind = type_name(message)
        if kind == "RangeVar":
            self._of_name(message)
        elif kind == "FuncCall":
            self._of_call(message)
        elif kind in WRITES:
            self.found.written.append((message, self._written(message.relation)))
        elif kind == "IntoClause":
            self.found.made.add(self._home_of(message.rel))
        elif kind == "TypeCast" and own_type(message.type_name) == "regclass":
            self._of_regclass(message.arg)
        elif kind in ("ColumnRef", "A_Indirection"):
            self._of_attribute(message)

    # Relations ------------------------------------------------------------------------------

    def _of_name(self, node: Any) -> None:
        relation = self._homes.catalog.relation(node.schemaname or None, node.relname, self._path)
        if relation is not None:
            self.touch(relation)
        elif node.relname not in self._others:
            self._note_missing(node)

    def _note_missing(self, node: Any) -> None:
        """Note a name of what is not there."""
        home = self._home_of(node)
        if home is None:
            self.found.unknown = True
        else:
            self.found.homes.add(home)

    def _home_of(self, node: Any) -> str | None:
        """The home of a table that is declared, and may have to be made yet."""
        # What is temporary is not what is declared.
        if node.relpersistence == "t":
            return None
        visible = (schema for schema in self._path if schema not in SYSTEM_SCHEMAS)
        return self._homes.of_name(node.schemaname or next(visible, None), node.relname)

    def _written(self, node: Any) -> Sequence[Relation] | None:
        """What is written to, if its rows are on one shard alone."""
        catalog = self._homes.catalog
        relation = catalog.relation(node.schemaname or None, node.relname, self._path)
        if relation is None:
            return None
        if self._homes.of_relation(relation) is not None:
            return [relation]
        # A view through which rows of a reference table may be written is not.
        if relation.kind != "v":
            return None
        reader = Reader(self._homes, self._functions, self._path)
        reader.touch(relation)
        found = reader.found
        return None if found.references or found.elsewhere else list(found.relations.values())

    def touch(self, relation: Relation) -> None:
        """Note a relation, and what stands behind it."""
        found, name = self.found, (relation.schema, relation.name)
        if name in found.relations:
            return
        if relation.schema in SYSTEM_SCHEMAS:
            found.system.add(relation.name)
            return
        found.relations[name] = relation
        declared = self._homes.cluster.table(*name)
        home = self._homes.of_relation(relation)
        if home is not None and relation.kind != "S":
            found.homes.add(home)
        elif relation.kind == "S":
            # One that counts no declared column counts on the first shard, for everybody.
            first = frozenset(self._homes.cluster.names[:1])
            found.counted |= self._homes.sequences.get(name, first)
        elif isinstance(declared, Reference):
            found.references.add(relation.name)
        elif declared is None and relation.kind in ("v", "m") and relation.definition:
            self._of_view(relation)
        else:
            found.elsewhere = relation.name
        if declared is not None:
            found.declared.add(relation.qualified)
        for below in self._homes.catalog.inheritance.below(name):
            if below in self._homes.catalog.relations:
                self.touch(self._homes.catalog.relations[below])
        self._of_policies(relation)

    def _of_view(self, relation: Relation) -> None:
        try:
            (statement,) = parse(relation.definition or "")
        except (ParserError, ValueError):
            self.found.elsewhere = relation.name
            return
        if relation.kind == "m":
            # Of reference tables alone, each shard has its own, and one for all is the first's.
            inner = Reader(self._homes, self._functions, self._path).read(statement)
            if not inner.homes:
                self.found.elsewhere = relation.name
        self.found.views.append(statement)
        self.read(statement)

    def _of_policies(self, relation: Relation) -> None:
        for policy in relation.security.policies:
            if policy.function is not None or not policy.conditions:
                self.found.elsewhere = policy.name
            for text in policy.conditions:
                try:
                    condition = expression(text)
                except ParserError:
                    self.found.elsewhere = policy.name
                    continue
                self.found.bodies.append(condition)
                self.read(condition)

    # Functions ------------------------------------------------------------------------------

    def _of_call(self, call: Any) -> None:
        name, functions = name_of(call), self._functions
        if functions.is_of_shard(call):
            self.found.elsewhere = f"{name}()"
        for body in functions.bodies(call):
            if body.query is None:
                self.found.elsewhere = f"{name}()"
            elif body not in self._bodies:
                self._bodies.add(body)
                self.found.bodies.append(body.query)
                self.read(body.query)
        if not functions.is_own(call):
            return
        if name == _LAST:
            self.found.last = True
        elif name in _NAMED:
            known = bool(call.args) and (self._of_regclass(call.args[0]) or self._of_column(call))
            self.found.computed |= name in _OF_SEQUENCE and not known
        elif Fact.OF_TABLE in facts_of(name):
            self.found.named = True
        elif functions.is_volatile(call) and not is_harmless(call):
            self.found.acts = True

    def _of_regclass(self, node: Message) -> bool:
        """Note the relation that a text names; whether it can be told which one."""
        self.found.named = True
        kind, inner = unwrap(node)
        while kind == "type_cast":
            kind, inner = unwrap(inner.arg)
        if kind != "a_const" or not inner.HasField("sval"):
            return False
        read = _read_name(inner.sval.sval)
        if read is None:
            return False
        relation = self._homes.catalog.relation(read.schema, read.name, self._path)
        if relation is None:
            self.found.unknown = True
        elif relation.kind == "S":
            self.touch(relation)
        else:
            # Not its rows: what every shard has, each can tell of.
            within = Reader(self._homes, self._functions, self._path)
            within.touch(relation)
            self.found.homes |= within.found.homes
        return True

    def _of_column(self, call: Any) -> bool:
        """Note what setval(pg_get_serial_sequence('jobs', 'id'), 7) counts; whether it is that."""
        inner = call.args[0].func_call
        if not call.args[0].HasField("func_call") or name_of(inner) != "pg_get_serial_sequence":
            return False
        within = Reader(self._homes, self._functions, self._path)
        known = bool(inner.args) and within._of_regclass(inner.args[0])
        # The sequence of a column counts where its table is.
        self.found.counted |= within.found.homes or set(self._homes.cluster.names[:1])
        return known

    def _of_attribute(self, message: Any) -> None:
        """Note a function that is written as an attribute: ``orders.total``."""
        parts = message.fields if type_name(message) == "ColumnRef" else message.indirection
        names = names_of(parts) if len(parts) > 0 else None
        if names is None or (type_name(message) == "ColumnRef" and len(names) < 2):
            return
        if any(
            each.schema != "pg_catalog" and each.volatility != "i"
            for each in self._functions.written_as(names[-1])
        ):
            self.found.elsewhere = f"{names[-1]}()"


def unknown_calls(roots: Sequence[Message], functions: Functions) -> bool:
    """Whether a function is called that the catalog does not have."""
    return not all(functions.of(call) for root in roots for call in calls(root))


def _read_name(text: str) -> TableName | None:
    try:
        return TableName.read(text)
    except ValueError:
        return None


def _but_locks(message: Message) -> Sequence[tuple[Any, Any]]:
    """All fields, but for the names in FOR UPDATE OF, which are aliases."""
    return () if type_name(message) == "LockingClause" else message.ListFields()
