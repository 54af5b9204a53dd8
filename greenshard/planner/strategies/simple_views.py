"""Goal: write to a view as to the table behind it.

    CREATE VIEW dear AS SELECT o_orderkey AS key, o_totalprice AS price FROM orders WHERE ...
    UPDATE dear SET price = 3 WHERE key = 7         the shard of key 7

1. `dear` is simple: PostgreSQL itself makes a write to `orders` of one to the view.
2. Each of its rows is a row of `orders`, and `key` is the shard key. So the write is planned as one
   to a table that has this key, and where a column is left out the defaults of `orders`.
3. The text goes to the shards as it is: rights, conditions and CHECK OPTION are theirs to look
   after.

A view that PostgreSQL cannot write to, such as one with GROUP BY, any server refuses in its words.
Refused here are views of anything but one declared table, triggers and rules of views, and an
INSERT that does not give the shard key, or leaves a column that the view does not show to a default
that may be another one on each shard.

Source: PostgreSQL manual, CREATE VIEW, "Updatable Views"; view_query_is_auto_updatable() in its
rewriteHandler.c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from greenshard.planner.analysis.whole_views import whole_view
from greenshard.planner.beside import Beside, Name
from greenshard.planner.binding.bound_views import WholeView, name_of
from greenshard.planner.binding.query import Derived, Item, Table
from greenshard.planner.binding.views import view_tells_time
from greenshard.planner.calls import Functions, calls
from greenshard.planner.catalog import Column
from greenshard.planner.strategies.candidate import Unplannable
from greenshard.planner.strategies.completing import is_counted, tells, varies
from greenshard.planner.strategies.merge_defaults import actions, inserts
from greenshard.sql.nodes import copy, expression
from greenshard.sql.placeholders import Translation
from greenshard.sql.tree import unwrap

TABLES = "Write to its tables."
#: What no simple view has: fields of a `SelectStmt`, that are lists, and that are not.
_LISTS = ("distinct_clause", "group_clause", "window_clause", "values_lists", "locking_clause")
_SINGLE = ("having_clause", "with_clause", "limit_count", "limit_offset", "larg")


class NotUpdatable(Unplannable):
    """A view is written to that no PostgreSQL would write to."""


@dataclass(frozen=True, slots=True)
class SimpleView:
    """A view that PostgreSQL can write to by itself.

    Attributes:
        table: The table behind it.
        shown: For each of its columns that of the table; None for one that is computed.
        whole: The view as a table.
    """

    table: Table
    shown: tuple[str | None, ...]
    whole: WholeView

    @property
    def key(self) -> str | None:
        """What it calls the shard key; None if it does not show it, or there is none."""
        assert self.whole.relation is not None  # noqa: S101  # `simple_view` gives one
        return None if self.whole.key is None else self.whole.relation.columns[self.whole.key].name

    @property
    def hidden(self) -> Sequence[Column]:
        """The columns of the table that it does not show."""
        return [each for each in self.table.relation.columns if each.name not in self.shown]

    @property
    def columns(self) -> list[str]:
        """The columns of the table, those first that the view shows, in its order."""
        return [*(name or "" for name in self.shown), *(column.name for column in self.hidden)]

    def check_insert(self, insert: Any, functions: Functions, *, sets_later: bool) -> None:
        """Refuse an INSERT whose rows could not be placed, or would not be what they should.

        Args:
            insert: It.
            functions: What defaults may call.
            sets_later: Whether hidden columns are set later, see `view_insert`.

        Raises:
            Unplannable: It is one.
        """
        name = self.table.relation.name
        if self.table.sharded and self.key is None:
            key = self.table.key.name if self.table.key else "the key"
            raise Unplannable(
                f"the view does not show {key}, the shard key of {name}", None, TABLES
            )
        if sets_later:
            return
        one_row = len(insert.select_stmt.select_stmt.values_lists) == 1
        for column in self.hidden:
            if varies(column) and not (
                one_row and self.table.sharded and _is_of_row(column, functions)
            ):
                reason = f"{column.name} of {name}, which the view does not show, would get a "
                reason += "default that is another one on each shard"
                raise Unplannable(reason, None, TABLES)

    def check_merge(self, merge: Any, functions: Functions) -> None:
        """Refuse a MERGE whose INSERT would give its rows other columns than it should.

        Raises:
            Unplannable: It is one.
        """
        for column in self.hidden if inserts(merge) else ():
            # Each row is inserted once, by its shard; but there is one time for all.
            own = self.table.sharded and _is_of_row(column, functions) and not tells(column)
            if varies(column) and not own:
                reason = f"{column.name} of {self.table.relation.name}, which the view does not "
                reason += "show, would get a default that is another one on each shard"
                raise Unplannable(reason, None, TABLES)

    def as_of_table(self, write: Any) -> Any:
        """A write as one of the table, by which is judged what it sets off."""
        made = copy(write)
        relation = self.whole.relation
        names = {
            column.name: shown
            for column, shown in zip(relation.columns if relation else (), self.shown, strict=True)
            if shown is not None
        }
        lists = [getattr(made, each, ()) for each in ("cols", "target_list")]
        if hasattr(made, "merge_when_clauses"):
            lists += [action.target_list for action in actions(made)]
        if hasattr(made, "on_conflict_clause"):
            lists.append(made.on_conflict_clause.target_list)
        for target in (each.res_target for some in lists for each in some):
            target.name = names.get(target.name, target.name)
        return made


def simple_view(
    view: Derived,
    functions: Functions,
    translation: Translation,
    besides: Mapping[Name, Beside],
) -> SimpleView:
    """What is known of a view that is written to.

    Args:
        view: It.
        functions: What it may call.
        translation: Where parameters come from.
        besides: What happens beside writes.

    Raises:
        NotUpdatable: PostgreSQL refuses it.
        Unplannable: It is not simple.
    """
    assert view.relation is not None  # noqa: S101  # a view's
    table, shown = _behind(view, functions, besides)
    relation = view.relation
    if view_tells_time(view):
        raise Unplannable(f"view {relation.name} is written to, and tells the time", None, TABLES)
    whole = whole_view(view.query, functions, translation)
    key = table.key.name if table.sharded and table.key else None
    if whole is None or whole.sharded is not table.sharded:
        reason = f"view {relation.name} is written to, whose rows need several shards at once"
        raise Unplannable(reason, None, TABLES)
    if key is not None and shown.count(key) > 1:
        reason = f"view {relation.name} is written to, and shows {key}, the shard key, twice"
        raise Unplannable(reason, None, TABLES)
    at = shown.index(key) if key in shown else None
    columns = tuple(
        column if (base := table.relation.column(name or "")) is None else _with(column, base)
        for column, name in zip(relation.columns, shown, strict=True)
    )
    whole = replace(whole, key=at, relation=replace(relation, columns=columns))
    return SimpleView(table, shown, whole)


def _with(column: Column, base: Column) -> Column:
    """A view's column with what a row of the table gets there that is inserted without it."""
    default = base.default if column.default is None else column.default
    return replace(column, default=default, identity=base.identity, generated=base.generated)


