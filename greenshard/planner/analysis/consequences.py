"""Goal: say what a write sets off that would not be on each shard what it is on one PostgreSQL.

    INSERT INTO orders (id, n) VALUES (7, 1)    -- CREATE TRIGGER counts AFTER INSERT ON orders ...

1. The INSERT fires `counts`, whose function writes to `totals`, says its text.
2. `totals` may have its rows on other shards, or on all of them: the INSERT is refused, unless the
   cluster's declaration of `orders` names the trigger.

What a row's insertion, change or deletion sets off is followed through foreign keys and to the
tables that inherit from the one that is named. Harmless is what looks at its own row only and does
not change its shard key; and on a reference table, where each shard does it, what is the same
everywhere. A function tells that by its text (`beside.Trigger.clean`), or the user does.

Source: PostgreSQL manual, 37.1 "Overview of Trigger Behavior"; 5.5.5 "Foreign Keys".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from greenshard.cluster import Cluster, Reference, Sharded, Single
from greenshard.cluster import Table as Declared
from greenshard.planner.analysis.clock_words import holds_word
from greenshard.planner.beside import Beside, Call, ForeignKey, Name, Trigger
from greenshard.planner.calls import ways_out
from greenshard.planner.catalog import Catalog
from greenshard.planner.problem import Problem
from greenshard.sql.nodes import expression
from greenshard.sql.parser import type_name, walk
from greenshard.sql.tree import enum_name, unwrap

CODE = "GS415"

#: CASCADE, SET NULL, SET DEFAULT, as pg_constraint.confdeltype and confupdtype have them. NO ACTION
#: and RESTRICT only look.
_CHANGING = "cnd"
_DECLARE = (
    "If it looks at its own row only, or at rows with the same shard key, and leaves the key as it "
    "is, name it in the declaration of {table}: triggers = [{name!r}]. Else do in the application "
    "what it does, or run the statement on one shard with conn.on(...)."
)
_DECLARE_REFERENCE = (
    "If it looks at its own row only, and does the same on every shard (no now(), no random(), no "
    "sequence), name it in the declaration of {table}: triggers = [{name!r}]. Else drop it, and "
    "write what it does into the statement: now() is one time for all shards there."
)
_MOVE = "Delete the rows and insert them anew, with their new keys."
_NOTHING = Beside()


class _Event(NamedTuple):
    """Something that happens to rows of a table.

    Attributes:
        letter: "i", "u" or "d"; "t" for TRUNCATE.
        columns: Those that are given or changed; None: any.
        defaults: Those that get their default.
    """

    table: Name
    letter: str
    columns: frozenset[str] | None = None
    defaults: frozenset[str] = frozenset()


class Consequences:
    """Finds what writes set off.

    Args:
        cluster: What is declared.
        catalog: What is there.
    """

    def __init__(self, cluster: Cluster, catalog: Catalog) -> None:
        self._cluster = cluster
        self._besides = catalog.besides
        self._relations = catalog.relations
        self._inheritance = catalog.inheritance

    def of_write(self, kind: str, inner: Any, table: Name, columns: list[str]) -> Problem | None:
        """What an INSERT, UPDATE or DELETE of a declared table sets off that is not harmless.

        Args:
            kind: "insert_stmt", "update_stmt", "delete_stmt" or "merge_stmt".
            inner: The statement.
            table: What it writes to.
            columns: That one's.
        """
        if not self._besides:
            return None
        events = [_Event(table, "d")]
        if kind == "insert_stmt":
            events = [_inserting(inner, table, columns)]
            if enum_name(inner.on_conflict_clause, "action") == "ONCONFLICT_UPDATE":
                # INSERT ... ON CONFLICT DO UPDATE may do either, so both are looked at.
                events.append(_setting(inner.on_conflict_clause.target_list, table))
        elif kind == "update_stmt":
            events = [_setting(inner.target_list, table)]
        elif kind == "merge_stmt":
            events = [
                _of_action(each.merge_when_clause, table, columns)
                for each in inner.merge_when_clauses
            ]
        at = inner.relation.location
        return self._moved(events, at) or self._first(events, inner.relation.inh, at)

    def of_any(self, table: Name, letters: str, at: int) -> Problem | None:
        """What writes to a table or a view set off that is not harmless, whatever they give.

        Args:
            table: Its name.
            letters: What may happen to its rows: of "i", "u" and "d".
            at: Where the table is named.
        """
        if not self._besides:
            return None
        return self._first([_Event(table, letter) for letter in letters], True, at)

    def _moved(self, events: list[_Event], at: int) -> Problem | None:
        """The problem of a shard key that is computed from columns that are changed."""
        for table, letter, columns, _ in events:
            # GENERATED ALWAYS AS (...) STORED: no SET names the key, but it changes, and with it
            # the shard. (Of one that SET names, its value tells.)
            key = self._key_of(table)
            sources = self._of(table).computed.get(key or "", frozenset())
            if letter == "u" and not sources.isdisjoint(columns or ()):
                return Problem(
                    f"the shard key {key} is computed from a column that is changed, and the row "
                    "would have to move",
                    at,
                    "GS412",
                    "Delete the row and insert it anew.",
                )
        return None

    def of_move(self, table: Name, at: int, *, partitioned: bool) -> Problem | None:
        """What it sets off that rows are deleted on one shard, and inserted on another.

        Args:
            table: A sharded table, whose shard key an UPDATE has changed.
            at: Where it is named.
            partitioned: Whether a row that is inserted finds its partition.
        """
        heirs = list(self._inheritance.below(table))
        if heirs and not partitioned:
            reason = f"a row moves, and may be one of {_shown(heirs[0])}, which inherits from "
            return self._problem(f"{reason}{_shown(table)}", at, _MOVE)
        return next(self._of_moved_rows(table, at), None)

    def _of_moved_rows(self, table: Name, at: int) -> Iterator[Problem]:
        own = self._key_of(table)
        members = {table, *self._inheritance.below(table)}
        for member in sorted(members):
            yield from self._of_moved_row(member, own, at)
        for key in (key for beside in self._besides.values() for key in beside.keys):
            to_sharded = isinstance(self._declared(key.parent), Sharded)
            if key.child in members and to_sharded and own in key.columns:
                # The UPDATE looks for it before the row moves.
                reason = f'the row that foreign key "{key.name}" references is on the new shard'
                yield self._problem(f"a row moves, and {reason}", at, _MOVE)

    def _of_moved_row(self, member: Name, own: str | None, at: int) -> Iterator[Problem]:
        """What moves of one table's rows set off; `own` is the shard key."""
        beside = self._of(member)
        for trigger in beside.triggers:
            if not {"i", "d"}.isdisjoint(trigger.events):
                where = f'trigger "{trigger.name}" of table {_shown(trigger.table)}'
                yield self._problem(f"a row moves, which fires {where}", at, _MOVE)
        for rule in beside.rules:
            if rule.event in "id":
                where = f'rule "{rule.name}" of table {_shown(member)}'
                yield self._problem(f"a row moves, to which {where} applies", at, _MOVE)
        for key in beside.keys:
            # What references the row by its key has been looked at by the UPDATE. What references
            # it by something else may still do so when it is deleted.
            if own not in key.referenced or self._key_of(key.child) not in key.columns:
                where = f'foreign key "{key.name}" of {_shown(key.child)}'
                yield self._problem(f"a row moves, and {where} may reference it", at, _MOVE)

    def of_truncate(self, table: Name, *, cascades: bool, at: int) -> Problem | None:
        """What TRUNCATE sets off; each shard runs it, whatever the table is."""
        names = {table}
        pending = [table] if cascades else []
        while pending:
            # TRUNCATE ... CASCADE empties each table with a foreign key to one of these, and so on.
            found = {key.child for key in self._of(pending.pop()).keys} - names
            names |= found
            pending.extend(found)
        return self._first([_Event(each, "t") for each in sorted(names)], True, at)

    def of_keys(
        self, table: Name, letter: str, columns: frozenset[str] | None, at: int, *, only: bool
    ) -> Problem | None:
        """What foreign keys do where it does not belong, if some shards are named for a write.

        Args:
            table: What is written to; no reference table.
            letter: "u" or "d"; "t" for TRUNCATE ... CASCADE.
            columns: Those that are changed; None: any.
            at: Where the table is named.
            only: Whether the tables that inherit from it are left alone.
        """
        found = self._follow([_Event(table, letter, columns)], not only, at, named=True)
        return next(found, None)

    def harmful_triggers(self, table: Name) -> Iterator[Problem]:
        """The triggers of a declared table that are not harmless, and not declared to be."""
        of_reference = isinstance(self._declared(table), Reference)
        for trigger in self._of(table).triggers:
            yield from self._of_trigger(trigger, table, of_reference, 0)

    def _first(self, events: list[_Event], inherited: bool, at: int) -> Problem | None:
        return next(self._follow(events, inherited, at), None)

    def _follow(
        self, events: list[_Event], inherited: bool, at: int, *, named: bool = False
    ) -> Iterator[Problem]:
        """Look at some events and what they set off, each once.

        Args:
            events: Those, not of a reference table if shards are named.
            inherited: Whether they happen to the tables that inherit from theirs, too.
            at: Where the table is named.
            named: Whether shards are named: then what foreign keys do is all that is looked at, and
                TRUNCATE is one that cascades.
        """
        first = events[0]
        in_part = first.letter != "t" and isinstance(self._declared(first.table), (Sharded, Single))
        way = "without conn.on(...)" if named else "in a statement of their own"
        # Foreign keys may form a circle.
        pending, seen = list(events), set(events)
        while pending:
            event = pending.pop()
            of_reference = isinstance(self._declared(event.table), Reference)
            # DELETE FROM orders WHERE id = 7 runs on one shard. What it cascades to in a reference
            # table is deleted there only, and the copies differ from then on.
            if (named or in_part) and of_reference:
                yield self._problem(
                    f"rows of reference table {_shown(event.table)} would be changed, by a foreign "
                    "key, on some shards only",
                    at,
                    f"Delete or change those rows first, {way}.",
                )
            for member in self._members(event, inherited):
                whole = self._with_changed(event, member)
                if not named:
                    yield from self._of_member(whole, member, of_reference, at)
                for key in self._of(member).keys:
                    following = self._cascade(key, whole, truncates=named)
                    if following is None:
                        continue
                    yield from self._of_key(key, whole, following, at)
                    if following not in seen:
                        seen.add(following)
                        pending.append(following)

    def _members(self, event: _Event, inherited: bool) -> list[Name]:
        """The tables that may have the rows."""
        # `inherited` is false for UPDATE ONLY t.
        below = self._inheritance.below(event.table) if inherited else ()
        return [event.table, *below]

    def _with_changed(self, event: _Event, member: Name) -> _Event:
        """An UPDATE with all columns that it changes: BEFORE triggers, and generated columns."""
        if event.letter != "u" or event.columns is None:
            return event
        columns, beside = event.columns, self._of(member)
        for trigger in beside.triggers:
            # Only these can replace the row, by what they return.
            if trigger.before and trigger.each_row and _fires(trigger, event, member):
                if trigger.sets is None:
                    return event._replace(columns=None)
                columns |= trigger.sets
        made = [name for name, of in beside.computed.items() if not columns.isdisjoint(of)]
        return event._replace(columns=columns.union(made))

    def _of_member(
        self, event: _Event, member: Name, of_reference: bool, at: int
    ) -> Iterator[Problem]:
        """What happens to rows of one table that is not harmless."""
        beside = self._of(member)
        letters = event.letter
        if member != event.table and event.letter == "u":
            # PostgreSQL manual, 37.1: that is a DELETE and an INSERT, and fires the triggers of
            # both.
            letters = "uid"  # a row may go to another partition
        for trigger in beside.triggers:
            if any(_fires(trigger, event._replace(letter=each), member) for each in letters):
                yield from self._of_trigger(trigger, member, of_reference, at)
        for rule in beside.rules:
            # Rules apply to the table that the statement names, not to those that inherit from it.
            if member == event.table and rule.event == event.letter:
                yield self._problem(
                    f'rule "{rule.name}" of table {_shown(member)} makes other statements of it',
                    at,
                    "Do in the application what the rule does, or run the statement on one shard "
                    "with conn.on(...).",
                )
        for call in beside.calls:
            if _calls(call, event):
                yield called(call, member, at, CODE)

    def _of_trigger(
        self, trigger: Trigger, member: Name, of_reference: bool, at: int
    ) -> Iterator[Problem]:
        if any(
            declared is not None and trigger.name in declared.triggers
            # A partition has copies of its parent's triggers, so the parent's declaration counts
            # for it.
            for declared in map(self._declared, (trigger.table, member))
        ):
            return
        where = f'trigger "{trigger.name}" of table {_shown(trigger.table)}'
        way = _DECLARE_REFERENCE if of_reference else _DECLARE
        hint = way.format(table=_shown(trigger.table), name=trigger.name)
        if not trigger.clean:
            yield self._problem(f"it fires {where}, which may read or write other rows", at, hint)
        elif trigger.placed:
            what = "which tells of one shard alone, or counts there"
            yield self._problem(f"it fires {where}, {what}", at, hint)
        # NEW.updated_at := now() of a sharded table is the time of the row's own shard, whatever
        # other rows have; the copies of a reference table would differ.
        elif of_reference and not trigger.steady:
            yield self._problem(f"it fires {where}, which may do otherwise on each shard", at, hint)
        elif trigger.before and trigger.each_row and self._may_move(trigger, member):
            yield self._problem(f"it fires {where}, which may change the shard key", at, hint)

    def _may_move(self, trigger: Trigger, member: Name) -> bool:
        """Whether a trigger may change the shard key of a table."""
        key = self._key_of(member) or self._key_of(trigger.table)
        return key is not None and self._moves(member, key, trigger.sets)

    def _moves(self, table: Name, key: str, columns: frozenset[str] | None) -> bool:
        """Whether a change of some columns, None: of any, changes the key."""
        if columns is None:
            return True
        sources = self._of(table).computed.get(key, frozenset())
        return key in columns or not sources.isdisjoint(columns)

    def _cascade(self, key: ForeignKey, event: _Event, *, truncates: bool) -> _Event | None:
        """What a foreign key makes of a change of the table that it references."""
        # TRUNCATE ... CASCADE empties whatever references.
        if event.letter == "t" and truncates:
            return _Event(key.child, "t")
        if event.letter == "d" and key.on_delete in _CHANGING:
            if key.on_delete == "c":
                return _Event(key.child, "d")
            # ON DELETE SET NULL (a, b) may name some of the columns, from PostgreSQL 15 on.
            defaults = key.set if key.on_delete == "d" else frozenset[str]()
            return _Event(key.child, "u", key.set, defaults)
        # UPDATE of a column that nobody references cascades to nothing.
        changed = event.columns is None or not event.columns.isdisjoint(key.referenced)
        if event.letter == "u" and key.on_update in _CHANGING and changed:
            defaults = key.columns if key.on_update == "d" else frozenset[str]()
            return _Event(key.child, "u", key.columns, defaults)
        return None

    def _of_key(
        self, key: ForeignKey, event: _Event, following: _Event, at: int
    ) -> Iterator[Problem]:
        # A default may be nextval(), and each shard has its own sequence.
        of_reference = isinstance(self._declared(key.child), Reference)
        if of_reference and not self._are_constant(key.child, following.defaults):
            yield self._problem(
                f'foreign key "{key.name}" would set defaults in reference table '
                f"{_shown(key.child)}, which may be others on each shard",
                at,
                f"Change the rows of {_shown(key.child)} first.",
            )
        own = self._key_of(key.child)
        # A row that is deleted has no key to change.
        if own is None or following.letter != "u":
            return
        columns = following.columns
        if event.letter == "u" and key.on_update == "c" and event.columns is not None:
            # CASCADE writes all columns of the key, but to what they are where nothing has changed.
            references = key.references.items()
            columns = frozenset(mine for mine, theirs in references if theirs in event.columns)
        if not self._moves(key.child, own, columns):
            return
        yield self._problem(
            f'foreign key "{key.name}" would change {own}, the shard key of {_shown(key.child)}',
            at,
            f"Delete or change the rows of {_shown(key.child)} first.",
        )

    def _are_constant(self, table: Name, columns: frozenset[str]) -> bool:
        """Whether some columns' defaults are the same everywhere: NULL or literals."""
        relation = self._relations.get(table)
        found = [None if relation is None else relation.column(name) for name in columns]
        return all(
            each is not None
            and not each.generated
            and (each.default is None or _is_literal(each.default))
            for each in found
        )

    def _problem(self, reason: str, at: int, hint: str) -> Problem:
        return Problem(reason, at, CODE, hint)

    def _of(self, table: Name) -> Beside:
        return self._besides.get(table, _NOTHING)

    def _declared(self, table: Name) -> Declared | None:
        return self._cluster.table(*table)

    def _key_of(self, table: Name) -> str | None:
        declared = self._declared(table)
        return declared.column if isinstance(declared, Sharded) else None


