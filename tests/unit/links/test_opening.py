from __future__ import annotations

import gevent
import psycopg2
import pytest

from greenshard import errors
from greenshard.links.fanout import End, FanOut
from greenshard.links.opening import failed_opening, open_all


class FakePhysical:
    """A peer of `Physical` whose server does what `behaviour` says."""

    worker = late = None

    def __init__(self, shard, behaviour=None):
        self.shard = shard
        self._behaviour = behaviour
        self.is_open = False
        self.given = False

    def open(self, timeout_s=None):
        if self._behaviour == "hangs":
            gevent.sleep(60)
        if isinstance(self._behaviour, BaseException):
            raise self._behaviour
        self.is_open = True

    def discard(self):
        self.is_open = False


def test_all_are_opened():
    physicals = [FakePhysical("s0"), FakePhysical("s1")]
    assert open_all(physicals, 20.0) == {}
    assert all(physical.is_open for physical in physicals)


def test_why_each_failed_is_told_and_the_others_are_open():
    refused = psycopg2.OperationalError("refused")
    physicals = [FakePhysical("s0", refused), FakePhysical("s1"), FakePhysical("s2", "hangs")]
    failures = open_all(physicals, 0.02)
    assert list(failures) == ["s0", "s2"]
    assert failures["s0"] is refused
    assert "no connection to shard s2 within 0.02 s" in str(failures["s2"])
    assert failures["s2"].code == "GS101"
    assert [physical.is_open for physical in physicals] == [False, True, False]


def test_what_had_not_begun_when_the_time_was_up_is_not_called_open(monkeypatch):
    """A busy hub may look at its timers before it starts the greenlets."""

    def run(fanout, timeout_s):
        for job in fanout.jobs:
            job.end = End.CANCELLED

    monkeypatch.setattr(FanOut, "run", run)
    failures = open_all([FakePhysical("s0")], 0.001)
    assert "no connection to shard s0 within 0.001 s" in str(failures["s0"])


def test_timeout_from_outside_closes_all():
    physicals = [FakePhysical("s0"), FakePhysical("s1", "hangs")]
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        open_all(physicals, None)
    assert not any(physical.is_open for physical in physicals)


def test_what_is_no_database_error_is_not_swallowed():
    failures = open_all([FakePhysical("s0", KeyboardInterrupt())], 20.0)
    assert isinstance(failed_opening(failures, 1), KeyboardInterrupt)


def test_one_error_names_every_shard_that_failed():
    failures = {name: psycopg2.OperationalError(f"{name} refused") for name in ("s0", "s2")}
    error = failed_opening(failures, 3)
    assert isinstance(error, errors.FanoutError)
    assert isinstance(error, errors.OperationalError)
    assert "2 of 3 shards failed to open [GS101]" in str(error)
    assert "s0: s0 refused" in str(error)
    assert "s2: s2 refused" in str(error)
