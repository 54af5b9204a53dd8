"""Shards, and one database that holds all of their rows."""

from __future__ import annotations

import os

import pytest

from greenshard.executor.strategies import filling
from tests.differential import databases
from tests.differential.referee import referee

SEED = os.environ["GREENSHARD_SEED"]


@pytest.fixture(autouse=True)
def few_rows_are_analyzed(monkeypatch):
    """Gathered rows go both in the text and, as many do, into tables that are looked at."""
    monkeypatch.setattr(filling, "ANALYZED_ROWS", 20)


@pytest.fixture(scope="module")
def three_shards(greenshard_shards):
    """The connection strings of three shards, and of the one database to compare with."""
    with greenshard_shards.databases() as first, greenshard_shards.databases() as second:
        yield {"s0": first["s0"], "s1": first["s1"], "s2": second["s0"]}, second["s1"]


@pytest.fixture(scope="class")
def made(request):
    """The databases of the collation that a class of tests names."""
    with databases.server() as shards:
        try:
            yield databases.make(shards, request.cls.collation, SEED)
        except databases.NoCollationError as why:
            pytest.skip(str(why))


@pytest.fixture(scope="class")
def judge(made):
    with referee(made, SEED, databases.SHARD_COUNTS) as opened:
        yield opened
