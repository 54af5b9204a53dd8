from __future__ import annotations

import pickle
import traceback

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from greenshard import _green, errors
from greenshard._driver import Dsn

SECRET = "s3cr&t"
ADDRESSES = {
    "db": ["10.0.0.1"],
    "both": ["10.0.0.2", "fe80::2"],
    "localhost": ["::1", "127.0.0.1"],
}


@pytest.fixture(autouse=True)
def lookups(monkeypatch):
    """The names that were looked up, with a resolver that knows only a few."""
    asked = []

    def resolve(host):
        asked.append(host)
        if host not in ADDRESSES:
            raise OSError(-2, "Name or service not known")
        return ADDRESSES[host]

    monkeypatch.setattr(_green, "resolve", resolve)
    for name in ("PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    return asked


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:s3cr%26t@db:5433/app",
        "postgres://u@db:5433/app?password=s3cr%26t",
        f"host=db port=5433 dbname=app user=u password={SECRET}",
        f"host=db port=5433 dbname=app user=u password='{SECRET}'",
    ],
)
def test_uri_and_pairs_mean_the_same_and_neither_shows_the_password(text):
    dsn = Dsn(text)
    assert parse_dsn(dsn.text) == {
        "host": "db", "port": "5433", "dbname": "app", "user": "u", "password": SECRET,
    }  # fmt: skip
    assert SECRET not in repr(dsn) + str(dsn) + f"{dsn}" + repr([dsn])
    assert "app" in repr(dsn)
    assert dsn.public == {"host": "db", "port": "5433", "dbname": "app", "user": "u"}


@pytest.mark.parametrize("parameter", ["password", "sslpassword", "passfile"])
def test_every_parameter_that_is_secret_is_hidden(parameter):
    dsn = Dsn("host=db", **{parameter: SECRET})
    assert parse_dsn(dsn.text)[parameter] == SECRET
    if parameter != "passfile":
        assert SECRET not in repr(dsn)


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://u:{SECRET}@[bad",
        f"postgresql://u:{SECRET}@db:port/x?unknown=1",
        f"postgresql://u@db/x?password={SECRET}&nonsense={SECRET}",
        f"postgresql://u:%zz{SECRET}@db",
        f"host=x password {SECRET}",
        f"password='{SECRET}",
        f"host=x password={SECRET} nonsense=1",
        f"passwrd={SECRET}",
        f"{SECRET}",
        f"host=x {SECRET}=1",
    ],
)
def test_connection_string_that_cannot_be_read_is_not_quoted(text):
    with pytest.raises(errors.ProgrammingError, match="cannot be read") as caught:
        Dsn(text)
    error = caught.value
    assert isinstance(error, psycopg2.ProgrammingError)
    assert error.code == "GS102"
    # Nor may it hang on the error as its cause or context, which a traceback would print.
    shown = "".join(traceback.format_exception(type(error), error, None))
    assert SECRET not in shown
    assert error.__context__ is None or error.__suppress_context__


def test_pickled_or_reported_error_of_a_bad_string_holds_no_password():
    with pytest.raises(errors.ProgrammingError) as caught:
        Dsn(f"postgresql://u:{SECRET}@[bad")
    assert SECRET.encode() not in pickle.dumps(caught.value)


def test_keyword_arguments_win_over_the_text():
    dsn = Dsn("host=db dbname=a user=u", dbname="b", application_name="it's", port=1)
    assert parse_dsn(dsn.text) == {
        "host": "db", "dbname": "b", "user": "u", "application_name": "it's", "port": "1",
    }  # fmt: skip
    assert parse_dsn(Dsn("host=db dbname=a", dbname=None).text)["dbname"] == "a"
    assert parse_dsn(Dsn("", database="x").text) == {"dbname": "x"}


def test_unknown_keyword_argument_is_refused_without_its_value():
    with pytest.raises(errors.ProgrammingError) as caught:
        Dsn("host=db", passwrd=SECRET)
    assert SECRET not in str(caught.value)


def test_empty_string_is_libpqs_defaults():
    assert Dsn("").text == ""
    assert Dsn().route().text == ""


