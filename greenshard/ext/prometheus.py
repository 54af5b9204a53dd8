"""Pools' numbers for Prometheus.

::

    from prometheus_client import REGISTRY
    from greenshard.ext.prometheus import PoolCollector

    REGISTRY.register(PoolCollector({"main": pool}))

They are read when Prometheus asks, so that nothing is counted twice. Statements are counted when
they end, by `StatementMetrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from greenshard.ext.prometheus_statements import StatementMetrics
from greenshard.pool.histogram import BOUNDS_S, Durations
from greenshard.pool.pool import Pool
from greenshard.pool.stats import PoolStats, ShardStats

try:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector
    from prometheus_client.utils import floatToGoString
except ModuleNotFoundError as error:
    raise ImportError(
        "greenshard.ext.prometheus needs prometheus_client: pip install 'greenshard[prometheus]'"
    ) from error

__all__ = ["PoolCollector", "StatementMetrics"]

_Family = type[GaugeMetricFamily] | type[CounterMetricFamily] | type[HistogramMetricFamily]

_STATES = ("taken", "idle", "connecting", "closing")

#: Of each pool: the metric's name after ``greenshard_pool_``, what it is, and where it is from.
_OF_POOL: tuple[tuple[str, _Family, str, Callable[[PoolStats], Any]], ...] = (
    ("max_size", GaugeMetricFamily,
     "Logical connections that there may be", lambda s: s.max_size),
    ("waiting", GaugeMetricFamily,
     "Requests that wait for a connection", lambda s: s.waiting),
    ("longest_wait_seconds", GaugeMetricFamily,
     "For how long the first of them has waited", lambda s: s.longest_wait_s),
    ("requests", CounterMetricFamily,
     "Requests for a connection", lambda s: s.requests),
    ("waited", CounterMetricFamily,
     "Requests that had to wait", lambda s: s.waited),
    ("timeouts", CounterMetricFamily,
     "Requests that waited in vain", lambda s: s.timeouts),
    ("refused", CounterMetricFamily,
     "Requests refused because too many waited", lambda s: s.refused),
    ("leaks", CounterMetricFamily,
     "Connections held for too long", lambda s: s.leaks),
    ("wait_seconds", HistogramMetricFamily,
     "How long those waited that got a connection", lambda s: s.waits),
    ("in_doubt", GaugeMetricFamily,
     "Parts of transactions that recovery left in doubt, in its last round",
     lambda s: s.recovery and s.recovery.in_doubt),
    ("in_doubt_oldest_seconds", GaugeMetricFamily,
     "For how long the oldest of them had been prepared",
     lambda s: s.recovery and s.recovery.oldest_s),
    ("recovered", CounterMetricFamily,
     "Parts of transactions in doubt that recovery has finished",
     lambda s: s.recovery and s.recovery.finished),
)  # fmt: skip

#: Of each shard, likewise, after ``greenshard_pool_shard_``.
_OF_SHARD: tuple[tuple[str, _Family, str, Callable[[ShardStats], Any]], ...] = (
    ("open", GaugeMetricFamily,
     "Connections to the shard", lambda s: s.open),
    ("opening", GaugeMetricFamily,
     "Connections being opened", lambda s: s.opening),
    ("up", GaugeMetricFamily,
     "1, or 0 while the shard counts as down", lambda s: s.down_s is None),
    ("down_seconds", GaugeMetricFamily,
     "For how long it has been down; 0 while it is up", lambda s: s.down_s or 0.0),
    ("running", GaugeMetricFamily,
     "Statements that run on it", lambda s: s.running),
    ("failed_queries", CounterMetricFamily,
     "Statements that failed", lambda s: s.failed_queries),
    ("connects", CounterMetricFamily,
     "Connections that were opened", lambda s: s.connects),
    ("failed_connects", CounterMetricFamily,
     "Connections that could not be opened", lambda s: s.failed_connects),
    ("lost_connections", CounterMetricFamily,
     "Connections that broke", lambda s: s.lost_connections),
    ("refused", CounterMetricFamily,
     "Times that nobody tried to connect, because it was down", lambda s: s.refused),
    ("query_seconds", HistogramMetricFamily,
     "How long statements took on the shard", lambda s: s.queries),
)  # fmt: skip


class PoolCollector(Collector):
    """What `Pool.stats` tells of some pools, as Prometheus's metrics.

    All have the label ``pool``, those of a shard also ``shard``. The connections of the pool "main"
    that gather rows are the pool "main (gathering)".

    Args:
        pools: The pools by the names that they shall have.
    """

    def __init__(self, pools: Mapping[str, Pool]) -> None:
        self._pools = dict(pools)

    def describe(self) -> Iterator[Metric]:
        """The metrics without values: registering must not use a pool before a fork."""
        return _metrics({})

    def collect(self) -> Iterator[Metric]:
        """The metrics, of this process."""
        found = {}
        for name, pool in self._pools.items():
            found[name] = stats = pool.stats()
            if stats.gatherers is not None:
                found[f"{name} (gathering)"] = stats.gatherers
        return _metrics(found)


def _metrics(pools: Mapping[str, PoolStats]) -> Iterator[Metric]:
    connections = GaugeMetricFamily(
        "greenshard_pool_connections", "Logical connections", labels=("pool", "state")
    )
    for name, stats in pools.items():
        for state in _STATES:
            connections.add_metric((name, state), getattr(stats, state))
    yield connections
    for metric, family, text, value in _OF_POOL:
        of_pool: Any = family(f"greenshard_pool_{metric}", text, labels=("pool",))
        for name, stats in pools.items():
            _add(of_pool, (name,), value(stats))
        yield of_pool
    for metric, family, text, of in _OF_SHARD:
        of_shard: Any = family(f"greenshard_pool_shard_{metric}", text, labels=("pool", "shard"))
        for name, stats in pools.items():
            for shard, shard_stats in stats.shards.items():
                _add(of_shard, (name, shard), of(shard_stats))
        yield of_shard


def _add(metric: Any, labels: tuple[str, ...], value: Any) -> None:
    if value is None:
        return  # it has none
    if isinstance(value, Durations):
        ends = (*map(floatToGoString, BOUNDS_S), "+Inf")
        buckets = list(zip(ends, value.cumulative, strict=True))
        metric.add_metric(labels, buckets, value.sum_s)
    else:
        metric.add_metric(labels, value)
