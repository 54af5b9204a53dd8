-- Views of other owners, for roles with other rights.
-- vi_secret: k
-- vi_detail: k
-- vi_kinds: reference
-- vi_hidden: k
-- refused 30: GS412 view vi_nested is written to
-- refused 118: GS410 view views.vi_summed reads views.vi_secret as ends_owner, and over several shards that wo

-- = schema
CREATE TABLE vi_secret (k int PRIMARY KEY, owner text, v int, code text);
CREATE TABLE vi_detail (k int, no int, v int, PRIMARY KEY (k, no));
CREATE TABLE vi_kinds (id int PRIMARY KEY, name text);
CREATE TABLE vi_hidden (k int PRIMARY KEY, who text, v int);
ALTER TABLE vi_hidden ENABLE ROW LEVEL SECURITY;
CREATE POLICY vi_hidden ON vi_hidden USING (who = current_user);
CREATE VIEW vi_rows AS SELECT k, v FROM vi_secret WHERE v > 1;
CREATE VIEW vi_barrier WITH (security_barrier) AS SELECT k, v, code FROM vi_secret WHERE v % 2 = 0;
CREATE VIEW vi_joined AS SELECT s.k, s.v, d.no, d.v AS amount FROM vi_secret s JOIN vi_detail d USING (k);
CREATE VIEW vi_named AS SELECT s.k, s.code, n.name FROM vi_secret s LEFT JOIN vi_kinds n ON n.id = s.v;
CREATE VIEW vi_summed AS SELECT v, count(*) AS n, sum(k) AS keys FROM vi_secret GROUP BY v;
CREATE VIEW vi_nested AS SELECT r.k, r.v, b.code FROM vi_rows r JOIN vi_barrier b USING (k);
CREATE VIEW vi_ordered AS SELECT k, v FROM vi_secret ORDER BY v DESC, k;
CREATE VIEW vi_of_hidden AS SELECT k, who, v FROM vi_hidden;
CREATE VIEW vi_both AS SELECT k, v FROM vi_secret UNION ALL SELECT k, v FROM vi_detail;
DO $$ BEGIN IF current_setting('server_version_num')::int >= 150000 THEN
    EXECUTE 'CREATE VIEW vi_invoked WITH (security_invoker) AS SELECT k, v FROM vi_secret WHERE v < 4';
    EXECUTE 'GRANT SELECT ON vi_invoked TO ends_clerk'; END IF; END $$;
CREATE VIEW vi_columns AS SELECT k, code, v FROM vi_secret;
ALTER TABLE vi_secret OWNER TO ends_owner;
ALTER TABLE vi_detail OWNER TO ends_owner;
ALTER VIEW vi_rows OWNER TO ends_owner;
ALTER VIEW vi_barrier OWNER TO ends_owner;
ALTER VIEW vi_joined OWNER TO ends_owner;
ALTER VIEW vi_summed OWNER TO ends_owner;
ALTER VIEW vi_ordered OWNER TO ends_owner;
ALTER VIEW vi_of_hidden OWNER TO ends_guest;
ALTER VIEW vi_both OWNER TO ends_owner;
GRANT SELECT ON vi_hidden TO ends_guest;
GRANT SELECT ON vi_rows, vi_barrier, vi_joined, vi_named, vi_summed, vi_nested, vi_ordered, vi_of_hidden, vi_both TO ends_clerk;
GRANT SELECT (k, code) ON vi_columns TO ends_clerk;
GRANT INSERT, UPDATE, DELETE ON vi_rows, vi_ordered, vi_of_hidden TO ends_clerk;
GRANT UPDATE (v), DELETE ON vi_barrier, vi_nested TO ends_clerk, ends_guest;
GRANT SELECT (k, v) ON vi_detail TO ends_clerk;
GRANT SELECT ON vi_kinds TO ends_clerk, ends_guest

-- = rows
INSERT INTO vi_secret SELECT g, CASE g % 3 WHEN 0 THEN 'ends_clerk' ELSE 'ends_guest' END, g % 5, 'c' || g % 4 FROM generate_series(1, 12) g;
INSERT INTO vi_detail SELECT g % 10 + 1, g, g % 4 FROM generate_series(1, 20) g;
INSERT INTO vi_kinds SELECT g, 'kind ' || g FROM generate_series(1, 3) g;
INSERT INTO vi_hidden SELECT g, CASE g % 3 WHEN 0 THEN 'ends_clerk' ELSE 'ends_guest' END, g FROM generate_series(1, 12) g

-- = sessions

SET LOCAL ROLE ends_clerk
SET LOCAL ROLE ends_clerk
SET LOCAL ROLE ends_guest
SET LOCAL ROLE ends_owner

-- = statements
SELECT <<*|k|count(*)|sum(v)|count(DISTINCT v)|max(v), min(k)>> FROM <<vi_rows|vi_barrier|vi_joined|vi_ordered|vi_of_hidden|vi_both|vi_nested>> <<|WHERE v = {n}|WHERE k = {k}|WHERE k > 5>>;
SELECT k, v FROM <<vi_rows|vi_barrier|vi_ordered|vi_of_hidden|vi_nested|vi_secret>> ORDER BY v, k <<|LIMIT 4>>{total};
SELECT k, v FROM vi_ordered <<|LIMIT 4|OFFSET 3>>{total};
SELECT <<*|code>> FROM vi_columns WHERE <<k = {k}|code = 'c1'>>;
SELECT code, count(*) FROM <<vi_columns|vi_barrier|vi_named>> GROUP BY code;
SELECT count(DISTINCT code) FROM <<vi_columns|vi_barrier|vi_named>>;
SELECT name, count(*) FROM vi_named GROUP BY name ORDER BY name{total};
SELECT <<*|sum(n)|n>> FROM vi_summed <<|WHERE v > {n}>>;
SELECT a.k, b.v FROM <<vi_rows|vi_barrier|vi_joined>> a JOIN <<vi_ordered|vi_both|vi_of_hidden>> b <<USING (k)|ON a.v = b.v>>;
SELECT <<k|v|no>> FROM vi_detail WHERE <<k = {k}|v > {n}>>;
SELECT count(DISTINCT v) FROM vi_detail;
SELECT count(DISTINCT no) FROM vi_detail;
SELECT k FROM <<vi_rows|vi_secret>> WHERE v < (SELECT avg(v) FROM vi_both);
SELECT r.k, (SELECT count(*) FROM vi_joined j WHERE j.k = r.k) FROM vi_rows r;
SELECT r.k, (SELECT max(n) FROM vi_summed s WHERE s.v = r.v) FROM vi_rows r;
UPDATE <<vi_secret|vi_rows|vi_detail>> SET v = {n} WHERE k = {k};
UPDATE <<vi_rows|vi_barrier|vi_ordered|vi_of_hidden|vi_columns>> SET v = v + 1 <<|WHERE k = {k}|WHERE v > {n}>> <<|RETURNING k, v>>;
INSERT INTO <<vi_rows|vi_ordered|vi_columns>> (k, v) VALUES ({k}, {n}), (50, 3) <<|ON CONFLICT (k) DO UPDATE SET v = 9 RETURNING v>>;
DELETE FROM <<vi_rows|vi_barrier|vi_nested|vi_of_hidden|vi_columns>> WHERE <<k = {k}|v = {n}>> <<|RETURNING k>>;
DELETE FROM <<vi_rows|vi_detail>> WHERE k = {k};

-- = statements 15
SELECT <<*|count(*)|count(DISTINCT v)>> FROM vi_invoked <<|WHERE k = {k}>>
