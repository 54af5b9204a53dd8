"""A small site over a declared cluster of two shards."""

from __future__ import annotations

import contextlib

import flask
import psycopg2
import pytest

import greenshard
from greenshard.ext.flask import GreenShard
from tests.postgres.pool.conftest import NAME, Watch

#: That a row is there twice is told when it is committed.
SCHEMA = "CREATE TABLE items (id int, name text UNIQUE DEFERRABLE INITIALLY DEFERRED)"
TABLES = {"items": greenshard.Sharded("id")}


@pytest.fixture(scope="module")
def dsns(greenshard_shards):
    with greenshard_shards.databases() as dsns:
        for dsn in dsns.values():
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cursor:
                cursor.execute(SCHEMA)
        greenshard.init(greenshard.Cluster(dsns, TABLES))
        yield dsns


@pytest.fixture
def watch(dsns):
    with contextlib.closing(Watch(dsns)) as watch:
        yield watch
        for shard in dsns:
            with contextlib.closing(psycopg2.connect(dsns[shard])) as conn, conn:
                conn.cursor().execute("TRUNCATE items")


class Site:
    """An application, and what it has stored."""

    def __init__(self, watch, **config):
        self.watch = watch
        self.db = GreenShard()
        self.app = flask.Flask("site")
        self.app.config.update(config)
        self.app.secret_key = "for the tests"
        self.db.init_app(self.app)
        self.client = self.app.test_client()

    def add(self, name, number=1):
        self.db.connection.cursor().execute("INSERT INTO items VALUES (%s, %s)", (number, name))

    @property
    def names(self):
        """What is committed on all shards."""
        found = [self.watch.ask(shard, "SELECT name FROM items") for shard in self.watch._dsns]
        return sorted(name for rows in found for (name,) in rows)

    @property
    def pool(self):
        return self.app.extensions["greenshard"]["default"]

    @property
    def taken(self):
        return self.pool.stats().taken

    def close(self):
        for pool in self.app.extensions["greenshard"].values():
            pool.close()


@pytest.fixture
def make_site(dsns, watch):
    """Makes applications; after the test, their pools had all connections back."""
    with contextlib.ExitStack() as sites:

        def make(shards=None, pools=None, **arguments):
            shards = shards or greenshard.Cluster(dsns, TABLES)
            common = {"application_name": NAME, "max_size": 3, "timeout": 10.0, **arguments}
            pools = {name: {"cluster": each, **common} for name, each in (pools or {}).items()}
            site = Site(watch, GREENSHARD={"cluster": shards, **common}, GREENSHARD_POOLS=pools)
            return sites.enter_context(contextlib.closing(site))

        made = []
        yield lambda *args, **kwargs: made.append(make(*args, **kwargs)) or made[-1]
        for site in made:
            for pool in site.app.extensions["greenshard"].values():
                assert pool.stats().taken == 0


@pytest.fixture
def site(make_site):
    return make_site()