def called(call: Call, table: Name, at: int | None, code: str) -> Problem:
    """The problem of a function that may read tables, and is called beside a statement."""
    where = f"{call.kind} {call.name} of table {_shown(table)}"
    if call.kind == "view":
        where = f"view {_shown(table)}"
    elif call.kind in ("default", "generated", "domain", "type", "operator class"):
        what = "expression" if call.kind == "generated" else call.kind
        where = f"the {what} of column {call.name} of table {_shown(table)}"
    return Problem(
        f"{where} calls {call.function}(), which may read tables, of which each shard has a part "
        "only",
        at,
        code,
        ways_out(call.function, row=False),
    )


def _inserting(inner: Any, table: Name, columns: list[str]) -> _Event:
    # All columns: one that is left out gets NULL or its default, which its domain's check sees,
    # too.
    return _Event(table, "i", frozenset(columns), defaulted(inner, columns))


def _of_action(action: Any, table: Name, columns: Sequence[str]) -> _Event:
    """What a WHEN clause of MERGE does."""
    command = enum_name(action, "command_type")
    if command == "CMD_UPDATE":
        return _setting(action.target_list, table)
    if command != "CMD_INSERT":
        return _Event(table, "d" if command == "CMD_DELETE" else "")
    names = [each.res_target.name for each in action.target_list] or columns
    given = {
        name
        for name, value in zip(names, action.values, strict=False)
        if unwrap(value)[0] != "set_to_default"
    }
    return _Event(table, "i", frozenset(columns), frozenset(columns) - given)


