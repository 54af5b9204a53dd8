from __future__ import annotations

import psycopg2


def fetch(dsn, statement):
    conn = psycopg2.connect(dsn)
    try:
        with conn, conn.cursor() as cur:
            cur.execute(statement)
            return cur.fetchall()
    finally:
        conn.close()


def test_dsns_fixture_gives_an_empty_database_on_each_shard(greenshard_shards, greenshard_dsns):
    assert list(greenshard_dsns) == [shard.name for shard in greenshard_shards]
    for dsn in greenshard_dsns.values():
        assert fetch(dsn, "SELECT count(*) FROM pg_stat_user_tables") == [(0,)]
