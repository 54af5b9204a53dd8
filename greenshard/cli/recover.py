"""``greenshard recover``: finish the transactions over several shards that are in doubt."""

from __future__ import annotations

import sys

import click

import greenshard
from greenshard import _green, errors
from greenshard.cli.connecting import connect_timeout_option, timeout_option
from greenshard.cli.declaration import cluster_file, read_cluster
from greenshard.cli.failures import ExitCode, from_error
from greenshard.cli.recover_report import json_line, text_lines
from greenshard.cli.stdio import write_lines

EPILOG = """\
A transaction over several shards is in doubt when it is prepared on some of them and whoever
commits it has gone. Until it is finished its rows stay locked. The shard that decides it says
whether it is committed; if that has no decision, it is rolled back for good. This may be run at any
time, and in several places at once.

What cannot be finished is left as it is, and the report says why: the shard that decides cannot be
reached, a program that still runs may commit it, or another role has prepared it. Prepared
transactions of other programs and clusters are not touched. What has the name of one of
greenshard's, but was prepared by a role that may not commit over several shards, is told of, and
is not in doubt.

Decisions that are older than --keep are removed, if all shards could be asked.

\b
Exit codes (with --watch: of the round before it was stopped there is none):
  0  nothing is in doubt
  1  something is left in doubt
  2  the command line or the declaration is wrong
  5  a shard could not be reached, or is not initialised; the others are recovered
  6  the report could not be written
"""


@click.command(epilog=EPILOG)
@click.option("--once", is_flag=True, help="One round, and end; the default.")
@click.option(
    "--watch",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="A round every so many seconds, until it is stopped.",
)
@click.option("--json", "as_json", is_flag=True, help="Print each round as a line of JSON.")
@timeout_option("End a round after this long.", 30.0)
@click.option(
    "--keep",
    type=click.FloatRange(min=0, min_open=True),
    default=7.0,
    show_default=True,
    metavar="DAYS",
    help="Keep decisions for this long.",
)
@connect_timeout_option
@cluster_file
def recover(
    *,
    once: bool,
    watch: float | None,
    as_json: bool,
    timeout: float,
    keep: float,
    connect_timeout: float,
    cluster: str,
) -> None:
    """Finish the transactions over several shards that are in doubt.

    CLUSTER is the TOML file that declares it, if -c does not name it.
    """
    if once and watch is not None:
        raise click.UsageError("Either --once or --watch, not both.")
    declared = read_cluster(cluster)
    while True:
        try:
            report = greenshard.recover(
                declared,
                timeout=timeout,
                connect_timeout=connect_timeout,
                keep=keep * 86400.0,
                # Round after round, what is just being committed can be left to the next one.
                min_age=0.0 if watch is None else min(watch, 1.0),
            )
        except errors.Error as error:
            raise from_error(error) from error
        write_lines([json_line(report)] if as_json else text_lines(cluster, report))
        if watch is None:
            sys.exit(_exit_code(report))
        _green.sleep(watch)


def _exit_code(report: greenshard.RecoveryReport) -> ExitCode:
    if report.unreached:
        return ExitCode.NO_CONNECTION
    return ExitCode.DATABASE_ERROR if report.in_doubt else ExitCode.OK
