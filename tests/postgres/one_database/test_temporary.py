"""Temporary tables are reference tables of their session, and come and go as on one server.

Each case is a list of statements. They run on one server that has all rows, and on three shards;
what each statement tells is compared. A "COMMIT" or "ROLLBACK" among them is the connection's.
"""

from __future__ import annotations

import contextlib

import psycopg2
import pytest
from psycopg2.extras import execute_values

import greenshard
from tests.initialised import initialised
from tests.postgres.one_database.side_by_side import one_and_more

SCHEMA = """
CREATE TABLE nation (id int PRIMARY KEY, name text);
CREATE TABLE orders (id int PRIMARY KEY, nation int, n int);
CREATE TYPE mood AS ENUM ('sad', 'ok');
"""
ROWS = [
    "INSERT INTO nation VALUES (1, 'Peru'), (2, 'Chad'), (3, NULL)",
    "INSERT INTO orders SELECT g, g % 4, g * 3 % 10 FROM generate_series(1, 30) g",
]
TABLES = {"nation": greenshard.Reference(), "orders": greenshard.Sharded("id")}

CASES = {
    "rows": [
        "CREATE TEMP TABLE picked (id int PRIMARY KEY, what text DEFAULT 'x', m mood, a int[])",
        "INSERT INTO picked VALUES (1, 'a', 'ok', '{1}'), (7, 'b', NULL, NULL)",
        "INSERT INTO picked (id) VALUES (9), (30) RETURNING id, what",
        ("INSERT INTO picked (id, what) VALUES (%s, %s)", (5, "%")),
        "INSERT INTO picked (id) VALUES (9)",
        "INSERT INTO picked (id) VALUES (9) ON CONFLICT (id) DO UPDATE SET what = 'again'",
        "INSERT INTO picked (id, what) SELECT id + 100, name FROM nation",
        "INSERT INTO picked (id, what) SELECT id + 200, n FROM orders WHERE n = 9",
        "UPDATE picked SET what = what || '!' WHERE id < 9 RETURNING id",
        "DELETE FROM picked WHERE id = 30",
        "SELECT * FROM picked ORDER BY id",
        "SELECT count(*) FROM picked",
        "TRUNCATE picked",
        "SELECT * FROM picked",
        "COMMIT",
        "INSERT INTO picked (id) VALUES (4)",
        "SELECT id FROM picked",
        "ROLLBACK",
        "SELECT id FROM picked",
        "DROP TABLE picked",
        "SELECT id FROM picked",
    ],
    "joins": [
        "CREATE TEMP TABLE picked (id int, what text)",
        "INSERT INTO picked VALUES (1, 'a'), (7, 'b'), (7, 'c'), (99, NULL)",
        # Whoever has not written looks for reference tables where they are.
        "COMMIT",
        "SELECT o.id, what FROM orders o JOIN picked USING (id) ORDER BY 1, 2",
        "SELECT o.id, what FROM orders o LEFT JOIN picked USING (id) ORDER BY 1 DESC, 2 LIMIT 5",
        "SELECT p.id, o.n FROM picked p LEFT JOIN orders o USING (id) ORDER BY 1, 2",
        "SELECT count(*), sum(n) FROM orders WHERE id IN (SELECT id FROM picked)",
        (
            "SELECT what, count(DISTINCT o.nation) FROM picked p, orders o WHERE o.n < p.id"
            " GROUP BY 1 ORDER BY 1"
        ),
        "SELECT name, what FROM nation n LEFT JOIN picked p ON p.id = n.id ORDER BY 1, 2",
        "SELECT what FROM picked UNION SELECT name FROM nation ORDER BY 1",
        (
            "SELECT id, (SELECT max(what) FROM picked p WHERE p.id = o.id) FROM orders o"
            " WHERE n = 1 ORDER BY 1"
        ),
        "SELECT o.id FROM orders o JOIN picked USING (id) WHERE o.id = 7",
        "SELECT pg_temp.picked.id FROM pg_temp.picked ORDER BY 1",
        "UPDATE orders SET n = 0 FROM picked WHERE picked.id = orders.id AND what <> 'c'",
        "UPDATE nation SET name = what FROM picked WHERE picked.id = nation.id",
        "DELETE FROM orders WHERE id IN (SELECT id FROM picked)",
        "INSERT INTO orders (id, n) SELECT id + 1000, 1 FROM picked WHERE what IN ('a', 'b')",
        "DELETE FROM picked USING orders o WHERE o.id = picked.id + 1000",
        "SELECT * FROM picked ORDER BY 1, 2",
        "SELECT * FROM orders WHERE id > 1000 ORDER BY 1",
    ],
    "what comes and goes": [
        "CREATE TEMP TABLE a (id int) ON COMMIT DROP",
        "INSERT INTO a VALUES (1)",
        "SELECT * FROM a",
        "COMMIT",
        "SELECT * FROM a",
        "CREATE TEMP TABLE a (id int) ON COMMIT DELETE ROWS",
        "INSERT INTO a VALUES (1)",
        "COMMIT",
        "SELECT * FROM a",
        "CREATE TEMP TABLE b (id int) ON COMMIT PRESERVE ROWS",
        "SELECT * FROM b",
        "ROLLBACK",
        "SELECT * FROM b",
        "SAVEPOINT mine",
        "CREATE TEMPORARY TABLE b (id int, x text)",
        "INSERT INTO b VALUES (1, 'x')",
        "ROLLBACK TO SAVEPOINT mine",
        "SELECT * FROM b",
        "CREATE TEMP TABLE b (y date)",
        "INSERT INTO b VALUES ('2024-01-01')",
        "SELECT * FROM b",
        "CREATE TEMP TABLE b (y date)",
        "CREATE TEMP TABLE IF NOT EXISTS b (y date)",
        "ALTER TABLE b ADD COLUMN z int DEFAULT 7",
        "INSERT INTO b (z) VALUES (8)",
        "SELECT * FROM b ORDER BY z",
        "COMMIT",
        "DISCARD TEMP",
        "SELECT * FROM a",
        "CREATE TEMP TABLE a (id int); INSERT INTO a VALUES (3); SELECT id FROM a",
        "CREATE TABLE pg_temp.d (id int)",
        "INSERT INTO pg_temp.d VALUES (5)",
        "SELECT * FROM d",
    ],
    "a declared table's name": [
        "CREATE TEMP TABLE orders (id text)",
        "INSERT INTO orders VALUES ('mine')",
        "SELECT * FROM orders",
        "SELECT count(*) FROM public.orders",
        "SELECT o.id, p.n FROM orders o, public.orders p WHERE p.id = 3",
        "SELECT count(DISTINCT p.n), max(o.id) FROM orders o, public.orders p",
        "UPDATE orders SET id = 'yours' RETURNING id",
        "DROP TABLE orders",
        "SELECT count(*) FROM orders",
    ],
    "of a query's rows": [
        "CREATE TEMP TABLE a AS SELECT id, n, n * 2.5 AS m FROM orders WHERE n < 3",
        "SELECT * FROM a ORDER BY id",
        "SELECT nation, count(*) INTO TEMP totals FROM orders GROUP BY nation",
        "SELECT * FROM totals ORDER BY nation",
        "SELECT o.id FROM orders o JOIN totals t USING (nation) WHERE t.count > 7 ORDER BY 1",
        (
            "CREATE TEMP TABLE b (x, y) ON COMMIT DROP AS SELECT name, count(*) FROM nation n"
            " LEFT JOIN orders o ON o.nation = n.id GROUP BY name"
        ),
        "SELECT * FROM b ORDER BY x, y",
        "COMMIT",
        "SELECT * FROM b",
        ("CREATE TEMP TABLE c AS SELECT id FROM a WHERE n = %s", (0,)),
        "SELECT * FROM c ORDER BY id",
        "CREATE TEMP TABLE e AS SELECT id FROM orders WITH NO DATA",
        "INSERT INTO e VALUES (1)",
        "SELECT * FROM e",
        "CREATE TEMP TABLE f AS SELECT * FROM nosuch",
    ],
    "numbers": [
        (
            "CREATE TEMP TABLE a (id serial, i int GENERATED ALWAYS AS IDENTITY (START 5), c text,"
            " t int GENERATED ALWAYS AS (1 + 1) STORED, CHECK (c <> 'no'))"
        ),
        "INSERT INTO a (c) VALUES ('x'), ('y') RETURNING *",
        "INSERT INTO a (c) SELECT name FROM nation WHERE name IS NOT NULL ORDER BY id RETURNING *",
        "INSERT INTO a (c) VALUES ('no')",
        "SELECT * FROM a ORDER BY id",
        "CREATE INDEX ON a (c)",
        "CREATE TEMP TABLE u (x uuid DEFAULT gen_random_uuid(), at timestamptz DEFAULT now())",
        "INSERT INTO u DEFAULT VALUES",
        "SELECT cardinality(array_agg(DISTINCT coalesce(x))) FROM u",
        "SELECT count(DISTINCT (x, at)) FROM u JOIN orders ON true",
    ],
}


