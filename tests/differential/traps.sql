-- Texts of the kinds that a planner gets wrong in silence; their holes are described in traps.py.
-- `-- = title` starts a kind, with notes as in golden/findings.sql; a text ends with a semicolon, and {total}
-- before it says that its rows come in one order only.

-- = recursion over split rows
WITH RECURSIVE t AS (SELECT a.id, a.boss, 0 AS depth FROM account a WHERE {a?} UNION ALL
    SELECT a.id, a.boss, t.depth + 1 FROM account a JOIN t ON <<a.id = t.boss|a.boss = t.id>> WHERE t.depth < 3)
    SELECT <<id, boss|depth, id|*>> FROM t;
WITH RECURSIVE t AS (SELECT e.account_id, e.no FROM entry e WHERE e.no < {c:int} UNION ALL
    SELECT e.account_id, e.no FROM entry e JOIN t ON e.no = t.no + 1 WHERE {e?}) SELECT * FROM t;
WITH RECURSIVE t AS (SELECT e.account_id, e.no FROM entry e WHERE e.no < 9 UNION ALL SELECT e.account_id, e.no
    FROM entry e, t WHERE e.no = t.no + 1) SELECT account_id, <<count(*)|max(no)>> FROM t GROUP BY account_id;
WITH RECURSIVE t (n) AS (SELECT a.id FROM account a WHERE {a?} UNION SELECT a.boss FROM account a
    JOIN t ON a.id = t.n) SELECT <<n|count(*)|max(n)>> FROM t <<|WHERE n > 0|WHERE n IN (1, 2, 3)>>;
WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < (SELECT <<count(*)|max(a.level)>>
    FROM account a WHERE {a?}) AND n < 9) SELECT n FROM t;
WITH RECURSIVE t (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE EXISTS (SELECT FROM entry e
    WHERE e.no = t.n AND {e?}) AND n < 9) SELECT n FROM t;

-- = sublinks between tables that are placed otherwise
SELECT a.id, a.name FROM account a WHERE a.id <<IN|NOT IN|= ANY|<> ALL>> (SELECT b.account_id FROM badge b
    WHERE {b?});
SELECT b.account_id, b.no FROM badge b WHERE b.account_id <<IN|NOT IN>> (SELECT <<a.id
    FROM account a|e.account_id FROM entry e|v.id FROM visit v>>);
SELECT a.id FROM account a WHERE <<|NOT>> EXISTS (SELECT FROM badge b WHERE b.account_id = a.id AND {b?});
SELECT b.no FROM badge b WHERE <<|NOT>> EXISTS (SELECT FROM entry e WHERE e.account_id = b.account_id AND {e?});
SELECT a.id, (SELECT <<count(*)|max(b.no)>> FROM badge b WHERE b.account_id = a.id) FROM account a WHERE {a?};
SELECT b.no, (SELECT <<count(*)|sum(e.qty)>> FROM entry e WHERE e.account_id = b.account_id) FROM badge b;
SELECT a.id, b.no FROM account a <<JOIN|LEFT JOIN|RIGHT JOIN|FULL JOIN>> badge b ON b.account_id = a.id
    WHERE {a?};
SELECT count(*) FROM account a, badge b WHERE a.id = b.account_id AND {a?};
SELECT a.id FROM account a <<UNION|INTERSECT|EXCEPT|EXCEPT ALL|INTERSECT ALL>> SELECT b.account_id FROM badge b;
SELECT a.id FROM account a JOIN LATERAL (SELECT b.no FROM badge b WHERE b.account_id = a.id) x ON true;
SELECT a.id FROM account a WHERE a.id IN (SELECT v.account_id FROM visit v WHERE {v?});

