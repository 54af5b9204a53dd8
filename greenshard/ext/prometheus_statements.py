"""Statements, counted for Prometheus as they end: a listener.

::

    from greenshard.ext.prometheus import StatementMetrics

    pool = greenshard.Pool("cluster.toml", on_event=StatementMetrics())
"""

from __future__ import annotations

from greenshard import errors
from greenshard.events import Event, StatementEnded

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
except ModuleNotFoundError as error:
    raise ImportError(
        "greenshard.ext.prometheus needs prometheus_client: pip install 'greenshard[prometheus]'"
    ) from error

_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class StatementMetrics:
    """Counts what has become of each statement, as Prometheus's metrics; give it as ``on_event``.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._statements = Counter(
            "greenshard_statements",
            "Statements that have ended, by how they were run",
            ("strategy",),
            registry=registry,
        )
        self._seconds = Histogram(
            "greenshard_statement_seconds",
            "How long statements took",
            ("strategy",),
            registry=registry,
            buckets=_BOUNDS_S,
        )
        self._refused = Counter(
            "greenshard_refused_statements",
            "Statements that greenshard has refused, by the code",
            ("code",),
            registry=registry,
        )
        self._failed = Counter(
            "greenshard_failed_statements",
            "Other statements that have failed, by the SQLSTATE if there is one",
            ("sqlstate",),
            registry=registry,
        )
        self._cancelled = Counter(
            "greenshard_cancelled_statements",
            "Statements whose time was up, or whose greenlet was ended",
            registry=registry,
        )
        self._partial = Counter(
            "greenshard_partial_answers",
            "Answers without the rows of some shards",
            registry=registry,
        )
        self._gathered = Counter(
            "greenshard_gathered_rows",
            "Rows that shards gave to answers that one server made of them",
            ("shard",),
            registry=registry,
        )
        self._of_shard = Counter(
            "greenshard_shard_statements",
            "Statements that a shard had a part in",
            ("shard", "strategy"),
            registry=registry,
        )
        self._shard_failed = Counter(
            "greenshard_shard_failed_statements",
            "Those that failed there, or were cancelled",
            ("shard",),
            registry=registry,
        )

    def __call__(self, event: Event) -> None:
        """Count an event."""
        if not isinstance(event, StatementEnded):
            return
        strategy = event.strategy or "none"
        self._statements.labels(strategy).inc()
        self._seconds.labels(strategy).observe(event.duration_s)
        if event.error is not None:
            self._count_error(event.error)
        elif any(run.error is not None for run in event.shards.values()):
            self._partial.inc()
        for shard, run in event.shards.items():
            self._of_shard.labels(shard, strategy).inc()
            if run.error is not None:
                self._shard_failed.labels(shard).inc()
            if strategy in {"gather", "combine", "subqueries"} and run.rows:
                self._gathered.labels(shard).inc(run.rows)

    def _count_error(self, error: BaseException) -> None:
        if isinstance(error, errors.QueryTimeout) or not isinstance(error, Exception):
            self._cancelled.inc()
        elif isinstance(error, errors.NotSupportedError) and error.code is not None:
            self._refused.labels(error.code).inc()
        else:
            self._failed.labels(getattr(error, "pgcode", None) or "").inc()