@pytest.fixture(scope="module")
def servers(greenshard_shards):
    with one_and_more(greenshard_shards, 3) as (one, dsns):
        cluster = initialised(greenshard.Cluster(dsns, TABLES))
        for dsn in (one, *dsns.values()):
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                cur.execute(SCHEMA)
        yield one, cluster


@pytest.fixture
def both(servers):
    """A connection to the server that has all rows, and one to the shards; emptied afterwards."""
    one, cluster = servers
    with (
        contextlib.closing(psycopg2.connect(one)) as single,
        contextlib.closing(greenshard.connect(cluster)) as conn,
    ):
        for each in (single, conn):
            cur = each.cursor()
            cur.execute("TRUNCATE public.orders, public.nation")
            for statement in ROWS:
                cur.execute(statement)
            each.commit()
        yield single, conn


@pytest.fixture
def conn(both):
    return both[1]


def told(conn, cur, statement):
    """What a statement tells; or the error's code, which fails nothing."""
    text, given = statement if isinstance(statement, tuple) else (statement, None)
    if text in ("COMMIT", "ROLLBACK"):
        return (conn.commit if text == "COMMIT" else conn.rollback)()
    cur.execute("SAVEPOINT before")
    try:
        cur.execute(text, given)
    except psycopg2.Error as error:
        cur.execute("ROLLBACK TO SAVEPOINT before")
        return error.pgcode, error.diag.column_name, error.diag.constraint_name
    rows = cur.fetchall() if cur.description else None
    return rows, cur.rowcount, cur.statusmessage


