-- = INSERT ... SELECT, where the keys are the same
INSERT INTO daily SELECT tenant, day, kind, count(*), sum(value) FROM events WHERE tenant > 2 GROUP BY tenant, day, kind;
INSERT INTO daily (tenant, day, kind, n, total) SELECT tenant, day, kind, count(*), sum(value) FROM events GROUP BY 1, 2, 3 ON CONFLICT (tenant, day, kind) DO UPDATE SET n = daily.n + excluded.n, total = excluded.total RETURNING *;
INSERT INTO daily (tenant, day, kind) SELECT DISTINCT tenant, date '2021-01-01', kind FROM events;
INSERT INTO daily (tenant, day, kind, n) SELECT tenant, '2021-01-01', 'all', count(*) FROM events GROUP BY tenant HAVING count(*) > 2 RETURNING tenant, n;
INSERT INTO daily (tenant, day, kind, n) SELECT e.tenant, e.day, 'x', d.n FROM events e JOIN daily d USING (tenant, day, kind) ON CONFLICT DO NOTHING;
INSERT INTO daily (tenant, day, kind, n) SELECT tenant, '2022-01-01', 'r', row_number() OVER (PARTITION BY tenant ORDER BY value) FROM events WHERE value < 7;
INSERT INTO members SELECT id, 4, '2021-01-01' FROM users WHERE org <> 4;
INSERT INTO members (user_id, org_id) SELECT u.id, o.id FROM users u CROSS JOIN orgs o ON CONFLICT DO NOTHING RETURNING user_id, org_id;
INSERT INTO comments SELECT user_id, id, 9, title FROM posts;
INSERT INTO comments (user_id, post_id, no, body) SELECT p.user_id, p.id, 10 + c.n, 'more' FROM posts p LEFT JOIN (SELECT user_id, post_id, count(*)::int AS n FROM comments GROUP BY 1, 2) c ON c.user_id = p.user_id AND c.post_id = p.id WHERE c.n IS NOT NULL;
INSERT INTO events SELECT * FROM events;
INSERT INTO events (tenant, kind) SELECT tenant, kind FROM events UNION SELECT tenant, kind FROM daily;
INSERT INTO events (tenant, kind) (SELECT tenant, 'a' FROM events EXCEPT SELECT tenant, 'a' FROM daily);
INSERT INTO daily (tenant, day, kind) WITH q AS (SELECT tenant, max(day) AS d FROM events GROUP BY tenant) SELECT tenant, d + 100, 'w' FROM q;
WITH q AS (SELECT tenant, max(day) AS d FROM events GROUP BY tenant) INSERT INTO daily (tenant, day, kind) SELECT tenant, d + 100, 'w' FROM q;
INSERT INTO events SELECT e.* FROM events e, LATERAL (SELECT 1 FROM daily d WHERE d.tenant = e.tenant LIMIT 1) l;
INSERT INTO posts (user_id, title) SELECT user_id, title || '2' FROM posts WHERE user_id = 3;
INSERT INTO posts (user_id, id, title) SELECT user_id, id + 1000, title FROM posts;
INSERT INTO events (kind, tenant) SELECT kind, tenant FROM events WHERE tenant = 1;

