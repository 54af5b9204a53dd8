from __future__ import annotations

import contextlib

import gevent
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

import greenshard
from greenshard.ext.opentelemetry import Tracing
from greenshard.ext.prometheus import PoolCollector


@pytest.fixture
def traces():
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def test_requests_that_run_at_once_have_their_own_spans(cluster, traces):
    provider, exporter = traces
    tracer = provider.get_tracer("test")

    def request(name, sql):
        with tracer.start_as_current_span(name), pool.connection() as conn:
            conn.cursor().execute(f"SELECT pg_sleep(0.1)::text, count(*) FROM {sql} GROUP BY 1")

    with greenshard.Pool(cluster, 2, timeout=10.0, on_event=Tracing(provider)) as pool:
        greenlets = [gevent.spawn(request, name, name) for name in ("orders", "items")]
        gevent.joinall(greenlets, raise_error=True)
    spans = exporter.get_finished_spans()
    by_id = {span.context.span_id: span for span in spans}
    for name in ("orders", "items"):
        (statement,) = [s for s in spans if s.name == f"SELECT public.{name}"]
        assert by_id[statement.parent.span_id].name == name
        shards = [s for s in spans if s.parent and s.parent.span_id == statement.context.span_id]
        assert {s.name for s in shards} == {"SELECT s0", "SELECT s1", "SELECT s2"}
        for shard in shards:
            assert statement.start_time <= shard.start_time <= shard.end_time
            assert shard.end_time <= statement.end_time + 1_000_000


def test_statement_that_fails_is_a_span_with_the_servers_code(cluster, traces):
    provider, exporter = traces
    with (
        contextlib.closing(greenshard.connect(cluster, on_event=Tracing(provider))) as conn,
        pytest.raises(greenshard.Error),
    ):
        conn.cursor().execute("SELECT 1/0 FROM orders")
    *shards, statement = (span.attributes["error.type"] for span in exporter.get_finished_spans())
    assert statement == "22012"
    assert len(shards) == 3
    assert {"22012"} <= set(shards) <= {"22012", "57014"}  # the others may be cancelled


def test_prometheus_sees_what_the_pool_counts(cluster):
    registry = CollectorRegistry()
    with greenshard.Pool(cluster, 2, timeout=10.0) as pool:
        registry.register(PoolCollector({"main": pool}))
        with pool.connection() as conn:
            conn.cursor().execute("SELECT id FROM orders")
            taken = {"pool": "main", "state": "taken"}
            assert registry.get_sample_value("greenshard_pool_connections", taken) == 1
        stats = pool.stats()
        for name, shard in stats.shards.items():
            labels = {"pool": "main", "shard": name}
            counted = registry.get_sample_value("greenshard_pool_shard_query_seconds_count", labels)
            assert counted == shard.queries.count > 0
        requests = registry.get_sample_value("greenshard_pool_requests_total", {"pool": "main"})
        assert requests == stats.requests == 1