def _behind(
    view: Derived, functions: Functions, besides: Mapping[Name, Beside]
) -> tuple[Table, tuple[str | None, ...]]:
    """The table behind a view, and which of its columns are the view's."""
    name = view.relation.name if view.relation else ""
    beside = besides.get(name_of(view))
    for trigger in beside.triggers if beside else ():
        reason = f'view {name} is written to, and has the trigger "{trigger.name}"'
        raise Unplannable(reason, None, TABLES)
    for rule in beside.rules if beside else ():
        reason = f'view {name} is written to, and has the rule "{rule.name}"'
        raise Unplannable(reason, None, TABLES)
    items, outputs = view.query.items, view.query.outputs
    if not _is_plain(view.definition) or any(
        functions.is_own(call) and functions.is_aggregate(call)
        for each in view.definition.target_list
        for call in calls(each)
    ):
        raise NotUpdatable(f"view {name} is written to, and PostgreSQL cannot")
    if len(items) == 1 and outputs is not None:
        item = items[0]
        names = _names(item, functions, besides)
        if names is not None:
            table, columns = names
            by_id = {
                column.id: each for column, each in zip(item.columns or (), columns, strict=True)
            }
            return table, tuple(by_id.get(output.id) for output in outputs)
    raise Unplannable(f"view {name} is written to, and is not of one declared table", None, TABLES)


def _names(
    item: Item, functions: Functions, besides: Mapping[Name, Beside]
) -> tuple[Table, tuple[str | None, ...]] | None:
    """A table, or that behind a view, and the columns of it that FROM shows."""
    if isinstance(item, Derived) and item.view is not None:
        return _behind(item, functions, besides)
    if not isinstance(item, Table) or item.system or not item.declared:
        return None
    if item.only or item.sampled or item.relation.kind not in "rp":
        return None
    if item.home is not None:
        reason = f"a view is written to whose table {item.relation.name} is on {item.home} alone"
        raise Unplannable(reason, None, TABLES)
    return item, tuple(column.name for column in item.relation.columns)


def _is_plain(definition: Any) -> bool:
    """Whether a view's query only takes rows and columns, of one relation."""
    sources = definition.from_clause
    if len(sources) != 1 or unwrap(sources[0])[0] != "range_var":
        return False
    return not any(getattr(definition, each) for each in _LISTS) and not any(
        definition.HasField(each) for each in _SINGLE
    )


def _is_of_row(column: Column, functions: Functions) -> bool:
    """Whether a default may come from the shard of a row that is the only one."""
    if not column.default or is_counted(column):
        return False
    return all(map(functions.is_own, calls(expression(column.default))))
