from __future__ import annotations

import importlib
import sys

import gevent
import psycopg2
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.semconv.attributes import db_attributes, error_attributes, server_attributes
from opentelemetry.trace import SpanKind, StatusCode

from greenshard import errors
from greenshard.events import ConnectionTaken, Server, ShardRun, StatementEnded
from greenshard.ext import opentelemetry
from greenshard.ext.opentelemetry import Tracing


class Traced:
    """A provider, and the spans that were made."""

    def __init__(self, **arguments):
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, **arguments)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(self.provider)

    @property
    def spans(self):
        return self._exporter.get_finished_spans()

    def statement(self, event):
        """The spans of an event: the statement's, and the shards'."""
        self._exporter.clear()
        self.tracing(event)
        *shards, statement = self.spans
        return statement, shards


@pytest.fixture
def traced():
    return Traced()


def run(database="app", address="db0", started_s=0.25, error=None, rows=3):
    return ShardRun(started_s, 0.5, rows, error, Server(address, 5433, database))


def ended(sql="SELECT * FROM orders WHERE id = %s", shards=None, error=None, **changes):
    values = {
        "strategy": "route", "tables": ("public.orders",), "started": 1_700_000_000.5,
        "duration_s": 2.0, "rows": 3, "parameter_sets": None, **changes,
    }  # fmt: skip
    return StatementEnded(
        sql=sql, error=error, shards={"s0": run()} if shards is None else shards, **values
    )


def test_statement_has_the_attributes_of_the_conventions(traced):
    span, _ = traced.statement(ended())
    assert span.name == "SELECT public.orders"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == {
        db_attributes.DB_SYSTEM_NAME: "postgresql",
        db_attributes.DB_QUERY_TEXT: "SELECT * FROM orders WHERE id = %s",
        db_attributes.DB_QUERY_SUMMARY: "SELECT public.orders",
        db_attributes.DB_NAMESPACE: "app",
        server_attributes.SERVER_ADDRESS: "db0",
        server_attributes.SERVER_PORT: 5433,
        "greenshard.strategy": "route",
        "greenshard.rows": 3,
    }


def test_spans_last_as_long_as_what_they_stand_for(traced):
    span, (shard,) = traced.statement(ended())
    assert span.start_time == 1_700_000_000_500_000_000
    assert span.end_time - span.start_time == 2_000_000_000
    assert shard.start_time - span.start_time == 250_000_000
    assert shard.end_time - shard.start_time == 500_000_000


def test_each_shard_is_a_child(traced):
    span, shards = traced.statement(ended(shards={"s0": run(), "s1": run("other", "db1")}))
    assert [shard.name for shard in shards] == ["SELECT s0", "SELECT s1"]
    assert all(shard.parent.span_id == span.context.span_id for shard in shards)
    assert all(shard.kind is SpanKind.CLIENT for shard in shards)
    assert dict(shards[1].attributes) == {
        db_attributes.DB_SYSTEM_NAME: "postgresql",
        db_attributes.DB_NAMESPACE: "other",
        server_attributes.SERVER_ADDRESS: "db1",
        server_attributes.SERVER_PORT: 5433,
        "greenshard.shard": "s1",
        "greenshard.rows": 3,
    }


def test_statement_over_several_servers_names_none(traced):
    span, _ = traced.statement(ended(shards={"s0": run(), "s1": run(address="db1")}))
    assert server_attributes.SERVER_ADDRESS not in span.attributes
    assert span.attributes[db_attributes.DB_NAMESPACE] == "app"
    span, _ = traced.statement(ended(shards={"s0": run(), "s1": run("other")}))
    assert db_attributes.DB_NAMESPACE not in span.attributes


@pytest.mark.parametrize(
    ("sql", "summary"),
    [
        ("select ?", "SELECT public.orders"),
        ("(SELECT ?) UNION SELECT ?;", "SELECT public.orders"),
        ("SELECT ...", "SELECT public.orders"),
        ("BEGIN; SELECT ?", None),
        ("...", None),
        ("", None),
    ],
)
def test_summary_is_the_command_if_there_is_one(traced, sql, summary):
    span, _ = traced.statement(ended(sql))
    assert span.attributes.get(db_attributes.DB_QUERY_SUMMARY) == summary
    assert span.name == (summary or "postgresql")