-- = sublinks between keys of two types
SELECT s.day, s.no FROM shift s WHERE s.day <<IN|NOT IN|= ANY|<> ALL>> (SELECT m.moment FROM alarm m WHERE {m?});
SELECT m.moment, m.no FROM alarm m WHERE m.moment <<IN|NOT IN>> (SELECT s.day FROM shift s WHERE {s?});
SELECT m.moment, m.no FROM alarm m WHERE <<|NOT>> EXISTS (SELECT FROM shift s
    WHERE <<s.day = m.moment|m.moment = s.day>> AND {s?});
SELECT s.day, s.no, (SELECT <<count(*)|max(m.level)>> FROM alarm m WHERE m.moment = s.day) FROM shift s;
SELECT s.day, s.no, m.no FROM shift s <<JOIN|LEFT JOIN|RIGHT JOIN|FULL JOIN>> alarm m ON s.day = m.moment;
SELECT s.day, m.no FROM shift s <<JOIN|LEFT JOIN|FULL JOIN>> (SELECT moment AS day, no FROM alarm) m USING (day);
SELECT s.day FROM shift s <<UNION|INTERSECT|EXCEPT>> SELECT m.moment FROM alarm m;
SELECT d.serial FROM device d WHERE d.serial <<IN|NOT IN>> (SELECT b.code FROM badge b);
SELECT a.id FROM account a WHERE a.id <<IN|NOT IN>> (SELECT e.price FROM entry e WHERE e.price IS NOT NULL);
SELECT a.id, (SELECT count(*) FROM entry e WHERE e.price = a.id) FROM account a;
SELECT v.id, a.id FROM visit v JOIN account a ON a.id = v.account_id WHERE {v?};

-- = several windows
SELECT e.account_id, e.no, <<sum|max|min>>(e.qty) OVER (PARTITION BY e.account_id), <<sum|max|count>>(e.qty) OVER (PARTITION BY e.<<qty|currency|ok>>)
    FROM entry e WHERE {e?};
SELECT e.no, <<sum|count>>(e.qty) OVER (<<|PARTITION BY e.ok>>), <<sum|max>>(e.qty) OVER (PARTITION BY e.account_id)
    FROM entry e WHERE {e?};
SELECT e.no, rank() OVER w, count(*) OVER x FROM entry e WINDOW w AS (PARTITION BY e.account_id
    ORDER BY e.no), x AS (<<|PARTITION BY e.currency>>);
SELECT e.no, count(*) OVER w, rank() OVER (x ORDER BY e.no)
    FROM entry e WINDOW w AS (PARTITION BY e.account_id), x AS (<<|PARTITION BY e.currency>>);
SELECT e.no FROM entry e
    ORDER BY <<count(*)|max(e.qty)>> OVER (PARTITION BY e.<<currency|account_id>>), rank() OVER (ORDER BY e.no) {total};
SELECT e.account_id, count(*) OVER (PARTITION BY e.account_id), e.no FROM entry e
    ORDER BY sum(e.qty) OVER (PARTITION BY e.currency), e.account_id, e.no {total};
SELECT DISTINCT ON (sum(e.qty) OVER (PARTITION BY e.currency), e.account_id) e.account_id, e.no FROM entry e
    ORDER BY sum(e.qty) OVER (PARTITION BY e.currency), e.account_id, e.no {total};
SELECT * FROM
    (SELECT e.no, count(*) OVER (PARTITION BY e.account_id) AS x, count(*) OVER (PARTITION BY e.<<currency|ok>>) AS y
    FROM entry e) w WHERE w.<<x|y>> > 2;