-- = INSERT ... SELECT, where rows travel
INSERT INTO users (id, email, name, org) SELECT id, email, name, 1 FROM staging ON CONFLICT (id) DO UPDATE SET name = excluded.name;
INSERT INTO users (id, email, name) SELECT id + 100, email, name FROM staging RETURNING id, active, score;
INSERT INTO staging SELECT id::int + 50, id, email, name FROM users WHERE active;
INSERT INTO events (tenant, kind, value) SELECT value::int % 7, kind, tenant FROM events;
INSERT INTO events (tenant) SELECT NULL FROM orgs;
INSERT INTO events (tenant, kind) SELECT count(*), 'sum' FROM users;
INSERT INTO events (tenant, value) SELECT org, sum(score) FROM users GROUP BY org;
INSERT INTO events (tenant, kind) SELECT id, name FROM orgs;
INSERT INTO events (tenant, kind) SELECT g, 'g' || g FROM generate_series(1, 20) g;
INSERT INTO events SELECT * FROM (VALUES (1, 'v', 1.5, date '2020-01-01'), (2, 'w', 2.5, NULL)) v;
INSERT INTO events (tenant, kind) SELECT tenant, kind FROM events ORDER BY value DESC LIMIT 5;
INSERT INTO events (tenant, kind) SELECT tenant, kind FROM events ORDER BY value OFFSET 25 RETURNING *;
INSERT INTO events (tenant, value) SELECT u.id, s.line FROM users u JOIN staging s ON s.id = u.id;
INSERT INTO events (tenant, value) SELECT tenant, rank() OVER (ORDER BY value) FROM events WHERE value < 5;
INSERT INTO items (sku, label) SELECT 'n-' || id, name FROM users RETURNING sku;
INSERT INTO items (sku, label, quantity) SELECT sku || 'b', label, quantity - 3 FROM items;
INSERT INTO ledger (owner, amount) SELECT name, score FROM users WHERE org = 3 RETURNING owner, amount;
INSERT INTO audit (what) SELECT name FROM users WHERE id < 4 ORDER BY id RETURNING id, what;
INSERT INTO audit (id, what) OVERRIDING SYSTEM VALUE SELECT id + 100, name FROM users RETURNING id;
INSERT INTO audit (id, what) SELECT id + 100, name FROM users;
INSERT INTO audit (id, what) OVERRIDING USER VALUE SELECT id + 100, name FROM users WHERE id = 3 RETURNING what;
INSERT INTO users (email, name) SELECT email, name FROM staging ORDER BY line RETURNING id, email;
INSERT INTO users (id, email) SELECT nextval('numbers'), email FROM staging ORDER BY line RETURNING id;
INSERT INTO users (id, email, org) SELECT s.id + 200, s.email, o.id FROM staging s JOIN orgs o ON o.id = s.line RETURNING id, org;
INSERT INTO users (id, email) SELECT DISTINCT ON (name) id + 300, email FROM users ORDER BY name, id;
INSERT INTO users (id, email) SELECT max(id) + 1, 'max@x.org' FROM users RETURNING id;
INSERT INTO users (email) VALUES ((SELECT email FROM staging WHERE line = 3)), ('y@x.org') RETURNING id, email;
INSERT INTO users (id, email) VALUES ((SELECT max(id) FROM users) + 1, 'm@x.org') RETURNING id;
INSERT INTO members SELECT s.id, 1, now()::date FROM staging s WHERE NOT EXISTS (SELECT FROM members m WHERE m.user_id = s.id AND m.org_id = 1);
INSERT INTO events (tenant, kind) SELECT 99, kind FROM events UNION ALL SELECT 98, name FROM orgs;
INSERT INTO events (tenant) WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 6) SELECT n FROM r RETURNING tenant;
INSERT INTO events (tenant, kind) TABLE marks;
INSERT INTO events (tenant, kind) SELECT n, label FROM marks;

-- = INSERT ... SELECT into tables that every shard has
INSERT INTO totals SELECT kind || '2', count(*), sum(value) FROM events GROUP BY kind;
INSERT INTO totals SELECT kind, count(*), sum(value) FROM events GROUP BY kind ON CONFLICT (kind) DO UPDATE SET n = totals.n + excluded.n, total = totals.total + excluded.total RETURNING *;
INSERT INTO totals SELECT kind, count(*), sum(value) FROM events GROUP BY kind ON CONFLICT DO NOTHING RETURNING kind;
INSERT INTO totals (kind) SELECT name FROM orgs RETURNING n;
INSERT INTO totals (kind, n) SELECT 'd' || g, g FROM generate_series(1, 3) g;
INSERT INTO orgs (name) SELECT DISTINCT 'org ' || org FROM users WHERE org IS NOT NULL ORDER BY 1 RETURNING id, name;
INSERT INTO settings (key) SELECT sku FROM items RETURNING key, changed = now();
INSERT INTO marks SELECT kind, count(*) FROM events GROUP BY kind;
INSERT INTO marks SELECT label, n + 1 FROM marks RETURNING *;
INSERT INTO marks SELECT name, seats FROM orgs WHERE id IN (SELECT org FROM users WHERE active);

