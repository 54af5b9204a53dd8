"""Goal: find expressions whose value may be another one if the same rows come in another order.

    sum(w)      of floats: each addition rounds, so the last digits depend on the order
    max(n)      of numerics: 1.0 and 1.00 are equal, and the first one met is given

Types are known of columns and casts alone. So an expression is taken for what stands in it: for
floats if a float's column, a cast to float, or a function or operator that makes floats does. What
a subquery computes is looked for in the subquery.

Of floats that are equal only 0 and -0 look different, which is left aside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from greenshard.planner.binding.query import CteScan, Query, expressions, nested, queries
from greenshard.planner.binding.scope import Level
from greenshard.planner.calls import name_of
from greenshard.planner.catalog import Column
from greenshard.sql.functions import Fact, facts_of
from greenshard.sql.parser import Message, type_name, walk
from greenshard.sql.tree import names_of

_FLOATS = frozenset({"float4", "float8"})
#: Operators that make floats of integers: powers, roots, distances.
_FLOAT_OPERATORS = frozenset({"^", "|/", "||/", "<->", "@-@"})
#: Equal values of them may look different: a day and 24 hours, `a` and `A`.
_LOOSE = frozenset({"interval", "jsonb", "numrange", "nummultirange", "citext"})
#: And of these, unless a modifier tells how many digits or characters they have.
_LOOSE_ALONE = frozenset({"numeric", "bpchar"})

_Test = Callable[[str, str], bool]


def may_be_float(node: Message, query: Query) -> bool:
    """Whether an expression of a query may have been computed of floats."""
    return _holds(node, query, _is_float, floats=True)


def may_look_different(node: Message, query: Query) -> bool:
    """Whether equal values of an expression of a query may look different."""
    return _holds(node, query, _is_loose, floats=False)


def looks_different(column: Column) -> bool:
    """Whether equal values of a column may look different."""
    return not column.deterministic or _is_loose(column.type_name, column.type_sql)


def _holds(node: Message, query: Query, test: _Test, *, floats: bool) -> bool:
    found = list(_leaves(node, query.level, test, floats=floats))
    if True in found:
        return True
    # A column of a subquery: what it is computed from stands somewhere in the statement, so all of
    # it is searched. That may find too much, and then a statement is refused that would be right.
    return None in found and any(
        True in _leaves(root, level, test, floats=floats)
        for one in _all_queries(query)
        for root, level in expressions(one)
    )


def _leaves(root: Message, level: Level, test: _Test, *, floats: bool) -> Iterator[bool | None]:
    """What stands in an expression: whether it is meant; None if that is not known."""
    for each in walk(root):
        message: Any = each
        kind = type_name(message)
        if kind == "ColumnRef":
            found = level.named(names_of(message.fields))
            column = found.column if found is not None else None
            if column is None:
                yield None
            else:
                # A collation that is not deterministic takes 'a' for 'A'; for floats it means
                # nothing.
                yield test(column.type_name, column.type_sql) or (
                    not floats and not column.deterministic
                )
        elif kind == "TypeCast":
            *_, name = names_of(message.type_name.names) or ("",)
            # numeric(10, 2) shows two digits, whatever was put in: all its equal values look alike.
            yield test(name, "(" if message.type_name.typmods else "")
        elif floats and kind == "FuncCall":
            yield Fact.FLOATS in facts_of(name_of(message))
        elif floats and kind == "A_Expr":
            yield (names_of(message.name) or ("",))[-1] in _FLOAT_OPERATORS


def _all_queries(query: Query) -> Iterator[Query]:
    """A query, those within it, and the WITH queries that these name."""
    pending, seen = [query], set()
    while pending:
        for one in queries(pending.pop()):
            # A recursive WITH query names itself.
            if id(one) in seen:
                continue
            seen.add(id(one))
            yield one
            pending += [item.cte.query for item in nested(one.items) if isinstance(item, CteScan)]


def _is_float(name: str, _: str) -> bool:
    return name.lstrip("_") in _FLOATS


def _is_loose(name: str, type_sql: str) -> bool:
    # pg_type calls the arrays of numeric `_numeric`.
    plain = name.lstrip("_")
    return plain in _LOOSE or (plain in _LOOSE_ALONE and "(" not in type_sql)
