-- = MERGE; since 15
MERGE INTO daily d USING events e ON d.tenant = e.tenant AND d.day = e.day AND d.kind = e.kind AND e.value > 24 WHEN MATCHED THEN UPDATE SET total = d.total + e.value;
MERGE INTO daily d USING (SELECT tenant, day, kind, count(*) AS n, sum(value) AS t FROM events GROUP BY 1, 2, 3) q ON d.tenant = q.tenant AND d.day = q.day AND d.kind = q.kind WHEN MATCHED THEN UPDATE SET n = d.n + q.n, total = q.t WHEN NOT MATCHED THEN INSERT VALUES (q.tenant, q.day, q.kind, q.n, q.t);
MERGE INTO users u USING staging s ON u.id = s.id WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (id, email, name) VALUES (s.id, s.email, s.name);
MERGE INTO users u USING staging s ON u.id = s.id WHEN MATCHED AND u.active THEN DELETE WHEN MATCHED THEN UPDATE SET score = 0 WHEN NOT MATCHED AND s.line > 6 THEN INSERT (id, email) VALUES (s.id, s.email) WHEN NOT MATCHED THEN DO NOTHING;
-- numbered
MERGE INTO users u USING staging s ON u.email = s.email WHEN NOT MATCHED THEN INSERT (email, name) VALUES (s.email, s.name);
-- numbered
MERGE INTO users u USING staging s ON u.id = s.id WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (email, name) VALUES (s.email, s.name);
MERGE INTO users u USING staging s ON u.id = s.id WHEN NOT MATCHED THEN INSERT (id, email) VALUES (s.id + 1000, s.email);
-- numbered
MERGE INTO users u USING staging s ON u.id = s.id AND s.line < 4 WHEN NOT MATCHED THEN INSERT (id, email) VALUES (nextval('numbers'), s.email);
MERGE INTO users u USING (VALUES (1, 'one'), (950, 'new')) v(id, name) ON u.id = v.id WHEN MATCHED THEN UPDATE SET name = v.name WHEN NOT MATCHED THEN INSERT (id, email, name) VALUES (v.id, 'm@x.org', v.name);
MERGE INTO users u USING (SELECT 1 AS id) v ON u.id = v.id WHEN MATCHED THEN UPDATE SET name = DEFAULT, created = DEFAULT;
MERGE INTO users u USING orgs o ON u.org = o.id WHEN MATCHED AND o.plan = 'paid' THEN UPDATE SET name = o.name;
MERGE INTO users u USING orgs o ON u.id = o.id WHEN MATCHED THEN UPDATE SET org = o.id WHEN NOT MATCHED THEN INSERT (id, email) VALUES (o.id, o.name);
MERGE INTO users u USING orgs o ON u.id = o.id + 10 WHEN MATCHED THEN UPDATE SET org = o.id WHEN NOT MATCHED THEN INSERT (id, email) VALUES (o.id + 10, o.name);
MERGE INTO users u USING (SELECT user_id, count(*) AS n FROM posts GROUP BY user_id) p ON p.user_id = u.id WHEN MATCHED THEN UPDATE SET score = p.n;
MERGE INTO users u USING (SELECT org, max(score) AS m FROM users GROUP BY org) q ON q.org = u.org WHEN MATCHED AND u.score = q.m THEN UPDATE SET name = 'top';
MERGE INTO totals t USING (SELECT kind, count(*) AS n, sum(value) AS s FROM events GROUP BY kind) q ON q.kind = t.kind WHEN MATCHED THEN UPDATE SET n = q.n, total = q.s WHEN NOT MATCHED THEN INSERT VALUES (q.kind, q.n, q.s);
MERGE INTO totals t USING orgs o ON t.kind = o.name WHEN NOT MATCHED THEN INSERT (kind, n) VALUES (o.name, o.seats);
-- numbered
MERGE INTO orgs o USING (VALUES ('acme', 1), ('zeta', 2)) v(name, seats) ON o.name = v.name WHEN MATCHED THEN UPDATE SET seats = v.seats WHEN NOT MATCHED THEN INSERT (name, seats) VALUES (v.name, v.seats);
MERGE INTO settings s USING (VALUES ('theme'), ('x')) v(key) ON s.key = v.key WHEN MATCHED THEN UPDATE SET value = '5', changed = now() WHEN NOT MATCHED THEN INSERT (key) VALUES (v.key);
MERGE INTO settings s USING (VALUES ('theme')) v(key) ON s.key = v.key WHEN MATCHED THEN UPDATE SET changed = DEFAULT;
MERGE INTO posts p USING comments c ON p.user_id = c.user_id AND p.id = c.post_id AND c.no = 1 WHEN MATCHED THEN UPDATE SET likes = p.likes + 10;
-- numbered
MERGE INTO posts p USING users u ON p.user_id = u.id AND p.likes = 0 WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (user_id, title) VALUES (u.id, 'none');
MERGE INTO posts p USING (SELECT 3::bigint AS u, 'Fresh' AS t) v ON p.user_id = v.u AND p.title = v.t WHEN NOT MATCHED THEN INSERT (user_id, title) VALUES (v.u, v.t);
MERGE INTO events e USING marks m ON e.tenant = m.n WHEN MATCHED AND m.label = 'b' THEN DELETE;
MERGE INTO audit a USING (SELECT 'w' AS what) v ON a.what = v.what WHEN NOT MATCHED THEN INSERT (what) VALUES (v.what);
MERGE INTO items i USING (VALUES ('sku1', 3), ('sku2', -1), ('n7', 7)) v(sku, d) ON i.sku = v.sku WHEN MATCHED AND i.quantity + v.d > 2 THEN UPDATE SET quantity = i.quantity + v.d WHEN MATCHED THEN DELETE WHEN NOT MATCHED AND v.d > 0 THEN INSERT (sku, quantity) VALUES (v.sku, v.d);
MERGE INTO items i USING (VALUES ('sku1', 3), ('sku1', 4)) v(sku, d) ON i.sku = v.sku WHEN MATCHED THEN UPDATE SET quantity = v.d;
MERGE INTO items i USING (VALUES ('sku1', -30)) v(sku, d) ON i.sku = v.sku WHEN MATCHED THEN UPDATE SET quantity = v.d;
MERGE INTO items i USING users u ON i.sku = 'sku' || u.id WHEN MATCHED THEN UPDATE SET label = u.name;
MERGE INTO items i USING users u ON i.sku = 'sku' || u.id WHEN MATCHED THEN UPDATE SET label = u.name WHEN NOT MATCHED THEN INSERT (sku, label) VALUES ('sku' || u.id, u.name);
MERGE INTO ledger l USING staging s ON l.owner = s.name WHEN NOT MATCHED THEN INSERT (owner, amount) VALUES (s.name, s.line);
MERGE INTO queue q USING users u ON q.worker = u.id WHEN NOT MATCHED AND u.org = 1 THEN INSERT (payload, worker) VALUES (u.email, u.id);
WITH v AS (SELECT id, 'w' AS name FROM users WHERE org = 2) MERGE INTO users u USING v ON u.id = v.id WHEN MATCHED THEN UPDATE SET name = v.name;
MERGE INTO users u USING staging s ON u.id = s.id WHEN MATCHED THEN UPDATE SET name = (SELECT max(name) FROM users);
MERGE INTO marks m USING (VALUES ('a'), ('q')) v(l) ON m.label = v.l WHEN MATCHED THEN UPDATE SET n = 9 WHEN NOT MATCHED THEN INSERT VALUES (v.l, 0);

