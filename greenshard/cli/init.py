"""``greenshard init``: make the databases of a cluster its shards."""

from __future__ import annotations

import click

from greenshard import errors
from greenshard.cli import terminal
from greenshard.cli.connecting import connect_timeout_option, connected
from greenshard.cli.declaration import cluster_file, read_cluster
from greenshard.cli.failures import from_error
from greenshard.cli.stdio import write_lines
from greenshard.initializing.initialization import initialize

EPILOG = """\
Each database gets a schema greenshard. Its table shard has one row: the cluster (a name that is
made up), the shard's name, its position, the numbers of shards and slots, and an id. Whoever
connects to the cluster then sees that no shards were exchanged in the declaration, and that their
order and numbers are the same. Its tables decision, barrier and forgotten are what a transaction
that writes on several shards needs. Those roles that write need rights for it: name each with
--role.

What is there already stays, and what an earlier version has made is added to. The shards are
changed all or none.

\b
Exit codes:
  0  all shards are initialised; what a server lacks is told
  1  one cannot be, or is stamped otherwise; nothing is changed
  2  the command line or the declaration is wrong
  5  a shard could not be reached
"""


@click.command(epilog=EPILOG)
@click.option("--again", is_flag=True, help="Write over stamps that differ.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    metavar="NAME",
    help="Who writes on several shards; by default the user that connects.",
)
@connect_timeout_option
@cluster_file
def init(
    *,
    again: bool,
    roles: tuple[str, ...],
    connect_timeout: float,
    cluster: str,
) -> None:
    """Let each shard of a cluster say which one it is, and make what transactions need.

    CLUSTER is the TOML file that declares it, if -c does not name it.
    """
    declared = read_cluster(cluster)
    dsns = {name: shard.primary for name, shard in declared.shards.items()}
    with connected(dsns, connect_timeout=connect_timeout) as conn:
        try:
            lacking = initialize(conn, declared, roles, again=again)
        except errors.Error as error:
            raise from_error(error) from error
    write_lines([f"initialised: {', '.join(declared.names)}"])
    for what in lacking:
        click.echo(f"greenshard: {terminal.lines(what)}", err=True)