-- = rows of VALUES
INSERT INTO events VALUES (1, 'a', 1, NULL), (2, 'b', 2, NULL), (NULL, 'c', 3, NULL), (4, 'd', NULL, '2020-01-01') RETURNING *;
INSERT INTO events (tenant, kind) VALUES (1 + 1, upper('a')), (abs(-3), lower('B')), ('4', 'c') RETURNING tenant, kind;
INSERT INTO events (value, tenant) VALUES (random() * 0, 5), (random() * 0, 6) RETURNING tenant;
INSERT INTO events (tenant, day) VALUES (1, now()::date), (2, current_date) RETURNING day = current_date;
INSERT INTO events (tenant, day) VALUES (1, 'now'), (2, 'today'), (3, 'tomorrow') RETURNING day - current_date;
INSERT INTO events (tenant) VALUES ('x');
INSERT INTO events (tenant) VALUES (1, 2);
INSERT INTO events (tenant, nothing) VALUES (1, 2);
INSERT INTO events (tenant, tenant) VALUES (1, 2);
INSERT INTO events VALUES (1, 'a'), (2);
INSERT INTO events VALUES (3000000000);
INSERT INTO users (id, email) VALUES (1, 'again@x.org');
INSERT INTO users (id, email) VALUES (701, 'x@x.org'), (702, NULL);
INSERT INTO users (id, email, org) VALUES (701, 'x@x.org', 1), (702, 'y@x.org', 99);
INSERT INTO users (email) VALUES (repeat('x', 41));
INSERT INTO posts (user_id, title) VALUES (99, 'nobody');
INSERT INTO comments VALUES (1, 10, 1, 'dup'), (1, 99, 1, 'no post');
INSERT INTO items VALUES ('n1', 'a', -1), ('n2', 'b', 1);
INSERT INTO audit (id, what) VALUES (7, 'x');
INSERT INTO audit (id, what) OVERRIDING SYSTEM VALUE VALUES (77, 'x'), (DEFAULT, 'y') RETURNING id;
INSERT INTO audit (what) VALUES ('x'), ('y'), ('z') RETURNING id, what;
INSERT INTO posts (user_id, slug) VALUES (1, 'x');
INSERT INTO posts (user_id, slug, title) VALUES (1, DEFAULT, 'New'), (2, DEFAULT, 'Old') RETURNING slug;
INSERT INTO posts (user_id, tags[1], tags[2]) VALUES (1, 'a', 'b'), (2, 'c', NULL) RETURNING tags;
INSERT INTO posts (user_id, grade) VALUES (1, 'high'), (2, 'none');
INSERT INTO posts AS p (user_id, id, title) VALUES (1, 10, 'x') ON CONFLICT (user_id, id) DO UPDATE SET title = p.title || excluded.title, likes = p.likes + 1 RETURNING p.title, p.likes;
INSERT INTO users (id, email, data) VALUES (801, 'x@x.org', jsonb_build_object('a', 1)), (802, 'y@x.org', to_jsonb(ARRAY[1, 2])) RETURNING data;
INSERT INTO users (id, email, score) VALUES (801, 'x@x.org', (SELECT avg(score) FROM users)), (802, 'y@x.org', (SELECT max(seats) FROM orgs)) RETURNING id, score;
INSERT INTO orgs (id, name) VALUES (50, 'x'), (51, 'x');
INSERT INTO orgs (name, seats) VALUES ('x', (SELECT count(*) FROM users)), ('y', (SELECT min(seats) FROM orgs)) RETURNING seats;
INSERT INTO orgs (name) VALUES ('acme') ON CONFLICT (name) DO UPDATE SET seats = orgs.seats + 1 RETURNING id, seats;
INSERT INTO settings (key, value, changed) VALUES ('a', '1', now()), ('b', '2', clock_timestamp()) RETURNING key;
INSERT INTO settings (key, value) VALUES ('a', (SELECT jsonb_agg(id ORDER BY id) FROM users)) RETURNING value;
INSERT INTO totals VALUES ('view', 1) ON CONFLICT (kind) DO UPDATE SET n = (SELECT count(*) FROM events) RETURNING n;
INSERT INTO totals VALUES ('view', 1) ON CONFLICT (kind) DO UPDATE SET n = totals.n + excluded.n WHERE totals.n > 100 RETURNING n;
INSERT INTO marks VALUES ('q', 1), ('q', 2), (DEFAULT, DEFAULT) RETURNING *;
INSERT INTO marks DEFAULT VALUES;

