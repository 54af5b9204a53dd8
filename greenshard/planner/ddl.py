"""What is wrong with DDL over all shards: the rules of `key_changes` and `ddl_...`, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greenshard.cluster import Cluster
from greenshard.planner.catalog import Catalog
from greenshard.planner.ddl_checks import split_check
from greenshard.planner.ddl_events import fired
from greenshard.planner.key_changes import key_change
from greenshard.planner.problem import Problem


def ddl_problem(
    node: Any, cluster: Cluster, catalog: Catalog, path: Sequence[str]
) -> Problem | None:
    """What is wrong with a utility statement that runs on all shards; None if nothing is.

    Args:
        node: The statement's `Node`.
        cluster: What is declared.
        catalog: What there is.
        path: ``current_schemas(true)``.
    """
    return (
        key_change(node, cluster, catalog, path, everywhere=True)
        or split_check(node, cluster, catalog, path)
        or fired(node, cluster, catalog)
    )
