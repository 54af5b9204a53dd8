"""What a server says in another encoding than UTF-8 is that shard's failure, like anything else."""

from __future__ import annotations

import contextlib
from functools import partial

import gevent
import psycopg2
import pytest
from click.testing import CliRunner

import greenshard
from greenshard.cli import main
from greenshard.pool import pool as pool_module
from tests.fault.strange_server import SHOWN, error, ready, strange_server


@pytest.fixture(scope="module")
def good(greenshard_shards):
    return greenshard_shards[0].dsn


def test_connect_error_in_latin1_names_the_shard(good):
    with strange_server(rejection=b"57P03") as dsn:
        with pytest.raises(greenshard.OperationalError) as caught:
            greenshard.connect({"good": good, "bad": dsn})
        assert caught.value.shard == "bad"
        assert SHOWN in str(caught.value)
        assert str(caught.value).startswith("shard bad: connection to server at")
        with pytest.raises(psycopg2.OperationalError, match="Passwort"):
            greenshard.connect(dsn)


def test_partial_answers_do_without_a_shard_that_speaks_latin1(good):
    with strange_server(rejection=b"57P03") as dsn:
        conn = greenshard.connect({"bad": dsn, "good": good}, on_error="partial")
        with contextlib.closing(conn), conn.cursor() as cur:
            with pytest.warns(greenshard.PartialResultWarning):
                cur.execute("SELECT 1")
            assert cur.fetchall() == [(1,)]


def test_breaker_opens_on_a_connect_error_in_latin1(good, monkeypatch):
    # Longer than a busy machine may take between the two.
    patient = partial(pool_module.Policy, first_pause_s=60.0, longest_pause_s=60.0)
    monkeypatch.setattr(pool_module, "Policy", patient)
    with strange_server(rejection=b"57P03") as dsn, greenshard.Pool([good, dsn], 1) as pool:
        for _ in range(2):
            with pool.connection() as conn, pytest.raises(greenshard.ShardUnavailable) as caught:
                conn.cursor().execute("SELECT 1")
            assert caught.value.shard == "s1"
            assert SHOWN in str(caught.value)
        shard = pool.stats().shards["s1"]
        assert shard.down_s is not None
        assert shard.refused == 1


def test_command_line_says_what_a_server_says_in_latin1():
    with strange_server(rejection=b"28P01") as dsn:
        result = CliRunner().invoke(main, ["query", "-s", dsn, "SELECT 1"])
    assert result.exit_code == 5
    assert SHOWN in result.output
    assert "Traceback" not in result.output


def test_last_words_in_latin1_are_the_shards_failure():
    with strange_server(answer=error(b"FATAL", b"57P01"), ends=True) as dsn:
        conn = greenshard.connect({"a": dsn})
        with pytest.raises(psycopg2.OperationalError) as caught:
            conn.cursor().execute("SELECT 1")
        assert caught.value.shard == "a"
        assert SHOWN in str(caught.value)
        assert conn.closed == 2


def test_statements_error_in_latin1_keeps_its_class():
    with strange_server(answer=error(b"ERROR", b"22012") + ready(b"E")) as dsn:
        conn = greenshard.connect({"a": dsn})
        with pytest.raises(psycopg2.errors.DivisionByZero) as caught:
            conn.cursor().execute("SELECT 1")
        assert caught.value.shard == "a"
        conn.close()


@pytest.mark.parametrize("rejection", [b"28P01", b"28000", b"3D000", b"42501", b"22023"])
def test_rejection_is_told_each_time_in_the_servers_words(good, rejection):
    with strange_server(rejection=rejection) as dsn, greenshard.Pool([good, dsn], 1) as pool:
        for _ in range(3):
            with pool.connection() as conn, pytest.raises(greenshard.ConnectionRejected) as caught:
                conn.cursor().execute("SELECT 1")
            assert (caught.value.code, caught.value.shard) == ("GS109", "s1")
            assert caught.value.pgcode == rejection.decode()
            assert SHOWN in str(caught.value)
            assert rejection.decode() not in str(caught.value)
        shard = pool.stats().shards["s1"]
        assert (shard.down_s, shard.refused, shard.failed_connects) == (None, 0, 3)


def test_pool_tries_nothing_by_itself_where_it_is_rejected(good):
    with (
        strange_server(rejection=b"28P01") as dsn,
        greenshard.Pool([good, dsn], 2, min_idle=2) as pool,
    ):
        with pool.connection() as conn, pytest.raises(greenshard.ConnectionRejected):
            conn.cursor().execute("SELECT 1")
        gevent.sleep(0.5)
        assert pool.stats().shards["s1"].failed_connects <= 3
