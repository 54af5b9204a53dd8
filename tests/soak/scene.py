"""The servers, their tables, and the ways to them."""

from __future__ import annotations

import contextlib

import gevent
import psycopg2
import psycopg2.extensions

from greenshard import Cluster, Reference, Sharded
from greenshard.cluster.slots import Hash
from greenshard.testing import Shards
from tests.fault.relay import Relay
from tests.initialised import initialised
from tests.soak import items

SETTINGS = {
    "max_connections": 60,
    "superuser_reserved_connections": 4,
    "max_wal_senders": 0,
    # What was acknowledged must outlive a kill -9 of the server.
    "synchronous_commit": "on",
    # A server ends what it runs for a client that is gone.
    "client_connection_check_interval": "100ms",
}
#: The shard that is reached through a relay.
RELAYED = "s1"

TABLES = {
    "item": Sharded("id"),
    "detail": Sharded("item"),
    "owner": Reference(),
    "entry": Sharded("key"),
}

_SCHEMA = """
CREATE TABLE item (id bigint PRIMARY KEY, owner int NOT NULL, price numeric(10, 2) NOT NULL);
CREATE TABLE detail (item bigint NOT NULL, line int NOT NULL, amount int NOT NULL);
CREATE TABLE owner (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE entry (key bigint NOT NULL, request bigint NOT NULL);
"""


class Scene:
    """Servers with a database ``soak`` of the role ``app``, the items in it."""

    def __init__(self, count=4):
        self.shards = Shards(count, settings=SETTINGS)
        self._relay = self._opened = None

    def __enter__(self):
        with contextlib.ExitStack() as opened:
            opened.enter_context(self.shards)
            socket = next(self.shards[RELAYED].data_dir.parent.glob(".s.PGSQL.[0-9]*[0-9]"))
            self._relay = Relay(str(socket))
            opened.callback(self._relay.close)
            for shard in self.shards:
                self._furnish(shard)
            initialised(Cluster(self.superuser_dsns(), TABLES), ["app"])
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *exc):
        self._opened.close()

    @property
    def names(self):
        return tuple(shard.name for shard in self.shards)

    def superuser_dsns(self):
        """How to look at the servers, also when they are out of slots."""
        return {shard.name: shard.dsn_of("soak") for shard in self.shards}

    def dsns(self, name, *, relayed=True, **parameters):
        """How an application connects that calls itself `name`."""
        dsns = {
            shard: psycopg2.extensions.make_dsn(
                dsn, user="app", application_name=name, **parameters
            )
            for shard, dsn in self.superuser_dsns().items()
        }
        if relayed:
            at = {"host": "127.0.0.1", "port": self._relay.port}
            dsns[RELAYED] = psycopg2.extensions.make_dsn(dsns[RELAYED], **at)
        return dsns

    def cluster(self, name, **parameters):
        return Cluster(shards=self.dsns(name, **parameters), tables=TABLES)

    def tell_relay(self, command):
        """See `Relay.tell`."""
        self._relay.tell(command)

    def ask(self, shard, statement):
        """Ask a server, past everything."""
        dsn = self.superuser_dsns()[shard]
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cur:
            conn.autocommit = True
            cur.execute("SET statement_timeout = '60s'")  # locks that nobody gives up
            cur.execute(statement)
            return cur.fetchall() if cur.description else []

    def entries(self):
        """How many rows of each request each shard has."""
        asked = "SELECT request, count(*) FROM entry GROUP BY request"
        return {shard: self.ask(shard, asked) for shard in self.names}

    def sessions(self, shard, state="%"):
        """The applications' sessions on a server."""
        return self.ask(
            shard,
            "SELECT pid, application_name, state, left(query, 200) FROM pg_stat_activity"
            f" WHERE datname = 'soak' AND usename = 'app' AND coalesce(state, '') LIKE '{state}'",
        )

    def prepared(self):
        """What is prepared on the servers, and keeps its locks."""
        asked = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
        return [(shard, gid) for shard in self.names for (gid,) in self.ask(shard, asked)]

    def shard_of(self, key):
        """The shard of a key of the declared cluster."""
        return Hash().shards_for(key, "int8", self.names)

    def _furnish(self, shard):
        with contextlib.closing(psycopg2.connect(shard.dsn)) as conn, conn.cursor() as cur:
            conn.autocommit = True
            cur.execute("CREATE ROLE app LOGIN")
            cur.execute("CREATE DATABASE soak OWNER app")
        with (
            contextlib.closing(psycopg2.connect(shard.dsn_of("soak"))) as conn,
            conn,
            conn.cursor() as cur,
        ):
            cur.execute("ALTER SCHEMA public OWNER TO app; SET ROLE app;" + _SCHEMA)
            items.load(cur, [i for i in items.IDS if self.shard_of(i) == shard.name])


class Hogs:
    """Sessions of others that take all the slots of a server."""

    def __init__(self, dsn):
        self._dsn = psycopg2.extensions.make_dsn(dsn, application_name="hog")
        self._sessions = []

    def fill(self):
        with contextlib.suppress(psycopg2.OperationalError), gevent.Timeout(10, False):
            while True:
                self._sessions.append(psycopg2.connect(self._dsn))

    def leave(self):
        while self._sessions:
            self._sessions.pop().close()