-- = UPDATE
UPDATE events SET value = value + 1;
UPDATE events SET value = value * 2, kind = kind || '!' WHERE tenant IN (1, 3, 5) AND kind <> 'buy' RETURNING *;
UPDATE events SET value = NULL WHERE tenant = 1 OR tenant = 4;
UPDATE events SET value = (SELECT max(value) FROM events) WHERE kind = 'buy' RETURNING value;
UPDATE events e SET value = d.n FROM daily d WHERE d.tenant = e.tenant AND d.day = e.day AND d.kind = e.kind RETURNING e.tenant, d.n;
UPDATE events SET value = t.total FROM totals t WHERE t.kind = events.kind;
UPDATE events SET kind = o.name FROM users u JOIN orgs o ON o.id = u.org WHERE u.id = events.tenant;
UPDATE events SET kind = s.name FROM staging s WHERE s.line = events.tenant AND events.value > 20 RETURNING events.value, s.name;
UPDATE events SET value = q.v FROM (SELECT kind, avg(value) AS v FROM events GROUP BY kind) q WHERE q.kind = events.kind;
UPDATE events SET value = value + 100 WHERE value = (SELECT min(value) FROM events);
UPDATE events SET value = 0 WHERE kind IN (SELECT kind FROM totals WHERE n > 3);
UPDATE events SET value = 0 WHERE EXISTS (SELECT FROM users u WHERE u.id = events.tenant AND u.score > 4);
UPDATE events SET value = 0 WHERE value > ALL (SELECT score FROM users);
UPDATE events SET value = 0 WHERE (kind, day) IN (SELECT kind, day FROM daily);
UPDATE events SET tenant = tenant;
UPDATE events SET tenant = tenant + 1 WHERE kind = 'buy';
UPDATE events SET tenant = 5, value = 0 WHERE tenant = 5;
UPDATE daily SET tenant = 3 WHERE tenant = 1 RETURNING *;
UPDATE users SET id = 900 WHERE id = 12 RETURNING id;
UPDATE members SET user_id = 11 WHERE user_id = 12;
UPDATE users SET score = score / 0;
UPDATE users SET score = 1 / (id - 5);
UPDATE users SET org = 99 WHERE id = 1;
UPDATE users SET nothing = 1;
UPDATE users SET email = NULL WHERE org = 1;
UPDATE items SET quantity = quantity - 2;
UPDATE items SET sku = sku || 'x' RETURNING sku;
UPDATE items SET sku = 'sku2' WHERE sku = 'sku1';
UPDATE posts SET likes = likes + 1 FROM users WHERE users.id = posts.user_id AND users.active RETURNING posts.id, users.name;
UPDATE posts SET likes = c.n FROM (SELECT user_id, post_id, count(*) AS n FROM comments GROUP BY 1, 2) c WHERE c.user_id = posts.user_id AND c.post_id = posts.id;
UPDATE posts SET grade = 'high' WHERE likes >= (SELECT percentile_cont(0.8) WITHIN GROUP (ORDER BY likes) FROM posts);
UPDATE posts SET title = initcap(title), likes = DEFAULT WHERE cardinality(tags) > 0 RETURNING slug;
UPDATE posts SET likes = r.n FROM (SELECT user_id, id, row_number() OVER (ORDER BY user_id, id) AS n FROM posts) r WHERE r.user_id = posts.user_id AND r.id = posts.id RETURNING posts.id, likes;
UPDATE users SET data = data - 'n', score = round(score) WHERE data ? 'n' AND (data ->> 'n')::int > 6;
UPDATE users u SET name = v.name FROM (SELECT unnest(ARRAY[1, 2, 3]) AS id, unnest(ARRAY['x', 'y', 'z']) AS name) v WHERE v.id = u.id RETURNING u.id, u.name;
UPDATE users SET score = nextval('numbers') WHERE id = 3 RETURNING score;
UPDATE users SET name = gen_random_uuid()::text, score = random() * 0 WHERE org = 1 RETURNING id, score;
UPDATE users SET changed = now(), created = clock_timestamp() WHERE org = 1 RETURNING id;
UPDATE users SET name = (SELECT count(*) FROM posts p WHERE p.user_id <> users.id)::text WHERE id < 3 RETURNING name;
WITH q AS (SELECT org, max(score) AS m FROM users GROUP BY org) UPDATE users SET name = 'top' FROM q WHERE q.org = users.org AND q.m = users.score RETURNING id;
WITH q AS MATERIALIZED (SELECT id FROM users ORDER BY score DESC LIMIT 3) UPDATE users SET score = 0 FROM q WHERE q.id = users.id RETURNING users.id;
UPDATE users SET active = NOT active WHERE id IN (SELECT id FROM users ORDER BY score LIMIT 4) RETURNING id, active;
UPDATE users SET org = NULL WHERE org = (SELECT id FROM orgs WHERE name = 'core');
UPDATE orgs SET seats = seats + 1 WHERE plan = 'free' RETURNING *;
UPDATE orgs SET seats = 100 - seats, name = upper(name);
UPDATE orgs SET seats = (SELECT count(*) FROM users WHERE users.org = orgs.id AND active) WHERE id > 1 RETURNING id, seats;
UPDATE orgs SET id = id + 100 WHERE id = 3;
UPDATE orgs SET seats = -1 WHERE id = 2;
UPDATE orgs SET id = DEFAULT WHERE name = 'core' RETURNING id > 4;
UPDATE totals SET total = e.s FROM (SELECT kind, sum(value) AS s FROM events GROUP BY kind) e WHERE e.kind = totals.kind RETURNING *;
UPDATE totals SET n = 0 WHERE kind NOT IN (SELECT kind FROM events) RETURNING kind;
UPDATE totals SET kind = kind || '-' RETURNING kind;
UPDATE marks SET n = n + 1 WHERE label = 'a';
UPDATE marks SET n = (SELECT max(tenant) FROM events);
UPDATE marks SET label = o.name FROM orgs o WHERE o.id = marks.n;
UPDATE settings SET changed = now(), value = '0' RETURNING key, changed = now();
UPDATE settings SET changed = DEFAULT WHERE key = 'theme' RETURNING changed = now();
-- refused: id would be counted by the sequence of its row's shard
UPDATE audit SET id = DEFAULT WHERE id = 2;
UPDATE posts SET id = DEFAULT WHERE user_id = 3;
UPDATE audit SET what = 'x' || id WHERE at < now() RETURNING id, what;

