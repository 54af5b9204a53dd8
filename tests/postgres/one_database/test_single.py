"""Tables that one shard alone has: every statement does what one server does, or is refused.

Each case is a list of statements. They run on one server that has all rows, and on three shards;
what each statement tells is compared, and after the last one all tables are. `jobs` and `done` are
on the second shard, so that nothing is right only because it runs on the first.
"""

from __future__ import annotations

import contextlib

import psycopg2
import pytest
from psycopg2.extras import execute_values

import greenshard
from tests.initialised import initialised
from tests.postgres.one_database.side_by_side import one_and_more

SCHEMA = [
    "CREATE TABLE nation (id int PRIMARY KEY, name text)",
    "CREATE TABLE orders (id int PRIMARY KEY, nation int REFERENCES nation, n int DEFAULT 0)",
    "CREATE SEQUENCE free",
    """CREATE TABLE jobs (id serial PRIMARY KEY, nation int REFERENCES nation (id),
       what text DEFAULT 'x', at timestamptz DEFAULT now(), taken bool DEFAULT false)""",
    "CREATE TABLE done (job int PRIMARY KEY REFERENCES jobs ON DELETE CASCADE, n int)",
    "CREATE TABLE settings (name text PRIMARY KEY, value text)",
    "CREATE INDEX jobs_what ON jobs (what)",
    "COMMENT ON TABLE jobs IS 'a queue'",
    "COMMENT ON COLUMN jobs.what IS 'it'",
    "ALTER TABLE jobs ADD COLUMN u uuid DEFAULT gen_random_uuid()",
    "ALTER TABLE jobs ADD COLUMN number int GENERATED ALWAYS AS IDENTITY",
    "ALTER TABLE jobs ADD CONSTRAINT short CHECK (length(what) < 20)",
    "CREATE VIEW open_jobs AS SELECT id, what FROM jobs WHERE NOT taken",
    "CREATE SEQUENCE extra OWNED BY done.n",
    "ALTER TABLE done ALTER n SET DEFAULT nextval('extra')",
    (
        "CREATE FUNCTION open_count() RETURNS bigint STABLE LANGUAGE plpgsql AS"
        " 'BEGIN RETURN (SELECT count(*) FROM jobs); END'"
    ),
    "INSERT INTO nation VALUES (1, 'Peru'), (2, 'Chad'), (3, NULL), (4, 'Mali')",
    "INSERT INTO orders VALUES (1, 1, 5), (2, 1, 3), (3, 2, 1), (4, 2, 0), (5, NULL, 9), (6, 3, 2)",
]
TABLES = {
    "nation": greenshard.Reference(),
    "orders": greenshard.Sharded("id"),
    "jobs": greenshard.Single("s1"),
    "done": greenshard.Single("s1"),
    "made": greenshard.Single("s1"),
    "settings": greenshard.Single("s0"),
}
#: Of each table the columns that are the same whenever they are made.
STABLE = {
    "nation": "*",
    "orders": "*",
    "jobs": "id, nation, what, at IS NULL, taken, u IS NULL, number",
    "done": "*",
    "settings": "*",
}

