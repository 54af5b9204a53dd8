"""Which cluster a command is about, and its declaration.

Every command takes the file by ``-c``, by ``$GREENSHARD_CLUSTER``, or as its first argument.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from greenshard import errors
from greenshard.cli.failures import CommandFailed, ExitCode
from greenshard.cluster import Cluster

CLUSTER_VARIABLE = "GREENSHARD_CLUSTER"

cluster_option = click.option(
    "-c",
    "--cluster",
    "named",
    metavar="FILE",
    help=f"The TOML file that declares shards and tables. Default: ${CLUSTER_VARIABLE}.",
)


def cluster_file(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command whose only argument is a cluster the file of it, as `chosen` says."""

    @cluster_option
    @click.argument("cluster", required=False)
    @wraps(command)
    def run(*, named: str | None, cluster: str | None, **options: Any) -> None:
        command(cluster=chosen(named, cluster), **options)

    return run


def chosen(named: str | None, cluster: str | None) -> str:
    """The file that the command line names or, if that names none, the environment.

    Args:
        named: What `cluster_option` gave.
        cluster: The argument.

    Raises:
        click.UsageError: There is none, or there are two.
    """
    if named and cluster:
        raise click.UsageError(f"Either -c {named} or the argument {cluster}, not both.")
    path = named or cluster or os.environ.get(CLUSTER_VARIABLE)
    if not path:
        raise click.UsageError(
            f"Which cluster? Name its file with -c FILE or in ${CLUSTER_VARIABLE}."
        )
    return path


def chosen_and_rest(named: str | None, words: tuple[str, ...], rest: str) -> tuple[str, str]:
    """The same for a command with one more argument: CLUSTER REST, or REST alone.

    Args:
        named: What `cluster_option` gave.
        words: The arguments.
        rest: What the other one is called.

    Raises:
        click.UsageError: There are too few, or too many.
    """
    if not words:
        raise click.UsageError(f"Missing argument '{rest}'.")
    *before, last = words
    if len(before) > 1 or (named and before):
        raise click.UsageError(f"Got unexpected extra argument ({last}).")
    return chosen(named, before[0] if before else None), last


def read_cluster(path: str) -> Cluster:
    """Read a cluster from a TOML file.

    Its placement functions may be in the working directory, as for ``python -m``.

    Raises:
        CommandFailed: It cannot be read, or has mistakes; the message has all of them.
    """
    sys.path.insert(0, os.getcwd())
    try:
        return Cluster.from_toml(path)
    except errors.ProgrammingError as error:
        raise CommandFailed(str(error), code=ExitCode.USAGE) from error
    finally:
        sys.path.pop(0)
