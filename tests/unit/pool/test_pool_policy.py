from __future__ import annotations

import pytest

from greenshard import errors
from greenshard.pool.policy import Policy


def test_defaults_can_be_used():
    policy = Policy()
    assert policy.max_size == 10
    assert policy.timeout_s == 5.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_size": 0}, "max_size is 0; it must be a whole number of at least 1"),
        ({"max_size": 2.0}, "max_size is 2.0"),
        ({"max_size": True}, "max_size is True"),
        ({"min_idle": -1}, "min_idle is -1"),
        ({"min_idle": 3, "max_size": 2}, "min_idle is 3, more than max_size 2"),
        ({"max_waiting": -1}, "max_waiting is -1"),
        ({"timeout_s": None}, "timeout must be a number of seconds"),
        ({"timeout_s": -1}, "timeout is -1"),
        ({"max_idle_s": 0}, "max_idle is 0"),
        ({"max_lifetime_s": "long"}, "max_lifetime is 'long'"),
        ({"check_after_s": None}, "check_after must be a number of seconds"),
        ({"leak_after_s": float("nan")}, "leak_after is nan"),
        ({"patience_s": 0}, "patience is 0"),
        ({"first_pause_s": 2.0, "longest_pause_s": 1.0}, "first_pause is longer"),
        ({"lifetime_jitter": 1.5}, "lifetime_jitter is 1.5, not from 0 to 1"),
    ],
)
def test_a_number_that_cannot_be_used_is_refused(given, message):
    with pytest.raises(errors.ProgrammingError, match=message) as caught:
        Policy(**given)
    assert caught.value.code == "GS104"


def test_no_limit_where_none_is_meant():
    Policy(max_waiting=None, max_idle_s=None, max_lifetime_s=None, leak_after_s=None)


def test_zero_where_it_means_at_once_or_nobody():
    Policy(timeout_s=0, check_after_s=0, max_waiting=0, min_idle=0)


def test_connections_that_gather_are_neither_kept_ready_nor_counted_as_requests():
    """Who waits for one has a connection of the pool: that one leaks, or is queued for."""
    given = Policy(max_size=8, min_idle=2, max_waiting=1, leak_after_s=1.0, max_gathers=3)
    policy = given.for_gatherers()
    assert (policy.max_size, policy.min_idle) == (3, 0)
    assert (policy.max_waiting, policy.leak_after_s) == (None, None)
    assert policy.timeout_s == given.timeout_s
    assert [Policy(max_size=n).for_gatherers().max_size for n in (1, 7, 8)] == [1, 1, 2]
