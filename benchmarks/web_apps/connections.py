"""The pool that those share who have written their own."""

from __future__ import annotations

from typing import Any

import psycopg2
from web_scene import POOL_SIZE

from web_apps.view import Rows


class Connections:
    """At most `POOL_SIZE` connections to one shard, each opened when it is first needed.

    Args:
        dsn: The shard's.
        free: An empty queue; who finds it empty waits in it, in a thread or in a greenlet.
    """

    def __init__(self, dsn: str, free: Any) -> None:
        self._dsn = dsn
        self._free = free
        for _ in range(POOL_SIZE):
            free.put(None)

    def ask(self, statement: str, values: tuple[int, int], *, autocommit: bool = True) -> Rows:
        """Run a statement on a connection that is free; the caller keeps to one `autocommit`."""
        connection = self._free.get()
        try:
            if connection is None:
                connection = psycopg2.connect(self._dsn)
                connection.autocommit = autocommit
            cursor = connection.cursor()
            cursor.execute(statement, values)
            rows: Rows = cursor.fetchall()
            if not autocommit:
                connection.commit()
        except BaseException:
            # Nobody knows what state it is in.
            if connection is not None:
                connection.close()
            connection = None
            raise
        finally:
            self._free.put(connection)
        return rows
