"""``greenshard query``: one statement over the shards, for people and for scripts."""

from __future__ import annotations

import sys
import time
import warnings

import click

import greenshard
from greenshard import Cluster, errors
from greenshard.cli import terminal
from greenshard.cli.connecting import (
    check_parameters,
    connect_timeout_option,
    connected,
    parameters_option,
    shard_names,
    source_of,
    timeout_option,
)
from greenshard.cli.declaration import cluster_option
from greenshard.cli.failures import CommandFailed, ExitCode, from_error, message_lines
from greenshard.cli.formats import FORMATS, SameName
from greenshard.cli.shard_options import VARIABLE
from greenshard.cli.stdio import read_sql, write_lines
from greenshard.cli.text_answer import Answer, Request, answered

EPILOG = """\
\b
Examples:
  greenshard query -c cluster.toml "SELECT count(*) FROM flights"
  greenshard query -c cluster.toml -p HNL --format csv \\
      "SELECT * FROM flights WHERE dest = %s" > hnl.csv
  greenshard query -s dbname=a -s west=postgresql://db2/app "SELECT version()"
  greenshard query --each "SELECT count(*) FROM flights"
  greenshard query - < report.sql

Over a cluster, whose tables are declared, the answer is what one PostgreSQL with every row would
give; "greenshard explain" tells how it is found. Over shards that are just named it is the union:
the rows come in shard order, as each shard gave them. With --each it is that over a cluster, too,
and a first column has the shard's name: what does each shard have, say or do?

CSV and JSON stream: a statement that only reads runs through server-side cursors, and its rows are
printed as they come, so that an error may follow rows. A table, and what a statement returns that
writes, is held in memory first. Output is UTF-8. CSV is what COPY reads back; JSON is an array with
one object per line, and keeps as strings what JSON has no type for: numeric, dates, bytea, NaN.

A statement that writes is committed at the end if no shard failed; otherwise it is rolled back on
all of them. Over a cluster that "greenshard init" has prepared, what was written on several shards
is committed in two phases: on all of them or on none, whatever fails. Over a cluster that was not
prepared, such a statement is refused, unless the cluster says two_phase = false: then, and over
shards that are just named, one shard commits after the other. --autocommit is for statements that
cannot run in a transaction, such as VACUUM: then each shard commits by itself.

\b
Exit codes:
  0  all is well
  1  a shard reported an error, or the statement is refused
  2  the command line or the cluster's file is wrong
  3  only some shards answered (--on-error partial); their rows are printed
  4  no answer within --timeout
  5  a shard could not be reached
  6  the rows could not be written; what the statement did is committed
"""


@click.command(epilog=EPILOG)
@cluster_option
@click.option(
    "-s",
    "--shard",
    "dsns",
    multiple=True,
    metavar="[NAME=]DSN",
    help="Without a cluster: a shard; repeat it. Unnamed ones are called s0, s1, ... Default: "
    f"${VARIABLE}, one a line or URLs between spaces.",
)
@parameters_option
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(list(FORMATS)),
    default="table",
    show_default=True,
    help="How rows are printed.",
)
@click.option("--null", default="", metavar="TEXT", help="How NULL prints in a table and in CSV.")
@timeout_option("Cancel the statement on all shards after this long.")
@connect_timeout_option
@click.option("--on", multiple=True, metavar="NAME", help="Run on this shard only; repeatable.")
@click.option(
    "--broadcast",
    is_flag=True,
    help="Send it to every shard as it is (with --on: to those), also an INSERT: its rows are then "
    "on each.",
)
@click.option(
    "--each",
    is_flag=True,
    help="Run it on each shard by itself, and put the shard's name before its rows; reads only.",
)
@click.option(
    "--on-error",
    type=click.Choice(["raise", "partial"]),
    default="raise",
    show_default=True,
    help="If a shard fails: fail, or (for statements that read) print the rows of the others.",
)
@click.option("--autocommit", is_flag=True, help="Let each shard commit by itself.")
@click.argument("sql")
def query(
    *,
    named: str | None,
    dsns: tuple[str, ...],
    parameters: tuple[str, ...],
    format_name: str,
    null: str,
    timeout: float | None,
    connect_timeout: float,
    on: tuple[str, ...],
    broadcast: bool,
    each: bool,
    on_error: str,
    autocommit: bool,
    sql: str,
) -> None:
    """Run SQL over the shards and print the rows.

    SQL is one statement; "-" reads it from standard input.
    """
    _check_null(null)
    text = read_sql(sql)
    # A server-side cursor ends with its shard, and cannot go on without it.
    stream = format_name != "table" and on_error == "raise" and not each
    request = Request(text, parameters, on, broadcast, stream, autocommit, each)
    source = source_of(dsns, named)
    if each and isinstance(source, Cluster):
        source = {name: shard.primary for name, shard in source.shards.items()}
    _check_on(on, shard_names(source))
    with connected(
        source, timeout=timeout, connect_timeout=connect_timeout, on_error=on_error
    ) as conn:
        check_parameters(conn, text, parameters)
        sys.exit(_run(conn, request, format_name, null))


def _check_null(null: str) -> None:
    if any(mark in null for mark in ',"\r\n'):
        raise click.BadParameter(
            "it cannot hold a comma, a quote or a line end", param_hint="--null"
        )


def _check_on(on: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Check the names of ``--on`` before anything is opened."""
    unknown = [name for name in on if name not in names]
    if unknown:
        raise click.BadParameter(
            f"no shard is called {', '.join(unknown)}; there are {', '.join(names)}",
            param_hint="--on",
        )


def _run(conn: greenshard.Connection, request: Request, format_name: str, null: str) -> ExitCode:
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            # The failures are printed from cursor.failures.
            warnings.simplefilter("ignore", greenshard.PartialResultWarning)
            with answered(conn, request) as answer:
                seconds = time.perf_counter() - start
                _print(answer, format_name, null, f"{seconds * 1000:,.0f} ms")
                return _outcome(answer)
    except errors.Error as error:
        raise from_error(error) from error
    except SameName as error:
        raise CommandFailed(
            str(error), hint="give each a name of its own with AS", code=ExitCode.USAGE
        ) from error


def _print(answer: Answer, format_name: str, null: str, took: str) -> None:
    """Print rows to stdout; what was done goes there too where people read, else to stderr."""
    if not answer.columns:
        _print_status(answer.status, err=format_name != "table")
        return
    lines = FORMATS[format_name](answer.columns, answer.rows, null)
    if format_name != "table":
        write_lines(lines)
        return
    # A table's rows have all come.
    rows = list(answer.rows)
    count = f"({len(rows):,} row{'' if len(rows) == 1 else 's'}, {took})"
    write_lines([*lines, count])


def _print_status(status: str, *, err: bool) -> None:
    if err:
        click.echo(status, err=True)
    else:
        write_lines([status])


def _outcome(answer: Answer) -> ExitCode:
    for shard, failure in answer.failures.items():
        what = "\n".join(message_lines(failure))
        click.echo(terminal.lines(f"greenshard: no rows of shard {shard}: {what}"), err=True)
    return ExitCode.PARTIAL if answer.failures else ExitCode.OK
