-- Functions of the user: in SQL and PL/pgSQL, of each volatility, with tables, sets, defaults and overloads.
-- fu_plain: k
-- fu_other: k
-- fu_list: reference
-- refused 40: GS412 function fu_last() reads fu_other
-- refused 106: GS410 function fu_counted() may read tables, of which each shard has a part only
-- refused 110: GS410 fu_total()
-- refused 62: GS410 function fu_write() may read tables, of which each shard has a part only
-- refused 18: GS412 an INSERT reads a sharded table
-- refused 14: GS410 fu_deep()

-- = schema
CREATE TABLE fu_plain (k int PRIMARY KEY, v int, t text);
CREATE TABLE fu_other (k int, no int, v int, PRIMARY KEY (k, no));
CREATE TABLE fu_list (id int PRIMARY KEY, n int, name text);
CREATE FUNCTION fu_fixed(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2 + 1';
CREATE FUNCTION fu_loose(a int, b int DEFAULT 5) RETURNS int LANGUAGE sql AS 'SELECT a * 10 + b';
CREATE FUNCTION fu_coded(int) RETURNS text LANGUAGE plpgsql AS $$ DECLARE s text := ''; BEGIN
    FOR i IN 1..$1 LOOP s := s || i; END LOOP; RETURN s; END $$;
CREATE FUNCTION fu_over(int) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'int' || $1 $$;
CREATE FUNCTION fu_over(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'text' || $1 $$;
CREATE FUNCTION fu_many(VARIADIC int[]) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT cardinality($1)';
CREATE FUNCTION fu_strict(int, int) RETURNS int STRICT IMMUTABLE LANGUAGE sql AS 'SELECT $1 + $2';
CREATE FUNCTION fu_series(int) RETURNS SETOF int IMMUTABLE LANGUAGE sql AS 'SELECT generate_series(1, $1)';
CREATE FUNCTION fu_pair(int, OUT a int, OUT b text) IMMUTABLE LANGUAGE sql AS $$ SELECT $1 + 1, 'b' || $1 $$;
CREATE FUNCTION fu_total() RETURNS bigint STABLE LANGUAGE sql AS 'SELECT sum(v) FROM public.fu_plain';
CREATE FUNCTION fu_of_key(int) RETURNS int STABLE LANGUAGE sql AS 'SELECT v FROM fu_plain WHERE k = $1';
CREATE FUNCTION fu_rows(int) RETURNS SETOF public.fu_other STABLE LANGUAGE sql AS 'SELECT * FROM fu_other WHERE k = $1';
CREATE FUNCTION fu_table(low int) RETURNS TABLE (k int, v int) STABLE LANGUAGE sql AS 'SELECT p.k, p.v FROM fu_plain p WHERE p.v >= low';
CREATE FUNCTION fu_name(int) RETURNS text STABLE LANGUAGE sql AS 'SELECT name FROM fu_list WHERE id = $1';
CREATE FUNCTION fu_counted(int) RETURNS bigint STABLE LANGUAGE plpgsql AS $$ BEGIN
    RETURN (SELECT count(*) FROM public.fu_plain WHERE v = $1); END $$;
CREATE FUNCTION fu_write(int) RETURNS void LANGUAGE sql AS 'UPDATE public.fu_list SET n = n + 1 WHERE id = $1';
CREATE FUNCTION fu_setting() RETURNS text LANGUAGE sql AS $$ SELECT current_setting('app.word', true) $$;
CREATE FUNCTION fu_nested(int) RETURNS int LANGUAGE sql AS 'SELECT public.fu_loose($1) + public.fu_fixed($1)';
CREATE FUNCTION fu_deep(int) RETURNS bigint LANGUAGE sql AS 'SELECT $1 + public.fu_total()';
CREATE FUNCTION fu_last(int) RETURNS int STABLE LANGUAGE sql AS 'SELECT no FROM fu_other WHERE v = $1 ORDER BY no DESC LIMIT 1';
CREATE FUNCTION fu_set(text) RETURNS text LANGUAGE sql SET search_path = pg_catalog AS 'SELECT upper($1)';
CREATE VIEW fu_view AS SELECT k, fu_fixed(v) AS f, fu_loose(v) AS l FROM fu_plain

-- = rows
INSERT INTO fu_plain SELECT g, g % 5, 't' || g % 4 FROM generate_series(1, 12) g;
INSERT INTO fu_other SELECT g % 10 + 1, g, g % 6 FROM generate_series(1, 20) g;
INSERT INTO fu_list SELECT g, g % 3, 'name' || g FROM generate_series(1, 6) g

-- = statements
SELECT k, <<fu_fixed|fu_loose|fu_coded|fu_over|fu_nested|fu_name|fu_of_key|fu_counted|fu_deep|fu_last>>(v) FROM fu_plain <<|WHERE k = {k}|WHERE v > {n}>>;
SELECT <<fu_fixed|fu_loose|fu_coded|fu_over|fu_nested|fu_name|fu_of_key|fu_counted|fu_deep|fu_last>>({n});
SELECT k FROM fu_plain WHERE <<fu_fixed(v) > 5|fu_loose(v) = 25|fu_loose(v, b => 1) > 20|fu_over(t) = 'textt1'|fu_coded(v) = '123'|fu_of_key(k) = {n}|v = fu_last({n})|fu_name(v) = 'name2'>>;
SELECT k FROM fu_plain WHERE k = <<fu_fixed({n})|fu_loose(1, {n})|fu_of_key({k})>>;
SELECT <<fu_fixed|fu_loose|fu_coded|fu_nested>>(v), count(*) FROM fu_other GROUP BY 1;
SELECT sum(<<fu_fixed|fu_loose|fu_nested|fu_of_key>>(v)), max(<<fu_coded|fu_over|fu_name>>(v)) FROM fu_plain;
SELECT count(DISTINCT <<fu_fixed|fu_coded|fu_over>>(v)) FROM fu_plain;
SELECT k, t FROM fu_plain ORDER BY <<fu_fixed|fu_coded|fu_loose>>(v), k <<|LIMIT 4>>{total};
SELECT fu_many(k, v), fu_many(1, 2, 3), fu_strict(k, nullif(v, 2)) FROM fu_plain;
SELECT k, s FROM fu_plain, fu_series(v) s;
SELECT k, fu_series(v) FROM fu_plain <<|WHERE k = {k}>>;
SELECT * FROM <<fu_series|fu_pair|fu_rows|fu_table>>({n}) <<|LIMIT 30>>;
SELECT p.k, x.* FROM fu_plain p, LATERAL <<fu_pair(p.v)|fu_rows(p.k)|fu_table(p.v)>> x;
SELECT p.k, r.no FROM fu_plain p JOIN fu_rows({k}) r ON r.k = p.k;
SELECT a.k, t.v FROM fu_other a JOIN fu_table({n}) t ON <<t.k = a.k|t.v = a.v>>;
SELECT count(*), sum(v) FROM fu_table({n});
SELECT (fu_pair(v)).b FROM fu_plain <<|WHERE k = {k}>>;
SELECT fu_total() <<|FROM fu_list|FROM fu_plain>>;
SELECT k FROM fu_plain WHERE v * 8 > fu_total();
SELECT id, fu_name(id), fu_fixed(n) FROM fu_list WHERE n = {n};
SELECT id, <<fu_of_key|fu_counted|fu_last>>(id) FROM fu_list;
SELECT fu_write({n}) <<|FROM fu_plain|FROM fu_list>>;
SELECT fu_setting() <<|FROM fu_plain>>;
SELECT fu_set(t), fu_set('x') FROM fu_plain;
SELECT <<*|sum(f), max(l)|count(DISTINCT l)>> FROM fu_view <<|WHERE f > {n}|WHERE k = {k}>>;
UPDATE fu_plain SET v = <<fu_fixed(v)|fu_loose(v)|fu_of_key(k)|fu_counted(v)|fu_nested(k)|fu_last(v)>> <<|WHERE k = {k}|WHERE fu_fixed(v) > 3>>;
UPDATE fu_list SET n = <<fu_fixed(n)|fu_loose(n)|fu_counted(n)|fu_last(n)>>;
INSERT INTO fu_plain VALUES (55, <<fu_fixed({n})|fu_loose({n})|fu_counted({n})|fu_total()>>, fu_coded({n}));
INSERT INTO fu_plain VALUES (fu_fixed(30), 1, 'x');
INSERT INTO fu_list VALUES (9, <<fu_fixed({n})|fu_loose({n})|fu_counted({n})>>, <<fu_name({n})|fu_coded({n})>>);
DELETE FROM fu_other WHERE <<no = fu_last({n})|v = fu_fixed({n})|k = fu_of_key(k)|fu_coded(v) = '12'>>;
