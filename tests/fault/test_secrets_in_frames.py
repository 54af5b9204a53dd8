"""What an error tracker records holds no secret: the local variables of every frame, by their repr.

It also looks into what it finds: dataclass fields, attributes, mappings and sequences.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
import pprint
import socket
from collections.abc import Mapping
from functools import partial
from urllib.parse import quote

import gevent
import psycopg2
import pytest

import greenshard
from greenshard import Cluster, Reference
from greenshard.cluster import Shard
from greenshard.ext.flask.configuration import make_pools
from greenshard.secret import Secret, hidden, reveal
from tests.fault.strange_server import strange_server

PASSWORD = "s3&ret w%rd"
KEY_PASSWORD = "other/s3cret"
SECRETS = (PASSWORD, KEY_PASSWORD, quote(PASSWORD, safe=""), quote(KEY_PASSWORD, safe=""))


def shown(value, depth=0):
    """All that a tracker could show of a value."""
    yield from (repr(value), pprint.pformat(value), f"{value}")
    if depth > 4:
        return
    inner = []
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = [getattr(value, field.name) for field in dataclasses.fields(value)]
    elif isinstance(value, Mapping):
        inner = [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        inner = list(value)
    elif type(value).__module__.startswith("greenshard") and hasattr(value, "__dict__"):
        inner = list(vars(value).values())
    for each in inner:
        yield from shown(each, depth + 1)


def frames(error, seen):
    """The frames of a traceback and of all errors that hang on it, but for this module's."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename != __file__:
            yield traceback.tb_frame
        traceback = traceback.tb_next
    yield from frames(error.__cause__, seen)
    yield from frames(error.__context__, seen)
    for failure in getattr(error, "failures", {}).values():
        yield from frames(failure, seen)


def leaks(error):
    """Where a secret shows: the function and the variable."""
    found = []
    for frame in frames(error, set()):
        for name, value in frame.f_locals.items():
            texts = list(shown(value))
            found += [
                (frame.f_code.co_filename, frame.f_code.co_name, name)
                for secret in SECRETS
                if any(secret in text for text in texts)
            ]
    with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
        dumped = pickle.dumps(error)
        found += [("pickle", secret) for secret in SECRETS if secret.encode() in dumped]
    found += [("error", secret) for secret in SECRETS if secret in repr(error) + str(error)]
    return found


def keywords(port, host="127.0.0.1"):
    return (
        f"host={host} port={port} user=x dbname=x password='{PASSWORD}' "
        f"sslpassword='{KEY_PASSWORD}' gssencmode=disable"
    )


def uri(port, host="127.0.0.1"):
    return (
        f"postgresql://x:{quote(PASSWORD, safe='')}@{host}:{port}/x"
        f"?sslpassword={quote(KEY_PASSWORD, safe='')}&gssencmode=disable"
    )


@pytest.fixture(params=[keywords, uri])
def written(request):
    return request.param


@pytest.fixture
def dead():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def silent():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def rejecting():
    with strange_server(rejection=b"28P01") as dsn:
        yield psycopg2.extensions.parse_dsn(dsn)["port"]


def raised(call):
    try:
        call()
    except BaseException as error:
        return error
    pytest.fail("nothing was raised")


def toml(tmp_path, text):
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    return path


def ways(dsn, tmp_path):
    """Each way in, as a call that connects."""
    given = {"password": PASSWORD, "sslpassword": KEY_PASSWORD}
    declared = f'[shards]\na = "{dsn}"\nb = "{dsn} "\n[tables]\nt = {{ reference = true }}\n'
    yield lambda: greenshard.connect(dsn)
    yield lambda: greenshard.connect([dsn, dsn + " "])
    yield lambda: greenshard.connect({"a": dsn, "b": dsn + " "}, on_error="partial")
    yield lambda: greenshard.connect(dsn=dsn, **given)
    yield lambda: greenshard.connect(Cluster({"a": dsn, "b": dsn + " "}, {"t": Reference()}))
    yield lambda: greenshard.connect(toml(tmp_path, declared))
    yield lambda: greenshard.connect(dsn, connection_factory=OwnConnection)
    yield lambda: greenshard.connect(dsn, async_=1)
    yield lambda: pooled(greenshard.Pool([dsn, dsn + " "], 1, **given))
    yield lambda: pooled(make_pools({"GREENSHARD": {"cluster": [dsn], **given}})["default"])
    yield lambda: pooled(make_pools({"GREENSHARD": [dsn]})["default"])


class OwnConnection(psycopg2.extensions.connection):
    """A class of the program's, which is given the connection string as psycopg2 gives it."""


def pooled(pool):
    with pool, pool.connection(timeout=1.0):
        pass


def until_open(conn):
    """Wait for an asynchronous connection."""
    while conn.poll() != psycopg2.extensions.POLL_OK:
        gevent.sleep(0.01)


def check(calls):
    for number, call in enumerate(calls):
        with gevent.Timeout(5.0):
            error = raised(lambda call=call: until_open(call()))
        assert leaks(error) == [], number


def test_wrong_password_leaves_none_in_the_frames(written, rejecting, tmp_path):
    check(ways(written(rejecting), tmp_path))


def test_dead_host_leaves_none_in_the_frames(written, dead, tmp_path):
    check(ways(written(dead), tmp_path))


def test_unknown_host_leaves_none_in_the_frames(written, dead, tmp_path):
    check(ways(written(dead, "no.such.host.invalid"), tmp_path))


