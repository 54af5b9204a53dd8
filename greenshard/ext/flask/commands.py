"""``flask greenshard``: what an operator asks of an application's shards."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from greenshard.ext.flask.asking import ask

_VERSION = "SELECT pg_catalog.current_setting('server_version')"

_SESSIONS = """
SELECT application_name, state, pg_catalog.count(*), pg_catalog.max(
       extract(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) state_change)
       )::double precision
FROM pg_catalog.pg_stat_activity
WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
  AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()
  AND backend_type OPERATOR(pg_catalog.=) 'client backend'
GROUP BY 1, 2
ORDER BY 1, 2
"""

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Wait for the shards of a pool no longer than this.",
)

_NUMBERS = frozenset({"ms", "max_size", "sessions", "seconds"})
_WIDEST = 1000

commands = AppGroup("greenshard", help="Look at the shards of this application.")


@commands.command()
@_json_option
@_timeout_option
def ping(*, as_json: bool, timeout: float) -> None:
    """Ask each shard of each pool for its version.

    The milliseconds are those of one statement, on a connection that is open. The exit code is 1
    if a shard does not answer.
    """
    found = [
        {
            "pool": name,
            "shard": answer.shard,
            "ms": None if answer.seconds is None else round(answer.seconds * 1000, 2),
            "version": answer.rows[0][0] if answer.rows else None,
            "error": answer.error,
        }
        for name, pool in current_app.extensions["greenshard"].items()
        for answer in ask(pool, _VERSION, timeout)
    ]
    _print(found, as_json=as_json)


@commands.command()
@_json_option
@_timeout_option
def stats(*, as_json: bool, timeout: float) -> None:
    """Count the sessions in each shard's database, as its server sees them.

    They are those of all processes and programs, by application_name and state, with the seconds
    that the longest has been in that state. Each process of the application may have max_size of
    them, and as many again for statements that gather rows. A running process's own numbers are
    not seen from here: it has them in db.pool.stats(). The exit code is 1 if a shard does not
    answer.
    """
    found = [
        {
            "pool": name,
            "max_size": pool.stats().max_size,
            "shard": answer.shard,
            "application": application,
            "state": state,
            "sessions": sessions,
            "seconds": None if seconds is None else round(seconds, 1),
            "error": answer.error,
        }
        for name, pool in current_app.extensions["greenshard"].items()
        for answer in ask(pool, _SESSIONS, timeout)
        for application, state, sessions, seconds in answer.rows
        or [(None, None, None if answer.error else 0, None)]
    ]
    _print(found, as_json=as_json)


def _print(found: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print_table(found)
    sys.exit(int(any(row["error"] is not None for row in found)))


def _print_table(found: Sequence[Mapping[str, Any]]) -> None:
    """Print a table, of the width that it needs: a narrow terminal must not cut it."""
    columns = [name for name in found[0] if name != "error"]
    table = Table(box=SIMPLE_HEAD)
    for name in columns:
        table.add_column(name, no_wrap=True, justify="right" if name in _NUMBERS else "left")
    for row in found:
        table.add_row(*("" if row[name] is None else Text(str(row[name])) for name in columns))
    Console(width=_WIDEST).print(table)
    for row in found:
        if row["error"] is not None:
            click.echo(f"pool {row['pool']}: {row['error']}")