-- = MERGE with RETURNING, and by what is not in the source; since 17
MERGE INTO users u USING staging s ON u.id = s.id WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (id, email, name) VALUES (s.id, s.email, s.name) RETURNING merge_action(), u.id, s.line;
-- refused: RETURNING of a MERGE whose ON does not tell the shard of the rows that it inserts
MERGE INTO users u USING staging s ON u.id = s.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id, email) VALUES (s.id + 2000, s.email) RETURNING merge_action(), u.id, s.line;
MERGE INTO daily d USING events e ON d.tenant = e.tenant AND d.day = e.day AND d.kind = e.kind WHEN NOT MATCHED BY SOURCE THEN DELETE;
MERGE INTO totals t USING (SELECT DISTINCT kind FROM events) q ON q.kind = t.kind WHEN NOT MATCHED BY SOURCE THEN DELETE WHEN NOT MATCHED THEN INSERT (kind) VALUES (q.kind) RETURNING merge_action(), t.kind;
MERGE INTO users u USING staging s ON u.id = s.id WHEN NOT MATCHED BY SOURCE AND u.org = 1 THEN UPDATE SET active = false RETURNING merge_action(), u.id;
WITH m AS (MERGE INTO items i USING (VALUES ('sku1', 3), ('n7', 7)) v(sku, d) ON i.sku = v.sku WHEN MATCHED THEN UPDATE SET quantity = v.d WHEN NOT MATCHED THEN INSERT (sku, quantity) VALUES (v.sku, v.d) RETURNING merge_action() AS a, i.sku) SELECT a, sku FROM m;

-- = old and new; since 18
UPDATE users SET score = score + 1 WHERE org = 1 RETURNING id, old.score, new.score;
DELETE FROM users WHERE id = 2 RETURNING old.name, new.name;
INSERT INTO items (sku, quantity) VALUES ('sku1', 9), ('n1', 1) ON CONFLICT (sku) DO UPDATE SET quantity = excluded.quantity RETURNING old.quantity, new.quantity, old.sku IS NULL AS inserted;
UPDATE totals SET n = n + 1 RETURNING WITH (OLD AS o, NEW AS w) kind, o.n, w.n;