-- = DELETE
DELETE FROM events;
DELETE FROM events WHERE tenant = 2 AND kind = 'view' RETURNING *;
DELETE FROM events WHERE tenant BETWEEN 2 AND 4 RETURNING tenant, value;
DELETE FROM events WHERE value > (SELECT avg(value) FROM events);
DELETE FROM events e USING daily d WHERE d.tenant = e.tenant AND d.kind = e.kind RETURNING e.value;
DELETE FROM events e USING users u WHERE u.org = e.tenant AND u.active RETURNING e.value;
DELETE FROM events e USING totals t WHERE t.kind = e.kind AND t.n > 3;
DELETE FROM events e USING marks m, orgs o WHERE m.label = 'b' AND o.id = e.tenant AND o.seats > m.n RETURNING o.name;
DELETE FROM users WHERE id NOT IN (SELECT user_id FROM posts);
DELETE FROM users WHERE org = 1 AND NOT EXISTS (SELECT FROM staging WHERE staging.id = users.id) RETURNING id;
DELETE FROM users u USING (SELECT org, min(id) AS keep FROM users GROUP BY org) q WHERE q.org = u.org AND u.id <> q.keep RETURNING u.id;
DELETE FROM posts WHERE (user_id, id) NOT IN (SELECT user_id, post_id FROM comments) RETURNING user_id, id;
DELETE FROM orgs WHERE id = 1;
DELETE FROM orgs WHERE id NOT IN (SELECT org FROM users WHERE org IS NOT NULL);
DELETE FROM totals WHERE kind NOT IN (SELECT DISTINCT kind FROM events) RETURNING *;
DELETE FROM totals USING (SELECT kind FROM events GROUP BY kind HAVING count(*) > 3) q WHERE q.kind = totals.kind RETURNING totals.kind;
-- refused: a system column has values of its own on each shard, and marks has no primary key by which copies find a row
DELETE FROM marks WHERE ctid IN (SELECT max(ctid) FROM marks GROUP BY label, n HAVING count(*) > 1);
DELETE FROM marks;
DELETE FROM marks m USING orgs o WHERE o.id = m.n RETURNING m.label, o.name;
WITH old AS (SELECT user_id, id FROM posts WHERE likes = 0) DELETE FROM posts p USING old WHERE old.user_id = p.user_id AND old.id = p.id RETURNING p.id;
WITH q AS (SELECT tenant FROM events GROUP BY tenant ORDER BY sum(value) DESC LIMIT 1) DELETE FROM events WHERE tenant IN (SELECT tenant FROM q) RETURNING value;
DELETE FROM events WHERE random() < 2 RETURNING tenant;
DELETE FROM active_users WHERE org = 2 RETURNING id, email;

