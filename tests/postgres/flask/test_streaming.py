"""Responses that are sent bit by bit."""

from __future__ import annotations

import contextlib

import flask
import gevent
import pytest
from gevent import pywsgi, socket

from tests.postgres.pool.conftest import eventually

MANY = "SELECT generate_series(1, 200000)"


def streams(site, route="/", with_context=True):
    """Make a view of a function that makes its body."""

    def decorate(function):
        @site.app.get(route, endpoint=function.__name__)
        def view():
            body = function()
            return flask.Response(flask.stream_with_context(body) if with_context else body)

        return function

    return decorate


def test_a_stream_reads_with_the_connection_of_its_request(site):
    @streams(site)
    def body():
        site.add("from the view")
        site.db.connection.rollback()
        return inside()

    def inside():
        with site.db.connection.cursor("numbers") as cursor:
            cursor.execute(MANY)
            for number, (row,) in enumerate(cursor):
                if not number % 50000:
                    yield f"{row} {site.taken};"

    response = site.client.get("/")
    assert response.text == "1 1;50001 1;100001 1;150001 1;"
    assert site.taken == 0


@pytest.mark.parametrize("with_context", [True, False])
def test_a_stream_reads_on_where_the_view_began(site, with_context):
    @streams(site, with_context=with_context)
    def body():
        cursor = site.db.connection.cursor()
        cursor.execute("SELECT generate_series(1, 3)")
        return (f"{number} {site.taken};" for (number,) in cursor)

    assert site.client.get("/").text == "1 1;2 1;3 1;"
    assert site.taken == 0


def test_what_the_view_wrote_is_committed_before_the_stream(site):
    @streams(site)
    def body():
        site.add("a")
        return (str(site.names) for _ in range(1))

    assert site.client.get("/").text == "['a']"


def test_a_failed_commit_is_a_500_also_for_a_stream(site):
    @streams(site)
    def body():
        site.add("twice")
        site.add("twice")
        return iter("abc")

    assert site.client.get("/").status_code == 500
    assert (site.names, site.taken) == ([], 0)


def test_a_stream_commits_by_itself_only(site, caplog):
    @streams(site)
    def body():
        site.add("kept", 1)
        yield "a"
        site.db.connection.commit()
        site.add("lost", 1)
        yield "b"

    assert site.client.get("/").text == "ab"
    assert (site.names, site.taken) == (["kept"], 0)
    (record,) = [record for record in caplog.records if record.name == "greenshard"]
    assert "rolled back" in record.message


def test_a_stream_that_fails_gives_the_connection_back(site, caplog):
    @streams(site)
    def body():
        site.add("lost")
        yield "a"
        raise ValueError("in the midst")

    with pytest.raises(ValueError, match="in the midst"), site.client.get("/") as response:
        assert response.text
    assert (site.names, site.taken) == ([], 0)


@pytest.mark.parametrize("view_reads", [True, False])
def test_a_stream_that_nobody_reads_gives_the_connection_back(site, view_reads):
    @streams(site)
    def body():
        if view_reads:
            site.db.connection.cursor().execute("SELECT 1")
        return (str(site.db.connection) for _ in range(3))

    for call in (site.client.head, site.client.get):
        with call("/") as response:
            assert response.status_code == 200
        assert site.taken == 0


def test_a_stream_that_is_not_sent_gives_the_connection_back(site):
    @streams(site, with_context=False)
    def body():
        site.db.connection.cursor().execute("SELECT 1")
        return iter("abc")

    def fail(sender, response, **extra):
        if response.is_streamed:
            raise ValueError("after the commit")

    flask.request_finished.connect(fail, site.app)
    assert site.client.get("/").status_code == 500
    assert site.taken == 0


@contextlib.contextmanager
def served(app):
    server = pywsgi.WSGIServer(("127.0.0.1", 0), app, log=None, error_log=None)
    server.start()
    try:
        yield server.address
    finally:
        server.stop(5)


@pytest.mark.parametrize("view_reads", [True, False])
@pytest.mark.parametrize("with_context", [True, False])
def test_a_client_that_leaves_ends_the_stream(site, view_reads, with_context):
    ended = []

    @streams(site, with_context=with_context)
    def body():
        cursor = site.db.connection.cursor("numbers") if with_context else None
        if view_reads or not with_context:
            site.db.connection.cursor().execute("SELECT 1")
        return inside(cursor)

    def inside(cursor):
        try:
            if with_context:
                site.add("lost")
            while True:
                yield "x" * 100_000
                gevent.sleep(0.001)
        finally:
            ended.append(True)

    with served(site.app) as address:
        client = socket.create_connection(address)
        client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert site.taken == 1
        client.close()
        eventually(lambda: gevent.sleep(0.01) or (ended and site.taken == 0))
    assert site.names == []


def test_a_stream_whose_greenlet_is_killed_gives_the_connection_back(site, watch):
    @streams(site)
    def body():
        site.add("lost")
        yield "a"
        with site.db.connection.on("s0"):
            site.db.connection.cursor().execute("SELECT pg_sleep(60)")

    def read():
        with site.client.get("/") as response:
            return response.text

    reader = gevent.spawn(read)
    eventually(lambda: gevent.sleep(0.01) or site.pool.stats().shards["s0"].running == 1)
    reader.kill()
    assert (site.names, site.taken) == ([], 0)


def test_a_file_keeps_no_connection(site):
    @site.app.get("/")
    def view():
        site.db.connection.cursor().execute("SELECT 1")
        return flask.send_file(__file__)

    with site.client.get("/") as response:
        assert site.taken == 0
        assert response.text.startswith('"""Responses')
