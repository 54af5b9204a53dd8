"""Functions in SQL, by what their text reads: as one database gives it, or refused."""

from __future__ import annotations

import contextlib
import secrets
import time

import psycopg2
import pytest
from psycopg2.extensions import make_dsn

import greenshard
from tests.postgres.one_database.compared import compared, insert
from tests.postgres.psql import run

SCHEMA = """
CREATE SCHEMA other; CREATE SCHEMA apart;
CREATE TABLE orders (id bigint PRIMARY KEY, customer int, total numeric, note text);
CREATE TABLE items (order_id bigint, line int, code text, PRIMARY KEY (order_id, line));
CREATE TABLE rates (code text PRIMARY KEY, rate numeric, n int);
CREATE TABLE apart.rates (code text PRIMARY KEY, rate numeric, n int);
CREATE TABLE undeclared (n int);
CREATE VIEW rated AS SELECT o.id, r.rate FROM orders o JOIN rates r ON r.n = o.customer;
-- What reads no table.
CREATE FUNCTION full_name(a text, b text DEFAULT 'x') RETURNS text LANGUAGE sql
    AS $$ SELECT "upper"(a) || ' ' || b /* from */ $$;
CREATE FUNCTION outer_name(a text) RETURNS text LANGUAGE sql RETURN full_name(a, b => 'z') || '!';
CREATE FUNCTION listed(VARIADIC a int[]) RETURNS bigint LANGUAGE sql
    AS $$ SELECT sum(x) FROM unnest(a) AS x $$;
CREATE FUNCTION firsts(a anyelement, n int) RETURNS SETOF anyelement LANGUAGE sql
    AS $$ SELECT a FROM generate_series(1, n) $$;
CREATE FUNCTION chance() RETURNS float8 LANGUAGE sql AS $$ SELECT random() FROM abs(1) $$;
CREATE FUNCTION told() RETURNS timestamptz LANGUAGE sql AS $$ SELECT now() FROM abs(1) $$;
CREATE FUNCTION counts() RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('ticks') $$;
CREATE SEQUENCE ticks;
CREATE FUNCTION pid() RETURNS int LANGUAGE sql AS $$ SELECT pg_backend_pid() FROM abs(1) $$;
CREATE FUNCTION leap(a int DEFAULT extract(year FROM now())::int) RETURNS int IMMUTABLE
    LANGUAGE sql AS $$ SELECT a $$;
-- What reads reference tables.
CREATE FUNCTION rate_of(code text) RETURNS numeric LANGUAGE sql
    AS $$ SELECT rate FROM rates WHERE rates.code = rate_of.code $$;
CREATE FUNCTION rate_named(the_code text) RETURNS numeric STABLE STRICT LANGUAGE sql
    BEGIN ATOMIC SELECT r.rate FROM rates r WHERE r.code = the_code; END;
CREATE FUNCTION some_rate() RETURNS numeric LANGUAGE sql AS $$ SELECT rate FROM rates $$;
CREATE FUNCTION all_rates() RETURNS SETOF rates LANGUAGE sql AS $$ SELECT * FROM rates $$;
CREATE FUNCTION rates_above(low int) RETURNS TABLE (what text, n int) LANGUAGE sql
    AS $$ SELECT code, rates.n FROM rates WHERE rates.n > low $$;
CREATE FUNCTION next_rate() RETURNS int LANGUAGE sql AS $$ SELECT max(n) + 1 FROM rates $$;
CREATE FUNCTION next_steady() RETURNS int STABLE LANGUAGE sql AS $$ SELECT max(n) + 1 FROM rates $$;
-- What reads sharded tables.
CREATE FUNCTION lines(of bigint) RETURNS bigint LANGUAGE sql
    AS $$ SELECT count(*) FROM items WHERE order_id = of $$;
CREATE FUNCTION lines_there(of bigint) RETURNS bigint LANGUAGE sql
    BEGIN ATOMIC SELECT count(*) FROM items WHERE order_id = of; END;
CREATE FUNCTION first_line(of bigint) RETURNS text LANGUAGE sql
    AS $$ SELECT code FROM items WHERE order_id = $1 ORDER BY line $$;
CREATE FUNCTION lines_of(of bigint) RETURNS SETOF items LANGUAGE sql
    AS $$ SELECT * FROM items WHERE order_id = of $$;
CREATE FUNCTION big(low numeric) RETURNS TABLE (id bigint, total numeric) STABLE LANGUAGE sql
    AS $$ SELECT o.id, o.total FROM orders o WHERE o.total > low $$;
CREATE FUNCTION big_as_text(low numeric) RETURNS TABLE (id text) LANGUAGE sql
    AS $$ SELECT o.id FROM orders o WHERE o.total > low $$;
CREATE FUNCTION tops(n int) RETURNS SETOF bigint LANGUAGE sql
    AS $$ SELECT id FROM orders ORDER BY total DESC NULLS LAST, id LIMIT n $$;
CREATE FUNCTION spent(who int) RETURNS numeric LANGUAGE sql
    AS $$ SELECT sum(total) FROM orders WHERE customer = who $$;
CREATE FUNCTION crossing(id bigint) RETURNS bigint LANGUAGE sql
    AS $$ SELECT count(*) FROM items i, orders o WHERE i.order_id = crossing.id $$;
CREATE FUNCTION column_first(total numeric) RETURNS bigint LANGUAGE sql
    AS $$ SELECT count(*) FROM orders WHERE orders.total = total $$;
CREATE FUNCTION deeper(of bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT lines(of) + 1 $$;
CREATE FUNCTION falls(n int) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
CREATE OR REPLACE FUNCTION falls(n int) RETURNS int LANGUAGE sql
    AS $$ SELECT CASE WHEN n < 1 THEN 0 ELSE falls(n - 1) + 1 END $$;
CREATE FUNCTION twofold(x bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT lines(x) $$;
CREATE FUNCTION twofold(x text) RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM orders $$;
CREATE FUNCTION lower(rates) RETURNS text LANGUAGE sql AS $$ SELECT note FROM orders LIMIT 1 $$;
CREATE FUNCTION through_view() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM rated $$;
CREATE VIEW viewing AS SELECT id, lines(id) AS n FROM orders;
CREATE VIEW naming AS SELECT id, full_name(note) AS n FROM orders;
CREATE FUNCTION left_out(a bigint, of bigint DEFAULT 1 + 2) RETURNS bigint LANGUAGE sql
    AS $$ SELECT count(*) + $1 FROM items WHERE order_id = $2 $$;
CREATE FUNCTION same(x anyelement) RETURNS bigint LANGUAGE sql
    AS $$ SELECT count(*) FROM items WHERE order_id = x $$;
CREATE FUNCTION hiding(of bigint) RETURNS bigint LANGUAGE sql
    AS $$ WITH items AS (SELECT 1 AS line) SELECT sum(line) FROM items $$;
CREATE FUNCTION united(of bigint) RETURNS SETOF bigint LANGUAGE sql
    AS $$ SELECT line FROM items WHERE order_id = of UNION ALL SELECT n FROM rates $$;
CREATE FUNCTION ranked(of bigint) RETURNS TABLE (l int, r bigint) LANGUAGE sql
    AS $$ SELECT line, rank() OVER (ORDER BY line) FROM items WHERE order_id = of $$;
CREATE FUNCTION everything() RETURNS TABLE (i bigint, c int) LANGUAGE sql
    AS $$ SELECT id, customer FROM orders $$;
CREATE FUNCTION grouped() RETURNS TABLE (c int, n bigint) LANGUAGE sql
    AS $$ SELECT customer, count(*) FROM orders GROUP BY customer $$;
CREATE FUNCTION by_key() RETURNS TABLE (i bigint, n bigint) LANGUAGE sql
    AS $$ SELECT order_id, count(*) FROM items GROUP BY order_id $$;
CREATE FUNCTION strict_one(of bigint) RETURNS SETOF int STRICT LANGUAGE sql
    AS $$ SELECT 1 FROM orders WHERE id > 50 $$;
CREATE FUNCTION outputs(IN a bigint, OUT x bigint, OUT y text) LANGUAGE sql
    AS $$ SELECT id, note FROM orders WHERE id = a $$;
CREATE FUNCTION one_output(IN a bigint, OUT x bigint) RETURNS SETOF bigint LANGUAGE sql
    AS $$ SELECT id FROM orders WHERE id > a $$;
CREATE FUNCTION whole_rows(n int) RETURNS SETOF orders LANGUAGE sql
    AS $$ SELECT o FROM orders o WHERE o.customer = n $$;
-- What does more.
CREATE FUNCTION sets(what text) RETURNS text LANGUAGE sql
    AS $$ SELECT set_config('app.it', what, false) $$;
CREATE FUNCTION writes(n int) RETURNS int LANGUAGE sql
    AS $$ INSERT INTO undeclared VALUES (n) RETURNING n $$;
CREATE FUNCTION writes_first(n int) RETURNS int LANGUAGE sql
    AS $$ DELETE FROM undeclared; SELECT n $$;
CREATE FUNCTION writes_within(n int) RETURNS int LANGUAGE sql
    AS $$ WITH x AS (DELETE FROM undeclared RETURNING 1) SELECT n $$;
CREATE FUNCTION locks() RETURNS numeric LANGUAGE sql
    AS $$ SELECT rate FROM rates WHERE code = 'a' FOR UPDATE $$;
CREATE FUNCTION as_owner(of bigint) RETURNS bigint SECURITY DEFINER LANGUAGE sql
    AS $$ SELECT count(*) FROM items WHERE order_id = of $$;
CREATE FUNCTION elsewhere(code text) RETURNS numeric SET search_path = apart LANGUAGE sql
    AS $$ SELECT rate FROM rates WHERE rates.code = elsewhere.code $$;
CREATE FUNCTION not_declared() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM undeclared $$;
CREATE FUNCTION hidden_in(of bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT procedural() $$;
CREATE OR REPLACE FUNCTION procedural() RETURNS bigint LANGUAGE plpgsql
    AS $$ BEGIN RETURN (SELECT count(*) FROM orders); END $$;
CREATE FUNCTION added(a bigint, b bigint) RETURNS bigint LANGUAGE sql
    AS $$ SELECT a + (SELECT count(*) FROM orders WHERE id = b) $$;
CREATE AGGREGATE adding(bigint) (SFUNC = added, STYPE = bigint, INITCOND = '0');
CREATE OPERATOR <+> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = added);
CREATE TABLE guarded (id bigint PRIMARY KEY, n int, m bigint DEFAULT added(1, 2));
"""
# `hidden_in` names a function that is made after it.
TABLES = {
    "orders": greenshard.Sharded("id"),
    "items": greenshard.Sharded("order_id"),
    "guarded": greenshard.Sharded("id"),
    "public.rates": greenshard.Reference(),
    "apart.rates": greenshard.Reference(),
}

