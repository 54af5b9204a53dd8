"""How servers are named: several hosts, addresses, sockets. greenshard resolves names itself."""

from __future__ import annotations

import contextlib
import socket

import psycopg2
import pytest

import greenshard
from tests.postgres.deployment.conftest import (
    NAME,
    PASSWORD,
    address,
    ask,
    port,
    private_file,
    sleeping,
    unused_port,
)

WHERE = "SELECT current_user, inet_server_port()"


def rows(shards, statement=WHERE, **arguments):
    with (
        contextlib.closing(greenshard.connect(shards, **arguments)) as conn,
        conn.cursor() as cur,
    ):
        cur.execute(statement)
        return cur.fetchall()


@pytest.fixture
def two(servers):
    """A list of two hosts, as of a primary and its standby; only the second takes writes."""
    ask(servers[0], "ALTER ROLE other SET default_transaction_read_only = on")
    yield address(
        servers[0],
        user="other",
        host=f"{NAME},{NAME}",
        port=f"{port(servers[0])},{port(servers[1])}",
        password=PASSWORD,
    )
    ask(servers[0], "ALTER ROLE other RESET default_transaction_read_only")


def test_next_host_is_tried_when_one_refuses(servers):
    ports = f"{unused_port()},{port(servers[1])}"
    dsn = address(servers[1], host=f"{NAME},127.0.0.1", port=ports, password=PASSWORD)
    assert rows([dsn, dsn], allow_same_database=True) == [("app", port(servers[1]))] * 2
    with greenshard.Pool([dsn], 1) as pool, pool.connection() as conn, conn.cursor() as cur:
        cur.execute(WHERE)
        assert cur.fetchall() == [("app", port(servers[1]))]


def test_host_whose_name_nobody_knows_is_left_out(servers):
    hosts = f"no.such.host.invalid,{NAME}"
    assert rows(address(servers[0], host=hosts, password=PASSWORD)) == [("app", port(servers[0]))]


@pytest.mark.parametrize(
    ("wanted", "number"), [("any", 0), ("read-write", 1), ("read-only", 0), ("primary", 0)]
)
def test_host_is_chosen_by_what_its_session_may(two, servers, wanted, number):
    found = rows([f"{two} target_session_attrs={wanted}"])
    assert found == [("other", port(servers[number]))]


def test_no_host_may_what_is_wanted(two):
    with pytest.raises(greenshard.OperationalError, match="not in hot standby") as caught:
        greenshard.connect({"a": f"{two} target_session_attrs=standby"})
    assert caught.value.shard == "a"


def test_statement_is_cancelled_on_the_host_that_was_chosen(two, servers):
    dsn = f"{two} target_session_attrs=read-write"
    with contextlib.closing(greenshard.connect([dsn], timeout=0.3)) as conn:
        with pytest.raises(greenshard.QueryTimeout, match="were cancelled"):
            conn.cursor().execute("SELECT pg_sleep(60)")
        conn.rollback()
        assert not conn.closed
    assert [sleeping(shard) for shard in servers] == [0, 0]


@pytest.mark.parametrize("entry", [NAME, "127.0.0.1", "*"])
def test_password_file_names_the_host_as_the_connection_string_does(servers, tmp_path, entry):
    line = f"{entry}:{port(servers[0])}:postgres:app:{PASSWORD}\n"
    passfile = private_file(tmp_path / "passwords", line)
    for host in (NAME, "127.0.0.1"):
        dsn = address(servers[0], host=host, passfile=passfile)
        if entry in {host, "*"}:
            assert rows(dsn) == [("app", port(servers[0]))]
        else:
            with pytest.raises(greenshard.OperationalError, match="no password supplied"):
                greenshard.connect(dsn)


def test_each_of_several_hosts_has_its_line_in_the_password_file(servers, tmp_path):
    lines = f"127.0.0.1:*:*:app:not this\n{NAME}:{port(servers[1])}:*:app:{PASSWORD}\n"
    dsn = address(
        servers[0],
        host=f"127.0.0.1,{NAME}",
        port=f"{unused_port()},{port(servers[1])}",
        passfile=private_file(tmp_path / "passwords", lines),
    )
    assert rows(dsn) == [("app", port(servers[1]))]


def test_sockets_and_names_can_be_mixed(servers):
    local = psycopg2.extensions.parse_dsn(servers[0].dsn)
    dsn = address(
        servers[0],
        host=f"{local['host']},{NAME}",
        port=f"{local['port']},{port(servers[1])}",
        password=PASSWORD,
    )
    assert rows([dsn]) == [("app", None)]


def test_address_can_be_one_of_ipv6(servers):
    try:
        socket.create_connection(("::1", port(servers[0])), timeout=10).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    place = f"host=::1 port={port(servers[0])}"
    keywords = f"{place} dbname=postgres user=app password='{PASSWORD}'"
    uri = f"postgresql://app:{PASSWORD.replace(' ', '%20')}@[::1]:{port(servers[0])}/postgres"
    assert rows([keywords, uri], allow_same_database=True) == [("app", port(servers[0]))] * 2
