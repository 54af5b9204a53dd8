from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenshard.pool.histogram import BOUNDS_S, Durations, Histogram

SECONDS = st.floats(0, 100, allow_nan=False)


def histogram_of(*seconds):
    histogram = Histogram()
    for each in seconds:
        histogram.observe(each)
    return histogram.value()


def test_a_bound_belongs_to_the_bucket_below_it():
    assert histogram_of(BOUNDS_S[0]).counts[0] == 1
    assert histogram_of(BOUNDS_S[0] * 1.01).counts[1] == 1


def test_what_takes_longer_than_all_bounds_is_counted():
    assert histogram_of(1000.0).counts[-1] == 1
    assert histogram_of(1000.0).quantile_s(0.5) == BOUNDS_S[-1]


def test_nothing_counted_has_no_quantile():
    assert Durations().quantile_s(0.5) is None
    assert Durations().count == 0


@given(st.lists(SECONDS, max_size=30))
def test_each_is_counted_once(seconds):
    value = histogram_of(*seconds)
    assert value.count == value.cumulative[-1] == len(seconds)
    assert value.sum_s == pytest.approx(sum(seconds))


@given(st.lists(SECONDS, max_size=30))
def test_cumulative_counts_are_of_what_took_at_most_the_bound(seconds):
    expected = [sum(each <= bound for each in seconds) for bound in BOUNDS_S]
    assert list(histogram_of(*seconds).cumulative[:-1]) == expected


@given(st.lists(st.floats(0, BOUNDS_S[-1]), min_size=1, max_size=30), st.floats(0.01, 1))
def test_a_quantile_is_in_the_bucket_of_the_true_one(seconds, part):
    found = histogram_of(*seconds).quantile_s(part)
    at = -(-len(seconds) * part // 1)  # rounded up
    true = sorted(seconds)[min(len(seconds), int(at)) - 1]
    bucket = next(i for i, bound in enumerate(BOUNDS_S) if true <= bound)
    low = (0.0, *BOUNDS_S)[bucket]
    assert low <= found <= BOUNDS_S[bucket] * (1 + 1e-9)


def test_a_value_does_not_change_afterwards():
    histogram = Histogram()
    before = histogram.value()
    histogram.observe(1.0)
    assert before.count == 0
    assert histogram.value().count == 1
