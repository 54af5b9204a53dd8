"""Reads the declaration of a cluster for the commands that take one."""

from __future__ import annotations

import os
import sys

from greenshard import errors
from greenshard.cli.failures import CommandFailed, ExitCode
from greenshard.cluster import Cluster


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
