"""The example application over three shards, with each twentieth flight of 2013."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psycopg2
import pytest

from greenshard import Cluster
from greenshard.cli.demo import flights
from greenshard.testing import Shards

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
EVERY = 20
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Site:
    """The servers of the application, and what is on them."""

    shards: Shards
    declaration: Path
    flights: list[list[str]] = field(repr=False)

    def shard_of(self, tailnum: str) -> str:
        cluster = Cluster.from_toml(self.declaration)
        return str(cluster.placement.shards_for(tailnum, "text", cluster.names))

    def tailnum_on(self, shard: str) -> str:
        """Some aircraft whose flights are on a shard."""
        column = flights.KEY_COLUMN
        tailnums = (row[column] for row in self.flights if row[column] != flights.NULL)
        return next(tailnum for tailnum in tailnums if self.shard_of(tailnum) == shard)

    def rows(self, shard: str, sql: str, *parameters: object) -> list[Any]:
        """What a shard's server has."""
        with closing(psycopg2.connect(self.shards[shard].dsn)) as conn, conn.cursor() as cur:
            cur.execute(sql, parameters)
            return cur.fetchall()


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with importable(), Shards(3) as shards:
        from flask_app.loading import load

        declaration = tmp_path_factory.mktemp("app") / "cluster.toml"
        load(shards.dsns, declaration, every=EVERY)
        lines = flights.flight_lines(flights.data_directory())[::EVERY]
        yield Site(shards, declaration, [line.rstrip("\n").split(",") for line in lines])


@contextmanager
def importable() -> Iterator[None]:
    """Let ``import flask_app`` find the application."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        yield
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture
def healthy(site: Site) -> Iterator[Site]:
    """The servers, which are all up before and after, and have no notes."""
    yield site
    site.shards.start()
    for shard in site.shards:
        with closing(psycopg2.connect(shard.dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute("TRUNCATE notes, watched")


@pytest.fixture
def make_app(healthy: Site) -> Iterator[Callable[..., Any]]:
    """Makes applications, whose pools may have other settings."""
    from flask_app import create_app

    pools = []

    def make(**settings: Any) -> Any:
        app = create_app({"GREENSHARD": {"cluster": str(healthy.declaration), **settings}})
        pools.append(app.extensions["greenshard"]["default"])
        return app

    yield make
    for pool in pools:
        pool.close()


@pytest.fixture
def client(make_app: Callable[..., Any]) -> Any:
    return make_app().test_client()


def eventually(condition: Callable[[], object]) -> None:
    """Wait until something holds, for a generous time."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running(
    command: list[str], log: Path, url: str, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A server process that answers at an address; it gets a SIGINT at the end."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            eventually(lambda: process.poll() is not None or answers(url))
            assert process.poll() is None, log.read_text()
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_S)


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=PATIENCE_S) as response:
            return bool(response.status == 200)
    except OSError:
        return False
