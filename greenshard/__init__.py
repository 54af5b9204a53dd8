"""Query many PostgreSQL shards as if they were one, from gevent code."""

from __future__ import annotations

from greenshard._driver import (
    BINARY,
    DATETIME,
    NUMBER,
    ROWID,
    STRING,
    Binary,
    Date,
    DateFromTicks,
    Time,
    TimeFromTicks,
    Timestamp,
    TimestampFromTicks,
)
from greenshard.cluster import Cluster, Reference, Sharded, Single
from greenshard.connection import Connection
from greenshard.cursor import Cursor
from greenshard.dbapi import apilevel, connect, paramstyle, threadsafety
from greenshard.errors import (
    ConnectionRejected,
    DatabaseError,
    DataError,
    Error,
    FanoutError,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    PartialCommitError,
    PartialResultWarning,
    PoolClosed,
    PoolFull,
    PoolTimeout,
    ProgrammingError,
    QueryTimeout,
    ShardUnavailable,
    TransactionInDoubt,
    Warning,
)
from greenshard.executor.answers.answer import ShardTiming
from greenshard.initializing import init
from greenshard.parallel import ParallelConnection
from greenshard.pool.pool import Pool
from greenshard.pool.stats import PoolStats, ShardStats
from greenshard.recovering import Outcome, outcome, recover
from greenshard.retrying import retry
from greenshard.transaction.verdict import FinishedPart, InDoubtPart, RecoveryReport

__version__ = "0.1.0.dev0"

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Binary",
    "Cluster",
    "Connection",
    "ConnectionRejected",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Error",
    "FanoutError",
    "FinishedPart",
    "InDoubtPart",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "Outcome",
    "ParallelConnection",
    "PartialCommitError",
    "PartialResultWarning",
    "Pool",
    "PoolClosed",
    "PoolFull",
    "PoolStats",
    "PoolTimeout",
    "ProgrammingError",
    "QueryTimeout",
    "RecoveryReport",
    "Reference",
    "ShardStats",
    "ShardTiming",
    "ShardUnavailable",
    "Sharded",
    "Single",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "TransactionInDoubt",
    "Warning",
    "apilevel",
    "connect",
    "init",
    "outcome",
    "paramstyle",
    "recover",
    "retry",
    "threadsafety",
]
