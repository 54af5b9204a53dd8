"""What needs too many rows is run by the coordinator: the same answer, or the refusal of before."""

from __future__ import annotations

import contextlib
import time

import psycopg2
import pytest
from psycopg2 import extras
from psycopg2.extensions import make_dsn

import greenshard
from tests.postgres.psql import run

JOIN = "orders a JOIN items i ON i.n = a.customer JOIN orders b ON b.id = i.order_id"
ODD = """
    SELECT o."select", "Odd ""Table"."a%%b" FROM "Far"."Odd ""Table" JOIN orders o2
    ON o2.customer = "Odd ""Table"."select" JOIN "Far"."Odd ""Table" o ON o."select" = o2.id
    WHERE o."The Key" <> %s ORDER BY 1, 2"""
RANGES = """
    SELECT z.zone, percentile_disc(0.5) WITHIN GROUP (ORDER BY n) FROM zones z
    JOIN orders o ON o.customer = z.zone GROUP BY 1 ORDER BY 1"""
RECURSION = """
    WITH RECURSIVE r AS (SELECT id, customer FROM orders WHERE id = 60 UNION
    SELECT o.id, o.customer FROM orders o JOIN r ON o.id = r.customer) SELECT * FROM r ORDER BY 1"""
OUTER = "SELECT name, o.id FROM orders o RIGHT JOIN nation n ON n.id = customer + 0 ORDER BY 1, 2"
ALONE = """
    SELECT name, count(o.id) FROM app.settings LEFT JOIN orders o ON o.note > value
    GROUP BY name ORDER BY 1"""
OWN_TYPES = f"""
    SELECT a.feeling, b.both_of, a.tags, b.span, a.twice FROM {JOIN} ORDER BY a.id, b.id, i.n"""
SETTINGS = f"""
    SELECT a.span::text, to_char(a.total, '9D99'), ('2020-02-01 12:00+00'::timestamptz)::text,
    i.weight::text, ('1/2/2020'::date - '2020-01-01'::date) FROM {JOIN} ORDER BY a.id, b.id, i.n"""
WINDOW = "SELECT id, lag(total) OVER (ORDER BY total) FROM orders ORDER BY 1"
STATEMENTS = {
    "a join of other columns": (f"SELECT a.id, b.note, i.word FROM {JOIN} ORDER BY 1, 2, 3", None),
    "types of the users": (OWN_TYPES, None),
    "parameters": (f"SELECT count(*), %s AS p FROM {JOIN} WHERE b.total > %s", ("x%", 20)),
    "named parameters": (f"SELECT count(*) FROM {JOIN} WHERE a.id <> %(x)s", {"x": 7}),
    "a percent sign": (f"SELECT count(*) FROM {JOIN} WHERE a.note LIKE 'B%'", None),
    "the time": (f"SELECT count(*) FROM {JOIN} WHERE now() > '2020-01-01'", None),
    "a view": ("SELECT count(*) FROM dear a JOIN dear b ON a.id = b.customer", None),
    "an outer join": (OUTER, None),
    "odd names": (ODD, ("k3",)),
    "ranges": (RANGES, None),
    "one shard's table": (ALONE, None),
    "an enum that is named": (f"SELECT count(*) FROM {JOIN} WHERE a.feeling > 'sad'::mood", None),
    "a window over all": (WINDOW, None),
    "recursion": (RECURSION, None),
    "groups": ("SELECT customer, count(*), avg(total) FROM orders GROUP BY 1 ORDER BY 1", None),
}


def answers(statement, given, *conns, name=None):
    """What each connection says: rows, and the columns' names and, of PostgreSQL's own, types."""
    told = []
    for each in conns:
        with each.cursor(name) as cursor:
            cursor.execute(statement, given)
            if name is not None:
                cursor.itersize = 7
            rows = cursor.fetchall()
            columns = [
                (c.name, c.type_code if c.type_code < 16384 else 0) for c in cursor.description
            ]
            told.append((rows, columns))
    return told


@pytest.fixture
def ran(conn):
    """The strategies of the statements that were run."""
    ran = []
    conn.on_event = lambda event: ran.append(event.strategy)
    return ran


@pytest.mark.parametrize("name", [None, "named"])
@pytest.mark.parametrize("kind", STATEMENTS)
def test_the_answer_is_one_server_s(shop, single, kind, name):
    strategies = []
    with contextlib.closing(
        greenshard.connect(
            shop.cluster, gather_limit=0, on_event=lambda event: strategies.append(event.strategy)
        )
    ) as conn:
        ours, theirs = answers(*STATEMENTS[kind], conn, single, name=name)
    assert ours == theirs
    assert ours[0]
    assert strategies[0] == "coordinator"


