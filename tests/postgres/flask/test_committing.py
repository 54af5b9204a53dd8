"""What is committed by a request, and when."""

from __future__ import annotations

import flask
import psycopg2
import pytest
from flask.sessions import SecureCookieSessionInterface
from psycopg2 import errors as driver_errors

import greenshard


def test_writes_are_committed_before_the_response_leaves(site):
    @site.app.post("/")
    def view():
        site.add("a")
        return "done"

    seen = []

    def start_response(status, headers, exc_info=None):
        seen.append((status, site.names))

    environ = flask.testing.EnvironBuilder(site.app, method="POST").get_environ()
    list(site.app.wsgi_app(environ, start_response))
    assert seen == [("200 OK", ["a"])]


@pytest.mark.parametrize("status", [200, 201, 204, 302, 303])
def test_a_good_status_commits(site, status):
    @site.app.post("/")
    def view():
        site.add("a")
        return "", status

    assert site.client.post("/").status_code == status
    assert site.names == ["a"]


@pytest.mark.parametrize("status", [400, 404, 409, 500, 503])
def test_a_bad_status_rolls_back(site, status):
    @site.app.post("/")
    def view():
        site.add("a")
        return "", status

    assert site.client.post("/").status_code == status
    assert site.names == []


def test_what_the_view_commits_stays_also_with_a_bad_status(site):
    @site.app.post("/")
    def view():
        site.add("kept")
        site.db.connection.commit()
        site.add("lost")
        return "", 401

    site.client.post("/")
    assert site.names == ["kept"]


def test_an_exception_rolls_back(site):
    @site.app.post("/")
    def view():
        site.add("a")
        raise ValueError("no")

    assert site.client.post("/").status_code == 500
    assert (site.names, site.taken) == ([], 0)


def test_an_exception_rolls_back_also_if_the_test_client_raises_it(site):
    site.app.testing = True

    @site.app.post("/")
    def view():
        site.add("a")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        site.client.post("/")
    assert (site.names, site.taken) == ([], 0)


class Refused(Exception):
    pass


def test_a_handled_exception_rolls_back_whatever_its_response_is(site):
    @site.app.post("/")
    def view():
        site.add("half")
        raise Refused

    @site.app.errorhandler(Refused)
    def handler(error):
        return "sorry", 200

    assert site.client.post("/").status_code == 200
    assert site.names == []


@pytest.mark.parametrize("by_itself", [True, False])
def test_a_handler_writes_without_the_view(site, by_itself):
    @site.app.post("/")
    def view():
        site.add("half")
        raise Refused

    @site.app.errorhandler(Refused)
    def handler(error):
        site.add("noted")
        if by_itself:
            site.db.connection.commit()
            return "", 409
        return flask.redirect("/elsewhere")

    site.client.post("/")
    assert site.names == ["noted"]


def test_a_handler_can_query_after_a_statement_has_failed(site):
    @site.app.post("/")
    def view():
        cursor = site.db.connection.cursor()
        flask.g.cursor = cursor
        cursor.execute("SELECT 1 / 0")

    @site.app.errorhandler(psycopg2.DataError)
    def handler(error):
        flask.g.cursor.execute("SELECT 7")
        return str(flask.g.cursor.fetchone()[0])

    assert site.client.post("/").text == "7"


def test_abort_with_a_redirect_rolls_back(site):
    @site.app.post("/")
    def view():
        site.add("a")
        flask.abort(flask.redirect("/elsewhere"))

    assert site.client.post("/").status_code in (302, 303)
    assert site.names == []


def test_a_failed_commit_is_a_500_and_not_a_200(site):
    seen = []

    @site.app.post("/")
    def view():
        site.add("other", 2)
        site.add("twice")
        site.add("twice")
        return "done"

    @site.app.errorhandler(500)
    def handler(error):
        seen.append(error.original_exception)
        return "not done", 500

    response = site.client.post("/")
    assert (response.status_code, response.text) == (500, "not done")
    assert isinstance(seen[0], driver_errors.UniqueViolation)
    assert (site.names, site.taken) == ([], 0)


def test_the_handler_of_its_error_answers_a_failed_commit(site):
    @site.app.post("/<name>")
    def view(name):
        site.add(name)
        site.add("twice")
        site.add("twice")
        return "done"

    @site.app.errorhandler(psycopg2.IntegrityError)
    def handler(error):
        if "good" in flask.request.path:
            site.add("noted")
            return "noted", 200
        site.add("twice")
        site.add("twice")
        return "again", 200

    assert site.client.post("/good").text == "noted"
    assert site.names == ["noted"]
    assert site.client.post("/bad").status_code == 500
    assert (site.names, site.taken) == (["noted"], 0)


def test_a_failed_commit_reaches_the_test_client_of_an_application_under_test(site):
    site.app.testing = True

    @site.app.post("/")
    def view():
        site.add("twice")
        site.add("twice")
        return "done"

    with pytest.raises(driver_errors.UniqueViolation):
        site.client.post("/")
    assert (site.names, site.taken) == ([], 0)


def swallow(site, sql):
    try:
        site.db.connection.cursor().execute(sql)
    except psycopg2.Error:
        return "it goes on"
    raise AssertionError("the statement did not fail")


