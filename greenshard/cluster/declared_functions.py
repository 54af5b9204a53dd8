"""What a cluster declares of functions: what they read.

``functions={"price_of(int)": {"reads": "shard"}}``: greenshard cannot tell what a function in C, or
one in PL/pgSQL that runs a query, does. Its author can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from greenshard.cluster.mistakes import Mistakes, kind, place, shown
from greenshard.sql.parser import ParserError, parse
from greenshard.sql.tree import names_of

READS = ("nothing", "shard")
"""What a function may be declared to read: nothing but its arguments, or rows of its own shard."""

_BAD_NAME = 'is not a function\'s name, as in "f", "sales.f" or "sales.f(integer, text)"'


@dataclass(frozen=True, slots=True)
class DeclaredFunction:
    """A function, or all that share a name, and what it reads.

    Attributes:
        text: As it was declared.
        schema: None for any.
        name: Its name in the catalog.
        arguments: For each of its arguments the schema, None for any, and the name of the type as
            ``pg_type`` has them; None: whatever they are.
        reads: One of `READS`.
    """

    text: str
    schema: str | None
    name: str
    arguments: tuple[tuple[str | None, str], ...] | None
    reads: str


def read_functions(given: Any, mistakes: Mistakes) -> tuple[DeclaredFunction, ...]:
    """The functions of a declaration, as far as they can be read."""
    if not isinstance(given, Mapping):
        mistakes.add("functions", f"must be a mapping of names, not {kind(given)}")
        return ()
    functions: dict[tuple[Any, ...], DeclaredFunction] = {}
    for text, entry in given.items():
        at = place("functions", text)
        named = _named(str(text))
        if named is None:
            mistakes.add(at, _BAD_NAME)
            continue
        if named in functions:
            mistakes.add(at, "is declared twice")
        reads = _reads(at, entry, mistakes)
        functions[named] = DeclaredFunction(str(text), *named, reads)
    return tuple(functions.values())


def _reads(at: str, entry: Any, mistakes: Mistakes) -> str:
    if not isinstance(entry, Mapping) or "reads" not in entry:
        mistakes.add(at, 'must be { reads = "nothing" } or { reads = "shard" }')
    if not isinstance(entry, Mapping):
        return READS[0]
    for key in entry:
        if key != "reads":
            mistakes.add(f"{at}.{place(key)}", "no such setting; there is reads")
    reads = entry.get("reads", READS[0])
    if reads not in READS:
        near = get_close_matches(str(reads), READS, 1, 0.5)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        mistakes.add(f"{at}.reads", f"must be one of {', '.join(READS)}, not {shown(reads)}{meant}")
        return READS[0]
    return str(reads)


_Named = tuple[str | None, str, tuple[tuple[str | None, str], ...] | None]


def _named(text: str) -> _Named | None:
    """Schema, name and arguments, as PostgreSQL reads them; None if it is no function's name."""
    # PostgreSQL's own grammar: names in quotes, "double precision" and "int" are as in SQL.
    wanted = f"COMMENT ON FUNCTION {text} IS NULL"
    try:
        statements = parse(wanted)
    except (ParserError, ValueError):
        return None
    if len(statements) != 1 or not statements[0].stmt.HasField("comment_stmt"):
        return None
    found = statements[0].stmt.comment_stmt.object.object_with_args
    *schema, name = names_of(found.objname) or ("",)
    if not name or len(schema) > 1:
        return None
    arguments = None
    if not found.args_unspecified:
        arguments = tuple(_type(each.type_name) for each in found.objargs)
        if ("", "") in arguments:
            return None
    return (schema[0] if schema else None), name, arguments


def _type(node: Any) -> tuple[str | None, str]:
    """A type's schema and name in ``pg_type``; empty texts if it is none of one argument."""
    names = names_of(node.names)
    if not names or node.pct_type or node.setof or len(names) > 2:
        return "", ""
    # An array's type is called as its elements' with _ before it (manual, CREATE TYPE).
    name = f"_{names[-1]}" if node.array_bounds else names[-1]
    return (names[0] if len(names) == 2 else None), name
