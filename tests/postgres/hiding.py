"""Code that changes its session, in every place where a server runs it unseen."""

from __future__ import annotations

#: `evil` leaves all that a session can be left with; b is another tenant's schema.
SCHEMA = """
CREATE SCHEMA b;
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TABLE b.t (id int PRIMARY KEY, v text);
CREATE SEQUENCE counter;
CREATE TABLE numbered (id serial, x int);
CREATE TABLE identified (id int GENERATED ALWAYS AS IDENTITY, x int);
CREATE EXTENSION tablefunc;
CREATE EXTENSION pg_trgm;
CREATE EXTENSION citext;
CREATE FUNCTION evil(anyelement) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    PERFORM set_config('search_path', 'b, public', false);
    PERFORM set_config('app.tenant', 'other', false);
    PERFORM set_config('TimeZone', 'Asia/Tokyo', false);
    PERFORM pg_advisory_lock(77);
    PERFORM setseed(0.5);
    PERFORM nextval('public.counter');
    IF current_setting('transaction_read_only') = 'off' THEN
        CREATE TEMP TABLE IF NOT EXISTS left_over (x int);
        LISTEN news;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_prepared_statements WHERE name = 'kept') THEN
        EXECUTE 'PREPARE kept AS SELECT 1';
    END IF;
    RETURN 1;
END $$;
CREATE FUNCTION quiet(anyelement) RETURNS int IMMUTABLE LANGUAGE plpgsql
    AS $$ BEGIN PERFORM set_config('search_path', 'b, public', false); RETURN 1; END $$;
CREATE FUNCTION lower(int) RETURNS int LANGUAGE sql AS 'SELECT evil($1)';
CREATE FUNCTION evil_vector() RETURNS tsvector LANGUAGE sql
    AS $$ SELECT to_tsvector('simple', evil(1)::text) $$;
CREATE FUNCTION evil_of(t) RETURNS int LANGUAGE sql AS 'SELECT evil($1.id)';
CREATE FUNCTION evil_trigger() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN PERFORM evil(1); RETURN coalesce(new, old); END $$;
CREATE PROCEDURE evil_procedure() LANGUAGE plpgsql AS $$ BEGIN PERFORM evil(1); END $$;
CREATE OPERATOR @@@ (LEFTARG = int, RIGHTARG = int, FUNCTION = quiet2);
CREATE AGGREGATE evil_sum(int) (SFUNC = quiet2, STYPE = int, INITCOND = '0');
CREATE AGGREGATE setting(text, bool) (SFUNC = set_config, STYPE = text, INITCOND = 'search_path');
CREATE VIEW peeking AS SELECT evil(1) AS x;
CREATE VIEW over_it AS SELECT x FROM peeking;
CREATE VIEW setting_it AS SELECT set_config('search_path', 'b, public', false) AS x;
CREATE VIEW settings AS SELECT * FROM pg_settings;
CREATE TABLE triggered (id int, x int);
CREATE TRIGGER before BEFORE INSERT OR UPDATE ON triggered
    FOR EACH ROW EXECUTE FUNCTION evil_trigger();
CREATE TABLE late (id int);
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION evil_trigger();
CREATE TABLE asked (id int);
CREATE TRIGGER asked AFTER INSERT ON asked FOR EACH ROW
    WHEN (set_config('search_path', 'b, public', false) = '') EXECUTE FUNCTION
    suppress_redundant_updates_trigger();
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE);
CREATE TRIGGER gone AFTER DELETE ON child FOR EACH ROW EXECUTE FUNCTION evil_trigger();
CREATE TABLE parts (id int) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parts DEFAULT;
CREATE TRIGGER part BEFORE INSERT ON part FOR EACH ROW EXECUTE FUNCTION evil_trigger();
CREATE TABLE ruled (id int);
CREATE RULE also AS ON INSERT TO ruled DO ALSO SELECT evil(1);
CREATE TABLE defaulted (id int, x int DEFAULT evil(1));
CREATE TABLE set_by_default (id int, x text DEFAULT set_config('search_path', 'b, public', false));
CREATE TABLE checked (id int CHECK (quiet(id) = 1));
CREATE TABLE made (id int, x int GENERATED ALWAYS AS (quiet(id)) STORED);
CREATE TABLE indexed (id int);
CREATE INDEX ON indexed (quiet(id));
CREATE TABLE measured (id int);
CREATE STATISTICS of_measured ON (quiet(1) + id), (id * 2) FROM measured;
CREATE TABLE guarded (id int);
CREATE POLICY mine ON guarded USING (set_config('search_path', 'b, public', false) <> '');
INSERT INTO parent VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9);
INSERT INTO child SELECT id FROM parent;
""".replace(
    "CREATE OPERATOR",
    "CREATE FUNCTION quiet2(int, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT quiet($1)';\n"
    "CREATE OPERATOR",
    1,
)