CASES = {
    "rows are inserted": [
        "INSERT INTO jobs (what) VALUES ('a'), ('b') RETURNING id, what, number",
        ("INSERT INTO jobs (nation, what) VALUES (%s, %s) RETURNING id", (2, "c%")),
        (
            "INSERT INTO jobs (what) SELECT name FROM nation WHERE name IS NOT NULL ORDER BY id"
            " RETURNING what"
        ),
        "INSERT INTO jobs DEFAULT VALUES RETURNING id, what",
        (
            "INSERT INTO jobs (id, what) VALUES (DEFAULT, 'd'), (nextval('jobs_id_seq'), 'e')"
            " RETURNING id"
        ),
        "INSERT INTO jobs (what) SELECT what || '!' FROM jobs WHERE id < 3",
        "INSERT INTO jobs (what) VALUES (repeat('x', 30))",
        "INSERT INTO jobs (nation) VALUES (77)",
        "INSERT INTO jobs (id) VALUES (1)",
        "INSERT INTO jobs (at) VALUES ('now'), (now())",
        "INSERT INTO settings VALUES ('a', '1'), ('b', '2')",
        (
            "INSERT INTO settings VALUES ('a', '3'), ('c', '4') ON CONFLICT (name)"
            " DO UPDATE SET value = settings.value || excluded.value RETURNING *"
        ),
        "INSERT INTO settings VALUES ('a', 'x') ON CONFLICT DO NOTHING",
    ],
    "rows are changed": [
        "INSERT INTO jobs (what, nation) VALUES ('a', 1), ('b', 2), ('c', NULL), ('d', 1)",
        (
            "UPDATE jobs SET taken = true WHERE id = (SELECT id FROM jobs WHERE NOT taken"
            " ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING id, taken"
        ),
        "UPDATE jobs j SET what = name FROM nation n WHERE n.id = j.nation RETURNING j.id, what",
        "UPDATE jobs SET id = DEFAULT, what = DEFAULT WHERE id = 2 RETURNING id, what",
        ("UPDATE jobs SET what = %s WHERE id = %s", ("z", 3)),
        "INSERT INTO done (job) SELECT id FROM jobs",
        "DELETE FROM jobs USING nation n WHERE n.id = jobs.nation AND name = 'Chad'",
        "DELETE FROM jobs WHERE id IN (SELECT job FROM done ORDER BY job LIMIT 1) RETURNING id",
        (
            "WITH gone AS (DELETE FROM jobs WHERE id > 2 RETURNING id, what)"
            " INSERT INTO done SELECT 1, max(id) FROM gone RETURNING n"
        ),
        (
            "WITH gone AS (DELETE FROM jobs WHERE what = 'z' RETURNING id)"
            " INSERT INTO jobs (what) SELECT 'again ' || id FROM gone RETURNING id, what"
        ),
        "SELECT id, what FROM jobs ORDER BY id FOR UPDATE SKIP LOCKED",
        "SELECT ctid IS NULL, xmin IS NULL, tableoid::regclass::text, id FROM jobs ORDER BY id",
    ],
    "sequences count where they are": [
        "INSERT INTO jobs (what) VALUES ('a')",
        "SELECT nextval('jobs_id_seq')",
        ("SELECT nextval(%s)", ("jobs_id_seq",)),
        "SELECT nextval('public.jobs_id_seq'::regclass), currval('jobs_id_seq')",
        "SELECT setval('jobs_id_seq', 50)",
        "INSERT INTO jobs (what) VALUES ('b') RETURNING id",
        "SELECT currval('jobs_id_seq')",
        "SELECT last_value, is_called FROM jobs_id_seq",
        "SELECT pg_get_serial_sequence('jobs', 'id')",
        "SELECT nextval(pg_get_serial_sequence('jobs', 'number'))",
        "SELECT nextval('free'), nextval('free')",
        "INSERT INTO done (job) VALUES (1) RETURNING n",
        "SELECT nextval('extra')",
        "TRUNCATE jobs, done RESTART IDENTITY",
        "INSERT INTO jobs (what) VALUES ('c') RETURNING id, number",
        "SELECT currval('nosuch_seq')",
    ],
    "joins": [
        "INSERT INTO jobs (what, nation) VALUES ('a', 1), ('b', 2), ('c', NULL), ('d', 1)",
        "INSERT INTO done VALUES (1, 10), (4, 40)",
        "INSERT INTO settings VALUES ('a', '1'), ('b', '4')",
        "SELECT j.id, d.n FROM jobs j LEFT JOIN done d ON job = id ORDER BY 1",
        "SELECT j.id, name FROM jobs j FULL JOIN nation n ON n.id = nation ORDER BY 1, 2",
        "SELECT count(*), min(what), cardinality(array_agg(DISTINCT coalesce(nation))) FROM jobs",
        "SELECT o.id, j.id, what FROM orders o JOIN jobs j ON j.id = o.n ORDER BY 1, 2",
        "SELECT o.id, j.id FROM orders o LEFT JOIN jobs j USING (nation) ORDER BY 1, 2",
        (
            "SELECT j.id, count(o.id) FROM jobs j LEFT JOIN orders o USING (nation) GROUP BY 1"
            " ORDER BY 1"
        ),
        "SELECT id FROM orders WHERE n IN (SELECT n / 10 FROM done) ORDER BY 1",
        (
            "SELECT id FROM jobs j WHERE EXISTS (SELECT FROM orders o WHERE o.id = j.id AND n > 1)"
            " ORDER BY 1"
        ),
        "SELECT what, value FROM jobs, settings WHERE what = name ORDER BY 1",
        (
            "SELECT what FROM jobs UNION SELECT name FROM settings UNION ALL SELECT id::text FROM"
            " orders ORDER BY 1"
        ),
        "SELECT o.id, d.n FROM orders o, done d WHERE o.id = 4 ORDER BY 1, 2",
        "SELECT id, (SELECT what FROM jobs j WHERE j.id = o.id) FROM orders o ORDER BY id",
        "SELECT o.id, open_jobs.what FROM orders o JOIN open_jobs USING (id) ORDER BY 1",
        "WITH orders AS (SELECT * FROM jobs) SELECT count(*) FROM orders",
        "WITH jobs AS (SELECT id FROM orders) SELECT count(*) FROM jobs",
        "SELECT name FROM nation WHERE id = (SELECT nation FROM jobs WHERE id = 2)",
    ],
    "writes by other tables": [
        "INSERT INTO settings VALUES ('a', '1'), ('b', '4')",
        "INSERT INTO jobs (what, nation) VALUES ('a', 1), ('b', 2), ('c', NULL), ('d', 1)",
        "SELECT * FROM open_jobs ORDER BY id",
        "UPDATE open_jobs SET what = 'v' WHERE id = 2 RETURNING id, what",
        "INSERT INTO open_jobs (what) VALUES ('w') RETURNING id",
        "DELETE FROM open_jobs WHERE id = 1",
        "INSERT INTO jobs (what, nation) VALUES ('e', 4)",
        "DELETE FROM nation WHERE id = 4",
        "UPDATE nation SET id = 5 WHERE id = 4",
        "DELETE FROM jobs WHERE nation = 4",
        "DELETE FROM nation WHERE id = 4",
        "UPDATE orders SET n = n + 1 WHERE id = 3",
        "UPDATE nation SET name = (SELECT max(what) FROM jobs) WHERE id = 1",
        "UPDATE orders SET n = j.id FROM jobs j WHERE j.nation = orders.nation AND j.what = 'd'",
        "DELETE FROM orders WHERE id IN (SELECT id FROM jobs)",
        "INSERT INTO orders (id, n) SELECT id + 10, 1 FROM jobs",
        "INSERT INTO nation SELECT id + 10, what FROM jobs",
    ],
    "written by rows of other shards": [
        "INSERT INTO jobs (what, nation) VALUES ('a', 1), ('b', 2), ('c', NULL), ('d', 1)",
        "INSERT INTO settings SELECT what, 'x' FROM jobs WHERE id < 3",
        "INSERT INTO settings VALUES ((SELECT max(what) FROM jobs), (SELECT max(n) FROM orders))",
        "UPDATE settings SET value = id FROM jobs WHERE what = name RETURNING name, id",
        "DELETE FROM settings WHERE name IN (SELECT what FROM jobs WHERE nation = 2)",
        "INSERT INTO done SELECT id, n FROM orders WHERE id < 4",
        "INSERT INTO done (job) SELECT id FROM orders WHERE id IN (4, 5) RETURNING job, n",
        "INSERT INTO done (job) SELECT id FROM orders WHERE id = 4",
        (
            "INSERT INTO jobs (what, nation) SELECT 'o' || id, nation FROM orders ORDER BY id"
            " RETURNING id, number, what"
        ),
        (
            "INSERT INTO jobs (nation, what, at) SELECT n, 'sum', now() FROM (SELECT nation, sum(n)"
            " AS n FROM orders GROUP BY 1 HAVING nation = 3) s RETURNING id, nation, at = now()"
        ),
        ("UPDATE jobs SET what = %s || o.n FROM orders o WHERE o.id = jobs.id", ("n",)),
        (
            "UPDATE jobs SET taken = DEFAULT, what = (SELECT max(n) FROM orders) WHERE id = 1"
            " RETURNING what, taken"
        ),
        "DELETE FROM jobs USING orders o WHERE o.id = jobs.id AND o.n > 5 RETURNING jobs.id",
        "UPDATE jobs SET what = 'all' WHERE id <= (SELECT count(*) FROM orders)",
    ],
    "beside temporary tables": [
        "INSERT INTO jobs (what, nation) VALUES ('a', 1), ('b', 2), ('c', NULL), ('d', 1)",
        "CREATE TEMP TABLE picked (id int)",
        "INSERT INTO picked SELECT id FROM jobs WHERE nation = 1",
        "SELECT * FROM picked ORDER BY id",
        "DELETE FROM jobs USING picked WHERE picked.id = jobs.id RETURNING what",
        "SELECT o.id FROM orders o JOIN picked USING (id) LEFT JOIN jobs USING (id) ORDER BY 1",
        "INSERT INTO done SELECT id, 1 FROM picked WHERE id > 1000",
        "CREATE TEMP TABLE settings (name int)",
        "SELECT * FROM settings",
        "DROP TABLE settings, picked",
    ],
    "other statements": [
        "INSERT INTO jobs (what) VALUES ('a'), ('b')",
        "SELECT what INTO made FROM jobs",
        "SELECT count(*) FROM made",
        "DROP TABLE made",
        "CREATE TABLE made AS SELECT id FROM jobs JOIN nation USING (id)",
        "INSERT INTO made VALUES (9)",
        "SELECT * FROM made ORDER BY id",
        "DROP TABLE made",
        "SELECT * FROM made",
        "LOCK TABLE jobs IN SHARE MODE",
        "EXPLAIN (COSTS off) SELECT * FROM settings WHERE name = 'a'",
        "ALTER TABLE jobs RENAME what TO why",
        "SELECT why FROM jobs ORDER BY id",
        "ALTER TABLE jobs RENAME why TO what",
        "DROP INDEX jobs_what",
        "CREATE INDEX jobs_what ON jobs (what)",
        "ALTER INDEX jobs_what RENAME TO jobs_why",
        "ALTER INDEX jobs_why RENAME TO jobs_what",
        "SELECT 'jobs'::regclass::text, to_regclass('jobs') IS NULL",
        "DROP VIEW open_jobs",
        "CREATE VIEW open_jobs AS SELECT id, what FROM jobs WHERE NOT taken",
        "SELECT obj_description('jobs'::regclass), col_description('jobs'::regclass, 3)",
        "CREATE MATERIALIZED VIEW kept AS SELECT count(*) FROM jobs",
        "SELECT * FROM kept",
        "INSERT INTO jobs (what) VALUES ('c')",
        "SELECT * FROM kept",
        "REFRESH MATERIALIZED VIEW kept",
        "SELECT * FROM kept",
        "DROP MATERIALIZED VIEW kept",
    ],
}
#: With tables on one shard alone, its catalog is the one that has all.
CATALOG = [
    "SELECT indexname FROM pg_indexes WHERE tablename IN ('jobs', 'orders') ORDER BY 1",
    "SELECT count(*) FROM information_schema.tables WHERE table_name IN ('jobs', 'orders')",
    "SELECT relname FROM pg_class WHERE oid = 'jobs'::regclass",
    ("SELECT to_regclass(%s) IS NULL, to_regclass('orders') IS NULL", ("jobs",)),
]
MERGE = [
    "INSERT INTO settings VALUES ('a', '1'), ('Chad', '2')",
    (
        "MERGE INTO settings s USING nation n ON n.name = s.name WHEN MATCHED THEN UPDATE SET value"
        " = 'x' WHEN NOT MATCHED THEN INSERT VALUES (coalesce(name, 'none'), id)"
    ),
    "SELECT * FROM settings ORDER BY 1",
    "INSERT INTO jobs (what, nation) VALUES ('a', 1), ('b', 2), ('c', NULL), ('d', 1)",
    """MERGE INTO settings s USING orders o ON o.id::text = s.name WHEN MATCHED THEN UPDATE SET
       value = o.n WHEN NOT MATCHED AND o.id < 3 THEN INSERT VALUES (o.id, o.n)""",
    """MERGE INTO settings s USING (SELECT * FROM orders WHERE id > 1000) o ON o.id::text = s.name
       WHEN MATCHED THEN DELETE""",
    """MERGE INTO jobs j USING orders o ON o.id = j.id WHEN MATCHED THEN UPDATE SET what = o.n
       WHEN NOT MATCHED AND o.id = 6 THEN INSERT (what) VALUES (o.id)""",
    """MERGE INTO orders o USING jobs j ON j.id = o.id WHEN MATCHED AND j.what = '5' THEN DELETE
       WHEN MATCHED THEN UPDATE SET n = j.id * 100""",
    "MERGE INTO nation n USING jobs j ON j.id = n.id WHEN MATCHED THEN UPDATE SET name = j.what",
]


