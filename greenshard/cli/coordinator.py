"""``greenshard coordinator``: make a PostgreSQL that reads the tables of all shards."""

from __future__ import annotations

import os

import click

from greenshard import errors
from greenshard.checking.findings import counted
from greenshard.cli import terminal
from greenshard.cli.connecting import connect_timeout_option
from greenshard.cli.declaration import chosen_and_rest, cluster_option, read_cluster
from greenshard.cli.failures import from_error
from greenshard.cli.stdio import write_lines
from greenshard.coordinating import Made, remove, set_up

PASSWORD_VARIABLE = "GREENSHARD_SHARD_PASSWORD"  # noqa: S105  # its name
EPILOG = """\
The database gets a foreign server for each shard, and a table for each declared one whose rows are
the shards'. Whoever connects to it as the role that reads (--reader; by default the user that the
declaration's [coordinator] names, or greenshard_reader) can query them with any program, and write
nothing. What is there already stays, and what is no longer as declared is made anew: run it again
when tables or the declaration have changed.

On the shards it is the user that the declaration names, or --shard-user, whose password is taken
from $GREENSHARD_SHARD_PASSWORD. That had better be a role that may read only. Passwords are kept
in the coordinator's user mappings, which its superusers can see.

DSN is of the coordinator's database, as a superuser, or as a role that may create roles and
schemas there, once the extension postgres_fdw is. Leave a password to $PGPASSWORD or ~/.pgpass.

\b
Exit codes:
  0  the coordinator is as it is to be, or was removed
  1  it cannot be; nothing is changed
  2  the command line or the declaration is wrong
  5  a shard or the coordinator could not be reached
"""


@click.command(epilog=EPILOG)
@click.option("--reader", metavar="ROLE", help="The role that reads there; made if it is not.")
@click.option("--shard-user", metavar="ROLE", help="Who the coordinator is on the shards.")
@click.option("--no-analyze", is_flag=True, help="Do not look at the shards' rows for statistics.")
@click.option("--remove", "removes", is_flag=True, help="Drop all that this command has made.")
@connect_timeout_option
@cluster_option
@click.argument("words", nargs=-1, metavar="[CLUSTER] DSN")
def coordinator(
    *,
    reader: str | None,
    shard_user: str | None,
    no_analyze: bool,
    removes: bool,
    connect_timeout: float,
    named: str | None,
    words: tuple[str, ...],
) -> None:
    """Make a database read the tables of all shards, by foreign tables.

    CLUSTER is the TOML file that declares them, if -c does not name it.
    """
    cluster, dsn = chosen_and_rest(named, words, "DSN")
    declared = read_cluster(cluster)
    try:
        if removes:
            made = remove(declared, dsn, reader, connect_timeout=connect_timeout)
        else:
            made = set_up(
                declared,
                dsn,
                reader,
                shard_user,
                os.environ.get(PASSWORD_VARIABLE),
                analyze=not no_analyze,
                connect_timeout=connect_timeout,
            )
    except errors.Error as error:
        # What a server says has a code of its own: then it was reached.
        connecting = isinstance(error, errors.OperationalError) and error.pgcode is None
        raise from_error(error, connecting=connecting) from error
    write_lines([_told(made, removes=removes)])
    for note in made.notes:
        click.echo(f"greenshard: {terminal.lines(note)}", err=True)


def _told(made: Made, *, removes: bool) -> str:
    """What was done, in a line."""
    if removes:
        return "removed" if made.changes else "there was nothing to remove"
    what = "made" if made.changes else "as it is to be"
    return f"the coordinator is {what}: {made.reader} reads {counted(len(made.tables), 'table')}"
