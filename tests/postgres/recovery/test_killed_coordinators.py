"""Programs that commit are killed at any moment, beside recoverers: all or nothing is left."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time

import gevent
import pytest

import greenshard
from greenshard import Outcome

#: Writes on all shards, in one transaction after the other, and says so when each is committed.
COORDINATOR = """
import json, random, sys, time
import greenshard
from greenshard.transaction import carrying_out

def slowly(self, action, done=carrying_out.Conductor._answers):
    time.sleep(0.15 * random.random())  # so that it is killed between any two messages
    return done(self, action)

carrying_out.Conductor._answers = slowly
dsns, number = json.loads(sys.argv[1]), int(sys.argv[2])
cluster = greenshard.Cluster(dsns, {"tags": greenshard.Sharded("x")})
with greenshard.connect(cluster) as conn:
    cursor = conn.cursor()
    while True:
        number += 1
        for x in range(6):
            cursor.execute("INSERT INTO tags VALUES (%s, %s)", (x, number))
        conn.commit()
        print(number, flush=True)
"""
KEYS = 6


@pytest.fixture
def tags(scene):
    for shard in scene.dsns:
        scene.ask(shard, "DROP TABLE IF EXISTS tags; CREATE TABLE tags (x int, tag int)")

    def counts():
        found = {}
        for shard in scene.dsns:
            for (tag,) in scene.ask(shard, "SELECT tag FROM tags"):
                found[tag] = found.get(tag, 0) + 1
        return found

    return counts


def coordinate(dsns, first):
    command = [sys.executable, "-c", COORDINATOR, json.dumps(dsns), str(first)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_killed_coordinators_leave_all_or_nothing(scene, tags):
    chance = random.Random(os.environ["GREENSHARD_SEED"])
    told, names, over = set(), {}, False

    def recover_all_the_time():
        while not over:
            names.update((part.gid, part.committed) for part in scene.recover().finished)
            gevent.sleep(chance.random() * 0.05)

    recovering = [gevent.spawn(recover_all_the_time) for _ in range(2)]
    end = time.monotonic() + 60
    kill = 0
    # Until the recoverers have had both to do.
    while kill < 3 or (set(names.values()) < {True, False} and time.monotonic() < end):
        running = [coordinate(scene.dsns, (2 * kill + n) * 1_000_000) for n in range(2)]
        for each in running:
            told.add(int(wait_line(each)))
        gevent.sleep(chance.random() * 0.5)
        for each in running:
            each.kill()
            told.update(int(line) for line in each.communicate()[0].splitlines() if line)
        kill += 1
    over = True
    gevent.joinall(recovering, raise_error=True)
    end = time.monotonic() + 20
    while not (report := scene.recover()).ok:  # the servers notice that the programs are gone
        assert time.monotonic() < end, report
        time.sleep(0.05)
    names.update((part.gid, part.committed) for part in report.finished)
    found = tags()
    assert set(found.values()) == {KEYS}, "half done"
    assert told <= found.keys(), "lost what was told to be committed"
    assert set(names.values()) == {True, False}, "the recoverers had nothing to do"
    assert [scene.prepared(shard) for shard in scene.dsns] == [[], [], []]
    for name, committed in names.items():
        told_so = greenshard.outcome(name, scene.dsns)
        assert told_so is (Outcome.COMMITTED if committed else Outcome.ROLLED_BACK)


def wait_line(process):
    """Its next line; the recoverers go on meanwhile."""
    return gevent.get_hub().threadpool.apply(process.stdout.readline)
