-- ORDER BY below the top: in subqueries, views, WITH and parts of UNION ALL, with and without LIMIT.
-- od_plain: k
-- od_other: k
-- od_list: reference

-- = schema
CREATE TABLE od_plain (k int PRIMARY KEY, c int, t text);
CREATE TABLE od_other (k int, no int, c int, PRIMARY KEY (k, no));
CREATE TABLE od_list (id int PRIMARY KEY, n int, code text);
CREATE VIEW od_sorted AS SELECT k, c, t FROM od_plain ORDER BY c, k;
CREATE VIEW od_falling AS SELECT k, no, c FROM od_other ORDER BY c DESC, no;
CREATE VIEW od_first AS SELECT k, c FROM od_plain ORDER BY c DESC, k LIMIT 5;
CREATE VIEW od_twice AS SELECT k, c + 1 AS d FROM od_sorted WHERE c > 0;
CREATE VIEW od_codes AS SELECT id, code FROM od_list ORDER BY n, id

-- = rows
INSERT INTO od_plain SELECT g, g % 5, 't' || g % 4 FROM generate_series(1, 12) g;
INSERT INTO od_other SELECT g % 10 + 1, g, g % 6 FROM generate_series(1, 20) g;
INSERT INTO od_list SELECT g, g % 3, 'c' || g FROM generate_series(1, 7) g

-- = statements
SELECT <<*|k|c|k, t>> FROM od_sorted <<|WHERE c > {n}|WHERE k > 3>> <<|LIMIT 3|OFFSET 2|LIMIT 4 OFFSET 1>>{total};
SELECT <<*|no|c, k>> FROM od_falling <<|WHERE c > {n}|WHERE k = {k}>> <<|LIMIT 3|OFFSET 2>>{total};
SELECT <<*|c>> FROM od_first <<|WHERE c > {n}|LIMIT 2>>{total};
SELECT <<*|d>> FROM od_twice <<|WHERE d > {n}|LIMIT 3>>{total};
SELECT <<id|code, id>> FROM od_codes <<|LIMIT 3|WHERE id > {n}>>{total};
SELECT array_agg(k) FROM od_sorted <<|WHERE c > {n}>>;
SELECT c, array_agg(k) FROM od_sorted GROUP BY c;
SELECT string_agg(t, ',') FROM (SELECT t FROM od_plain ORDER BY t <<|DESC>>, k) x;
SELECT array_agg(no) FROM od_falling <<|WHERE k = {k}>>;
SELECT * FROM (SELECT k, c FROM od_plain ORDER BY c <<|DESC>>, k <<|LIMIT 6|OFFSET 3>>) x <<|WHERE c > {n}|LIMIT 3>>{total};
SELECT x.k + 1, x.c * 2 FROM (SELECT * FROM od_plain ORDER BY c, k) x <<|WHERE x.t <> 't1'>>{total};
WITH w AS <<|MATERIALIZED|NOT MATERIALIZED>> (SELECT k, c FROM od_plain ORDER BY c DESC, k) SELECT <<*|c>> FROM w <<|LIMIT 4|WHERE c < 3>>{total};
(SELECT k FROM od_plain ORDER BY c, k <<|LIMIT 4>>) UNION ALL (SELECT no FROM od_other ORDER BY c, no <<|LIMIT 3>>) <<|LIMIT 5|OFFSET 2>>{total};
SELECT * FROM (SELECT k, c FROM od_sorted UNION ALL SELECT no, c FROM od_falling) x ORDER BY c, k{total};
SELECT k, c FROM od_sorted ORDER BY <<k|c DESC, k>> <<|LIMIT 5>>{total};
SELECT <<DISTINCT c|count(*)|max(k), sum(c)>> FROM <<od_sorted|od_falling|od_first>>;
SELECT s.k, f.no FROM od_sorted s JOIN od_falling f ON <<s.k = f.k|s.c = f.c>> ORDER BY s.k, f.no{total};
SELECT k FROM od_plain WHERE k IN (SELECT k FROM <<od_first|od_falling LIMIT 9|od_sorted>>);
SELECT k, (SELECT f.no FROM od_falling f WHERE f.k = p.k LIMIT 1) FROM od_plain p;
SELECT k, ARRAY(SELECT f.no FROM od_falling f WHERE f.k = p.k) FROM od_plain p;
SELECT ARRAY(SELECT k FROM od_sorted), ARRAY(SELECT code FROM od_codes);
SELECT p.k, x.no FROM od_plain p, LATERAL (SELECT no FROM od_other o WHERE o.k = p.k ORDER BY o.c, o.no LIMIT <<1|2>>) x;
SELECT DISTINCT ON (c) c, k FROM (SELECT * FROM od_plain ORDER BY c, k DESC) x ORDER BY c, k{total};
SELECT row_number() OVER (), k FROM od_sorted <<|LIMIT 3>>;
SELECT (array_agg(k))[1] FROM (SELECT k FROM od_plain WHERE c > {n} ORDER BY k DESC) x;
SELECT json_agg(x) FROM (SELECT k, c FROM od_plain ORDER BY k) x;
