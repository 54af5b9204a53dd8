"""Statements that psycopg2 makes of others: executemany and callproc."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from greenshard import _green
from greenshard._driver import RawCursor, quote_ident
from greenshard.executor.answers.answer import Answer, CountedAnswer
from greenshard.executor.dispatch import note, run_plan
from greenshard.executor.planned import Planned
from greenshard.executor.sql_values import plan_for, with_literals_in
from greenshard.planner.plan import Routed

#: After so many sets of parameters, other greenlets have their turn: 10 us each.
_MOST_AT_ONCE = 1_000
#: Not 0: then gevent looks at timers and sockets only once in 50 times.
_PAUSE_S = 0.0001


def run_many(e: Planned) -> Answer:
    """Run the statement, as one that writes, for each set of parameters of the list ``e.given``.

    If each set goes to one shard, each shard runs its own at the same time as the others.

    Switches: yes.
    """
    split = _split(e)
    if split is not None and isinstance(e.plan.step, Routed):
        text, shards = e.plan.step.sql.text, [s for s in e.session.shards if s in split]
        e.strategy = e.plan.step.strategy

        def calls(raws: Mapping[str, RawCursor]) -> dict[str, Any]:
            return {s: partial(raw.executemany, text, split[s]) for s, raw in raws.items()}

        try:
            return e.fan_out(shards, calls)
        finally:
            note(e, e.plan)
    count, status = 0, None
    for given in e.given:
        text, values, plan = plan_for(e.database, e.parts, e.text, given, e.timeout)
        one = replace(
            e, plan=plan, text=text, given=values, stages=None, now=None, query=None, ran=set()
        )
        try:
            answer = run_plan(one)
        finally:
            e.query, e.strategy = one.query, one.strategy
        count += max(0, answer.rowcount)
        status = answer.statusmessage
    return CountedAnswer(count, status)


def _split(e: Planned) -> dict[str, list[Any]] | None:
    """The parameters by shard; None if one of them is for none, or for several.

    Switches: now and then, if they are many.
    """
    step = e.plan.step
    if not isinstance(step, Routed) or step.sql.binds is not None or e.failed is not None:
        return None
    if e.plan.policies:
        return None
    split: dict[str, list[Any]] = {}
    for number, given in enumerate(e.given, 1):
        if number % _MOST_AT_ONCE == 0:
            _green.sleep(_PAUSE_S)
        literals = with_literals_in(e.parts, given, e.text)
        if literals is None:
            return None
        named = replace(e, given=literals).named(step.pins)
        if named is None or len(named) != 1:
            return None
        split.setdefault(next(iter(named)), []).append(literals)
    return split or None


def calling(
    cursor: RawCursor, procname: str | bytes, parameters: Sequence[Any] | Mapping[str, Any] = ()
) -> tuple[str, Any]:
    """The statement, and its parameters, that psycopg2's ``callproc`` executes.

    Args:
        cursor: To quote names with.
        procname: The function's name; goes into the text as it is.
        parameters: By position or by name.
    """
    name = procname.decode() if isinstance(procname, bytes) else procname
    if isinstance(parameters, Mapping):
        names = [quote_ident(each, cursor).replace("%", "%%") for each in parameters]
        arguments, values = [f"{each}:=%s" for each in names], list(parameters.values())
    else:
        values = list(parameters or ())
        arguments = ["%s"] * len(values)
    return f"SELECT * FROM {name.replace('%', '%%')}({','.join(arguments)})", values
