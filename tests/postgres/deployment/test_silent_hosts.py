"""Connection strings of several servers of which some do not answer; names in service files."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

import greenshard
from greenshard import _green
from tests.postgres.deployment.conftest import NAME, PASSWORD, address, port, private_file

WHERE = "SELECT current_user, inet_server_port()"


@pytest.fixture
def silent():
    """A port whose server takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def rows(shards, **arguments):
    with (
        contextlib.closing(greenshard.connect(shards, **arguments)) as conn,
        conn.cursor() as cur,
    ):
        cur.execute(WHERE)
        return cur.fetchall()


def several(servers, silent, hosts, **parameters):
    ports = ",".join(str(silent if host == "-" else port(servers[0])) for host in hosts)
    names = ",".join("127.0.0.1" if host == "-" else host for host in hosts)
    return address(servers[0], host=names, port=ports, password=PASSWORD, **parameters)


@pytest.mark.parametrize("hosts", [["-", NAME], ["-", "-", "127.0.0.1"], [NAME, "-"]])
@pytest.mark.parametrize(
    "parameters", [{}, {"target_session_attrs": "read-write"}, {"load_balance_hosts": "random"}]
)
def test_server_behind_silent_ones_is_reached(servers, silent, hosts, parameters):
    dsn = several(servers, silent, hosts, **parameters)
    before = time.monotonic()
    assert rows([dsn], connect_timeout=3.0) == [("app", port(servers[0]))]
    assert time.monotonic() - before < 3.0


def test_standby_is_preferred_past_silent_ones(servers, silent):
    dsn = several(servers, silent, ["-", NAME], target_session_attrs="prefer-standby")
    assert rows([dsn], connect_timeout=3.0) == [("app", port(servers[0]))]


def test_each_shard_has_its_silent_servers(servers, silent):
    dsns = [several([shard], silent, ["-", "127.0.0.1"]) for shard in servers]
    assert rows(dsns, connect_timeout=3.0) == [("app", port(shard)) for shard in servers]


def test_pool_reaches_the_server_behind_a_silent_one(servers, silent):
    dsn = several(servers, silent, ["-", NAME])
    with (
        greenshard.Pool([dsn], 1, connect_timeout=3.0) as pool,
        pool.connection() as conn,
        conn.cursor() as cur,
    ):
        cur.execute(WHERE)
        assert cur.fetchall() == [("app", port(servers[0]))]


def test_silent_addresses_of_one_name_are_left_behind(servers, silent, monkeypatch):
    monkeypatch.setattr(_green, "resolve", lambda host: ["127.0.0.2", "127.0.0.1"])
    with socket.create_server(("127.0.0.2", port(servers[0]))):
        dsn = address(servers[0], host="several.example", password=PASSWORD)
        assert rows([dsn], connect_timeout=3.0) == [("app", port(servers[0]))]


def test_only_silent_servers_are_an_error_in_time(servers, silent):
    before = time.monotonic()
    with pytest.raises(greenshard.OperationalError, match="timeout expired"):
        greenshard.connect(several(servers, silent, ["-", "-"]), connect_timeout=0.6)
    assert time.monotonic() - before < 1.2


@pytest.mark.parametrize("by", ["service", "PGSERVICE"])
def test_name_in_a_service_file_is_looked_up_by_gevent(servers, monkeypatch, tmp_path, by):
    asked = []

    def resolve(host):
        asked.append(host)
        return ["127.0.0.1"]

    monkeypatch.setattr(_green, "resolve", resolve)
    place = f"host=db.example\nport={port(servers[0])}\ndbname=postgres\nuser=app"
    text = f"# ours\n[other]\nhost=x\n[one]\n{place}\npassword={PASSWORD}\n[last]\n"
    monkeypatch.setenv("PGSERVICEFILE", private_file(tmp_path / "services", text))
    if by == "PGSERVICE":
        monkeypatch.setenv("PGSERVICE", "one")
    assert rows("service=one" if by == "service" else "dbname=postgres") == [
        ("app", port(servers[0]))
    ]
    assert asked == ["db.example"]
