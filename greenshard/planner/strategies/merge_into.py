"""Goal: let MERGE do on each shard its part of what one PostgreSQL would do.

    MERGE INTO orders USING invoice ON o_orderkey = i_orderkey WHEN MATCHED THEN DELETE
        every shard: rows that match share a shard
    MERGE INTO orders o USING (VALUES (7, 1), (8, 2)) AS v (key, cust) ON o.o_orderkey = v.key
    WHEN MATCHED THEN UPDATE SET o_custkey = v.cust
    WHEN NOT MATCHED THEN INSERT (o_orderkey, o_custkey) VALUES (v.key, v.cust)
        the rows of v are read first; then each goes to the shard of its key, where they are the
        source of the same MERGE
    MERGE INTO nation USING (SELECT o_custkey, count(*) FROM orders GROUP BY 1) ...
        every shard, with the same rows of the source

1. Where the source is on each shard, or where its rows are joined by the shard key, the statement
   runs as it is.
2. Else the source's rows travel, as those of INSERT ... SELECT do (`transfer`): by the column that
   ON compares with the shard key, to one shard; without one to all, if no row is inserted.

What rows get that are inserted without it, is told in `merge_defaults`. A simple view is written to
as the table behind it, see `simple_views`.

Refuses rows that are inserted with another key than ON has compared; keys that are changed;
subqueries that read other shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from greenshard.cluster import Unknown
from greenshard.planner.analysis.consequences import sets_default
from greenshard.planner.analysis.equality import alike
from greenshard.planner.analysis.locality import Locality
from greenshard.planner.analysis.shape import Crosses, Where
from greenshard.planner.binding.query import Item, Table
from greenshard.planner.binding.scope import BoundColumn
from greenshard.planner.catalog import Column
from greenshard.planner.plan import (
    PARTIAL,
    Broadcast,
    Keys,
    Routed,
    Scatter,
    Step,
    Transfer,
)
from greenshard.planner.strategies.candidate import (
    Candidate,
    Unplannable,
    check_no_crossing,
)
from greenshard.planner.strategies.copies import written_alone
from greenshard.planner.strategies.insert import (
    Apart,
    Texts,
    check_reference,
    home_keys,
    keys_of,
)
from greenshard.planner.strategies.merge_defaults import (
    actions,
    computed_defaults,
    computed_name,
    given_values,
    inserts,
    put_computed,
    set_targets,
    skeleton,
)
from greenshard.planner.strategies.transfer import ROWS_PLANNED
from greenshard.sql.nodes import ROWS, copy, quoted
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import type_name, walk
from greenshard.sql.text import Sql
from greenshard.sql.tree import enum_name, location_of, unwrap

_KEYED = (
    "Compare the shard key in ON with a column of the source, and insert that column as the key."
)


def source_of(merge: Any) -> Any:
    """A SELECT of the rows of the source."""
    made = parse_select("SELECT *")
    made.from_clause.add().CopyFrom(merge.source_relation)
    if merge.HasField("with_clause"):
        made.with_clause.CopyFrom(merge.with_clause)
    return made


def named_columns(source: Item, merge: Any) -> tuple[str, Sequence[BoundColumn]]:
    """What a MERGE calls its source, and the source's columns.

    Raises:
        Unplannable: They are not known.
    """
    columns = source.columns
    kind, inner = unwrap(merge.source_relation)
    named = kind in ("range_var", "range_subselect")
    if columns is None or not named or len({each.name for each in columns}) < len(columns):
        raise Unplannable(
            "the columns of the source are not known",
            location_of(inner),
            "Write USING (SELECT ...) AS a, with the columns that are needed.",
        )
    return source.sources[0].alias, columns


def plan_merge_into(candidate: Candidate, table: Table, merge: Any, texts: Texts) -> Step:
    """Plan a MERGE.

    Args:
        candidate: What `write.as_select` made of it: the table, the source, and what ON says.
        table: Where it writes.
        merge: The statement.
        texts: What the shards are sent.

    Raises:
        Unplannable: It cannot be planned.
    """
    return _Merging(candidate, table, merge, texts).plan()


class _Merging:
    """A MERGE; arguments as of `plan_merge_into`."""

    def __init__(self, candidate: Candidate, table: Table, merge: Any, texts: Texts) -> None:
        self._candidate = candidate
        self._table = table
        self._merge = merge
        self._texts = texts
        self._source: Item = candidate.query.items[1]
        self._inserts = inserts(merge)
        self._computed: Sequence[Column] = ()
        kinds = {enum_name(each, "match_kind") for each in actions(merge)}
        self._by_source = "MERGE_WHEN_NOT_MATCHED_BY_SOURCE" in kinds

    def plan(self) -> Step:
        if self._table.home is not None:
            return self._at_home()
        sharded, relation = self._table.sharded, self._table.relation
        if not sharded and sets_default(set_targets(self._merge)):
            raise Unplannable("a default, as now(), may be another one on each shard")
        functions = self._candidate.functions
        self._computed = computed_defaults(self._merge, relation, functions, copies=not sharded)
        if not sharded:
            return self._of_reference()
        if isinstance(self._table.placement, Unknown):
            reason = f"the placement of {relation.name} does not tell the rows' shard"
            raise Unplannable(reason, None, "Name the shard with conn.on(...).")
        compared = self._compared()
        self._check_keys(compared)
        try:
            return self._where_it_is(compared)
        except Unplannable as unplannable:
            return self._with_travelling_rows(compared, unplannable)

    # A table on one shard -------------------------------------------------------------------

    def _at_home(self) -> Transfer:
        """Bring the source's rows to the shard that alone has the table."""
        if self._by_source:
            # Without any row of the source, it would not run at all.
            raise Unplannable("NOT MATCHED BY SOURCE asks for rows that do not come")
        check_no_crossing(self._without_source())
        return self._transfer(None)

    # A reference table ----------------------------------------------------------------------

    def _of_reference(self) -> Step:
        if not self._candidate.sharded and not self._computed:
            try:
                check_reference(self._candidate)
            except Unplannable:
                pass  # the source may be read once
            else:
                copies = written_alone(self._candidate, table=self._table)
                return Broadcast(
                    self._texts.whole(), answer_of_one=True, first_alone=True, copies=copies
                )
        beside = self._without_source()
        check_reference(beside)
        copies = written_alone(beside, table=self._table)
        return replace(self._transfer(None), copies=copies)

    # A sharded table ------------------------------------------------------------------------

    def _compared(self) -> BoundColumn | None:
        """The column of the source that ON compares with the shard key."""
        key = self._table.key
        for condition in self._candidate.query.where:
            columns = condition.equal_columns
            for one, other in (columns, columns[::-1]) if columns is not None else ():
                matches = key is not None and one.id == key.id
                if matches and key is not None and key.family and self._place(other) is not None:
                    return other
        return None

    def _place(self, column: BoundColumn | None) -> int | None:
        """Which column of the source it is; None: none."""
        own = column and column.id
        places = enumerate(self._source.columns or ())
        return next((at for at, each in places if each.id == own), None)

    def _check_keys(self, compared: BoundColumn | None) -> None:
        """Refuse keys that rows get, if these are not where the rows are written."""
        key = self._table.key
        name = key.name if key is not None else ""
        for each in self._inserts:
            value = given_values(each, self._table.relation).get(name)
            found = None if value is None else self._candidate.query.level.resolve(value)
            if compared is None or self._place(found) != self._place(compared):
                reason = f"the shard key {name} of the rows that MERGE inserts is not the column "
                at = None if value is None else location_of(value)
                raise Unplannable(f"{reason}that ON compares it with", at, _KEYED)
        for target in set_targets(self._merge):
            if target.res_target.name == name:
                found = self._candidate.query.level.resolve(target.res_target.val)
                same = found is not None and key is not None and found.id == key.id
                if compared is not None and found is not None and key is not None:
                    place = self._place(compared)
                    same = same or (self._place(found) == place and alike(key, compared))
                if not same or target.res_target.indirection:
                    reason = f"the shard key {name} is changed by MERGE, and the row would have to "
                    raise Unplannable(f"{reason}move", target.res_target.location, _KEYED)

    def _where_it_is(self, compared: BoundColumn | None) -> Step:
        """Run it as it is, on each shard with what is there."""
        candidate = self._candidate
        check_no_crossing(candidate)
        if self._computed:
            raise Unplannable(f"{self._computed[0].name} is counted on the first shard")
        if self._inserts and not self._is_split(compared):
            raise Unplannable("each shard would insert the rows that it does not match")
        # Without a match, nothing says which of the source's rows are meant.
        only_matches = not self._inserts and not self._by_source
        pins = candidate.pins if only_matches else None
        step = Scatter(self._texts.whole(), pins)
        return Routed(Sql(candidate.text), pins, step) if pins else step

    def _is_split(self, compared: BoundColumn | None) -> bool:
        """Whether each row of the source is on one shard, that of the key which it inserts."""
        key, apart = self._table.key, self._texts.apart
        if compared is None or key is None or apart is None or not alike(key, compared):
            return False
        # Of texts, a shorter column could keep less of the key.
        if key.family != "int" and (
            compared.column is None
            or key.column is None
            or compared.column.type_sql != key.column.type_sql
        ):
            return False
        # MERGE ... ON o_orderkey = l_partkey AND o_orderkey = l_orderkey: what is inserted must be
        # the key by which the source's rows are placed.
        try:
            shape = Locality(self._candidate.functions).shape(apart.reading.query)
        except Crosses:
            return False
        at, outputs = self._place(compared), apart.reading.query.outputs or ()
        same = shape.where is Where.SPLIT and shape.placement == self._table.placement
        return same and at is not None and at < len(outputs) and outputs[at].id in shape.keys

    def _with_travelling_rows(
        self, compared: BoundColumn | None, unplannable: Unplannable
    ) -> Transfer:
        """Let the source's rows go to the shards of their keys; without keys, to all."""
        try:
            check_no_crossing(self._without_source())
        except Unplannable:
            raise unplannable from None
        return self._transfer(compared)

    # The source's rows ----------------------------------------------------------------------

    @property
    def _columns(self) -> Sequence[BoundColumn]:
        return named_columns(self._source, self._merge)[1]

    def _computing(self) -> tuple[tuple[Sql, ...], Sequence[str]]:
        """What computes defaults for each row of the source, and what that then calls them."""
        if not self._computed:
            return (), ()
        insert = skeleton(self._merge, self._table.relation, self._computed, ROWS_PLANNED)
        computing = self._apart.complete(insert)
        return computing, [computed_name(number) for number in range(len(self._computed))]

    def _with_source(self, statement: Any, rows: Any, more: Sequence[str] = ()) -> Any:
        """A copy of the MERGE, or of its SELECT, with another source of the same names."""
        made = copy(statement)
        columns = self._columns
        node = made.from_clause[1] if hasattr(made, "from_clause") else made.source_relation
        node.CopyFrom(parse_select("SELECT FROM (SELECT) a").from_clause[0])
        node.range_subselect.subquery.select_stmt.CopyFrom(rows)
        alias = node.range_subselect.alias
        alias.aliasname = self._source.sources[0].alias
        for name in (*(column.name for column in columns), *more):
            alias.colnames.add().string.sval = name
        if made.HasField("with_clause") and not self._names_with:
            made.ClearField("with_clause")
        return made

    @property
    def _names_with(self) -> bool:
        """Whether anything but the source reads a WITH query."""
        names = {each.common_table_expr.ctename for each in self._merge.with_clause.ctes}
        roots = [*self._merge.merge_when_clauses, self._merge.join_condition]
        read = (each for root in roots for each in walk(root) if type_name(each) == "RangeVar")
        return any(not each.schemaname and each.relname in names for each in read)

    def _without_source(self) -> Candidate:
        """The SELECT, as if every shard had the rows of the source."""
        nothing = parse_select(f"SELECT {', '.join(['NULL'] * len(self._columns))}")
        candidate = self._candidate
        made = self._with_source(candidate.select, nothing)
        return replace(candidate, query=candidate.bind(made))

    def _transfer(self, compared: BoundColumn | None) -> Transfer:
        apart = self._apart
        read, plan = apart.rows("rows of the source are locked")
        width = len(self._columns)
        computing, more = self._computing()
        shown = ", ".join(f"{ROWS}.c{at}" for at in range(width + len(more)))
        rows = parse_select(f"SELECT {shown} FROM {quoted(PARTIAL)} AS {ROWS}")
        made = self._with_source(self._merge, rows, more)
        source = self._source.sources[0].alias
        put_computed(made, self._table.relation, self._computed, source)
        return Transfer(
            read,
            plan,
            apart.write(made),
            self._table.relation.name,
            width,
            self._keys(compared),
            computing,
            in_turn=True,
            of_each=self._table.sharded,
            everywhere=self._by_source,
        )

    @property
    def _apart(self) -> Apart:
        assert self._texts.apart is not None  # noqa: S101  # of a MERGE there is one
        return self._texts.apart

    def _keys(self, compared: BoundColumn | None) -> Keys | None:
        """By what the source's rows are placed."""
        if self._table.home is not None:
            return home_keys(self._table)
        if compared is None or not self._table.sharded:
            return None
        at = self._place(compared)
        if at is None:
            raise Unplannable("the columns of the source are not known")
        name = compared.name if self._table.key is None else self._table.key.name
        return keys_of(self._table, [name], lambda *_: ((), at))