#: Statement and strategy.
WORKING = [
    ("SELECT id, full_name(note) FROM orders", "concatenate"),
    ("SELECT full_name(b => note, a => 'q'), outer_name('a') FROM orders", "concatenate"),
    ("SELECT full_name(note), count(*) FROM orders GROUP BY 1", "combine"),
    ("SELECT full_name(max(note)) FROM orders", "combine"),
    ("SELECT cardinality(array_agg(DISTINCT coalesce(full_name(note)))) FROM orders", "gather"),
    ("SELECT id FROM orders ORDER BY outer_name(note), id LIMIT 5", "merge"),
    ("SELECT id, n FROM naming WHERE n <> 'X x'", "concatenate"),
    ("SELECT listed(1, 2, customer) FROM orders", "concatenate"),
    ("SELECT listed(VARIADIC ARRAY[customer, 1]) FROM orders", "concatenate"),
    ("SELECT id, x FROM orders, firsts(note, 2) AS x", "concatenate"),
    ("SELECT id, firsts(customer, 2) FROM orders", "concatenate"),
    ("SELECT full_name('a')", "reference"),
    ("SELECT chance() IS NULL FROM orders", "gather"),
    # Reference tables.
    ("SELECT id, rate_of(note) FROM orders", "concatenate"),
    ("SELECT sum(rate_of(note) * total) FROM orders", "combine"),
    ("SELECT rate_named(note), count(*) FROM orders GROUP BY 1", "combine"),
    ("SELECT id FROM orders WHERE rate_named('b') > 1", "concatenate"),
    ("SELECT rate_of('a'), some_rate() IS NULL", "reference"),
    ("SELECT * FROM all_rates()", "reference"),
    ("SELECT o.id, r.what FROM orders o JOIN rates_above(1) r ON r.n = o.customer", "concatenate"),
    (
        "SELECT r.what, count(*) FROM orders o JOIN rates_above(1) r ON r.n = customer GROUP BY 1",
        "combine",
    ),
    ("SELECT o.id, r.what FROM orders o, LATERAL rates_above(o.customer) r", "concatenate"),
    ("SELECT cardinality(array_agg(DISTINCT coalesce(rate_of(note)))) FROM orders", "gather"),
    ("SELECT code, rate_of(code) FROM rates", "reference"),
    # By the key.
    ("SELECT id, lines(id) FROM orders", "concatenate"),
    ("SELECT id, lines_there(id), first_line(id), deeper(id) FROM orders", "concatenate"),
    ("SELECT max(lines(id)) FROM orders", "combine"),
    ("SELECT id FROM orders WHERE lines(id) > 1 ORDER BY lines(id), id LIMIT 3", "merge"),
    ("SELECT o.id, i.line, i.code FROM orders o, lines_of(o.id) AS i", "concatenate"),
    ("SELECT o.id, i.line FROM orders o LEFT JOIN lines_of(o.id) AS i ON true", "concatenate"),
    ("SELECT i.code, count(*) FROM orders o, lines_of(o.id) AS i GROUP BY 1", "combine"),
    ("SELECT lines(7), first_line(7), deeper(7)", "route"),
    ("SELECT * FROM lines_of(7)", "route"),
    ("SELECT lines(of => 7), n FROM rates", "route"),
    # All shards.
    ("SELECT * FROM big(20)", "concatenate"),
    ("SELECT id FROM big(20) WHERE id = 30", "route"),
    ("SELECT * FROM big_as_text(20) WHERE id = '30'", "concatenate"),
    ("SELECT count(*), sum(total) FROM big(20)", "combine"),
    (
        "SELECT b.id, i.line FROM big(low => 20) b JOIN items i ON i.order_id = b.id",
        "concatenate",
    ),
    ("SELECT b.id FROM big(20) AS b (id, sum) ORDER BY b.sum DESC, b.id LIMIT 4", "merge"),
    # Where the rows have been brought.
    ("SELECT id FROM orders WHERE some_rate() > 1", "gather"),
    ("SELECT id, twofold(id) FROM orders WHERE id < 3", "gather"),
    ("SELECT lower(note) FROM orders", "gather"),
    ("SELECT through_view()", "gather"),
    ("SELECT spent(3)", "gather"),
    ("SELECT customer, spent(customer) FROM orders", "gather"),
    ("SELECT id FROM orders WHERE spent(3) > total * 4", "gather"),
    ("SELECT * FROM tops(5)", "gather"),
    ("SELECT code, spent(n) FROM rates", "gather"),
    ("SELECT crossing(7)", "gather"),
    ("SELECT column_first(3)", "gather"),
    ("SELECT b.id, c.id FROM big(40) b JOIN big(50) c ON c.total = b.total + 1", "gather"),
    ("SELECT customer, lines(customer) FROM orders", "gather"),
    ("SELECT o.id, o.customer, crossing(o.id) FROM orders o", "gather"),
]
#: Of many forms, with strategies of which any will do.
FORMS = [
    "SELECT id, same(id) FROM orders",
    "SELECT same(7), same(8.0)",
    "SELECT id, hiding(id) FROM orders",
    "SELECT id, u, united(id) FROM orders, united(id) AS u",
    "SELECT united(7)",
    "SELECT o.id, w.* FROM orders o, ranked(o.id) w",
    "SELECT c, count(*) FROM everything() GROUP BY c HAVING count(*) > lines(8)",
    "SELECT e.i, f.i FROM everything() e JOIN everything() f ON f.i = e.i",
    "SELECT e.i, f.i FROM everything() e JOIN everything() f ON f.i = e.i + 1",
    "SELECT * FROM rates r LEFT JOIN everything() e ON e.i = r.n",
    "SELECT sum(n) FROM grouped()",
    "SELECT max(n), count(*) FROM by_key()",
    "SELECT count(*) FROM strict_one(NULL)",
    "SELECT * FROM outputs(7)",
    "SELECT (outputs(7)).*",
    "SELECT x FROM one_output(40) AS y WHERE x < 45",
    "SELECT count(*) FROM whole_rows(2)",
    "SELECT w.id FROM whole_rows(2) w WHERE w.id = 6",
    "SELECT count(*) FILTER (WHERE lines(id) > 1), array_agg(lines(id) ORDER BY id) FROM orders",
    "SELECT lines(id) AS l, count(*) FROM orders GROUP BY l HAVING lines(max(id)) > 0",
    "SELECT DISTINCT ON (lines(id)) lines(id), id FROM orders ORDER BY lines(id), id",
    "SELECT sum(lines(id)) OVER (PARTITION BY customer), id FROM orders",
    "SELECT id, CASE WHEN lines(id) > 1 THEN rate_of(note) END FROM orders ORDER BY 1 OFFSET 3",
    "SELECT lines(7) UNION ALL SELECT lines(8)",
    "SELECT o.id FROM orders o WHERE o.id IN (SELECT i FROM by_key() WHERE n > 1)",
    "SELECT (SELECT count(*) FROM lines_of(o.id)) FROM orders o",
    "SELECT f.* FROM orders o, ROWS FROM (lines_of(o.id)) WITH ORDINALITY AS f",
    "WITH x AS (SELECT id, lines(id) l FROM orders) SELECT l, count(*) FROM x GROUP BY l",
]
REFUSED = [
    "SELECT id, told() FROM orders",
    "SELECT pid() FROM orders",
    "SELECT id, counts() FROM orders",
    "SELECT id, leap() FROM orders",
    "SELECT falls(3)",
    "SELECT lower(r) FROM rates r",
    "SELECT * FROM viewing",
    "SELECT id, lines_there(customer) FROM orders",
    "SELECT sets('x')",
    "SELECT set_config('app.it', spent(3)::text, false)",
    "UPDATE rates SET n = lines(7)::int",
    "DELETE FROM rates WHERE n = lines(3)",
    "SELECT writes(1)",
    "SELECT writes_first(1) FROM orders",
    "SELECT writes_within(1) FROM orders",
    "SELECT locks()",
    "SELECT id, as_owner(id) FROM orders",
    "SELECT id, elsewhere(note) FROM orders",
    "SELECT not_declared()",
    "SELECT hidden_in(id) FROM orders",
    "SELECT id <+> 7 FROM orders",
    "SELECT adding(id) FROM orders",
    "SELECT o.lines FROM (SELECT id FROM orders) o",
    "INSERT INTO rates (code, n) VALUES ('x', lines(7)::int)",
    "INSERT INTO orders (id) VALUES (spent(3)::bigint)",
    "INSERT INTO guarded (id, n) VALUES (1, 2)",
    "UPDATE orders SET customer = spent(customer)::int",
    "UPDATE rates SET note = chance()::text",
]
WRITES = [
    "UPDATE orders SET note = full_name(note) WHERE total > 10",
    "UPDATE orders SET total = rate_of('a') + lines(id)",
    "UPDATE rates SET n = next_steady()",
    "UPDATE rates SET n = next_rate() WHERE code = 'a'",
    "INSERT INTO orders VALUES (100, 1, rate_of('b'), full_name('n'))",
    "DELETE FROM orders WHERE lines(id) = 2",
    "INSERT INTO guarded (id, n, m) VALUES (1, 2, 3)",
    "INSERT INTO rates (code, n, rate) VALUES (full_name('z'), next_rate(), 3)",
    "INSERT INTO rates (code, n) VALUES ('y', next_steady()), ('z', next_steady())",
    "INSERT INTO orders VALUES (200, 1, rate_of('a'), 'x'), (201, 2, rate_of('b'), full_name('q'))",
    "INSERT INTO orders (id, total) VALUES (rate_of('n0')::bigint + 300, 1)",
]


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    schema = "SET check_function_bodies = off; " + SCHEMA
    with compared(greenshard_shards, TABLES, schema) as made:
        cluster, whole = made
        dsns = [shard.primary for shard in cluster.shards.values()]
        for number, dsn in enumerate((*dsns, whole)):
            rates = ["('a', 1.50, 1)", "('b', 2.5, 2)", "('n0', 7, 3)", "('n1', 8, 0)"]
            # The copies lie in another order.
            for row in rates if number else reversed(rates):
                run(dsn, f"INSERT INTO rates VALUES {row}; INSERT INTO apart.rates VALUES {row}")
        scripts = {
            n: f"INSERT INTO orders VALUES ({n}, {n % 4}, {n} + 0.5, 'n{n % 3}'); "
            f"INSERT INTO items SELECT {n}, g, 'c' || g FROM generate_series(1, {n % 3}) g"
            for n in range(1, 61)
        }
        insert(made, "int8", scripts)
        yield made