-- = WITH that writes
WITH gone AS (DELETE FROM events WHERE tenant = 1 RETURNING *) INSERT INTO events SELECT * FROM gone;
WITH gone AS (DELETE FROM events WHERE kind = 'buy' RETURNING tenant, day, value) INSERT INTO daily (tenant, day, kind, total) SELECT tenant, day, 'moved', sum(value) FROM gone GROUP BY 1, 2 RETURNING *;
WITH gone AS (DELETE FROM events WHERE kind = 'buy' RETURNING kind, value) INSERT INTO totals SELECT kind, count(*), sum(value) FROM gone GROUP BY kind RETURNING *;
WITH gone AS (DELETE FROM staging RETURNING *) INSERT INTO users (id, email, name) SELECT id + 500, email, name FROM gone RETURNING id;
WITH gone AS (DELETE FROM events RETURNING value) SELECT count(*), sum(value), max(value) FROM gone;
WITH u AS (INSERT INTO users (email, name) VALUES ('n@x.org', 'n') RETURNING id) INSERT INTO posts (user_id, title) SELECT id, 'first' FROM u RETURNING title, slug;
WITH u AS (INSERT INTO users (email) VALUES ('n@x.org'), ('m@x.org') RETURNING id), p AS (INSERT INTO posts (user_id, title) SELECT id, 'x' FROM u RETURNING user_id, id) INSERT INTO comments SELECT user_id, id, 1, 'c' FROM p RETURNING no, body;
WITH o AS (INSERT INTO orgs (name) VALUES ('newer') RETURNING id) UPDATE users SET org = o.id FROM o WHERE users.id < 4 RETURNING users.id;
WITH o AS (INSERT INTO orgs (name) VALUES ('newer') RETURNING id) INSERT INTO users (email, org) SELECT 'n@x.org', id FROM o RETURNING email;
-- numbered
WITH a AS (UPDATE users SET score = score + 1 WHERE org = 1 RETURNING id, score), b AS (INSERT INTO audit (what) SELECT 'user ' || id FROM a RETURNING id) SELECT count(*) FROM b;
WITH a AS (UPDATE events SET value = 0 WHERE tenant = 1 RETURNING 1) , b AS (DELETE FROM daily WHERE tenant = 1 RETURNING 1) SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b);
-- refused: WITH queries write, and an aggregate takes the rows of all shards
WITH a AS (UPDATE events SET value = 0 WHERE tenant = 1 RETURNING *), b AS (UPDATE events SET value = 1 WHERE tenant = 2 RETURNING *) SELECT count(*) FROM (TABLE a UNION ALL TABLE b) q;
-- refused: WITH queries write, and an aggregate takes the rows of all shards
WITH a AS (DELETE FROM users WHERE id = 2) SELECT count(*) FROM users;
WITH a AS (DELETE FROM users WHERE id = 2 RETURNING id) SELECT u.id FROM users u JOIN a USING (id);
WITH a AS (INSERT INTO totals VALUES ('w', 1, 1) RETURNING kind) SELECT count(*) FROM events, a;
WITH a AS (INSERT INTO totals VALUES ('w', 1, 1) RETURNING kind) INSERT INTO events (tenant, kind) SELECT 5, kind FROM a;
WITH a AS (UPDATE orgs SET seats = seats + 1 RETURNING id, seats) SELECT u.id, a.seats FROM users u JOIN a ON a.id = u.org WHERE u.id < 3 ORDER BY 1;
WITH moved AS (DELETE FROM queue RETURNING payload), counted AS (SELECT count(*) AS n FROM moved) INSERT INTO totals SELECT 'queue', n, 0 FROM counted RETURNING n;
WITH q AS (SELECT id FROM users WHERE org = 1), d AS (DELETE FROM posts USING q WHERE q.id = posts.user_id RETURNING posts.id) SELECT count(*) FROM d;
WITH ins AS (INSERT INTO users (id, email) SELECT id + 600, email FROM staging ON CONFLICT DO NOTHING RETURNING id) SELECT max(id) FROM ins;
WITH x AS (INSERT INTO daily (tenant, day, kind) VALUES (1, '2023-01-01', 'x') ON CONFLICT DO NOTHING RETURNING *) SELECT * FROM x UNION ALL SELECT * FROM daily WHERE tenant = 1 AND day = '2023-01-01';

