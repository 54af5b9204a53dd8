"""How one statement is planned: what its names mean, what stands in its way, who can do it.

A query is bound and tried by the strategies in turn (`one_query`); a write is looked at as the
SELECT that finds its rows (`one_write`). `planner` reads the text, and keeps the plan.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from greenshard.planner.analysis.asked_settings import settings_asked
from greenshard.planner.analysis.homes import unknown_calls
from greenshard.planner.binding.namesakes import doubtful_time, resolve_types
from greenshard.planner.bound_statement import GIVE_TIME
from greenshard.planner.calls import name_of
from greenshard.planner.code import Trace
from greenshard.planner.ddl import ddl_problem
from greenshard.planner.one_query import OneQuery
from greenshard.planner.other_ways import OtherWays
from greenshard.planner.own_writes import writes_own_only
from greenshard.planner.plan import (
    Anywhere,
    Broadcast,
    Plan,
    Refused,
    Routed,
    Step,
)
from greenshard.planner.problem import Problem
from greenshard.planner.refreshing import refreshing
from greenshard.planner.strategies.at_home import (
    plan_at_home,
    touched,
    with_all_tables,
)
from greenshard.planner.strategies.ddl_at_home import plan_ddl_at_home
from greenshard.planner.strategies.utility import plan_utility, temporary_table
from greenshard.planner.strategies.with_writes import (
    DML,
    writes_in_with,
)
from greenshard.sql.deparsing import now_number
from greenshard.sql.nodes import copy
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.now import STATEMENT_TIME, replace_now, tells_time
from greenshard.sql.parser import (
    type_name,
    walk,
)
from greenshard.sql.text import Sql
from greenshard.sql.tree import unwrap

#: What they name first is new.
_MAKING = frozenset({"create_stmt", "view_stmt", "create_seq_stmt"})


class OneStatement(OneQuery, OtherWays):
    """Plans one statement."""

    def plan(self, raw: Any, reads: bool, trace: Trace) -> Plan:
        self._reads = reads
        # Before names are looked up: DDL may name what is not there yet.
        step = plan_utility(self._text, raw.stmt)
        written = raw if self._homes is None else copy(raw)
        if self._homes is not None and (own := self._at_home(raw.stmt, step)) is not None:
            step = own
            if isinstance(own, Routed):
                self._timed = self._timed_at_home(written, reads, trace)
        if (set_off := self._truncating(raw.stmt)) is not None:
            step = self._refused(set_off)
        if isinstance(step, Broadcast) and (changes := self._beside_ddl(raw.stmt)) is not None:
            step = self._refused(changes)
        elif isinstance(step, Broadcast):
            self._names = _named_by(raw.stmt)
        if step is None and (unknown := self._unknown_parameter(raw)) is not None:
            step = self._refused(unknown)
        # Before anything asks which type a cast is to.
        resolve_types(raw.stmt, self._functions)
        if step is None and (doubtful := doubtful_time(raw.stmt, self._functions)) is not None:
            step = self._refused(doubtful)
        if step is None:
            self._names = frozenset(
                each.relname for each in walk(raw.stmt) if type_name(each) == "RangeVar"
            )
            self._statement = raw.stmt
            # Each shard's transaction has begun at another moment, so now() is one placeholder for
            # all.
            self._changed = replace_now(raw.stmt, now_number(self._translation)) or any(
                type_name(each) == "ParamRef" and each.number == STATEMENT_TIME
                for each in walk(raw.stmt)
            )
            kind, inner = unwrap(raw.stmt)
            select = kind == "select_stmt"
            step = self._planned(kind, inner, raw)
            if select and self._homes is not None and self._touched is not None:
                step = with_all_tables(step, self._touched, self._homes)
        return Plan(
            step,
            self._refusals,
            reads,
            trace,
            self._tables,
            self._names,
            self._policies,
            self._settings,
            clock=self._clock,
            only_sets=raw.stmt.HasField("variable_set_stmt"),
            unknown=self._unknown,
            makes=_made_by(raw.stmt, step),
            own_only=writes_own_only(written.stmt, self._catalog, self._functions),
            timed=self._timed_step(step),
            clocked=self._clocked,
            completed=self._completed,
        )

    def _timed_step(self, step: Step) -> Step | None:
        """See `Plan.timed`."""
        if self._timed is None or not isinstance(step, (Anywhere, Routed)):
            return None
        if isinstance(self._timed, Sql):
            return replace(step, sql=self._timed)
        # Any shard may run it: then the one whose time counts does.
        if isinstance(step, Anywhere):
            return self._timed if step.first else step
        # With the queries of views in the place of their names.
        return step.otherwise if self._view_tells_time and self._reads else self._timed

    def _timed_at_home(self, raw: Any, reads: bool, trace: Trace) -> Sql | Refused | None:
        """The same of what one shard alone has; see `_note_times`."""
        other = OneStatement(
            self._cluster, self._catalog, self._text, self._translation, self._path, self._other
        )
        tells_it = tells_time(raw)
        step = other.plan(raw, reads, trace).step
        self._clock = other._clock
        if other._timed is None and tells_it and isinstance(step, Refused):
            reason = "it tells the time of its shard, whose transaction began at another moment"
            return Refused(reason, "GS410", GIVE_TIME)
        return other._timed

    def _at_home(self, node: Any, step: Step | None) -> Step | None:
        """The step of what one shard alone can run; None of anything else."""
        homes, functions, path = self._homes, self._functions, self._path
        assert homes is not None  # noqa: S101  # whoever calls has looked
        if isinstance(step, Broadcast):
            own = plan_ddl_at_home(self._text, node, homes, functions, path)
            return self._refused(own) if isinstance(own, Problem) else own
        self._touched = found = touched(node, homes, functions, path)
        if found is None:
            return None
        own = plan_at_home(self._text, node, found, homes, functions)
        if isinstance(own, (Routed, Broadcast)):
            roots = [node, *found.views, *found.bodies]
            self._tables = tuple(sorted(found.declared))
            self._names = frozenset(name for _, name in found.relations)
            self._settings = settings_asked(roots, self._translation)
            self._unknown = unknown_calls(roots, functions)
        return self._refused(own) if isinstance(own, Problem) else own

    def _beside_ddl(self, node: Any) -> Problem | None:
        self._statement = node
        return ddl_problem(node, self._cluster, self._catalog, self._path) or refreshing(
            node, self._relation, self._cluster, self._other, self._bind
        )

    def _unknown_parameter(self, raw: Any) -> Problem | None:
        """A placeholder of the server's own: there is nothing that it could stand for."""
        known = len(self._translation.parameters)
        for message in walk(raw.stmt) if "$" in self._text else ():
            if type_name(message) == "ParamRef" and known < message.number < STATEMENT_TIME:
                reason = f"there is no parameter ${message.number}"
                return Problem(reason, message.location, "GS404", "Write %s.", "42P02")
        return None

    def _planned(self, kind: str, inner: Any, raw: Any) -> Step:
        """What is done with a statement that is planned by what it names."""
        if kind in DML and writes_in_with(inner):
            return self._with_writes(kind, inner, raw)
        if kind == "select_stmt":
            return self._select(inner)
        if kind == "call_stmt":
            return self._call(inner.funccall)
        return self._write(kind, inner, raw)

    def _call(self, call: Any) -> Step:
        """What is done with CALL: any shard runs a procedure that is declared to read nothing."""
        functions, name = self._functions, name_of(call)
        arguments = parse_select("SELECT")
        for node in call.args:
            value = node.named_arg_expr.arg if node.HasField("named_arg_expr") else node
            arguments.target_list.add().res_target.val.CopyFrom(value)
        step = self._select(arguments)
        if not isinstance(step, Anywhere):
            return step
        if not functions.of(call):
            self._unknown = True  # the server says so, unless it was made a moment ago
        elif functions.is_of_shard(call):
            reason = f"CALL of {name}(), which is declared to read rows of one shard, names none"
            hint = "Name it: with conn.on(key=...), or conn.on('...')."
            return self._refused(Problem(reason, call.location, "GS410", hint))
        elif not functions.is_immutable(call):
            reason = f"CALL of {name}(), which may read or write any table"
            hint = (
                "If it touches no table, say so under [functions] in the cluster's TOML: "
                f'{name} = {{ reads = "nothing" }}. Or name its shards with conn.on(...).'
            )
            return self._refused(Problem(reason, call.location, "GS410", hint))
        if isinstance(self._timed, Sql):  # of the SELECT of its arguments
            reason = f"CALL of {name}() tells the time, which is another one on the first shard"
            self._timed = Refused(reason, "GS410", GIVE_TIME)
        return Anywhere(Sql(self._text), step.first)


def _named_by(node: Any) -> frozenset[str]:
    """The relations that a utility statement names, of which a temporary one may hide another."""
    if unwrap(node)[0] in _MAKING and temporary_table(node) is None:
        return frozenset()
    return frozenset(m.relname for m in walk(node) if type_name(m) == "RangeVar")


def _made_by(node: Any, step: Step | None) -> frozenset[str]:
    """The temporary tables that a statement makes on every shard."""
    name = temporary_table(node) if isinstance(step, Broadcast) and step.on is None else None
    return frozenset() if name is None else frozenset([name])