-- = aggregates in unusual places
SELECT (SELECT <<sum|max|count>>(a.level)) FROM account a WHERE {a?};
SELECT (SELECT <<sum(a.level)|count(a.id)>> FROM region r WHERE r.id = 1) FROM account a WHERE {a?};
SELECT (SELECT max(a.level) WHERE true), 1 FROM account a;
SELECT a.region, (SELECT <<sum|max>>(a.level)) FROM account a GROUP BY a.region;
SELECT <<1|'x'>> FROM account a WHERE {a?} ORDER BY <<count(*)|max(a.id)|sum(a.level)|avg(a.level)>>;
SELECT <<1|true>> FROM entry e WHERE {e?} ORDER BY <<count(*)|max(e.no)>> <<|LIMIT 1|OFFSET 1|LIMIT 3>>;
SELECT DISTINCT ON (<<count(*)|max(a.level)>>) 1 FROM account a WHERE {a?};
SELECT 1 FROM account a WHERE {a?} HAVING <<count(*) > 3|max(a.id) > 5|false>>;
SELECT <<1|'x'>> FROM account a HAVING true;
SELECT a.region FROM account a WHERE {a?} GROUP BY a.region
    ORDER BY <<count(*)|max(a.id)>> <<|DESC>>, a.region {total};
SELECT a.id FROM account a WHERE a.id <<IN|=|<=>> (SELECT <<max|min>>(e.account_id) FROM entry e WHERE {e?});
SELECT a.id, (SELECT <<count(*)|max(e.no)|sum(e.qty)>> FROM entry e
    WHERE <<e.no = a.level|e.qty = a.level|e.account_id = a.boss>>) FROM account a;
SELECT a.id, (SELECT count(*) FROM entry e WHERE e.account_id = a.id) AS n FROM account a
    ORDER BY <<n|2|(SELECT max(e.no) FROM entry e WHERE e.account_id = a.id)>>, a.id {total};
SELECT (SELECT count(*) FROM account a WHERE {a?}), (SELECT max(e.no) FROM entry e WHERE {e?});
SELECT r.id, (SELECT count(*) FROM account a WHERE a.region = r.id AND {a?}) FROM region r;
SELECT count(*) FILTER (WHERE a.id IN (SELECT e.account_id FROM entry e WHERE {e?})) FROM account a;

-- = groups of values that are equal and look different
-- by value
SELECT e.price, count(*), sum(e.qty) FROM entry e WHERE {e?} GROUP BY e.price;
SELECT DISTINCT <<a.balance|a.balance, a.region>> FROM account a WHERE {a?};
SELECT a.balance, <<max(a.id)|count(*)>> FROM account a GROUP BY <<1|a.balance>> ORDER BY 1 {total};
SELECT a.span, count(*) FROM account a GROUP BY a.span;
SELECT e.price FROM entry e UNION SELECT a.balance FROM account a;

-- = groups of values that are equal and look different, not shown
SELECT count(*), <<sum(e.qty)|max(e.no)>> FROM entry e WHERE {e?} GROUP BY e.price;
SELECT count(*), max(b.no) FROM badge b GROUP BY b.handle;
SELECT lower(b.handle::text), count(*), <<max|min>>(b.no) FROM badge b GROUP BY b.handle;
SELECT lower(b.handle::text) FROM badge b GROUP BY b.handle ORDER BY 1 {total};
SELECT count(*) FROM (SELECT DISTINCT b.handle FROM badge b) x;
SELECT count(DISTINCT b.handle), count(DISTINCT b.handle::text) FROM badge b;
SELECT lower(x.handle::text) FROM (SELECT DISTINCT b.handle FROM badge b WHERE b.no > {c:int}) x;
SELECT lower(x.handle::text) FROM (SELECT b.handle FROM badge b WHERE b.no < 20 <<UNION|EXCEPT|INTERSECT>>
    SELECT b.handle FROM badge b WHERE b.no > 15) x;
SELECT b.no, count(*) OVER (PARTITION BY b.handle) FROM badge b;
SELECT b.no, b.handle FROM badge b
    ORDER BY b.handle <<|DESC|NULLS FIRST>>, b.account_id, b.no <<|LIMIT 5>> {total};
SELECT count(*), max(b.no) FROM badge b GROUP BY rpad(b.code::text, b.no % 4 + 1)::bpchar;
SELECT count(*) FROM badge b GROUP BY b.code HAVING <<count(*) > 1|b.code > 'AB'>>;

