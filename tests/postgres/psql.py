"""A database as psycopg2 alone sees it."""

from __future__ import annotations

import contextlib

import psycopg2


def run(dsn: str, *scripts: str) -> None:
    """Run some SQL on one database, in one transaction."""
    with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
        for script in scripts:
            cur.execute(script)
