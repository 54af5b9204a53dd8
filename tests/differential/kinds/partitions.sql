-- Partitioned tables and tables that inherit.
-- pa_parted: k
-- pa_low: k
-- pa_high: k
-- pa_rest: k
-- pa_base: k
-- pa_heir: k
-- pa_list: reference

-- = schema
CREATE TABLE pa_parted (k int, v int, t text, PRIMARY KEY (k, v)) PARTITION BY RANGE (v);
CREATE TABLE pa_low PARTITION OF pa_parted FOR VALUES FROM (0) TO (3);
CREATE TABLE pa_high PARTITION OF pa_parted FOR VALUES FROM (3) TO (6);
CREATE TABLE pa_rest PARTITION OF pa_parted DEFAULT;
CREATE TABLE pa_base (k int, v int);
CREATE TABLE pa_heir (extra int) INHERITS (pa_base);
CREATE TABLE pa_list (id int PRIMARY KEY, n int)

-- = rows
INSERT INTO pa_parted SELECT g % 10 + 1, g % 8, 't' || g % 3 FROM generate_series(1, 30) g;
INSERT INTO pa_base SELECT g, g % 3 FROM generate_series(1, 6) g;
INSERT INTO pa_heir SELECT g, g % 4, g FROM generate_series(4, 12) g;
INSERT INTO pa_list SELECT g, g % 4 FROM generate_series(1, 6) g

-- = statements
SELECT <<*|count(*)|sum(v)|count(DISTINCT v)|max(t)>> FROM <<pa_parted|pa_low|ONLY pa_parted|ONLY pa_low>> <<|WHERE k = {k}|WHERE v = {n}>>;
SELECT <<*|count(*)|sum(v)|count(DISTINCT v)>> FROM <<pa_base|pa_heir|ONLY pa_base|ONLY pa_heir>> <<|WHERE k = {k}|WHERE v = {n}>>;
SELECT v, count(*) FROM <<pa_parted|pa_base|ONLY pa_base>> GROUP BY v ORDER BY v{total};
SELECT tableoid::regclass::text, count(*) FROM <<pa_parted|pa_base>> GROUP BY 1;
SELECT k, v FROM <<pa_parted|pa_base>> ORDER BY v, k <<|LIMIT 5>>{total};
SELECT a.k, b.v FROM pa_parted a JOIN <<pa_base|pa_heir|pa_high>> b <<USING (k)|ON a.v = b.v>>;
SELECT a.k, l.n FROM pa_base a LEFT JOIN pa_list l ON l.id = a.v;
INSERT INTO <<pa_parted|pa_low|pa_high>> VALUES ({k}, <<{n}|50|7>>, 'new') <<|ON CONFLICT DO NOTHING|RETURNING *>>;
INSERT INTO pa_base VALUES ({k}, {n});
INSERT INTO pa_heir VALUES ({k}, {n}, 1);
UPDATE <<pa_parted|ONLY pa_parted|pa_low>> SET <<v = v + 10|t = rpad(t, 4, 'x')|v = {n}>> <<|WHERE k = {k}|WHERE v = {n}>>;
UPDATE <<pa_base|ONLY pa_base|pa_heir>> SET v = v + {n} <<|WHERE k = {k}|WHERE v = {n}>> <<|RETURNING k>>;
DELETE FROM <<pa_parted|ONLY pa_parted|pa_low|pa_base|ONLY pa_base|pa_heir>> WHERE <<k = {k}|v = {n}>>;
TRUNCATE <<pa_low|pa_parted|ONLY pa_base|pa_base|pa_heir>>;