-- = a key beside values of another type
SELECT d.serial, d.built FROM device d
    WHERE d.serial = ANY (ARRAY['a1  ', <<'fan '|'b2'|'Pump   '>>, {key:d}]::<<bpchar|char(6)|text|varchar>>[]);
SELECT d.serial FROM device d
    WHERE d.serial <<=|IS NOT DISTINCT FROM>> <<'Pump '|'a1'|'fan  '|'b2 '|'zz '>>::<<bpchar|char(6)|text|varchar(2)|name>>;
SELECT d.serial FROM device d WHERE d.serial IN ('a1 '::bpchar, 'fan  '::<<bpchar|char(5)>>);
SELECT d.serial FROM device d WHERE d.serial = ANY ({array:d}::<<bpchar|char(4)|text|name>>[]);
SELECT d.serial FROM device d WHERE d.serial = ANY ({padded:d}::<<bpchar|bpchar|text>>[]);
SELECT a.id FROM account a WHERE a.id = <<1|2|13>>::<<numeric|float8|int2|text::int8|numeric(9,2)>>;
SELECT a.id FROM account a WHERE a.id = ANY (ARRAY[<<1|2.0|3>>, {key:a}]::<<numeric|int2|int4|float8|int8>>[]);
SELECT a.id FROM account a WHERE a.id = ANY ({array:a}::<<numeric|int8|text[]::int8>>[]);
SELECT a.id, a.name FROM account a WHERE a.id <<IN|NOT IN>> (1.0, 2, <<13|13.5|3e0>>);
SELECT s.day, s.no FROM shift s WHERE s.day = {key:s}::<<date|timestamp|timestamptz|text::date>>;
SELECT s.day, s.no FROM shift s WHERE s.day = ANY ({array:s}::<<date|timestamp|timestamptz>>[]);
SELECT s.day, s.no FROM shift s WHERE s.day IN ({key:s}, {key:m}::<<date|timestamp>>);
SELECT m.moment, m.no FROM alarm m WHERE m.moment = {key:<<s|m>>}::<<date|timestamp|timestamptz>>;
SELECT m.moment, m.no FROM alarm m WHERE m.moment = ANY ({array:<<s|m>>}::<<date|timestamp|timestamptz>>[]);
SELECT m.moment, m.no FROM alarm m WHERE m.moment = <<'2020-01-03'|'2020-01-03 07:00'|'Jan 4 2020'|'20200105'>>;
SELECT b.no FROM badge b WHERE b.account_id = {key:a} AND b.code = <<'ab'|'ab   '>>::<<text|bpchar>>;
SELECT d.serial, a.id FROM device d JOIN account a ON d.serial = a.code;

-- = aggregates of JSON
SELECT JSON_ARRAYAGG(e.no ORDER BY e.account_id <<|DESC>>, e.no <<|RETURNING jsonb>>) FROM entry e WHERE {e?};
SELECT e.currency, JSON_ARRAYAGG(e.no ORDER BY e.no) FROM entry e GROUP BY <<e.currency|1>>;
SELECT e.ok, JSON_OBJECTAGG(e.no : e.qty RETURNING jsonb) FROM entry e GROUP BY e.ok;
SELECT JSON_OBJECTAGG(e.no VALUE e.qty <<|NULL ON NULL|ABSENT ON NULL>> RETURNING jsonb) FROM entry e WHERE {e?};
SELECT e.account_id, JSON_OBJECTAGG(e.no : e.qty RETURNING jsonb) FROM entry e GROUP BY e.account_id;
SELECT e.no, JSON_OBJECTAGG(e.no : e.qty RETURNING jsonb) OVER (<<|PARTITION BY e.ok|PARTITION BY e.account_id>>)
    FROM entry e WHERE {e?};
SELECT e.no, JSON_ARRAYAGG(1 RETURNING jsonb) OVER (PARTITION BY e.<<currency|account_id>>) FROM entry e;
SELECT e.no, count(*) OVER (PARTITION BY e.account_id), JSON_ARRAYAGG(e.ok IS NULL RETURNING jsonb) OVER (PARTITION BY e.ok)
    FROM entry e;
