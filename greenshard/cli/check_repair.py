"""``greenshard check --repair``: says what is to be done, asks, and says what was done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click
from rich.status import Status

from greenshard import Cluster, Connection, checking, errors
from greenshard.checking.findings import counted, listed
from greenshard.cli import terminal
from greenshard.cli.failures import CommandFailed, from_error


@dataclass(frozen=True)
class RepairOptions:
    """What the command line says of repairs.

    Attributes:
        source: The shard whose copies of reference tables are right; None: copies are left alone.
        tables: Only these; empty: all.
        yes: Whether not to ask.
    """

    source: str | None
    tables: tuple[str, ...]
    yes: bool

    def check(self, cluster: Cluster) -> None:
        """Refuse what cannot be done.

        Raises:
            click.UsageError: It cannot.
        """
        if self.source is not None and self.source not in cluster.names:
            raise click.UsageError(f"--from: there is no shard {self.source}.")
        if not self.yes and not sys.stdin.isatty():
            raise click.UsageError("--repair asks first, and needs a terminal for that, or --yes.")


def repair(
    conn: Connection,
    cluster: Cluster,
    options: RepairOptions,
    status: Status,
    on_table: Callable[[str], None],
) -> checking.Repairs:
    """Repair what can be, if the user agrees.

    Raises:
        CommandFailed: The user does not agree, or an error came.

    Switches: yes.
    """

    def agree(repairs: checking.Repairs) -> bool:
        status.stop()
        # Standard output is the report's, which may be JSON.
        for line in planned_lines(repairs):
            click.echo(line, err=True)
        agreed = options.yes or click.confirm("Go on?", err=True)
        status.start()
        return agreed

    try:
        repairs = checking.repair(
            conn, cluster, agree, source=options.source, tables=options.tables, on_table=on_table
        )
    except errors.Error as error:
        raise from_error(error) from error
    if repairs.steps and not repairs.done:
        raise CommandFailed("nothing was changed")
    return repairs


def planned_lines(repairs: checking.Repairs) -> Iterator[str]:
    """What is to be done, for people."""
    yield "To be done:"
    for step in repairs.steps:
        yield f"  {terminal.cell(_planned(step))}"
    yield from _skipped(repairs)


def done_lines(repairs: checking.Repairs) -> Iterator[str]:
    """What was done, for people."""
    if not repairs.steps:
        yield "Nothing to repair."
    for step in repairs.steps:
        yield terminal.cell(_done(step))
        for reason, rows in step.left.items():
            yield f"  {counted(rows, 'row')} left alone: {terminal.cell(reason)}"
    yield from _skipped(repairs)
    yield ""


def _skipped(repairs: checking.Repairs) -> Iterator[str]:
    for table, reason in repairs.skipped.items():
        yield terminal.cell(f"{table} is left alone: {reason}")


def _planned(step: checking.Repair) -> str:
    rows = counted(step.rows, "row")
    if not step.target:
        return f"{step.table}: leave {rows} on {step.source}, {listed(step.left)}"
    if step.what == "move":
        return f"{step.table}: move {rows} from {step.source} to {step.target}"
    differ = "differs" if step.rows == 1 else "differ"
    return f"{step.table}: make {step.target} as {step.source}, {rows} {differ}"


def _done(step: checking.Repair) -> str:
    if not step.target:
        return f"{step.table}: {counted(step.rows, 'row')} on {step.source}"
    if step.what == "move":
        there = step.deleted - step.inserted
        were = "was" if there == 1 else "were"
        also = f" ({there:,} of them {were} there already)" if there else ""
        moved = counted(step.deleted, "row")
        return f"{step.table}: moved {moved} from {step.source} to {step.target}{also}"
    if step.left:  # all or nothing is done
        return f"{step.table}: {step.target} is not made as {step.source}"
    inserted = counted(step.inserted, "row")
    return (
        f"{step.table}: {step.target} is as {step.source}, {inserted} inserted, "
        f"{step.updated:,} changed, {step.deleted:,} deleted"
    )