@pytest.fixture
def conn(databases):
    with contextlib.closing(greenshard.connect(databases[0])) as connection:
        yield connection


@pytest.fixture
def whole(databases):
    with contextlib.closing(psycopg2.connect(databases[1])) as connection:
        yield connection


def rows(connection, statement, parameters=None):
    cursor = connection.cursor()
    cursor.execute(statement, parameters)
    names = [column.name for column in cursor.description]
    return names, sorted(cursor.fetchall(), key=repr)


def test_functions_are_planned_by_what_they_read(conn, whole):
    wrong = []
    for statement, strategy in WORKING:
        plan = conn.explain(statement)
        if f"strategy: {strategy}\n" not in plan:
            wrong.append((statement, plan))
        elif rows(conn, statement) != rows(whole, statement):
            wrong.append((statement, rows(conn, statement), rows(whole, statement)))
    assert wrong == []
    for statement in FORMS:
        assert (statement, *rows(conn, statement)) == (statement, *rows(whole, statement))


def test_what_would_be_another_answer_is_refused(conn):
    found = {}
    for statement in REFUSED:
        try:
            conn.cursor().execute(statement)
            found[statement] = "ran"
        except greenshard.NotSupportedError as error:
            if error.code not in ("GS410", "GS412", "GS415"):
                found[statement] = error.code
        except psycopg2.Error as error:
            found[statement] = repr(error)
            conn.rollback()
    assert found == {}