SELECT e.no, jsonb_array_length(JSON_ARRAYAGG(1 RETURNING jsonb) OVER (<<ORDER BY e.no|PARTITION BY e.ok>>))
    FROM entry e;
SELECT 1 FROM entry e WHERE {e?} ORDER BY JSON_ARRAYAGG(e.no RETURNING jsonb) LIMIT 1;
SELECT 1 FROM entry e HAVING JSON_OBJECTAGG(e.no : 1 RETURNING jsonb) IS NOT NULL;
SELECT json_agg(e.no ORDER BY e.no), jsonb_object_agg(e.no, e.qty) FROM entry e WHERE {e?};

-- = numbers of columns beside a star
SELECT DISTINCT ON (<<n:7|8|9|10|12>>) * FROM entry e WHERE {e?} ORDER BY @n, account_id, no {total};
SELECT DISTINCT ON (<<n:1|2>>) e.qty, e.* FROM entry e ORDER BY @n, e.account_id, e.no {total};
SELECT DISTINCT ON (<<n:3|4|5>>) e.no, b.* FROM badge b JOIN entry e ON e.account_id = b.account_id
    ORDER BY @n, e.account_id, b.no, e.no {total};
SELECT DISTINCT ON (3) s.*, s.hours, s.day AS again FROM shift s ORDER BY 3 <<|DESC>>, 1, 2 {total};
SELECT e.*, e.qty % 3 FROM entry e ORDER BY e.qty % 3 <<|DESC>>, e.account_id, e.no <<|LIMIT 8>> {total};
SELECT (e).*, e.qty % 3, e.no AS place FROM entry e ORDER BY e.qty % 3, e.account_id, e.no <<|LIMIT 8>> {total};
SELECT g.*, e.qty % 3, e.no FROM entry e, generate_series(1, 2) g ORDER BY e.qty % 3, e.no, 1 <<|LIMIT 8>> {total};
SELECT DISTINCT ON (<<n:2|3|4>>) s.*, s.no AS again FROM shift s ORDER BY @n <<|DESC>>, s.day, s.no {total};
SELECT * FROM entry e WHERE {e?}
    ORDER BY <<n:7|8|9|10|12>> <<|DESC|NULLS FIRST>>, 1, 2 <<|LIMIT 7|LIMIT 4 OFFSET 3>> {total};
SELECT e.qty, e.* FROM entry e ORDER BY <<1|3>>, 2, 3 <<|LIMIT 9>> {total};
SELECT e.*, e.qty % 3 FROM entry e WHERE {e?} ORDER BY <<14|9|8>>, 2 LIMIT 8 {total};
SELECT s.*, m.no FROM shift s JOIN alarm m ON m.level = s.no
    ORDER BY <<1|4|5>>, s.day, s.no, m.moment, m.no {total};

-- = names of columns beside a star
SELECT e.*, e.qty % 4 AS <<q:total|v1|rest>> FROM entry e WHERE {e?}
    ORDER BY @q <<|DESC|NULLS FIRST>>, account_id, no <<|LIMIT 6>> {total};
SELECT *, - no AS less FROM entry ORDER BY less <<|LIMIT 6>> {total};
SELECT - e.no AS no, e.account_id FROM entry e ORDER BY no <<|LIMIT 6>> {total};
SELECT e.no AS qty, e.qty AS no FROM entry e ORDER BY qty <<|DESC>> <<|LIMIT 6>> {total};
SELECT e.*, a.name AS label FROM entry e LEFT JOIN account a ON a.id = e.account_id ORDER BY label, e.no {total};
SELECT x.* FROM (SELECT account_id, no AS id, - no AS no FROM entry) x ORDER BY <<id|no>> <<|LIMIT 5>> {total};
SELECT DISTINCT ON (currency) e.*, e.no AS place FROM entry e ORDER BY currency, account_id, place {total};
SELECT r.*, e.no FROM entry e, region r WHERE r.id = e.qty ORDER BY <<name|area|parent>>, no, id {total};
SELECT e.*, a.* FROM entry e JOIN account a ON a.id = e.account_id ORDER BY <<born|region>>, no {total};

