"""Goal: run a statement whose WITH queries write part by part, where that means the same.

    WITH made AS (INSERT INTO customer (id, name) VALUES (nextval('ids'), 'x') RETURNING id)
    INSERT INTO visit (customer, page) SELECT id, 'home' FROM made

first, as a statement of its own, by whichever strategy     INSERT INTO customer ... RETURNING id
then, likewise, with these rows as a WITH query              WITH made (id) AS (the rows)
                                                             INSERT INTO visit ... FROM made

On one PostgreSQL all parts see the tables as they were before the statement, and of one another
only what RETURNING gives. So no part may read a table that an earlier one writes; by foreign keys
that cascade, too. A part that inserts does not read its table, but for ON CONFLICT; after rows of
it are deleted it would find their keys free.

A WITH query that only reads stands before the one part that reads it; if several do, it is run
first, as those that write are.

Refused are RECURSIVE, rules, triggers that may touch tables, since one server fires them when all
parts are done, and foreign keys between the tables that would be looked at too early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from greenshard.planner.beside import Beside, ForeignKey, Inheritance, Name
from greenshard.planner.binding.bound_views import name_of
from greenshard.planner.binding.query import Cte, tables
from greenshard.planner.catalog import Catalog, Relation
from greenshard.planner.plan import Staged, StagedPart
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.sql.nodes import copy
from greenshard.sql.parser import type_name, walk
from greenshard.sql.text import Sql
from greenshard.sql.tree import unwrap

_CHANGING = "cnd"
"""CASCADE, SET NULL, SET DEFAULT; see `beside.ForeignKey`."""
_NOTHING = Beside()


@dataclass
class _Part:
    """A part that is run by itself.

    Attributes:
        name: Of the WITH query; None of the statement itself.
        kind: "insert_stmt", ..., or "select_stmt".
        tree: It, with the WITH queries that only it reads.
        rows: The WITH queries that were run before, and that it reads.
    """

    name: str | None
    kind: str
    tree: Any
    rows: list[str] = field(default_factory=list)


def plan_staged(
    candidate: Candidate,
    kind: str,
    inner: Any,
    relation: Callable[[Any], Relation | None],
    write: Callable[[str, Any], Sql],
) -> Staged:
    """Plan a statement with WITH queries that write, part by part.

    Args:
        candidate: What `with_writes.as_rows` made of it.
        kind: The kind of the whole.
        inner: Its tree.
        relation: Says what a `RangeVar` means.
        write: Gives the text of a statement of some kind.

    Raises:
        Unplannable: It would not mean the same.
    """
    if inner.with_clause.recursive:
        raise Unplannable("WITH is RECURSIVE")
    if candidate.bodies:
        raise Unplannable("functions in SQL are called, which may read what is written")
    parts = _cut(kind, inner)
    columns = {cte.name: tuple(_columns(cte)) for cte in candidate.query.ctes}
    needed = {name for part in parts for name in part.rows}
    if not all(columns.get(name) for name in needed):
        raise Unplannable("the columns of a WITH query are not known")
    effects = _Effects(candidate, relation, {part.name for part in parts})
    for at, part in enumerate(parts):
        for earlier in parts[:at]:
            if earlier.kind != "select_stmt":
                effects.check(earlier, part)
    return Staged(
        tuple(
            StagedPart(
                part.name if part.name in needed else None,
                columns[part.name] if part.name in needed and part.name else (),
                write(part.kind, part.tree),
                tuple(part.rows),
            )
            for part in parts
        )
    )


def _columns(cte: Cte) -> list[str]:
    """What a WITH query calls its columns."""
    given = [each.string.sval for each in cte.node.aliascolnames]
    return [*given, *(column.name for column in (cte.query.outputs or ())[len(given) :])]


def _cut(kind: str, inner: Any) -> list[_Part]:
    """The parts, in order; the last one is the statement itself."""
    ctes = [each.common_table_expr for each in inner.with_clause.ctes]
    names = [cte.ctename for cte in ctes]
    within = [each for cte in ctes for each in walk(cte) if type_name(each) == "WithClause"]
    hidden = {each.common_table_expr.ctename for one in within for each in one.ctes}
    if len(set(names)) < len(names) or not hidden.isdisjoint(names):
        raise Unplannable("two WITH queries have one name")
    main = copy(inner)
    main.ClearField("with_clause")
    reads = {cte.ctename: _named(cte.ctequery, names) for cte in ctes}
    own = _named(main, names)
    readers = {name for cte, name in zip(ctes, names, strict=True) if _reads(cte)}
    while True:
        # What a part reads, through WITH queries that stand before it.
        roots = [*(reads[name] for name in names if name not in readers), own]
        reached = [_through(root, reads, readers) for root in roots]
        shared = {name for name in readers if sum(name in each for each in reached) > 1}
        if not shared:
            break
        readers -= shared
    parts = []
    for cte in ctes:
        if cte.ctename not in readers:
            made = _Part(cte.ctename, *unwrap(copy(cte.ctequery)))
            _put_readers(made, reads[cte.ctename], ctes, reads, readers)
            parts.append(made)
    made = _Part(None, kind, main)
    _put_readers(made, own, ctes, reads, readers)
    return [*parts, made]


def _reads(cte: Any) -> bool:
    return bool(cte.ctequery.HasField("select_stmt"))


def _named(tree: Any, names: Sequence[str]) -> set[str]:
    """The WITH queries that a tree names."""
    found = (each for each in walk(tree) if type_name(each) == "RangeVar")
    return {each.relname for each in found if not each.schemaname and each.relname in names}


def _through(root: set[str], reads: dict[str, set[str]], readers: set[str]) -> set[str]:
    """The WITH queries that are read, by those that stand before, too."""
    found, pending = set(root), [*root]
    while pending:
        name = pending.pop()
        if name in readers:
            pending += reads[name] - found
            found |= reads[name]
    return found


def _put_readers(
    part: _Part,
    root: set[str],
    ctes: Sequence[Any],
    reads: dict[str, set[str]],
    readers: set[str],
) -> None:
    """Put the WITH queries before a part that only it reads; note those that were run."""
    reached = _through(root, reads, readers)
    own = [*part.tree.with_clause.ctes]
    part.rows = [cte.ctename for cte in ctes if cte.ctename in reached - readers]
    before = [cte for cte in ctes if cte.ctename in reached & readers]
    if before:
        if own and part.tree.with_clause.recursive:
            raise Unplannable("WITH is RECURSIVE")
        part.tree.ClearField("with_clause")
        for cte in before:
            part.tree.with_clause.ctes.add().common_table_expr.CopyFrom(cte)
        part.tree.with_clause.ctes.extend(own)


class _Effects:
    """What parts read and write.

    Args:
        candidate: The whole.
        relation: Says what a `RangeVar` means.
        ctes: The names of WITH queries.
    """

    def __init__(
        self,
        candidate: Candidate,
        relation: Callable[[Any], Relation | None],
        ctes: set[str | None],
    ) -> None:
        catalog: Catalog = candidate.catalog
        self._relation = relation
        self._ctes = ctes
        self._besides = catalog.besides
        self._inheritance: Inheritance = catalog.inheritance
        self._views = {
            name_of(view): {_name(table.relation) for table in tables(view.query)}
            for view in candidate.views
        }

    def check(self, earlier: _Part, later: _Part) -> None:
        """Refuse a part that would see, or meet, what an earlier one has written.

        Raises:
            Unplannable: It would.
        """
        written = self._written(earlier)
        reached = self._reached(written, earlier)
        for name in self._reads_of(later):
            if name in reached:
                raise Unplannable(f"{name[1]} is read after a part of the statement has changed it")
        if later.kind == "select_stmt":
            return
        target = self._written(later)
        frees = earlier.kind in ("delete_stmt", "merge_stmt") or self._changes_key(earlier)
        # DELETE ... RETURNING, and INSERT of its rows: these are gone before they are inserted.
        moves = earlier.kind == "delete_stmt" and earlier.name in later.rows
        if later.kind == "insert_stmt" and frees and not (moves or target.isdisjoint(reached)):
            raise Unplannable("rows are inserted where a part of the statement has removed some")
        for key in self._keys(written, target):
            here = f'foreign key "{key.name}" is looked at before all parts are done'
            # A row that is referenced is there first, and one that references is gone first.
            if key.child in written and earlier.kind != "delete_stmt":
                raise Unplannable(here)
            if key.parent in written and (frees or self._changes(earlier, key)):
                raise Unplannable(here)

    def _keys(self, written: set[Name], target: set[Name]) -> Iterator[ForeignKey]:
        """The foreign keys between some tables and others."""
        for parent, child in ((written, target), (target, written)):
            for name in parent:
                for key in self._besides.get(name, _NOTHING).keys:
                    if key.child in child:
                        yield key

    def _written(self, part: _Part) -> set[Name]:
        """The table that a part writes to, its partitions, and what it is one of."""
        (base,) = self._bases(part.tree.relation) or (None,)
        if base is None:
            raise Unplannable("a view of several tables is written to")
        return self._family({base})

    def _family(self, names: set[Name]) -> set[Name]:
        found = set(names)
        for name in names:
            found.update(self._inheritance.below(name))
            found.update(self._inheritance.above(name))
        return found

    def _reached(self, written: set[Name], part: _Part) -> set[Name]:
        """The tables that a part changes, by foreign keys, too."""
        found, pending = set(written), [*written]
        while pending:
            beside = self._besides.get(pending.pop(), _NOTHING)
            if beside.rules or any(not trigger.clean for trigger in beside.triggers):
                raise Unplannable("a trigger or a rule may touch other tables")
            if part.kind == "insert_stmt" and not part.tree.HasField("on_conflict_clause"):
                continue
            for key in beside.keys:
                if {key.on_update, key.on_delete}.isdisjoint(_CHANGING) or key.child in found:
                    continue
                family = self._family({key.child}) - found
                found |= family
                pending += family
        return found

    def _reads_of(self, part: _Part) -> set[Name]:
        """The tables whose rows a part reads."""
        found: set[Name] = set()
        plain = part.kind == "insert_stmt" and not part.tree.HasField("on_conflict_clause")
        target = part.tree.relation if part.kind != "select_stmt" else None
        for each in walk(part.tree):
            node: Any = each
            if type_name(each) != "RangeVar":
                continue
            if not node.schemaname and node.relname in self._ctes | _own_names(part.tree):
                continue
            if plain and target is not None and node.location == target.location:
                continue
            found |= self._family(set(self._bases(node)))
        return found

    def _bases(self, named: Any) -> set[Name]:
        """The tables that a name stands for; of a view those behind it."""
        relation = self._relation(named)
        if relation is None:
            raise Unplannable(f"{named.relname} is not known")
        name = _name(relation)
        if relation.kind != "v":
            return {name}
        if name not in self._views:
            raise Unplannable(f"what is behind view {relation.name} is not known")
        return self._views[name]

    def _changes_key(self, part: _Part) -> bool:
        """Whether an UPDATE, or ON CONFLICT, may free a key."""
        if part.kind not in ("update_stmt", "insert_stmt"):
            return False
        tree = part.tree if part.kind == "update_stmt" else part.tree.on_conflict_clause
        relation = self._relation(part.tree.relation)
        # Of a view it is not looked up which column is which.
        if relation is None or relation.kind == "v":
            return len(tree.target_list) > 0
        names = {each.res_target.name for each in tree.target_list}
        return not names.isdisjoint(relation.primary_key)

    def _changes(self, part: _Part, key: ForeignKey) -> bool:
        """Whether a part changes what a foreign key references."""
        if part.kind == "insert_stmt" and not part.tree.HasField("on_conflict_clause"):
            return False
        tree = part.tree if part.kind == "update_stmt" else part.tree.on_conflict_clause
        names = {each.res_target.name for each in tree.target_list}
        return not names.isdisjoint(key.referenced) or self._changes_key(part)


def _own_names(tree: Any) -> set[str]:
    """The WITH queries that stand within a tree."""
    clauses: list[Any] = [each for each in walk(tree) if type_name(each) == "WithClause"]
    return {each.common_table_expr.ctename for clause in clauses for each in clause.ctes}


def _name(relation: Relation) -> Name:
    return relation.schema, relation.name
