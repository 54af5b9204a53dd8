"""``greenshard check``: whether the shards are as the cluster is declared."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.text import Text

from greenshard import checking, errors
from greenshard.cli import terminal
from greenshard.cli.check_report import json_lines, text_lines
from greenshard.cli.connecting import connect_timeout_option, connected
from greenshard.cli.declaration import read_cluster
from greenshard.cli.failures import ExitCode, from_error
from greenshard.cli.stdio import write_lines

EPILOG = """\
What is compared: the servers' versions, encodings, collations and settings; that every declared
table is on every shard, with the same columns, keys, constraints, unique indexes, defaults,
triggers and rules; that types of your own are the same on all shards, enums in their order; that a
table's shard key can be placed; that each row is on the shard that its key belongs on; that a
reference table has the same rows on all shards; who may see what of tables and views; that
declared functions are there.

Every row of the declared tables is read, on all shards at once; --no-rows leaves that out. What is
written meanwhile may be found wrong: check again. Nothing is changed on any shard.

\b
Exit codes:
  0  all is as declared
  1  something is not, or could not be checked
  2  the command line or the declaration is wrong
  5  a shard could not be reached; the others are compared, if there are any
  6  the report could not be written
"""


@click.command(epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--no-rows", is_flag=True, help="Compare servers and tables only, and read no rows.")
@connect_timeout_option
@click.argument("cluster", type=click.Path(dir_okay=False))
def check(*, as_json: bool, no_rows: bool, connect_timeout: float, cluster: str) -> None:
    """Compare the declaration of a cluster with its shards.

    CLUSTER is the TOML file that declares it.
    """
    declared = read_cluster(cluster)
    # As a union, and not as one database: what differs among the shards must show.
    dsns = {name: shard.primary for name, shard in declared.shards.items()}
    timeout = connect_timeout
    with (
        connected(dsns, connect_timeout=timeout, on_error="partial") as conn,
        _progress() as on_table,
    ):
        # Those that are there now must answer: what a shard cannot tell is not missing there.
        conn.on_error = "raise"
        try:
            report = checking.check(conn, declared, rows=not no_rows, on_table=on_table)
        except errors.Error as error:
            raise from_error(error) from error
    write_lines(json_lines(report) if as_json else text_lines(cluster, report))
    sys.exit(_exit_code(report))


def _exit_code(report: checking.Report) -> ExitCode:
    if report.unreached:
        return ExitCode.NO_CONNECTION
    return ExitCode.OK if report.ok else ExitCode.DATABASE_ERROR


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show on a terminal which table is read."""
    console = Console(stderr=True)
    with console.status("connected") as status:
        yield lambda table: status.update(Text(terminal.cell(f"reading {table}")))
