-- Row-level security: policies of the own row, of a setting, of reference tables, of equal keys, of other keys.
-- po_own: k
-- po_setting: k
-- po_reference: k
-- po_colocated: k
-- po_other: k
-- po_checked: k
-- po_forced: k
-- po_several: k
-- po_shared: reference
-- po_plain: k
-- refused 231: GS410 policy "..." on policies.po_other

-- = schema
CREATE TABLE po_own (k int PRIMARY KEY, who text, v int);
CREATE TABLE po_setting (k int PRIMARY KEY, tenant text, v int);
CREATE TABLE po_plain (k int PRIMARY KEY, c int);
CREATE TABLE po_shared (id int PRIMARY KEY, who text, n int);
CREATE TABLE po_reference (k int PRIMARY KEY, c int, v int);
CREATE TABLE po_colocated (k int PRIMARY KEY, v int);
CREATE TABLE po_other (k int PRIMARY KEY, c int);
CREATE TABLE po_checked (k int PRIMARY KEY, v int);
CREATE TABLE po_forced (k int PRIMARY KEY, v int);
CREATE TABLE po_several (k int PRIMARY KEY, who text, v int);
ALTER TABLE po_own ENABLE ROW LEVEL SECURITY;
ALTER TABLE po_setting ENABLE ROW LEVEL SECURITY;
ALTER TABLE po_shared ENABLE ROW LEVEL SECURITY;
ALTER TABLE po_reference ENABLE ROW LEVEL SECURITY;
ALTER TABLE po_colocated ENABLE ROW LEVEL SECURITY;
ALTER TABLE po_other ENABLE ROW LEVEL SECURITY;
ALTER TABLE po_checked ENABLE ROW LEVEL SECURITY;
ALTER TABLE po_forced ENABLE ROW LEVEL SECURITY;
ALTER TABLE po_forced FORCE ROW LEVEL SECURITY;
ALTER TABLE po_forced OWNER TO ends_owner;
ALTER TABLE po_several ENABLE ROW LEVEL SECURITY;
CREATE POLICY po_own ON po_own USING (who = current_user);
CREATE POLICY po_setting ON po_setting USING (tenant = current_setting('app.tenant', true));
CREATE POLICY po_shared ON po_shared USING (who = current_user OR n > 2);
CREATE POLICY po_reference ON po_reference USING (c IN (SELECT id FROM po_shared));
CREATE POLICY po_colocated ON po_colocated USING (EXISTS (SELECT FROM po_plain p WHERE p.k = po_colocated.k AND p.c > 2));
CREATE POLICY po_other ON po_other USING (c IN (SELECT p.c FROM po_plain p));
CREATE POLICY po_checked ON po_checked USING (v < 8) WITH CHECK (v < 4);
CREATE POLICY po_forced ON po_forced USING (v % 2 = 0);
CREATE POLICY po_read ON po_several FOR SELECT USING (true);
CREATE POLICY po_write ON po_several FOR UPDATE USING (who = current_user) WITH CHECK (v < 9);
CREATE POLICY po_erase ON po_several FOR DELETE USING (v > 3);
CREATE POLICY po_add ON po_several FOR INSERT TO ends_clerk WITH CHECK (who = current_user);
CREATE POLICY po_strict ON po_several AS RESTRICTIVE USING (v <> 2);
GRANT SELECT, INSERT, UPDATE, DELETE ON po_own, po_setting, po_reference, po_colocated, po_other, po_checked, po_several TO ends_clerk, ends_guest;
GRANT SELECT, UPDATE ON po_shared, po_plain, po_forced TO ends_clerk, ends_owner;
GRANT SELECT ON po_shared, po_plain TO ends_guest

