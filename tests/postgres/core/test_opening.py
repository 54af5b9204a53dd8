from __future__ import annotations

import contextlib
import pickle
import socket
import time
import traceback
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as plain_connection

import greenshard

SECRET = "s3cret"


@contextlib.contextmanager
def connected(*args, **kwargs):
    with contextlib.closing(greenshard.connect(*args, **kwargs)) as conn:
        yield conn


def answers(conn, statement="SELECT 1"):
    with conn.cursor() as cur:
        cur.execute(statement)
        return [row[0] for row in cur.fetchall()]


@pytest.fixture
def silent():
    """The address of a server that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        yield f"host={host} port={port} dbname=x user=x password={SECRET}"


@pytest.fixture
def refusing():
    """The address of a port on which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        yield f"host=127.0.0.1 port={port} dbname=x user=x password={SECRET}"


def test_list_of_shards_is_named_by_number(dsns):
    for shards in (list(dsns.values()), tuple(dsns.values()), iter(dsns.values())):
        with connected(shards) as conn:
            assert conn.shards == ("s0", "s1", "s2")
            assert answers(conn) == [1, 1, 1]


def test_mapping_gives_names_and_order(dsns):
    named = {"east": dsns["s2"], "überall": dsns["s0"], "with space": dsns["s1"]}
    with connected(named) as conn, connected(dsns) as usual:
        assert conn.shards == ("east", "überall", "with space")
        which = (
            "SELECT oid::text || current_setting('data_directory') FROM pg_database"
            " WHERE datname = current_database()"
        )
        first, second, third = answers(usual, which)
        assert answers(conn, which) == [third, first, second]
        with conn.on("with space"):
            assert answers(conn, which) == [second]


def test_one_connection_string_is_a_drop_in(dsns):
    for args, kwargs in [
        ((dsns["s0"],), {}),
        (([dsns["s0"]],), {}),
        ((), {"dsn": dsns["s0"]}),
        ((), psycopg2.extensions.parse_dsn(dsns["s0"])),
        ((dsns["s0"], None, None), {}),
    ]:
        with connected(*args, **kwargs) as conn:
            assert conn.shards == ("s0",)
            assert answers(conn) == [1]
            with conn.cursor() as cur:
                cur.execute("CREATE TEMP TABLE t (a int)")
                cur.execute("INSERT INTO t VALUES (1)")
                assert cur.rowcount == 1


def test_over_one_shard_messages_are_psycopg2s(dsns):
    errors = []
    for connect in (psycopg2.connect, greenshard.connect):
        with (
            contextlib.closing(connect(dsns["s0"])) as conn,
            pytest.raises(psycopg2.Error) as caught,
        ):
            conn.cursor().execute("SELECT * FROM nothing")
        errors.append((str(caught.value), caught.value.pgcode, caught.value.pgerror))
    assert errors[0] == errors[1]


def test_uri_and_percent_encoding(dsns):
    parts = psycopg2.extensions.parse_dsn(dsns["s1"])
    host = parts["host"].replace("/", "%2F")
    uri = f"postgresql://{parts['user']}:{SECRET}@{host}:{parts['port']}/{parts['dbname']}"
    with connected([uri, dsns["s0"]]) as conn:
        assert answers(conn) == [1, 1]
        assert SECRET not in repr(conn) + conn.dsn


def test_keyword_arguments_go_to_every_shard(dsns):
    with connected(
        dsns, application_name="it's me", options="-c work_mem=7MB", connect_timeout=5
    ) as conn:
        assert answers(conn, "SHOW application_name") == ["it's me"] * 3
        assert answers(conn, "SHOW work_mem") == ["7MB"] * 3


def test_keyword_arguments_win_over_the_connection_strings(dsns):
    text = {name: f"{dsn} application_name=text" for name, dsn in dsns.items()}
    with connected(text, application_name="keyword") as conn:
        assert answers(conn, "SHOW application_name") == ["keyword"] * 3


def test_open_connections_can_be_shards(dsns):
    with contextlib.ExitStack() as opened:
        plain = [opened.enter_context(contextlib.closing(psycopg2.connect(d))) for d in
                 dsns.values()]  # fmt: skip
        for shards in (plain, dict(zip("abc", plain, strict=True)), plain[0]):
            conn = greenshard.connect(shards)
            expected = 1 if shards is plain[0] else 3
            assert answers(conn) == [1] * expected
            conn.commit()
            with conn.cursor() as cur:
                assert psycopg2.extensions.quote_ident("a", cur) == '"a"'
        assert conn.shards == ("s0",)
        assert isinstance(plain[0], plain_connection)


def test_open_connections_with_other_settings_are_refused(dsns):
    with contextlib.ExitStack() as opened:
        plain = [opened.enter_context(contextlib.closing(psycopg2.connect(d))) for d in
                 dsns.values()]  # fmt: skip
        plain[1].autocommit = True
        with pytest.raises(greenshard.ProgrammingError, match="differ in autocommit") as caught:
            greenshard.connect(plain)
        assert caught.value.code == "GS104"
        assert not any(each.closed for each in plain)


