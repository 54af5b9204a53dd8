"""What a connection to a cluster remembers from one statement to the next, and when it forgets."""

from __future__ import annotations

import contextlib
import threading
import uuid

import gevent
import psycopg2
import psycopg2.extensions
import pytest
from psycopg2.extensions import (
    ISOLATION_LEVEL_REPEATABLE_READ,
    TRANSACTION_STATUS_IDLE,
    TRANSACTION_STATUS_INERROR,
)

import greenshard
from greenshard.executor.strategies import filling

GATHERED = "SELECT count(*) FROM orders a JOIN orders b ON a.customer = b.id"


@pytest.fixture
def cur(conn):
    return conn.cursor()


@pytest.fixture
def name(shop):
    """The name of a table that is dropped afterwards."""
    made = f"t_{uuid.uuid4().hex[:8]}"
    yield made
    for dsn in shop.dsns.values():
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute(f"DROP TABLE IF EXISTS {made}")


def of_gatherer(cur, expression):
    """What an expression is on the connection that gathers."""
    cur.execute(f"SELECT {expression}, count(*) FROM orders a JOIN orders b ON a.customer = b.id")
    return cur.fetchone()[0]


def test_planning_leaves_no_transaction_on_shards_that_are_not_asked(shop):
    with contextlib.closing(greenshard.connect(shop.cluster)) as conn:
        conn.cursor().execute("SELECT * FROM orders WHERE id = 1")
        busy = [p.shard for p in conn._session.alive if p.transaction_status]
        assert busy == [shop.shard_of(1)]


@pytest.mark.parametrize("autocommit", [False, True])
def test_first_statement_may_stand_in_a_with_block(shop, autocommit):
    cluster = greenshard.Cluster(shop.dsns, shop.cluster.tables)
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        conn.autocommit = autocommit
        with conn:
            cur = conn.cursor()
            cur.execute("UPDATE orders SET note = 'w' WHERE id = 1")
            cur.execute("SELECT note FROM orders WHERE id = 1")
            assert cur.fetchall() == [("w",)]
            conn.rollback()
        assert conn.get_transaction_status() == TRANSACTION_STATUS_IDLE
        cur.execute("SELECT count(*) FROM orders WHERE note = 'w'")
        assert cur.fetchone() == (0,)


def test_tables_made_in_a_transaction_are_its_own_until_it_commits(shop, name, conn):
    cluster = greenshard.Cluster(shop.dsns, {name: greenshard.Sharded("id")})
    with (
        contextlib.closing(greenshard.connect(cluster)) as one,
        contextlib.closing(greenshard.connect(cluster)) as other,
    ):
        cur, others = one.cursor(), other.cursor()
        others.execute("SELECT 1")
        cur.execute(f"CREATE TABLE {name} (id int, x int)")
        cur.execute(f"SELECT count(*) FROM {name}")
        assert cur.fetchall() == [(0,)]
        with pytest.raises(psycopg2.errors.UndefinedTable):
            others.execute(f"SELECT count(*) FROM {name}")
        other.rollback()
        one.commit()
        others.execute(f"SELECT count(*) FROM {name}")
        assert others.fetchall() == [(0,)]
        other.rollback()
        cur.execute(f"ALTER TABLE {name} ADD y int")
        cur.execute(f"SELECT y FROM {name} ORDER BY 1")
        assert cur.fetchall() == []
        one.rollback()
        with pytest.raises(psycopg2.errors.UndefinedColumn):
            cur.execute(f"SELECT y FROM {name} ORDER BY 1")


def test_tables_that_another_process_made_are_found(shop, name, plain):
    cluster = greenshard.Cluster(shop.dsns, {name: greenshard.Sharded("id")})
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        conn.autocommit = True
        cur = conn.cursor()
        cur.execute("SELECT 1")
        gevent.sleep(1.1)
        for connection in plain.values():
            connection.cursor().execute(f"CREATE TABLE {name} (id int)")
        cur.execute(f"SELECT count(*) FROM {name}")
        assert cur.fetchall() == [(0,)]


