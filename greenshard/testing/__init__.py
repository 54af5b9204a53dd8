"""Real PostgreSQL shards for tests and demos.

::

    import greenshard
    from greenshard.testing import Shards

    with Shards(2) as shards, greenshard.connect(shards.dsns) as conn:
        cur = conn.cursor()
        cur.execute("SELECT current_setting('unix_socket_directories')")
        print(cur.fetchall())

In pytest the fixtures ``greenshard_shards`` and ``greenshard_dsns`` give the same, see
`greenshard.testing.pytest_plugin`.
"""

from __future__ import annotations

from greenshard.testing.shard import Shard
from greenshard.testing.shard_errors import PostgresNotFound, ShardError
from greenshard.testing.shards import Shards

__all__ = ["PostgresNotFound", "Shard", "ShardError", "Shards"]