def resolved(text, **parameters):
    return parse_dsn(Dsn(text, **parameters).route().text)


def test_name_is_resolved_and_kept_for_tls_and_the_password_file():
    assert resolved("host=db dbname=a") == {"host": "db", "hostaddr": "10.0.0.1", "dbname": "a"}


def test_every_address_of_a_name_is_tried():
    found = resolved("host=both port=5433")
    assert found == {"host": "both,both", "hostaddr": "10.0.0.2,fe80::2", "port": "5433,5433"}


def test_several_hosts_keep_their_ports_whatever_is_resolved():
    found = resolved("host=db,/run/pg,10.9.9.9,both port=1,2,3,4")
    assert found == {
        "host": "db,/run/pg,10.9.9.9,both,both",
        "hostaddr": "10.0.0.1,,,10.0.0.2,fe80::2",
        "port": "1,2,3,4,4",
    }


def test_several_hosts_of_a_uri_are_resolved():
    found = resolved("postgresql://u@db:1,[::1]:2/app")
    assert found["host"] == "db,::1"
    assert found["hostaddr"].split(",")[0] == "10.0.0.1"
    assert found["port"] == "1,2"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dbname=a",
        "host=/var/run/postgresql",
        "host=@abstract",
        "host=10.0.0.1",
        "host=::1",
        "host=fe80::1",
        "postgresql://[fe80::1]:5432/a",
        "host=unknown hostaddr=10.0.0.3",
        "service=other host=unknown",
        "host='' dbname=a",
    ],
)
def test_what_is_no_name_is_not_looked_up(text, lookups):
    given = parse_dsn(text) if text else {}
    assert parse_dsn(Dsn(text).route().text or "dbname=''").items() >= given.items()
    assert lookups == []


@pytest.mark.parametrize("variable", ["PGHOSTADDR", "PGSERVICE"])
def test_environment_that_names_the_server_is_left_to_libpq(variable, monkeypatch, lookups):
    monkeypatch.setenv(variable, "10.0.0.9")
    assert resolved("host=db") == {"host": "db"}
    assert lookups == []


def test_host_and_port_of_the_environment_are_used(monkeypatch):
    monkeypatch.setenv("PGHOST", "both")
    monkeypatch.setenv("PGPORT", "7")
    found = resolved("dbname=a")
    assert found["hostaddr"] == "10.0.0.2,fe80::2"
    assert found.get("port") == "7,7"


def test_wrong_number_of_ports_is_left_to_libpq(lookups):
    assert resolved("host=db,both,db port=1,2") == {"host": "db,both,db", "port": "1,2"}
    assert lookups == []


def test_name_that_is_not_found_is_an_operational_error_like_libpqs():
    with pytest.raises(psycopg2.OperationalError, match="could not translate host name 'nowhere'"):
        Dsn(f"host=nowhere password={SECRET}").route()


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example"])
def test_name_that_is_no_name_is_an_operational_error_too(host, monkeypatch):
    def resolve(host):
        raise UnicodeError("encoding with 'idna' codec failed (label empty or too long)")

    monkeypatch.setattr(_green, "resolve", resolve)
    with pytest.raises(psycopg2.OperationalError, match="could not translate host name"):
        Dsn(f"host={host}").route()


def test_one_of_several_names_that_is_not_found_does_not_stop_the_others():
    # libpq tries the next host.
    found = resolved("host=nowhere,db port=1,2")
    assert "10.0.0.1" in found["hostaddr"]


@pytest.mark.parametrize(("text", "seconds"), [("", None), ("3", 3.0), ("0", 0.0), ("-1", -1.0)])
def test_connect_timeout_is_read_from_the_string(text, seconds):
    assert Dsn(f"host=db connect_timeout='{text}'" if text else "").connect_timeout_s == seconds


def test_connect_timeout_that_is_no_number_is_refused():
    with pytest.raises(errors.ProgrammingError, match="not a number of seconds"):
        _ = Dsn("connect_timeout=soon").connect_timeout_s
