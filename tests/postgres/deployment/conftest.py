"""Two servers with TLS, passwords and client certificates, made for these tests.

Their databases and roles are told apart by how a client gets in: see `HBA`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from pathlib import Path

import psycopg2
import pytest

from greenshard.testing import Shards
from tests.postgres.deployment.certificates import Authority

PASSWORD = "s3cret sause"
#: The name that the first server's certificate is for; it is in every /etc/hosts.
NAME = "localhost"
HBA = """
local all all           trust
host  all app,other all scram-sha-256
"""
SECURE_HBA = """
hostssl all encrypted all scram-sha-256
hostssl all certified all cert
"""
SETTINGS = {
    "ssl_ca_file": "root.crt",
    "ssl_cert_file": "server.crt",
    "ssl_key_file": "server.key",
    "ssl": "on",
}


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates with")
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def servers():
    """Two servers that ask for passwords where they are connected to through TCP.

    Those of the wheel know no TLS; Debian's do.
    """
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    bin_dir = installed[-1].parent if installed else None
    if "GREENSHARD_PG_BIN" in os.environ:
        bin_dir = None
    with Shards(2, tcp=True, bin_dir=bin_dir, settings={"log_connections": "on"}) as shards:
        for shard in shards:
            (shard.data_dir / "pg_hba.conf").write_text(HBA)
            ask(shard, "ALTER SYSTEM SET listen_addresses = '127.0.0.1, ::1'")
            shard.restart()
            for role in ("app", "other", "encrypted", "certified"):
                ask(shard, f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        yield shards


@pytest.fixture(scope="session")
def secure(servers, authority):
    """The same servers, with TLS: the first is called `NAME`, the second something else."""
    if ask(servers[0], "SHOW ssl_library") == "":
        pytest.skip("these servers are built without TLS, as those of the wheel are")
    for shard, name in zip(servers, (NAME, "elsewhere.example"), strict=True):
        authority.certify(name, shard.data_dir, "server")
        shutil.copy(authority.root, shard.data_dir / "root.crt")
        owner = shard.data_dir.stat()
        for path in ("server.crt", "server.key", "root.crt"):
            os.chown(shard.data_dir / path, owner.st_uid, owner.st_gid)
        (shard.data_dir / "pg_hba.conf").write_text(HBA + SECURE_HBA)
        for setting, value in SETTINGS.items():
            ask(shard, f"ALTER SYSTEM SET {setting} = '{value}'")
        ask(shard, "SELECT pg_reload_conf()")
    return servers


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch, tmp_path):
    """No ~/.pgpass, ~/.pg_service.conf, ~/.postgresql or PG... of whoever runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(variable)


def ask(shard, statement):
    """What a server answers its superuser."""
    with contextlib.closing(psycopg2.connect(shard.dsn)) as conn:
        conn.autocommit = True
        with conn.cursor() as cur:
            cur.execute(statement)
            return cur.fetchone()[0] if cur.description else None


def sleeping(shard):
    """How many sessions of a server run what the tests let run too long."""
    return ask(shard, "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep'")


def port(shard):
    return shard.tcp_address[1]


def address(shard, user="app", host=NAME, **parameters):
    """A connection string through TCP, without a password."""
    given = {"host": host, "port": port(shard), "dbname": "postgres", "user": user, **parameters}
    return psycopg2.extensions.make_dsn(**given)


def unused_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def private_file(path, text):
    """A file that only its owner can read; libpq ignores a password file that others can."""
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)