def defaulted(insert: Any, columns: Sequence[str]) -> frozenset[str]:
    """The columns of a table that get their default in some row of an INSERT.

    Args:
        insert: The `InsertStmt`.
        columns: All of the table's, in order.
    """
    if not insert.HasField("select_stmt"):  # DEFAULT VALUES
        return frozenset(columns)
    select = insert.select_stmt.select_stmt
    named = [column.res_target.name for column in insert.cols]
    rows = [row.list.items for row in select.values_lists]
    if not named and select.target_list and not any(_is_star(each) for each in select.target_list):
        named = list(columns[: len(select.target_list)])
    # VALUES (1, 2), (3, DEFAULT): one DEFAULT is enough for the column's default to be computed.
    return frozenset(columns).difference(
        name
        for at, name in enumerate(named or columns)
        if all(_has_value(row, at, named=len(insert.cols) > 0) for row in rows)
    )


def _is_star(target: Any) -> bool:
    fields = target.res_target.val.column_ref.fields
    return len(fields) > 0 and fields[-1].HasField("a_star")


def _has_value(row: Any, at: int, *, named: bool) -> bool:
    """Whether a row of VALUES has a value at a place.

    ``VALUES %s`` is given one for each column that is named; if none is, nobody knows how many.
    """
    if at < len(row):
        return unwrap(row[at])[0] != "set_to_default"
    return named and len(row) == 1


