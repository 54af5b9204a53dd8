"""Statements of each kind that the table of docs/one-database.rst names."""

from __future__ import annotations

AGAIN = "INSERT INTO orders VALUES (7, 'x', 1, '2024-01-01') ON CONFLICT (id)"

UPSERT = """WHEN MATCHED THEN UPDATE SET amount = sum
    WHEN NOT MATCHED THEN INSERT VALUES (key, 'x', sum, '2024-01-01')"""

#: By row of the table: statements, each with its strategy or the code of its refusal. A star
#: after the strategy: the answer is not one that another server would give.
KINDS: dict[str, list[tuple[str, str]]] = {
    "SELECT, VALUES, TABLE, WITH": [
        ("SELECT customer FROM orders WHERE id = 7", "route"),
        ("VALUES (1), (2)", "reference"),
        ("TABLE orders", "concatenate"),
        ("WITH late AS (SELECT * FROM orders WHERE id > 6) SELECT id FROM late LIMIT 9", "merge"),
        ("SELECT customer, avg(amount) FROM orders GROUP BY customer", "combine"),
        ("SELECT rank() OVER (ORDER BY amount) FROM orders", "gather"),
        ("SELECT name FROM products LEFT JOIN items ON code = product AND quantity > 9", "gather"),
    ],
    "tables that are not declared": [
        ("SELECT * FROM audit", "GS409"),
        ("INSERT INTO audit VALUES ('x')", "GS409"),
    ],
    "partitions of a declared table": [
        ("SELECT * FROM parts", "concatenate"),
        ("SELECT * FROM parts_all", "GS409"),
    ],
    "tables on one shard": [
        ("INSERT INTO jobs (what) SELECT name FROM products RETURNING id", "route"),
        ("WITH gone AS (DELETE FROM jobs RETURNING id) SELECT count(*) FROM gone", "route"),
        ("SELECT what FROM jobs JOIN orders ON what = customer", "gather"),
        ("INSERT INTO jobs SELECT id, customer FROM orders", "transfer"),
        ("DELETE FROM jobs WHERE what IN (SELECT customer FROM orders)", "carry"),
        ("CREATE INDEX ON jobs (what)", "broadcast"),
        ("TRUNCATE jobs, orders", "GS416"),
    ],
    "materialized views": [
        ("SELECT * FROM cheap JOIN products USING (code)", "reference"),
        ("SELECT * FROM cheap JOIN items ON code = product", "GS409"),
        ("DELETE FROM products WHERE code IN (SELECT code FROM cheap)", "mirror"),
    ],
    "views": [
        ("SELECT * FROM big", "concatenate"),
        ("SELECT * FROM big WHERE id = 11", "route"),
        ("SELECT sum(amount) FROM big", "combine"),
    ],
    "temporary tables": [
        ("CREATE TEMPORARY TABLE mine (n int)", "broadcast"),
        ("CREATE TEMP TABLE mine (n int) ON COMMIT DROP", "broadcast"),
        ("CREATE TEMP TABLE mine AS SELECT customer FROM orders", "create"),
        ("CREATE TEMP TABLE mine (n int) INHERITS (orders)", "GS410"),
        ("CREATE TEMP VIEW mine AS SELECT 1 AS n", "GS410"),
        ("CREATE TEMP SEQUENCE mine", "GS410"),
    ],
    "PostgreSQL's own catalog": [
        ("SELECT relname FROM pg_class WHERE relname = 'orders'", "reference"),
        ("SELECT table_name FROM information_schema.tables WHERE table_name = 'items'",
         "reference"),
        ("SELECT relname FROM pg_class JOIN orders ON customer = relname", "GS410"),
        ("SELECT reltuples FROM pg_class", "GS410"),
        ("SELECT c.* FROM pg_class AS c", "GS410"),
        ("SELECT sum(n_live_tup) FROM pg_stat_user_tables", "GS410"),
        ("SELECT * FROM pg_statio_all_tables", "GS410"),
        ("SELECT last_value FROM pg_sequences", "GS410"),
        ("SELECT pg_stat_get_live_tuples('orders'::regclass)", "GS410"),
        ("SELECT state = 'active' FROM pg_stat_activity WHERE pid = pg_backend_pid()", "reference"),
    ],
    "names of tables": [
        ("SELECT count(*) FROM public.orders", "combine"),
        ('SELECT count(*) FROM "orders"', "combine"),
        ("SELECT * FROM nothing", "GS408"),
        ("SELECT * FROM elsewhere.orders", "GS408"),
    ],
    "your functions that are IMMUTABLE": [("SELECT doubled(id) FROM orders", "concatenate")],
    "your functions in SQL": [
        ("SELECT orders_count()", "gather"),
        ("SELECT id FROM orders WHERE id < orders_count()", "gather"),
        ("SELECT * FROM orders_count()", "gather"),
        ("SELECT lines(id) FROM orders", "concatenate"),
        ("SELECT lines(7)", "route"),
    ],
    "your other functions": [
        ("SELECT orders_seen()", "GS410"),
        ("SELECT id FROM orders WHERE id < orders_seen()", "GS410"),
        ("SELECT * FROM orders_seen()", "GS410"),
    ],
    "functions written as attributes: t.f, (x).f, (x).count": [
        ("SELECT orders.to_json FROM orders", "GS410"),
        ("SELECT (id).count FROM orders", "GS410"),
        ("SELECT (now()).date FROM orders", "GS410"),
        ("SELECT (-id).abs FROM orders", "concatenate"),
    ],
    "JSON_ARRAY(SELECT ...)": [
        ("SELECT JSON_ARRAY(SELECT id FROM orders)", "GS410"),
        ("SELECT to_json(ARRAY(SELECT id FROM orders WHERE id = 7))", "route"),
    ],
    "now(), CURRENT_DATE and the like": [
        ("SELECT count(*) FROM orders WHERE placed < now()", "combine"),
        ("SELECT count(DISTINCT now()) FROM orders", "gather"),
        ("SELECT id FROM orders WHERE placed > 'yesterday'", "concatenate"),
        ("SELECT id FROM orders WHERE placed > 'yesterday 10:00'", "GS410"),
        ("SELECT id, CURRENT_DATE - placed AS age FROM orders", "concatenate"),
    ],
    "statement_timestamp() (Django's Now())": [
        ("SELECT count(*) FROM orders WHERE placed < statement_timestamp()", "combine"),
        ("SELECT id, statement_timestamp() FROM orders", "concatenate*"),
    ],
    "random(), gen_random_uuid(), clock_timestamp(), pg_sleep()": [
        ("SELECT random(), gen_random_uuid(), clock_timestamp() FROM orders", "concatenate*"),
        ("SELECT pg_sleep(0) FROM orders", "concatenate"),
        ("SELECT setseed(0.5)", "reference"),
        ("SET seed = 0.5", "GS410"),
    ],
    "currval(), lastval()": [
        ("SELECT nextval('tickets') - currval('tickets')", "reference"),
        ("SELECT lastval() FROM orders", "GS410"),
        ("INSERT INTO items VALUES (7, 90 + nextval('tickets') % 2, 'x', 1)", "insert"),
    ],
    "nextval(), advisory locks, pg_notify()": [
        ("SELECT nextval('tickets') > 0", "reference"),
        ("SELECT pg_advisory_xact_lock(7)", "reference"),
        ("SELECT pg_notify('channel', 'hello')", "reference"),
        ("SELECT nextval('tickets') FROM orders", "GS410"),
        ("SELECT pg_advisory_xact_lock(id) FROM orders", "GS410"),
    ],
    "current_query()": [
        ("SELECT current_query()", "GS410"),
    ],
    "pg_backend_pid(), version(), txid_current()": [
        ("SELECT pg_backend_pid(), txid_current()", "reference*"),
        ("SELECT version()", "reference"),
        ("SELECT version() FROM orders", "concatenate"),
        ("SELECT pg_backend_pid() FROM orders", "GS410"),
        ("SELECT CURRENT_CATALOG, count(*) FROM orders", "GS410"),
        ("SELECT txid_current() FROM orders", "GS410"),
    ],
    "pg_relation_size() and the like; ts_stat(), query_to_xml() and others that run a query": [
        ("SELECT count(*) FROM ts_stat('SELECT to_tsvector(''a'')')", "GS410"),
        ("SELECT pg_relation_size('orders')", "GS410"),
        ("SELECT pg_total_relation_size('items')", "GS410"),
        ("SELECT pg_database_size(current_database())", "GS410"),
        ("SELECT pg_tablespace_size('pg_default')", "GS410"),
    ],
    "pg_column_size(), has_table_privilege() and others that tell of a value or table": [
        ("SELECT sum(pg_column_size(customer)) FROM orders", "combine"),
        ("SELECT id FROM orders WHERE has_table_privilege('orders', 'SELECT')", "concatenate"),
        ("SELECT mode() WITHIN GROUP (ORDER BY pg_column_size(customer)) FROM orders", "GS410"),
    ],
    "ctid, xmin, tableoid": [
        ("SELECT ctid, xmin, tableoid FROM orders WHERE id = 7", "route*"),
        ("SELECT ctid FROM orders", "GS410"),
        ("SELECT tableoid FROM orders", "GS410"),
    ],
    "FOR UPDATE, FOR SHARE": [
        ("SELECT * FROM orders WHERE id = 7 FOR UPDATE", "route"),
        ("SELECT * FROM orders FOR SHARE", "concatenate"),
        ("SELECT * FROM products FOR UPDATE", "reference"),
        ("SELECT * FROM orders JOIN items ON id = order_id FOR UPDATE", "concatenate"),
        (("SELECT id FROM orders JOIN items ON id = order_id JOIN products ON code = product"
         " FOR UPDATE OF orders, items"), "concatenate"),
        (("SELECT id FROM items JOIN orders ON id = order_id JOIN products ON code = product"
         " FOR UPDATE"), "GS410"),
        ("SELECT * FROM orders LIMIT 1 FOR UPDATE", "GS410"),
        ("SELECT * FROM orders JOIN items ON id = line FOR UPDATE", "GS410"),
    ],
    "EXPLAIN": [
        ("EXPLAIN SELECT * FROM orders WHERE id = 7", "route*"),
        ("EXPLAIN (COSTS OFF) SELECT * FROM products", "reference"),
        ("EXPLAIN SELECT * FROM orders", "explain*"),
        ("EXPLAIN (ANALYZE, FORMAT json) SELECT count(*) FROM orders", "explain*"),
        ("EXPLAIN ANALYZE DELETE FROM orders", "explain*"),
        ("EXPLAIN DELETE FROM orders WHERE id = 7", "route*"),
        ("EXPLAIN (FORMAT xml) SELECT * FROM orders", "GS410"),
    ],
    "INSERT ... VALUES into a sharded table": [
        ("INSERT INTO orders VALUES (101, 'x', 1, '2024-01-01')", "route"),
        ("INSERT INTO items VALUES (101, 1, 'a', 1), (101, 2, 'b', 1)", "route"),
        ("INSERT INTO items VALUES (1, 9, 'a', 1), (2, 9, 'a', 1), (3, 9, 'a', 1)", "insert"),
        ("INSERT INTO orders VALUES (100 + 2, 'x', 1, '2024-01-01')", "insert"),
        ("INSERT INTO orders VALUES ((SELECT 9 + max(id) FROM orders), 'x', 1, '2024-01-01')",
         "transfer"),
        ("INSERT INTO items VALUES (1, (SELECT max(id) FROM orders), 'a', 1), (2, 9, 'b', 2)",
         "staged"),
        (
            (
                "INSERT INTO items AS i VALUES (1, 1, 'a', 1) ON CONFLICT (order_id, line)"
                " DO UPDATE SET quantity = (SELECT count(*) FROM orders WHERE amount > i.line)"
            ),
            "GS412",
        ),
    ],
    "INSERT ... VALUES into a reference table": [
        ("INSERT INTO products VALUES ('d', 'date', 1)", "broadcast"),
        ("INSERT INTO products VALUES ('e', 'date', abs(-4))", "broadcast"),
        ("INSERT INTO products VALUES ('f', 'date', (random() * 0)::int)", "insert"),
        ("INSERT INTO products VALUES ('d', 'date', (SELECT max(id) FROM orders))", "transfer"),
    ],
    "INSERT ... SELECT": [
        ("INSERT INTO orders SELECT * FROM orders WHERE id < 0", "concatenate"),
        ("INSERT INTO orders SELECT id + 100, customer, 1, placed FROM orders", "transfer"),
        ("INSERT INTO products SELECT 'd', 'date', 1", "broadcast"),
        ("INSERT INTO products SELECT customer, 'x', sum(amount) FROM orders GROUP BY customer",
         "transfer"),
        ("INSERT INTO orders SELECT id + 100, customer, 1, placed FROM orders FOR UPDATE", "GS412"),
    ],
    "ON CONFLICT": [
        (f"{AGAIN} DO NOTHING", "route"),
        (f"{AGAIN} DO UPDATE SET amount = EXCLUDED.amount", "route"),
        (f"{AGAIN} DO UPDATE SET id = 8", "GS412"),
        ("INSERT INTO orders VALUES (7, 'ada', 1, '2024-01-01') ON CONFLICT (customer) DO NOTHING",
         "GS412"),
    ],
    "UPDATE, DELETE of a sharded table": [
        ("UPDATE orders SET amount = 0 WHERE id = 7", "route"),
        ("UPDATE orders SET amount = 0", "concatenate"),
        ("DELETE FROM items USING orders WHERE order_id = id AND customer = 'ada'", "concatenate"),
        ("UPDATE items SET quantity = 0 FROM products WHERE code = product AND price > 3",
         "concatenate"),
        ("DELETE FROM orders WHERE amount < (SELECT avg(amount) FROM orders)", "carry"),
        ("UPDATE orders SET amount = 0 FROM items WHERE line = id", "carry"),
        ("UPDATE orders SET amount = (SELECT count(*) FROM items WHERE line = id)", "carry"),
        ("DELETE FROM orders WHERE id IN (SELECT line FROM items LIMIT 1)", "carry*"),
        ("DELETE FROM orders WHERE id IN (SELECT line FROM items FOR UPDATE)", "GS412"),
        ("UPDATE orders SET id = id + 100 WHERE id = 7 RETURNING customer", "move"),
        ("UPDATE orders SET id = id + 100", "move"),
    ],
    "UPDATE, DELETE of a reference table": [
        ("UPDATE products SET price = price + 1 WHERE code = 'a'", "broadcast"),
        ("UPDATE products SET price = price + 1", "mirror"),
        ("DELETE FROM products WHERE code = 'a'", "broadcast"),
        ("UPDATE products SET price = random()", "mirror"),
        ("UPDATE products SET code = code || (random() * 0)", "GS412"),
        ("DELETE FROM products WHERE code NOT IN (SELECT product FROM items)", "mirror"),
        ("UPDATE products SET price = (SELECT sum(quantity) FROM items WHERE product = code)",
         "mirror"),
        ("UPDATE products SET price = (SELECT count(*) FROM items) WHERE code = 'a'", "carry"),
        ("UPDATE products SET price = quantity FROM items WHERE product = code", "mirror*"),
        ("DELETE FROM products WHERE code IN (SELECT product FROM items FOR UPDATE)", "GS412"),
    ],
    "RETURNING": [
        ("DELETE FROM orders WHERE id = 7 RETURNING *", "route"),
        ("UPDATE orders SET amount = 0 RETURNING id", "concatenate"),
        ("UPDATE products SET price = 0 WHERE code = 'a' RETURNING code", "broadcast"),
    ],
    "writes to a view": [
        ("UPDATE big SET amount = 0", "concatenate"),
        ("DELETE FROM big WHERE id = 7", "route"),
        ("UPDATE big SET id = id + 1", "GS412"),
    ],
    "WITH queries that write": [
        ("WITH gone AS (DELETE FROM items WHERE order_id = 7 RETURNING *) SELECT * FROM gone",
         "route"),
        ("WITH gone AS (DELETE FROM items RETURNING *) SELECT line FROM gone", "concatenate"),
        ("WITH gone AS (DELETE FROM items RETURNING *) SELECT count(*) FROM gone", "staged"),
        ("WITH gone AS (DELETE FROM items RETURNING *) SELECT count(*) FROM gone, items", "GS412"),
    ],
    "MERGE": [
        ("MERGE INTO orders USING products ON customer = code WHEN MATCHED THEN DELETE",
         "concatenate"),
        (f"MERGE INTO orders USING (VALUES (7, 1), (70, 2)) AS v (key, sum) ON id = key {UPSERT}",
         "transfer"),
        (("MERGE INTO products USING (SELECT product, count(*) FROM items GROUP BY 1) AS sold"
          " ON code = product WHEN MATCHED THEN UPDATE SET price = count"), "transfer"),
        (("MERGE INTO orders USING products ON customer = code WHEN NOT MATCHED THEN"
          " INSERT VALUES (7, code, 1, '2024-01-01') RETURNING id"), "GS412"),
    ],
    "COPY": [
        ("COPY orders TO '/nowhere/file'", "GS410"),
        ("COPY orders FROM STDIN", "GS410"),
    ],
    "DO, CALL": [
        ("DO 'BEGIN END'", "GS410"),
        ("CALL tidy()", "GS410"),
    ],
    "SELECT INTO, CREATE TABLE AS, CREATE MATERIALIZED VIEW": [
        ("SELECT * INTO copied FROM orders", "GS410"),
        ("CREATE TABLE copied AS SELECT * FROM orders", "GS410"),
        ("CREATE TABLE copied AS SELECT * FROM orders WITH NO DATA", "broadcast"),
        ("CREATE MATERIALIZED VIEW copied AS SELECT * FROM orders", "GS410"),
    ],
    "other DDL: CREATE, ALTER, DROP, GRANT, COMMENT": [
        ("CREATE TABLE more (n int)", "broadcast"),
        ("CREATE VIEW few AS SELECT * FROM orders WHERE id < 3", "broadcast"),
        ("CREATE INDEX ON orders (customer)", "broadcast"),
        ("ALTER TABLE orders ADD COLUMN note text", "broadcast"),
        ("ALTER TABLE orders ALTER id TYPE text", "GS416"),
        ("CREATE UNIQUE INDEX ON orders (customer, id)", "broadcast"),
        ("CREATE UNIQUE INDEX ON orders (customer)", "GS415"),
        ("ALTER TABLE products ADD token uuid DEFAULT gen_random_uuid()", "GS412"),
        ("DROP TABLE items", "broadcast"),
        ("GRANT SELECT ON orders TO public", "broadcast"),
        ("COMMENT ON TABLE orders IS 'x'", "broadcast"),
    ],
    "TRUNCATE, LOCK, ANALYZE, VACUUM": [
        ("TRUNCATE items", "broadcast"),
        ("LOCK TABLE orders", "broadcast"),
        ("ANALYZE", "broadcast"),
        ("VACUUM products", "broadcast"),
    ],
    "REFRESH MATERIALIZED VIEW": [
        ("REFRESH MATERIALIZED VIEW cheap", "broadcast"),
    ],
    "SET, RESET, DISCARD, set_config()": [
        ("SET work_mem = '5MB'", "broadcast"),
        ("SET LOCAL work_mem = '5MB'", "broadcast"),
        ("RESET work_mem", "broadcast"),
        ("DISCARD PLANS", "broadcast"),
        ("SELECT set_config('work_mem', '5MB', true)", "broadcast"),
    ],
    "SHOW, current_setting()": [
        ("SHOW work_mem", "reference"),
        ("SELECT current_setting('work_mem')", "reference"),
    ],
    "BEGIN, COMMIT, ROLLBACK, SAVEPOINT": [
        ("SAVEPOINT here", "broadcast"),
        ("COMMIT", "broadcast"),
        ("END WORK AND CHAIN", "broadcast"),
        ("ABORT", "broadcast"),
        ("ROLLBACK", "broadcast"),
    ],
    "PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED": [
        ("PREPARE TRANSACTION 'it'", "GS410"),
        ("COMMIT PREPARED 'it'", "GS410"),
        ("ROLLBACK PREPARED 'it'", "GS410"),
        ("SET work_mem = '1MB'; PREPARE TRANSACTION 'it'", "GS410"),
    ],
    "PREPARE, EXECUTE, DEALLOCATE": [
        ("PREPARE it AS SELECT count(*) FROM orders", "broadcast"),
        ("PREPARE it (int) AS SELECT * FROM orders WHERE id = $1; EXECUTE it(7)", "several"),
        ("PREPARE it AS SELECT 1; DEALLOCATE it", "broadcast"),
    ],
    "DECLARE, FETCH, MOVE, CLOSE": [
        ("DECLARE c CURSOR FOR SELECT * FROM orders WHERE id = 7", "route"),
        ("DECLARE c CURSOR FOR SELECT * FROM orders", "declare"),
        ("DECLARE c CURSOR FOR SELECT id FROM orders ORDER BY 1; MOVE 2 c; FETCH 3 c", "several"),
        ("DECLARE c CURSOR FOR SELECT 1; CLOSE c", "several"),
        ("DECLARE c SCROLL CURSOR FOR SELECT * FROM orders", "GS410"),
    ],
    "LISTEN, UNLISTEN, NOTIFY": [
        ("LISTEN channel", "broadcast"),
        ("UNLISTEN channel", "broadcast"),
        ("NOTIFY channel", "reference"),
    ],
    "several statements in one string": [
        ("SELECT 1; SELECT 2", "several"),
        ("UPDATE orders SET amount = 0; SET work_mem = '5MB'", "several"),
        ("UPDATE orders SET amount = 0 WHERE id = 1; DELETE FROM items; TABLE orders", "several"),
        ("SET LOCAL work_mem = '5MB'; CREATE TABLE more (n int)", "broadcast"),
    ],
    "what PostgreSQL cannot parse": [("SELECT FROM WHERE", "GS404")],
}  # fmt: skip
