-- = what Django sends
INSERT INTO "users" ("email", "name", "org", "active", "score", "data", "created", "changed") VALUES ('a@x.org', 'a', NULL, true, '0', '{}'::jsonb, '2020-05-01T00:00:00+00:00'::timestamptz, NULL) RETURNING "users"."id";
INSERT INTO "users" ("email", "name", "org", "active", "score", "data", "created") VALUES ('a@x.org', 'a', NULL, true, 0, '{}', '2020-05-01'), ('b@x.org', 'b', 1, false, 1, '{}', '2020-05-01'), ('c@x.org', 'c', 2, true, 2, '{}', '2020-05-01') RETURNING "users"."id";
INSERT INTO "users" ("id", "email", "name", "created") VALUES (100, 'a@x.org', 'a', '2020-05-01'), (101, 'b@x.org', 'b', '2020-05-01') ON CONFLICT DO NOTHING;
INSERT INTO "users" ("id", "email", "name", "created") VALUES (1, 'a@x.org', 'a', '2020-05-01'), (101, 'b@x.org', 'b', '2020-05-01') ON CONFLICT("id") DO UPDATE SET "email" = EXCLUDED."email", "name" = EXCLUDED."name" RETURNING "users"."id", "users"."email";
INSERT INTO "users" ("email", "name", "created") SELECT * FROM UNNEST((ARRAY['a@x.org', 'b@x.org', 'c@x.org'])::varchar[], (ARRAY['a', 'b', NULL])::text[], (ARRAY['2020-05-01', '2020-05-02', '2020-05-03'])::timestamptz[]) RETURNING "users"."id";
INSERT INTO "users" ("id", "email", "name", "created") SELECT * FROM UNNEST((ARRAY[3, 201, 202])::bigint[], (ARRAY['a@x.org', 'b@x.org', 'c@x.org'])::varchar[], (ARRAY['a', 'b', NULL])::text[], (ARRAY['2020-05-01', '2020-05-02', '2020-05-03'])::timestamptz[]) ON CONFLICT("id") DO UPDATE SET "name" = EXCLUDED."name";
INSERT INTO "orgs" ("name", "plan", "seats") SELECT * FROM UNNEST((ARRAY['e', 'f'])::text[], (ARRAY['free', 'paid'])::text[], (ARRAY[1, 2])::integer[]) RETURNING "orgs"."id";
INSERT INTO "members" ("user_id", "org_id") SELECT * FROM UNNEST((ARRAY[1, 2, 3])::bigint[], (ARRAY[4, 4, 4])::integer[]) ON CONFLICT DO NOTHING;
INSERT INTO "posts" ("user_id", "title", "likes", "tags") VALUES (1, 'x', 0, '{}'::text[]), (2, 'y', 1, ARRAY['q']::text[]) RETURNING "posts"."id", "posts"."slug";
INSERT INTO "audit" ("what", "at") VALUES ('x', '2020-05-01'), ('y', '2020-05-01') RETURNING "audit"."id";
INSERT INTO "orgs" ("name", "plan", "seats") VALUES ('new', 'free', 1) RETURNING "orgs"."id";
INSERT INTO "settings" ("key", "value") VALUES ('theme', '1'::jsonb) ON CONFLICT("key") DO UPDATE SET "value" = EXCLUDED."value";
UPDATE "users" SET "email" = 'n@x.org', "name" = 'n', "org" = 1, "active" = false, "score" = '2.50', "changed" = '2020-06-01' WHERE "users"."id" = 4;
UPDATE "users" SET "score" = ("users"."score" + 1) WHERE "users"."id" IN (1, 2, 3);
UPDATE "users" SET "score" = ("users"."score" * 2), "name" = UPPER("users"."name") WHERE ("users"."active" AND "users"."org" = 2);
UPDATE "users" SET "name" = (CASE WHEN ("users"."id" = 1) THEN 'one' WHEN ("users"."id" = 2) THEN 'two' WHEN ("users"."id" = 3) THEN 'three' ELSE NULL END)::text WHERE "users"."id" IN (1, 2, 3);
UPDATE "users" SET "name" = CASE WHEN ("users"."id" = 1) THEN 'one' ELSE 'other' END, "score" = CASE WHEN ("users"."id" = 1) THEN 1::numeric(10, 2) WHEN ("users"."id" = 7) THEN 7::numeric(10, 2) ELSE NULL END WHERE "users"."id" IN (1, 7);
UPDATE "users" SET "score" = COALESCE((SELECT SUM(U0."likes") AS "s" FROM "posts" U0 WHERE U0."user_id" = ("users"."id") GROUP BY U0."user_id"), 0);
UPDATE "users" SET "name" = (SELECT U0."title" FROM "posts" U0 WHERE U0."user_id" = ("users"."id") ORDER BY U0."likes" DESC, U0."id" LIMIT 1) WHERE "users"."id" IN (SELECT V0."user_id" FROM "posts" V0 WHERE V0."likes" > 2);
UPDATE "users" SET "active" = false WHERE "users"."id" IN (SELECT U0."id" FROM "users" U0 INNER JOIN "orgs" U1 ON (U0."org" = U1."id") WHERE U1."plan" = 'paid');
UPDATE "users" SET "org" = (SELECT U0."id" FROM "orgs" U0 WHERE U0."name" = 'acme' LIMIT 1) WHERE "users"."name" LIKE 'user 1%';
UPDATE "orgs" SET "seats" = (SELECT COUNT(*) FROM "users" U0 WHERE U0."org" = ("orgs"."id"));
UPDATE "posts" SET "likes" = ("posts"."likes" + 1) WHERE ("posts"."id" = 4 AND "posts"."user_id" = 5);
UPDATE "posts" SET "tags" = array_append("posts"."tags", 'z') WHERE "posts"."tags" @> ARRAY['t1']::text[];
UPDATE "users" SET "data" = jsonb_set("users"."data", '{k}', '1'::jsonb) WHERE ("users"."data" ->> 'n') = '3';
DELETE FROM "users" WHERE "users"."id" IN (3, 9);
DELETE FROM "posts" WHERE "posts"."user_id" IN (1, 2, 3);
DELETE FROM "members" WHERE ("members"."user_id" = 1 AND "members"."org_id" IN (1, 2, 3));
DELETE FROM "comments" WHERE "comments"."post_id" IN (SELECT U0."id" FROM "posts" U0 WHERE U0."likes" = 0);
DELETE FROM "users" WHERE "users"."id" IN (SELECT U0."id" FROM "users" U0 LEFT OUTER JOIN "posts" U1 ON (U0."id" = U1."user_id") WHERE U1."id" IS NULL);
SELECT "users"."id", "users"."name" FROM "users" WHERE "users"."id" = 3 LIMIT 21 FOR UPDATE;
SELECT "users"."id" FROM "users" WHERE "users"."org" = 2 ORDER BY "users"."id" ASC FOR UPDATE;
-- refused: statement_timestamp\(\) has another answer on each shard
INSERT INTO "users" ("email", "created") VALUES ('x@x.org', NOW()), ('y@x.org', STATEMENT_TIMESTAMP()) RETURNING "users"."id";

