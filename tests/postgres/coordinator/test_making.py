"""``greenshard coordinator``: what it makes, for whom, as often as one likes, and how it goes."""

from __future__ import annotations

import contextlib
import subprocess

import psycopg2
import pytest
from click.testing import CliRunner
from psycopg2.extensions import make_dsn, parse_dsn

import greenshard
from greenshard import checking
from greenshard.cli import main
from greenshard.coordinating import remove, set_up
from greenshard.coordinating.blueprint import MARK
from greenshard.testing import Shards
from greenshard.testing.installation import find_bin_dir
from tests.postgres.coordinator.conftest import TYPES, rows
from tests.postgres.psql import run

COUNTS = 'SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM "Far"."Odd ""Table")'
#: All that is there of relations, servers and schemas.
THERE = """
SELECT c.oid::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
UNION ALL SELECT srvname || srvoptions::text FROM pg_foreign_server
UNION ALL SELECT nspname FROM pg_namespace
UNION ALL SELECT rolname FROM pg_roles WHERE rolname ~ 'reader' ORDER BY 1"""


def findings(shop):
    with contextlib.closing(greenshard.connect(shop.dsns)) as conn:
        report = checking.check(conn, shop.cluster, rows=False)
    return [f"{each.table}: {each.message}" for each in report.findings if each.check != "types"]


def refused(*args, **options):
    with pytest.raises(greenshard.ProgrammingError) as refusal:
        set_up(*args, **options)
    assert refusal.value.code == "GS113"
    return str(refusal.value)


@pytest.fixture
def empty(shop, greenshard_shards):
    """A database for another coordinator, and the cluster without one."""
    with greenshard_shards.databases() as dsns:
        cluster = greenshard.Cluster(shop.dsns, shop.cluster.tables)
        yield cluster, dsns["s1"]
        run(dsns["s1"], "DROP OWNED BY greenshard_reader" * bool(readers(dsns["s1"])) or "SELECT 1")
    run(greenshard_shards["s1"].dsn, "DROP ROLE IF EXISTS greenshard_reader")


def readers(dsn):
    return rows(dsn, "SELECT FROM pg_roles WHERE rolname = 'greenshard_reader'")


def psql(dsn, text):
    program = find_bin_dir() / "psql"
    command = [program, "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-c", text]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_psql_reads_what_one_server_has(shop):
    statement = (
        "SELECT o.customer, count(*), sum(o.total), max(i.word) FROM orders o JOIN items i"
        " ON i.order_id = o.id LEFT JOIN nation n ON n.id = o.customer GROUP BY 1 ORDER BY 1"
    )
    ours, theirs = psql(shop.reader, statement), psql(shop.single, statement)
    assert ours.stderr == theirs.stderr == ""
    assert ours.stdout == theirs.stdout != ""


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM orders ORDER BY id",
        "SELECT * FROM items ORDER BY 1, 2",
        'SELECT * FROM "Far"."Odd ""Table" ORDER BY "The Key" COLLATE "C"',
        "SELECT * FROM zones ORDER BY 1, 2",
        "SELECT * FROM nation ORDER BY 1",
        "SELECT * FROM app.settings ORDER BY 1",
        "SELECT * FROM orders WHERE id = 7",
        "SELECT * FROM zones WHERE zone = 8 ORDER BY n",
        "SELECT count(*), max(note), min(feeling) FROM orders WHERE feeling > 'sad' OR note < 'c'",
    ],
)
def test_another_program_reads_the_same_values(shop, statement):
    assert rows(shop.reader, statement) == rows(shop.single, statement)


def test_a_key_is_asked_of_its_shard_only(shop):
    (plan,) = rows(shop.reader, "EXPLAIN (FORMAT json) SELECT * FROM orders WHERE id = 7")
    assert str(plan).count("'Foreign Scan'") == 1


def test_colocated_tables_are_joined_and_grouped_on_the_shards(shop):
    found = rows(
        shop.reader,
        "EXPLAIN (VERBOSE) SELECT a.id, sum(b.total) FROM orders a JOIN orders b USING (id)"
        " GROUP BY a.id",
    )
    assert sum("INNER JOIN" in line and "Remote SQL" in line for (line,) in found) == 2


