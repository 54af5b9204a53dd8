"""Goal: say which columns of its tables a statement can possibly mean.

A column whose name stands nowhere in the text, in no USING, and behind no star, can be left out of
a table without any name meaning something else. So the rule goes by names, over the whole text.
What names a whole row (`t`, `t.*` beside EXISTS, NATURAL JOIN, a list of column aliases) needs all
columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from greenshard.planner._parser import EXISTS_SUBLINK, Message, type_name, walk
from greenshard.planner.query import Query, Table, is_star, queries
from greenshard.planner.tree import names_of


class Mentions:
    """The names that stand in a statement.

    Args:
        roots: Its tree, and the definitions of the views in it.
    """

    def __init__(self, roots: Iterable[Message]) -> None:
        self._names: set[str] = set()
        self._aliases: set[str] = set()
        self._lone: set[str] = set()
        self._all = False
        ignored: set[int] = set()
        for root in roots:
            for message in walk(root):
                self._read(message, ignored)

    def _read(self, message: Any, ignored: set[int]) -> None:
        kind = type_name(message)
        if kind == "ColumnRef":
            self._read_column(message)
        elif kind == "JoinExpr":
            self._all = self._all or message.is_natural
            self._names.update(names_of(message.using_clause) or ())
        elif kind == "RangeVar":
            self._aliases.add(message.alias.aliasname or message.relname)
        elif kind in ("FuncCall", "A_Indirection"):
            # name(t) is another way to write t.name.
            nodes = message.funcname if kind == "FuncCall" else message.indirection
            self._names.update(each.string.sval for each in nodes if each.HasField("string"))

    def _read_column(self, message: Any) -> None:
        names = [field.string.sval for field in message.fields if field.HasField("string")]
        self._names.update(names)
        if len(names) == 1 and len(message.fields) == 1:
            self._lone.add(names[0])

    def needs_all(self) -> bool:
        """Whether some expression takes whole rows."""
        return self._all or not self._lone.isdisjoint(self._aliases)

    def __contains__(self, name: str) -> bool:
        return name in self._names


def starred(query: Query) -> set[int]:
    """The sources of which a star shows the columns, by number; -1 stands for all.

    The star of ``EXISTS (SELECT * ...)`` shows none.
    """
    found: set[int] = set()
    idle = {
        id(sublink.query)
        for one in queries(query)
        for sublink in one.sublinks
        if sublink.node.sub_link_type == EXISTS_SUBLINK
    }
    for one in queries(query):
        targets = [target.res_target.val for target in one.node.target_list]
        for node in targets if id(one) not in idle else ():
            if is_star(node):
                columns = one.level.expand(node)
                found |= {column.id[0] for column in columns} if columns is not None else {-1}
        if _has_inner_star(targets):
            found.add(-1)
    return found


def _has_inner_star(targets: Iterable[Message]) -> bool:
    """Whether a star stands within an expression, as in ``row(t.*)``."""
    return any(
        type_name(message) == "A_Star"
        for node in targets
        if not is_star(node)
        for message in walk(node)
    )


def has_column_aliases(table: Table) -> bool:
    """Whether the text renames a table's columns by their place."""
    return len(table.node.alias.colnames) > 0
