"""Shards that are connected to with TLS."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from tests.postgres.deployment.certificates import Authority
from tests.postgres.deployment.conftest import NAME, PASSWORD, address, port, sleeping

ENCRYPTED = "SELECT ssl, current_user::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.fixture
def dsn(secure, authority):
    """The first server, whose certificate is verified."""
    return address(
        secure[0], "encrypted", password=PASSWORD, sslmode="verify-full", sslrootcert=authority.root
    )


def rows(shards, statement=ENCRYPTED, **arguments):
    with (
        contextlib.closing(greenshard.connect(shards, **arguments)) as conn,
        conn.cursor() as cur,
    ):
        cur.execute(statement)
        return cur.fetchall()


def test_server_is_verified_and_the_connection_encrypted(dsn):
    assert rows({"a": dsn, "b": dsn}, allow_same_database=True) == [(True, "encrypted")] * 2


def test_pool_is_encrypted(dsn):
    with (
        greenshard.Pool([dsn, dsn], 1, allow_same_database=True) as pool,
        pool.connection() as conn,
    ):
        cur = conn.cursor()
        cur.execute(ENCRYPTED)
        assert cur.fetchall() == [(True, "encrypted")] * 2


def test_settings_of_tls_can_be_in_the_environment(secure, authority, monkeypatch):
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", str(authority.root))
    plain = address(secure[0], "encrypted", password=PASSWORD)
    assert rows([plain, plain], allow_same_database=True) == [(True, "encrypted")] * 2


def test_unencrypted_connection_that_the_server_refuses_names_the_shard(dsn):
    with pytest.raises(greenshard.OperationalError, match="no encryption") as caught:
        greenshard.connect({"good": dsn, "bad": f"{dsn} sslmode=disable"})
    assert caught.value.shard == "bad"
    assert str(caught.value).startswith("shard bad: ")


@pytest.fixture
def wrong(dsn, secure, tmp_path):
    """By what libpq says of them: connection strings with which the server cannot be verified."""
    stranger = Authority(tmp_path).root
    elsewhere = psycopg2.extensions.make_dsn(dsn, port=port(secure[1]))
    return {
        "certificate verify failed": f"{dsn} sslrootcert={stranger}",
        f'does not match host name "{NAME}"': elsewhere,
        'does not match host name "127.0.0.1"': f"{dsn} host=127.0.0.1",
        "does not exist": f"{dsn} sslrootcert={tmp_path}/no.crt",
    }


def test_server_that_cannot_be_verified_names_the_shard_and_why(dsn, wrong):
    for words, bad in wrong.items():
        with pytest.raises(greenshard.OperationalError) as caught:
            greenshard.connect({"good": dsn, "bad": bad})
        assert caught.value.shard == "bad"
        assert words in str(caught.value)
        assert PASSWORD not in str(caught.value)


def test_pool_says_each_time_why_a_shard_cannot_be_verified(dsn, wrong):
    for words, bad in wrong.items():
        with greenshard.Pool({"good": dsn, "bad": bad}, 1) as pool, pool.connection() as conn:
            for _ in range(2):
                with pytest.raises(greenshard.ConnectionRejected) as caught:
                    conn.cursor().execute("SELECT 1")
                assert words in str(caught.value)
            assert pool.stats().shards["bad"].down_s is None
            with conn.on("good"), conn.cursor() as cur:
                conn.rollback()
                cur.execute("SELECT 1")


def test_host_is_verified_only_where_that_is_asked_for(wrong):
    (named,) = (dsn for words, dsn in wrong.items() if NAME in words)
    assert rows(f"{named} sslmode=verify-ca") == [(True, "encrypted")]


def test_client_certificate_is_a_password(secure, authority, tmp_path):
    certificate, key = authority.certify("certified", tmp_path, "client")
    dsn = address(secure[0], "certified", sslmode="verify-full", sslrootcert=authority.root)
    assert rows(f"{dsn} sslcert={certificate} sslkey={key}") == [(True, "certified")]
    with pytest.raises(greenshard.OperationalError, match="valid client certificate") as caught:
        greenshard.connect({"a": f"{dsn} sslcert={certificate} sslkey={key}", "b": dsn})
    assert caught.value.shard == "b"


def test_statement_is_cancelled_over_tls(dsn, secure, authority, tmp_path):
    certificate, key = authority.certify("certified", tmp_path, "client")
    certified = psycopg2.extensions.make_dsn(
        dsn, user="certified", password="", sslcert=certificate, sslkey=key
    )
    for given in (dsn, certified):
        with contextlib.closing(
            greenshard.connect([given, given], timeout=0.3, allow_same_database=True)
        ) as conn:
            with pytest.raises(greenshard.QueryTimeout, match="were cancelled"):
                conn.cursor().execute("SELECT pg_sleep(60)")
            conn.rollback()
            assert not conn.closed
    assert sleeping(secure[0]) == 0