@pytest.mark.parametrize("case", CASES)
def test_shards_do_what_one_server_does(both, case):
    single, conn = both
    mine, theirs = conn.cursor(), single.cursor()
    for statement in CASES[case]:
        expected = told(single, theirs, statement)
        assert told(conn, mine, statement) == expected, statement


def test_in_autocommit_mode(both):
    _, conn = both
    for each in both:
        each.autocommit = True
        cur = each.cursor()
        cur.execute("CREATE TEMP TABLE a (id int PRIMARY KEY, o int)")
        cur.execute("INSERT INTO a VALUES (1, 2), (3, 4)")
        cur.executemany("INSERT INTO a VALUES (%s, %s)", [(5, 6), (7, 8)])
        execute_values(cur, "INSERT INTO a VALUES %s", [(9, 10), (11, 12)])
        with pytest.raises(psycopg2.errors.UniqueViolation):
            cur.execute("INSERT INTO a VALUES (20, 1), (3, 4)")
        cur.execute("SELECT * FROM a ORDER BY id")
        assert cur.fetchall() == [(n, n + 1) for n in (1, 3, 5, 7, 9, 11)]
        cur.execute("SELECT count(DISTINCT o.nation) FROM orders o JOIN a ON a.o = o.id")
        assert cur.fetchall() == [(2,)]
        cur.execute("CREATE TEMP TABLE gone (id int) ON COMMIT DROP")
        with pytest.raises(psycopg2.errors.UndefinedTable):
            cur.execute("SELECT * FROM gone")
    assert conn.explain("SELECT * FROM a").startswith("strategy: reference")
    each = conn.explain("SELECT array_agg(o.nation) FROM orders o JOIN a ON a.o > o.id")
    assert 'each gives its part of "pg_temp"."a"' not in each
    assert '"pg_temp"."a"' in each


