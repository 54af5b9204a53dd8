"""How tasks are carried out: at the same time within a stage, one stage after the other."""

from __future__ import annotations

import gevent
import gevent.event
import psycopg2
import pytest

from greenshard import errors
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.concatenate import concatenate
from greenshard.executor.strategies.route import route
from greenshard.links.deadline import UNLIMITED
from greenshard.links.session import Session
from greenshard.planner.place import Place
from greenshard.planner.tasks import Task
from greenshard.sql.text import Sql

SHARDS = ("s0", "s1", "s2")


class FakePhysical:
    """A connection that is there, in no transaction."""

    worker = raw = late = None
    alive = idle = autocommit = given = True
    begun = entered = False

    def __init__(self, shard):
        self.shard = shard

    def cancel_while(self, running):
        while running():
            gevent.sleep(0)


class FakeCursor:
    """Notes what it is given when it begins and ends; `wait` is waited for in between."""

    description = name = None

    def __init__(self, shard, log):
        self.shard, self.log = shard, log
        self.wait = gevent.event.Event()
        self.wait.set()
        self.began = gevent.event.Event()
        self.error = None
        self.rowcount = 1
        self.statusmessage = "UPDATE 1"

    def execute(self, text, given=None):
        self.log.append((self.shard, text, given))
        self.began.set()
        assert self.wait.wait(5.0)
        if self.error is not None:
            raise self.error
        self.log.append((self.shard, "ended"))

    def executemany(self, text, every):
        self.log.append((self.shard, text, "each of", every))


class FakeParts:
    """The cursors of the shards that are there."""

    def __init__(self, cursors):
        self.cursors = cursors

    def ready(self, shards, timeout):
        return {shard: self.cursors[shard] for shard in shards if shard in self.cursors}


class Carrying(Planned):
    """An execution whose sessions are in order."""

    def check_sessions(self, shards):
        pass


class Stage:
    """Three shards, and an execution on them."""

    def __init__(self):
        self.log = []
        self.cursors = {shard: FakeCursor(shard, self.log) for shard in SHARDS}
        self.session = Session([FakePhysical(shard) for shard in SHARDS], {}, SHARDS, 20.0)
        self.execution = Carrying(
            self.session, None, FakeParts(self.cursors), UNLIMITED, False, False, None,
            database=None, plan=None, text="", given=None, limits=None,
        )  # fmt: skip


@pytest.fixture
def scene():
    return Stage()


def task(shard, text, given=None, **options):
    return Task(Place(shard), Sql(text), given, **options)


def test_each_shard_gets_a_text_and_parameters_of_its_own_at_the_same_time(scene):
    first, second = scene.cursors["s0"], scene.cursors["s1"]
    first.wait, second.wait = second.began, first.began  # each ends only when the other has begun
    one = task("s0", "INSERT INTO t VALUES (%s)", (1,))
    other = task("s1", "INSERT INTO t VALUES (%s), (%s)", (2, 3))
    answer = concatenate(scene.execution, ((one, other),))
    assert sorted(scene.log[:2]) == [
        ("s0", "INSERT INTO t VALUES (%s)", (1,)),
        ("s1", "INSERT INTO t VALUES (%s), (%s)", (2, 3)),
    ]
    assert (answer.rowcount, list(answer.timings)) == (2, ["s0", "s1"])
    assert scene.execution.ran == {"s0", "s1"}


def test_sets_of_parameters_are_each_shards_own(scene):
    text = "INSERT INTO t VALUES (%s)"
    tasks = (task("s2", text, [(1,), (4,)], repeats=True), task("s0", text, [(2,)], repeats=True))
    concatenate(scene.execution, (tasks,))
    assert sorted(scene.log) == [
        ("s0", text, "each of", [(2,)]),
        ("s2", text, "each of", [(1,), (4,)]),
    ]


def test_the_next_stage_begins_when_the_one_before_has_ended(scene):
    sql = "UPDATE nation SET name = 'x'"
    stages = ((task("s0", sql),), (task("s1", sql), task("s2", sql)))
    scene.cursors["s0"].wait.clear()
    running = gevent.spawn(concatenate, scene.execution, stages)
    assert scene.cursors["s0"].began.wait(5.0)
    gevent.sleep(0.02)
    assert scene.log == [("s0", sql, None)]
    scene.cursors["s0"].wait.set()
    answer = running.get()
    assert scene.log[:2] == [("s0", sql, None), ("s0", "ended")]
    assert {entry[0] for entry in scene.log[2:]} == {"s1", "s2"}
    assert (answer.rowcount, answer.of_first().rowcount) == (3, 1)
    assert list(answer.timings) == list(SHARDS)


def test_no_stage_begins_after_one_that_failed(scene):
    stages = tuple((task(shard, "UPDATE nation SET name = 'x'"),) for shard in SHARDS)
    scene.cursors["s1"].error = psycopg2.errors.CheckViolation("no")
    with pytest.raises(errors.IntegrityError, match="shard s1: no") as caught:
        concatenate(scene.execution, stages)
    assert {entry[0] for entry in scene.log} == {"s0", "s1"}
    # In autocommit mode nothing undoes what the stages before have done.
    assert caught.value.committed == ("s0",)


def test_a_shard_that_is_gone_is_missed_before_any_has_begun(scene):
    scene.session.physicals["s2"].alive = False
    del scene.cursors["s2"]
    stages = ((task("s0", "UPDATE nation SET name = 'x'"),), (task("s2", "UPDATE nation"),))
    with pytest.raises(errors.InterfaceError, match="shard s2 is gone"):
        concatenate(scene.execution, stages)
    assert scene.log == []


def test_one_task_is_routed(scene):
    answer = route(scene.execution, task("s1", "SELECT * FROM t WHERE id = %s", (7,)))
    assert scene.log == [("s1", "SELECT * FROM t WHERE id = %s", (7,)), ("s1", "ended")]
    assert answer.rowcount == 1