-- = writes to views
INSERT INTO active_users (id, email, name, org) VALUES (901, 'v@x.org', 'v', 1) RETURNING *;
UPDATE active_users SET name = upper(name) WHERE org = 2 RETURNING id, name;
UPDATE active_users SET org = NULL WHERE id = 2;
DELETE FROM active_users WHERE id IN (1, 2, 4) RETURNING name;
UPDATE active_users SET name = o.name FROM free_orgs o WHERE o.id = active_users.org;
INSERT INTO free_orgs (id, name, seats) VALUES (77, 'v', 1) RETURNING *;
INSERT INTO free_orgs (name) VALUES ('v'), ('w') RETURNING name;
UPDATE free_orgs SET seats = 9 RETURNING id;
DELETE FROM free_orgs WHERE id = 3;

-- = sequences
SELECT nextval('users_id_seq') > 12, currval('users_id_seq') > 12;
-- refused: currval\(\) tells what the first shard has counted, and rows are on others
INSERT INTO users (email) VALUES ('s@x.org') RETURNING id = currval('users_id_seq');
INSERT INTO users (email) VALUES ('s@x.org'); SELECT currval(pg_get_serial_sequence('users', 'id')) > 0;
SELECT setval('users_id_seq', 5000); INSERT INTO users (email) VALUES ('s@x.org') RETURNING id;
SELECT setval('users_id_seq', (SELECT max(id) FROM users) + 500); INSERT INTO users (email) VALUES ('s@x.org'), ('t@x.org') RETURNING id;
SELECT setval(pg_get_serial_sequence('users', 'id'), coalesce(max(id), 1) + 900, max(id) IS NOT NULL) FROM users; INSERT INTO users (email) VALUES ('s@x.org') RETURNING id;
-- refused: lastval\(\) tells of one shard's sequences, and they count on several
INSERT INTO orgs (name) VALUES ('q'); SELECT currval('orgs_id_seq') > 0, lastval() = currval('orgs_id_seq');
INSERT INTO events (tenant, value) VALUES (nextval('numbers'), 1), (nextval('numbers'), 2) RETURNING tenant;
INSERT INTO events (tenant, value) VALUES (1, nextval('numbers')), (2, nextval('numbers')) RETURNING value;
ALTER SEQUENCE numbers RESTART WITH 9000; INSERT INTO events (tenant) VALUES (nextval('numbers')) RETURNING tenant;
ALTER TABLE users ALTER COLUMN id RESTART WITH 7000;
ALTER TABLE posts ALTER COLUMN id RESTART WITH 7000; INSERT INTO posts (user_id) VALUES (1) RETURNING id;
TRUNCATE audit RESTART IDENTITY; INSERT INTO audit (what) VALUES ('x'), ('y') RETURNING id;
TRUNCATE users CASCADE;
TRUNCATE events, daily;

