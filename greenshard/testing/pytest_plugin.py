"""pytest fixtures; pytest loads them by itself where greenshard is installed.

::

    def test_counts_on_every_shard(greenshard_dsns):
        with greenshard.connect(greenshard_dsns) as conn:
            ...

Settings in pytest's configuration file::

    [pytest]
    greenshard_shards = 4
    greenshard_settings =
        work_mem = 64MB

For other arguments of `Shards`, write a session fixture ``greenshard_shards`` of your own in
``conftest.py``; the other fixtures then use it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from greenshard.testing.shards import Shards

__all__ = ["greenshard_dsns", "greenshard_shards"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the settings."""
    parser.addini("greenshard_shards", "how many embedded shards to start", default="2")
    parser.addini(
        "greenshard_settings",
        "PostgreSQL settings of the embedded shards, one `name = value` a line",
        type="linelist",
        default=[],
    )


@pytest.fixture(scope="session")
def greenshard_shards(pytestconfig: pytest.Config) -> Iterator[Shards]:
    """Running shards, the same for the whole session; see `greenshard.testing.Shards`."""
    lines = [line.partition("=") for line in pytestconfig.getini("greenshard_settings")]
    settings = {name.strip(): value.strip() for name, _, value in lines}
    with Shards(int(pytestconfig.getini("greenshard_shards")), settings=settings) as shards:
        yield shards


@pytest.fixture
def greenshard_dsns(greenshard_shards: Shards) -> Iterator[dict[str, str]]:
    """The DSNs, by shard name, of empty databases that are dropped after the test.

    Shards that the test has stopped, killed or paused run again after it.
    """
    with greenshard_shards.databases() as dsns:
        yield dsns
