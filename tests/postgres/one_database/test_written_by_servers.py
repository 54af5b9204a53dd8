"""What another server would write otherwise, one writes for all copies of a reference table."""

from __future__ import annotations

import pytest

import greenshard

SET = "UPDATE nation SET name = {}"
#: What tells of its server, session, user, rights, catalog or storage; and what each may choose.
VALUES = [
    "current_setting('port')", "current_setting('app.tenant', true)", "version()", "user",
    "current_user", "session_user", "current_role", "current_database()", "current_catalog",
    "pg_backend_pid()", "inet_server_addr()", "txid_current()", "pg_current_xact_id()",
    "pg_current_wal_lsn()", "pg_postmaster_start_time()", "pg_is_in_recovery()", "random()",
    "pg_column_size(name)", "pg_relation_size('nation')", "pg_total_relation_size('nation')",
    "pg_relation_filenode('nation')", "pg_size_pretty(pg_database_size(current_database()))",
    "has_table_privilege('nation', 'SELECT')", "pg_has_role('pg_read_all_data', 'USAGE')",
    "obj_description('nation'::regclass)", "row_security_active('nation')", "current_query()",
    "'nation'::regclass::oid", "'nation'::regclass::int", "to_regclass('nation')::oid",
    "regclass('nation')::oid", "pg_typeof(name)::oid", "'mood'::regtype::oid::int8 + id",
    "ctid", "xmin", "tableoid", "nation.ctid::text", "statement_timestamp()", "gen_random_uuid()",
    "(SELECT oid FROM pg_class WHERE relname = 'nation')", "(SELECT max(xmin::text) FROM nation)",
    "(SELECT setting FROM pg_settings WHERE name = 'port')", "array(SELECT name FROM nation)",
    "(SELECT table_catalog FROM information_schema.tables WHERE table_name = 'nation')",
    "(SELECT string_agg(name, ',') FROM nation)", "(SELECT name FROM nation LIMIT 1)",
    "(SELECT max(n) FROM (SELECT row_number() OVER () AS n, id FROM nation) r WHERE r.id = 1)",
]  # fmt: skip
OTHERS = [
    "DELETE FROM nation WHERE name = version()", "DELETE FROM nation WHERE ctid = '(0,1)'",
    "DELETE FROM nation WHERE random() < 0.5",
    "INSERT INTO nation VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = current_user",
    "UPDATE nation SET name = 'x' WHERE id IN (SELECT id FROM nation FOR UPDATE SKIP LOCKED)",
    "UPDATE nation SET name = t.name FROM told t",
    "DELETE FROM nation TABLESAMPLE bernoulli (50)",
]  # fmt: skip
TAKEN = [
    "to_char(id, '99')", "upper(name)", "'nation'::regclass::text", "pg_typeof(id)::text",
    "concat(id, name)", "CASE WHEN pg_typeof(name) = 'text'::regtype THEN name END",
    "regexp_replace(name, 'a', 'b')", "now()", "current_schema()", "5::oid::text",
    "(SELECT string_agg(name, ',' ORDER BY id) FROM nation)", "format('%s', id)",
    "to_json(nation)::text", "(SELECT max(id) FROM nation)::text", "date_part('day', now())",
]  # fmt: skip


@pytest.fixture(autouse=True)
def told(plain):
    """A view that tells of its server."""
    for connection in plain.values():
        connection.cursor().execute("CREATE VIEW told AS SELECT 1 AS id, version() AS name")
    yield
    for connection in plain.values():
        connection.cursor().execute("DROP VIEW told")


def test_what_servers_tell_otherwise_is_written_alike_to_all_copies(conn):
    cur = conn.cursor()
    # What INSERT writes one server computes, for all.
    inserted = "INSERT INTO nation VALUES (9, concat(current_user, version(), random()))"
    told, refused = [*map(SET.format, VALUES), *OTHERS], []
    for statement in (inserted, *told, *map(SET.format, TAKEN)):
        failed = None
        try:
            cur.execute(statement)
        except greenshard.errors.DatabaseError as error:
            failed = error
            conn.rollback()
        if isinstance(failed, greenshard.errors.NotSupportedError):
            assert failed.code in {"GS410", "GS412"}, statement
            assert failed.hint, statement
            refused.append(statement)
        elif failed is not None:  # a value of another type
            assert failed.pgcode in {"42804", "42601"}, statement
        if statement in told:
            assert "strategy: broadcast" not in conn.explain(statement), statement
        else:
            assert cur.rowcount == (1 if statement == inserted else 4), statement
        if statement not in refused:
            check_copies(conn)
        conn.rollback()
    sized = ["_size(" in s and "column" not in s for s in told]
    texts = ["current_query" in s for s in told]
    assert refused == [s for s, *why in zip(told, sized, texts, strict=True) if any(why)]
    broadcast = "UPDATE nation SET name = current_user"
    with conn.broadcast(), pytest.raises(greenshard.errors.NotSupportedError, match="GS412"):
        cur.execute(broadcast)


def check_copies(conn):
    copies = []
    for shard in conn.shards:
        with conn.on(shard):
            cur = conn.cursor()
            cur.execute("SELECT id, name FROM nation ORDER BY id")
            copies.append(cur.fetchall())
    assert copies[1:] == copies[:-1]