@pytest.mark.parametrize(("sets", "size"), [(None, None), (0, 0), (1, None), (7, 7)])
def test_executemany_is_a_batch(traced, sets, size):
    span, _ = traced.statement(ended("INSERT INTO orders VALUES (%s)", parameter_sets=sets))
    assert span.attributes.get(db_attributes.DB_OPERATION_BATCH_SIZE) == size
    assert span.name == ("INSERT" if size is None else "BATCH INSERT") + " public.orders"


def test_error_of_a_server_is_told_by_its_sqlstate(traced):
    own = errors.refused("no", code="GS408", pgcode="42P01")
    span, (shard,) = traced.statement(ended(error=own, shards={"s0": run(error=own)}))
    for each in (span, shard):
        assert each.attributes[error_attributes.ERROR_TYPE] == "42P01"
        assert each.attributes[db_attributes.DB_RESPONSE_STATUS_CODE] == "42P01"
        assert each.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (errors.QueryTimeout("no answer"), "greenshard.errors.QueryTimeout"),
        (gevent.Timeout(1), "gevent.timeout.Timeout"),
        (gevent.GreenletExit(), "greenlet.GreenletExit"),
        (KeyError("x"), "KeyError"),
    ],
)
def test_another_error_is_told_by_its_class(traced, error, name):
    span, _ = traced.statement(ended(error=error))
    assert span.attributes[error_attributes.ERROR_TYPE] == name
    assert db_attributes.DB_RESPONSE_STATUS_CODE not in span.attributes


def test_message_of_an_error_is_in_no_span(traced):
    error = psycopg2.errors.UniqueViolation("Key (mail)=(ann@example.org) already exists")
    span, (shard,) = traced.statement(ended(error=error, shards={"s0": run(error=error)}))
    assert "ann@example.org" not in span.to_json() + shard.to_json()


def test_shard_that_could_not_be_asked_has_a_span_without_server(traced):
    gone = ShardRun(0.0, 0.0, None, errors.InterfaceError("gone"), None)
    _, (shard,) = traced.statement(ended(shards={"s0": gone}))
    assert server_attributes.SERVER_ADDRESS not in shard.attributes
    assert shard.status.status_code is StatusCode.ERROR


def test_span_is_a_child_of_the_current_one(traced):
    tracer = traced.provider.get_tracer("test")
    with tracer.start_as_current_span("request") as request:
        traced.tracing(ended())
    assert traced.spans[1].parent.span_id == request.get_span_context().span_id


def test_greenlets_do_not_mix():
    traced = Traced()
    tracer = traced.provider.get_tracer("test")

    def answer(name):
        with tracer.start_as_current_span(name):
            gevent.sleep(0)
            traced.tracing(ended(tables=(name,)))
            gevent.sleep(0)

    gevent.joinall([gevent.spawn(answer, name) for name in ("a", "b", "c")], raise_error=True)
    by_id = {span.context.span_id: span for span in traced.spans}
    parents = {
        span.name: by_id[span.parent.span_id].name
        for span in traced.spans
        if span.name.startswith("SELECT") and not span.name.endswith("s0")
    }
    assert parents == {"SELECT a": "a", "SELECT b": "b", "SELECT c": "c"}


def test_what_is_not_sampled_costs_no_spans_of_shards():
    traced = Traced(sampler=ALWAYS_OFF)
    traced.tracing(ended())
    assert traced.spans == ()


def test_connections_taken_make_no_span(traced):
    traced.tracing(ConnectionTaken(1.0, None))
    assert traced.spans == ()


def test_global_provider_is_the_default(traced, monkeypatch):
    tracing = Tracing()
    tracing(ended())  # no provider is set yet: nothing happens
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: traced.provider)
    Tracing()(ended())
    assert len(traced.spans) == 2


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with pytest.raises(ImportError, match=r"pip install 'greenshard\[opentelemetry\]'"):
        importlib.reload(opentelemetry)
