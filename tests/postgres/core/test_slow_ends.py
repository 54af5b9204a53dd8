"""A transaction that is about to end is not cancelled when time is up: its end is waited for."""

from __future__ import annotations

import contextlib
import time

import gevent
import psycopg2
import pytest

import greenshard

SLOW = """
CREATE TABLE slow (n int);
CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_sleep(0.6); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER slowly AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION slowly();
"""


@pytest.fixture
def slow(dsns):
    with contextlib.closing(psycopg2.connect(dsns["s0"])) as plain:
        plain.autocommit = True
        plain.cursor().execute(SLOW)
        yield plain.cursor()
        plain.cursor().execute("DROP TABLE slow; DROP FUNCTION slowly")


@pytest.mark.parametrize("interrupted", [False, True])
def test_commit_that_takes_longer_than_its_timeout_is_waited_for(dsns, slow, interrupted):
    with contextlib.closing(greenshard.connect(dsns, cancel_grace=10.0)) as conn:
        conn.on("s0").cursor().execute("INSERT INTO slow VALUES (1)")
        conn.timeout = None if interrupted else 0.2
        began = time.monotonic()
        with gevent.Timeout(0.2 if interrupted else None, False):
            conn.commit()
        assert time.monotonic() - began >= 0.55
        slow.execute("SELECT count(*) FROM slow")
        assert slow.fetchone() == (1,)
        conn.cursor().execute("SELECT 1")
