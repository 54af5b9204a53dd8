"""A query that the strategies try to plan, with all that is known of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from greenshard.planner.analysis.computed_times import Computed, computed_times
from greenshard.planner.analysis.locality import Locality
from greenshard.planner.analysis.needed_columns import Mentions
from greenshard.planner.analysis.restriction import Restriction, Restrictions
from greenshard.planner.analysis.shape import Analysis, Crosses
from greenshard.planner.analysis.whole_views import whole_views
from greenshard.planner.binding.bound_views import Name, views_in
from greenshard.planner.binding.query import Derived, Query, Table, bodies, tables
from greenshard.planner.bodies import Body
from greenshard.planner.calls import Functions
from greenshard.planner.catalog import Catalog
from greenshard.planner.plan import Constant, Parameter, Pin, Plan, Reading, Refusal, Value
from greenshard.planner.strategies.stand_ins import put_names
from greenshard.sql.deparsing import write
from greenshard.sql.nodes import as_statement, copy
from greenshard.sql.parser import type_name, walk
from greenshard.sql.placeholders import Translation
from greenshard.sql.text import Sql
from greenshard.sql.tree import own_type, unwrap
from greenshard.sql.types import FAMILIES

#: Gives a SELECT as a statement of its own, and its plan.
Read = Callable[[Any], tuple[Sql, Plan]]

_INTEGERS = frozenset(name for name, family in FAMILIES.items() if family == "int")


class Unplannable(Exception):
    """A strategy cannot plan the query.

    Args:
        reason: Why.
        offset: Where, in bytes of the parsed text; None if it is not known.
        hint: What the user can do instead, of a write; None: read first what it reads.
        code: Of the error, of a write.
        pgcode: PostgreSQL's, if it is an error there, too.
    """

    def __init__(
        self,
        reason: str,
        offset: int | None = None,
        hint: str | None = None,
        code: str = "GS412",
        pgcode: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.pgcode = pgcode
        self.code = code
        self.reason = reason
        self.offset = offset
        self.hint = hint


@dataclass(frozen=True)
class Candidate:
    """A SELECT.

    Attributes:
        text: The user's text.
        translation: The same in the parser's placeholders.
        query: Its tree with the names resolved. In it the time at which the transaction began is
            a placeholder.
        changed: Whether the tree says more than the text, so that this cannot go to several
            servers: the time is one for all, or an order is said.
        bind: Resolves the names of a copy of the tree.
        readings: What is read as the user because views' queries stand in the place of their names.
        stands_in: Whether the tree has stand-ins for queries in it, see `stand_ins`.
    """

    text: str
    translation: Translation
    query: Query
    catalog: Catalog
    functions: Functions
    changed: bool
    bind: Callable[..., Query]
    readings: tuple[Reading, ...] = ()
    stands_in: bool = False

    @property
    def select(self) -> Any:
        """The tree: a `SelectStmt`."""
        return self.query.node

    @cached_property
    def tables(self) -> Sequence[Table]:
        return list(tables(self.query))

    @cached_property
    def sharded(self) -> Sequence[Table]:
        return [table for table in self.tables if table.sharded]

    @cached_property
    def restrictions(self) -> Sequence[Restriction]:
        """For each table in the text the rows that can matter."""
        restrictions = Restrictions(self.functions, self.translation)
        restrictions.visit(self.query)
        return restrictions.found

    @cached_property
    def pins(self) -> tuple[Pin, ...] | None:
        """The shards that have rows that matter; None: any may."""
        found = [each.pin for each in self.restrictions if each.table.sharded]
        # One table whose key is not known, and any shard may have rows.
        return None if None in found else tuple(pin for pin in found if pin is not None)

    @cached_property
    def _analysis(self) -> Analysis | Crosses:
        try:
            return Locality(self.functions).analyse(self.query)
        except Crosses as crosses:
            return crosses

    @property
    def analysis(self) -> Analysis:
        """Where the rows of the query come about.

        Raises:
            Unplannable: Those of its FROM and WHERE need several shards at once.
        """
        # Kept as a value, and raised anew for each strategy that asks.
        if isinstance(self._analysis, Crosses):
            raise Unplannable(self._analysis.reason, self._analysis.offset)
        return self._analysis

    @cached_property
    def views(self) -> Sequence[Derived]:
        """The views in the text, and those within them."""
        return list(views_in(self.query))

    @cached_property
    def roots(self) -> Sequence[Any]:
        """The tree, those of the views, and those of functions in SQL."""
        definitions = [view.definition for view in self.views]
        return [self.select, *definitions, *(query.node for _, query in self.bodies)]

    @cached_property
    def bodies(self) -> Sequence[tuple[Body, Query]]:
        """The functions in SQL that are called, and their queries."""
        return list(bodies(self.query))

    @cached_property
    def computed_times(self) -> Sequence[Computed]:
        """The texts of which a server makes times."""
        return list(computed_times(self.query, self.functions))

    @cached_property
    def mentions(self) -> Mentions:
        return Mentions(self.query, self.roots)

    @cached_property
    def has_collations(self) -> bool:
        """Whether anything but the default collation may decide the order of a text."""
        if any(type_name(each) == "CollateClause" for root in self.roots for each in walk(root)):
            return True
        return any(
            column.collation is not None and column.name in self.mentions.of(table)
            for table in self.tables
            for column in table.relation.columns
        )

    def with_whole_views(self, but: Collection[Name] = ()) -> Candidate:
        """The same, with the views as tables whose own rows can be read.

        Args:
            but: Views that are to stay what they are.
        """
        # Of a view without sharded rows the order is not asked about: it is read where it is.
        found = whole_views(self.query, self.functions, self.translation)
        whole = {name: view for name, view in found.items() if not view.sharded or name not in but}
        if not whole:
            return self
        bind = partial(self.bind, whole=whole)
        return replace(self, query=bind(self.select), bind=bind)

    def stood_in(self, select: Any) -> Candidate:
        """The same with a tree that has stand-ins for queries in it, see `stand_ins`."""
        return replace(self, query=self.bind(select), changed=True, stands_in=True)

    @property
    def own_sql(self) -> Sql:
        """The user's own text, or what must be sent to several servers in its place."""
        return self.write(self.select) if self.changed else Sql(self.text)

    def write(self, select: Any) -> Sql:
        """The text of a `SelectStmt`."""
        if self.stands_in:
            select = copy(select)
            put_names(select)
        return write(as_statement(select), self.translation)

    def refusal(self, strategy: str, reason: str, offset: int | None = None) -> Refusal:
        return Refusal(strategy, reason, self.position(offset))

    def position(self, offset: int | None) -> int | None:
        """Where a byte of the parsed text came from in the user's."""
        return self.translation.old_position_of(offset)

    def bound(self, name: str) -> Value | None:
        """The value of LIMIT or OFFSET; None if there is none.

        Raises:
            Unplannable: It must be computed.
        """
        if not self.select.HasField(name):
            return None
        kind, inner = unwrap(getattr(self.select, name))
        # LIMIT %s::int
        if kind == "type_cast" and own_type(inner.type_name) in _INTEGERS:
            kind, inner = unwrap(inner.arg)
        # LIMIT ALL
        if kind == "a_const" and inner.isnull:
            return None
        if kind == "a_const" and inner.HasField("ival"):
            return Constant(inner.ival.ival)
        if kind == "param_ref" and 0 < inner.number <= len(self.translation.parameters):
            return Parameter(self.translation.parameters[inner.number - 1])
        raise Unplannable("LIMIT or OFFSET is computed")


def check_no_crossing(candidate: Candidate) -> None:
    """Refuse a write that needs rows of several shards at once.

    Args:
        candidate: The SELECT that finds its rows.

    Raises:
        Unplannable: It does.
    """
    for crosses in candidate.analysis.crossing.values():
        # `as_select` puts SET's values into the target list, where an aggregate is an error of the
        # server's, which it reports itself.
        if crosses is not candidate.analysis.crossing.get("group"):
            raise Unplannable(crosses.reason, crosses.offset)
