from __future__ import annotations

import logging

import psycopg2
import pytest

from greenshard import errors
from greenshard._driver import Dsn
from greenshard.events import Server
from greenshard.executor.answers.answer import NOTHING
from greenshard.executor.execution import Execution
from greenshard.executor.record import recording
from greenshard.links.fanout import End, Job
from greenshard.links.physical import Physical
from greenshard.planner.place import Place, Role


def job(shard, seconds=0.25, end=End.DONE, error=None, dsn="host=db0 dbname=app", beside=None):
    physical = Physical.new(shard, Dsn(dsn))
    made = Job(shard, lambda: None, physical, beside)
    made.error, made.end, made.seconds = error, end, seconds
    return made


def event_of(*jobs, text="SELECT 1", sets=None, error=None):
    heard = []
    record = recording(heard.append, text, sets)
    execution = Execution(None, None, None, True, False, None, "union")
    record.follow(execution)
    execution.noted.extend(jobs)
    record.tell(NOTHING, error)
    (event,) = heard
    return event


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level(logging.INFO, "greenshard")


def test_nothing_is_noted_if_nobody_listens():
    assert recording(None, "SELECT 1", None) is None


def test_log_listens_too(caplog):
    caplog.set_level(logging.DEBUG, "greenshard")
    recording(None, "SELECT 'secret'", None).tell(NOTHING)
    assert "SELECT ? on no shard (not planned): " in caplog.text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ALTER ROLE a PASSWORD 'secret' -- secret", "ALTER ROLE a PASSWORD ?"),
        (b"SELECT 'secret'", "SELECT ?"),
        (b"SELECT '\xff'", "SELECT ?"),
        ("SELECT 'secret", "SELECT ..."),
        ("\udcff'secret'", "..."),
        ("SELECT %(name)s", "SELECT %(name)s"),
        ("SELECT 1" + " " * 200_000, "SELECT ?"),
        (None, ""),
        (3, ""),
    ],
)
def test_text_is_shown_without_values(text, shown):
    assert event_of(text=text).sql == shown


def test_stages_of_a_shard_are_added_up_and_come_with_its_server():
    event = event_of(
        job("s0"), job("s1"), job("s0", 0.5), job("s0", 1.0, beside=Place("s0", Role.GATHERING))
    )
    assert list(event.shards) == ["s0", "s1"]
    assert event.shards["s0"].duration_s == 1.75
    assert event.shards["s0"].server == Server("db0", 5432, "app")
    assert event.shards["s0"].error is None


@pytest.mark.parametrize(
    ("dsn", "server"),
    [
        ("hostaddr=127.0.0.1 port=6000", Server("127.0.0.1", 6000, None)),
        ("host=/tmp dbname=a", Server("/tmp", 5432, "a")),
        ("host=a,b dbname=c password=secret", Server(None, None, "c")),
        ("host=a port=1,2", Server(None, None, None)),
        ("service=main", Server(None, None, None)),
    ],
)
def test_server_is_told_as_far_as_it_is_known(dsn, server):
    assert event_of(job("s0", dsn=dsn)).shards["s0"].server == server


def test_shard_that_failed_has_its_own_error_and_the_others_what_became_of_them():
    own = psycopg2.errors.DivisionByZero("division by zero")
    cancelled = psycopg2.errors.QueryCanceled("canceling statement")
    error = errors.from_shards({"s0": own}, 4)
    event = event_of(
        job("s0", end=End.FAILED, error=own),
        job("s1", end=End.CANCELLED, error=cancelled),
        job("s2", end=End.CANCELLED),
        job("s3"),
        error=error,
    )
    assert event.error is error
    assert {s: run.error for s, run in event.shards.items()} == {
        "s0": own,
        "s1": cancelled,
        "s2": error,
        "s3": None,
    }


def test_shard_that_could_not_be_asked_is_there_with_its_error():
    gone = {name: errors.InterfaceError("gone", shard=name) for name in ("s0", "s1")}
    event = event_of(error=errors.from_shards(gone, 3))
    assert {s: run.error for s, run in event.shards.items()} == gone
    assert event.shards["s0"].server is None
    alone = event_of(error=gone["s1"])
    assert list(alone.shards) == ["s1"]
