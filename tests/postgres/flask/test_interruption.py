"""Requests that are killed, timed out or ended from outside."""

from __future__ import annotations

import gevent
import pytest

from tests.postgres.pool.conftest import eventually


class Ended(BaseException):
    """What no ``except Exception`` catches."""


def running(watch):
    """How many sleeping statements the servers run."""
    return sum(
        watch.ask(
            shard,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state = 'active' AND query LIKE '%%pg_sleep(60)%%'"
            " AND pid <> pg_backend_pid()",
        )[0][0]
        for shard in ("s0", "s1")
    )


def sleeping_view(site):
    @site.app.post("/")
    def view():
        site.add("lost")
        with site.db.connection.on(("s0", "s1")):
            site.db.connection.cursor().execute("SELECT pg_sleep(60)")
        return "done"

    @site.app.get("/")
    def healthy():
        cursor = site.db.connection.cursor()
        cursor.execute("SELECT count(*) FROM items")
        return str(cursor.fetchone()[0])


def test_a_killed_request_leaves_nothing(site, watch):
    sleeping_view(site)
    request = gevent.spawn(site.client.post, "/")
    eventually(lambda: gevent.sleep(0.01) or running(watch) == 2)
    assert site.taken == 1
    request.kill()
    assert isinstance(request.value, gevent.GreenletExit)
    assert (running(watch), site.taken, site.names) == (0, 0, [])
    assert site.client.get("/").text == "0"


def test_a_request_that_is_out_of_time_leaves_nothing(site, watch):
    sleeping_view(site)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.3):
        site.client.post("/")
    assert (running(watch), site.taken, site.names) == (0, 0, [])
    assert site.client.get("/").text == "0"


def test_a_timeout_in_the_view_may_be_answered(site, watch):
    @site.app.post("/")
    def view():
        site.add("lost")
        with gevent.Timeout(0.3, False), site.db.connection.on("s0"):
            site.db.connection.cursor().execute("SELECT pg_sleep(60)")
        return "too slow", 504

    assert site.client.post("/").status_code == 504
    assert (running(watch), site.taken, site.names) == (0, 0, [])


def test_a_timeout_that_the_view_swallows_does_not_lose_a_write_unnoticed(site):
    @site.app.post("/")
    def view():
        site.add("lost")
        with site.db.connection.on(("s0", "s1")):
            cursor = site.db.connection.cursor()
            cursor.execute("SELECT 1")
            with gevent.Timeout(0.5, False):
                cursor.execute("SELECT pg_sleep(60)")
        return "done"

    assert site.client.post("/").status_code == 500
    assert (site.taken, site.names) == (0, [])


@pytest.mark.parametrize("error", [SystemExit, gevent.GreenletExit, Ended])
def test_an_exception_that_nobody_handles_gives_the_connection_back(site, error):
    @site.app.post("/")
    def view():
        site.add("lost")
        raise error

    with pytest.raises(error):
        site.client.post("/")
    assert (site.taken, site.names) == (0, [])


def test_a_request_that_is_killed_while_it_waits_takes_no_connection(make_site):
    site = make_site(max_size=1)
    sleeping_view(site)
    with site.pool.connection():
        request = gevent.spawn(site.client.get, "/")
        eventually(lambda: gevent.sleep(0.01) or site.pool.stats().waiting == 1)
        request.kill()
        assert site.pool.stats().waiting == 0
    assert site.client.get("/").text == "0"


def test_a_request_that_is_killed_while_it_commits_ends_with_all_or_nothing(site, watch):
    """The servers decide whether it is committed; but there is no answer that says so."""
    for dsn_shard in ("s0", "s1"):
        watch.ask(
            dsn_shard,
            "CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;"
            " CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON items DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION slow(); SELECT 1",
        )

    @site.app.post("/")
    def view():
        site.add("a")
        return "done"

    try:
        request = gevent.spawn(site.client.post, "/")
        gevent.sleep(0.3)
        request.kill()
        assert isinstance(request.value, gevent.GreenletExit)
        assert site.taken == 0
        assert site.names in ([], ["a"])
    finally:
        for shard in ("s0", "s1"):
            watch.ask(shard, "DROP FUNCTION slow() CASCADE; SELECT 1")