def test_with_room_enough_nothing_is_asked_of_it(shop):
    cluster = greenshard.Cluster(shop.dsns, shop.cluster.tables, coordinator="host=/nowhere")
    with contextlib.closing(greenshard.connect(cluster)) as conn, conn.cursor() as cur:
        cur.execute(*STATEMENTS["a join of other columns"])
        assert cur.fetchone()


def test_the_plan_says_what_it_would_run(conn):
    told = conn.explain(f"SELECT count(*) FROM {JOIN}")
    assert "if more than gather_limit rows are needed, the coordinator runs:" in told
    assert "FROM public.orders a JOIN public.items i" in told
    told = conn.explain(f"SELECT current_user, count(*) FROM {JOIN}")
    assert "the coordinator cannot run it instead: CURRENT_USER is another one there" in told


def test_timings_tell_of_it(conn):
    with conn.cursor() as cur:
        cur.execute(f"SELECT a.id FROM {JOIN}")
        assert cur.timings["coordinator"].rows == cur.rowcount


def test_settings_of_the_session_go_along(conn, single):
    for each in (conn, single):
        with each.cursor() as cur:
            cur.execute("SET TimeZone = 'Asia/Kolkata'; SET IntervalStyle = 'sql_standard'")
            cur.execute("SET DateStyle = 'SQL, DMY'")
            cur.execute("SET extra_float_digits = -10")
            cur.execute("SET search_path = app, public")
    ours, theirs = answers(SETTINGS, None, conn, single)
    assert ours == theirs
    assert ours[0][0][4] == 31


def test_typecasters_of_the_user_read_its_values(conn, single):
    statement = f"SELECT a.both_of, a.feeling, a.total FROM {JOIN} ORDER BY a.id, b.id, i.n"
    told = []
    for each in (conn, single):
        extras.register_composite("app.pair", each)
        told += answers(statement, None, each)
    assert told[0][0] == told[1][0]
    assert type(told[0][0][0][0]).__name__ == "pair"


# What it is not asked for -----------------------------------------------------------------------


REFUSED = {
    "ONLY": ("SELECT count(*) FROM ONLY orders a JOIN ONLY orders b ON a.id = b.customer", "ONLY"),
    "who asks": (f"SELECT session_user, count(*) FROM {JOIN}", "SESSION_USER"),
    "a setting": (f"SELECT current_setting('work_mem'), count(*) FROM {JOIN}", "current_setting()"),
    "a name": (f"SELECT 'orders'::regclass::text, count(*) FROM {JOIN}", "regclass"),
    "a type": (f"SELECT pg_typeof(max(a.id))::text FROM {JOIN}", "pg_typeof()"),
    "the path": (f"SELECT current_schema, count(*) FROM {JOIN}", "CURRENT_SCHEMA"),
    "code that is not there": (
        f"SELECT sum(twice(a.customer)) FROM {JOIN}", "it lacks the function public.twice(integer)",
    ),
}  # fmt: skip


def refusal(conn, statement):
    with pytest.raises(greenshard.NotSupportedError) as refused, conn.cursor() as cur:
        cur.execute(statement)
    assert refused.value.code == "GS405"
    return str(refused.value)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_it_would_say_otherwise_is_refused(conn, kind):
    statement, why = REFUSED[kind]
    told = refusal(conn, statement)
    assert "the coordinator does not run it instead" in told
    assert why in told
    with conn.cursor() as cur:  # and the transaction goes on
        cur.execute("SELECT count(*) FROM orders")
        assert cur.fetchone() == (60,)


def test_what_this_transaction_has_written_it_would_not_see(conn):
    statement = f"SELECT count(*) FROM {JOIN}"
    with conn.cursor() as cur:
        cur.execute("DELETE FROM items WHERE order_id = 3")
        assert "does not see what this transaction has written" in refusal(conn, statement)
        conn.rollback()
        cur.execute(statement)


def test_nor_what_a_function_has_written_unseen(conn, shop):
    for dsn in shop.dsns.values():
        run(
            dsn,
            "CREATE TABLE IF NOT EXISTS noted (n int);"
            "CREATE OR REPLACE FUNCTION note() RETURNS int LANGUAGE sql "
            "AS 'INSERT INTO noted VALUES (1) RETURNING n'",
        )
    with conn.on("s1").cursor() as cur:
        cur.execute("SELECT note()")
    assert "has written" in refusal(conn, f"SELECT count(*) FROM {JOIN}")


