"""Two shards, each behind the real PgBouncer, which pools transactions."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg2
import pytest
from gevent.lock import RLock
from psycopg2.extensions import parse_dsn

import greenshard
from greenshard.testing import Shards

#: Server connections for each database: fewer than the clients of most tests.
POOL_SIZE = 3
NAME = "pooled"

INI = """
[databases]
{databases}
[pgbouncer]
pool_mode = transaction
default_pool_size = {size}
listen_addr =
unix_socket_dir = {directory}
listen_port = 6432
auth_type = any
logfile = {directory}/pgbouncer.log
server_check_delay = 0
server_login_retry = 1
"""


class PgBouncer:
    """One pooler before several shards."""

    def __init__(self, program, shards):
        owner = os.stat(shards[0].data_dir)
        self._account = {"user": owner.st_uid, "group": owner.st_gid} if os.getuid() == 0 else {}
        self.directory = Path(tempfile.mkdtemp(prefix="pgbouncer"))
        os.chown(self.directory, owner.st_uid, owner.st_gid)
        self._command = [program, "--quiet", str(self.directory / "pgbouncer.ini")]
        lines = []
        for shard in shards:
            at = parse_dsn(shard.dsn)
            lines.append(
                f"{shard.name} = host={at['host']} port={at['port']} dbname={at['dbname']}"
                f" user={at['user']}"
            )
        ini = INI.format(databases="\n".join(lines), size=POOL_SIZE, directory=self.directory)
        Path(self._command[-1]).write_text(ini, encoding="utf-8")
        self._process = None
        self.dsns = {
            shard.name: f"host={self.directory} port=6432 dbname={shard.name} user=postgres"
            f" application_name={NAME}"
            for shard in shards
        }

    def start(self):
        if self._process is not None:
            return
        self._process = subprocess.Popen(self._command, **self._account)
        deadline = time.monotonic() + 20
        while True:
            try:
                psycopg2.connect(next(iter(self.dsns.values()))).close()
                return
            except psycopg2.OperationalError:
                log = self.directory / "pgbouncer.log"
                assert time.monotonic() < deadline, log.read_text() if log.exists() else "no log"
                time.sleep(0.02)

    def kill(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="package")
def shards():
    with Shards(2, settings={"max_connections": 20}) as shards:
        yield shards


@pytest.fixture(scope="package")
def started_pgbouncer(shards):
    program = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        assert "GREENSHARD_TEST_PGBOUNCER" not in os.environ, "there is no pgbouncer"
        pytest.skip("there is no pgbouncer")
    pgbouncer = PgBouncer(program, shards)
    try:
        yield pgbouncer
    finally:
        pgbouncer.kill()
        shutil.rmtree(pgbouncer.directory)


@pytest.fixture
def pgbouncer(started_pgbouncer):
    started_pgbouncer.start()
    return started_pgbouncer


class Servers:
    """What the servers say, past the pooler."""

    def __init__(self, shards):
        self._asked = {shard.name: psycopg2.connect(shard.dsn) for shard in shards}
        for connection in self._asked.values():
            connection.autocommit = True
        # psycopg2 must not be asked by two greenlets at once.
        self._asking = RLock()

    def ask(self, shard, sql):
        with self._asking, self._asked[shard].cursor() as cur:
            cur.execute(sql)
            return cur.fetchall() if cur.description else None

    def running(self, shard):
        """The statements that run for the pooler's clients."""
        return self.ask(
            shard,
            "SELECT query FROM pg_stat_activity"
            f" WHERE application_name = '{NAME}' AND state = 'active'",
        )

    def in_transaction(self, shard):
        return self.ask(
            shard,
            "SELECT query FROM pg_stat_activity"
            f" WHERE application_name = '{NAME}' AND state LIKE 'idle in%'",
        )

    def sessions(self, shard):
        (row,) = self.ask(
            shard,
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
        return row[0]

    def close(self):
        for connection in self._asked.values():
            connection.close()


@pytest.fixture(scope="package")
def servers(shards):
    servers = Servers(shards)
    for shard in shards:
        servers.ask(shard.name, "CREATE TABLE item (id int PRIMARY KEY, kind int, word text)")
        servers.ask(shard.name, "CREATE TABLE kind (kind int PRIMARY KEY, name text)")
    tables = {"item": greenshard.Sharded("id"), "kind": greenshard.Reference()}
    greenshard.init(greenshard.Cluster(shards.dsns, tables))
    yield servers
    servers.close()


def eventually(condition, within_s=10.0):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "did not come about"
        time.sleep(0.01)