def test_writes_that_call_them(conn, whole):
    for statement in WRITES:
        for connection in (conn, whole):
            connection.cursor().execute(statement)
    for table in ("orders", "rates", "guarded"):
        assert rows(conn, f"SELECT * FROM {table}") == rows(whole, f"SELECT * FROM {table}")
        # Those that read reference tables see what the transaction has written, gathered or not.
    for statement in (
        "SELECT sum(rate_of(note)) FROM orders",
        (
            "SELECT cardinality(array_agg(DISTINCT coalesce(rate_of(note)))),"
            " cardinality(array_agg(DISTINCT coalesce(lines(id)))) FROM orders"
        ),
        "SELECT spent(3)",
    ):
        assert rows(conn, statement) == rows(whole, statement)
    conn.rollback()
    whole.rollback()


def test_parameters(conn, whole):
    for statement, given, strategy in [
        ("SELECT lines(%s)", (7,), "route"),
        ("SELECT lines(%s)", ("7",), "route"),
        ("SELECT lines(%s)", (None,), "route"),
        ("SELECT * FROM lines_of(%s)", (8,), "route"),
        ("SELECT count(*) FROM big(%s)", (20,), "combine"),
        ("SELECT rate_named(%s), id FROM orders", (None,), "concatenate"),
        ("SELECT spent(%s)", (3,), "gather"),
        ("SELECT left_out(%s), %s", (7, 7), "gather"),
        ("SELECT left_out(%s, %s)", (7, 8), "route"),
    ]:
        assert f"strategy: {strategy}\n" in conn.explain(statement, given)
        assert rows(conn, statement, given) == rows(whole, statement, given)
    # No function takes it, though a cast would.
    for connection in (conn, whole):
        with pytest.raises(psycopg2.errors.UndefinedFunction):
            rows(connection, "SELECT lines(%s)", (1.5,))
        connection.rollback()