@pytest.fixture(scope="module")
def servers(greenshard_shards):
    with one_and_more(greenshard_shards, 3) as (one, dsns):
        cluster = initialised(greenshard.Cluster(dsns, TABLES))
        for dsn in (one, cluster):
            connect = greenshard.connect if dsn is cluster else psycopg2.connect
            with contextlib.closing(connect(dsn)) as conn, conn, conn.cursor() as cur:
                for statement in SCHEMA:
                    cur.execute(statement)
        yield one, cluster


@pytest.fixture
def both(servers):
    """A connection to the server that has all rows, and one to the shards; rolled back."""
    one, cluster = servers
    with (
        contextlib.closing(psycopg2.connect(one)) as single,
        contextlib.closing(greenshard.connect(cluster)) as conn,
    ):
        yield single, conn


@pytest.fixture
def conn(both):
    return both[1]


def told(cur, statement):
    """What a statement tells: rows, count, tag; or the error's code. An error is undone."""
    text, given = statement if isinstance(statement, tuple) else (statement, None)
    cur.execute("SAVEPOINT before")
    try:
        cur.execute(text, given)
    except psycopg2.Error as error:
        cur.execute("ROLLBACK TO SAVEPOINT before")
        return error.pgcode, error.diag.column_name, error.diag.constraint_name
    rows = cur.fetchall() if cur.description else None
    return rows, cur.rowcount, cur.statusmessage


