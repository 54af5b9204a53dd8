-- Casts of the user, explicit ones and those that no text names.
-- apart
-- ca_plain: k
-- ca_list: reference
-- ca_other: k
-- refused 300: GS410 type ca_odd calls ca_count()
-- refused 56: GS412 the shard key of a row is computed

-- = schema
CREATE TYPE ca_point AS (x int, y int);
CREATE TYPE ca_tag AS ENUM ('one', 'two', 'four');
CREATE TYPE ca_odd AS (x int);
CREATE TABLE ca_plain (k int PRIMARY KEY, v int, p ca_point, tag ca_tag);
CREATE TABLE ca_other (k int, no int, v int, tag ca_tag, PRIMARY KEY (k, no));
CREATE TABLE ca_list (id int PRIMARY KEY, p ca_point, tag ca_tag);
CREATE FUNCTION ca_length(ca_point) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1.x + $1.y';
CREATE CAST (ca_point AS int) WITH FUNCTION ca_length(ca_point) AS IMPLICIT;
CREATE FUNCTION ca_diagonal(int) RETURNS ca_point IMMUTABLE LANGUAGE sql AS 'SELECT ROW($1, $1)::public.ca_point';
CREATE CAST (int AS ca_point) WITH FUNCTION ca_diagonal(int) AS ASSIGNMENT;
CREATE FUNCTION ca_number(ca_tag) RETURNS int IMMUTABLE LANGUAGE sql AS $$ SELECT CASE $1 WHEN 'one' THEN 1 WHEN 'two' THEN 2 ELSE 4 END $$;
CREATE CAST (ca_tag AS int) WITH FUNCTION ca_number(ca_tag) AS IMPLICIT;
CREATE FUNCTION ca_count(ca_odd) RETURNS int STABLE LANGUAGE sql AS 'SELECT $1.x + count(*)::int FROM public.ca_plain';
CREATE CAST (ca_odd AS int) WITH FUNCTION ca_count(ca_odd) AS IMPLICIT;
CREATE CAST (ca_tag AS text) WITH INOUT AS IMPLICIT

-- = rows
INSERT INTO ca_plain SELECT g, g % 4, ROW(g, g % 3)::ca_point, (ARRAY['one', 'two', 'four']::ca_tag[])[g % 3 + 1] FROM generate_series(1, 12) g;
INSERT INTO ca_other SELECT g % 10 + 1, g, g % 5, (ARRAY['one', 'two', 'four']::ca_tag[])[g % 2 + 1] FROM generate_series(1, 20) g;
INSERT INTO ca_list SELECT g, ROW(g, 1)::ca_point, (ARRAY['one', 'two', 'four']::ca_tag[])[g % 3 + 1] FROM generate_series(1, 5) g

-- = statements
SELECT k, p::int, tag::int FROM ca_plain <<|WHERE k = {k}|WHERE p::int > {n}|WHERE tag::int = {n}>>;
SELECT k FROM ca_plain WHERE <<p + 1 > 5|abs(p) = {n}|tag + 1 = {n}|v = tag|k = p::int|k = tag>>;
SELECT k FROM ca_plain WHERE k = <<'two'::ca_tag|ROW(1, 2)::ca_point|ROW(1)::ca_odd|'one'::ca_tag::int>>;
SELECT k FROM ca_plain WHERE k IN (<<'two'::ca_tag|'two'::ca_tag::int>>, 3);
SELECT sum(p::int), max(tag), sum(<<p|tag>>) FROM ca_plain <<|WHERE v > {n}>>;
SELECT tag, sum(p::int) FROM ca_plain GROUP BY tag ORDER BY tag{total};
SELECT tag::text || 'x', count(*) FROM ca_other GROUP BY 1;
SELECT upper(tag), k FROM ca_plain ORDER BY 1, 2{total};
SELECT a.k, b.no FROM ca_plain a JOIN ca_other b ON <<a.k = b.k AND a.tag = b.tag|a.v = b.tag|a.k = b.tag|a.p::int = b.no>>;
SELECT a.k, l.id FROM ca_plain a JOIN ca_list l ON <<a.tag = l.tag|a.v = l.p|l.id = a.tag>>;
SELECT ROW({n})::ca_odd::int;
SELECT k FROM ca_plain WHERE v > ROW({n})::ca_odd::int;
SELECT count(DISTINCT p::int), count(DISTINCT tag) FROM ca_plain;
UPDATE ca_plain SET <<v = tag|v = p|p = v|p = {n}|v = 'four'::ca_tag>> <<|WHERE k = {k}>>;
UPDATE ca_plain SET v = ROW(1)::ca_odd <<|WHERE k = {k}>>;
INSERT INTO ca_plain VALUES (<<55|'two'::ca_tag|ROW(20, 30)::ca_point>>, <<{n}|'two'::ca_tag>>, <<7|ROW(1, 2)>>, 'one');
UPDATE ca_list SET p = <<{n}|tag::int|id>>;
INSERT INTO ca_list VALUES (<<9|'four'::ca_tag>>, {n}, 'two') <<|ON CONFLICT DO NOTHING>>;
DELETE FROM ca_other WHERE <<tag = v|tag::int = {n}|k = 'two'::ca_tag>>;
SELECT CASE v WHEN 'two'::ca_tag THEN 'yes' ELSE 'no' END FROM ca_plain;
SELECT v FROM ca_plain UNION SELECT tag FROM ca_other;
SELECT coalesce(v, tag), greatest(v, tag) FROM ca_plain WHERE k = {k};