@pytest.mark.parametrize("begin", ["", "SET transaction_read_only = off; "])
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO orders (id, total) VALUES (1000, 1)",
        "UPDATE items SET weight = 0",
        "DELETE FROM zones",
        "INSERT INTO zones VALUES (1, 2)",
        "TRUNCATE nation",
        'INSERT INTO greenshard_s0."public.orders" (id, total) VALUES (1000, 1)',
        "CREATE FOREIGN TABLE mine (id int) SERVER greenshard_s0",
    ],
)
def test_the_reader_writes_nothing(shop, statement, begin):
    with pytest.raises(psycopg2.Error) as error:
        run(shop.reader, begin + statement)
    told = str(error.value)
    assert ("read-only transaction" in told) == (not begin)
    assert begin == "" or "permission denied" in told


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("INSERT INTO orders (id, total) VALUES (1000, 1)", "does not allow inserts"),
        ("UPDATE items SET weight = 0", "does not allow updates"),
        ("DELETE FROM nation", "does not allow deletes"),
        ("TRUNCATE nation", "does not allow truncates"),
        ("INSERT INTO zones VALUES (1, 2)", "rows are on the shards"),
    ],
)
def test_nor_does_a_superuser_through_the_tables(shop, statement, why):
    with pytest.raises(psycopg2.Error, match=why):
        run(shop.admin, statement)


def test_the_reader_sees_no_passwords(shop):
    assert set(rows(shop.reader, "SELECT umoptions FROM pg_user_mappings")) == {(None,)}


def test_done_twice_nothing_is_changed(shop):
    before = rows(shop.admin, THERE)
    made = set_up(shop.cluster, shop.admin)
    assert made.changes == 0
    assert rows(shop.admin, THERE) == before


def test_what_has_changed_is_made_anew_and_the_rest_stays(shop):
    before = dict(rows(shop.admin, "SELECT relname, oid FROM pg_class"))
    for dsn in shop.dsns.values():
        run(dsn, "ALTER TABLE items ADD more int")
    assert set_up(shop.cluster, shop.admin).changes > 0
    assert findings(shop) == []
    after = dict(rows(shop.admin, "SELECT relname, oid FROM pg_class"))
    assert after["items"] != before["items"]
    assert after["orders"] == before["orders"]
    for dsn in shop.dsns.values():
        run(dsn, "ALTER TABLE items DROP more")
    set_up(shop.cluster, shop.admin)
    assert findings(shop) == []


ANOTHER_TABLE = "OPTIONS (SET table_name 'items')"
FORMER = f"""
    CREATE SERVER greenshard_s7 FOREIGN DATA WRAPPER postgres_fdw;
    COMMENT ON SERVER greenshard_s7 IS '{MARK}'"""
PLANTED = {
    FORMER: "reads greenshard_s7, which is no shard",
    "CREATE FUNCTION twice(numeric) RETURNS int LANGUAGE sql AS 'SELECT 1'": (
        "it lacks the function public.twice(integer)"
    ),
    "ALTER SERVER greenshard_s0 OPTIONS (SET host '{s1}')": "another database",
    "DROP FOREIGN TABLE nation": "nation: is not on the coordinator",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'": "function public.f()",
    f'ALTER FOREIGN TABLE greenshard_s0."public.orders" {ANOTHER_TABLE}': "orders:",
    "ALTER TABLE orders ALTER note SET NOT NULL": "orders:",
    "ALTER TYPE mood ADD VALUE 'new'": "type public.mood",
}


@pytest.mark.parametrize("fault", PLANTED)
def test_check_finds(shop, greenshard_shards, fault):
    """In a copy of the coordinator: what was planted does not stay."""
    hosts = {n: parse_dsn(dsn)["host"] for n, dsn in shop.dsns.items()}
    name = parse_dsn(shop.admin)["dbname"]
    elsewhere = make_dsn(shop.admin, dbname="postgres")
    run_alone(elsewhere, f"CREATE DATABASE {name}_copy TEMPLATE {name}")
    try:
        admin = make_dsn(shop.admin, dbname=f"{name}_copy")
        reader = make_dsn(shop.reader, dbname=f"{name}_copy")
        cluster = greenshard.Cluster(shop.dsns, shop.cluster.tables, coordinator=reader)
        with contextlib.closing(greenshard.connect(shop.dsns)) as conn:
            assert checking.check(conn, cluster, rows=False).findings == []
            run(admin, fault.format(**hosts))
            found = checking.check(conn, cluster, rows=False).findings
        told = [f"{each.table}: {each.message}" for each in found]
        assert any(PLANTED[fault] in each for each in told), told
        assert {each.check for each in found} <= {"coordinator", "unchecked"}
    finally:
        run_alone(elsewhere, f"DROP DATABASE {name}_copy")


