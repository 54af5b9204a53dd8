"""The arguments of `greenshard.connect` and `greenshard.Pool`, for type checkers.

    greenshard.connect("cluster.toml", timout=3)     # mypy: there is no such argument

libpq's own (PostgreSQL documentation, 34.1.2) may be given, too, for all shards.
"""

from __future__ import annotations

from typing import Literal, TypedDict

from greenshard.events import Listener

#: What is done when a shard fails.
OnError = Literal["raise", "partial"]


class LibpqArguments(TypedDict, total=False):
    """libpq's parameters, but for ``connect_timeout``, which is of all shards together."""

    database: str
    application_name: str | int
    channel_binding: str | int
    client_encoding: str | int
    dbname: str | int
    gssdelegation: str | int
    gssencmode: str | int
    gsslib: str | int
    host: str | int
    hostaddr: str | int
    keepalives: str | int
    keepalives_count: str | int
    keepalives_idle: str | int
    keepalives_interval: str | int
    krbsrvname: str | int
    load_balance_hosts: str | int
    max_protocol_version: str | int
    min_protocol_version: str | int
    options: str | int
    passfile: str | int
    password: str | int
    port: str | int
    replication: str | int
    require_auth: str | int
    requirepeer: str | int
    requiressl: str | int
    scram_client_key: str | int
    scram_server_key: str | int
    service: str | int
    servicefile: str | int
    ssl_max_protocol_version: str | int
    ssl_min_protocol_version: str | int
    sslcert: str | int
    sslcertmode: str | int
    sslcompression: str | int
    sslcrl: str | int
    sslcrldir: str | int
    sslkey: str | int
    sslkeylogfile: str | int
    sslmode: str | int
    sslnegotiation: str | int
    sslpassword: str | int
    sslrootcert: str | int
    sslsni: str | int
    target_session_attrs: str | int
    tcp_user_timeout: str | int
    user: str | int


class OpeningArguments(LibpqArguments, total=False):
    """What says how a connection is opened, and what it allows."""

    connect_timeout: float | None
    on_error: OnError
    cancel_grace: float
    allow_scatter: bool
    allow_gather: bool
    gather_limit: int
    allow_same_database: bool
    max_held_bytes: int
    check: bool
    two_phase: bool | None
    deadlock_timeout_s: float | None


class ConnectArguments(OpeningArguments, total=False):
    """All that `greenshard.connect` takes by name, but its factories."""

    dsn: object
    timeout: float | None
    on_event: Listener | None
