from __future__ import annotations

import gc

import gevent
import pytest

from greenshard.cluster import Cluster, Sharded
from greenshard.executor.knowledge import shared as knowledge
from greenshard.executor.knowledge.shared import Knowledge, knowledge_of
from greenshard.planner.catalog import Catalog, Column, Relation
from tests.unit.clock import Clock


@pytest.fixture
def cluster():
    return Cluster({"s0": "dbname=a", "s1": "dbname=b"}, {"t": Sharded("id")})


@pytest.fixture
def clock(monkeypatch):
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


def test_sessions_are_asked_again_after_a_change_and_not_after_a_guess(known, clock):
    known.keep(catalog(), known.begin())
    clock.now += 10
    known.expire()
    known.keep(catalog(), known.begin())
    assert known.oldest() < clock.now
    clock.now += 10
    known.expire()
    known.keep(catalog("u"), known.begin())
    assert known.oldest() == clock.now
    clock.now += 10
    known.drop()
    assert known.oldest() == clock.now


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
    assert knowledge_of(one, "a") is knowledge_of(one, "a")
    assert knowledge_of(one, "a") is not knowledge_of(other, "a")
    gc.collect()  # other tests' clusters
    count = len(knowledge._kin)
    del other
    gc.collect()
    assert len(knowledge._kin) == count - 1


def test_other_databases_of_a_cluster_have_knowledge_of_their_own(cluster):
    here, there = knowledge_of(cluster, "here"), knowledge_of(cluster, "there")
    kept = here.keep(catalog(), here.begin())
    assert here.current() is kept
    assert there.current() is None


def test_change_is_noticed_by_other_roles_too(cluster):
    ours, theirs = knowledge_of(cluster, "ours"), knowledge_of(cluster, "theirs")
    theirs.keep(catalog(), theirs.begin())
    ours.drop()
    assert theirs.current() is None


def test_knowledge_of_databases_that_nobody_uses_is_bounded(cluster):
    used = knowledge_of(cluster, "used")
    for number in range(100):
        knowledge_of(cluster, number)
    gc.collect()
    assert len(knowledge._kin[cluster].all()) <= 10
    assert knowledge_of(cluster, "used") is used
    assert knowledge_of(cluster, 99) is knowledge_of(cluster, 99)


def test_doubts_that_come_while_shards_are_asked_stay(known):
    known.doubt(["s0", "s1", "s2"])
    assert known.take_doubts(["s0", "s1", "s3"]) == {"s0", "s1"}
    known.doubt(["s1"])
    known.believe({"s0": b"1", "s1": b"1"})
    assert known.doubted == {"s1", "s2"}
    assert not known.has_changed({"s0": b"1", "s1": b"1"})
    assert known.has_changed({"s1": b"2"})
    assert known.has_changed({"s2": b"1"})


def test_catalog_is_suspect_if_code_has_run_since_it_was_loaded(known, clock):
    known.keep(catalog(), known.begin())
    clock.now += 1
    assert not known.is_suspect
    known.doubt(["s0"])
    assert known.is_suspect
    clock.now += 1
    known.keep(catalog("u"), known.begin())
    assert not known.is_suspect