def test_new_connections_take_over_the_settings_of_open_ones(dsns):
    plain = psycopg2.connect(dsns["s1"])
    plain.set_session(isolation_level="SERIALIZABLE", readonly=True)
    with connected([dsns["s0"], plain]) as conn, conn.cursor() as cur:
        cur.execute("SHOW transaction_isolation")
        assert cur.fetchall() == [("serializable",)] * 2
        cur.execute("SHOW transaction_read_only")
        assert cur.fetchall() == [("on",)] * 2


@pytest.mark.parametrize("first", [True, False])
def test_open_connections_and_connection_strings_can_be_mixed(dsns, first):
    plain = psycopg2.connect(dsns["s1"])
    with connected([plain, dsns["s0"]] if first else [dsns["s0"], plain]) as conn:
        assert answers(conn) == [1, 1]
    assert plain.closed


@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1"])
def test_transaction_of_an_open_connection_is_not_rolled_back(dsns, encoding):
    with contextlib.ExitStack() as opened:
        first, second = (
            opened.enter_context(contextlib.closing(psycopg2.connect(dsns[name])))
            for name in ("s0", "s1")
        )
        second.set_client_encoding(encoding)
        second.cursor().execute("CREATE TEMP TABLE in_transaction ()")
        # With another encoding it may be refused, which leaves the transaction, too.
        with contextlib.suppress(greenshard.Error):
            opened.enter_context(contextlib.closing(greenshard.connect([first, second])))
        second.cursor().execute("SELECT FROM in_transaction")


def test_open_connection_whose_server_has_ended_is_refused_by_its_name(dsns):
    with contextlib.ExitStack() as opened:
        first, second, other = (
            opened.enter_context(contextlib.closing(psycopg2.connect(dsns[name])))
            for name in ("s0", "s1", "s1")
        )
        other.cursor().execute(f"SELECT pg_terminate_backend({second.info.backend_pid}, 5000)")
        with pytest.raises(greenshard.OperationalError, match="two") as caught:
            greenshard.connect({"one": first, "two": second})
        assert caught.value.shard == "two"
        first.cursor().execute("SELECT 1")


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_open_connections_may_be_in_a_transaction(dsns, end):
    """It goes on, savepoints too, and ends with that of the others."""
    plain = [psycopg2.connect(dsns[name]) for name in ("s0", "s1")]
    with contextlib.closing(greenshard.connect(plain)) as conn:
        conn.cursor().execute("CREATE TEMP TABLE kept (n int)")
        conn.commit()
        for each in plain:
            each.cursor().execute("INSERT INTO kept VALUES (1); SAVEPOINT before")
            each.cursor().execute("INSERT INTO kept VALUES (2)")
        with contextlib.closing(greenshard.connect(plain)) as again:
            cur = again.cursor()
            cur.execute("SELECT n FROM kept")
            assert sorted(cur.fetchall()) == [(1,), (1,), (2,), (2,)]
            cur.execute("ROLLBACK TO before")
            cur.execute("SELECT n FROM kept")
            assert cur.fetchall() == [(1,), (1,)]
            getattr(again, end)()
            cur.execute("SELECT n FROM kept")
            assert len(cur.fetchall()) == (2 if end == "commit" else 0)
            again.rollback()
            again.release()


def test_same_open_connection_cannot_be_two_shards(dsns):
    with contextlib.closing(psycopg2.connect(dsns["s0"])) as plain:
        with pytest.raises(greenshard.ProgrammingError, match="same open connection"):
            greenshard.connect([plain, plain])
        with connected([dsns["s0"]] * 2, allow_same_database=True) as conn:
            assert answers(conn) == [1, 1]


def test_closed_or_foreign_connections_are_refused(dsns):
    plain = psycopg2.connect(dsns["s0"])
    plain.close()
    with pytest.raises(psycopg2.InterfaceError, match=r"already closed.*shard"):
        greenshard.connect({"shard": plain})
    with connected(dsns) as conn, pytest.raises(greenshard.ProgrammingError, match="greenshard"):
        greenshard.connect([conn])


@pytest.mark.parametrize(
    "shards", [[], {}, (), 5, object(), [5], [None, 5], {1: "dbname=x"}, {"": "dbname=x"},
               {"a": 5}, [b"dbname=x"], {None: "dbname=x"}, [[]], 3.5, b"dbname=x"]
)  # fmt: skip
def test_strange_shards_are_refused_with_a_clear_error(shards):
    with pytest.raises(greenshard.ProgrammingError) as caught:
        greenshard.connect(shards)
    assert caught.value.code == "GS104"


def test_nothing_at_all_is_libpqs_defaults_as_in_psycopg2(dsns, monkeypatch):
    for name, value in psycopg2.extensions.parse_dsn(dsns["s1"]).items():
        monkeypatch.setenv({"dbname": "PGDATABASE"}.get(name, f"PG{name.upper()}"), value)
    for arguments in ((), (None,), ("",), ([""],)):
        with connected(*arguments) as conn:
            assert answers(conn) == [1]


