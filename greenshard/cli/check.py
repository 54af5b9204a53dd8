"""``greenshard check``: whether the shards are as the cluster is declared."""

from __future__ import annotations

import sys
from functools import partial

import click
from rich.console import Console
from rich.status import Status
from rich.text import Text

from greenshard import checking, errors
from greenshard.cli import terminal
from greenshard.cli.check_repair import RepairOptions, done_lines, repair
from greenshard.cli.check_report import json_lines, text_lines
from greenshard.cli.connecting import connect_timeout_option, connected
from greenshard.cli.declaration import cluster_file, read_cluster
from greenshard.cli.failures import ExitCode, from_error
from greenshard.cli.stdio import write_lines

EPILOG = """\
What is compared: the servers' versions, encodings, collations and settings; that every declared
table is on every shard, with the same columns, keys, constraints, unique indexes, defaults,
triggers and rules; that types of your own are the same on all shards, enums in their order; that a
table's shard key can be placed; that each row is on the shard that its key belongs on; that a
reference table has the same rows on all shards; who may see what of tables, sequences and views;
that functions and event triggers are the same on all shards, and declared functions are there; that
the first shard's sequences are beyond the numbers that are there, and may be used; that all shards
are initialised, if some are; that no transaction over several shards is in doubt for longer than it
takes to commit; that the coordinator, if one is declared, has the shards' tables and sorts and
computes as they do.

Every row of the declared tables is read, on all shards at once; --no-rows leaves that out. What is
written meanwhile may be found wrong: check again. Without --repair nothing is changed on any shard.

--repair moves rows to the shards where they belong. With --from SHARD, it makes the copies of
reference tables on the other shards as those of that shard are. It says what is to be done, and
asks; then it checks again. The report and the exit code are of that.

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
@click.option("--repair", "repairs", is_flag=True, help="Move misplaced rows; see below.")
@click.option("--from", "source", metavar="SHARD", help="The shard whose copies are right.")
@click.option("--table", "tables", multiple=True, metavar="NAME", help="Repair only this one.")
@click.option("--yes", is_flag=True, help="Repair without asking.")
@connect_timeout_option
@cluster_file
def check(
    *,
    as_json: bool,
    no_rows: bool,
    repairs: bool,
    source: str | None,
    tables: tuple[str, ...],
    yes: bool,
    connect_timeout: float,
    cluster: str,
) -> None:
    """Compare the declaration of a cluster with its shards.

    CLUSTER is the TOML file that declares it, if -c does not name it.
    """
    declared = read_cluster(cluster)
    options = RepairOptions(source, tables, yes)
    if repairs:
        options.check(declared)
    elif source or tables or yes:
        raise click.UsageError("--from, --table and --yes are for --repair.")
    # As a union, and not as one database: what differs among the shards must show.
    dsns = {name: shard.primary for name, shard in declared.shards.items()}
    on_error = "raise" if repairs else "partial"
    done = None
    with (
        connected(dsns, connect_timeout=connect_timeout, on_error=on_error) as conn,
        Console(stderr=True).status("connected") as status,
    ):
        # Those that are there now must answer: what a shard cannot tell is not missing there.
        conn.on_error = "raise"
        if repairs:
            done = repair(conn, declared, options, status, partial(_show, status, "repairing"))
        try:
            on_table = partial(_show, status, "reading")
            report = checking.check(conn, declared, rows=not no_rows, on_table=on_table)
        except errors.Error as error:
            raise from_error(error) from error
    if as_json:
        write_lines(json_lines(report, done))
    else:
        write_lines([*(done_lines(done) if done else ()), *text_lines(cluster, report)])
    sys.exit(_exit_code(report))


def _exit_code(report: checking.Report) -> ExitCode:
    if report.unreached:
        return ExitCode.NO_CONNECTION
    return ExitCode.OK if report.ok else ExitCode.DATABASE_ERROR


def _show(status: Status, doing: str, what: str) -> None:
    """Show on a terminal what is being done."""
    status.update(Text(terminal.cell(f"{doing} {what}")))
