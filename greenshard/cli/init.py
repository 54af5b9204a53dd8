"""``greenshard init``: let each shard say which one it is."""

from __future__ import annotations

import click

from greenshard import errors
from greenshard.checking.stamps import stamp
from greenshard.cli.connecting import connect_timeout_option, connected
from greenshard.cli.declaration import read_cluster
from greenshard.cli.failures import from_error
from greenshard.cli.stdio import write_lines

EPILOG = """\
Each database gets a table greenshard.shard with one row: the cluster (a name that is made up), the
shard's name, its position, and the numbers of shards and slots. Whoever connects to the cluster
then sees that no shards were exchanged in the declaration, and that their order and numbers are the
same.

\b
Exit codes:
  0  all shards are stamped
  1  one is stamped otherwise; nothing is changed
  2  the command line or the declaration is wrong
  5  a shard could not be reached
"""


@click.command(epilog=EPILOG)
@click.option("--again", is_flag=True, help="Write over stamps that differ.")
@connect_timeout_option
@click.argument("cluster", type=click.Path(dir_okay=False))
def init(*, again: bool, connect_timeout: float, cluster: str) -> None:
    """Let each shard of a cluster say which one it is.

    CLUSTER is the TOML file that declares it.
    """
    declared = read_cluster(cluster)
    dsns = {name: shard.primary for name, shard in declared.shards.items()}
    with connected(dsns, connect_timeout=connect_timeout) as conn:
        try:
            stamp(conn, declared, again=again)
        except errors.Error as error:
            raise from_error(error) from error
    write_lines([f"stamped: {', '.join(declared.names)}"])
