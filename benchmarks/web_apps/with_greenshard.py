"""greenshard and its pool."""

from __future__ import annotations

from web_scene import POOL_SIZE

from greenshard import Pool
from web_apps.view import DSNS, Rows, wsgi

pool = Pool(DSNS, max_size=POOL_SIZE, timeout=30.0)


def in_autocommit(statement: str, values: tuple[int, int]) -> Rows:
    with pool.connection() as conn:
        conn.autocommit = True
        cur = conn.cursor()
        cur.execute(statement, values)
        return cur.fetchall()


def in_transaction(statement: str, values: tuple[int, int]) -> Rows:
    with pool.connection() as conn:
        cur = conn.cursor()
        cur.execute(statement, values)
        return cur.fetchall()


autocommit, transaction = wsgi(in_autocommit), wsgi(in_transaction)