-- = what SQLAlchemy sends
INSERT INTO users (email, name) VALUES ('a@x.org', 'a') RETURNING users.id, users.created;
INSERT INTO users (email, name, org) SELECT p0::VARCHAR, p1::VARCHAR, p2::INTEGER FROM (VALUES ('a@x.org', 'a', 1, 0), ('b@x.org', 'b', 2, 1), ('c@x.org', NULL, NULL, 2)) AS imp_sen(p0, p1, p2, sen_counter) ORDER BY sen_counter RETURNING users.id, users.id AS id__1;
INSERT INTO orgs (name, seats) SELECT p0::VARCHAR, p1::INTEGER FROM (VALUES ('x', 1, 0), ('y', 2, 1)) AS imp_sen(p0, p1, sen_counter) ORDER BY sen_counter RETURNING orgs.id, orgs.plan, orgs.id AS id__1;
INSERT INTO posts (user_id, title) SELECT p0::BIGINT, p1::VARCHAR FROM (VALUES (1, 'p', 0), (2, 'q', 1), (3, 'r', 2)) AS imp_sen(p0, p1, sen_counter) ORDER BY sen_counter RETURNING posts.user_id, posts.id, posts.slug;
INSERT INTO audit (what) SELECT p0::VARCHAR FROM (VALUES ('p', 0), ('q', 1)) AS imp_sen(p0, sen_counter) ORDER BY sen_counter RETURNING audit.id, audit.id AS id__1;
INSERT INTO items (sku, label) VALUES ('n1', 'a'), ('n2', 'b'), ('n3', 'c') RETURNING items.quantity, items.price, items.sku;
INSERT INTO items (sku, quantity) VALUES ('sku1', 5), ('n9', 5) ON CONFLICT (sku) DO UPDATE SET quantity = (items.quantity + excluded.quantity) RETURNING items.sku, items.quantity;
INSERT INTO items (sku, quantity) VALUES ('sku1', 5), ('n9', 5) ON CONFLICT (sku) DO UPDATE SET quantity = excluded.quantity WHERE items.quantity < excluded.quantity RETURNING items.sku;
INSERT INTO items (sku, quantity) VALUES ('sku1', 5), ('sku8', 5) ON CONFLICT (sku) DO NOTHING RETURNING items.sku;
INSERT INTO items AS i (sku, quantity) VALUES ('sku2', 1) ON CONFLICT ON CONSTRAINT items_pkey DO UPDATE SET label = coalesce(excluded.label, i.label) || '!' RETURNING i.label;
INSERT INTO users (email, name) VALUES ('a@x.org', (SELECT max(users.name) AS max_1 FROM users)) RETURNING users.name;
INSERT INTO users (email, org) VALUES ('a@x.org', (SELECT orgs.id FROM orgs WHERE orgs.name = 'bolt')) RETURNING users.org;
INSERT INTO members (user_id, org_id) SELECT users.id, orgs.id FROM users, orgs WHERE orgs.name = 'dune' AND users.active ON CONFLICT (user_id, org_id) DO NOTHING;
INSERT INTO users (id, email) VALUES (nextval('users_id_seq'), 'a@x.org') RETURNING users.id;
UPDATE users SET name='z' WHERE users.id = 3;
UPDATE users SET score=(users.score + 5) WHERE users.org = 1 RETURNING users.id;
UPDATE users SET name=v.name FROM (VALUES (1, 'v1'), (2, 'v2'), (77, 'v3')) AS v (id, name) WHERE users.id = v.id RETURNING users.id, users.name;
UPDATE users SET name=orgs.name FROM orgs WHERE users.org = orgs.id AND orgs.plan = 'paid';
UPDATE users SET score=(SELECT count(posts.id) AS count_1 FROM posts WHERE posts.user_id = users.id);
UPDATE users SET score=anon_1.s FROM (SELECT posts.user_id AS u, sum(posts.likes) AS s FROM posts GROUP BY posts.user_id) AS anon_1 WHERE users.id = anon_1.u RETURNING users.id, users.score;
UPDATE posts SET title=(users.name || posts.title) FROM users WHERE posts.user_id = users.id AND users.active IS true RETURNING posts.slug;
UPDATE orgs SET seats=anon_1.n FROM (SELECT users.org AS o, count(*) AS n FROM users GROUP BY users.org) AS anon_1 WHERE orgs.id = anon_1.o RETURNING orgs.id, orgs.seats;
DELETE FROM users WHERE users.id = 4 RETURNING users.id, users.email;
DELETE FROM posts USING users WHERE posts.user_id = users.id AND users.active = false RETURNING posts.id;
DELETE FROM posts WHERE EXISTS (SELECT 1 FROM users WHERE users.id = posts.user_id AND users.org = 1);
DELETE FROM events WHERE (events.tenant, events.kind) IN ((1, 'view'), (2, 'click'), (3, 'buy')) RETURNING events.value;
WITH anon_1 AS (DELETE FROM queue WHERE queue.state = 'new' RETURNING queue.id AS id, queue.payload AS payload) SELECT anon_1.id, anon_1.payload FROM anon_1;
WITH ins AS (INSERT INTO users (email, name) VALUES ('w@x.org', 'w') RETURNING users.id) SELECT ins.id FROM ins;