-- = collations
SELECT a.id, a.name FROM account a WHERE {a?}
    ORDER BY a.name COLLATE <<"C"|"POSIX"|"ucs_basic"|stock.words>> <<|DESC>>, a.id <<|LIMIT 7>> {total};
SELECT a.name COLLATE <<c:"C"|stock.words>> AS n, a.id FROM account a
    ORDER BY <<n|1|a.name COLLATE @c|a.name COLLATE "C"|a.name>>, a.id <<|LIMIT 7>> {total};
SELECT <<min|max>>(a.name COLLATE <<"C"|stock.words>>), <<min|max>>(a.name) FROM account a WHERE {a?};
SELECT a.name COLLATE "C", count(*) FROM account a GROUP BY <<1|a.name>> ORDER BY 1 {total};
SELECT DISTINCT a.name COLLATE <<"C"|stock.words>> AS n FROM account a ORDER BY <<n|1>> <<|LIMIT 4>> {total};
SELECT b.motto, b.no FROM badge b
    ORDER BY b.motto <<|DESC|NULLS FIRST>>, b.account_id, b.no <<|LIMIT 6|OFFSET 4>> {total};
SELECT <<min|max>>(b.motto), <<min|max>>(b.motto COLLATE "C") FROM badge b <<|GROUP BY b.code>>;
SELECT b.motto, count(*) FROM badge b GROUP BY b.motto ORDER BY b.motto <<|DESC>> {total};
SELECT DISTINCT b.motto FROM badge b ORDER BY <<1|b.motto|motto DESC>> {total};
SELECT b.no, b.motto < <<'apple'|'B'|'zoe'>> FROM badge b WHERE b.motto >= <<'a'|'A'|'apple'>>;
SELECT b.no, rank() OVER (ORDER BY b.motto) FROM badge b;
SELECT b.motto FROM badge b JOIN entry e ON e.no = b.no WHERE b.motto > <<'a'|'Apple'>>
    ORDER BY b.motto, b.account_id, b.no {total};
SELECT b.motto, max(e.no) FROM badge b JOIN entry e ON e.no = b.no GROUP BY b.motto
    ORDER BY <<1|b.motto>> {total};
SELECT b.no FROM badge b WHERE b.motto > (SELECT min(x.motto) FROM badge x WHERE x.no > 9);
SELECT b.motto FROM badge b UNION SELECT b.motto FROM badge b ORDER BY 1 {total};

-- = aggregates that parts do not give
SELECT bit_xor(DISTINCT e.qty), bit_xor(e.qty) FROM entry e WHERE {e?};
SELECT e.ok, bit_xor(DISTINCT e.qty) FROM entry e GROUP BY e.ok;
SELECT <<sum|avg|count>>(DISTINCT e.qty), <<max|min|bit_or>>(DISTINCT e.qty) FROM entry e WHERE {e?};
SELECT <<count|sum>>(DISTINCT e.account_id), count(DISTINCT e.no) FROM entry e;
SELECT stock.<<sum|max|count>>(e.qty) FROM entry e WHERE {e?};
SELECT stock.bool_or(e.ok), stock.sum(e.no) FROM entry e WHERE {e?};
SELECT e.currency, stock.<<sum|max|count>>(e.qty), max(e.qty) FROM entry e GROUP BY e.currency;
SELECT e.account_id, stock.<<sum|max|count>>(e.qty) FROM entry e GROUP BY e.account_id;
SELECT e.ok FROM entry e GROUP BY e.ok HAVING stock.max(e.qty) > {c:int};
SELECT e.no, stock.<<sum|max>>(e.qty) OVER (PARTITION BY e.<<ok|account_id>>) FROM entry e;
SELECT a.id FROM account a WHERE a.level < (SELECT stock.max(e.qty) FROM entry e WHERE {e?});