-- = rows
INSERT INTO po_own SELECT g, CASE g % 3 WHEN 0 THEN 'ends_clerk' WHEN 1 THEN 'ends_guest' END, g FROM generate_series(1, 12) g;
INSERT INTO po_setting SELECT g, CASE g % 2 WHEN 0 THEN 'a' ELSE 'b' END, g FROM generate_series(1, 12) g;
INSERT INTO po_plain SELECT g, g % 5 FROM generate_series(1, 12) g;
INSERT INTO po_shared SELECT g, CASE g % 2 WHEN 0 THEN 'ends_clerk' ELSE 'ends_guest' END, g % 4 FROM generate_series(1, 6) g;
INSERT INTO po_reference SELECT g, g % 6 + 1, g FROM generate_series(1, 12) g;
INSERT INTO po_colocated SELECT g, g FROM generate_series(1, 12) g;
INSERT INTO po_other SELECT g, g % 7 FROM generate_series(1, 12) g;
INSERT INTO po_checked SELECT g, g % 10 FROM generate_series(1, 12) g;
INSERT INTO po_forced SELECT g, g FROM generate_series(1, 12) g;
INSERT INTO po_several SELECT g, CASE g % 2 WHEN 0 THEN 'ends_clerk' ELSE 'ends_guest' END, g % 6 FROM generate_series(1, 12) g

-- = sessions
SET LOCAL ROLE ends_clerk
SET LOCAL ROLE ends_clerk
SET LOCAL ROLE ends_guest
SET LOCAL ROLE ends_owner
SET LOCAL ROLE ends_clerk; SET LOCAL app.tenant = 'a'
SET LOCAL ROLE ends_guest; SET LOCAL app.tenant = 'b'
SET LOCAL row_security = off; SET LOCAL ROLE ends_clerk

-- = statements
SELECT <<count(*), sum(v)|*|k>> FROM <<po_own|po_setting|po_reference|po_colocated|po_checked|po_forced|po_several>> <<|WHERE v > {n}|WHERE k = {k}>>;
SELECT k, v FROM <<po_own|po_setting|po_reference|po_colocated|po_checked|po_forced|po_several>> ORDER BY v, k <<|LIMIT 3>>{total};
SELECT count(DISTINCT v) FROM <<po_own|po_setting|po_reference|po_colocated|po_checked|po_forced|po_several>>;
SELECT <<count(*)|max(c)>> FROM <<po_other|po_plain>>;
SELECT * FROM po_other WHERE k = {k};
SELECT id, n FROM po_shared WHERE n > {n};
SELECT a.k, b.v FROM <<po_own|po_setting|po_colocated>> a JOIN <<po_several|po_reference|po_checked>> b <<USING (k)|ON a.v = b.v>>;
SELECT a.k, s.n FROM <<po_own|po_reference>> a LEFT JOIN po_shared s ON s.id = a.v;
SELECT who, count(*) FROM po_several GROUP BY who ORDER BY who{total};
UPDATE <<po_own|po_setting|po_reference|po_colocated|po_checked|po_forced|po_several>> SET v = <<{n}|v + 1|7>> <<|WHERE k = {k}|WHERE v > {n}>> <<|RETURNING k, v>>;
UPDATE po_other SET c = {n} <<|WHERE k = {k}>>;
UPDATE po_shared SET n = <<{n}|n + 1>> <<|WHERE id = {n}>>;
DELETE FROM <<po_own|po_setting|po_reference|po_colocated|po_checked|po_several>> <<|WHERE k = {k}|WHERE v > {n}>> <<|RETURNING *>>;
INSERT INTO <<po_own|po_several>> VALUES (55, <<'ends_clerk'|'ends_guest'>>, {n});
INSERT INTO po_setting VALUES (55, <<'a'|'b'>>, {n});
INSERT INTO po_checked VALUES (55, <<3|6>>) <<|RETURNING *>>;
INSERT INTO po_reference VALUES (55, <<1|2|3|4>>, 0);
INSERT INTO po_colocated VALUES (<<55|{k}>>, 1) <<|ON CONFLICT DO NOTHING|ON CONFLICT (k) DO UPDATE SET v = 2>>;
SELECT (SELECT count(*) FROM po_own), (SELECT max(v) FROM po_checked);
SELECT k FROM po_plain WHERE k <<IN|NOT IN>> (SELECT k FROM <<po_own|po_colocated|po_several>>);
SELECT k FROM po_plain WHERE c IN (SELECT v FROM <<po_own|po_colocated|po_several>>);
UPDATE po_own a SET v = 0 FROM po_several b WHERE a.k = b.k AND b.v > {n};
