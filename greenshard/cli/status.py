"""``greenshard status``: what the shards are doing now."""

from __future__ import annotations

import sys

import click

from greenshard import _green, errors
from greenshard.cli.connecting import timeout_option
from greenshard.cli.declaration import cluster_file, read_cluster
from greenshard.cli.failures import ExitCode, from_error
from greenshard.cli.status_report import json_line, text_lines
from greenshard.cli.stdio import write_lines
from greenshard.watching import look

EPILOG = """\
Of each shard: whether it answers, and how fast; version, connections, size; transactions that are
open, the longest statements, and who waits for whose locks; what is prepared, "in doubt" of
transactions over several shards. Of each declared table how many rows each shard has, as
PostgreSQL's statistics estimate it, and its skew: how many times as many rows the fullest shard has
as it would have if all had as many. "greenshard check" counts, and tells what is wrong.

A shard that does not answer in time is told of, and the others are shown. Statements are shown
without literals; those of other roles only to a superuser or a member of pg_read_all_stats.

"greenshard cancel SHARD:PID" ends a statement that is shown.

\b
Exit codes (with --watch: none until it is stopped):
  0  all shards have answered
  2  the command line or the declaration is wrong
  5  a shard has not answered
  6  the report could not be written
"""


@click.command(epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON.")
@click.option(
    "--watch",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Look again every so many seconds, until it is stopped.",
)
@timeout_option("Go without the shards that have not answered after this long.", 5.0)
@click.option(
    "--most",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="Show so many of the longest statements.",
)
@cluster_file
def status(
    *,
    as_json: bool,
    watch: float | None,
    timeout: float,
    most: int,
    cluster: str,
) -> None:
    """Show what the shards of a cluster are doing.

    CLUSTER is the TOML file that declares it, if -c does not name it.
    """
    declared = read_cluster(cluster)
    while True:
        try:
            found = look(declared, timeout=timeout)
        except errors.Error as error:
            raise from_error(error) from error
        write_lines([json_line(found)] if as_json else text_lines(cluster, found, most))
        if watch is None:
            sys.exit(ExitCode.NO_CONNECTION if found.down else ExitCode.OK)
        _green.sleep(watch)