def test_ddl_in_autocommit_mode_is_known_to_all_connections_at_once(shop, name):
    cluster = greenshard.Cluster(shop.dsns, {name: greenshard.Sharded("id")})
    with (
        contextlib.closing(greenshard.connect(cluster)) as one,
        contextlib.closing(greenshard.connect(cluster)) as other,
    ):
        one.autocommit = other.autocommit = True
        other.cursor().execute("SELECT 1")
        one.cursor().execute(f"CREATE TABLE {name} (id int)")
        cur = other.cursor()
        cur.execute(f"SELECT count(*) FROM {name}")
        assert cur.fetchall() == [(0,)]


def test_ddl_on_chosen_shards_is_noticed(shop, name):
    cluster = greenshard.Cluster(shop.dsns, {name: greenshard.Sharded("id")})
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        conn.cursor().execute("SELECT 1")
        with conn.on(conn.shards):
            conn.cursor().execute(f"CREATE TABLE {name} (id int)")
        cur = conn.cursor()
        cur.execute(f"SELECT count(*) FROM {name}")
        assert cur.fetchall() == [(0,)]


@pytest.fixture
def elsewhere(shop):
    """A schema that has an orders table of its own."""
    for dsn in (*shop.dsns.values(),):
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.orders (id int, far int)")
    yield
    for dsn in (*shop.dsns.values(),):
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute("DROP SCHEMA elsewhere CASCADE")


def test_search_path_is_followed_through_set_rollback_and_reset(shop, elsewhere):
    cluster = greenshard.Cluster(shop.dsns, shop.cluster.tables)
    query = "SELECT * FROM orders ORDER BY id LIMIT 1"
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        cur = conn.cursor()

        def columns():
            cur.execute(query)
            return len(cur.description)

        usual = columns()
        cur.execute("SET search_path = elsewhere")
        assert columns() == 2
        conn.rollback()
        assert columns() == usual
        cur.execute("SELECT set_config('search_path', %s, true)", ("elsewhere",))
        assert columns() == 2
        conn.commit()
        assert columns() == usual
        cur.execute("SAVEPOINT a")
        cur.execute("SET search_path = elsewhere")
        assert columns() == 2
        cur.execute("ROLLBACK TO a")
        assert columns() == usual
        cur.execute("SET search_path = elsewhere")
        conn.commit()
        assert columns() == 2
        conn.reset()
        assert columns() == usual
        with conn.on(conn.shards):
            conn.cursor().execute("SET search_path = elsewhere")
        assert columns() == 2


def test_failed_transaction_is_failed_for_every_strategy(conn, cur):
    cur.execute("SELECT 1")
    with pytest.raises(psycopg2.errors.DivisionByZero):
        cur.execute("SELECT 1 / (id - 5) FROM orders WHERE id = 5")
    for query in (
        "SELECT 1",
        "SELECT * FROM orders WHERE id = 4",
        "SELECT id FROM orders",
        "SELECT count(*) FROM orders",
        GATHERED,
        "SET work_mem = '5MB'",
    ):
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
            cur.execute(query)
    conn.rollback()
    cur.execute("SELECT count(*) FROM orders")
    assert cur.fetchall() == [(60,)]


def test_savepoints_reach_over_all_shards(conn, cur):
    cur.execute("SAVEPOINT a")
    cur.execute("UPDATE orders SET note = 'gone'")
    with pytest.raises(psycopg2.errors.DivisionByZero):
        cur.execute("SELECT 1 / (id - 5) FROM orders WHERE id = 5")
    assert conn.get_transaction_status() == TRANSACTION_STATUS_INERROR
    cur.execute("ROLLBACK TO a")
    cur.execute("SELECT count(*) FROM orders WHERE note = 'gone'")
    assert cur.fetchall() == [(0,)]


@pytest.mark.parametrize(
    ("statement", "expression", "value"),
    [
        ("SET TimeZone = 'Asia/Tokyo'", "current_setting('TimeZone')", "Asia/Tokyo"),
        ("SET LOCAL work_mem = '7MB'", "current_setting('work_mem')", "7MB"),
        ("SET app.tenant = 'it''s'", "current_setting('app.tenant')", "it's"),
        ("SELECT set_config('app.other', '%', false)", "current_setting('app.other')", "%"),
        ("SET DateStyle = 'SQL, DMY'", "date '2020-02-01'::text", "01/02/2020"),
        ("SET search_path = pg_temp, public", "current_schema()", None),
    ],
)
def test_settings_of_the_session_hold_where_rows_are_gathered(cur, statement, expression, value):
    before = of_gatherer(cur, expression.replace("')", "', true)"))
    cur.execute(statement)
    if value is not None:
        assert of_gatherer(cur, expression) == value
    cur.connection.rollback()
    assert of_gatherer(cur, expression.replace("')", "', true)")) in (before, "")