def test_names_in_the_text_are_those_of_the_session(databases):
    cluster, dsn = databases
    for path in ("apart,public", "public,apart"):
        options = f"-csearch_path={path}"
        shards = {n: make_dsn(s.primary, options=options) for n, s in cluster.shards.items()}
        whole = psycopg2.connect(make_dsn(dsn, options=options))
        conn = greenshard.connect(greenshard.Cluster(shards, TABLES))
        with contextlib.closing(whole), contextlib.closing(conn):
            for connection in (whole, conn):
                connection.cursor().execute("UPDATE apart.rates SET rate = 100")
            for statement in (
                "SELECT id, rate_of('a'), rate_named('a') FROM orders",
                (
                    "SELECT cardinality(array_agg(DISTINCT coalesce(rate_of('a')))),"
                    " min(rate_of('a')) FROM orders"
                ),
            ):
                assert rows(conn, statement) == rows(whole, statement)


def test_a_function_that_is_replaced_is_looked_at_again(databases, whole):
    shards = [shard.primary for shard in databases[0].shards.values()]
    new = "CREATE OR REPLACE FUNCTION changing(a bigint) RETURNS bigint LANGUAGE sql AS "
    reads = "'SELECT count(*) FROM items WHERE order_id = a'"
    counts = "'SELECT count(*) FROM items WHERE line = a'"
    statement = "SELECT id, changing(id) FROM orders"
    whole.autocommit = True
    with contextlib.closing(greenshard.connect(databases[0])) as conn:
        conn.autocommit = True
        for body, strategy in [
            ("'SELECT a FROM unnest(ARRAY[1])'", "concatenate"),
            (reads, "concatenate"),
            (counts, "gather"),
            (reads, "concatenate"),
        ]:
            for connection in (conn, whole):
                connection.cursor().execute(new + body)
            assert f"strategy: {strategy}\n" in conn.explain(statement)
            assert rows(conn, statement) == rows(whole, statement)
        # The gathering session would have the committed one.
        conn.autocommit = False
        conn.cursor().execute(new + counts)
        with pytest.raises(greenshard.NotSupportedError, match="functions that this transaction"):
            conn.cursor().execute(statement)
        conn.rollback()
        # Another program changes it: that is noticed when the catalog is read again.
        for dsn in shards:
            run(dsn, new + counts)
        conn.cursor().execute("CREATE TABLE shown (n int)")
        assert "strategy: gather\n" in conn.explain(statement)
        conn.rollback()


