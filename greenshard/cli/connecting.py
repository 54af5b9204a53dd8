"""What a command connects to: shards named one by one, or a declared cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import click

import greenshard
from greenshard import Cluster, errors
from greenshard.cli.declaration import CLUSTER_VARIABLE, read_cluster
from greenshard.cli.failures import from_error
from greenshard.cli.shard_options import VARIABLE, BadShards, shards_of, split_variable

parameters_option = click.option(
    "-p",
    "--param",
    "parameters",
    multiple=True,
    metavar="VALUE",
    help="The value of the next %s; with one of these, write %% for a percent sign.",
)


def timeout_option(
    told: str, default: float | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The option --timeout.

    Args:
        told: What happens after so many seconds.
        default: How many; None for any.
    """
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=default,
        show_default=default is not None,
        metavar="SECONDS",
        help=told,
    )


connect_timeout_option = click.option(
    "--connect-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up connecting after this long.",
)

Source = Mapping[str, str] | Cluster
"""Shards by name: their union is asked. Or a cluster: then they are one database."""


def source_of(dsns: tuple[str, ...], cluster: str | None) -> Source:
    """What the command line names or, if that names nothing, what the environment does.

    Args:
        dsns: each ``DSN`` or ``name=DSN``.
        cluster: the path of a cluster's TOML file.

    Raises:
        click.UsageError: there is nothing to connect to, or too much.
        CommandFailed: the cluster's file has mistakes.
    """
    texts = list(dsns)
    if not texts and cluster is None:
        cluster = os.environ.get(CLUSTER_VARIABLE) or None
        texts = split_variable(os.environ.get(VARIABLE, ""))
        if texts and cluster:
            raise click.UsageError(
                f"Both ${CLUSTER_VARIABLE} and ${VARIABLE} are set: choose with -c or -s."
            )
    if texts and cluster:
        raise click.UsageError("Either shards (-s) or a cluster (-c), not both.")
    if cluster is not None:
        return read_cluster(cluster)
    if not texts:
        raise click.UsageError(
            "Nothing to connect to. Name a cluster with -c FILE or in "
            f"${CLUSTER_VARIABLE}, or shards with -s DSN or in ${VARIABLE}."
        )
    try:
        return shards_of(texts)
    except BadShards as error:
        raise click.UsageError(f"{error}.") from error


def shard_names(source: Source) -> tuple[str, ...]:
    """The names of the shards, in order."""
    return source.names if isinstance(source, Cluster) else tuple(source)


@contextmanager
def connected(source: Source, **options: Any) -> Iterator[greenshard.Connection]:
    """Connect, and close at the end. Text comes in UTF-8, whatever ``PGCLIENTENCODING`` says.

    Args:
        source: what to connect to.
        options: of `greenshard.connect`.

    Raises:
        CommandFailed: a shard cannot be reached, or its connection string cannot be read.

    Switches: yes.
    """
    try:
        conn = greenshard.connect(source, client_encoding="UTF8", **options)
    except errors.Error as error:
        raise from_error(error, connecting=True) from error
    with closing(conn):
        yield conn


def check_parameters(conn: greenshard.Connection, sql: str, parameters: tuple[str, ...]) -> None:
    """Refuse parameters that do not fit the statement, before it is sent.

    Raises:
        click.UsageError: there are too few or too many.
    """
    if not parameters:
        return
    try:
        conn.cursor().mogrify(sql, parameters)
    except (IndexError, TypeError, ValueError) as error:
        raise click.UsageError(
            f"The values of -p do not fit the %s of the SQL: {error}."
        ) from error
