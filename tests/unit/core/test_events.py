from __future__ import annotations

import logging

import gevent
import pytest

import greenshard
from greenshard.events import ConnectionTaken, tell

EVENT = ConnectionTaken(0.5, None)


def test_listener_gets_the_event():
    heard = []
    tell(heard.append, EVENT)
    assert heard == [EVENT]


def test_what_a_listener_raises_is_logged(caplog):
    def listener(event):
        raise ValueError("a bug of the listener")

    with caplog.at_level(logging.ERROR, "greenshard"):
        tell(listener, EVENT)
    assert "on_event failed" in caplog.text
    assert "a bug of the listener" in caplog.text


def test_timeout_that_arrives_in_a_listener_is_not_lost():
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        tell(lambda event: gevent.sleep(60), EVENT)


@pytest.mark.parametrize("make", [greenshard.connect, greenshard.Pool])
def test_listener_that_cannot_be_called_is_refused(make):
    with pytest.raises(greenshard.ProgrammingError, match="on_event is 3"):
        make("dbname=nothing", on_event=3)