#: What a client would send.
PLACES = {
    "a call": "SELECT evil(1)",
    "a harmless name": "SELECT lower(17)",
    "a call in FROM": "SELECT * FROM generate_series(1, evil(1))",
    "a subquery": "SELECT 1 WHERE EXISTS (SELECT evil(1))",
    "with": "WITH x AS MATERIALIZED (SELECT evil(1)) SELECT * FROM x",
    "explain analyze": "EXPLAIN ANALYZE SELECT evil(1)",
    "a view": "SELECT * FROM peeking",
    "a view over a view": "SELECT * FROM over_it",
    "a view that calls set_config": "SELECT * FROM setting_it",
    "an attribute": "SELECT (w.r).evil_of FROM (SELECT (1, 'x')::t AS r) AS w",
    "a table's attribute": "SELECT t.evil_of FROM (VALUES (1)) AS x, t",
    "an operator": "SELECT 1 @@@ 2",
    "an aggregate": "SELECT evil_sum(x) FROM generate_series(1, 2) AS x",
    "an aggregate of set_config": "SELECT setting('b, public', false)",
    "ts_stat": "SELECT * FROM ts_stat('SELECT evil_vector()')",
    "ts_rewrite": "SELECT ts_rewrite('a & b'::tsquery,"
    " 'SELECT ''a''::tsquery, ''b''::tsquery WHERE evil(1) = 1')",
    "a trigger": "INSERT INTO triggered VALUES (1, 1)",
    "a trigger's condition": "INSERT INTO asked VALUES (1)",
    "a deferred trigger": "INSERT INTO late VALUES (1)",
    "a cascade": "DELETE FROM parent WHERE id = (SELECT min(id) FROM parent)",
    "a partition's trigger": "INSERT INTO parts VALUES (1)",
    "a rule": "INSERT INTO ruled VALUES (1)",
    "a default": "INSERT INTO defaulted (id) VALUES (1)",
    "a default that calls set_config": "INSERT INTO set_by_default (id) VALUES (1)",
    "a constraint": "INSERT INTO checked VALUES (1)",
    "a generated column": "INSERT INTO made (id) VALUES (1)",
    "an index": "INSERT INTO indexed VALUES (1)",
    "statistics": "SELECT * FROM measured WHERE id = 3",
    "pg_settings": "UPDATE pg_settings SET setting = 'b, public' WHERE name = 'search_path'",
    "a view of pg_settings": "UPDATE settings SET setting = 'b, public' WHERE name = 'search_path'",
    "an escaped name": 'SET U&"search\\005fpath" = b, public',
    "do": "DO $$ BEGIN PERFORM evil(1); END $$",
    "call": "CALL evil_procedure()",
    "declare": "DECLARE c CURSOR WITH HOLD FOR SELECT evil(1)",
    "several": "SELECT 1; SET search_path = b, public",
    "lastval by serial": "INSERT INTO numbered (x) VALUES (1)",
    "lastval by identity": "INSERT INTO identified (x) VALUES (1)",
    "lastval": "SELECT nextval('counter')",
    "setval": "SELECT setval('counter', 7)",
    "seed": "SELECT setseed(0.5)",
    "seed of a number": "SELECT (0.5::float8).setseed",
    "advisory lock": "SELECT pg_advisory_lock(7)",
    "advisory lock on a column": "SELECT (id).pg_advisory_lock FROM t WHERE id = 3",
    "advisory lock on a result": "SELECT s.pg_advisory_lock FROM generate_series(7, 7) AS s",
    "crosstab": "SELECT * FROM crosstab('SELECT evil(1)::text, ''a''::text, 1')"
    " AS c (a text, b int)",
    "connectby": "SELECT * FROM connectby('(SELECT evil(1), 2 AS id, 1 AS up) AS x', 'id', 'up',"
    " '1', 0) AS c (id int, up int, level int)",
}

#: Statements that leave nothing.
CLEAN = [
    "SELECT upper(v), count(*) FROM t GROUP BY 1",
    "SELECT v FROM t WHERE id = 3",
    "SELECT x.id FROM t AS x JOIN t AS y USING (id) ORDER BY 1 LIMIT 2",
    "SELECT EXTRACT(year FROM now()), random(), CURRENT_USER, COALESCE(1, 2)",
    "UPDATE t SET v = v WHERE id = 3",
    "UPDATE numbered SET x = x + 1",
    "DELETE FROM identified WHERE id < 0",
    "INSERT INTO t SELECT id, v FROM t WHERE id = 3 ON CONFLICT (id) DO UPDATE SET v = t.v",
    "SELECT id FROM t AS own WHERE id = 3 FOR UPDATE OF own",
    "WITH x AS (SELECT id FROM t) SELECT * FROM x WHERE id IN (1, 2)",
    "SELECT similarity(v, 'a') FROM t WHERE id = 3 AND v % 'a' AND v::citext = 'A'",
    "SHOW search_path",
    "EXPLAIN SELECT * FROM t",
    "SELECT name FROM pg_settings WHERE name = 'work_mem'",
    "SELECT nspname FROM pg_catalog.pg_namespace",
    "TABLE t",
    "VALUES (1), (2)",
]

#: What a user of the session can find.
STATE = (
    "SELECT current_setting('search_path'), coalesce(current_setting('app.tenant', true), ''),"
    " current_setting('TimeZone'), current_user::text, session_user::text,"
    " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),"
    " (SELECT count(*) FROM pg_cursors), (SELECT count(*) FROM pg_prepared_statements),"
    " (SELECT count(*) FROM pg_listening_channels()),"
    " (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()),"
    " current_setting('default_transaction_isolation')"
)
