"""Three shards, and one database that holds all of their rows."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    """The connection strings of three shards, and of the one database to compare with."""
    with greenshard_shards.databases() as first, greenshard_shards.databases() as second:
        yield {"s0": first["s0"], "s1": first["s1"], "s2": second["s0"]}, second["s1"]