def test_role_of_the_session_holds_where_rows_are_gathered(conn, cur, plain):
    role = f"clerk_{uuid.uuid4().hex[:8]}"
    for name in ("s0", "s1"):  # s2 is on the server of s0
        plain[name].cursor().execute(f"CREATE ROLE {role}")
    try:
        for connection in plain.values():
            connection.cursor().execute(f"GRANT SELECT ON orders TO {role}")
        conn.commit()
        cur.execute(f"SET ROLE {role}")
        assert of_gatherer(cur, "current_user") == role
        conn.rollback()
        assert of_gatherer(cur, "current_user") != role
        conn.rollback()
    finally:
        for connection in plain.values():
            connection.cursor().execute(f"DROP OWNED BY {role}")
        for name in ("s0", "s1"):
            plain[name].cursor().execute(f"DROP ROLE {role}")


def test_temporary_tables_are_found_first_wherever_the_path_has_them(cur, monkeypatch):
    cur.execute(GATHERED)
    expected = cur.fetchall()
    monkeypatch.setattr(filling, "_MOST_PIECES", 0)  # not in the query's text
    cur.execute("SET search_path = public, pg_temp")
    cur.execute(GATHERED)
    assert cur.fetchall() == expected


@pytest.mark.parametrize(
    "default",
    ["default_transaction_read_only = on", "default_transaction_isolation = serializable"],
)
def test_rows_are_gathered_whatever_transactions_are_by_default(shop, plain, monkeypatch, default):
    """The one that gathers writes temporary tables, and is none of the user's own."""
    monkeypatch.setattr(filling, "_MOST_PIECES", 0)
    databases = {name: connection.info.dbname for name, connection in plain.items()}
    for name, database in databases.items():
        plain[name].cursor().execute(f"ALTER DATABASE {database} SET {default}")
    try:
        with contextlib.closing(greenshard.connect(shop.cluster)) as conn:
            cur = conn.cursor()
            cur.execute(GATHERED)
            assert cur.fetchall() == [(54,)]
            (held,) = conn._session.beside.values()
            assert held.bearings.isolated is ("serializable" in default)
    finally:
        for name, database in databases.items():
            plain[name].cursor().execute(f"ALTER DATABASE {database} RESET ALL")


def test_gathering_sees_the_settings_of_when_the_connection_was_opened(shop, plain):
    """It is another session, opened later, and defaults may have changed."""
    asking = (
        "SELECT current_setting(%s, true), cardinality(array_agg(DISTINCT coalesce(customer)))"
        " FROM orders"
    )
    database = plain["s0"].info.dbname
    with contextlib.closing(greenshard.connect(shop.cluster)) as conn:
        cur = conn.cursor()
        cur.execute("SELECT current_setting('work_mem')")
        ((work_mem,),) = cur.fetchall()
        conn.commit()
        try:
            for default in ("work_mem = '77kB'", "gs_app.tenant = '7'"):
                plain["s0"].cursor().execute(f"ALTER DATABASE {database} SET {default}")
            cur.execute(asking, ("work_mem",))
            assert cur.fetchone()[0] == work_mem
            with pytest.raises(greenshard.NotSupportedError, match="has a default since"):
                cur.execute(asking, ("gs_app.tenant",))
            with contextlib.closing(greenshard.connect(shop.cluster)) as later:
                found = later.cursor()
                found.execute(asking, ("gs_app.tenant",))
                assert found.fetchone()[0] == "7"
        finally:
            plain["s0"].cursor().execute(f"ALTER DATABASE {database} RESET ALL")
        conn.rollback()
        with contextlib.closing(greenshard.connect(shop.cluster)) as later:
            found = later.cursor()
            found.execute(asking, ("gs_app.tenant",))
            assert found.fetchone()[0] is None