-- = prepared, tables that are made, EXPLAIN
PREPARE ins AS INSERT INTO events (tenant, kind) VALUES ($1, $2) RETURNING tenant; EXECUTE ins(3, 'p'); DEALLOCATE ins;
PREPARE ups AS INSERT INTO items (sku, quantity) VALUES ($1, $2) ON CONFLICT (sku) DO UPDATE SET quantity = $2 RETURNING sku, quantity; EXECUTE ups('sku3', 33); EXECUTE ups('n3', 34); DEALLOCATE ups;
PREPARE upd(int) AS UPDATE users SET score = $1 WHERE id = $1; EXECUTE upd(4); DEALLOCATE ALL;
CREATE TEMP TABLE picked AS SELECT id, name FROM users WHERE org = 1; SELECT * FROM picked ORDER BY id; DROP TABLE picked;
CREATE TEMP TABLE load (LIKE staging) ON COMMIT DROP; INSERT INTO load VALUES (1, 600, 'l@x.org', 'l'), (2, 601, 'm@x.org', 'm'); INSERT INTO users (id, email, name) SELECT id, email, name FROM load RETURNING id; DROP TABLE load;
CREATE TEMP TABLE load AS SELECT id, score FROM users; UPDATE users SET score = load.score + 1 FROM load WHERE load.id = users.id; DROP TABLE load;
CREATE TEMP TABLE load AS SELECT id FROM users WHERE active; DELETE FROM users USING load WHERE load.id = users.id; DROP TABLE load;
-- refused: DO over several shards
DO $$ BEGIN PERFORM 1; END $$;
SAVEPOINT a; INSERT INTO events (tenant) VALUES (1), (2); ROLLBACK TO a; INSERT INTO events (tenant) VALUES (3) RETURNING tenant;
SET CONSTRAINTS ALL DEFERRED;
LOCK TABLE events, users IN SHARE ROW EXCLUSIVE MODE;
SELECT * FROM users WHERE id = 3 FOR NO KEY UPDATE;
SELECT id FROM users WHERE org = 1 ORDER BY id FOR SHARE;
SELECT id FROM queue ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 2;
SELECT id, name FROM orgs ORDER BY id FOR UPDATE;
-- refused: more rows would be locked than LIMIT lets through
SELECT id FROM users WHERE active ORDER BY id LIMIT 2 FOR UPDATE SKIP LOCKED;
