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
        ({"max_gathers": 0}, "max_gathers is 0; it must be a whole number of at least 1"),
        ({"timeout_s": None}, "timeout must be a number of seconds"),
        ({"timeout_s": -1}, "timeout is -1"),
        ({"max_idle_s": 0}, "max_idle is 0"),
        ({"max_lifetime_s": "long"}, "max_lifetime is 'long'"),
        ({"check_after_s": None}, "check_after must be a number of seconds"),
        ({"leak_after_s": float("nan")}, "leak_after is nan"),
        ({"patience_s": 0}, "patience is 0"),
        ({"first_pause_s": 2.0, "longest_pause_s": 1.0}, "first_pause is longer"),
        ({"lifetime_jitter": 1.5}, "lifetime_jitter is 1.5, not from 0 to 1"),
        ({"lifetime_jitter": "long"}, "lifetime_jitter is 'long'"),
    ],
)
def test_a_number_that_cannot_be_used_is_refused(given, message):
    with pytest.raises(errors.ProgrammingError, match=f"^{message}") as caught:
        Policy(**given)
    assert caught.value.code == "GS104"


def test_no_limit_where_none_is_meant():
    Policy(max_waiting=None, max_idle_s=None, max_lifetime_s=None, leak_after_s=None)


def test_least_numbers_that_can_be_used():
    Policy(max_size=1, max_gathers=1, first_pause_s=1.0, longest_pause_s=1.0, lifetime_jitter=0)
    Policy(lifetime_jitter=1)


def test_zero_where_it_means_at_once_or_nobody():
    Policy(timeout_s=0, check_after_s=0, max_waiting=0, min_idle=0)


def test_pool_of_gatherers_has_some_of_the_connections_and_makes_nobody_wait_or_leak():
    policy = Policy(max_size=20, min_idle=3, max_waiting=2, timeout_s=7.0, recover_every_s=30.0)
    expected = {"min_idle": 0, "max_waiting": None, "leak_after_s": None, "of_gatherers": True}
    assert policy.for_gatherers() == Policy(max_size=5, timeout_s=7.0, **expected)
    assert Policy(max_size=3).for_gatherers() == Policy(max_size=1, **expected)
    assert Policy(max_size=20, max_gathers=7).for_gatherers().max_size == 7
