"""Statements as spans of OpenTelemetry.

::

    from greenshard.ext.opentelemetry import Tracing

    pool = greenshard.Pool("cluster.toml", on_event=Tracing())

Source: OpenTelemetry's semantic conventions for PostgreSQL client operations (stable).
"""

from __future__ import annotations

import re

from greenshard.events import Event, Server, ShardRun, StatementEnded

try:
    from opentelemetry import trace
    from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider
except ModuleNotFoundError as error:
    raise ImportError(
        "greenshard.ext.opentelemetry needs opentelemetry-api:"
        " pip install 'greenshard[opentelemetry]'"
    ) from error

_SCHEMA = "https://opentelemetry.io/schemas/1.33.0"
#: The command of a text that is one statement.
_COMMAND = re.compile(r"[(\s]*([a-z]+)\b[^;]*;?\s*\Z", re.IGNORECASE | re.ASCII)

_Attributes = dict[str, str | int]


class Tracing:
    """A listener that makes a span of each statement, and in it one of each shard.

    The span is a child of the one that is current where the statement was run. It has no value of
    a parameter, and no message of an error: messages quote values.

    Args:
        tracer_provider: Whose spans they are; None for the global provider's.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer(
            "greenshard", tracer_provider=tracer_provider, schema_url=_SCHEMA
        )

    def __call__(self, event: Event) -> None:
        """Make the spans of a statement that has ended."""
        if not isinstance(event, StatementEnded):
            return
        begin, end = _ns(event.started), _ns(event.started + event.duration_s)
        attributes = _of_statement(event)
        name = str(attributes.get("db.query.summary", "postgresql"))
        span = self._tracer.start_span(
            name, kind=SpanKind.CLIENT, attributes=attributes, start_time=begin
        )
        if span.is_recording():
            command = name.split(" ", 1)[0]
            for shard, run in event.shards.items():
                self._trace_run(span, begin, f"{command} {shard}", shard, run)
        _end(span, event.error, end)

    def _trace_run(self, parent: Span, begin: int, name: str, shard: str, run: ShardRun) -> None:
        attributes: _Attributes = {"db.system.name": "postgresql", "greenshard.shard": shard}
        attributes.update(_of_servers([run.server]))
        if run.rows is not None:
            attributes["greenshard.rows"] = run.rows
        started = begin + _ns(run.started_s)
        span = self._tracer.start_span(
            name,
            context=trace.set_span_in_context(parent),
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=started,
        )
        _end(span, run.error, started + _ns(run.duration_s))


def _of_statement(event: StatementEnded) -> _Attributes:
    attributes: _Attributes = {"db.system.name": "postgresql", "db.query.text": event.sql}
    batch = event.parameter_sets not in (None, 1)
    if (command := _COMMAND.match(event.sql)) is not None:
        summary = " ".join((command[1].upper(), *event.tables))
        attributes["db.query.summary"] = f"BATCH {summary}" if batch else summary
    if batch:
        attributes["db.operation.batch.size"] = event.parameter_sets or 0
    attributes.update(_of_servers([run.server for run in event.shards.values()]))
    if event.strategy is not None:
        attributes["greenshard.strategy"] = event.strategy
    if event.rows is not None:
        attributes["greenshard.rows"] = event.rows
    return attributes


def _of_servers(servers: list[Server | None]) -> _Attributes:
    """What all servers have in common, as far as it is known."""
    attributes: _Attributes = {}
    databases = {server.database for server in servers if server is not None}
    if len(databases) == 1 and (database := databases.pop()) is not None:
        attributes["db.namespace"] = database
    only = servers[0] if len(servers) == 1 else None
    if only is not None and only.address is not None:
        attributes["server.address"] = only.address
        if only.port is not None:
            attributes["server.port"] = only.port
    return attributes


def _end(span: Span, error: BaseException | None, end: int) -> None:
    if error is not None:
        code = getattr(error, "pgcode", None)
        if code is not None:
            span.set_attribute("db.response.status_code", code)
        span.set_attribute("error.type", code or _class_name(type(error)))
        span.set_status(StatusCode.ERROR)
    span.end(end)


def _class_name(kind: type) -> str:
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
