"""Goal: let the shards sort and cut their rows, and merge what they give.

    SELECT o_orderkey FROM orders ORDER BY o_totalprice DESC LIMIT 10 OFFSET 5

1. Each shard runs
       SELECT o_orderkey, o_totalprice AS "gs k0" FROM orders
       ORDER BY o_totalprice DESC LIMIT 15
2. The rows are merged by the last column, the first five left out, the next ten taken, and the
   last column is cut off.

Refuses what crosses shards but for LIMIT; FETCH FIRST ... WITH TIES; ORDER BY USING; row locks with
LIMIT, since more rows would be locked than are given.
"""

from __future__ import annotations

from typing import Any

from greenshard.planner.plan import Refusal, Scatter, Slice
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.planner.strategies.concatenate import check_local, locks_rows
from greenshard.planner.strategies.kept_order import with_kept_order, with_ordered_aggregates
from greenshard.planner.strategies.sort_keys import Order, read_order
from greenshard.sql.nodes import add_target, copy, expression, with_names
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import WITH_TIES, Message, type_name, walk
from greenshard.sql.tree import names_of

STRATEGY = "merge"


def plan_merge(candidate: Candidate) -> Scatter | Refusal:
    """Merge rows that the shards have sorted."""
    try:
        check_local(candidate)
        candidate = with_ordered_aggregates(with_kept_order(candidate))
        order = read_order(candidate)
        slice_ = read_slice(candidate)
    except Unplannable as unplannable:
        return candidate.refusal(STRATEGY, unplannable.reason, unplannable.offset)
    # LIMIT 10 FOR UPDATE locks 10 rows; each of four shards would lock 10.
    if candidate.analysis.crossing and locks_rows(candidate):
        return candidate.refusal(STRATEGY, "more rows would be locked than LIMIT lets through")
    sql = candidate.own_sql
    # Otherwise the user's own text will do: each shard's LIMIT is enough for the answer's.
    if order.hidden or slice_.offset is not None:
        sql = candidate.write(_for_shards(candidate.select, order))
    return Scatter(
        sql,
        candidate.pins,
        order.keys,
        slice_,
        len(order.hidden),
        strategy=STRATEGY,
    )


def read_slice(candidate: Candidate) -> Slice:
    """LIMIT and OFFSET.

    Raises:
        Unplannable: They are computed, or rows that tie with the last one are wanted.
    """
    if candidate.select.limit_option == WITH_TIES:
        raise Unplannable("FETCH FIRST ... WITH TIES")
    return Slice(candidate.bound("limit_count"), candidate.bound("limit_offset"))


def _for_shards(select: Any, order: Order) -> Any:
    """What each shard runs: with the sort keys, and all rows that may be among the first."""
    made = copy(select)
    prefix = _unused_prefix(select)
    for number, node in enumerate(order.hidden):
        add_target(made, node, f"{prefix}{number}")
    if made.HasField("limit_offset"):
        _widen(made)
    return made


def _unused_prefix(select: Any) -> str:
    """How the names of hidden columns begin.

    ORDER BY takes a name for that of a column of the answer first: had a hidden column the name of
    a table's, rows would be sorted by the hidden one.
    """
    clauses = (*select.sort_clause, *select.group_clause, *select.distinct_clause)
    references = (m for clause in clauses for m in walk(clause) if type_name(m) == "ColumnRef")
    named = {name for reference in references for name in names_of(reference.fields) or ()}
    prefix = "gs k"
    while any(name.startswith(prefix) for name in named):
        prefix += "k"
    return prefix


def _widen(made: Any) -> None:
    """Let LIMIT give the rows that OFFSET leaves out, too.

    A negative number is still the server's to refuse.
    """
    count, offset = (_constant(getattr(made, name)) for name in ("limit_count", "limit_offset"))
    has_limit = made.HasField("limit_count")
    # LIMIT 10 OFFSET 20: the rows to be left out may all be one shard's, so each gives 30 and skips
    # none.
    if offset is not None and (count is not None or not has_limit):
        made.ClearField("limit_offset")
        if count is None:
            # Without a limit, the tree must not say that there is one.
            made.limit_option = parse_select("SELECT").limit_option
        else:
            made.limit_count.CopyFrom(expression(str(count + offset)))
        return
    names = {"a": _integer(made.limit_count), "b": _integer(made.limit_offset)}
    if has_limit:
        made.limit_count.CopyFrom(with_names(_SUM, names))
    # 0 for any that is allowed; a negative one stays, for the server to complain of.
    made.limit_offset.CopyFrom(with_names("LEAST(b, 0)", names))


_SUM = (
    # a + b may be beyond int8, which LIMIT takes: as numeric they can be added.
    "CASE WHEN a OPERATOR(pg_catalog.<) 0 THEN a"
    f" ELSE LEAST(a::numeric OPERATOR(pg_catalog.+) b::numeric, {2**63 - 1}) END"
)


def _constant(node: Message) -> int | None:
    """The value of LIMIT or OFFSET, if it stands in the text."""
    number = node.a_const
    if not number.HasField("ival") or number.ival.ival < 0:
        return None
    return int(number.ival.ival)


def _integer(node: Message) -> Message:
    made = expression("a::pg_catalog.int8")
    made.type_cast.arg.CopyFrom(node)
    return made
