from __future__ import annotations

import pytest

from greenshard.links import deadline
from greenshard.links.deadline import UNLIMITED, Deadline, within
from tests.unit.clock import Clock


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(deadline, "time", clock)
    return clock


def test_deadline_comes_nearer(clock):
    end = Deadline(2.0)
    assert end.left_s == 2.0
    clock.now += 1.5
    assert end.left_s == 0.5
    clock.now += 1.0
    assert end.left_s == 0.0
    assert end.timeout_s == 2.0


def test_part_of_a_deadline_ends_earlier_and_is_told_as_the_whole(clock):
    end = Deadline(4.0)
    clock.now += 2.0
    part = end.part(0.75)
    assert part.left_s == 1.5
    assert part.timeout_s == 4.0
    assert end.later(1.0).left_s == 3.0


def test_no_limit_stays_none(clock):
    end = Deadline(None)
    assert end.left_s is end.part(0.5).left_s is end.later(3.0).left_s is None
    assert within(None) is UNLIMITED
    assert UNLIMITED.left_s is UNLIMITED.timeout_s is None
