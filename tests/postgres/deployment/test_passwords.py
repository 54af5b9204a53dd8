"""Passwords that are in the connection string, a password file or a service file, or wrong."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import traceback

import psycopg2
import pytest

import greenshard
from tests.postgres.deployment.conftest import (
    NAME,
    PASSWORD,
    address,
    port,
    private_file,
    sleeping,
)

WRONG = "s3cret but wrong"


def toml(tmp_path, *dsns):
    path = tmp_path / "cluster.toml"
    shards = [f'{name} = "{dsn}"' for name, dsn in zip("ab", dsns, strict=True)]
    path.write_text("\n".join(["[shards]", *shards, "[tables]", "t = { reference = true }"]))
    return path


@pytest.fixture
def password_file(servers, tmp_path):
    """A password file of both servers; its lines name the host as the connection strings do."""
    lines = [f"{NAME}:{port(shard)}:*:app:{PASSWORD}\n" for shard in servers]
    return private_file(tmp_path / "passwords", f"*:*:*:other:{WRONG}\n{''.join(lines)}")


@pytest.fixture
def service_file(servers, password_file, tmp_path):
    """A service for each server: one with its password, one with the file that has it."""
    text = ""
    secrets = (f"password={PASSWORD}", f"passfile={password_file}")
    for number, (shard, secret) in enumerate(zip(servers, secrets, strict=True)):
        place = f"host={NAME}\nport={port(shard)}\ndbname=postgres\nuser=app"
        text += f"[shard{number}]\n{place}\n{secret}\n"
    return private_file(tmp_path / "services", text)


@pytest.fixture(params=["PGPASSFILE", "passfile", "~/.pgpass", "PGSERVICEFILE"])
def dsns(request, servers, monkeypatch, tmp_path, password_file, service_file):
    """Two connection strings that hold no password, in each way that libpq finds one."""
    if request.param == "PGSERVICEFILE":
        monkeypatch.setenv("PGSERVICEFILE", service_file)
        return ["service=shard0", "service=shard1"]
    if request.param == "PGPASSFILE":
        monkeypatch.setenv("PGPASSFILE", password_file)
    elif request.param == "~/.pgpass":
        os.link(password_file, tmp_path / ".pgpass")
    parameters = {"passfile": password_file} if request.param == "passfile" else {}
    return [address(shard, **parameters) for shard in servers]


def users(conn):
    with conn.cursor() as cur:
        cur.execute("SELECT current_user, inet_server_port()")
        return cur.fetchall()


def test_password_is_found(dsns, servers, tmp_path):
    expected = [("app", port(shard)) for shard in servers]
    for shards in (dsns, {"a": dsns[0], "b": dsns[1]}):
        with contextlib.closing(greenshard.connect(shards)) as conn:
            assert users(conn) == expected
        with greenshard.Pool(shards, 1) as pool, pool.connection() as conn:
            assert users(conn) == expected
    declared = toml(tmp_path, *dsns)
    with contextlib.closing(greenshard.connect(declared)) as conn, conn.on(["a", "b"]):
        assert users(conn) == expected
    with greenshard.Pool(declared, 1) as pool, pool.connection() as conn, conn.on("b"):
        assert users(conn) == expected[1:]


def test_cancelling_needs_no_session(dsns, servers):
    logged_in = 'authenticated: identity="app"'
    before = [shard.log().count(logged_in) for shard in servers]
    with contextlib.closing(greenshard.connect(dsns, timeout=0.3)) as conn:
        with pytest.raises(greenshard.QueryTimeout, match="were cancelled"):
            conn.cursor().execute("SELECT pg_sleep(60)")
        conn.rollback()
        assert users(conn)
    assert [sleeping(shard) for shard in servers] == [0, 0]
    assert [shard.log().count(logged_in) for shard in servers] == [n + 1 for n in before]


def test_open_connection_is_cancelled(dsns):
    with contextlib.closing(greenshard.connect(psycopg2.connect(dsns[0]), timeout=0.3)) as conn:
        with pytest.raises(greenshard.QueryTimeout, match="were cancelled"):
            conn.cursor().execute("SELECT pg_sleep(60)")
        conn.rollback()
        assert users(conn)


def whole(error):
    """Everything that a log could show of an error."""
    return "".join(traceback.format_exception(type(error), error, None)) + repr(vars(error))


@pytest.fixture(params=["string", "file", "service"])
def wrong(request, servers, monkeypatch, tmp_path):
    """A connection string by which a wrong password is found."""
    if request.param == "string":
        return address(servers[1], password=WRONG)
    if request.param == "file":
        return address(servers[1], passfile=private_file(tmp_path / "wrong", f"*:*:*:*:{WRONG}\n"))
    place = f"host={NAME}\nport={port(servers[1])}\ndbname=postgres\nuser=app\npassword={WRONG}"
    monkeypatch.setenv("PGSERVICEFILE", private_file(tmp_path / "wrong", f"[one]\n{place}\n"))
    return "service=one"


def test_wrong_password_names_the_shard_and_shows_no_password(servers, wrong, caplog):
    caplog.set_level(logging.DEBUG)
    shards = {"good": address(servers[0], password=PASSWORD), "bad": wrong}
    shown = []
    with pytest.raises(greenshard.OperationalError) as caught:
        greenshard.connect(shards)
    shown += [whole(caught.value), repr(pickle.loads(pickle.dumps(caught.value)))]
    assert caught.value.shard == "bad"
    assert "password authentication failed" in str(caught.value)
    with greenshard.Pool(shards, 1) as pool, pool.connection() as conn:
        with pytest.raises(greenshard.ConnectionRejected, match="password auth") as caught:
            conn.cursor().execute("SELECT 1")
        assert caught.value.pgcode == "28P01"
        shown += [whole(caught.value), repr(pool), repr(pool.stats()), repr(conn), conn.dsn]
    assert [
        secret for secret in (PASSWORD, WRONG) if secret in "".join([*shown, caplog.text])
    ] == []


def test_error_of_a_service_names_it(servers, service_file, monkeypatch):
    monkeypatch.setenv("PGSERVICEFILE", service_file)
    with pytest.raises(greenshard.OperationalError, match="never") as caught:
        greenshard.connect({"a": "service=shard0", "b": "service=shard1 dbname=never"})
    assert caught.value.shard == "b"
    assert 'server of the service "shard1" failed' in str(caught.value)


def test_pool_reads_the_password_file_again_when_it_was_corrected(servers, tmp_path):
    path = private_file(tmp_path / "passwords", f"*:*:*:*:{WRONG}\n")
    with greenshard.Pool([address(servers[0], passfile=path)], 1) as pool:
        for _ in range(2):
            with pytest.raises(greenshard.ConnectionRejected, match="password authentication"):
                pool.getconn()
        private_file(tmp_path / "passwords", f"*:*:*:*:{PASSWORD}\n")
        with pool.connection() as conn:
            assert users(conn) == [("app", port(servers[0]))]
