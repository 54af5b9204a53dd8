"""Goal: refuse DDL that fills rows with what each shard chooses for itself.

    ALTER TABLE nation ADD n_token uuid DEFAULT gen_random_uuid()    the copies would differ
    ALTER TABLE nation ADD n_number serial                           numbered in each copy's order
    ALTER TABLE orders ADD o_number serial                           each shard's from 1 on
    ALTER TABLE orders ADD o_at timestamptz DEFAULT now()            one time a shard, and not one
    ALTER TABLE orders ADD o_token uuid DEFAULT gen_random_uuid()    goes on: one a row anyway
    ALTER TABLE nation ADD n_token token                             a domain's default counts, too

ADD COLUMN computes its default for the rows that there are, ALTER ... TYPE its USING. For new rows
of a reference table INSERT looks at defaults itself (`strategies.write`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from greenshard.cluster import Reference, Single
from greenshard.cluster import Table as Declared
from greenshard.planner.analysis.clock_words import holds_word
from greenshard.planner.analysis.computed_times import computed_times
from greenshard.planner.analysis.server_values import of_tree
from greenshard.planner.binding.query import Query
from greenshard.planner.calls import Functions, name_of
from greenshard.sql.functions import COUNTING
from greenshard.sql.nodes import expression
from greenshard.sql.parser import VALUE_FUNCTIONS, Message, type_name, walk
from greenshard.sql.tree import enum_name, names_of

_SERIAL = frozenset({"serial", "serial2", "serial4", "serial8", "smallserial", "bigserial"})
_CLOCKS = frozenset({"now", "statement_timestamp", "transaction_timestamp"})


def filled_by(
    command: Any, declared: Declared, functions: Functions, bind: Callable[[Message], Query]
) -> str | None:
    """What an action of ALTER TABLE fills rows with that is another one on each shard.

    Args:
        command: The action, an `AlterTableCmd`.
        declared: What the table is.
        functions: To know what calls choose.
        bind: Gives the query that shows an expression for each row.
    """
    if isinstance(declared, Single):
        return None  # one server fills it
    action = enum_name(command, "subtype")
    reference = isinstance(declared, Reference)
    if action == "AT_AddIdentity":
        return "the numbers of a sequence" if reference else None
    if action not in ("AT_AddColumn", "AT_AlterColumnType"):
        return None
    column = getattr(command, "def").column_def
    if action == "AT_AddColumn" and _counts(column):
        return "the numbers of a sequence"
    computed = list(_expressions(column))
    if action == "AT_AddColumn" and not computed and not column.type_name.array_bounds:
        given = functions.given_by(names_of(column.type_name.names) or ("",))
        computed += [] if given is None else [expression(given)]
    found = (_differing(each, functions, bind, reference=reference) for each in computed)
    return next(chain.from_iterable(found), None)


def _differing(
    value: Message, functions: Functions, bind: Callable[[Message], Query], *, reference: bool
) -> Iterator[str]:
    """What is another one on each shard in an expression."""
    for message in walk(value):
        chosen = _chosen(message, functions, reference=reference)
        if chosen is not None:
            yield chosen
    for text in computed_times(bind(value), functions):
        if text.may_say_now or (reference and not text.is_proved):
            yield "the time that a text becomes"
    for what, _ in of_tree(value, functions) if reference else ():
        yield what.rstrip(",")


def _counts(column: Any) -> bool:
    """Whether a sequence belongs to a new column."""
    kinds = {enum_name(each.constraint, "contype") for each in column.constraints}
    return "CONSTR_IDENTITY" in kinds or (names_of(column.type_name.names) or ("",))[-1] in _SERIAL


def _expressions(column: Any) -> Iterator[Message]:
    """A new column's default, and the USING of a new type."""
    if column.HasField("raw_default"):
        yield column.raw_default
    for each in column.constraints:
        if enum_name(each.constraint, "contype") == "CONSTR_DEFAULT":
            yield each.constraint.raw_expr


def _chosen(message: Any, functions: Functions, *, reference: bool) -> str | None:
    kind = type_name(message)
    if kind == "SQLValueFunction":
        return VALUE_FUNCTIONS[message.op].upper()
    if kind == "FuncCall":
        name = name_of(message)
        # random() is another one for each row anyway. A function of the user's may tell the time.
        choosing = reference or not functions.is_own(message) or functions.is_place_bound(message)
        choosing = choosing and not functions.is_immutable(message)
        if name in _CLOCKS or name == COUNTING or choosing:
            return f"{name}()"
    # DEFAULT 'now' of a timestamp; of a text it is a word, and then refused as well.
    if kind == "A_Const" and message.WhichOneof("val") == "sval" and holds_word(message.sval.sval):
        return f"'{message.sval.sval}'"
    return None
