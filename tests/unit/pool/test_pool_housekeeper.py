"""The pool's own work gives its slots back, whenever it is called off; with real greenlets."""

from __future__ import annotations

import time

import gevent
import pytest

from greenshard.pool.housekeeper import Housekeeper
from greenshard.pool.slot import Chore, Lease, Slot


class Recorder:
    """A pool that has one chore to do, and says at each tick what happens to it.

    It opens connections to a server that never answers.
    """

    def __init__(self, *steps) -> None:
        self.begun = self.killed = 0
        self.chore = Chore(Lease(Slot(), 0.0, "here"), ("s0",))
        self.given_back = []
        self.steps = list(steps)
        self.housekeeper = Housekeeper(self)

    def tick(self):
        if self.steps:
            self.steps.pop(0)(self)

    def give_back(self, lease):
        gevent.sleep(0)  # closing connections switches, too
        self.given_back.append(lease)

    def connect(self, chore):
        assert chore is self.chore
        self.begun += 1
        try:
            gevent.sleep(60)
        except gevent.GreenletExit:
            gevent.sleep(0.01)  # the connections of others are seen to end
            self.killed += 1
            raise

    def run(self):
        self.housekeeper.start()
        end = time.monotonic() + 10
        while self.housekeeper._running and time.monotonic() < end:
            time.sleep(0.001)
        self.housekeeper.stop()


def begin(pool):
    pool.housekeeper.work([pool.chore])


def recall(pool):
    pool.chore.recalled = True
    pool.housekeeper.work(())


def let_it_run(pool):
    gevent.sleep(0.01)
    pool.housekeeper.work(())


@pytest.mark.parametrize("pauses", range(4))
def test_recalled_chore_gives_its_slot_back_whenever_it_is_recalled(pauses, capfd):
    pool = Recorder(begin, *[let_it_run] * pauses, recall)
    pool.run()
    assert pool.given_back == [pool.chore.lease]
    assert pool.begun == pool.killed
    assert pool.begun == min(pauses, 1)
    assert capfd.readouterr().err == ""


def test_chore_that_was_recalled_before_it_began_opens_nothing():
    pool = Recorder(lambda pool: (recall(pool), begin(pool)))
    pool.run()
    assert pool.given_back == [pool.chore.lease]
    assert pool.begun == 0


def test_chore_that_is_recalled_twice_gives_its_slot_back_once():
    pool = Recorder(begin, let_it_run, recall, recall, recall)
    pool.run()
    assert pool.given_back == [pool.chore.lease]


def test_thread_ends_though_a_slot_could_not_be_given_back(capfd):
    class Failing(Recorder):
        def tick(self):
            super().tick()
            return 0.01 if self.housekeeper._chores else None

        def give_back(self, lease):
            super().give_back(lease)
            raise OSError("closing failed")

    pool = Failing(begin, let_it_run, recall)
    pool.run()
    assert pool.given_back == [pool.chore.lease]
    assert not pool.housekeeper._running
    assert "closing failed" in capfd.readouterr().err
