from __future__ import annotations

import gc

import gevent
import pytest

from greenshard.cluster import Cluster, Sharded
from greenshard.executor import knowledge
from greenshard.executor.knowledge import Knowledge, knowledge_of
from greenshard.planner.catalog import Catalog, Column, Relation


@pytest.fixture
def cluster():
    return Cluster({"s0": "dbname=a", "s1": "dbname=b"}, {"t": Sharded("id")})


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(knowledge, "time", clock)
    return clock


@pytest.fixture
def known(cluster, clock):
    return Knowledge(cluster)


def catalog(name="t"):
    relation = Relation("public", name, "r", (Column("id", "int4", "integer"),))
    return Catalog({("public", name): relation})


def test_catalog_is_kept_for_a_minute(known, clock):
    assert known.current() is None
    kept = known.keep(catalog(), known.begin())
    assert known.current() is kept
    clock.now += 59
    assert known.current() is kept
    clock.now += 2
    assert known.current() is None


def test_plans_outlive_a_catalog_that_is_the_same(known, clock):
    kept = known.keep(catalog(), known.begin())
    clock.now += 61
    assert known.keep(catalog(), known.begin()) is kept
    assert known.keep(catalog("u"), known.begin()) is not kept


def test_others_go_on_with_an_old_catalog_while_it_is_loaded(known, clock):
    kept = known.keep(catalog(), known.begin())
    clock.now += 61
    known.begin()
    assert known.current() is kept
    clock.now += 6  # whoever loads it takes too long
    assert known.current() is None


def test_others_wait_for_the_first_catalog(known):
    changes = known.begin()
    waiting = gevent.spawn(known.wait_for_others)
    gevent.sleep(0.01)
    assert not waiting.ready()
    kept = known.keep(catalog(), changes)
    assert waiting.get(timeout=1) is kept


def test_others_load_it_themselves_when_loading_fails(known):
    known.begin()
    waiting = gevent.spawn(known.wait_for_others)
    gevent.sleep(0.01)
    known.give_up()
    assert waiting.get(timeout=1) is None


def test_catalog_that_changed_while_it_was_loaded_is_for_its_loader_only(known):
    changes = known.begin()
    known.drop()
    loaded = known.keep(catalog(), changes)
    assert loaded.catalog == catalog()
    assert known.current() is None


def test_dropped_catalog_is_not_used_by_anyone(known):
    known.keep(catalog(), known.begin())
    known.drop()
    assert known.current() is None
    assert known.wait_for_others() is None


def test_knowledge_is_shared_by_object_and_goes_with_it():
    one = Cluster({"s0": "dbname=a"}, {})
    other = Cluster({"s0": "dbname=a"}, {})
    assert knowledge_of(one) is knowledge_of(one)
    assert knowledge_of(one) is not knowledge_of(other)
    count = len(knowledge._known)
    del other
    gc.collect()
    assert len(knowledge._known) == count - 1