def test_gathering_sees_what_the_transactions_snapshot_sees(shop, plain):
    with contextlib.closing(greenshard.connect(shop.cluster)) as conn:
        conn.isolation_level = ISOLATION_LEVEL_REPEATABLE_READ
        cur = conn.cursor()
        cur.execute("SELECT count(*) FROM orders")
        cur.execute("SELECT count(*) FROM nation")
        for connection in plain.values():
            connection.cursor().execute("INSERT INTO nation VALUES (9, 'new')")
        try:
            cur.execute(
                "SELECT count(*) FROM nation n, orders a JOIN orders b ON a.customer = b.id"
                " WHERE n.id = 9"
            )
            assert cur.fetchall() == [(0,)]
            conn.commit()
            cur.execute(
                "SELECT count(*) > 0 FROM nation n, orders a JOIN orders b ON a.customer = b.id"
                " WHERE n.id = 9"
            )
            assert cur.fetchall() == [(True,)]
        finally:
            conn.rollback()
            for connection in plain.values():
                connection.cursor().execute("DELETE FROM nation WHERE id = 9")


def test_client_encoding_holds_where_rows_are_gathered(conn, cur):
    query = "SELECT max(a.note) FROM orders a JOIN orders b ON a.customer = b.id"
    cur.execute(query)
    expected = cur.fetchall()
    conn.set_client_encoding("LATIN1")
    cur.execute(query)
    assert cur.fetchall() == expected
    assert cur.query.decode() == query


def test_threads_and_greenlets_share_what_is_known(shop):
    cluster = greenshard.Cluster(shop.dsns, shop.cluster.tables)
    answers = []

    def work():
        with contextlib.closing(greenshard.connect(cluster)) as conn:
            cur = conn.cursor()
            for _ in range(5):
                cur.execute("SELECT count(*) FROM orders")
                answers.append(cur.fetchone()[0])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    gevent.joinall([gevent.spawn(work) for _ in range(3)], raise_error=True)
    for thread in threads:
        thread.join()
    assert answers == [60] * 30


def test_key_names_its_shard(conn, shop):
    for key in range(5):
        with conn.on(key=key):
            cur = conn.cursor()
            cur.execute("SELECT 1")
            assert list(cur.timings) == [shop.shard_of(key)]
        assert conn.on(key=key, table="orders").target.shards == (shop.shard_of(key),)
    for wrong in (None, "x", 1.5):
        with pytest.raises(greenshard.ProgrammingError, match="cannot be told"):
            conn.on(key=wrong)
    with pytest.raises(greenshard.ProgrammingError, match="no sharded table"):
        conn.on(key=1, table="nation")
    with pytest.raises(TypeError):
        conn.on()
    with pytest.raises(TypeError):
        conn.on("s0", key=1)
    with (
        contextlib.closing(greenshard.connect(shop.dsns)) as union,
        pytest.raises(greenshard.ProgrammingError, match="declared cluster"),
    ):
        union.on(key=1)


def test_cluster_may_be_a_file(shop, tmp_path):
    lines = ["[shards]", *(f'{name} = "{dsn}"' for name, dsn in shop.dsns.items())]
    lines += ["[tables]", 'orders = { shard_key = "id" }']
    path = tmp_path / "shop.toml"
    path.write_text("\n".join(lines))
    for given in (path, str(path)):
        with contextlib.closing(greenshard.connect(given)) as conn:
            cur = conn.cursor()
            cur.execute("SELECT count(*) FROM orders")
            assert cur.fetchall() == [(60,)]
            assert conn.cluster.names == ("s0", "s1", "s2")


def test_plans_can_be_read(conn):
    assert "strategy: combine" in conn.explain("SELECT count(*) FROM orders")
    assert "shards: " in conn.explain("SELECT * FROM orders WHERE id = %s", (1,))
    assert "why not" in conn.explain(GATHERED, verbose=True)
    with pytest.raises(IndexError):
        conn.explain("SELECT * FROM orders WHERE id = %s", ())