-- = upserts and other idioms
-- refused: a system column has values of its own on each shard
INSERT INTO users (id, email) VALUES (1, 'a@x.org') ON CONFLICT (id) DO UPDATE SET email = excluded.email RETURNING id, (xmax = 0) AS inserted;
-- refused: a system column has values of its own on each shard
INSERT INTO users (id, email) VALUES (1, 'a@x.org'), (301, 'b@x.org'), (2, 'c@x.org') ON CONFLICT (id) DO UPDATE SET email = excluded.email RETURNING id, (xmax = 0) AS inserted;
-- refused: a system column has values of its own on each shard
INSERT INTO users (id, email) VALUES (1, 'a@x.org'), (301, 'b@x.org') ON CONFLICT (id) DO UPDATE SET email = excluded.email RETURNING xmax = 0;
-- refused: a system column has values of its own on each shard
INSERT INTO users (id, email) VALUES (1, 'a@x.org'), (301, 'b@x.org') ON CONFLICT (id) DO UPDATE SET email = excluded.email RETURNING id, CASE WHEN xmax = 0 THEN 'new' ELSE 'old' END AS how;
-- refused: a system column has values of its own on each shard
INSERT INTO users (id, email) VALUES (1, 'a@x.org'), (301, 'b@x.org') ON CONFLICT (id) DO UPDATE SET email = excluded.email RETURNING id, xmax::text::int > 0 AS updated;
-- refused: a system column has values of its own on each shard
INSERT INTO users (id, email) VALUES (1, 'a@x.org'), (301, 'b@x.org') ON CONFLICT (id) DO UPDATE SET email = excluded.email RETURNING id, xmax <> 0 AS updated;
INSERT INTO settings (key, value) VALUES ('theme', '1'), ('new', '2') ON CONFLICT (key) DO UPDATE SET value = excluded.value RETURNING key, (xmax = 0) AS inserted;
INSERT INTO totals VALUES ('view', 1, 1), ('fresh', 1, 1) ON CONFLICT (kind) DO UPDATE SET n = totals.n + excluded.n, total = totals.total + excluded.total RETURNING kind, n, xmax = 0;
-- refused: a system column has values of its own on each shard, and they cannot travel: a system column has values of its own on each shard
INSERT INTO daily (tenant, day, kind, n) SELECT tenant, day, kind, count(*) FROM events GROUP BY 1, 2, 3 ON CONFLICT (tenant, day, kind) DO UPDATE SET n = daily.n + excluded.n RETURNING tenant, n, (xmax = 0);
WITH up AS (UPDATE totals SET n = n + 1 WHERE kind = 'view' RETURNING *) INSERT INTO totals (kind, n) SELECT 'view', 1 WHERE NOT EXISTS (SELECT * FROM up);
WITH up AS (UPDATE users SET name = 'q' WHERE id = 500 RETURNING *) INSERT INTO users (id, email) SELECT 500, 'q@x.org' WHERE NOT EXISTS (SELECT * FROM up);
WITH s AS (SELECT id FROM orgs WHERE name = 'acme'), i AS (INSERT INTO orgs (name) SELECT 'acme' WHERE NOT EXISTS (SELECT 1 FROM s) RETURNING id) SELECT id FROM i UNION ALL SELECT id FROM s;
WITH s AS (SELECT id FROM orgs WHERE name = 'zeta'), i AS (INSERT INTO orgs (name) SELECT 'zeta' WHERE NOT EXISTS (SELECT 1 FROM s) RETURNING id) SELECT id > 0 FROM i UNION ALL SELECT id > 0 FROM s;
-- refused: WITH queries write, and WITH query i writes to reference table orgs
WITH i AS (INSERT INTO orgs (name) VALUES ('bolt') ON CONFLICT (name) DO NOTHING RETURNING id) SELECT id FROM i UNION SELECT id FROM orgs WHERE name = 'bolt';
INSERT INTO items (sku, quantity) VALUES ('sku1', -5) ON CONFLICT (sku) DO UPDATE SET quantity = items.quantity + excluded.quantity;
INSERT INTO items (sku, quantity) VALUES ('sku5', 1) ON CONFLICT (sku) DO UPDATE SET quantity = items.quantity + excluded.quantity, price = DEFAULT, label = (SELECT name FROM orgs WHERE id = 1) RETURNING *;
INSERT INTO items (sku, quantity) VALUES ('sku5', 1), ('sku5', 2) ON CONFLICT (sku) DO UPDATE SET quantity = excluded.quantity;
INSERT INTO items VALUES ('sku5', 'x', 1, DEFAULT), ('n2', DEFAULT, DEFAULT, 2) ON CONFLICT (sku) DO UPDATE SET (label, quantity) = (excluded.label, excluded.quantity) RETURNING sku, price;
INSERT INTO items VALUES ('sku5', 'x', 1), ('n2', 'y', 2) ON CONFLICT (sku) DO UPDATE SET (label, quantity) = ROW(excluded.label, items.quantity + 1) WHERE items.label <> excluded.label RETURNING *;
INSERT INTO items VALUES ('sku5', 'x', 1), ('n2', 'y', 2) ON CONFLICT (sku) DO UPDATE SET (label, quantity) = (SELECT name, seats FROM orgs WHERE id = 2) RETURNING *;
UPDATE queue SET state = 'busy', worker = 7 WHERE id = (SELECT id FROM queue WHERE state = 'new' ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING id, payload;
UPDATE queue SET state = 'busy' WHERE id IN (SELECT id FROM queue WHERE state = 'new' ORDER BY id LIMIT 2) RETURNING id;
DELETE FROM queue WHERE id = (SELECT min(id) FROM queue) RETURNING payload;
-- numbered
INSERT INTO queue (payload) SELECT email FROM users WHERE org = 1;
INSERT INTO queue (payload, worker) VALUES ('x', 1), ('y', NULL) RETURNING id, state;
WITH job AS (DELETE FROM queue WHERE id = 2 RETURNING payload) INSERT INTO audit (what) SELECT payload FROM job RETURNING id, what;
UPDATE items SET quantity = quantity - 1 WHERE sku = 'sku1' AND quantity > 0 RETURNING quantity;
UPDATE items SET quantity = quantity - 3 WHERE quantity > 0;
UPDATE users SET data = data || '{"x": 1}', changed = now() WHERE id = ANY('{1,2,3}') RETURNING id, changed = now();
UPDATE users SET (name, score) = ('t', 3) WHERE id = 5 RETURNING *;
UPDATE users SET (name, score) = (SELECT name, seats FROM orgs WHERE orgs.id = users.org) WHERE id < 5 RETURNING id, name, score;
UPDATE users SET name = DEFAULT, active = DEFAULT, created = DEFAULT WHERE id = 6 RETURNING name, active;
UPDATE users SET created = DEFAULT, score = DEFAULT WHERE org = 2 RETURNING id, score;
DELETE FROM users a USING users b WHERE a.org = b.org AND a.id > b.id;
DELETE FROM events a WHERE a.ctid <> (SELECT min(b.ctid) FROM events b WHERE b.tenant = a.tenant AND b.kind = a.kind) AND a.tenant = 1;
UPDATE ledger SET amount = amount + CASE account WHEN '00000000-0000-0000-0000-000000000001' THEN -5 ELSE 5 END WHERE account IN ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002') RETURNING owner, amount;
INSERT INTO ledger (owner) VALUES ('x') RETURNING owner, amount;
INSERT INTO ledger (owner) VALUES ('x'), ('y'), ('z') RETURNING owner;
INSERT INTO ledger (account, owner) VALUES (DEFAULT, 'x'), ('00000000-0000-0000-0000-00000000000a', 'y'), (gen_random_uuid(), 'z') RETURNING owner;
INSERT INTO ledger DEFAULT VALUES RETURNING amount;
INSERT INTO audit DEFAULT VALUES RETURNING id;
