-- Operators of the user: for PostgreSQL's types and for types of their own, also where no text names them.
-- apart
-- op_plain: k
-- op_other: k
-- op_list: reference
-- refused 111: GS410 the function of operator ?+ may read tables, of which each shard has a part only
-- refused 93: GS410 the function of operator ?# may read tables, of which each shard has a part only
-- refused 64: GS410 the function of operator @? may read tables, of which each shard has a part only
-- refused 8: GS410 function op_reading() may read tables, of which each shard has a part only

-- = schema
CREATE TYPE op_money AS (units int, cents int);
CREATE TYPE op_mood AS ENUM ('low', 'mid', 'high');
CREATE FUNCTION op_total(op_money) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1.units * 100 + $1.cents';
CREATE FUNCTION op_equal(op_money, op_money) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1.units * 100 + $1.cents = $2.units * 100 + $2.cents';
CREATE FUNCTION op_near(int, int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT abs($1 - $2) < 2';
CREATE FUNCTION op_join(text, int) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT $1 || '#' || $2 $$;
CREATE FUNCTION op_chance(int, int) RETURNS bool LANGUAGE sql AS 'SELECT random() < 2 AND $1 = $2';
CREATE TABLE op_plain (k int PRIMARY KEY, v int, m op_money, t text, w op_mood);
CREATE TABLE op_other (k int, no int, v int, m op_money, w op_mood, PRIMARY KEY (k, no));
CREATE TABLE op_list (id int PRIMARY KEY, v int, m op_money);
CREATE FUNCTION op_known(int, int) RETURNS bool STABLE LANGUAGE sql AS 'SELECT $1 + $2 IN (SELECT v FROM public.op_plain)';
CREATE FUNCTION op_listed(int, int) RETURNS bool STABLE LANGUAGE sql AS 'SELECT $1 + $2 IN (SELECT v FROM public.op_list)';
CREATE OPERATOR == (LEFTARG = op_money, RIGHTARG = op_money, FUNCTION = op_equal, COMMUTATOR = ==);
CREATE OPERATOR =~= (LEFTARG = int, RIGHTARG = int, FUNCTION = op_near);
CREATE OPERATOR ## (LEFTARG = text, RIGHTARG = int, FUNCTION = op_join);
CREATE OPERATOR @? (LEFTARG = int, RIGHTARG = int, FUNCTION = op_chance);
CREATE OPERATOR ?# (LEFTARG = int, RIGHTARG = int, FUNCTION = op_known);
CREATE OPERATOR ?+ (LEFTARG = int, RIGHTARG = int, FUNCTION = op_listed);
CREATE FUNCTION op_less(op_mood, int) RETURNS bool IMMUTABLE LANGUAGE sql AS $$ SELECT CASE $1 WHEN 'low' THEN 0 WHEN 'mid' THEN 1 ELSE 2 END < $2 $$;
CREATE OPERATOR < (LEFTARG = op_mood, RIGHTARG = int, FUNCTION = op_less);
CREATE FUNCTION op_compare(op_money, op_money) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT sign($1.units * 100 + $1.cents - $2.units * 100 - $2.cents)::int';
CREATE FUNCTION op_before(op_money, op_money) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1.units * 100 + $1.cents < $2.units * 100 + $2.cents';
CREATE FUNCTION op_after(op_money, op_money) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1.units * 100 + $1.cents > $2.units * 100 + $2.cents';
CREATE OPERATOR = (LEFTARG = op_money, RIGHTARG = op_money, FUNCTION = op_equal, COMMUTATOR = =, MERGES);
CREATE OPERATOR < (LEFTARG = op_money, RIGHTARG = op_money, FUNCTION = op_before, COMMUTATOR = >);
CREATE OPERATOR > (LEFTARG = op_money, RIGHTARG = op_money, FUNCTION = op_after, COMMUTATOR = <);
CREATE OPERATOR CLASS op_money DEFAULT FOR TYPE op_money USING btree AS
    OPERATOR 1 <, OPERATOR 3 =, OPERATOR 5 >, FUNCTION 1 op_compare(op_money, op_money);
CREATE FUNCTION op_add(int, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT coalesce($1, 0) + $2 * 2';
CREATE AGGREGATE op_sum(int) (SFUNC = op_add, STYPE = int, INITCOND = '0');
CREATE FUNCTION op_last(int, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT greatest($1, $2)';
CREATE AGGREGATE op_max(int) (SFUNC = op_last, STYPE = int, COMBINEFUNC = op_last);
CREATE FUNCTION op_read(int, int) RETURNS int STABLE LANGUAGE sql AS 'SELECT $1 + $2 + count(*)::int FROM public.op_plain';
CREATE AGGREGATE op_reading(int) (SFUNC = op_read, STYPE = int, INITCOND = '0')

-- = rows
INSERT INTO op_plain SELECT g, g % 4, ROW(g % 3, (g % 2) * 100)::op_money, 't' || g % 3, (ARRAY['low', 'mid', 'high']::op_mood[])[g % 3 + 1] FROM generate_series(1, 12) g;
INSERT INTO op_other SELECT g % 10 + 1, g, g % 5, ROW(g % 2, (g % 3) * 100)::op_money, (ARRAY['low', 'mid', 'high']::op_mood[])[g % 2 + 1] FROM generate_series(1, 20) g;
INSERT INTO op_list SELECT g, g % 3, ROW(g, 0)::op_money FROM generate_series(1, 5) g

-- = statements
SELECT k FROM op_plain WHERE v <<=~=|@?|?#|?+|OPERATOR(public.=~=)>> <<{n}|k>>;
SELECT a.k, b.no FROM op_plain a JOIN op_other b ON a.v <<=~=|?#|?+|@?>> b.v <<|AND a.k = b.k|AND a.k = {k}>>;
SELECT a.k, b.no FROM op_plain a <<JOIN|LEFT JOIN>> op_other b ON a.m == b.m <<|AND a.k = b.k|WHERE a.k = {k}>>;
SELECT count(*) FROM op_plain WHERE m == ROW({n}, 100)::op_money;
SELECT t ## v FROM op_plain <<|WHERE k = {k}|WHERE v > {n}>>;
SELECT t ## v, count(*) FROM op_plain GROUP BY <<1|t ## v>>;
SELECT DISTINCT t ## k % 2 FROM op_plain;
SELECT k, t ## v FROM op_plain ORDER BY t ## v <<|DESC>>, k <<|LIMIT 4>>{total};
SELECT k FROM op_plain WHERE w < {n};
SELECT op_<<sum|max|reading>>(v) FROM op_plain <<|WHERE k = {k}|WHERE v > 1|GROUP BY v|GROUP BY k>>;
SELECT k, op_<<sum|max>>(v) OVER (PARTITION BY <<k|v>>) FROM op_plain;
SELECT v, op_<<sum|max>>(no) FROM op_other GROUP BY v ORDER BY v{total};
SELECT max(w), min(w) FROM <<op_plain|op_other>>;
SELECT w, count(*) FROM op_other GROUP BY w ORDER BY w{total};
SELECT (m).units, count(*) FROM op_plain GROUP BY 1;
SELECT count(*), <<sum|max>>(no) FROM op_other GROUP BY m;
SELECT count(*) FROM (SELECT DISTINCT m FROM op_other) x;
SELECT count(DISTINCT m) FROM <<op_other|op_plain>>;
SELECT op_total(m), k FROM op_plain ORDER BY m <<|DESC>>, k <<|LIMIT 5>>{total};
SELECT k, v FROM op_plain ORDER BY m USING >, k{total};
SELECT k FROM op_plain WHERE m <<=|<|>|IN|IS NOT DISTINCT FROM>> (ROW({n}, 100)::op_money);
SELECT a.k, b.no FROM op_plain a JOIN op_other b <<USING (m)|ON a.m = b.m|ON a.m < b.m|USING (k, m)>>;
SELECT CASE m WHEN ROW(1, 0)::op_money THEN 'one' ELSE 'other' END, k FROM op_plain;
SELECT nullif(m, ROW(1, 0)::op_money) IS NULL, k FROM op_plain;
SELECT rank() OVER (ORDER BY m), k FROM op_plain;
SELECT count(*) OVER (PARTITION BY m), k FROM op_plain;
SELECT count(*) FROM (SELECT m FROM op_plain <<UNION|EXCEPT|INTERSECT>> SELECT m FROM op_other) x;
SELECT k FROM op_plain WHERE v <<=~=|?#>> ANY (SELECT v FROM op_other <<|WHERE no > 9>>);
SELECT k FROM op_plain WHERE v <<=~=|?+>> ALL (SELECT v FROM op_list);
SELECT id FROM op_list WHERE v <<=~=|?+|?#|@?>> {n};
UPDATE op_plain SET v = {n} WHERE v <<=~=|?#|?+|@?>> <<{n}|k>> <<|AND k = {k}>>;
UPDATE op_list SET v = v + 1 WHERE v <<=~=|?#|?+|@?>> {n};
DELETE FROM op_other WHERE m == ROW(0, {n} * 100)::op_money <<|AND k = {k}>>;
INSERT INTO op_plain VALUES (55, {n}, ROW(1, {n}), 'a' ## {n}, 'mid') <<|RETURNING *>>;
INSERT INTO op_list VALUES (9, {n}, ROW({n}, 1)) <<|RETURNING m == ROW(1, 1)::op_money>>;
SELECT (op_total(m)), (p.m).cents FROM op_plain p <<|WHERE (p.m).units = {n}>>;
SELECT p.op_total FROM (SELECT m AS op_total FROM op_plain) p;
