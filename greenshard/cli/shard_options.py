"""Which shards a command runs on: ``-s DSN``, ``-s name=DSN``, or ``GREENSHARD_SHARDS``.

No message of this module quotes a DSN: it may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

VARIABLE = "GREENSHARD_SHARDS"

# libpq's parameters that a DSN may begin with (PostgreSQL documentation, 32.1.2). One of them
# before the first "=" begins a DSN, not a name.
KEYWORDS = frozenset(
    [
        "application_name",
        "channel_binding",
        "client_encoding",
        "connect_timeout",
        "dbname",
        "gssdelegation",
        "gssencmode",
        "gsslib",
        "host",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "krbsrvname",
        "load_balance_hosts",
        "max_protocol_version",
        "min_protocol_version",
        "options",
        "passfile",
        "password",
        "port",
        "replication",
        "require_auth",
        "requirepeer",
        "requiressl",
        "scram_client_key",
        "scram_server_key",
        "service",
        "servicefile",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcertmode",
        "sslcompression",
        "sslcrl",
        "sslcrldir",
        "sslkey",
        "sslkeylogfile",
        "sslmode",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
        "sslsni",
        "target_session_attrs",
        "tcp_user_timeout",
        "user",
    ]
)

URL = re.compile(r"postgres(ql)?://")
NAMED = re.compile(r"(?P<name>[A-Za-z_][\w.-]*)=(?P<dsn>.*)", re.DOTALL)
FIRST_KEYWORD = re.compile(r"\s*(\w+)\s*=")


class BadShards(Exception):
    """The shards cannot be understood."""


def shards_of(texts: Iterable[str]) -> dict[str, str]:
    """Read shards, each ``DSN`` or ``name=DSN``.

    Returns:
        DSNs by name. A shard without a name is called ``s`` and its position, from 0.

    Raises:
        BadShards: two have one name.

    >>> shards_of(["dbname=a", "west=postgresql://db1/b"])
    {'s0': 'dbname=a', 'west': 'postgresql://db1/b'}
    """
    shards: dict[str, str] = {}
    for position, text in enumerate(texts):
        name, dsn = split_name(text)
        name = name or f"s{position}"
        if name in shards:
            raise BadShards(f"two shards are called {name}")
        shards[name] = dsn
    return shards


def split_name(text: str) -> tuple[str | None, str]:
    """Tell ``name=DSN`` from ``DSN``, which may begin with ``keyword=`` itself.

    >>> split_name("west=host=db1 dbname=b"), split_name("host=db1 dbname=b")
    (('west', 'host=db1 dbname=b'), (None, 'host=db1 dbname=b'))
    """
    text = text.strip()
    match = NAMED.fullmatch(text)
    if match and match["name"] not in KEYWORDS and _is_dsn(match["dsn"]):
        return match["name"], match["dsn"]
    return None, text


def split_variable(value: str) -> list[str]:
    r"""Split the value of ``GREENSHARD_SHARDS``: one shard a line, or URLs between spaces.

    >>> split_variable("postgresql://a/x west=postgresql://b/x")
    ['postgresql://a/x', 'west=postgresql://b/x']
    >>> split_variable("host=a dbname=x\nhost=b dbname=x")
    ['host=a dbname=x', 'host=b dbname=x']
    """
    texts: list[str] = []
    for line in filter(None, map(str.strip, value.splitlines())):
        words = line.split()
        all_urls = all(URL.match(split_name(word)[1]) for word in words)
        texts += words if all_urls else [line]
    return texts


def _is_dsn(text: str) -> bool:
    first = FIRST_KEYWORD.match(text)
    return bool(URL.match(text)) or (first is not None and first[1] in KEYWORDS)
