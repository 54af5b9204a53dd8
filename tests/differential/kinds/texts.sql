-- Texts as keys, also letters that encodings write otherwise; of the types text, varchar and char.
-- keys are words
-- te_plain: k
-- te_other: k
-- te_char: k
-- te_list: reference

-- = schema
CREATE TABLE te_plain (k text PRIMARY KEY, v int, t text);
CREATE TABLE te_other (k varchar(20), no int, v int, PRIMARY KEY (k, no));
CREATE TABLE te_char (k char(6) PRIMARY KEY, v int);
CREATE TABLE te_list (word text PRIMARY KEY, n int)

-- = rows
INSERT INTO te_plain SELECT w, n % 3, upper(w) FROM unnest('{é,ß,a,Ünï,b ,"",zz,ÿ,É,ab,ö,Ö,x y}'::text[]) WITH ORDINALITY x (w, n);
INSERT INTO te_other SELECT w, n, n % 4 FROM unnest('{é,ß,a,Ünï,"b ","",zz,ÿ,é,a,a,ß}'::text[]) WITH ORDINALITY x (w, n);
INSERT INTO te_char SELECT w, n % 3 FROM unnest('{é,ß,a,Ünï,b,"",zz,ÿ}'::text[]) WITH ORDINALITY x (w, n);
INSERT INTO te_list SELECT w, n FROM unnest('{é,ß,a,zz,q}'::text[]) WITH ORDINALITY x (w, n)

-- = statements
SELECT * FROM <<te_plain|te_other|te_char>> WHERE k = {k};
SELECT * FROM <<te_plain|te_other|te_char>> WHERE k IN ({k}, {k}) OR k = <<'ÿ'|'b '|'b'|'b  '>>;
SELECT k, length(k), octet_length(k) FROM <<te_plain|te_other|te_char>>;
SELECT k FROM <<te_plain|te_char>> ORDER BY k <<|DESC>> <<|LIMIT 4>>{total};
SELECT max(k), min(k), count(DISTINCT k), count(*) FROM <<te_plain|te_other|te_char>>;
SELECT a.k, b.no FROM te_plain a <<JOIN|LEFT JOIN|FULL JOIN>> te_other b <<ON a.k = b.k|USING (k)|ON a.v = b.v>>;
SELECT a.k, b.v FROM te_plain a JOIN te_char b ON <<a.k = b.k|b.k = a.k::char(6)>>;
SELECT l.word, count(a.k) FROM te_list l <<JOIN|LEFT JOIN>> te_plain a ON a.k = l.word GROUP BY l.word;
SELECT upper(k), count(*) FROM te_other GROUP BY 1;
SELECT k FROM te_plain UNION SELECT k FROM te_other;
SELECT k, no FROM te_other WHERE k > {k} ORDER BY k, no{total};
SELECT string_agg(k, ',' ORDER BY k) FROM te_plain;
INSERT INTO te_plain VALUES (<<{k}|'neu ü'|'È'|'new'>>, {n}, {k}) <<|ON CONFLICT DO NOTHING|ON CONFLICT (k) DO UPDATE SET t = 'again' RETURNING k>>;
INSERT INTO te_other VALUES (<<{k}|'neu ü'|'blank   '|'this is much too long for it'>>, 99, {n}) <<|RETURNING *>>;
INSERT INTO te_char VALUES (<<{k}|'neu ü'|'x   '|'too long'>>, {n}) <<|ON CONFLICT DO NOTHING>>;
UPDATE <<te_plain|te_other|te_char>> SET v = v + {n} WHERE k = {k};
UPDATE te_plain SET t = k || 'þ' WHERE k = {k};
DELETE FROM <<te_plain|te_other|te_char>> WHERE k <<=|>=>> {k} <<|RETURNING k>>;
UPDATE te_list SET word = word || 'ö' <<|WHERE word = {k}>>;
INSERT INTO te_list VALUES ({k}, {n}) <<|ON CONFLICT DO NOTHING>>;