def run_alone(dsn, statement):
    with contextlib.closing(psycopg2.connect(dsn)) as conn:
        conn.autocommit = True
        conn.cursor().execute(statement)


def test_check_says_if_it_cannot_be_asked(shop):
    cluster = greenshard.Cluster(shop.dsns, shop.cluster.tables, coordinator="host=/nowhere")
    with contextlib.closing(greenshard.connect(shop.dsns)) as conn:
        (found,) = checking.check(conn, cluster, rows=False).findings
    assert found.check == "unchecked"
    assert "the coordinator cannot be asked" in found.message


def test_types_that_are_not_there_are_told_with_the_line_to_run(empty):
    cluster, dsn = empty
    told = refused(cluster, dsn)
    assert "CREATE TYPE \"public\".mood AS ENUM ('sad', 'ok', 'glad')" in told
    assert 'CREATE TYPE "app".pair AS (a integer, b text COLLATE "C")' in told
    lines = [line.partition(" is not there: ")[2] for line in told.splitlines()]
    run(dsn, 'CREATE SCHEMA "Far"; CREATE SCHEMA app')
    run(dsn, *(line.removesuffix(" [GS113]") for line in lines if line))
    assert set_up(cluster, dsn).tables


def test_removed_nothing_is_left(empty):
    cluster, dsn = empty
    run(dsn, TYPES)
    before = rows(dsn, THERE)
    assert set_up(cluster, dsn).reader == "greenshard_reader"
    assert rows(dsn, COUNTS) == [(60, 20)]
    made = remove(cluster, dsn)
    assert made.notes == ()
    assert rows(dsn, THERE) == before
    assert remove(cluster, dsn).changes == 0


def test_what_somebody_has_built_on_it_is_not_dropped(empty):
    cluster, dsn = empty
    run(dsn, TYPES)
    set_up(cluster, dsn)
    run(dsn, "CREATE VIEW mine AS SELECT count(*) FROM nation")
    with pytest.raises(greenshard.ProgrammingError, match=r"view public\.mine depends on"):
        remove(cluster, dsn)
    assert rows(dsn, "SELECT * FROM mine") == [(9,)]
    run(dsn, "DROP VIEW mine")
    remove(cluster, dsn)


def test_former_shards_are_dropped_with_their_passwords(secured):
    """A shard that was called otherwise has gone; its tables' names are taken anew."""
    shards, cluster = secured
    dsn = shards["s2"].dsn
    former = f"""
        CREATE SERVER greenshard_s7 FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '/nowhere');
        COMMENT ON SERVER greenshard_s7 IS '{MARK}';
        CREATE USER MAPPING FOR PUBLIC SERVER greenshard_s7 OPTIONS (user 'u', password 'old');
        CREATE SCHEMA greenshard_s7; COMMENT ON SCHEMA greenshard_s7 IS '{MARK}';
        CREATE FOREIGN TABLE greenshard_s7.shard (name text) SERVER greenshard_s7;
        CREATE FOREIGN TABLE public.t (k int) SERVER greenshard_s7"""
    run(dsn, "CREATE EXTENSION IF NOT EXISTS postgres_fdw SCHEMA pg_catalog", former)
    made = set_up(cluster, dsn)
    assert "dropped: greenshard_s7, which is no shard any more" in made.notes
    known = "SELECT srvname FROM pg_user_mappings UNION SELECT nspname FROM pg_namespace"
    assert ("greenshard_s7",) not in rows(dsn, known)
    assert rows(dsn, "SELECT v FROM t") == [("a",)]
    assert set_up(cluster, dsn).changes == 0
    remove(cluster, dsn)


def test_tables_of_others_are_not_touched(shop):
    cluster = greenshard.Cluster(shop.dsns, shop.cluster.tables)
    told = refused(cluster, shop.single)
    assert "a table public.orders that was not made by this command" in told
    assert rows(shop.single, "SELECT count(*) FROM orders") == [(60,)]
    assert remove(cluster, shop.single).changes == 0


def test_shards_that_do_not_say_who_they_are(greenshard_shards, empty):
    _, dsn = empty
    with greenshard_shards.databases() as dsns:
        cluster = greenshard.Cluster({"s0": dsns["s0"]}, {"t": greenshard.Reference()})
        assert "run greenshard init first" in refused(cluster, dsn)


