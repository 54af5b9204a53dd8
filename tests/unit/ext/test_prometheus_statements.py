from __future__ import annotations

import gevent
import pytest
from prometheus_client import CollectorRegistry

import greenshard
from greenshard import errors
from greenshard.events import ConnectionTaken, ShardRun, StatementEnded
from greenshard.ext.prometheus import StatementMetrics


def run(rows=3, error=None):
    return ShardRun(0.0, 0.01, rows, error, None)


def ended(strategy="gather", error=None, **shards):
    return StatementEnded("SELECT ?", strategy, (), 0.0, 0.02, shards, 1, error)


@pytest.fixture
def counted():
    registry = CollectorRegistry()
    metrics = StatementMetrics(registry)

    def counted(name, *events, **labels):
        for event in events:
            metrics(event)
        return registry.get_sample_value(f"greenshard_{name}", labels)

    return counted


def test_statements_are_counted_by_how_they_were_run(counted):
    events = [ended(s0=run(), s1=run(4)), ended("route", s0=run())]
    assert counted("statements_total", *events, strategy="gather") == 1
    assert counted("statements_total", strategy="route") == 1
    assert counted("statement_seconds_count", strategy="gather") == 1
    assert counted("gathered_rows_total", shard="s1") == 4
    assert counted("gathered_rows_total", shard="s0") == 3  # a routed one gathers nothing
    assert counted("shard_statements_total", shard="s0", strategy="route") == 1


@pytest.mark.parametrize(
    ("error", "name", "labels"),
    [
        (errors.refused("no", code="GS410"), "refused_statements_total", {"code": "GS410"}),
        (errors.QueryTimeout("late", code="GS301"), "cancelled_statements_total", {}),
        (gevent.Timeout(), "cancelled_statements_total", {}),
        (gevent.GreenletExit(), "cancelled_statements_total", {}),
        (errors.refused("no", pgcode="42703"), "failed_statements_total", {"sqlstate": "42703"}),
        (errors.OperationalError("gone"), "failed_statements_total", {"sqlstate": ""}),
    ],
)
def test_each_error_is_counted_once(counted, error, name, labels):
    assert counted(name, ended(None, error, s0=run(None, error)), **labels) == 1
    assert counted("statements_total", strategy="none") == 1
    assert counted("shard_failed_statements_total", shard="s0") == 1
    assert counted("partial_answers_total") == 0


def test_answers_without_some_shards_are_counted(counted):
    missing = errors.OperationalError("gone")
    assert counted("partial_answers_total", ended(s0=run(), s1=run(None, missing))) == 1


def test_other_events_are_not_counted(counted):
    assert counted("statements_total", ConnectionTaken(0.1, None), strategy="none") is None


def test_it_is_a_listener():
    listener = StatementMetrics(CollectorRegistry())
    with pytest.raises(greenshard.OperationalError):
        greenshard.connect("host=/nowhere", on_event=listener)