def _setting(targets: Any, table: Name) -> _Event:
    """The UPDATE of the columns that SET names."""
    named = frozenset(each.res_target.name for each in targets)
    return _Event(table, "u", named, named if sets_default(targets) else frozenset())


def sets_default(targets: Any) -> bool:
    """Whether SET gives some column its default."""
    return any(type_name(m) == "SetToDefault" for each in targets for m in walk(each))


def _fires(trigger: Trigger, event: _Event, member: Name) -> bool:
    # Statement triggers fire for the named table only, not for those that inherit from it.
    if event.letter not in trigger.events or not (trigger.each_row or member == event.table):
        return False
    if event.letter != "u" or event.columns is None or not trigger.columns:
        return True
    return not event.columns.isdisjoint(trigger.columns)


def _calls(call: Call, event: _Event) -> bool:
    if call.kind == "default":
        return call.name in event.defaults
    if event.letter == "d":
        return False
    # They are tested for a column that gets a value; CHECK constraints and expressions of indexes
    # for each new version of the row.
    if call.kind in ("domain", "type"):
        return event.columns is None or call.name in event.columns
    return event.letter != "t"


def _is_literal(default: str) -> bool:
    if not default or holds_word(default):  # it could not be read, or is the time
        return False
    kind, inner = unwrap(expression(default))
    while kind == "type_cast":
        kind, inner = unwrap(inner.arg)
    return kind == "a_const"


def _shown(table: Name) -> str:
    schema, name = table
    return name if schema == "public" else f"{schema}.{name}"
