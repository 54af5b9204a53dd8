"""Event triggers run beside DDL on each shard: refused is what writes to declared tables."""

from __future__ import annotations

import contextlib

import pytest

import greenshard
from greenshard import checking
from tests.postgres.psql import run

SCHEMA = """
CREATE TABLE t (k int PRIMARY KEY, c int);
CREATE TABLE r (id int PRIMARY KEY);
CREATE TABLE log (what text);
CREATE VIEW seen AS SELECT k, c FROM t;
CREATE TABLE passes (k int);
CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.r VALUES (NEW.k); RETURN NULL; END';
CREATE TRIGGER pass AFTER INSERT ON passes FOR EACH ROW EXECUTE FUNCTION pass();
CREATE FUNCTION deep() RETURNS void LANGUAGE sql AS 'DELETE FROM public.t';
"""
TABLES = {"t": greenshard.Sharded("k"), "r": greenshard.Reference()}
#: Of an event trigger's function the body, and what is said of it.
BODIES = {
    "NULL": None,
    "INSERT INTO public.log SELECT object_identity FROM pg_event_trigger_ddl_commands()": None,
    "INSERT INTO public.r VALUES (1) ON CONFLICT DO NOTHING": "r",
    "DELETE FROM seen": "seen",
    "INSERT INTO passes VALUES (1)": "passes",
    "PERFORM deep()": "any table",
    "EXECUTE 'TRUNCATE r'": "any table",
    'INSERT INTO "r" VALUES (1)': "any table",
}
#: Event triggers are not for these, and without one of them nobody gets rid of one.
SILENT = ["SET work_mem = '5MB'", "DROP EVENT TRIGGER e", "VACUUM t"]
DDL = [
    "CREATE INDEX ON t (c)",
    "COMMENT ON TABLE t IS 'x'",
    "CREATE TABLE one (k int); DROP TABLE one",
]


@pytest.fixture
def dsns(greenshard_dsns):
    for dsn in greenshard_dsns.values():
        run(dsn, SCHEMA)
    greenshard.init(greenshard.Cluster(greenshard_dsns, TABLES))
    return greenshard_dsns


def connect(dsns):
    return contextlib.closing(greenshard.connect(greenshard.Cluster(dsns, TABLES)))


def made(body):
    return (
        "CREATE OR REPLACE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {body}; END $$"
    )


def test_ddl_is_refused_beside_which_declared_tables_are_written(dsns):
    with connect(dsns) as conn:
        conn.autocommit = True
        cur = conn.cursor()
        cur.execute(made("NULL"))
        cur.execute("CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION e()")
        for body, what in BODIES.items():
            with conn.broadcast():  # as whoever changes it elsewhere
                cur.execute("ALTER EVENT TRIGGER e DISABLE")
                cur.execute(made(body))
                cur.execute("ALTER EVENT TRIGGER e ENABLE")
            for statement in DDL:
                if what is None:
                    cur.execute(statement)
                    continue
                with pytest.raises(greenshard.NotSupportedError) as refused:
                    cur.execute(statement)
                assert refused.value.code == "GS415"
                told = f'event trigger "e" on each shard, which may write to {what}'
                assert told in str(refused.value)
        for statement in SILENT:
            cur.execute(statement)
        cur.execute("CREATE INDEX ON t (c)")
        cur.execute("SELECT count(*) FROM r")
        assert cur.fetchone() == (0,)


def test_event_triggers_are_compared_and_told(dsns):
    for body, dsn in zip(
        ("DELETE FROM r", "DELETE FROM r WHERE id > 1"), dsns.values(), strict=True
    ):
        run(dsn, made(body), "CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION e()")
    run(dsns["s1"], "CREATE EVENT TRIGGER more ON ddl_command_start EXECUTE FUNCTION e()")
    with contextlib.closing(greenshard.connect(dsns)) as conn:
        report = checking.check(conn, greenshard.Cluster(dsns, TABLES), rows=False)
    assert [(f.message, f.shards) for f in report.findings] == [
        ("the function public.e() differs", ("s0", "s1")),
        ("the event trigger e differs", ("s0", "s1")),
        ("the event trigger more is not there", ("s0",)),
    ]
    assert "event triggers are fired by DDL on each shard: e, more" in report.notes
    assert "DDL is refused: event trigger more may write to r" in report.notes


def test_an_event_trigger_that_another_program_makes_is_noticed(dsns):
    with connect(dsns) as conn:
        cur = conn.cursor()
        cur.execute("CREATE TABLE other (k int)")
        conn.commit()
        for dsn in dsns.values():
            run(dsn, made("DELETE FROM r"))
            run(dsn, "CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION e()")
        with pytest.raises(greenshard.NotSupportedError, match="event trigger"):
            cur.execute("DROP TABLE other")


def test_an_event_trigger_for_some_commands_leaves_others_alone(dsns):
    # What the server fires for each, it tells by a notice.
    for dsn in dsns.values():
        run(
            dsn,
            made("RAISE NOTICE 'fired'; INSERT INTO public.r VALUES (1) ON CONFLICT DO NOTHING"),
            "CREATE EVENT TRIGGER e ON ddl_command_end"
            " WHEN TAG IN ('CREATE SEQUENCE', 'DROP TABLE') EXECUTE FUNCTION e()",
        )
    going = [
        "CREATE TABLE one (k serial PRIMARY KEY)", "CREATE INDEX ON t (c)",
        "ALTER TABLE one ADD n int",
        "COMMENT ON TABLE t IS 'x'", "CREATE VIEW w AS SELECT k FROM t", "DROP VIEW w",
        "CREATE DOMAIN d AS int", "CREATE POLICY p ON t USING (true)",
        "ALTER VIEW seen ALTER c SET DEFAULT 1",
    ]  # fmt: skip
    with connect(dsns) as conn:
        cur = conn.cursor()
        for statement in going:
            cur.execute(statement)
        assert not any("fired" in notice for notice in conn.notices)
        for statement in ("CREATE SEQUENCE s", "DROP TABLE one", "DROP TABLE IF EXISTS none"):
            with pytest.raises(greenshard.NotSupportedError, match='event trigger "e"'):
                cur.execute(statement)