@pytest.mark.parametrize(
    "text", ["&nonsense=1", " nonsense=1", " host='", "\0", " connect_timeout=x"]
)
def test_bad_parameter_leaves_none_in_the_frames(written, dead, text, tmp_path):
    check(ways(written(dead) + text, tmp_path))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_refused_and_leave_none_in_the_frames(written, dead, kind):
    dsn = kind(written(dead).encode())
    for call in (
        lambda: greenshard.connect(dsn),
        lambda: greenshard.connect(dsn=dsn),
        lambda: greenshard.connect([dsn]),
        lambda: greenshard.connect({"a": dsn}),
        lambda: greenshard.connect(dsn, async_=1),
        lambda: greenshard.Pool([dsn]),
        lambda: make_pools({"GREENSHARD": {"cluster": [dsn]}}),
        lambda: Cluster({"a": dsn, "b": {"primary": dsn}}),
        lambda: Cluster({"a": Shard("a", dsn)}),
    ):
        error = raised(call)
        assert isinstance(error, greenshard.ProgrammingError)
        assert "bytes" in str(error)
        assert leaks(error) == []


def test_a_text_that_is_no_unicode_is_no_connection_string(written, dead):
    for call in (
        lambda: greenshard.connect(written(dead) + "\udc80"),
        lambda: greenshard.connect([written(dead)], password=PASSWORD + "\udc80"),
        lambda: greenshard.Pool([written(dead) + "\udc80"]),
    ):
        error = raised(call)
        assert isinstance(error, greenshard.ProgrammingError)
        assert error.code == "GS102"
        assert leaks(error) == []


def test_secrets_that_are_no_text_leave_none_in_the_frames(written, dead):
    class Text(str):
        __slots__ = ()

    for secret in (PASSWORD.encode(), Text(PASSWORD)):
        connect = partial(greenshard.connect, [written(dead)], password=secret)
        assert leaks(raised(connect)) == []


def test_timeout_leaves_none_in_the_frames(written, silent, tmp_path):
    dsn = written(silent)
    calls = [
        lambda: greenshard.connect([dsn], connect_timeout=0.2),
        lambda: pooled(greenshard.Pool([dsn], 1, connect_timeout=0.2)),
    ]
    check(calls)
    for call in (
        lambda: greenshard.connect(dsn),
        lambda: greenshard.connect([dsn, dsn + " "]),
        lambda: pooled(greenshard.Pool([dsn], 1)),
    ):
        with gevent.Timeout(0.2) as timeout:
            error = raised(call)
        assert error is timeout
        assert leaks(error) == []


def test_interrupt_leaves_none_in_the_frames(written, silent):
    def connect():
        greenlet = gevent.spawn(raised, lambda: greenshard.connect([written(silent)]))
        gevent.sleep(0.1)
        greenlet.kill(KeyboardInterrupt)
        return greenlet.get()

    assert leaks(connect()) == []


def test_mistakes_of_a_declaration_leave_none_in_the_frames(written, dead, tmp_path):
    dsn = written(dead)
    for call in (
        lambda: Cluster({"a": dsn, "b": dsn}, {"t": 3}),
        lambda: Cluster({"a": [dsn]}, {}),
        lambda: Cluster.from_toml(toml(tmp_path, f'[shards]\na = "{dsn}"\n[tables]\nt = 3\n')),
        lambda: Cluster.from_toml(toml(tmp_path, f'[shards]\na = "{dsn}"\nnot toml\n')),
        lambda: greenshard.connect({"a": dsn, "": dsn}),
        lambda: greenshard.connect([dsn], on_error="what"),
        lambda: greenshard.Pool([dsn], 0),
        lambda: make_pools({"GREENSHARD": {"cluster": [dsn], "nonsense": 1}}),
    ):
        assert leaks(raised(call)) == []


def test_connection_that_was_opened_shows_no_secret(greenshard_shards):
    dsn = f"{greenshard_shards[0].dsn} password='{PASSWORD}' sslpassword='{KEY_PASSWORD}'"
    with contextlib.closing(greenshard.connect([dsn])) as conn:
        error = raised(lambda: conn.cursor().execute("SELECT 1/0"))
        assert leaks(error) == []
        texts = "".join(shown([conn, vars(conn), conn._session.physicals]))
        assert not [secret for secret in SECRETS if secret in texts]


def test_secret_is_text_that_does_not_show_itself():
    secret = Secret("sesame")
    assert (repr(secret), str(secret), f"{secret:>5}", f"{secret!r}") == (
        "'***'", "***", "  ***", "'***'",
    )  # fmt: skip
    assert secret == "sesame"
    assert type(reveal(secret)) is str
    assert reveal(secret) == reveal("sesame") == "sesame"
    assert reveal(pickle.loads(pickle.dumps(secret))) == "sesame"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host=a dbname='b c'",
        "postgresql://db:1/app",
        "postgres://u@db,[::1]:2/app",
        "service=x",
    ],
)
def test_string_that_can_hold_no_secret_shows_itself(text):
    assert type(hidden(text)) is str


@pytest.mark.parametrize(
    "text",
    [
        "password=x", "host=a PASSWORD = 'x'", "sslpassword=x", "postgresql://u:p@db", "sesame",
        "postgresql://db?pass%77ord=x", "postgresql://db?password=x", "scram_client_key=x",
        "postgresql://u:p@db:x", "host='a password=x", "oauth_client_secret=x", "host=a\\ b x",
    ],
)  # fmt: skip
def test_string_that_may_hold_a_secret_does_not(text):
    assert repr(hidden(text)) == "'***'"
