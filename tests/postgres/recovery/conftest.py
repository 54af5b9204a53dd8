"""Three shards whose transactions a coordinator has left, at any point of its way."""

from __future__ import annotations

import contextlib
import secrets
import time

import psycopg2
import pytest

import greenshard
from greenshard.initializing.schema import granted, made
from greenshard.testing import Shards
from greenshard.transaction.gids import Gid, new_transaction
from tests.postgres.psql import run

#: What `greenshard init` makes.
SCHEMA = ";\n".join(["DROP SCHEMA IF EXISTS greenshard CASCADE", *made(False, {}), *granted([])])
NAMES = ("s0", "s1", "s2")


@pytest.fixture(scope="package")
def servers():
    with Shards(2) as running:
        yield running


@pytest.fixture(scope="package")
def databases(servers):
    """Two shards are databases of one server."""
    with servers.databases() as first, servers.databases() as second:
        dsns = {"s0": first["s0"], "s1": first["s1"], "s2": second["s0"]}
        with contextlib.ExitStack() as opened:
            yield (
                dsns,
                {
                    name: opened.enter_context(contextlib.closing(psycopg2.connect(dsn)))
                    for name, dsn in dsns.items()
                },
            )


class Scene:
    """What coordinators have left."""

    def __init__(self, dsns, asked):
        self.dsns, self._asked = dsns, asked
        self.cluster = secrets.token_hex(16)
        self.ids = {name: secrets.token_hex(16) for name in dsns}
        for number, name in enumerate(dsns):
            self._clear(name)
            values = (self.cluster, name, number, len(dsns), 256, self.ids[name])
            self.ask(name, SCHEMA)
            self.ask(name, "INSERT INTO greenshard.shard VALUES (%s, %s, %s, %s, %s, %s)", *values)
            self.ask(name, "DROP TABLE IF EXISTS t; CREATE TABLE t (x int)")

    def _clear(self, shard):
        """Roll back what an earlier test has left."""
        for name in self.prepared(shard):
            self.ask(shard, "ROLLBACK PREPARED %s", name)

    def close(self):
        for name in self.dsns:
            self._clear(name)

    def ask(self, shard, sql, *args):
        raw = self._asked[shard]
        raw.autocommit = True
        with raw.cursor() as cursor:
            cursor.execute(sql, args or None)
            return cursor.fetchall() if cursor.description else None

    def gid(self, anchor="s0", *, days_ago=0.0, cluster=None, anchor_id=None):
        made = new_transaction(time.time() - days_ago * 86400)
        return Gid(cluster or self.cluster, anchor_id or self.ids[anchor], made)

    def prepare(self, shard, gid, x, *, dsn=None, name=None):
        """Leave a part that has inserted x."""
        with contextlib.closing(psycopg2.connect(dsn or self.dsns[shard])) as conn:
            cursor = conn.cursor()
            cursor.execute("INSERT INTO t VALUES (%s)", (x,))
            cursor.execute("PREPARE TRANSACTION %s", (name or gid.prepared(self.ids[shard]),))

    def decide(self, gid, committed, anchor="s0", *, days_ago=0.0):
        self.ask(
            anchor,
            "INSERT INTO greenshard.decision"
            " VALUES (%s, %s, '{}', clock_timestamp() - %s * interval '1 day')",
            gid.decision,
            committed,
            days_ago,
        )

    def decisions(self, anchor="s0"):
        return dict(self.ask(anchor, "SELECT gid, committed FROM greenshard.decision"))

    def prepared(self, shard):
        sql = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
        return [gid for (gid,) in self.ask(shard, sql)]

    def rows(self, shard):
        return sorted(x for (x,) in self.ask(shard, "SELECT x FROM t"))

    def recover(self, **options):
        return greenshard.recover(self.dsns, **{"timeout": 10.0, **options})


@pytest.fixture
def scene(databases):
    scene = Scene(*databases)
    yield scene
    scene.close()


@pytest.fixture
def role(scene):
    """A role that may do what `greenshard init --role` grants, with hostile defaults to be set."""
    name = f"r_{secrets.token_hex(4)}"
    for shard in NAMES:
        if shard != "s2":  # a database of the first one's server
            run(scene.dsns[shard], f"CREATE ROLE {name} LOGIN")
    for dsn in scene.dsns.values():
        run(dsn, *granted([name]), f"GRANT ALL ON t TO {name}")
    yield name
    for dsn in scene.dsns.values():
        run(dsn, f"DROP OWNED BY {name}")
    for shard in ("s0", "s1"):
        run(scene.dsns[shard], f"DROP ROLE {name}")


@pytest.fixture
def stranger(scene):
    """A role that may connect, and nothing else of greenshard's."""
    name = f"r_{secrets.token_hex(4)}"
    run(scene.dsns["s1"], f"CREATE ROLE {name} LOGIN", f"GRANT ALL ON t TO {name}")
    yield name
    run(scene.dsns["s1"], f"DROP OWNED BY {name}", f"DROP ROLE {name}")
