-- Domains: as keys, with checks, defaults and NOT NULL, over domains, in arrays and rows.
-- apart
-- do_plain: k
-- do_other: k
-- do_list: reference
-- do_peeking: k
-- refused 117: GS415 the domain of column v of table domains.do_peeking calls do_known()
-- refused 110: GS410 type do_peek calls do_known()
-- refused 41: GS412 the shard key of a row is computed
-- refused 19: GS412 a default, as now(), may be another one on each shard

-- = schema
CREATE FUNCTION do_even(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 % 2 = 0';
CREATE FUNCTION do_fine(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN length($1) < 6; END $$;
CREATE DOMAIN do_id AS int CHECK (VALUE BETWEEN 0 AND 1000);
CREATE DOMAIN do_pair AS int CHECK (do_even(VALUE)) DEFAULT 2;
CREATE DOMAIN do_word AS text NOT NULL CHECK (do_fine(VALUE));
CREATE DOMAIN do_small AS do_id CHECK (VALUE < 100);
CREATE DOMAIN do_words AS text[] CHECK (cardinality(VALUE) < 4);
CREATE TABLE do_plain (k do_id PRIMARY KEY, v do_pair, t do_word DEFAULT 'none', s do_small, ws do_words);
CREATE TABLE do_other (k int, no int, v do_pair, t do_word, PRIMARY KEY (k, no));
CREATE TABLE do_list (id do_small PRIMARY KEY, t do_word, v do_pair);
CREATE FUNCTION do_known(int) RETURNS bool LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.do_plain WHERE k = $1)';
CREATE DOMAIN do_peek AS int CHECK (do_known(VALUE));
CREATE TABLE do_peeking (k int PRIMARY KEY, v do_peek, n int)

-- = rows
INSERT INTO do_plain SELECT g, (g % 3) * 2, 't' || g % 4, g, ARRAY['w' || g % 2] FROM generate_series(1, 12) g;
INSERT INTO do_other SELECT g % 10 + 1, g, (g % 4) * 2, 't' || g % 3 FROM generate_series(1, 20) g;
INSERT INTO do_list SELECT g, 't' || g, g * 2 FROM generate_series(1, 5) g;
INSERT INTO do_peeking SELECT g, g, g FROM generate_series(1, 10) g

-- = statements
SELECT * FROM do_plain WHERE k = <<{k}|{k}::do_id|{k}::do_small|'3'>>;
SELECT k FROM do_plain WHERE k IN ({k}, {k}::do_id) OR s = {n};
SELECT k, {n}::do_pair, {n}::do_small FROM do_plain <<|WHERE k = {k}>>;
SELECT t, count(*), sum(v), max(s) FROM do_plain GROUP BY t ORDER BY t{total};
SELECT count(DISTINCT t), count(DISTINCT v), avg(v) FROM do_other;
SELECT a.k, b.no FROM do_plain a <<JOIN|LEFT JOIN|FULL JOIN>> do_other b <<USING (k)|ON a.v = b.v|ON a.t = b.t|ON a.s = b.no>>;
SELECT a.k, l.t FROM do_plain a JOIN do_list l ON <<l.id = a.s|l.t = a.t|l.v = a.v>>;
SELECT k, t FROM do_plain ORDER BY t <<|DESC>>, k <<|LIMIT 5>>{total};
SELECT v FROM do_plain UNION SELECT v FROM do_other;
SELECT rank() OVER (ORDER BY v), k FROM do_plain;
SELECT array_agg(t ORDER BY k) FROM do_plain;
SELECT ws FROM do_plain WHERE 'w1' = ANY (ws);
SELECT (v + 1)::do_pair FROM do_plain <<|WHERE k = {k}>>;
INSERT INTO do_plain (k, v) VALUES (<<55|{k}|5000|-1>>, <<{n}|2|DEFAULT>>) <<|RETURNING *|ON CONFLICT DO NOTHING>>;
INSERT INTO do_plain VALUES (55, 2, <<'fine'|'too long'|NULL|DEFAULT>>, <<{n}|200>>, <<NULL|'{a,b}'|ARRAY['a', 'b', 'c', 'd']>>);
INSERT INTO do_plain (k) VALUES (<<55|{k}::do_id|54::do_small|'53'>>);
INSERT INTO do_other VALUES ({k}, 99, {n}, <<'x'|'too long'>>);
UPDATE do_plain SET v = <<{n}|v + {n}|DEFAULT|NULL>> <<|WHERE k = {k}|WHERE s > 3>> <<|RETURNING k, v>>;
UPDATE do_plain SET t = <<rpad(t, 4, 'x')|NULL|DEFAULT|repeat(t, 3)>> <<|WHERE k = {k}>>;
UPDATE do_plain SET s = s * <<2|10|100>>, ws = ws || 'more'::text <<|WHERE k = {k}>>;
UPDATE do_list SET <<v = v + {n}|t = rpad(t, 4, 'y')|v = {n}>>;
INSERT INTO do_list VALUES (<<9|200|1>>, <<'a'|NULL>>, {n});
DELETE FROM do_plain WHERE <<k = {k}|v = {n}|t = 't1'>> <<|RETURNING t>>;
SELECT k FROM do_peeking WHERE <<k = {k}|n = {n}>>;
SELECT <<{n}|n>>::do_peek FROM do_peeking;
UPDATE do_peeking SET <<n = {n}|v = {n}>> WHERE k = {k};
INSERT INTO do_peeking VALUES (55, {n}, 1);
