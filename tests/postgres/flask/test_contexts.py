"""Which connection belongs to what: requests, application contexts, greenlets, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import flask
import gevent
import pytest

import greenshard
from greenshard.ext.flask import GreenShard
from tests.postgres.pool.conftest import eventually


def test_an_application_context_commits_nothing_by_itself(site, caplog):
    with site.app.app_context():
        site.add("kept", 1)
        site.db.connection.commit()
        site.add("lost", 2)
        assert site.taken == 1
    assert (site.names, site.taken) == (["kept"], 0)
    (record,) = [record for record in caplog.records if record.name == "greenshard"]
    assert "call db.connection.commit()" in record.message


def test_an_application_context_that_fails_tells_nothing_more(site, caplog):
    def fail():
        with site.app.app_context():
            site.add("lost")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert (site.names, site.taken) == ([], 0)
    assert [record for record in caplog.records if record.name == "greenshard"] == []


def test_a_teardown_function_that_fails_does_not_keep_the_connection(site):
    @site.app.teardown_request
    def fail(error):
        raise ValueError("in the teardown")

    @site.app.post("/")
    def view():
        site.add("a")
        return "done"

    with pytest.raises(ValueError, match="in the teardown"):
        site.client.post("/")
    assert (site.taken, site.names) == (0, ["a"])


def test_a_nested_context_has_a_connection_of_its_own(site):
    @site.app.post("/")
    def view():
        site.add("view", 1)
        with site.app.app_context():
            assert site.taken == 1
            site.add("nested", 2)
            assert site.taken == 2
            site.db.connection.commit()
        assert (site.taken, site.names) == (1, ["nested"])
        site.add("view again", 1)
        return "done"

    assert site.client.post("/").text == "done"
    assert (site.taken, site.names) == (0, ["nested", "view", "view again"])


def test_a_request_shares_nothing_with_the_context_around_it(site):
    @site.app.post("/<name>")
    def view(name):
        site.add(name, 2)
        return str(site.taken)

    with site.app.app_context():
        site.add("around", 1)
        for name in ("first", "second"):
            assert site.client.post(f"/{name}").text == "2"
            assert site.taken == 1
        assert site.names == ["first", "second"]
        site.db.connection.commit()
    assert site.names == ["around", "first", "second"]


def test_a_request_within_a_request_ends_for_itself(site):
    @site.app.post("/")
    def view():
        site.add("outer", 1)
        assert site.app.test_client().post("/inner").status_code == 400
        assert site.taken == 1
        return "done"

    @site.app.post("/inner")
    def inner():
        site.add("inner", 2)
        return "", 400

    assert site.client.post("/").status_code == 200
    assert (site.taken, site.names) == (0, ["outer"])


def test_a_context_that_the_test_client_preserves_has_a_connection_again(site):
    @site.app.post("/")
    def view():
        site.add("a")
        return "done"

    with site.client as client:
        client.post("/")
        cursor = site.db.connection.cursor()
        cursor.execute("SELECT name FROM items")
        assert cursor.fetchall() == [("a",)]
        assert site.taken == 1
        cursor.close()
    assert site.taken == 0


def test_a_copied_request_context_has_a_connection_of_its_own(site):
    @site.app.post("/")
    def view():
        site.add("view", 1)

        @flask.copy_current_request_context
        def beside(name):
            site.add(name, 2)
            site.db.connection.commit()
            return flask.request.path

        assert gevent.spawn(beside, "in another greenlet").get() == "/"
        assert beside("in this greenlet") == "/"
        assert site.taken == 1
        site.add("view again", 1)
        return "done"

    assert site.client.post("/").status_code == 200
    assert site.taken == 0
    assert site.names == ["in another greenlet", "in this greenlet", "view", "view again"]


def test_a_greenlet_without_a_context_is_told_so(site):
    @site.app.get("/")
    def view():
        with pytest.raises(RuntimeError, match="application context"):
            gevent.spawn(lambda: site.db.connection).get()
        return "done"

    assert site.client.get("/").text == "done"


def test_greenlets_that_take_the_connection_at_once_share_one(site):
    @site.app.get("/")
    def view():
        takers = [gevent.spawn(copy_context().run, lambda: site.db.connection) for _ in range(3)]
        taken = [each.get() for each in takers]
        assert site.pool.stats().requests == 3
        assert all(each is site.db.connection for each in taken)
        return str(site.taken)

    assert site.client.get("/").text == "1"
    assert site.taken == 0


def test_two_greenlets_on_one_connection_get_an_error(site):
    @site.app.get("/")
    def view():
        connection = site.db.connection
        other = gevent.spawn(connection.on("s0").cursor().execute, "SELECT pg_sleep(60)")
        eventually(lambda: gevent.sleep(0.01) or site.pool.stats().shards["s0"].running == 1)
        with pytest.raises(greenshard.ProgrammingError, match="GS302"):
            connection.cursor().execute("SELECT 1")
        other.kill()
        return "done"

    assert site.client.get("/").text == "done"


def test_what_another_greenlet_still_runs_is_cancelled_at_the_end(site):
    others = []

    @site.app.get("/")
    def view():
        cursor = site.db.connection.on("s0").cursor()
        others.append(gevent.spawn(cursor.execute, "SELECT pg_sleep(60)"))
        eventually(lambda: gevent.sleep(0.01) or site.pool.stats().shards["s0"].running == 1)
        return "not done", 500

    assert site.client.get("/").status_code == 500
    with pytest.raises(greenshard.Error):
        others[0].get(timeout=10)
    assert site.taken == 0


def test_requests_in_threads_are_apart(make_site):
    site = make_site(max_size=3)

    @site.app.post("/<int:number>")
    def view(number):
        site.add(str(number), number)
        return "done", 200 if number % 2 else 400

    def post(number):
        return site.app.test_client().post(f"/{number}").status_code

    with ThreadPoolExecutor(6) as threads:
        statuses = list(threads.map(post, range(40)))
    assert statuses == [400, 200] * 20
    assert site.names == sorted(str(number) for number in range(1, 40, 2))
    assert site.taken == 0


def test_requests_in_greenlets_are_apart(site):
    @site.app.post("/<int:number>")
    def view(number):
        site.add(str(number), number)
        gevent.sleep(0)
        return "done", 200 if number % 2 else 400

    def post(number):
        return site.app.test_client().post(f"/{number}").status_code

    posts = [gevent.spawn(post, number) for number in range(40)]
    assert [each.get() for each in posts] == [400, 200] * 20
    assert site.names == sorted(str(number) for number in range(1, 40, 2))


def test_several_applications_have_their_own_pools(make_site, dsns):
    first, second = make_site(), make_site()
    db = GreenShard()
    third = flask.Flask("third")
    third.config["GREENSHARD"] = dsns
    fourth = flask.Flask("fourth")
    fourth.config["GREENSHARD"] = {"cluster": dsns, "max_size": 4}
    db.init_app(third)
    db.init_app(fourth)
    with third.app_context():
        assert db.pool.stats().max_size == 10
        with fourth.app_context():
            assert db.pool.stats().max_size == 4
        # Whose connection it is depends on the application, not on the extension's object.
        assert first.db.pool is db.pool
    assert first.pool is not second.pool