def test_functions_that_the_catalog_does_not_have(databases, conn):
    cursor, body = conn.cursor(), "'BEGIN RETURN (SELECT count(*) FROM orders); END'"
    cursor.execute("SELECT count(*) FROM orders WHERE id = 7")
    time.sleep(1.1)  # the catalog is read anew once a second
    for dsn in (shard.primary for shard in databases[0].shards.values()):
        run(dsn, f"CREATE FUNCTION fresh() RETURNS bigint LANGUAGE plpgsql AS {body}")
    statements = [
        "SELECT fresh()",
        "SELECT fresh() FROM orders WHERE id = 7",
        "UPDATE orders SET customer = fresh() WHERE id = 7",
    ]
    try:
        for statement in statements:
            with pytest.raises(greenshard.NotSupportedError, match="function fresh"):
                cursor.execute(statement)
    finally:
        for dsn in (shard.primary for shard in databases[0].shards.values()):
            run(dsn, "DROP FUNCTION fresh()")
    with pytest.raises(psycopg2.errors.UndefinedFunction):
        cursor.execute("SELECT nowhere(id) FROM orders WHERE id = 7")
    conn.rollback()
    cursor.execute(f"CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE plpgsql AS {body}")
    for statement in ("SELECT pg_temp.mine()", "SELECT pg_temp.mine() FROM orders WHERE id = 7"):
        with pytest.raises(greenshard.NotSupportedError, match="temporary"):
            cursor.execute(statement)
    conn.rollback()


