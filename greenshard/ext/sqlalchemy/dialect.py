"""SQLAlchemy's dialect ``postgresql+greenshard``: psycopg2's, over a cluster.

::

    create_engine("postgresql+greenshard:///?cluster=cluster.toml")
    create_engine("postgresql+greenshard://", cluster=cluster)     # a Cluster, a path, or a Pool
    create_engine("postgresql+greenshard://app@db0/shop")          # one shard

psycopg2's dialect does nearly all. Here is what it cannot know: where the shards are, that a
connection is as good as the worst of its shards', and what statements may be told
(`execution_options`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from types import ModuleType
from typing import Any

from sqlalchemy import MetaData, Table, event, pool, util
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.engine import URL, Connection
from sqlalchemy.engine.characteristics import ConnectionCharacteristic

import greenshard
from greenshard import dbapi, errors
from greenshard.arguments import unusable
from greenshard.cluster import Cluster, Reference
from greenshard.cluster.mistakes import kind
from greenshard.ext.sqlalchemy.execution_options import ExecutionContext, limits_of
from greenshard.ext.sqlalchemy.models import check

#: Where the versions of Alembic's migrations are: every shard has them.
ALEMBIC_VERSION = "alembic_version"
#: Arguments of `greenshard.connect` that are no text, in a URL.
_TYPES: Mapping[str, type] = {
    **dict.fromkeys(
        ("allow_gather", "allow_same_database", "allow_scatter", "check", "two_phase"), bool
    ),
    **dict.fromkeys(("gather_limit", "max_held_bytes"), int),
}
#: Codes of errors after which a connection can be used no more.
_GONE = frozenset({"GS203", "GS303"})


class _Snapshot(ConnectionCharacteristic):
    """The execution option ``greenshard_snapshot``: see `greenshard.Connection.set_session`."""

    transactional = True

    def set_characteristic(self, dialect: Any, dbapi_connection: Any, value: Any) -> None:
        dbapi_connection.consistent = value

    def get_characteristic(self, dialect: Any, dbapi_connection: Any) -> Any:
        return dbapi_connection.consistent

    def reset_characteristic(self, dialect: Any, dbapi_connection: Any) -> None:
        dbapi_connection.consistent = False


class GreenshardDialect(PGDialect_psycopg2):
    """PostgreSQL's dialect over a cluster.

    Args:
        cluster: A `greenshard.Cluster`, the path of its TOML file, or a `greenshard.Pool`, which
            then is the engine's pool. None: the URL says (``?cluster=...``), or names one shard.
        metadata: Models that are compared with the cluster when the engine is made.
        arguments: Those of SQLAlchemy's dialect for psycopg2.

    Attributes:
        cluster: What the engine's connections are to; None for one shard.
    """

    driver = "greenshard"
    supports_statement_cache = True
    execution_ctx_cls = ExecutionContext
    connection_characteristics = PGDialect_psycopg2.connection_characteristics.union(
        {"greenshard_snapshot": _Snapshot()}
    )
    cluster: Cluster | None = None

    def __init__(self, cluster: Any = None, metadata: Any = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._given, self._metadata = cluster, metadata
        self._pool = cluster if isinstance(cluster, greenshard.Pool) else None

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        """greenshard's, which says that it is psycopg2 of the version that is there."""
        return dbapi

    # Where the shards are -------------------------------------------------------------------

    def create_connect_args(self, url: URL) -> tuple[Sequence[Any], dict[str, Any]]:
        """The arguments of `greenshard.connect`.

        Raises:
            greenshard.ProgrammingError: The cluster's file has mistakes, the models do not fit it,
                or the URL says something else than the cluster.
        """
        url, given = _without_cluster(url, self._given)
        positional, named = super().create_connect_args(url)
        for name, type_ in _TYPES.items():
            util.coerce_kw_type(named, name, type_)
        if given is None:
            return positional, named
        if twice := {"host", "port", "dbname"} & named.keys():
            raise unusable(
                f"the URL has {', '.join(sorted(twice))}, but the cluster says where its shards are"
            )
        if self._pool is not None:
            if named:
                raise unusable("the pool is there already: what the URL says cannot be applied")
            self.cluster = self._pool.cluster
        else:
            self.cluster = _cluster(given)
        if self.cluster is not None and self._metadata is not None:
            check(self.cluster, self._metadata.tables.values())
        return (self.cluster,), named

    def get_dialect_pool_class(self, url: URL) -> type[pool.Pool]:
        """SQLAlchemy's own pool, unless greenshard's does its work."""
        return pool.QueuePool if self._pool is None else pool.NullPool

    def connect(self, *positional: Any, **named: Any) -> Any:
        """A connection, of greenshard's pool if there is one. Switches: yes."""
        if self._pool is not None:
            return self._pool.getconn()
        return super().connect(*positional, **named)

    # How connections are --------------------------------------------------------------------

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Ask every shard. Switches: yes."""
        dbapi_connection.ping()
        return True

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """Whether the connection to a shard is gone, and with it this one."""
        if getattr(e, "code", None) in _GONE:
            return True
        return bool(super().is_disconnect(e, connection, cursor))

    def do_close(self, dbapi_connection: Any) -> None:
        """Close; what a fork has brought here is left to the process that opened it."""
        try:
            super().do_close(dbapi_connection)
        except errors.InterfaceError as error:
            if error.code != "GS303":
                raise

    # How statements are run -----------------------------------------------------------------

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        with limits_of(context):
            cursor.execute(statement, parameters)

    def do_execute_no_params(self, cursor: Any, statement: str, context: Any = None) -> None:
        with limits_of(context):
            cursor.execute(statement)

    def do_executemany(
        self, cursor: Any, statement: str, parameters: Any, context: Any = None
    ) -> None:
        with limits_of(context):
            super().do_executemany(cursor, statement, parameters, context)


def _without_cluster(url: URL, given: Any) -> tuple[URL, Any]:
    """A URL without ``?cluster=...``, and what that, or an argument, says the cluster is.

    Raises:
        errors.ProgrammingError: Both do.
    """
    named = url.query.get("cluster")
    if named is None:
        return url, given
    if given is not None or not isinstance(named, str):
        raise unusable("the cluster is given twice")
    return url.difference_update_query(["cluster"]), named


def _cluster(given: Any) -> Cluster:
    """The cluster that is given, or whose file is; Alembic's table is on every shard.

    Raises:
        errors.ProgrammingError: It is none, or has mistakes.
    """
    if isinstance(given, (str, PathLike)):
        given = Cluster.from_toml(given)
    if not isinstance(given, Cluster):
        what = "a greenshard.Cluster, the path of its TOML file, or a greenshard.Pool"
        raise unusable(f"cluster must be {what}, not {kind(given)}")
    if not given.tables or given.table("public", ALEMBIC_VERSION) is not None:
        return given
    return given.with_tables({ALEMBIC_VERSION: Reference()})


def _check_created(tables: Collection[Table], connection: Connection) -> None:
    """See that tables which are about to be created can be right on a cluster.

    Raises:
        greenshard.ProgrammingError: One cannot; the message has all reasons.
    """
    cluster = getattr(connection.dialect, "cluster", None)
    if isinstance(cluster, Cluster):
        check(cluster, tables)


@event.listens_for(MetaData, "before_create")
def _before_all(_target: MetaData, connection: Connection, tables: Any = (), **_: Any) -> None:
    _check_created(tables, connection)


@event.listens_for(Table, "before_create")
def _before_one(
    target: Table, connection: Connection, _is_metadata_operation: bool = False, **_: Any
) -> None:
    if not _is_metadata_operation:  # else it was looked at with the others
        _check_created([target], connection)
