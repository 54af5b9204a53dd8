"""The declaration of a cluster: its shards, its tables, and how the rows are placed. Pure."""

from __future__ import annotations

from greenshard.cluster.declared_functions import DeclaredFunction
from greenshard.cluster.hashing import HASHED_TYPES
from greenshard.cluster.lists_and_ranges import List, Range
from greenshard.cluster.model import Cluster, Reference, Shard, Sharded, Single, Table
from greenshard.cluster.names import TableName
from greenshard.cluster.placement import OneShard, Placement
from greenshard.cluster.rules import Function, Unknown
from greenshard.cluster.slots import Hash

__all__ = [
    "HASHED_TYPES",
    "Cluster",
    "DeclaredFunction",
    "Function",
    "Hash",
    "List",
    "OneShard",
    "Placement",
    "Range",
    "Reference",
    "Shard",
    "Sharded",
    "Single",
    "Table",
    "TableName",
    "Unknown",
]
