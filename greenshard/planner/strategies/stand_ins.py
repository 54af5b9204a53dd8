"""What stands in a tree in the place of a query whose rows are computed first.

    (SELECT "gs q0".c0 AS avg FROM (VALUES (NULL), (NULL)) AS "gs q0" (c0))

Names are bound and shards are looked for in such a tree as in any other: each shard has these rows.
Before it is written as text, `put_names` lets it read them by their name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greenshard.sql.nodes import quoted
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import Message, type_name, walk

#: How the names of such rows begin.
PREFIX = "gs q"
#: Where a tree has names of relations.
_NAMED = {"RangeVar": "relname", "Alias": "aliasname", "CommonTableExpr": "ctename"}


def may_stand(select: Any) -> bool:
    """Whether no name of the user's would be taken for that of such rows."""
    return PREFIX.encode() not in select.SerializeToString()


def names_relation(tree: Message, *names: str) -> bool:
    """Whether a relation, an alias or a WITH query is called so in a tree."""
    for each in walk(tree):
        message: Any = each
        kind = type_name(message)
        field = _NAMED.get(kind)
        if field is not None and getattr(message, field) in names:
            return True
    return False


def stand_in(name: str, columns: Sequence[str]) -> Any:
    """A SELECT that shows columns of these names, of the rows called `name`: their c0, c1, ..."""
    inside = [f"c{at}" for at in range(len(columns))]
    shown = ", ".join(
        f"{quoted(name)}.{own} AS {quoted(column)}"
        for own, column in zip(inside, columns, strict=True)
    )
    made = parse_select(f"SELECT {shown}")
    made.from_clause.add().CopyFrom(rows_called(name, inside))
    return made


def rows_called(name: str, columns: Sequence[str]) -> Any:
    """An item of FROM that stands for rows called `name`, with columns of these names."""
    # Two rows: of one it would be known that it matches once.
    row = f"({', '.join(['NULL'] * len(columns))})"
    listed = ", ".join(map(quoted, columns))
    text = f"SELECT FROM (VALUES {row}, {row}) AS {quoted(name)} ({listed})"
    return parse_select(text).from_clause[0]


def put_names(select: Any) -> None:
    """Put the names of rows that are computed first in the place of what stands in for them."""
    for message in list(walk(select)):
        item: Any = message
        if type_name(message) != "Node" or not item.HasField("range_subselect"):
            continue
        name = item.range_subselect.alias.aliasname
        if name.startswith(PREFIX):
            item.CopyFrom(parse_select(f"SELECT FROM {quoted(name)}").from_clause[0])