@pytest.mark.parametrize("shards", ["cluster", "union", "one"])
def test_a_write_whose_transaction_has_failed_is_a_500(make_site, dsns, shards):
    site = make_site({"cluster": None, "union": dsns, "one": {"s0": dsns["s0"]}}[shards])

    @site.app.post("/")
    def view():
        with site.db.connection.on("s0"):
            site.add("lost")
        return swallow(site, "SELECT 1 / 0")

    @site.app.post("/again")
    def again():
        swallow(site, "SELECT 1 / 0")
        site.db.connection.rollback()
        with site.db.connection.on("s0"):
            site.add("kept")
        return "done"

    assert site.client.post("/").status_code == 500
    assert site.names == []
    assert site.client.post("/again").status_code == 200
    assert site.names == ["kept"]


def test_a_read_that_failed_may_be_done_without(site):
    @site.app.get("/")
    def view():
        return swallow(site, "SELECT 1 / 0")

    assert site.client.get("/").text == "it goes on"


@pytest.mark.parametrize("shards", ["cluster", "one"])
def test_a_write_whose_connection_was_lost_is_a_500(make_site, dsns, watch, shards):
    site = make_site({"cluster": None, "one": {"s0": dsns["s0"]}}[shards])

    @site.app.post("/")
    def view():
        with site.db.connection.on("s0"):
            site.add("lost")
        watch.ask(
            "s0",
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'pooled'",
        )
        return swallow(site, "SELECT 1 FROM items") if flask.request.args else "done"

    assert site.client.post("/").status_code == 500
    assert site.client.post("/?swallow=1").status_code == 500
    assert site.names == []


def test_all_that_runs_after_the_view_is_committed(make_site, dsns):
    site = make_site()

    class InDatabase(SecureCookieSessionInterface):
        def save_session(self, app, session, response):
            site.add("session", 4)

    site.app.session_interface = InDatabase()

    def add(name, number):
        def function(response):
            site.add(name, number)
            return response

        return function

    # Whatever its place among the other functions.
    site.app.after_request_funcs.setdefault(None, []).insert(0, add("last", 1))
    site.app.after_request(add("first", 2))

    @site.app.post("/")
    def view():
        flask.after_this_request(add("this", 3))
        return "done"

    assert site.client.post("/").status_code == 200
    assert site.names == ["first", "last", "session", "this"]


def test_an_exception_after_the_view_rolls_back(site):
    @site.app.post("/")
    def view():
        site.add("a")
        return "done"

    @site.app.after_request
    def fail(response):
        if response.status_code == 200:
            raise ValueError("no")
        return response

    @site.app.errorhandler(500)
    def handler(error):
        site.db.connection.commit()  # of what it did itself, it believes
        return "sorry", 500

    assert site.client.post("/").status_code == 500
    assert site.names == []


def test_an_exception_before_the_view_rolls_back(site):
    @site.app.before_request
    def before():
        site.add("a")
        if flask.request.args:
            raise Refused

    @site.app.errorhandler(Refused)
    def handler(error):
        return "fine"

    @site.app.post("/")
    def view():
        return "done"

    assert site.client.post("/?fail=1").text == "fine"
    assert site.names == []
    assert site.client.post("/").text == "done"
    assert site.names == ["a"]


def test_head_is_committed_as_get_is(site):
    @site.app.get("/")
    def view():
        site.add("visit")
        return "done"

    assert site.client.head("/").status_code == 200
    assert site.names == ["visit"]


def test_no_connection_is_taken_that_is_not_asked_for(site):
    @site.app.get("/")
    def view():
        return str(site.taken)

    assert site.client.get("/").text == "0"
    assert site.client.options("/").status_code == 200
    assert site.pool.stats().requests == 0


def test_a_request_has_one_connection(site):
    @site.app.get("/")
    def view():
        same = site.db.connection is site.db.connection
        return f"{same} {site.taken}"

    assert site.client.get("/").text == "True 1"
    assert site.taken == 0


def test_a_connection_given_back_early_is_followed_by_another(site):
    @site.app.post("/")
    def view():
        first = site.db.connection
        site.add("lost")
        first.close()
        free = site.taken
        site.add("kept")
        return f"{free} {site.taken} {first is site.db.connection}"

    assert site.client.post("/").text == "0 1 False"
    assert site.names == ["kept"]


def test_pools_commit_each_for_itself(make_site, dsns):
    site = make_site(pools={"archive": {"s1": dsns["s1"]}})

    @site.app.post("/<name>")
    def view(name):
        with site.db.connection.on("s0"):
            site.add("main")
        cursor = site.db.connection_of("archive").cursor()
        cursor.execute("INSERT INTO items VALUES (1, %s)", (name,))
        return "done", 400 if name == "bad" else 200

    assert site.client.post("/archived").status_code == 200
    assert site.names == ["archived", "main"]
    assert site.client.post("/bad").status_code == 400
    assert site.names == ["archived", "main"]


def test_a_closed_pool_does_not_lose_a_write_unnoticed(site):
    @site.app.post("/")
    def view():
        site.add("lost")
        site.pool.close(timeout=0)
        return "done"

    assert site.client.post("/").status_code == 500
    assert site.names == []


def test_errors_of_the_pool_reach_the_handlers(make_site):
    site = make_site(max_size=1, timeout=0.01)

    @site.app.get("/")
    def view():
        return str(site.db.connection)

    @site.app.errorhandler(greenshard.PoolTimeout)
    def busy(error):
        return "try again", 503, {"Retry-After": "1"}

    with site.pool.connection():
        assert site.client.get("/").status_code == 503
    assert site.client.get("/").status_code == 200
