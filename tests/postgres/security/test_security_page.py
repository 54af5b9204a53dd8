"""What docs/security.rst says and no other test shows."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest
from psycopg2.extensions import make_dsn

import greenshard
from greenshard.executor.strategies import filling

TABLES = {"notes": greenshard.Sharded("id")}
SCHEMA = """
CREATE TABLE notes (id int PRIMARY KEY, tenant text, other int);
INSERT INTO notes VALUES {rows};
CREATE ROLE tenants_app LOGIN;
GRANT SELECT ON notes TO tenants_app;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes USING (tenant = current_setting('app.tenant', true));
"""
GATHERED = "SELECT count(*) FROM notes a JOIN notes b ON a.id = b.other"
OBJECTS = """
SELECT c.oid::regclass::text FROM pg_class c WHERE c.relpersistence = 't' AND relkind = 'r'
UNION ALL SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_|^information_schema$'
UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT extname::text FROM pg_extension
"""


def on_each(dsns, text):
    """What a statement gives on each shard, past greenshard."""
    found = []
    for dsn in dsns.values():
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute(text)
            found.append(sorted(cur.fetchall()) if cur.description else None)
    return found


@pytest.fixture
def dsns(greenshard_dsns):
    cluster = greenshard.Cluster(greenshard_dsns, TABLES)
    for name, dsn in greenshard_dsns.items():
        rows = ", ".join(
            f"({key}, 't{key % 2}', {key})"
            for key in range(40)
            if cluster.placement.shards_for(key, "int4", cluster.names) == name
        )
        on_each({name: dsn}, SCHEMA.format(rows=rows))
    yield greenshard_dsns
    on_each(greenshard_dsns, "DROP OWNED BY tenants_app; DROP ROLE tenants_app")


@pytest.fixture
def connect(dsns):
    with contextlib.ExitStack() as opened:

        def connect(role="postgres"):
            theirs = {name: make_dsn(dsn, user=role) for name, dsn in dsns.items()}
            conn = greenshard.connect(greenshard.Cluster(theirs, TABLES))
            return opened.enter_context(contextlib.closing(conn))

        yield connect


@pytest.fixture(params=["in the text", "as tables"])
def way(request, monkeypatch):
    """How gathered rows go to the server."""
    if request.param == "as tables":
        monkeypatch.setattr(filling, "_BATCH_CHARACTERS", 0)


@pytest.mark.usefixtures("way")
def test_nothing_is_left_on_the_servers(connect, dsns):
    before = on_each(dsns, OBJECTS)
    conn = connect()
    with conn, conn.cursor() as cur:
        cur.execute(GATHERED)
        assert cur.fetchall() == [(40,)]
        cur.execute("SELECT tenant, count(*) FROM notes GROUP BY tenant")
        cur.execute("UPDATE notes SET other = 0 WHERE id = 3")
    assert on_each(dsns, OBJECTS) == before  # the connection is still open


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("command", ["SET", "SET LOCAL"])
def test_policy_that_reads_a_setting_holds_where_rows_are_gathered(connect, command):
    conn = connect("tenants_app")
    cur = conn.cursor()
    for tenant, count in (("t0", 20), ("t1", 20), ("none", 0)):
        cur.execute(f"{command} app.tenant = '{tenant}'")
        cur.execute(GATHERED)
        assert cur.fetchall() == [(count,)]
        cur.execute("SELECT count(*) FROM notes")
        assert cur.fetchall() == [(count,)]
    conn.rollback()
    cur.execute(GATHERED)
    assert cur.fetchall() == [(0,)]
