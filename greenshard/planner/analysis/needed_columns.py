"""Goal: say which columns of its tables a statement can possibly mean.

A column whose name stands nowhere in the text, in no USING, and behind no star, can be left out of
a table without any name meaning something else. So the rule goes by names, over the whole text.
What names a whole row (`t`, a star within an expression, NATURAL JOIN, a list of column aliases)
needs all columns.

Where somebody may read some of a table's columns only, a column is left out too whose name means
other tables' columns wherever it stands: PostgreSQL would not ask whether it may be read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from greenshard.planner.binding.query import (
    Item,
    Join,
    Query,
    Table,
    expressions,
    is_star,
    nested,
    queries,
    tables,
)
from greenshard.sql.parser import EXISTS_SUBLINK, Message, type_name, walk
from greenshard.sql.tree import names_of, walk_level

#: The parts of a column's name, and where it stands.
_Written = tuple[tuple[str, ...], int]


class Mentions:
    """The names that stand in a statement.

    Args:
        query: The statement.
        roots: Its tree, and the definitions of the views in it.
    """

    def __init__(self, query: Query, roots: Iterable[Message]) -> None:
        self._query = query
        self._starred = _starred(query)
        self._times: Counter[str] = Counter()  # how often a column is called so
        self._loose: set[str] = set()  # what is not only the name of a column
        self._elsewhere: set[str] = set()  # of these, what is no part of a column's name
        self._written: Counter[_Written] = Counter()
        self._aliases: set[str] = set()
        self._lone: set[str] = set()
        self._all = False
        self._stars = 0  # those within expressions
        for root in roots:
            for message in walk(root):
                self._read(message)

    def _read(self, message: Any) -> None:
        kind = type_name(message)
        if kind == "ColumnRef":
            self._read_column(message)
        elif kind == "JoinExpr":
            # NATURAL joins by whatever columns both sides have: one less, and it is another join.
            self._all = self._all or message.is_natural or len(message.alias.colnames) > 0
            self._elsewhere.update(names_of(message.using_clause) or ())
            self._loose |= self._elsewhere
        elif kind == "RangeVar":
            self._aliases.add(message.alias.aliasname or message.relname)
        elif kind == "Alias":
            self._aliases.add(message.aliasname)
        elif kind == "A_Star":
            self._stars += 1
        elif kind == "ResTarget":
            # SELECT * and SELECT t.* show columns, and `_starred` tells of which tables; what is
            # left are stars that make a row, as in row_to_json(t.*).
            self._stars -= is_star(message.val)
        elif kind in ("FuncCall", "A_Indirection"):
            # name(t) is another way to write t.name.
            nodes = message.funcname if kind == "FuncCall" else message.indirection
            self._elsewhere.update(each.string.sval for each in nodes if each.HasField("string"))
            self._loose |= self._elsewhere

    def _read_column(self, message: Any) -> None:
        names = [field.string.sval for field in message.fields if field.HasField("string")]
        if len(names) == len(message.fields):  # it does not end with a star
            # SELECT o FROM orders o: a name alone may be a whole row's.
            if len(names) == 1:
                self._lone.update(names)
            self._written[(*names,), message.location] += 1
            self._times[names.pop()] += 1
        self._loose.update(names)

    @cached_property
    def _every(self) -> bool:
        """Whether some expression takes whole rows."""
        return (
            self._all
            or self._stars > 0
            or -1 in self._starred
            or not self._lone.isdisjoint(self._aliases)
        )

    def of(self, table: Table) -> set[str]:
        """The names of a table's columns that the statement can mean at one place."""
        columns = [column.name for column in table.relation.columns]
        numbers = {column.id[0] for column in table.columns or ()}
        if (exactly := self._exactly(table, numbers)) is not None:
            return exactly
        # FROM orders o (a, b) renames by place, and to leave a column out would move the others.
        renamed = len(table.node.alias.colnames) > 0
        if self._every or renamed or not numbers.isdisjoint(self._starred):
            return set(columns)
        found = {name for name in columns if name in self._times or name in self._loose}
        if table.relation.security.column_grants:
            found -= self._of_others(numbers)
        return found

    def _of_others(self, numbers: set[int]) -> set[str]:
        """The names that mean columns of other sources than some, wherever they stand."""
        others = Counter(names[-1] for (names, _), number in self._meant if number not in numbers)
        return {
            name
            for name, times in self._times.items()
            if others[name] == times and name not in self._loose
        }

    def _exactly(self, table: Table, numbers: set[int]) -> set[str] | None:
        """The columns of a table of which somebody may read some only; None if that is not known.

        GRANT SELECT (id): PostgreSQL checks each column that is read, and one that is brought
        without being meant would be denied.
        """
        if not table.relation.security.column_grants or self._all or self._stars > 0:
            return None
        renamed = len(table.node.alias.colnames) > 0
        if renamed or not numbers.isdisjoint(self._starred) or -1 in self._starred:
            return None
        meant = self._meant
        # A name that is no column's may be that of a whole row, or of a column of the answer.
        if self._written - Counter(written for written, _ in meant):
            return None
        read = {written[0][-1] for written, number in meant if number in numbers}
        columns = {column.name for column in table.relation.columns}
        return columns & (read | self._elsewhere)

    @cached_property
    def _meant(self) -> list[tuple[_Written, int]]:
        """What each name of a column is a column of, as far as that is known."""
        return [
            ((names, message.location), column.id[0])
            for one in queries(self._query)
            for root, level in expressions(one)
            for each in walk_level(root)
            if type_name(each) == "ColumnRef"
            for message in [_any(each)]
            for names in [names_of(message.fields)]
            for column in [level.named(names)]
            if names and column is not None
        ]


def _starred(query: Query) -> set[int]:
    """The tables of which a star shows the columns, by number; -1 stands for all.

    The star of ``EXISTS (SELECT * ...)`` shows none, but there must be the right to read them all.
    """
    idle = {
        id(sublink.query)
        for one in queries(query)
        for sublink in one.sublinks
        # ORDER BY 1 would give the star's columns a meaning again.
        if sublink.node.sub_link_type == EXISTS_SUBLINK and not sublink.query.node.sort_clause
        if not any(table.relation.security.column_grants for table in tables(sublink.query))
    }
    owners = _owners(query)
    found: set[int] = set()
    for one in queries(query):
        for target in one.node.target_list if id(one) not in idle else ():
            if is_star(target.res_target.val):
                found |= _of_star(target.res_target.val, one, owners)
    return found


def _of_star(node: Any, query: Query, owners: Mapping[int, Item]) -> set[int]:
    items = query.items
    if len(node.column_ref.fields) > 1:
        source = query.level.source_of(node)
        # t.* of a t that is not known may be any table's.
        if source is None:
            return {-1}
        items = [owners[id(source)]]
    return {
        column.id[0]
        for item in nested(items)
        if isinstance(item, Table)
        for column in item.columns or ()
    }


def _any(message: Message) -> Any:
    return message


def _owners(query: Query) -> dict[int, Item]:
    """For each source the item that it is a name of."""
    owners: dict[int, Item] = {}
    for one in queries(query):
        for item in nested(one.items):
            for source in item.sources:
                # A join without an alias has the sources of what it joins.
                if not isinstance(item, Join) or id(source) not in owners:
                    owners[id(source)] = item
    return owners