-- = values that travel as text
SELECT b.no, b.during, b.weights FROM badge b JOIN entry e ON e.no = b.no WHERE {e?};
SELECT a.id, a.seen, a.tiny, a.rate, a.span FROM account a JOIN entry e ON e.qty = a.level;
SELECT max(a.seen), min(a.born), max(a.made) FROM account a WHERE {a?};
SELECT <<max|min>>(a.tiny), sum(a.tiny), avg(a.tiny) FROM account a;
SELECT a.region, max(a.<<seen|span|born|tiny>>) FROM account a GROUP BY a.region;
SELECT a.<<seen|span|made|tiny|rate>>, a.id FROM account a ORDER BY 1 <<|DESC>>, 2 <<|LIMIT 6>> {total};
SELECT DISTINCT a.<<seen|made|born|tiny>> FROM account a;
SELECT b.during, count(*) FROM badge b GROUP BY b.during;
SELECT count(DISTINCT b.weights), count(DISTINCT b.during) FROM badge b;
SELECT b.weights FROM badge b WHERE b.weights > (SELECT min(x.weights) FROM badge x);
SELECT b.no FROM badge b WHERE b.during @> (SELECT min(a.seen) FROM account a WHERE isfinite(a.seen));
SELECT b.during, b.no FROM badge b ORDER BY b.during <<|DESC>>, b.account_id, b.no <<|LIMIT 5>> {total};

-- = choices among reference rows
SELECT min(a.region) IS NOT DISTINCT FROM max(a.region) FROM account a WHERE a.region <<=|IN|= ANY>> ({choice});
SELECT min(a.region) IS NOT DISTINCT FROM max(a.region) FROM account a JOIN ({choice}) x (id) ON a.region = x.id;
SELECT min(a.region) IS NOT DISTINCT FROM max(a.region) FROM account a, ({choice}) x (id) WHERE a.region = x.id;
WITH w (id) AS ({choice}) SELECT min(a.region) IS NOT DISTINCT FROM max(a.region) FROM account a
    JOIN w ON a.region = w.id;
SELECT min(a.region) IS NOT DISTINCT FROM max(a.region) FROM account a WHERE EXISTS (SELECT
    FROM ({choice}) x (id) WHERE x.id = a.region);
SELECT min(x.y) IS NOT DISTINCT FROM max(x.y) FROM (SELECT ({choice}) AS y FROM account a WHERE {a?}) x;
SELECT min(a.region) IS NOT DISTINCT FROM max(a.region) FROM account a WHERE (a.region, true) IN
    (SELECT x.id, true FROM ({choice}) x (id));

-- = what is one server's
-- refused
SELECT <<ctid|xmin|xmax|cmin|cmax|tableoid>> FROM account;
SELECT a.id, a.<<ctid|xmin|tableoid>> FROM account a WHERE {a?};
SELECT count(*) FROM entry e WHERE e.<<ctid = '(0,1)'|tableoid > 0|xmin::text <> '0'>>;
SELECT e.tableoid::text, count(*) FROM entry e GROUP BY e.tableoid;
SELECT <<pg_relation_size|pg_table_size|pg_total_relation_size|pg_indexes_size>>('<<account|entry>>');
SELECT <<pg_relation_size|pg_table_size|pg_total_relation_size>>('account'), count(*) FROM account;
SELECT a.id FROM account a WHERE a.id < <<pg_relation_size|pg_total_relation_size>>('account');
SELECT <<inet_server_port()|pg_backend_pid()|pg_postmaster_start_time()|current_database()>>, a.id
    FROM account a;