def test_a_snapshot_it_would_not_see(conn):
    with conn.snapshot():
        assert "does not see the snapshot" in refusal(conn, f"SELECT count(*) FROM {JOIN}")


def test_a_transaction_that_repeats_its_reads(conn):
    conn.isolation_level = psycopg2.extensions.ISOLATION_LEVEL_REPEATABLE_READ
    assert "at repeatable read" in refusal(conn, f"SELECT count(*) FROM {JOIN}")


def test_temporary_tables_it_does_not_have(conn):
    with conn.cursor() as cur:
        cur.execute("CREATE TEMP TABLE picked (id int)")
        cur.execute("INSERT INTO picked VALUES (1)")
    conn.commit()
    told = refusal(conn, "SELECT count(*) FROM orders a JOIN orders b ON a.id = b.customer, picked")
    assert "picked is a temporary table" in told


def test_arrays_that_the_session_reads_otherwise(conn):
    with conn.cursor() as cur:
        cur.execute("SET array_nulls = off")
    assert "array_nulls" in refusal(conn, f"SELECT a.tags FROM {JOIN}")


def test_policies_of_the_shards_are_for_the_user(conn, shop):
    with changed(shop, "ALTER TABLE items ENABLE ROW LEVEL SECURITY", "DISABLE"):
        assert "policies" in refusal(conn, f"SELECT count(*) FROM {JOIN}")
        conn.rollback()


@contextlib.contextmanager
def changed(shop, ddl, undo):
    words = ddl.replace("ENABLE", undo)
    for dsn in shop.dsns.values():
        run(dsn, ddl)
    try:
        yield
    finally:
        for dsn in shop.dsns.values():
            run(dsn, words)


def test_the_user_must_have_the_rights(shop):
    for dsn in shop.dsns.values():
        run(dsn, "CREATE ROLE few LOGIN; GRANT SELECT ON orders TO few")
    cluster = greenshard.Cluster(
        {name: make_dsn(dsn, user="few") for name, dsn in shop.dsns.items()},
        shop.cluster.tables,
        coordinator=shop.reader,
    )
    try:
        with contextlib.closing(greenshard.connect(cluster, gather_limit=0)) as conn:
            with conn.cursor() as cur:
                cur.execute("SELECT count(*) FROM orders a JOIN orders b ON a.id = b.customer")
            with pytest.raises(psycopg2.errors.InsufficientPrivilege), conn.cursor() as cur:
                # The rows of orders are too many before those of items are asked for.
                cur.execute(f"SELECT count(*) FROM {JOIN}")
    finally:
        for dsn in shop.dsns.values():
            run(dsn, "DROP OWNED BY few; DROP ROLE few")


def test_an_error_of_the_values_is_the_answer(conn):
    with pytest.raises(psycopg2.errors.DivisionByZero), conn.cursor() as cur:
        cur.execute(f"SELECT a.id / (b.id - b.id) FROM {JOIN}")


def test_where_it_cannot_be_reached_the_refusal_says_so(shop):
    cluster = greenshard.Cluster(
        shop.dsns, shop.cluster.tables, coordinator="host=/nowhere password=sesame"
    )
    with contextlib.closing(greenshard.connect(cluster, gather_limit=0)) as conn:
        told = refusal(conn, f"SELECT count(*) FROM {JOIN}")
    assert "/nowhere" in told
    assert "sesame" not in told


# What has changed since it was made ------------------------------------------------------------


PART = 'greenshard_s1."public.orders"'
BOUNDS = "FOR VALUES WITH (MODULUS 2, REMAINDER 1)"
SHADOW = "FUNCTION public.upper(int)"
HOST = "ALTER SERVER greenshard_s0 OPTIONS (SET host '{}')"
#: Where something changes, what, how it is undone, and the reason that is given.
DRIFT = {
    "a column more": (
        "shards",
        "ALTER TABLE items ADD later int",
        "ALTER TABLE items DROP later",
        "other columns",
    ),
    "NULLs where there were none": (
        "shards",
        "ALTER TABLE orders ALTER total DROP NOT NULL",
        "ALTER TABLE orders ALTER total SET NOT NULL",
        "NULLs",
    ),
    "a function of the same name": (
        "coordinator",
        f"CREATE {SHADOW} RETURNS text LANGUAGE sql AS 'SELECT $1'",
        f"DROP {SHADOW}",
        "function public.upper(integer)",
    ),
    "an operator": (
        "coordinator",
        "CREATE OPERATOR public.= (FUNCTION = int4ne, LEFTARG = int, RIGHTARG = int)",
        "DROP OPERATOR public.= (int, int)",
        "operator public.=",
    ),
    "a label of an enum": (
        "coordinator",
        "ALTER TYPE mood RENAME VALUE 'glad' TO 'Glad'",
        "ALTER TYPE mood RENAME VALUE 'Glad' TO 'glad'",
        "type public.mood",
    ),
    "a server that is another shard": (
        "coordinator",
        HOST.format("{s1}"),
        HOST.format("{s0}"),
        "stamped as shard s1",
    ),
    "a part that is gone": (
        "coordinator",
        f"ALTER TABLE orders DETACH PARTITION {PART}",
        f"ALTER TABLE orders ATTACH PARTITION {PART} {BOUNDS}",
        "not put together",
    ),
}