def test_what_sets_a_transaction_is_still_its_first_query(both):
    """To know the temporary tables a shard is asked, but not before this."""
    for each in both:
        each.autocommit = True
        cur = each.cursor()
        cur.execute("CREATE TEMP TABLE a (id int)")
        cur.execute("BEGIN")
        cur.execute("/* now */ SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY")
        cur.execute("SELECT current_setting('transaction_isolation'), count(*) FROM a")
        assert cur.fetchall() == [("serializable", 0)]
        cur.execute("ROLLBACK")
        cur.execute("DROP TABLE a")


def test_code_that_nobody_calls_stands_in_no_drop_s_way(both):
    """A range has casts and functions of its own; what drops a table runs none of them."""
    for each in both:
        each.autocommit = True
        cur = each.cursor()
        cur.execute('CREATE TYPE words AS RANGE (subtype = text, collation = "C")')
        try:
            cur.execute("CREATE TEMP TABLE a AS SELECT 1 AS id")
            cur.execute("TRUNCATE a")
            cur.execute("DROP TABLE a")
            with pytest.raises(psycopg2.errors.UndefinedTable):
                cur.execute("SELECT FROM a")
        finally:
            cur.execute("DROP TYPE words")


def test_named_cursors(conn):
    cur = conn.cursor()
    cur.execute("CREATE TEMP TABLE a (id int)")
    cur.execute("INSERT INTO a SELECT id FROM orders WHERE id < 9")
    with conn.cursor("many") as named:
        named.itersize = 2
        named.execute("SELECT o.id FROM orders o JOIN a USING (id) ORDER BY 1")
        assert [n for (n,) in named] == list(range(1, 9))
    with conn.cursor("gathered") as named:
        named.execute("SELECT DISTINCT o.n - a.id FROM orders o, a WHERE o.id = 1 ORDER BY 1")
        assert [n for (n,) in named] == list(range(-5, 3))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("CREATE TEMP TABLE b () INHERITS (orders)", "inherits or is partitioned"),
        ("CREATE TEMP TABLE b (id int) PARTITION BY HASH (id)", "inherits or is partitioned"),
        ("CREATE TEMP TABLE orders AS SELECT * FROM orders", "hides another one meanwhile"),
        ("SELECT * INTO TEMP nation FROM orders", "hides another one meanwhile"),
        ("CREATE TEMP VIEW v AS SELECT 1", "CREATE TEMPORARY VIEW"),
        ("CREATE TEMP SEQUENCE s", "CREATE TEMPORARY SEQUENCE"),
        ("ALTER TABLE a RENAME TO b", "known by its name, is renamed"),
        ("ALTER TABLE a INHERIT orders", "become rows of orders"),
        ("ALTER TABLE a ADD COLUMN u uuid DEFAULT gen_random_uuid()", "another one on each shard"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(conn, text, match):
    cur = conn.cursor()
    cur.execute("CREATE TEMP TABLE a (id int, nation int, n int)")
    with pytest.raises(greenshard.NotSupportedError, match=match):
        cur.execute(text)


def test_a_table_of_named_shards_is_none_of_all(conn):
    cur = conn.cursor()
    with conn.on("s1"):
        cur.execute("CREATE TEMP TABLE a (id int)")
        cur.execute("INSERT INTO a VALUES (1)")
    with pytest.raises(greenshard.Error, match="relation"):
        cur.execute("SELECT * FROM a")
    conn.rollback()
    for shard in ("s0", "s1", "s2"):
        with conn.on(shard):
            cur.execute(f"CREATE TEMP TABLE a AS SELECT '{shard}' AS name")
    with pytest.raises(greenshard.Error, match="relation"):
        cur.execute("SELECT * FROM a")
    # Nor becomes it one by a statement that makes it where it is not there.
    conn.rollback()
    with conn.on("s1"):
        cur.execute("CREATE TEMP TABLE a (id int)")
    with pytest.raises(greenshard.NotSupportedError, match="hides a on a shard"):
        cur.execute("CREATE TEMP TABLE IF NOT EXISTS a (id int)")


def test_named_shards_may_not_write_one_alone(conn):
    cur = conn.cursor()
    cur.execute("CREATE TEMP TABLE a (id int)")
    cur.execute("SELECT * FROM a")
    conn.commit()
    with conn.on("s1"):
        cur.execute("SELECT count(*) FROM a")
        assert cur.fetchall() == [(0,)]
        for text in ("INSERT INTO a VALUES (1)", "DELETE FROM a", "TRUNCATE a"):
            with pytest.raises(greenshard.NotSupportedError, match="a is written on s1 alone"):
                cur.execute(text)
    cur.execute("INSERT INTO a VALUES (2)")
    cur.execute("SELECT * FROM a")
    assert cur.fetchall() == [(2,)]
    # What else is done there may have changed it.
    with conn.on("s1"):
        cur.execute("DROP TABLE a; CREATE TEMP TABLE a (id text)")
    with pytest.raises(greenshard.Error, match="relation"):
        cur.execute("SELECT * FROM a")


def test_what_runs_beside_it_is_not_left_unseen(conn):
    cur = conn.cursor()
    cur.execute(
        "CREATE FUNCTION adds() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN UPDATE orders SET n = n + 1; RETURN NEW; END'"
    )
    cur.execute("CREATE TEMP TABLE a (id int)")
    cur.execute("INSERT INTO a VALUES (1)")
    cur.execute("CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION adds()")
    with pytest.raises(greenshard.Error, match="beside temporary table a"):
        cur.execute("INSERT INTO a VALUES (1)")


def test_a_session_that_was_lost_is_told(both, servers):
    _, conn = both
    conn.autocommit = True
    cur = conn.cursor()
    cur.execute("CREATE TEMP TABLE a (id int)")
    cur.execute("INSERT INTO a VALUES (1)")
    with conn.on("s1"):
        cur.execute("SELECT pg_backend_pid()")
        ((pid,),) = cur.fetchall()
    with contextlib.closing(psycopg2.connect(servers[1].shards["s1"].primary)) as other:
        other.cursor().execute("SELECT pg_terminate_backend(%s)", (pid,))
    with pytest.raises(greenshard.Error):
        cur.execute("SELECT count(*) FROM orders JOIN a USING (id)")


def test_a_pool_gives_nobody_another_ones(servers):
    with contextlib.closing(greenshard.Pool(servers[1], max_size=1, timeout=20)) as pool:
        with pool.connection() as conn:
            cur = conn.cursor()
            cur.execute("CREATE TEMP TABLE a (id int)")
            cur.execute("INSERT INTO a VALUES (1)")
        with pool.connection() as conn:
            cur = conn.cursor()
            with pytest.raises(psycopg2.errors.UndefinedTable):
                cur.execute("SELECT * FROM a")
        with pool.connection() as conn:
            cur = conn.cursor()
            cur.execute("CREATE TEMP TABLE a (x text)")
            cur.execute("INSERT INTO a VALUES ('b')")
            cur.execute("SELECT * FROM a")
            assert cur.fetchall() == [("b",)]


def test_one_that_hides_a_table_on_a_shard_is_not_written_in_its_place(conn):
    cur = conn.cursor()
    with conn.on("s1"):
        cur.execute("CREATE TEMP TABLE nation (id int, name text)")
    for text in (
        "INSERT INTO nation VALUES (9, 'x')",
        "UPDATE nation SET name = 'x'",
        "TRUNCATE nation",
        "ALTER TABLE nation ADD COLUMN y int",
        "CREATE TEMP TABLE IF NOT EXISTS nation (id int, name text)",
    ):
        with pytest.raises(greenshard.NotSupportedError, match="hides nation on a shard"):
            cur.execute(text)
    cur.execute("INSERT INTO public.orders VALUES (99, 1, 1)")
