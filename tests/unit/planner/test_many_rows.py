"""The plan of many plain rows is the one that is made of their whole text."""

from __future__ import annotations

from typing import Any

import pytest

from greenshard.planner import planner as module
from greenshard.planner.plan import Insert, Refused, Routed
from greenshard.planner.tasks import homes_of, inserting
from greenshard.sql.parser import parse
from greenshard.sql.text import Sql
from greenshard.sql.tree import same_text
from tests.unit.planner import scene

PLANNER = scene.planner()
MANY = range(30)


def text_of(head: str, row: str, tail: str = "") -> str:
    return f"INSERT INTO {head} VALUES {', '.join(row.format(n) for n in MANY)} {tail}"


TEXTS = [
    text_of("orders (o_orderkey, o_custkey)", "({0}, 1)"),
    text_of("orders (o_orderkey, o_custkey)", "(7, {0})"),
    text_of("orders (o_custkey, o_orderkey)", "({0}, {0})", "RETURNING o_orderkey, now()"),
    text_of("orders (o_orderkey, o_comment)", "({0}, '100% {0}')", "ON CONFLICT DO NOTHING"),
    text_of("ticket (title)", "('it''s {0}')"),
    text_of("ticket (title, id)", "('a', {0})", "RETURNING id"),
    text_of("ticket (title, state)", "('a', 'b')"),
    text_of("account (email, score)", "('a''{0}@x', {0})"),
    text_of("account (email, score)", "(E'a\\'{0}@x', {0})"),
    text_of("event (id, kind)", "('00000000-0000-0000-0000-0000000000{0:02}'::uuid, 'x')"),
    text_of("visit (day, page)", "('2024-01-{0:02}', 'x')").replace("01-00", "02-01"),
    text_of("place (country, people)", "('de', {0})"),
    text_of("label (name)", "('a{0}')"),
    text_of("label (id, weight)", "({0}, {0}.5)"),
    text_of("nation (n_nationkey, n_name)", "({0}, 'a')", "ON CONFLICT DO NOTHING"),
    text_of("flag (n)", "({0})"),
]


def slow(text: str) -> Any:
    return module.Planner._plan(
        SlowPlanner(scene.cluster(), scene.catalog()), text, False, scene.PATH
    )


class SlowPlanner(module.Planner):
    def _plan_many_rows(self, text: str, path: tuple[str, ...]) -> None:
        return None


def sent(step: Any) -> list[tuple[str, Sql]]:
    """The texts for each shard, with numbers in the place of what servers compute."""
    assert isinstance(step, Insert)
    computed = [*range(1000)]
    homes = [] if step.keys is None else homes_of(step.keys, scene.SHARDS, None, computed)
    _, stages = inserting(step, scene.SHARDS, homes, None)
    return [(task.place.shard, task.sql) for stage in stages for task in stage]


def same_sql(one: Sql, other: Sql) -> bool:
    def tree(sql: Sql) -> bytes:
        text = sql.text
        for number, (name, _) in enumerate(sql.binds or (), 1):
            text = text.replace(f"%({name})s", f"${number}")
        (statement,) = parse(text.replace("%%", "%") if sql.binds else text)
        return same_text(statement.stmt)

    return one.binds == other.binds and tree(one) == tree(other)


@pytest.mark.parametrize("text", TEXTS)
def test_the_plan_of_many_rows_is_that_of_the_whole_text(text: str) -> None:
    quick = PLANNER._plan_many_rows(text, scene.PATH)
    whole = slow(text)
    assert quick is not None
    assert type(quick.step) is type(whole.step)
    assert {n: getattr(quick, n) for n in ("reads", "trace", "tables", "names", "effect")} == {
        n: getattr(whole, n) for n in ("reads", "trace", "tables", "names", "effect")
    }
    if isinstance(whole.step, Routed):
        assert (quick.step.sql, quick.step.pins) == (whole.step.sql, whole.step.pins)
        mine, theirs = quick.step.otherwise, whole.step.otherwise
    elif isinstance(whole.step, Insert):
        assert len(whole.step.computing) == len(quick.step.computing)
        assert all(map(same_sql, whole.step.computing, quick.step.computing))
        mine, theirs = quick.step, whole.step
    else:
        assert quick.step == whole.step
        return
    assert mine.keys == theirs.keys
    for (here, one), (there, other) in zip(sent(mine), sent(theirs), strict=True):
        assert here == there
        assert same_sql(one, other)


@pytest.mark.parametrize(
    "text",
    [
        text_of("ticket (title, at)", "('{0}', 'now')"),
        text_of("ticket (id, title)", "({0}.5, 'a')"),
        text_of("nosuch (id)", "({0})"),
        text_of("orders (o_orderkey)", "({0})", "; DROP TABLE orders"),
        text_of("orders (o_orderkey)", "({0})", ","),
        text_of("note (id, body)", "({0}, 'a')"),
    ],
)
def test_what_the_few_do_not_tell_is_planned_by_the_whole_text(text: str) -> None:
    assert PLANNER._plan_many_rows(text, scene.PATH) is None
    assert PLANNER.plan(text, False, scene.PATH).step == slow(text).step


def test_pages_of_rows_share_a_plan() -> None:
    planner = scene.planner()
    for start in range(5):
        rows = ", ".join(f"({number}, 'title {number}')" for number in range(start, start + 50))
        step = planner.plan(f"INSERT INTO ticket (id, title) VALUES {rows}", False, scene.PATH).step
        assert not isinstance(step, Refused)
    # Each page, and the few rows that stand for all of them.
    assert planner.plan.cache_info().misses == 6
