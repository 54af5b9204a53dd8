"""What each shard gets, once the parameters are known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenshard.planner.explanation import explain
from greenshard.planner.place import Place
from greenshard.planner.plan import Broadcast, Plan
from greenshard.planner.tasks import ANYWHERE, Task, chosen, settle
from greenshard.sql.text import Sql
from tests.unit.planner import scene

PLANNER = scene.planner()
ALL = [Place(shard) for shard in scene.SHARDS]


def settled(sql, given=None, **options):
    plan = PLANNER.plan(sql, given is not None, scene.PATH)
    return settle(plan.step, scene.SHARDS, given, **options)


def places(stages):
    return [[task.place for task in stage] for stage in stages]


def test_one_key_is_one_task_with_the_users_text_and_parameters():
    sql, given = "SELECT * FROM orders WHERE o_orderkey = %s", (7,)
    step, stages = settled(sql, given)
    ((task,),) = stages
    assert (step.strategy, task.sql, task.given) == ("route", Sql(sql), given)
    assert task.place in ALL
    assert settled(sql, given)[1][0][0].place is task.place


def test_keys_of_several_shards_are_a_task_each_in_shard_order():
    sql = "SELECT * FROM orders WHERE o_orderkey = ANY(%s)"
    step, (stage,) = settled(sql, ([*range(20)],))
    assert (step.strategy, [task.place for task in stage]) == ("concatenate", ALL)
    assert {task.sql.text for task in stage} == {sql}


def test_what_any_shard_can_answer_has_no_place_yet():
    for sql, given in [
        ("SELECT * FROM orders WHERE o_orderkey = %s", (None,)),
        ("SELECT n_name FROM nation", None),
    ]:
        _, stages = settled(sql, given)
        assert places(stages) == [[ANYWHERE]]
        assert places(chosen(stages, Place("s2"))) == [[Place("s2")]]
    assert places(settled("SELECT * FROM nation FOR UPDATE")[1]) == [ALL[:1]]


def test_parameters_that_are_not_there_are_an_error_or_may_name_any_shard():
    sql = "SELECT count(*) FROM orders WHERE o_orderkey IN (%s, %s)"
    with pytest.raises(IndexError):
        settled(sql, (7,))
    step, stages = settled(sql, (7,), known=False)
    assert (step.strategy, places(stages)) == ("combine", [ALL])


def test_each_read_of_a_gather_is_a_task_and_those_of_reference_tables_run_anywhere():
    step, (stage,) = settled(
        "SELECT count(DISTINCT n_name) FROM orders, lineitem, nation"
        " WHERE o_custkey = l_partkey AND n_nationkey = o_custkey AND o_orderkey = 7"
    )
    assert step.strategy == "gather"
    read = {table.name: [t.place for t in stage if t.table is table] for table in step.tables}
    assert [len(read[name]) for name in ("orders", "lineitem", "nation")] == [1, 4, 1]
    assert read["nation"] == [ANYWHERE]
    assert all(task.sql is task.table.read for task in stage)


def test_refusal_has_no_tasks():
    step, stages = settled("COPY orders FROM STDIN")
    assert (step.strategy, stages) == ("refused", ())


def test_the_first_shard_may_come_before_the_others():
    step = Broadcast(Sql("UPDATE nation SET n_name = 'x'"), first_alone=True)
    assert places(settle(step, scene.SHARDS, None)[1]) == [ALL[:1], ALL[1:]]
    together = replace(step, first_alone=False)
    assert places(settle(together, scene.SHARDS, None)[1]) == [ALL]


def test_plan_tells_the_text_of_each_shard_and_the_order(monkeypatch):
    one, two, three = (Sql(f"INSERT INTO t VALUES ({n})") for n in (1, 2, 3))
    stages = (
        (Task(Place("s1"), one),),
        (Task(Place("s0"), two), Task(Place("s2"), three), Task(Place("s3"), two)),
    )
    step = Broadcast(one)
    monkeypatch.setattr(
        "greenshard.planner.explanation.settle", lambda *args, **known: (step, stages)
    )
    assert explain(Plan(step), scene.SHARDS).splitlines() == [
        "strategy: broadcast",
        "shards: s1, s0, s2, s3",
        "on s1:",
        "    INSERT INTO t VALUES (1)",
        "then on s0, s3:",
        "    INSERT INTO t VALUES (2)",
        "and on s2:",
        "    INSERT INTO t VALUES (3)",
    ]