-- = choice
SELECT r.id FROM region r LIMIT 1;
SELECT r.id FROM region r OFFSET 6 LIMIT 1;
SELECT r.id FROM region r WHERE r.parent = 4 LIMIT 1;
SELECT r.id FROM region r ORDER BY r.parent <<|DESC|NULLS FIRST>> LIMIT 1;
SELECT r.id FROM region r ORDER BY r.parent FETCH FIRST ROW ONLY;
SELECT x.id FROM (SELECT r.id, row_number() OVER () AS n FROM region r) x WHERE x.n = 1;
SELECT x.id FROM (SELECT r.id, row_number() OVER (ORDER BY r.parent) AS n FROM region r) x WHERE x.n = 2;
SELECT x.id FROM (SELECT r.id, <<lag|lead>>(r.id) OVER () AS p FROM region r) x WHERE x.p IS NULL;
SELECT x.id FROM (SELECT r.id, ntile(7) OVER () AS n FROM region r) x WHERE x.n = 3;
SELECT max(x.f) FROM (SELECT <<first_value|last_value>>(r.id) OVER () AS f FROM region r) x;
SELECT max(x.f) FROM (SELECT nth_value(r.id, 2) OVER (ORDER BY r.id > 0) AS f FROM region r) x;
SELECT (array_agg(r.id))[<<1|2|3>>] FROM region r;
SELECT (ARRAY(SELECT r.id FROM region r))[<<1|2|3>>];
SELECT (json_agg(r.id) ->> 0)::int FROM region r;
SELECT (JSON_ARRAYAGG(r.id RETURNING jsonb) ->> 0)::int FROM region r;
SELECT split_part(string_agg(r.id::text, ','), ',', 1)::int FROM region r;
SELECT k.region FROM remark k LIMIT 1;
SELECT k.region FROM remark k OFFSET 7 LIMIT 1;
SELECT k.region FROM remark k ORDER BY length(k.word) > 0 LIMIT 1;
SELECT u.region FROM rule u ORDER BY u.<<kind|no>> LIMIT 1;
SELECT u.region FROM rule u WHERE u.<<kind|no>> = <<1|2|3>> LIMIT 1;
SELECT max(u.region) FROM rule u GROUP BY u.kind, u.no ORDER BY u.<<kind|no>> LIMIT 1;
SELECT u.no FROM rule u GROUP BY u.kind, u.no ORDER BY u.kind LIMIT 1;
SELECT DISTINCT ON (u.kind > 0) u.region FROM rule u;
SELECT DISTINCT ON (u.kind > 0) u.no FROM rule u ORDER BY u.kind > 0, u.no > 5;
SELECT r.id FROM region r UNION ALL SELECT k.region FROM remark k LIMIT 1;
(SELECT r.id FROM region r UNION ALL SELECT k.region FROM remark k) OFFSET 14 LIMIT 1;
SELECT x.id FROM (SELECT r.id FROM region r UNION ALL SELECT u.no FROM rule u LIMIT 1) x;
SELECT (random() * 6)::int;
WITH w AS MATERIALIZED (SELECT r.id FROM region r LIMIT 1) SELECT w.id FROM w;

-- = aggregates of types that have no such, or another one
SELECT <<avg|sum|max|min>>(e.qty::<<money|float4|oid|bit(8)|numeric(9, 2)>>) FROM entry e;
SELECT e.no, <<avg|sum>>(e.qty::<<money|float4>>) FROM entry e GROUP BY e.no ORDER BY e.no{total};
SELECT <<avg|sum|max>>(e.qty * interval '1 day 3 hours') FROM entry e WHERE {e?};
SELECT <<avg|stddev|var_pop|bit_or|bool_and|every>>(<<a.id::money|a.id > 3|a.id::bit(8)|a.id>>) FROM account a;
SELECT 1 FROM account a WHERE 1 / (a.id - 1) = 1 HAVING <<1 < 2|1 > 2|true|false>>;
SELECT <<count(*)|max(a.id)>> FROM account a, badge b WHERE a.id = b.no AND <<false|1 > 2|true>> AND 1 / (a.id + 999) = 0;