@pytest.mark.parametrize(
    "query",
    [
        "SELECT sum(price) FROM items",
        "SELECT a.price FROM items a JOIN items b ON a.n = b.order_id",
        "SELECT both_of, avg(id) FROM orders GROUP BY 1 ORDER BY 1",
        "SELECT ARRAY[weight], avg(id) FROM orders GROUP BY 1 ORDER BY 1",
        "SELECT price, n FROM items ORDER BY price, n, order_id",
    ],
)
def test_floats_are_not_rounded_on_their_way(conn, single, query):
    for setting in ("extra_float_digits = 0", "DateStyle = 'SQL, MDY'"):
        found = []
        for connection in (conn, single):
            with connection.cursor() as cur:
                cur.execute(f"SET {setting}")
                cur.execute(query)
                found.append(sorted(map(repr, cur.fetchall())))
        assert found[0] == found[1]


@pytest.mark.parametrize("name", [None, "named"])
def test_rows_are_in_the_order_of_days_however_these_are_written(conn, single, name):
    found = []
    for connection in (conn, single):
        as_text = psycopg2.extensions.new_type((1082,), "AS_TEXT", lambda text, _: text)
        psycopg2.extensions.register_type(as_text, connection)
        with connection.cursor() as cur:
            cur.execute("SET DateStyle = 'German'")
        with connection.cursor(name) as cur:
            cur.execute("SELECT day, id FROM orders ORDER BY day DESC, id")
            found.append(cur.fetchall())
    assert found[0] == found[1]


def test_temporary_table_that_hides_a_declared_one_is_not_read(conn):
    with conn.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM orders")
        before = cursor.fetchone()
    conn.commit()
    with conn.on("s1").cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE orders (id int)")
    with conn.cursor() as cursor:
        with pytest.raises(greenshard.NotSupportedError, match="hides orders"):
            cursor.execute("SELECT count(*) FROM orders")
        cursor.execute("SELECT count(*) FROM items")
    conn.rollback()
    with conn.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM orders")
        assert cursor.fetchone() == before


def test_temporary_relations_hide_views_and_tables_of_any_schema(shop):
    """Only the planner reads the view of the schema: the servers would read the temporary one."""
    public = "CREATE VIEW numbers AS SELECT customer, count(*) AS n FROM orders GROUP BY customer"
    schema = 'CREATE SCHEMA "do.t"; CREATE TABLE "do.t".dotted (id int)'
    cluster = greenshard.Cluster(
        shop.dsns, {**shop.cluster.tables, '"do.t".dotted': greenshard.Sharded("id")}
    )
    for dsn in shop.dsns.values():
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute(f"{public}; {schema}")
    try:
        with contextlib.closing(greenshard.connect(cluster)) as conn:
            cur = conn.cursor()
            for name, made in [("numbers", "VIEW numbers"), ("dotted", "VIEW dotted")]:
                cur.execute('SET search_path = public, "do.t"')
                statements = [f"SELECT {what} FROM {name}" for what in ("*", "count(*)")]
                for statement in statements:
                    cur.execute(statement)
                for shard in conn.shards:
                    conn.on(shard).cursor().execute(f"CREATE TEMP {made} AS SELECT 1 AS n")
                for statement in statements:
                    with pytest.raises(greenshard.NotSupportedError, match=name) as caught:
                        cur.execute(statement)
                    assert caught.value.code == "GS410"
                    assert "hides" in str(caught.value)
                cur.execute("SELECT count(*) FROM orders")
                conn.rollback()
                cur.execute(statements[0].replace(name, "orders"))
                conn.rollback()
    finally:
        for dsn in shop.dsns.values():
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                cur.execute('DROP VIEW numbers; DROP SCHEMA "do.t" CASCADE')


@pytest.mark.parametrize("drifted", ["s0", "s1", "s2"])
def test_floats_are_not_rounded_by_one_shard_alone(shop, drifted):
    query = "SELECT a.price FROM items a JOIN items b ON a.n = b.order_id"
    database = psycopg2.extensions.parse_dsn(shop.dsns[drifted])["dbname"]
    with contextlib.closing(psycopg2.connect(shop.dsns[drifted])) as admin:
        admin.autocommit = True
        admin.cursor().execute(f"ALTER DATABASE {database} SET extra_float_digits = 0")
        try:
            with (
                contextlib.closing(greenshard.connect(shop.cluster)) as conn,
                pytest.raises(greenshard.NotSupportedError, match="extra_float_digits"),
            ):
                conn.cursor().execute(query)
        finally:
            admin.cursor().execute(f"ALTER DATABASE {database} RESET extra_float_digits")
