"""What can go wrong with embedded shards."""

from __future__ import annotations

__all__ = ["PostgresNotFound", "ShardError"]


class ShardError(RuntimeError):
    """An embedded shard could not do what was asked of it.

    The message ends with the last lines of the server's log where there is one.
    """


class PostgresNotFound(ShardError):
    """There is no PostgreSQL to start servers from."""
