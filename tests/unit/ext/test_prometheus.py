from __future__ import annotations

import importlib
import sys
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.parser import text_string_to_metric_families

import greenshard
from greenshard.ext import prometheus
from greenshard.ext.prometheus import PoolCollector
from greenshard.pool.histogram import BOUNDS_S, Histogram
from greenshard.pool.stats import PoolStats, RecoveryStats, ShardStats


def durations(*seconds):
    histogram = Histogram()
    for each in seconds:
        histogram.observe(each)
    return histogram.value()


def shard(down_s=None):
    return ShardStats(
        open=5, opening=6, down_s=down_s, reason="no route", running=7,
        queries=durations(0.0005, 0.02, 100.0), failed_queries=8, connects=9, failed_connects=10,
        lost_connections=11, refused=12,
    )  # fmt: skip


STATS = PoolStats(
    max_size=20, size=10, taken=1, idle=2, connecting=3, closing=4, waiting=13, longest_wait_s=1.5,
    requests=100, waited=14, timeouts=15, refused=16, waits=durations(0.001, 0.001), leaks=17,
    shards={"s0": shard(), "s1": shard(down_s=2.5)},
    recovery=RecoveryStats(at=1e6, in_doubt=18, oldest_s=3.5, finished=19),
)  # fmt: skip


class FakePool:
    """A peer of `Pool` whose numbers are what they are."""

    asked = 0

    def __init__(self, stats=STATS):
        self._stats = stats

    def stats(self):
        self.asked += 1
        return self._stats


@pytest.fixture
def value():
    registry = CollectorRegistry()
    registry.register(PoolCollector({"main": FakePool()}))

    def value(name, **labels):
        return registry.get_sample_value(f"greenshard_pool_{name}", {"pool": "main", **labels})

    return value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("max_size", 20),
        ("waiting", 13),
        ("longest_wait_seconds", 1.5),
        ("requests_total", 100),
        ("waited_total", 14),
        ("timeouts_total", 15),
        ("refused_total", 16),
        ("leaks_total", 17),
        ("in_doubt", 18),
        ("in_doubt_oldest_seconds", 3.5),
        ("recovered_total", 19),
        ("wait_seconds_count", 2),
        ("wait_seconds_sum", 0.002),
    ],
)
def test_numbers_of_a_pool(value, name, expected):
    assert value(name) == expected


def test_connections_by_state_add_up_to_the_size(value):
    states = ["taken", "idle", "connecting", "closing"]
    assert [value("connections", state=state) for state in states] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("open", 5),
        ("opening", 6),
        ("running", 7),
        ("failed_queries_total", 8),
        ("connects_total", 9),
        ("failed_connects_total", 10),
        ("lost_connections_total", 11),
        ("refused_total", 12),
        ("query_seconds_count", 3),
    ],
)
def test_numbers_of_a_shard(value, name, expected):
    assert value(f"shard_{name}", shard="s0") == expected


def test_shard_that_is_down(value):
    assert [value("shard_up", shard=name) for name in ("s0", "s1")] == [1, 0]
    assert [value("shard_down_seconds", shard=name) for name in ("s0", "s1")] == [0, 2.5]


def test_buckets_count_what_took_at_most_so_long(value):
    ends = [*map(str, BOUNDS_S), "+Inf"]
    counts = [value("shard_query_seconds_bucket", shard="s0", le=end) for end in ends]
    assert counts[:5] == [1] * 5
    assert counts[5:-1] == [2] * 11
    assert counts[-1] == 3


def test_connections_that_gather_are_a_pool_of_their_own():
    pool = FakePool(replace(STATS, gatherers=replace(STATS, max_size=5)))
    registry = CollectorRegistry()
    registry.register(PoolCollector({"main": pool}))
    sizes = {
        name: registry.get_sample_value("greenshard_pool_max_size", {"pool": name})
        for name in ("main", "main (gathering)")
    }
    assert sizes == {"main": 20, "main (gathering)": 5}


def test_pools_are_told_apart():
    registry = CollectorRegistry()
    registry.register(PoolCollector({"main": FakePool(), "archive": FakePool()}))
    text = generate_latest(registry).decode()
    assert {'greenshard_pool_max_size{pool="main"} 20.0'} < set(text.splitlines())
    assert {'greenshard_pool_max_size{pool="archive"} 20.0'} < set(text.splitlines())


@pytest.mark.parametrize("write", [generate_latest, openmetrics])
def test_page_is_what_prometheus_reads(write):
    registry = CollectorRegistry()
    registry.register(PoolCollector({"main": FakePool()}))
    page = write(registry).decode()
    if write is generate_latest:
        families = list(text_string_to_metric_families(page))
        assert all(family.name.startswith("greenshard_pool_") for family in families)
        assert all(family.documentation and family.samples for family in families)
    else:
        assert page.endswith("# EOF\n")


def test_no_reason_is_told():
    registry = CollectorRegistry()
    registry.register(PoolCollector({"main": FakePool()}))
    assert "no route" not in generate_latest(registry).decode()


def test_registering_asks_no_pool():
    pool = FakePool()
    registry = CollectorRegistry(auto_describe=True)
    registry.register(PoolCollector({"main": pool}))
    assert pool.asked == 0


def test_pool_that_was_never_used_has_numbers():
    registry = CollectorRegistry()
    registry.register(PoolCollector({"main": greenshard.Pool(["dbname=a", "dbname=b"], 7)}))
    labels = {"pool": "main"}
    assert registry.get_sample_value("greenshard_pool_max_size", labels) == 7
    labels["shard"] = "s1"
    assert registry.get_sample_value("greenshard_pool_shard_up", labels) == 1


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client.core", None)
    with pytest.raises(ImportError, match=r"pip install 'greenshard\[prometheus\]'"):
        importlib.reload(prometheus)