def dsns_of(servers):
    return {name: shard.primary for name, shard in servers[1].shards.items()}


def compare(both, statements):
    single, conn = both
    mine, theirs = conn.cursor(), single.cursor()
    # Numbers that were taken are not given back by ROLLBACK.
    for cur in (mine, theirs):
        for sequence in ("jobs_id_seq", "jobs_number_seq", "extra", "free"):
            cur.execute(f"SELECT setval('{sequence}', 1, false)")
    for statement in statements:
        expected = told(theirs, statement)
        assert told(mine, statement) == expected, statement
    for table, columns in STABLE.items():
        for cur in (mine, theirs):
            cur.execute(f"SELECT {columns} FROM {table}")
        assert sorted(map(repr, mine)) == sorted(map(repr, theirs)), table


@pytest.mark.parametrize("case", CASES)
def test_shards_do_what_one_server_does(both, case):
    compare(both, CASES[case])


def test_the_catalog_is_that_of_the_shard_that_has_all_tables(servers, both):
    declared = {name: table for name, table in TABLES.items() if name != "settings"}
    cluster = greenshard.Cluster(dsns_of(servers), declared)
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        for statement in CATALOG:
            assert told(conn.cursor(), statement) == told(both[0].cursor(), statement)
    with pytest.raises(greenshard.NotSupportedError, match="no shard has all tables"):
        both[1].cursor().execute("SELECT * FROM pg_class")