@pytest.mark.parametrize("kind", DRIFT)
def test_what_has_changed_is_seen(shop, conn, kind):
    where, ddl, undo, why = DRIFT[kind]
    hosts = {n: psycopg2.extensions.parse_dsn(dsn)["host"] for n, dsn in shop.dsns.items()}
    places = shop.dsns.values() if where == "shards" else [shop.admin]
    for dsn in places:
        run(dsn, ddl.format(**hosts))
    try:
        assert why in refusal(conn, f"SELECT count(*), max(a.total) FROM {JOIN}")
    finally:
        conn.rollback()
        for dsn in places:
            run(dsn, undo.format(**hosts))
    with conn.cursor() as cur:
        cur.execute(f"SELECT count(*), max(a.total) FROM {JOIN}")
        assert cur.fetchone()[0]


#: What is made on the shards and on the coordinator, then on the shards only; a query that means
#: another thing without that; and the reason that is given.
LACKING = {
    "a function": (
        "CREATE FUNCTION public.f(numeric) RETURNS text IMMUTABLE LANGUAGE sql AS $$SELECT 'n'$$",
        "CREATE FUNCTION public.f(int) RETURNS text IMMUTABLE LANGUAGE sql AS $$SELECT 'i'$$",
        "f(max(a.customer))",
        "function public.f(integer)",
    ),
    "a function called as PostgreSQL's own": (
        "SELECT",
        "CREATE FUNCTION public.sign(int) RETURNS float8 IMMUTABLE LANGUAGE sql AS 'SELECT 7.0'",
        "sign(max(a.customer))",
        "function public.sign(integer)",
    ),
    "an operator": (
        "CREATE FUNCTION public.f(numeric, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 7'",
        "CREATE OPERATOR public.+ (FUNCTION = public.f, LEFTARG = numeric, RIGHTARG = int)",
        "max(a.total)::numeric + max(a.customer)",
        "operator public.+ (numeric, integer)",
    ),
    "a cast": (
        "CREATE FUNCTION public.f(mood) RETURNS text IMMUTABLE LANGUAGE sql AS $$SELECT 'm'$$",
        "CREATE CAST (mood AS text) WITH FUNCTION public.f(mood)",
        "max(a.feeling)::text",
        "cast public.mood as text",
    ),
    "a function in another's body": (
        """CREATE FUNCTION public.f(numeric) RETURNS text IMMUTABLE LANGUAGE sql AS $$SELECT 'n'$$;
        CREATE FUNCTION public.g(int) RETURNS text IMMUTABLE LANGUAGE plpgsql
        AS 'BEGIN RETURN f($1); END'""",
        "CREATE FUNCTION public.f(int) RETURNS text IMMUTABLE LANGUAGE sql AS $$SELECT 'i'$$",
        "g(max(a.customer))",
        "function public.f(integer)",
    ),
}


@pytest.mark.parametrize("kind", LACKING)
def test_what_it_lacks_is_seen(shop, kind):
    """With a declaration of its own, which has no earlier catalog."""
    cluster = greenshard.Cluster(shop.dsns, shop.cluster.tables, coordinator=shop.reader)
    both, shards, expression, why = LACKING[kind]
    undo = (
        "DROP CAST IF EXISTS (mood AS text); DROP OPERATOR IF EXISTS public.+ (numeric, int);"
        "DROP FUNCTION IF EXISTS public.f(int), public.f(numeric), public.f(numeric, int),"
        " public.f(mood), public.g(int), public.sign(int)"
    )
    try:
        for dsn in shop.dsns.values():
            run(dsn, both, shards)
        run(shop.admin, both)
        with contextlib.closing(greenshard.connect(cluster, gather_limit=0)) as conn:
            assert f"it lacks the {why}" in refusal(conn, f"SELECT {expression} FROM {JOIN}")
            if kind != "a cast":  # which no name tells
                with conn.cursor() as cur:
                    cur.execute(f"SELECT max(a.id) FROM {JOIN}")
    finally:
        for dsn in (*shop.dsns.values(), shop.admin):
            run(dsn, undo)


