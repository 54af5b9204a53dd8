"""Goal: let UPDATE give rows new numbers of a sequence, which counts on the first shard for all.

    UPDATE ticket SET id = DEFAULT, title = 'x' WHERE kind = 3 RETURNING id

Likewise ``SET number = nextval('numbers')``.

1. The rows are found and locked: SELECT id AS "gs k0" FROM ticket WHERE kind = 3 FOR UPDATE
2. Each gets a number:           SELECT "gs k0", nextval('ticket_id_seq') AS "gs d0" FROM the rows
3. They are changed by these:    UPDATE ticket SET id = "gs new"."gs d0", title = 'x' FROM ...

Each is run as a statement of its own, see `staged`; so a new shard key moves the row, and the
copies of a reference table get the same numbers.

Refused are tables whose primary key does not find a row on all shards, columns that are GENERATED
ALWAYS, and UPDATE with FROM or WITH.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from greenshard.planner.binding.query import Table
from greenshard.planner.calls import Functions
from greenshard.planner.plan import Staged, StagedPart
from greenshard.planner.strategies.candidate import Unplannable
from greenshard.planner.strategies.completing import counted_targets, counts, default_of
from greenshard.planner.strategies.stand_ins import names_relation
from greenshard.sql.nodes import copy, expression, quoted
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import Message, type_name, walk
from greenshard.sql.text import Sql
from greenshard.sql.tree import unwrap

_OLD, _NEW = "gs old", "gs new"


def plan_numbered(
    table: Table, update: Any, functions: Functions, write: Callable[[str, Any], Sql]
) -> Staged:
    """Plan an UPDATE that sets columns to defaults which are counted.

    Args:
        table: What it changes.
        update: It.
        functions: What defaults may call.
        write: Gives the text of a statement of some kind.

    Raises:
        Unplannable: It cannot be planned so.
    """
    relation = table.relation
    keys = relation.primary_key
    unique = not table.sharded or (table.key is not None and table.key.name in keys)
    if relation.kind not in "rp" or not keys or not unique:
        raise Unplannable(f"{relation.name} has no primary key by which all shards find a row")
    if update.from_clause or update.HasField("with_clause"):
        raise Unplannable("UPDATE with FROM or WITH")
    if names_relation(update, _NEW):
        raise Unplannable(f"a relation is called {_NEW}")
    given = dict(counting_values(update, functions))
    counted = [*dict.fromkeys([*counted_targets(relation, update.target_list), *given])]
    name = quoted(update.relation.alias.aliasname or update.relation.relname)
    old = [f"gs k{at}" for at in range(len(keys))]
    new = [f"gs d{at}" for at in range(len(counted))]
    shown = ", ".join(
        f"{name}.{quoted(key)} AS {quoted(own)}" for key, own in zip(keys, old, strict=True)
    )
    found = parse_select(f"SELECT {shown} FROM pg_temp.t FOR UPDATE")
    found.from_clause[0].range_var.CopyFrom(update.relation)
    if update.HasField("where_clause"):
        found.where_clause.CopyFrom(update.where_clause)
    listed = ", ".join(f"{quoted(_OLD)}.{quoted(own)}" for own in old)
    numbers = parse_select(f"SELECT {listed} FROM {quoted(_OLD)} ORDER BY {listed}")
    for column in counted:
        known = relation.column(column)
        assert known is not None  # noqa: S101  # `counted_targets` has looked
        if known.identity == "a":
            raise Unplannable(f"{column} can only be updated to DEFAULT")
        value = given.get(column) or default_of(relation, known, functions)
        numbers.target_list.add().res_target.val.CopyFrom(value)
    changing = _changing(update, name, dict(zip(counted, new, strict=True)))
    _put_rows(changing, name, dict(zip(keys, old, strict=True)), new)
    return Staged(
        (
            StagedPart(_OLD, tuple(old), write("select_stmt", found), ()),
            StagedPart(_NEW, (*old, *new), write("select_stmt", numbers), (_OLD,)),
            StagedPart(None, (), write("update_stmt", changing), (_NEW,)),
        )
    )


def counting_values(update: Any, functions: Functions) -> Iterator[tuple[str, Message]]:
    """The columns that SET gives what a sequence counts, and these values."""
    for target in update.target_list:
        value = target.res_target.val
        kinds = {type_name(each) for each in walk(value)}
        if counts(value, functions) and kinds.isdisjoint({"ColumnRef", "SubLink"}):
            yield target.res_target.name, value


def without_counting(update: Any, functions: Functions) -> Any:
    """An UPDATE with NULL for such values."""
    made = copy(update)
    names = {name for name, _ in counting_values(update, functions)}
    for target in made.target_list:
        if target.res_target.name in names:
            target.res_target.val.CopyFrom(expression("NULL"))
    return made


def _changing(update: Any, name: str, numbers: dict[str, str]) -> Any:
    """The UPDATE with numbers in the places of defaults; `name` is what it calls its table."""
    made = copy(update)
    for target in made.target_list:
        number = numbers.get(target.res_target.name)
        if number is None:
            continue
        if unwrap(target.res_target.val)[0] == "multi_assign_ref" or target.res_target.indirection:
            raise Unplannable("a number stands among several values")
        value = expression(f"{quoted(_NEW)}.{quoted(number)}")
        target.res_target.val.CopyFrom(value)
    # RETURNING * would have the numbers in it, too.
    star = expression(f"{name}.*")
    for each in made.returning_clause.exprs:
        value = each.res_target.val
        fields = value.column_ref.fields
        if len(fields) == 1 and fields[0].HasField("a_star"):
            value.CopyFrom(star)
    return made


def _put_rows(update: Any, name: str, keys: dict[str, str], new: list[str]) -> None:
    """Let an UPDATE change the rows that are found by their keys, each once."""
    old = [quoted(own) for own in keys.values()]
    listed = ", ".join([*old, *(f"pg_catalog.min({quoted(own)}) AS {quoted(own)}" for own in new)])
    rows = f"(SELECT {listed} FROM {quoted(_NEW)} GROUP BY {', '.join(old)}) AS {quoted(_NEW)}"
    found = " AND ".join(
        f"{name}.{quoted(key)} OPERATOR(pg_catalog.=) {quoted(_NEW)}.{quoted(own)}"
        for key, own in keys.items()
    )
    made = parse_select(f"SELECT FROM {rows} WHERE {found}")
    update.from_clause.extend(made.from_clause)
    update.where_clause.CopyFrom(made.where_clause)
