from __future__ import annotations

import pytest

from greenshard.links.rejection import read_failure

WHERE = 'connection to server at "db" (10.0.0.1), port 5432 failed: '


@pytest.mark.parametrize(
    ("message", "code", "stays"),
    [
        ("FATAL:  28P01: wrong\nLOCATION:  auth_failed, auth.c:317\n", "28P01", True),
        ("FATÁL:  3D000: nem\nHELY:  InitPostgres, postinit.c:1\n", "3D000", True),
        ("FATAL:  28000: no\nDETAIL:  why\nHINT:  do\n", "28000", True),
        ("FATAL:  53300: sorry, too many clients already\n", "53300", False),
        ("FATAL:  57P03: starting up\n", "57P03", False),
        (f"{WHERE}FATAL:  42501: denied\n", "42501", True),
        # The first host was down, the second knows no such database.
        (f"{WHERE}Connection refused\n{WHERE}FATAL:  3D000: no\n", "3D000", True),
        # The first wants encryption, the second is starting up.
        (f"{WHERE}FATAL:  28000: a\n{WHERE}FATAL:  57P03: b\n", "57P03", False),
        (f"{WHERE}Connection refused\n", None, False),
    ],
)
def test_server_tells_by_its_code_whether_it_rejects(message, code, stays):
    assert read_failure(message)[1:] == (code, stays)


def test_code_and_place_in_the_servers_source_are_not_shown():
    message = f"{WHERE}FATAL:  28P01: wrong\nDETAIL:  why\nLOCATION:  auth_failed, auth.c:317\n"
    assert read_failure(message)[0] == f"{WHERE}FATAL:  wrong\nDETAIL:  why\n"


@pytest.mark.parametrize(
    "message",
    [
        "fe_sendauth: no password supplied",
        'FATAL:  password authentication failed for user "x"',
        'root certificate file "/nowhere" does not exist\nEither provide the file or change it',
        "SSL error: certificate verify failed",
        "SSL error: tlsv1 alert unknown ca",
        "SSL error: unsupported protocol",
        'server certificate for "a" does not match host name "b"',
        'private key file "/k" has group or world access; file must have permissions u=rw',
        "server does not support SSL, but SSL was required",
        'invalid sslmode value: "bogus"',
        'invalid port number: "x"',
        "could not match 2 port numbers to 3 hosts",
        'definition of service "nonsuch" not found',
        'authentication method requirement "none" failed: server requested SASL authentication',
    ],
)
def test_what_libpq_finds_wrong_itself_stays(message):
    assert read_failure(message) == (message, None, True)


@pytest.mark.parametrize(
    "message",
    [
        "Connection refused\n\tIs the server running on that host and accepting connections?",
        "SSL SYSCALL error: EOF detected",
        "SSL error: unexpected eof while reading",
        "server closed the connection unexpectedly\n\tThis probably means the server terminated",
        "No route to host",
        "timeout expired",
        "could not translate host name 'x' to address: Temporary failure in name resolution",
        "session is read-only",
        "server is not in hot standby mode",
        "could not receive data from server: Connection reset by peer",
        "",
    ],
)
def test_what_passes_is_no_rejection(message):
    assert read_failure(message)[1:] == (None, False)