def test_what_is_left_to_the_coordinator_is_not_gathered_before(shop):
    statement = (
        "SELECT count(*) FROM (SELECT customer, count(*) AS n FROM orders GROUP BY 1) s"
        " JOIN items i ON i.n = s.n % 3 JOIN orders o ON o.customer = i.n"
    )
    told = []
    with contextlib.closing(
        greenshard.connect(shop.cluster, gather_limit=60, on_event=told.append)
    ) as conn:
        conn.autocommit = True
        assert "strategy: subqueries" in conn.explain(statement)
        with conn.cursor() as cur:
            cur.execute(statement)
            read = [cur.timings[shard].rows for shard in shop.dsns]
    assert [each.strategy for each in told] == ["coordinator"]
    assert sum(read) < 2 * 61


def test_a_pool_s_connections_ask_it_too(shop):
    with greenshard.Pool(shop.cluster, max_size=2, gather_limit=0) as pool:
        for _ in range(3):
            with pool.connection() as conn, conn.cursor() as cur:
                cur.execute(f"SELECT a.id FROM {JOIN}")
                assert cur.fetchall()
            with pool.connection() as conn, conn.cursor("c") as cur:
                cur.itersize = 5
                cur.execute(f"SELECT a.id FROM {JOIN}")
                assert cur.fetchone()


def test_what_is_locked_for_itself_it_would_wait_for(conn):
    with conn.cursor() as cur:
        cur.execute("LOCK TABLE nation IN ACCESS EXCLUSIVE MODE")
    assert "this transaction" in refusal(conn, f"SELECT count(*) FROM {JOIN}, nation")


def test_a_timeout_ends_it_everywhere(shop, conn):
    conn.timeout = 1.0
    with pytest.raises(greenshard.QueryTimeout), conn.cursor() as cur:
        cur.execute(f"SELECT count(*), max(pg_sleep(30)::text) FROM {JOIN}")
    conn.rollback()
    conn.timeout = None
    with conn.cursor() as cur:
        cur.execute(f"SELECT a.id FROM {JOIN}")
    assert seen_soon(
        shop.admin,
        "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'pg_sleep' AND state = 'active'"
        " AND pid <> pg_backend_pid()",
        (0,),
    )


def test_nothing_stays_behind(shop):
    with contextlib.closing(greenshard.connect(shop.cluster, gather_limit=0)) as conn:
        with conn.cursor("c") as cur:
            cur.itersize = 5
            cur.execute(f"SELECT a.id FROM {JOIN}")
            cur.fetchone()
        with conn.cursor() as cur:
            cur.execute(f"SELECT a.id FROM {JOIN}")
        assert seen_soon(
            shop.admin,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND usename ~ '^reader_'",
            (0,),
        )


def seen_soon(dsn, query, expected):
    """Whether a query gives a row within some seconds: a session ends after its connection."""
    with contextlib.closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cur:
        conn.autocommit = True
        for _ in range(100):
            cur.execute(query)
            if cur.fetchone() == expected:
                return True
            time.sleep(0.05)
    return False


WRITES = {
    "its source is gathered": "INSERT INTO nation SELECT a.id + 100, b.note FROM orders a"
    " JOIN orders b ON b.customer = a.id",
    "it reads other shards": "UPDATE orders SET note = 'x' WHERE customer IN"
    " (SELECT i.n FROM items i JOIN orders o ON o.customer = i.order_id)",
    "rows that move": "UPDATE items SET order_id = order_id + 1000",
    "all shards' rows are carried": "UPDATE nation SET name = (SELECT max(a.note) FROM orders a"
    " JOIN orders b ON b.customer = a.id WHERE a.id > nation.id)",
}


@pytest.mark.parametrize("what", WRITES)
def test_a_write_of_too_many_rows_says_that_the_coordinator_is_no_way_out(conn, what):
    cursor = conn.cursor()
    with pytest.raises(greenshard.NotSupportedError) as caught:
        cursor.execute(WRITES[what])
    assert caught.value.code == "GS405"
    assert str(caught.value).count("coordinator does not run it instead") == 1
    conn.rollback()
