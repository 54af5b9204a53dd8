"""What the pool writes to the log, and what the log has of statements."""

from __future__ import annotations

import logging

import gevent
import pytest

import greenshard
from tests.postgres.pool.conftest import eventually


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.DEBUG, "greenshard")
    return lambda level: [r.getMessage() for r in caplog.records if r.levelname == level]


def ask(pool, text="SELECT 1"):
    with pool.connection() as conn:
        conn.cursor().execute(text)


def test_a_shard_that_goes_down_and_comes_up_is_told_once_each(make_pool, greenshard_shards, log):
    pool = make_pool(max_size=4)
    ask(pool)
    assert log("WARNING") == []
    shard = greenshard_shards["s1"]
    shard.stop()
    try:
        for _ in range(3):
            with pytest.raises(greenshard.Error):
                ask(pool)
    finally:
        shard.start()
    (down,) = log("WARNING")
    assert down.startswith("shard s1 is down: ")
    assert [text for text in log("INFO") if "a connection to shard s1 broke" in text]

    def works():
        try:
            ask(pool)
        except greenshard.Error:
            return False
        return True

    eventually(works)
    _, up = log("WARNING")
    assert up.startswith("shard s1 is up again, after ")


def test_statements_that_are_cancelled_are_told_without_values(make_pool, log):
    pool = make_pool(max_size=1, call_timeout=0.2)
    with pytest.raises(greenshard.QueryTimeout):
        ask(pool, "SELECT pg_sleep(60), 'secret'")
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
        ask(pool, "SELECT pg_sleep(61), 'secret'")
    assert log("INFO") == [
        "cancelled by QueryTimeout: SELECT pg_sleep(?), ?",
        "cancelled by Timeout: SELECT pg_sleep(?), ?",
    ]


def test_each_statement_is_a_line_with_what_events_have(make_pool, log):
    pool = make_pool(max_size=1)
    ask(pool, "SELECT 'secret'")
    with pytest.raises(greenshard.Error):
        ask(pool, "SELECT 1/0, 'secret'")
    first, second = [line for line in log("DEBUG") if "SELECT" in line]
    assert first.startswith("SELECT ? on s0, s1, s2 (union): ")
    assert first.endswith(" ms, 3 rows")
    assert "s0 (DivisionByZero)" in second
    assert second.endswith(", DivisionByZero")
    assert "secret" not in first + second
