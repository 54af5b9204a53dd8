"""Code that runs beside a statement where one does not look for it."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from greenshard import Cluster, Reference, Sharded

TABLES = {
    "t": Sharded("k"),
    "r": Reference(),
    "made": Sharded("k"),
    "fractions": Sharded("k"),
}
SCHEMA = """
CREATE TABLE t (k int PRIMARY KEY, at timestamptz, n int);
CREATE TABLE r (id int PRIMARY KEY, at timestamptz, n int);
CREATE TABLE made (v int, k int GENERATED ALWAYS AS (v % 7) STORED);
CREATE TABLE fractions (k numeric, c int);
CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.n := 5; RETURN NEW; END';
CREATE FUNCTION moving() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NEW.k := NEW.k + 1; RETURN NEW; END';
"""


@pytest.fixture
def dsns(greenshard_shards):
    with greenshard_shards.databases() as dsns:
        everywhere(dsns, SCHEMA)
        greenshard.init(Cluster(dsns, TABLES))
        yield dsns


def everywhere(dsns, text):
    for dsn in dsns.values():
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute(text)


@pytest.fixture
def ask(dsns):
    def ask(text, on=None):
        with contextlib.closing(greenshard.connect(Cluster(dsns, TABLES))) as conn:
            with contextlib.nullcontext() if on is None else conn.on(on):
                conn.cursor().execute(text)
            conn.commit()

    return ask


@pytest.mark.parametrize(
    "condition",
    [
        "NEW.at < now()",
        "NEW.at < CURRENT_TIMESTAMP",
        "random() < 0.5",
        "pg_backend_pid() % 2 = 0",
        "current_database() LIKE 'x%'",
    ],
)
@pytest.mark.parametrize("table", ["t", "r"])
def test_trigger_that_may_fire_on_some_shards_only(dsns, ask, table, condition):
    everywhere(
        dsns,
        f"CREATE TRIGGER sometimes BEFORE INSERT ON {table} FOR EACH ROW WHEN ({condition})"
        " EXECUTE FUNCTION other()",
    )
    with pytest.raises(greenshard.NotSupportedError, match="sometimes") as caught:
        ask(f"INSERT INTO {table} VALUES (1, now()), (2, now())")
    assert caught.value.code == "GS415"


def test_condition_of_a_trigger_that_is_of_the_row_alone(dsns, ask):
    everywhere(
        dsns,
        "CREATE TRIGGER sometimes BEFORE INSERT OR UPDATE ON r FOR EACH ROW"
        " WHEN (NEW.n > 3 AND lower(NEW.n::text) <> 'x') EXECUTE FUNCTION other()",
    )
    ask("INSERT INTO r VALUES (1, now(), 4), (2, now(), 1)")


@pytest.mark.parametrize("table", ["t", "r"])
def test_code_that_counts_in_a_setting(dsns, ask, table):
    everywhere(
        dsns,
        "CREATE FUNCTION counts() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " NEW.n := coalesce(nullif(current_setting('my.n', true), ''), '0')::int + 1;"
        " PERFORM set_config('my.n', NEW.n::text, true); RETURN NEW; END $$;"
        f"CREATE TRIGGER it BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION counts()",
    )
    with pytest.raises(greenshard.NotSupportedError, match='trigger "it"'):
        ask(f"INSERT INTO {table} VALUES (1), (2), (3)")


def test_setting_may_be_set_by_a_statement(ask):
    ask("SELECT set_config('my.n', '5', false)")


@pytest.mark.parametrize("enabled", ["REPLICA", "ALWAYS"])
def test_trigger_that_fires_under_another_role_of_replication(dsns, ask, enabled):
    everywhere(
        dsns,
        "CREATE TRIGGER moves BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION moving();"
        f"ALTER TABLE t ENABLE {enabled} TRIGGER moves",
    )
    with pytest.raises(greenshard.NotSupportedError, match="moves"):
        ask("INSERT INTO t VALUES (1), (2), (3)")


def test_trigger_that_is_disabled(dsns, ask):
    everywhere(
        dsns,
        "CREATE TRIGGER moves BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION moving();"
        "ALTER TABLE t DISABLE TRIGGER moves",
    )
    ask("INSERT INTO t VALUES (1), (2), (3)")


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE made SET v = v + 1",
        "MERGE INTO made USING (SELECT 1) s ON true WHEN MATCHED THEN UPDATE SET v = v + 1",
    ],
)
def test_shard_key_that_is_computed_from_what_is_changed_on_one_shard(ask, text):
    with pytest.raises(greenshard.NotSupportedError, match="shard key k is computed"):
        ask(text, on="s0")


def test_rows_whose_key_cannot_be_hashed(ask):
    with pytest.raises(greenshard.NotSupportedError, match="numeric cannot be hashed") as caught:
        ask("INSERT INTO fractions SELECT 1.5, 1")
    assert caught.value.code == "GS412"


def test_sample_of_so_and_so_many_rows(dsns, ask):
    with pytest.raises(greenshard.NotSupportedError, match="TABLESAMPLE"):
        ask("SELECT count(*) FROM t TABLESAMPLE system_rows(10)")
    ask("SELECT count(*) FROM t TABLESAMPLE bernoulli(10)")
    ask("SELECT count(*) FROM t TABLESAMPLE pg_catalog.system(10)")


@pytest.mark.parametrize(
    "condition",
    ["at >= now()", "at >= CURRENT_TIMESTAMP", "random() < 2", "pg_backend_pid() <> n"],
)
def test_policy_that_is_another_one_on_each_shard(dsns, condition):
    role = "reader_of_policies"
    everywhere(dsns, f"CREATE POLICY late ON t USING ({condition}) WITH CHECK (true)")
    everywhere(dsns, "ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    for dsn in dsns.values():
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,))
            if not cur.fetchall():
                cur.execute(f"CREATE ROLE {role}")
            cur.execute(f"GRANT ALL ON t TO {role}")
    try:
        with contextlib.closing(greenshard.connect(Cluster(dsns, TABLES))) as conn:
            cur = conn.cursor()
            cur.execute("SELECT count(*) FROM t")  # policies are not for superusers
            cur.execute(f"SET ROLE {role}")
            for text in ("SELECT count(*) FROM t", "DELETE FROM t"):
                with pytest.raises(greenshard.NotSupportedError, match='policy "late"'):
                    cur.execute(text)
    finally:
        everywhere(dsns, f"DROP OWNED BY {role}")
        for dsn in dsns.values():
            with contextlib.suppress(psycopg2.Error):
                everywhere({"": dsn}, f"DROP ROLE IF EXISTS {role}")


def test_policy_of_who_is_connected_is_the_same_on_each_shard(dsns, ask):
    everywhere(
        dsns,
        "CREATE POLICY mine ON t USING (current_user = current_setting('app.x', true) OR n > 0);"
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY",
    )
    ask("SELECT count(*) FROM t")