def test_shards_and_dsn_together_are_a_type_error():
    with pytest.raises(TypeError, match="both"):
        greenshard.connect("dbname=a", dsn="dbname=b")


@pytest.mark.parametrize(
    "arguments",
    [{"timeout": -1}, {"timeout": "soon"}, {"timeout": float("nan")}, {"timeout": float("inf")},
     {"cancel_grace": -1}, {"cancel_grace": "x"}, {"connect_timeout": "soon"},
     {"on_error": "ignore"}, {"on_error": None}, {"connect_timeout": float("nan")}],
)  # fmt: skip
def test_strange_arguments_are_refused(dsns, arguments):
    with pytest.raises(greenshard.ProgrammingError):
        greenshard.connect(dsns, **arguments)


def test_unknown_keyword_is_refused_without_the_password(dsns):
    with pytest.raises(psycopg2.ProgrammingError) as caught:
        greenshard.connect(dsns, password=SECRET, nonsense=SECRET)
    assert SECRET not in whole(caught.value)


def whole(error):
    """Everything that a log could show of an error."""
    return "".join(traceback.format_exception(type(error), error, None)) + repr(vars(error))


@pytest.mark.parametrize("text", [f"postgresql://u:{SECRET}@[bad", f"host=x password {SECRET}"])
def test_bad_connection_string_is_refused_without_the_password(dsns, text):
    with pytest.raises(greenshard.ProgrammingError) as caught:
        greenshard.connect({**dsns, "bad": text})
    assert caught.value.code == "GS102"
    assert SECRET not in whole(caught.value)


def test_passphrase_of_a_client_key_is_not_shown(dsns):
    secrets = f"password={SECRET} sslpassword={SECRET}"
    plain = psycopg2.connect(f"{dsns['s0']} {secrets}")
    for shards in ([f"{dsn} {secrets}" for dsn in dsns.values()], plain):
        with connected(shards) as conn:
            shown = [conn.dsn, conn.info.dsn_parameters, conn.get_dsn_parameters(), conn]
            assert SECRET not in repr(shown)
            assert "password=xxx" in conn.dsn
            assert psycopg2.extensions.parse_dsn(conn.dsn)["sslpassword"] == "xxx"


def test_error_names_the_shard_that_failed_and_why(dsns):
    with pytest.raises(greenshard.OperationalError, match='"never" does not exist') as caught:
        greenshard.connect({**dsns, "s1": dsns["s1"] + f" dbname=never password={SECRET}"})
    assert caught.value.shard == "s1"
    assert "s1" in str(caught.value)
    assert SECRET not in whole(caught.value)


def test_error_names_every_shard_that_failed(dsns, refusing, silent):
    shards = {"good": dsns["s0"], "refusing": refusing, "silent": silent,
              "never": dsns["s1"] + " dbname=never"}  # fmt: skip
    with pytest.raises(greenshard.FanoutError) as caught:
        greenshard.connect(shards, connect_timeout=0.5)
    error = caught.value
    assert isinstance(error, greenshard.OperationalError)
    assert error.code == "GS101"
    assert set(error.failures) == {"refusing", "silent", "never"}
    for words in ("3 of 4 shards", "refusing:", "Connection refused", "silent:", "within 0.5 s",
                  "never:", "does not exist"):  # fmt: skip
        assert words in str(error)
    assert SECRET not in whole(error)
    assert isinstance(pickle.loads(pickle.dumps(error)), greenshard.FanoutError)


def test_connect_timeout_of_the_argument_or_the_string_is_honoured(silent):
    for shards, arguments in [
        ([silent], {"connect_timeout": 0.2}),
        ([silent, silent], {"connect_timeout": 0.2}),
        ([f"{silent} connect_timeout=1"], {}),
    ]:
        started = time.monotonic()
        with pytest.raises(greenshard.OperationalError, match="timeout expired"):
            greenshard.connect(shards, **arguments)
        assert time.monotonic() - started < 10


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc")
def test_failed_opening_leaves_no_socket(dsns, silent):
    def sockets():
        return len(list(Path("/proc/self/fd").iterdir()))

    with pytest.raises(greenshard.OperationalError):
        greenshard.connect({**dsns, "silent": silent}, connect_timeout=0.1)
    before = sockets()
    for _ in range(3):
        with pytest.raises(greenshard.OperationalError):
            greenshard.connect({**dsns, "silent": silent}, connect_timeout=0.1)
    assert sockets() <= before


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a..b", "x" * 70 + ".invalid"])
def test_unknown_host_is_an_operational_error_and_prints_nothing(dsns, host, capfd):
    for shards in (f"host={host}", {**dsns, "s1": f"host={host} password={SECRET}"}):
        with pytest.raises(greenshard.OperationalError, match="could not translate host") as caught:
            greenshard.connect(shards)
        assert SECRET not in whole(caught.value)
    assert caught.value.shard == "s1"
    assert capfd.readouterr().err == ""


def test_repr_of_a_connection_that_was_never_opened():
    assert "not open" in repr(greenshard.Connection.__new__(greenshard.Connection))
