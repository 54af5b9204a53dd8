"""Declared clusters whose transactions over several shards can be committed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import greenshard


def initialised(cluster: Any, roles: Iterable[str] = ()) -> greenshard.Cluster:
    """A cluster, or the path of its file, after ``greenshard init``, by its own user."""
    greenshard.init(cluster, roles)
    if isinstance(cluster, greenshard.Cluster):
        return cluster
    return greenshard.Cluster.from_toml(cluster)
