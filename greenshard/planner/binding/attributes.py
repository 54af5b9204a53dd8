"""Goal: see the functions that are written as attributes.

    SELECT t.f FROM orders t        calls f(t), if orders has no column f
    SELECT (x).f FROM orders        calls f(x), if x is no row with a field f
    SELECT t.count FROM orders t    counts the rows

No other rule looks for them there, so what would make a difference is refused: functions that are
not IMMUTABLE, what is another one on each shard, aggregates, what tells the time, and whatever is
given a whole row, of which only the columns that are named would be brought. Written as a call it
is seen.

A column or a field goes first, as in PostgreSQL. If it is not known whether there is one, the name
of an aggregate (`count`, `max`) or of a STABLE function of PostgreSQL's (`date`) is taken for a
field's where some column or field has that name.

Source: ParseFuncOrColumn in PostgreSQL's parse_func.c; PostgreSQL manual, 8.16.5 "Using Composite
Types in Queries".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from greenshard.planner.binding.query import Query, expressions, queries
from greenshard.planner.binding.scope import Columns, Level
from greenshard.planner.calls import Functions, differs
from greenshard.planner.catalog import Catalog
from greenshard.planner.problem import Problem
from greenshard.sql.functions import AGE
from greenshard.sql.parser import Message, type_name
from greenshard.sql.tree import location_of, names_of, unwrap, walk_level

#: What an expression is: a type as `Column.type_sql` has it, or the fields of a row with their
#: types; None if that is not known.
_Kind = str | Mapping[str, "str | None"] | None

_SCALAR = "pg_catalog."
#: Expressions that are no rows, whatever is in them.
_SCALARS = frozenset({"a_const", "a_expr", "bool_expr", "null_test", "sqlvalue_function"})


class Attributes:
    """Finds the attributes of a statement's queries that may be calls.

    Args:
        functions: What they may call.
        catalog: What has which columns and fields.
    """

    def __init__(self, functions: Functions, catalog: Catalog) -> None:
        self._functions = functions
        self._catalog = catalog

    def problems(self, query: Query, *, sharded: bool) -> Iterator[Problem]:
        """What must be written as a call.

        PostgreSQL writes the attributes in views' definitions as calls.

        Args:
            query: The statement's; or what it reads, with its values, if it writes.
            sharded: Whether it reads or writes a sharded table.
        """
        for one in queries(query, into_views=False):
            for root, level in expressions(one):
                for message in walk_level(root):
                    for name in self._calls(message, level, sharded):
                        yield Problem(
                            f"{name} may be a function that is written as an attribute",
                            location_of(message),
                            "GS410",
                            f"Write it as a call, {name}(...); if it is a column or a field, run "
                            "the statement on one shard with conn.on('...').",
                        )

    def _calls(self, message: Any, level: Level, sharded: bool) -> Iterator[str]:
        kind = type_name(message)
        # A name alone is never a call: PostgreSQL looks for a column, then for a row.
        if kind == "ColumnRef" and len(message.fields) > 1:
            *names, name = names_of(message.fields) or ("",)
            if self._functions.written_as(name):
                row = _row(names, level)
                # It may be a call, but one that any shard answers alike.
                if row is None and not self._differs(name, sharded):
                    return
                if self._is_call(name, row, sharded):
                    yield name
        elif kind == "A_Indirection" and message.arg.HasField("a_const"):
            yield from names_of(message.indirection) or ()  # a cast: ('today').date
        elif kind == "A_Indirection":
            steps = [step.string.sval for step in message.indirection if step.HasField("string")]
            if any(self._differs(name, sharded) for name in steps):
                yield from self._steps(message, level, sharded)

    def _steps(self, message: Any, level: Level, sharded: bool) -> Iterator[str]:
        found = self._kind(message.arg, level)
        for step in message.indirection:
            if step.HasField("string"):
                name = step.string.sval
                if self._differs(name, sharded) and self._is_call(name, found, sharded):
                    yield name
            found = self._part(found, step)

    def _is_call(self, name: str, found: _Kind, sharded: bool) -> bool:
        """Whether a name that would make a difference may be a function's there."""
        fields = self._fields(found)
        # A column or field of that name goes first (ParseFuncOrColumn).
        if fields is not None:
            return name not in fields
        if self._refused(name):
            return True
        return self._may_differ(name, sharded) and name not in self._catalog.fields

    def _differs(self, name: str, sharded: bool) -> bool:
        return name == AGE or self._refused(name) or self._may_differ(name, sharded)

    def _refused(self, name: str) -> bool:
        found = self._functions.written_as(name)
        return any(
            each.volatility == "v" or (each.schema != "pg_catalog" and each.volatility != "i")
            for each in found
        ) or (bool(found) and differs(name, found))

    def _may_differ(self, name: str, sharded: bool) -> bool:
        """Whether it is an aggregate, or a function that depends on settings."""
        found = self._functions.written_as(name)
        return any(each.volatility == "s" or (sharded and each.kind == "a") for each in found)

    # What an expression is ------------------------------------------------------------------

    def _kind(self, node: Message, level: Level) -> _Kind:
        kind, inner = unwrap(node)
        if kind == "column_ref":
            return _named(inner, level)
        if kind == "type_cast":
            return self._cast(inner.type_name)
        if kind == "a_indirection":
            found = self._kind(inner.arg, level)
            for step in inner.indirection:
                found = self._part(found, step)
            return found
        if kind == "row_expr":
            return {}
        return _SCALAR if kind in _SCALARS else None

    def _cast(self, target: Any) -> _Kind:
        """The type of a cast: unless it is PostgreSQL's own, whatever ends with that name."""
        *schema, name = names_of(target.names) or ("",)
        if target.array_bounds:
            return None
        if schema == ["pg_catalog"]:
            return _SCALAR
        found: dict[str, str | None] = {}
        for known, fields in self._catalog.composites.items():
            if known.rpartition(".")[2].strip('"') == name:
                # Types of that name in several schemas: the fields of all, for the path is not
                # asked here.
                found |= dict.fromkeys(fields)
        return found or (None if schema else _SCALAR)

    def _part(self, found: _Kind, step: Any) -> _Kind:
        """What a field, or an element of an array, is."""
        if step.HasField("string"):
            return (self._fields(found) or {}).get(step.string.sval)
        # (a[1]).f: a subscript of an array gives its element.
        if isinstance(found, str) and found.endswith("[]"):
            return found.removesuffix("[]")
        return None

    def _fields(self, found: _Kind) -> Mapping[str, str | None] | None:
        """The fields of what an expression is; None if they are not known."""
        if not isinstance(found, str):
            return found
        known = self._catalog.composites.get(found)
        if known is not None:
            return known
        return {} if found.startswith(_SCALAR) or "." not in found else None


def _named(column: Any, level: Level) -> _Kind:
    """What a `ColumnRef` alone is: a column, or a whole row."""
    if column.fields[-1].HasField("a_star"):
        return _row(names_of(column.fields[:-1]), level)
    names = names_of(column.fields)
    found = level.named(names)
    if found is None:
        return _row(names, level)
    return None if found.column is None else found.column.type_sql


def _row(names: Any, level: Level) -> Mapping[str, str | None] | None:
    """The columns of what an alias names; None if they are not known.

    Of `excluded`, and the like, those of all that FROM names are taken.
    """
    *schema, alias = names or ("",)
    at: Level | None = level
    while at is not None:
        for source in at.sources:
            if source.alias == alias and schema in ([], [source.schema]):
                return _typed(source.columns)
        at = at.parent
    return _typed(level.columns)


def _typed(columns: Columns) -> Mapping[str, str | None] | None:
    if columns is None:
        return None
    return {each.name: each.column.type_sql if each.column else None for each in columns}
