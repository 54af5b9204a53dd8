"""Statements of each kind that the table of docs/one-database.rst names."""

from __future__ import annotations

AGAIN = "INSERT INTO orders VALUES (7, 'x', 1, '2024-01-01') ON CONFLICT (id)"

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
    "materialized views": [("SELECT * FROM cheap", "GS409")],
    "views": [
        ("SELECT * FROM big", "concatenate"),
        ("SELECT * FROM big WHERE id = 11", "route"),
        ("SELECT sum(amount) FROM big", "combine"),
    ],
    "temporary tables": [("CREATE TEMPORARY TABLE mine (n int)", "GS410")],
    "PostgreSQL's own catalog": [
        ("SELECT relname FROM pg_class WHERE relname = 'orders'", "reference"),
        ("SELECT table_name FROM information_schema.tables WHERE table_name = 'items'",
         "reference"),
        ("SELECT relname FROM pg_class JOIN orders ON customer = relname", "GS410"),
    ],
    "names of tables": [
        ("SELECT count(*) FROM public.orders", "combine"),
        ('SELECT count(*) FROM "orders"', "combine"),
        ("SELECT * FROM nothing", "GS408"),
        ("SELECT * FROM elsewhere.orders", "GS408"),
    ],
    "your functions that are IMMUTABLE": [("SELECT doubled(id) FROM orders", "concatenate")],
    "your other functions": [
        ("SELECT orders_count()", "GS410"),
        ("SELECT id FROM orders WHERE id < orders_count()", "GS410"),
        ("SELECT * FROM orders_count()", "GS410"),
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
    "random(), gen_random_uuid(), clock_timestamp(), pg_sleep()": [
        ("SELECT random(), gen_random_uuid(), clock_timestamp() FROM orders", "concatenate*"),
        ("SELECT pg_sleep(0) FROM orders", "concatenate"),
    ],
    "currval(), lastval()": [
        ("SELECT lastval()", "GS410"),
        ("SELECT currval('tickets')", "GS410"),
        ("INSERT INTO items VALUES (7, lastval(), 'x', 1)", "GS410"),
    ],
    "nextval(), advisory locks, pg_notify()": [
        ("SELECT nextval('tickets')", "reference"),
        ("SELECT pg_advisory_xact_lock(7)", "reference"),
        ("SELECT pg_notify('channel', 'hello')", "reference"),
        ("SELECT nextval('tickets') FROM orders", "GS410"),
        ("SELECT pg_advisory_xact_lock(id) FROM orders", "GS410"),
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
    ],
    "pg_column_size(), has_table_privilege() and others that tell of a value or table": [
        ("SELECT sum(pg_column_size(customer)) FROM orders", "combine"),
        ("SELECT id FROM orders WHERE has_table_privilege('orders', 'SELECT')", "concatenate"),
        ("SELECT count(DISTINCT customer), max(pg_column_size(customer)) FROM orders", "GS410"),
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
        ("SELECT * FROM orders LIMIT 1 FOR UPDATE", "GS410"),
        ("SELECT * FROM orders JOIN items ON id = line FOR UPDATE", "GS410"),
    ],
    "EXPLAIN": [
        ("EXPLAIN SELECT * FROM orders WHERE id = 7", "route*"),
        ("EXPLAIN (COSTS OFF) SELECT * FROM products", "reference"),
        ("EXPLAIN SELECT * FROM orders", "GS410"),
        ("EXPLAIN DELETE FROM orders WHERE id = 7", "GS410"),
    ],
    "INSERT ... VALUES into a sharded table": [
        ("INSERT INTO orders VALUES (101, 'x', 1, '2024-01-01')", "route"),
        ("INSERT INTO items VALUES (101, 1, 'a', 1), (101, 2, 'b', 1)", "route"),
        ("INSERT INTO items VALUES (1, 9, 'a', 1), (2, 9, 'a', 1), (3, 9, 'a', 1)", "GS412"),
        ("INSERT INTO orders VALUES (100 + 1, 'x', 1, '2024-01-01')", "GS412"),
        ("INSERT INTO orders (customer, amount, placed) VALUES ('x', 1, '2024-01-01')", "GS412"),
    ],
    "INSERT ... VALUES into a reference table": [
        ("INSERT INTO products VALUES ('d', 'date', 1)", "broadcast"),
        ("INSERT INTO products VALUES ('d', 'date', random())", "GS412"),
        ("INSERT INTO products (code, name) VALUES ('d', 'date')", "GS412"),
        ("INSERT INTO products VALUES ('d', 'date', DEFAULT)", "GS412"),
    ],
    "INSERT ... SELECT": [
        ("INSERT INTO orders SELECT 101, 'x', 1, '2024-01-01'", "GS412"),
        ("INSERT INTO products SELECT 'd', 'date', 1", "GS412"),
    ],
    "ON CONFLICT": [
        (f"{AGAIN} DO NOTHING", "route"),
        (f"{AGAIN} DO UPDATE SET amount = EXCLUDED.amount", "route"),
        (f"{AGAIN} DO UPDATE SET id = 8", "GS412"),
    ],
    "UPDATE, DELETE of a sharded table": [
        ("UPDATE orders SET amount = 0 WHERE id = 7", "route"),
        ("UPDATE orders SET amount = 0", "concatenate"),
        ("DELETE FROM items USING orders WHERE order_id = id AND customer = 'ada'", "concatenate"),
        ("UPDATE items SET quantity = 0 FROM products WHERE code = product AND price > 3",
         "concatenate"),
        ("DELETE FROM orders WHERE amount < (SELECT avg(amount) FROM orders)", "GS412"),
        ("UPDATE orders SET amount = 0 FROM items WHERE line = id", "GS412"),
        ("UPDATE orders SET id = 8 WHERE id = 7", "GS412"),
    ],
    "UPDATE, DELETE of a reference table": [
        ("UPDATE products SET price = price + 1", "broadcast"),
        ("DELETE FROM products WHERE code = 'a'", "broadcast"),
        ("UPDATE products SET price = random()", "GS412"),
        ("DELETE FROM products WHERE code NOT IN (SELECT product FROM items)", "GS412"),
    ],
    "RETURNING": [
        ("DELETE FROM orders WHERE id = 7 RETURNING *", "route"),
        ("UPDATE orders SET amount = 0 RETURNING id", "concatenate"),
        ("UPDATE products SET price = 0 RETURNING code", "broadcast"),
    ],
    "writes to a view": [("UPDATE big SET amount = 0", "GS412")],
    "WITH queries that write": [
        ("WITH gone AS (DELETE FROM items WHERE order_id = 7 RETURNING *) SELECT * FROM gone",
         "GS412"),
    ],
    "MERGE, COPY, DO, CALL": [
        ("MERGE INTO orders USING products ON customer = code WHEN MATCHED THEN DELETE", "GS410"),
        ("COPY orders TO '/nowhere/file'", "GS410"),
        ("DO 'BEGIN END'", "GS410"),
        ("CALL something()", "GS410"),
    ],
    "SELECT INTO, CREATE TABLE AS, CREATE MATERIALIZED VIEW": [
        ("SELECT * INTO copied FROM orders", "GS410"),
        ("CREATE TABLE copied AS SELECT * FROM orders", "GS410"),
        ("CREATE MATERIALIZED VIEW copied AS SELECT * FROM orders", "GS410"),
    ],
    "other DDL: CREATE, ALTER, DROP, GRANT, COMMENT": [
        ("CREATE TABLE more (n int)", "broadcast"),
        ("CREATE VIEW few AS SELECT * FROM orders WHERE id < 3", "broadcast"),
        ("CREATE INDEX ON orders (customer)", "broadcast"),
        ("ALTER TABLE orders ADD COLUMN note text", "broadcast"),
        ("ALTER TABLE orders ALTER id TYPE text", "GS416"),
        ("DROP TABLE items", "broadcast"),
        ("GRANT SELECT ON orders TO public", "broadcast"),
        ("COMMENT ON TABLE orders IS 'x'", "broadcast"),
    ],
    "TRUNCATE, LOCK, ANALYZE, VACUUM, REFRESH MATERIALIZED VIEW": [
        ("TRUNCATE items", "broadcast"),
        ("LOCK TABLE orders", "broadcast"),
        ("ANALYZE", "broadcast"),
        ("VACUUM products", "broadcast"),
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
    "PREPARE, EXECUTE": [("PREPARE it AS SELECT 1", "GS410"), ("EXECUTE it", "GS410")],
    "DECLARE, FETCH, MOVE, CLOSE": [
        ("DECLARE c CURSOR FOR SELECT 1", "GS410"),
        ("FETCH c", "GS410"),
        ("MOVE c", "GS410"),
        ("CLOSE c", "GS410"),
    ],
    "LISTEN, UNLISTEN, NOTIFY": [
        ("LISTEN channel", "broadcast"),
        ("UNLISTEN channel", "broadcast"),
        ("NOTIFY channel", "reference"),
    ],
    "several statements in one string": [
        ("SELECT 1; SELECT 2", "GS411"),
        ("UPDATE orders SET amount = 0; SET work_mem = '5MB'", "GS411"),
        ("SET LOCAL work_mem = '5MB'; CREATE TABLE more (n int)", "broadcast"),
    ],
    "what PostgreSQL cannot parse": [("SELECT FROM WHERE", "GS404")],
}  # fmt: skip