def test_merge(both):
    if both[0].server_version < 150000:
        pytest.skip("PostgreSQL 14 has no MERGE")
    compare(both, MERGE)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("SELECT lastval()", r"lastval\(\) tells of one shard's"),
        ("SELECT nextval('jobs_' || 'id_seq')", "which sequence is meant is computed"),
        ("SELECT nextval('jobs_id_seq'), nextval('free')", "count on several shards: s0, s1"),
        ("INSERT INTO jobs (nation) VALUES (nextval('free'))", "changes something on one server"),
        ("SELECT pg_advisory_xact_lock(id) FROM jobs", "changes something on one server"),
        ("SELECT open_count() FROM jobs", r"open_count\(\) may read tables"),
        ("SELECT * INTO here FROM jobs", "INTO over several shards"),
        ("CREATE TABLE made AS SELECT id FROM orders", "CREATE TABLE AS over several shards"),
        ("CREATE TEMP TABLE x AS SELECT id FROM jobs", "x is made of what s1 alone has"),
        ("TRUNCATE jobs, orders", "jobs is on s1 alone, and orders is not"),
        ("DROP TABLE settings, jobs", "settings is on s0 alone, and jobs on s1"),
        ("ALTER TABLE jobs ADD FOREIGN KEY (id) REFERENCES orders", "has not all rows of orders"),
        ("ALTER TABLE orders ADD FOREIGN KEY (n) REFERENCES jobs", "jobs is on s1 alone, and ord"),
        ("CREATE TABLE made (id int REFERENCES settings)", "made is on s1 alone, and settings on"),
        ("CREATE RULE r AS ON INSERT TO orders DO DELETE FROM jobs", "and orders is not"),
        ("ALTER TABLE jobs RENAME TO work", "becomes public.work, and jobs is declared"),
        ("UPDATE open_jobs SET what = o.n FROM orders o WHERE o.id = open_jobs.id", "s1 alone"),
        ("CREATE VIEW both_of AS SELECT 1 FROM jobs, settings", "alone, and"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(conn, text, match):
    with pytest.raises(greenshard.NotSupportedError, match=match):
        conn.cursor().execute(text)


def test_a_shard_that_is_named_must_be_the_tables_own(servers):
    # Of its own: what was done before on the same one would have its catalog know all tables.
    cluster = greenshard.Cluster(dsns_of(servers), TABLES)
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        _name_shards(conn)


def _name_shards(conn):
    cur = conn.cursor()
    with conn.on("s2"):
        for text in (
            "INSERT INTO jobs (what) VALUES ('a')",
            "UPDATE jobs SET what = 'b'",
            "DELETE FROM jobs",
            "TRUNCATE jobs",
            "WITH gone AS (DELETE FROM jobs RETURNING id) SELECT * FROM gone",
        ):
            if text.startswith(("DELETE", "WITH")):
                text = text.replace("jobs", "settings")  # noqa: PLW2901
            with pytest.raises(greenshard.NotSupportedError, match="alone, and would be written"):
                cur.execute(text)
    with conn.on("s2"), pytest.raises(psycopg2.errors.UndefinedTable):
        cur.execute("SELECT * FROM jobs")
    conn.rollback()
    with conn.on("s1"):
        cur.execute("INSERT INTO jobs (what) VALUES ('a') RETURNING what")
        assert cur.fetchall() == [("a",)]
    cur.execute("SELECT what FROM jobs")
    assert cur.fetchall() == [("a",)]


def test_triggers_and_policies_are_looked_at(servers, conn):
    cur = conn.cursor()
    cur.execute(
        "CREATE FUNCTION logs() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO done VALUES (NEW.id, 1); RETURN NEW; END'"
    )
    cur.execute("CREATE TRIGGER t AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION logs()")
    cur.execute("CREATE TRIGGER t AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION logs()")
    for text in (
        "INSERT INTO jobs (what) VALUES ('a')",
        "WITH a AS (INSERT INTO jobs (what) VALUES ('a') RETURNING 1) SELECT * FROM a",
        "INSERT INTO open_jobs (what) VALUES ('a')",
        "INSERT INTO orders VALUES (99)",
    ):
        cur.execute("SAVEPOINT s")
        with pytest.raises(greenshard.NotSupportedError, match='fires trigger "t"'):
            cur.execute(text)
        cur.execute("ROLLBACK TO s")
    cur.execute("DROP TRIGGER t ON orders")
    tables = {**TABLES, "jobs": greenshard.Single("s1", triggers=("t",))}
    conn.commit()
    with contextlib.closing(greenshard.connect(greenshard.Cluster(dsns_of(servers), tables))) as c:
        with c, c.cursor() as own:
            own.execute("INSERT INTO jobs (what) VALUES ('a') RETURNING id")
            ((job,),) = own.fetchall()
            own.execute("SELECT * FROM done")
            assert own.fetchall() == [(job, 1)]
            own.execute("DELETE FROM jobs")
        with c, c.cursor() as own:
            own.execute("DROP FUNCTION logs CASCADE")


def test_a_policy_that_reads_what_is_on_the_same_shard_is_applied_there(servers, conn):
    cur = conn.cursor()
    cur.execute("INSERT INTO jobs (what) VALUES ('a'), ('b')")
    cur.execute("INSERT INTO done SELECT id, 1 FROM jobs WHERE what = 'a'")
    cur.execute("GRANT SELECT ON jobs, done TO pg_monitor")
    cur.execute("GRANT SELECT ON orders TO pg_monitor")
    cur.execute("ALTER TABLE jobs ENABLE ROW LEVEL SECURITY")
    cur.execute("CREATE POLICY p ON jobs USING (id IN (SELECT job FROM done))")
    cur.execute("SET LOCAL ROLE pg_monitor")
    cur.execute("SELECT what FROM jobs")
    assert cur.fetchall() == [("a",)]
    cur.execute("RESET ROLE")
    cur.execute("DROP POLICY p ON jobs")
    cur.execute("CREATE POLICY p ON jobs USING (id IN (SELECT id FROM orders))")
    cur.execute("SET LOCAL ROLE pg_monitor")
    with pytest.raises(greenshard.NotSupportedError, match="policy"):
        cur.execute("SELECT what FROM jobs")


def test_functions_in_sql_are_planned_by_their_texts(conn):
    cur = conn.cursor()
    cur.execute("SET check_function_bodies = off")
    cur.execute(
        "CREATE FUNCTION count_jobs() RETURNS bigint STABLE LANGUAGE sql AS"
        " 'SELECT count(*) FROM jobs'"
    )
    conn.commit()
    cur.execute("INSERT INTO jobs (what) VALUES ('a'), ('b')")
    cur.execute("SELECT count_jobs()")
    assert cur.fetchall() == [(2,)]
    cur.execute("SELECT id FROM orders WHERE n = count_jobs()")
    assert cur.fetchall() == [(6,)]
    conn.rollback()
    cur.execute("DROP FUNCTION count_jobs()")
    conn.commit()


def test_executemany_and_named_cursors(conn):
    cur = conn.cursor()
    cur.executemany("INSERT INTO jobs (what) VALUES (%s)", [("a",), ("b",), ("c",)])
    assert cur.rowcount == 3
    execute_values(cur, "INSERT INTO jobs (what) VALUES %s", [("d",), ("e",)])
    with conn.cursor("named") as named:
        named.execute("SELECT what FROM jobs ORDER BY what")
        assert named.fetchall() == [("a",), ("b",), ("c",), ("d",), ("e",)]
    assert "strategy: route\nshards: s1" in conn.explain("DELETE FROM jobs")


def test_a_table_is_found_though_the_catalog_came_from_another_shard(servers):
    """Two shards have tables alone, so no one's catalog has all of them."""
    with contextlib.closing(greenshard.connect(greenshard.Cluster(dsns_of(servers), TABLES))) as c:
        cur = c.cursor()
        with c.on("s2"):
            cur.execute("SELECT 1")
        for text in ("SELECT count(*) FROM jobs", "SELECT count(*) FROM settings"):
            cur.execute(text)
            assert cur.fetchall() == [(0,)]
        cur.execute("SELECT count(*) FROM jobs, settings, orders")
        assert cur.fetchall() == [(0,)]
        with pytest.raises(psycopg2.errors.UndefinedTable):
            cur.execute("SELECT * FROM nosuch")


def test_a_sequence_that_tables_on_two_shards_share_is_refused(conn):
    cur = conn.cursor()
    cur.execute("ALTER TABLE orders ALTER n SET DEFAULT nextval('free')")
    cur.execute("ALTER TABLE done ADD COLUMN x int")
    cur.execute("ALTER TABLE done ALTER x SET DEFAULT nextval('free')")
    for text in (
        "INSERT INTO done (job) VALUES (1)",
        "INSERT INTO done (job) SELECT id FROM orders",
        "WITH a AS (INSERT INTO done (job) VALUES (1) RETURNING 1) SELECT * FROM a",
    ):
        cur.execute("SAVEPOINT s")
        with pytest.raises(greenshard.NotSupportedError, match="x of done is counted on s1, and"):
            cur.execute(text)
        cur.execute("ROLLBACK TO s")


def test_several_statements_in_one_string_run_where_each_belongs(servers, conn):
    cur = conn.cursor()
    cur.execute(
        "CREATE TABLE made (id int PRIMARY KEY); CREATE INDEX i ON made (id);"
        "INSERT INTO made VALUES (7); UPDATE nation SET name = 'x' WHERE id = 1;"
        "SELECT count(*) FROM made"
    )
    assert cur.fetchall() == [(1,)]
    conn.commit()
    try:
        for shard, dsn in dsns_of(servers).items():
            with contextlib.closing(psycopg2.connect(dsn)) as plain, plain.cursor() as own:
                own.execute("SELECT to_regclass('made') IS NOT NULL, name FROM nation WHERE id = 1")
                assert own.fetchall() == [(shard == "s1", "x")]
    finally:
        cur.execute("DROP TABLE made; UPDATE nation SET name = 'Peru' WHERE id = 1")
        conn.commit()
