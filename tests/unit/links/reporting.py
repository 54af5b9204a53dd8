"""psycopg2's connection to a server that reports settings, and does nothing else."""

from __future__ import annotations

import contextlib

import psycopg2

from tests.fault.strange_server import PARAMETERS, message, ready, reported, strange_server

CONFORMING = b"standard_conforming_strings"
ENCODING = b"client_encoding"


@contextlib.contextmanager
def reporting_session(first=(), later=()):
    """A connection.

    Args:
        first: What its server reports otherwise than most do, by name.
        later: Likewise, once it is connected.
    """
    answer = reported(dict(later)) + message(b"C", b"SET\0") + ready(b"I")
    parameters = {**PARAMETERS, **dict(first)}
    with (
        strange_server(answer=answer, parameters=parameters) as dsn,
        contextlib.closing(psycopg2.connect(dsn)) as raw,
    ):
        raw.autocommit = True
        raw.cursor().execute("SET")
        yield raw