@pytest.fixture
def clerk(databases):
    """The name of a role that may read some tables, and sees some rows."""
    role = f"gs_clerk_{secrets.token_hex(3)}"
    cluster, whole = databases
    dsns = [*(shard.primary for shard in cluster.shards.values()), whole]
    for dsn in {make_dsn(dsn, dbname="postgres"): dsn for dsn in dsns}.values():
        run(dsn, f"CREATE ROLE {role}")
    for dsn in dsns:
        run(
            dsn,
            f"GRANT SELECT ON orders, items TO {role}; GRANT SELECT (code) ON rates TO {role};"
            "ALTER TABLE items ENABLE ROW LEVEL SECURITY;"
            f"CREATE POLICY few ON items TO {role} USING (line < 2)",
        )
    yield role
    for dsn in dsns:
        run(
            dsn,
            f"DROP OWNED BY {role}; ALTER TABLE items DISABLE ROW LEVEL SECURITY;"
            "GRANT EXECUTE ON FUNCTION lines(bigint) TO PUBLIC",
        )
    for dsn in {make_dsn(dsn, dbname="postgres"): dsn for dsn in dsns}.values():
        run(dsn, f"DROP ROLE {role}")


def test_functions_read_as_whoever_calls_them(databases, conn, whole, clerk):
    for connection in (conn, whole):
        connection.autocommit = True
        connection.cursor().execute(f"SET ROLE {clerk}")
    for statement in [
        "SELECT id, lines(id), lines_there(id) FROM orders",
        "SELECT lines(8)",
        "SELECT customer, lines(customer) FROM orders",
        "SELECT * FROM lines_of(8)",
    ]:
        assert rows(conn, statement) == rows(whole, statement)
    dsns = [shard.primary for shard in databases[0].shards.values()] + [databases[1]]
    for dsn in dsns:
        run(dsn, "REVOKE EXECUTE ON FUNCTION lines(bigint) FROM PUBLIC")
    for statement in [
        "SELECT lines(8)",
        "SELECT id, lines(id) FROM orders",
        "SELECT rate_of('a')",
        "SELECT customer, lines(customer) FROM orders",
        "SELECT cardinality(array_agg(DISTINCT coalesce(rate_of(note)))) FROM orders",
    ]:
        for connection in (conn, whole):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                rows(connection, statement)
    for dsn in dsns:
        run(
            dsn,
            f"CREATE POLICY more ON items TO {clerk} USING (line IN (SELECT customer FROM orders))",
        )
    with contextlib.closing(
        greenshard.connect(
            greenshard.Cluster({n: s.primary for n, s in databases[0].shards.items()}, TABLES)
        )
    ) as other:
        other.cursor().execute(f"SET ROLE {clerk}")
        with pytest.raises(greenshard.NotSupportedError, match="policy"):
            rows(other, "SELECT id, first_line(id) FROM orders")


def test_a_hint_tells_the_line_to_declare_it(conn):
    with pytest.raises(greenshard.NotSupportedError) as caught:
        conn.cursor().execute("SELECT id, as_owner(id) FROM orders")
    assert 'as_owner = { reads = "nothing" }' in caught.value.hint