def test_another_collation(greenshard_shards, shop):
    admin = make_dsn(shop.admin, dbname="postgres")
    run_alone(admin, "CREATE DATABASE other_words TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    try:
        cluster = greenshard.Cluster(shop.dsns, shop.cluster.tables)
        told = refused(cluster, make_dsn(admin, dbname="other_words"))
        assert "its encoding is LATIN1, and the shards' is UTF8" in told
    finally:
        run_alone(admin, "DROP DATABASE other_words")


def test_a_superuser_is_no_reader(shop):
    cluster = greenshard.Cluster(shop.dsns, shop.cluster.tables)
    assert "is a superuser" in refused(cluster, shop.admin, "postgres")


def test_the_command(empty, tmp_path, monkeypatch):
    cluster, dsn = empty
    run(dsn, TYPES)
    file = tmp_path / "cluster.toml"
    shards = "\n".join(f'{name} = "{each.primary}"' for name, each in cluster.shards.items())
    file.write_text(f"[shards]\n{shards}\n[tables]\norders = {{ shard_key = 'id' }}\n")
    outputs = [
        CliRunner().invoke(main, ["coordinator", *args, str(file), dsn])
        for args in ([], ["--no-analyze"], ["--remove"], ["--remove"])
    ]
    assert [(each.exit_code, each.stdout) for each in outputs] == [
        (0, "the coordinator is made: greenshard_reader reads 1 table\n"),
        (0, "the coordinator is as it is to be: greenshard_reader reads 1 table\n"),
        (0, "removed\n"),
        (0, "there was nothing to remove\n"),
    ]
    wrong = CliRunner().invoke(main, ["coordinator", str(file), "host=/nowhere"])
    assert wrong.exit_code == 5


# Passwords --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secured():
    """Servers that ask for passwords, and write down every statement."""
    with Shards(3, tcp=True, settings={"log_statement": "all"}) as shards:
        for shard in shards:
            run(
                shard.dsn,
                "CREATE TABLE t (k int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')",
            )
            run(
                shard.dsn,
                "CREATE ROLE looker LOGIN PASSWORD 'sesame''s'; GRANT SELECT ON t TO looker",
            )
        dsns = {name: dsn for name, dsn in shards.tcp_dsns.items() if name != "s2"}
        cluster = greenshard.Cluster(dsns, {"t": greenshard.Reference()})
        greenshard.init(cluster)
        run(shards["s2"].dsn, "DROP TABLE t")
        yield shards, cluster


@pytest.mark.parametrize("user", [None, "looker"])
def test_passwords_are_shown_nowhere(secured, user):
    shards, cluster = secured
    password = "sesame's" if user else parse_dsn(shards["s0"].tcp_dsn)["password"]
    made = set_up(cluster, shards["s2"].dsn, None, user, password if user else None)
    assert password not in repr(made)
    assert password not in shards["s2"].log()
    reader = make_dsn(shards["s2"].dsn, user="greenshard_reader")
    assert rows(reader, "SELECT v FROM t") == [("a",)]
    options = str(rows(shards["s2"].dsn, "SELECT umoptions FROM pg_user_mappings"))
    assert "password_required" not in options
    remove(cluster, shards["s2"].dsn)


def test_who_reads_on_the_shards_is_not_changed_unsaid(secured):
    shards, cluster = secured
    dsn = shards["s2"].dsn
    set_up(cluster, dsn, None, "looker", "sesame's")
    told = refused(cluster, dsn)
    assert "on the shards greenshard_reader is looker, and would become postgres" in told
    assert "--shard-user looker again, or --shard-user postgres" in told
    known = "SELECT umoptions FROM pg_user_mappings WHERE usename = 'greenshard_reader'"
    assert {"user=looker" in str(each) for each in rows(dsn, known)} == {True}
    set_up(cluster, dsn, None, "looker", "sesame's")
    remove(cluster, dsn)


def test_a_missing_password_is_told_with_its_variable(secured):
    shards, cluster = secured
    told = refused(cluster, shards["s2"].dsn, None, "looker", None)
    assert "there is no password for looker: $GREENSHARD_SHARD_PASSWORD is not set" in told


def test_a_password_that_no_shard_asks_for_is_told(secured):
    shards, cluster = secured
    trusting = greenshard.Cluster(
        {name: shards[name].dsn for name in cluster.names}, cluster.tables
    )
    told = refused(trusting, shards["s2"].dsn, None, "looker", "sesame's")
    assert "a shard asks for no password" in told
    assert "Leave it out" in told


def test_missing_rights_name_the_shard_and_the_role_there(secured):
    shards, cluster = secured
    split = greenshard.Cluster(cluster.shards, {"t": greenshard.Sharded("k")})
    run(shards["s1"].dsn, "REVOKE SELECT ON t FROM looker; GRANT SELECT (k) ON t TO looker")
    try:
        told = refused(split, shards["s2"].dsn, None, "looker", "sesame's")
        (line,) = [told.partition("changed: ")[2].removesuffix(" [GS113]")]
        what, _, grant = line.partition(": GRANT")
        assert what == "shard s1: the role looker may not read public.t"
        # What it says helps.
        run(shards["s1"].dsn, f"GRANT{grant}")
        assert set_up(split, shards["s2"].dsn, None, "looker", "sesame's").tables
    finally:
        remove(split, shards["s2"].dsn)
        run(shards["s1"].dsn, "GRANT SELECT ON t TO looker")
    told = refused(split, shards["s2"].dsn, None, "ghost", "x")
    assert "shard s0 has no role ghost: CREATE ROLE" in told


def test_a_reader_of_two_clusters_is_dropped_with_the_last_one(secured):
    shards, cluster = secured
    dsn = shards["s2"].dsn
    run_alone(dsn, "CREATE DATABASE another")
    other = make_dsn(dsn, dbname="another")
    try:
        for each in (dsn, other):
            set_up(cluster, each, None, "looker", "sesame's")
        (note,) = remove(cluster, other).notes
        assert "the role greenshard_reader stays: it is in use" in note
        assert "in database postgres" in note
        assert remove(cluster, dsn).notes == ()
    finally:
        run_alone(dsn, "DROP DATABASE another")


@pytest.mark.parametrize("role", [False, True])
def test_a_coordinator_that_is_not_made_is_told_with_the_command(secured, role):
    shards, cluster = secured
    dsn = shards["s2"].dsn
    if role:
        run(dsn, "CREATE ROLE nobody_made LOGIN")
    try:
        declared = greenshard.Cluster(
            cluster.shards,
            {"t": greenshard.Sharded("k")},
            coordinator=make_dsn(dsn, user="nobody_made"),
        )
        with (
            contextlib.closing(greenshard.connect(declared, gather_limit=0, check=False)) as conn,
            pytest.raises(greenshard.NotSupportedError, match="it is not made") as caught,
        ):
            conn.cursor().execute("SELECT a.k FROM t a JOIN t b ON a.v = b.v")
        assert caught.value.code == "GS405"
        assert "`greenshard coordinator` makes it" in caught.value.hint
        with contextlib.closing(greenshard.connect(tcp(cluster))) as conn:
            found = [each.message for each in checking.check(conn, declared, rows=False).findings]
        assert any("greenshard coordinator" in message for message in found)
    finally:
        run(dsn, "DROP ROLE IF EXISTS nobody_made")


def tcp(cluster):
    return {name: shard.primary for name, shard in cluster.shards.items()}


def test_a_wrong_password_is_told_and_not_shown(secured):
    shards, cluster = secured
    told = refused(cluster, shards["s2"].dsn, None, "looker", "open up")
    assert "password authentication failed" in told
    assert "open up" not in told + shards["s2"].log()
    assert rows(shards["s2"].dsn, "SELECT FROM pg_foreign_server") == []


def test_who_is_no_superuser_can_make_it(secured):
    shards, cluster = secured
    admin = make_dsn(shards["s2"].dsn, user="maker")
    run(
        shards["s2"].dsn,
        "CREATE ROLE maker LOGIN CREATEROLE; CREATE EXTENSION IF NOT EXISTS postgres_fdw",
        "GRANT CREATE ON DATABASE postgres TO maker; GRANT CREATE ON SCHEMA public TO maker",
    )
    assert "GRANT USAGE ON FOREIGN DATA WRAPPER" in refused(cluster, admin, None, "looker", "x")
    run(shards["s2"].dsn, "GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO maker")
    made = set_up(cluster, admin, None, "looker", "sesame's")
    assert "log_statement" in made.notes[-1]
    reader = make_dsn(shards["s2"].dsn, user="greenshard_reader")
    assert rows(reader, "SELECT v FROM t") == [("a",)]
    assert remove(cluster, admin).notes == ()
    without = greenshard.Cluster({name: shards[name].dsn for name in cluster.names}, cluster.tables)
    assert "only a superuser may let" in refused(without, admin)
