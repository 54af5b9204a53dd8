"""Whether a connection that failed would fail again: it was rejected, rather than not answered.

A server that says "password authentication failed" is up, and will say the same in a minute: what
must change is how the shard is declared, or the server's ``pg_hba.conf``. The server's SQLSTATE
tells, whatever language it speaks. What libpq itself finds wrong comes without one, in English.
"""

from __future__ import annotations

import re

#: Classes of the server's codes, and codes, that stay as long as nobody changes anything: wrong
#: values, no such parameter, role, password or database, no right to connect, an old protocol.
_REJECTING = ("22", "28", "3D", "42", "0A")

# As libpq writes them when it is asked for all: severity (in the server's language), code, text.
_CODE = re.compile(r"(?<=:  )([0-9A-Z]{5}): ")
_LOCATION = re.compile(r"^\S+:  (?:\w+, )?[\w./-]+:\d+\n?", re.MULTILINE)

#: What libpq says of the parameters, of passwords and of certificates. Not of lost connections:
#: "SSL SYSCALL error: EOF detected". And what servers say, where the program's own wait callback
#: does not let other greenlets run, so that the codes cannot be had.
_LOCAL = re.compile(
    r"""
    no\ password\ supplied | empty\ password | authentication\ method | channel\ binding
    | \binvalid\ .*(?:value|option|number|timeout) | service\ file | definition\ of\ service
    | could\ not\ match\ \d+ | certificate | private\ key | unknown\ ca\b
    | SSL\ was\ required | GSSAPI .* required
    | SSL\ error:\ .*(?:version|protocol|handshake\ failure)
    | could\ not\ (?:load|open|read) .* file
    | FATAL: .*(?:password\ authentication|pg_hba\.conf|(?:role|database)\ ".*"\ does\ not\ exist)
    """,
    re.VERBOSE | re.IGNORECASE,
)


def read_failure(message: str) -> tuple[str, str | None, bool]:
    r"""Read what libpq says when connecting fails, with all that it was asked to tell.

    Returns:
        What to show; the server's code, if it was a server that answered; whether that stays.

    >>> read_failure('FATAL:  28P01: wrong\nLOCATION:  auth_failed, auth.c:317\n')
    ('FATAL:  wrong\n', '28P01', True)
    >>> read_failure('FATAL:  57P03: the database system is starting up\n')
    ('FATAL:  the database system is starting up\n', '57P03', False)
    >>> read_failure('Connection refused\n')
    ('Connection refused\n', None, False)
    """
    codes = _CODE.findall(message)
    shown = _CODE.sub("", message)
    if not codes:
        return shown, None, _LOCAL.search(message) is not None
    # Of several hosts or ways of encryption, the last one decided.
    return _LOCATION.sub("", shown), codes[-1], codes[-1].startswith(_REJECTING)
